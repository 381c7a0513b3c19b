"""Lo que se da a auditar, reunido: lo que falte se saca del `Trainer`, y las filas, al pedirlas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from course_lib.audit.collating import SAMPLE, Collated, collate_sample
from course_lib.audit.findings import Example
from course_lib.audit.raw import conversations_in, texts_in
from course_lib.audit.roles import Roles, classify, end_ids, find_roles
from course_lib.audit.rows import Row
from course_lib.encoding import Kind

CHAT_SHARE = 0.5  # de filas con turnos reconocidos o con el comienzo enmascarado
CHAT_PROBE = 200  # filas en las que se buscan los marcadores


@dataclass(frozen=True)
class Case:
    """Todo lo que se dio; `None` es que no se dio. Los argumentos son los de `audit`."""

    dialogues: Any = None
    tokenizer: Any = None
    train_dataset: Any = None
    eval_dataset: Any = None
    data_collator: Any = None
    args: Any = None
    model: Any = None
    prompt: Callable | None = None
    generation: dict | None = None
    log: Sequence[dict] | None = None
    answers: Sequence[str] | None = None
    before: dict | None = None
    after: dict | None = None
    train_dialogues: Sequence | None = None
    test_dialogues: Sequence | None = None
    trainer: Any = None

    @cached_property
    def pad(self) -> int | None:
        """El id del relleno: el del tokenizador, el del *collator* o el del modelo."""
        config = getattr(self.model, "config", None)
        for holder in (self.tokenizer, self.data_collator, config):
            value = getattr(holder, "pad_token_id", None)
            if isinstance(value, int):
                return value
        return None

    @cached_property
    def eos(self) -> int | None:
        """El id del fin."""
        value = getattr(self.tokenizer, "eos_token_id", None)
        if value is None:
            value = getattr(getattr(self.model, "config", None), "eos_token_id", None)
        return value[0] if isinstance(value, list) and value else value

    @cached_property
    def ends(self) -> set[int]:
        """Los ids que acaban un turno."""
        return end_ids(self.tokenizer, self.model)

    @cached_property
    def collated(self) -> Collated | str:
        """La muestra colacionada, o qué falta para tenerla."""
        if self.train_dataset is None:
            return "los ejemplos ya tokenizados (train_dataset) o un Trainer que los tenga"
        return collate_sample(
            self.train_dataset,
            self.data_collator,
            self.args,
            self.model,
            self.trainer,
            self.pad,
            self.eos,
        )

    @cached_property
    def rows(self) -> list[Row] | str:
        """Las filas de la muestra, o qué falta."""
        return self.collated if isinstance(self.collated, str) else self.collated.rows

    @cached_property
    def labelled(self) -> list[Row] | str:
        """Las filas con etiquetas, o qué falta."""
        if isinstance(self.rows, str):
            return self.rows
        if self.collated.masked_language:
            return "un collator de modelado causal: este enmascara tokens al azar"
        if any(row.labels is None for row in self.rows):
            return "las etiquetas (labels): ni las filas ni el collator las dan"
        return self.rows

    @cached_property
    def roles(self) -> Roles | None:
        """Los marcadores de turno de las filas, si se reconocen."""
        if isinstance(self.rows, str) or self.tokenizer is None:
            return None
        return find_roles(["".join(self.pieces(row.real)) for row in self.rows[:CHAT_PROBE]],
                          self.tokenizer)  # fmt: skip

    @cached_property
    def is_chat(self) -> bool:
        """Si las filas son charlas y no texto seguido: hay turnos, o un comienzo que no cuenta."""
        if self.roles is not None:
            return True
        if isinstance(self.labelled, str):
            return False
        hidden = [
            row for row in self.labelled if row.supervised and row.supervised[0] > row.start + 1
        ]
        return len(hidden) >= CHAT_SHARE * len(self.labelled) > 0

    @cached_property
    def wrapped(self) -> bool:
        """Si las filas son trozos iguales de un texto seguido, sin comienzo ni fin de ejemplo."""
        if isinstance(self.rows, str) or len(self.rows) < 3:
            return False
        longest = max(row.end - row.start for row in self.rows)
        full = [row for row in self.rows if row.end - row.start == longest]
        if len(full) < 0.8 * len(self.rows):
            return False
        if not self.is_chat:
            return True
        whole = [r for r in full if self.starts_clean(r) or self.ends & set(r.real[-2:])]
        return len(whole) < 0.5 * len(full)

    def starts_clean(self, row: Row) -> bool:
        """Si la fila empieza por un marcador de turno o un token especial."""
        if self.roles is None:
            return True
        first = self.pieces(row.real[:12])
        return row.real[0] in self._special or bool(
            self.roles.pattern.match("".join(first).strip())
        )

    def kinds_of(self, row: Row) -> list[Kind]:
        """Qué es cada token de una fila."""
        known = self.memo.setdefault("kinds", {})
        if id(row) not in known:  # se guarda también la fila, para que su dirección no se reutilice
            kinds = classify(
                self.pieces(row.ids), row.ids, (row.start, row.end), self.roles, self.ends
            )
            known[id(row)] = row, kinds
        return known[id(row)][1]

    @cached_property
    def conversations(self) -> list | None:
        """Los diálogos: los dados, los de un archivo o los de una columna `messages`."""
        return conversations_in(self.dialogues, self.train_dataset)

    @cached_property
    def raw_texts(self) -> list[str]:
        """Los textos de unos datos sin tokenizar."""
        return texts_in(self.train_dataset)

    @cached_property
    def memo(self) -> dict:
        """Lo que las comprobaciones calculan una vez y comparten."""
        return {}

    @cached_property
    def _special(self) -> set[int]:
        special = set(getattr(self.tokenizer, "all_special_ids", []))
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        return special | {i for i, token in added.items() if token.special}

    @cached_property
    def _texts(self) -> dict[int, str]:
        return {}

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """El texto de cada token, por separado."""
        seen = self._texts
        for i in set(ids) - seen.keys():
            seen[i] = self.decode([i]) if self.tokenizer is not None else f"{i} "
        return [seen[i] for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Los ids, como texto; un id imposible se enseña como número."""
        try:
            return self.tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        except Exception:  # un id fuera del vocabulario o negativo: lo cuenta «ids-fuera»
            return "".join(f"⟨{i}⟩" for i in ids)

    def example(self, row: Row) -> Example | None:
        """La fila, lista para colorear."""
        if self.tokenizer is None:
            return None
        labels = row.labels or [-100] * len(row.ids)
        return Example(
            tuple(self.pieces(row.ids)),
            tuple(int(kind) for kind in self.kinds_of(row)),
            tuple(i > 0 and label != -100 for i, label in enumerate(labels)),
            row.number,
        )

    def sampling(self) -> str:
        """Una frase que dice si se miró todo o una muestra."""
        if isinstance(self.collated, str) or self.collated.sampled == self.collated.total:
            return ""
        return f" Muestra al azar de {self.collated.sampled} de {self.collated.total} filas."


def gather(**given) -> Case:
    """Reúne lo dado y completa con el `Trainer` lo que falte.

    Raises:
        ValueError: si `trainer` no es un `Trainer`, o un argumento no es del tipo debido.
    """
    case = Case(**given)
    if case.trainer is not None:
        if not hasattr(case.trainer, "args") or not hasattr(case.trainer, "model"):
            raise ValueError(
                f"trainer debe ser un Trainer de transformers, y es {type(case.trainer).__name__}."
            )
        state = getattr(case.trainer, "state", None)
        own = {
            "tokenizer": getattr(case.trainer, "processing_class", None),
            "train_dataset": getattr(case.trainer, "train_dataset", None),
            "eval_dataset": getattr(case.trainer, "eval_dataset", None),
            "data_collator": getattr(case.trainer, "data_collator", None),
            "args": case.trainer.args,
            "model": case.trainer.model,
            "log": getattr(state, "log_history", None) or None,
        }
        case = replace(case, **{k: v for k, v in own.items() if getattr(case, k) is None})
    if case.tokenizer is None:  # el collator suele tener uno
        case = replace(case, tokenizer=getattr(case.data_collator, "tokenizer", None))
    if hasattr(case.tokenizer, "tokenizer"):  # un procesador multimodal
        case = replace(case, tokenizer=case.tokenizer.tokenizer)
    case = replace(
        case,
        train_dataset=_with_length(case.train_dataset),
        eval_dataset=_with_length(case.eval_dataset),
    )
    if isinstance(case.eval_dataset, dict):
        case = replace(case, eval_dataset=next(iter(case.eval_dataset.values()), None))
    return case


def _with_length(dataset: Any) -> Any:
    """De unos datos en flujo, las primeras filas: no se sabe cuántas hay."""
    if dataset is None or hasattr(dataset, "__len__") or iter(dataset) is dataset:
        return dataset
    return [dict(row) for row in islice(dataset, SAMPLE)]
