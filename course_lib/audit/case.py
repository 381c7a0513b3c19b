"""Lo que se da a auditar, reunido: lo que falte se saca del `Trainer`, y las filas, al pedirlas."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, cached_property, wraps
from itertools import islice
from typing import Any

from course_lib.audit.report import Example
from course_lib.audit.roles import Roles, classify, end_ids, find_roles
from course_lib.audit.rows import (
    SAMPLE,
    Collated,
    Row,
    collate_sample,
    dig,
    plain_rows,
    sft_rows,
    slip_of,
    trainer_columns,
)
from course_lib.dialogues import Dialogue, read_dialogues
from course_lib.encoding import IGNORED, Kind

FROM_TRAINER = {"tokenizer": "processing_class", "log": "state.log_history"} | {
    name: name for name in ("train_dataset", "eval_dataset", "data_collator", "args", "model")
}
SLIPPING = 0.01  # de las filas, para decir que las etiquetas no casan
CHAT_SHARE = 0.5  # de filas con turnos reconocidos o con el comienzo enmascarado
CHAT_PROBE = 200  # filas en las que se buscan los marcadores
DIALOGUES = 30_000  # los que se guardan en memoria, si no lo estaban ya


def once(function: Callable) -> Callable:
    """La función de un caso, y a lo mejor de algo más, que se calcula una vez por auditoría."""

    @wraps(function)
    def remembered(case: "Case", *about: Any) -> Any:
        key = (function, *about)
        if key not in case.memo:
            case.memo[key] = function(case, *about)
        return case.memo[key]

    return remembered


class Case:
    """Todo lo que se dio. Sus atributos son los argumentos de `audit`; `None` es que no se dio.

    Raises:
        ValueError: si `trainer` no es un `Trainer`.
    """

    def __init__(self, given: dict[str, Any]):
        vars(self).update(given)
        self.memo: dict = {}  # lo que se calcula una vez y se comparte
        self.refused = ""  # por qué TRL no prepararía los datos, si es que no
        # Lo que se pregunta token a token, con una caché más rápida.
        self.text_of, self.is_blank = cache(self.text_of), cache(self.is_blank)
        if self.trainer is not None:
            if not hasattr(self.trainer, "args") or not hasattr(self.trainer, "model"):
                kind = type(self.trainer).__name__
                raise ValueError(f"trainer debe ser un Trainer de transformers, y es {kind}.")
            for name, own in FROM_TRAINER.items():
                if getattr(self, name) is None:
                    setattr(self, name, dig(self.trainer, own))
        self.log = self.log or None
        # El collator suele tener uno, y un procesador multimodal lleva dentro el suyo.
        own = dig(self.data_collator, "tokenizer") if self.tokenizer is None else self.tokenizer
        self.tokenizer = dig(own, "tokenizer", own)
        self.bos = dig(self.tokenizer, "bos_token_id")
        for name in ("train_dataset", "eval_dataset"):
            setattr(self, name, self._rows_of(getattr(self, name), name))

    def _rows_of(self, data: Any, name: str) -> Any:
        """Los datos, fila a fila: de un `DataLoader`, un reparto, un flujo, lotes o textos."""
        if hasattr(data, "collate_fn"):
            self.data_collator = self.data_collator or data.collate_fn
            data = data.dataset
        if isinstance(data, dict) and "input_ids" not in data:
            first = "train" if name == "train_dataset" else next(iter(data), "")
            data = data.get(first)
        if data is None:
            return None
        rows = not isinstance(data, str) and {"__iter__", "__getitem__"} & {*dir(data)}
        if not rows or hasattr(data, "__next__"):  # un iterador se gasta al leerlo
            raise ValueError(f"{name} debe ser un Dataset o una lista, y es {type(data).__name__}.")
        if not hasattr(data, "__len__"):  # en flujo no se sabe cuántas hay: las primeras
            data = [dict(row) for row in islice(data, SAMPLE)]
        data = plain_rows(data)
        raw = len(data) and self.trainer is None and "input_ids" not in data[0]
        if raw and self.tokenizer is not None and hasattr(self.args, "assistant_only_loss"):
            try:
                with self.untouched():
                    data, collator = sft_rows(data, self.tokenizer, self.args)
                self.data_collator = self.data_collator or collator
            except Exception as problem:  # si no, columnas que TRL no entiende: se quedan en texto
                self.refused = str(problem) * ("no assistant tokens" in str(problem))
        return data

    @cached_property
    def pad(self) -> int | None:
        """El id del relleno: el del tokenizador, el del *collator* o el del modelo."""
        holders = ("tokenizer", "data_collator", "model.config")
        values = (dig(self, f"{holder}.pad_token_id") for holder in holders)
        return next((value for value in values if isinstance(value, int)), None)

    @cached_property
    def eos(self) -> int | None:
        """El id del fin."""
        value = dig(self.tokenizer, "eos_token_id", dig(self.model, "config.eos_token_id"))
        return value[0] if isinstance(value, list) and value else value

    @cached_property
    def ends(self) -> set[int]:
        """Los ids que acaban un turno."""
        return end_ids(self.tokenizer, self.model)

    @property
    def marks(self) -> set[int]:
        """Los ids que empiezan o acaban algo."""
        return self.ends | ({self.bos} - {None})

    @cached_property
    def stops(self) -> tuple[set[int], bool]:
        """Los ids en que se para al generar, y si el modelo, o la llamada, dice cuáles son."""
        call, own = self.generation or {}, dig(self.model, "generation_config.eos_token_id")
        told = call.get("eos_token_id", dig(call.get("generation_config"), "eos_token_id"))
        # Sin generation_config propia es la del modelo, que en uno recién hecho no dice nada.
        fresh = dig(self.model, "generation_config._from_model_config")
        known = told is not None or not fresh or own != dig(self.model, "config.eos_token_id")
        ids = own if told is None else told
        stops = {*ids} if isinstance(ids, list | tuple) else {ids}
        return stops | {dig(self.tokenizer, "eos_token_id")}, known and ids is not None

    @cached_property
    def embeddings(self) -> Any:
        """La tabla de *embeddings* del modelo, si dice cuál es."""
        with suppress(Exception):  # un nn.Module cualquiera no lo dice
            return self.model.get_input_embeddings()

    @cached_property
    def collated(self) -> Collated | str:
        """La muestra colacionada, o qué falta para tenerla."""
        if self.train_dataset is None:
            return "los ejemplos ya tokenizados (train_dataset) o un Trainer que los tenga"
        return self.collate(self.train_dataset)

    def collate(self, dataset: Any) -> Collated | str:
        """Una muestra de unos datos, colacionada como los de entrenamiento."""
        columns = trainer_columns(self.args, self.model, self.trainer)
        return collate_sample(dataset, self.data_collator, self.pad, self.eos, columns)

    @cached_property
    def rows(self) -> list[Row] | str:
        """Las filas de la muestra, o qué falta."""
        return self.collated if isinstance(self.collated, str) else self.collated.rows

    @property
    def has_rows(self) -> bool:
        """Si hay filas."""
        return not isinstance(self.rows, str)

    @property
    def rows_or_call(self) -> bool | str:
        """Si hay filas o una llamada a `generate`, o qué falta."""
        return self.has_rows or bool(self.generation) or self.rows

    @cached_property
    def causal_rows(self) -> list[Row] | str:
        """Las filas, si la etiqueta de cada sitio ha de ser su token, o qué falta."""
        if self.has_rows and dig(self.data_collator, "mlm"):
            return "un collator de modelado causal: este enmascara tokens al azar"
        if self.has_rows and dig(self.model, "config.is_encoder_decoder"):
            return "un modelo causal: con codificador, las etiquetas son otro texto"
        return self.rows

    @cached_property
    def labelled(self) -> list[Row] | str:
        """Las filas con etiquetas, o qué falta."""
        if isinstance(self.causal_rows, str):
            return self.causal_rows
        if any(row.labels is None for row in self.rows):
            return "las etiquetas (labels): ni las filas ni el collator las dan"
        return "etiquetas que casen con los ids: mira «descuadre»" if self.slips else self.rows

    @cached_property
    def slips(self) -> dict[str, dict[Row, int]]:
        """Las filas cuyas etiquetas no casan con sus ids, según en qué, si son bastantes."""
        rows = () if isinstance(self.causal_rows, str) else self.causal_rows
        slipped = {row: slip for row in rows if (slip := slip_of(row))}
        found: dict[str, dict[Row, int]] = {}
        for row, (kind, value) in slipped.items():
            found.setdefault(kind, {})[row] = value
        return found if len(slipped) >= SLIPPING * len(rows) else {}

    @cached_property
    def roles(self) -> Roles | None:
        """Los marcadores de turno de las filas, si se reconocen."""
        if not self.has_rows or self.tokenizer is None:
            return None
        texts = ["".join(self.pieces(row.real)) for row in self.rows[:CHAT_PROBE]]
        return find_roles(texts, self.tokenizer)

    @cached_property
    def is_chat(self) -> bool:
        """Si las filas son charlas y no texto seguido: hay turnos, o un comienzo que no cuenta."""
        if self.roles is not None:
            return True
        if isinstance(self.labelled, str):
            return False
        counted = [row for row in self.labelled if row.supervised]
        hidden = [row for row in counted if row.supervised[0] > row.start + 1]
        return len(hidden) >= CHAT_SHARE * len(self.labelled)

    @cached_property
    def wrapped(self) -> bool:
        """Si las filas son trozos iguales de un texto seguido, sin comienzo ni fin de ejemplo."""
        if not self.has_rows or len(self.rows) < 3:
            return False
        longest = max(len(row.real) for row in self.rows)
        full = [row for row in self.rows if len(row.real) == longest]
        whole = [row for row in full if self.ends & set(row.real[-2:]) or self.opens(row)]
        alike = len(full) >= 0.8 * len(self.rows)
        return alike and not (self.is_chat and len(whole) >= 0.5 * len(full))

    def opens(self, row: Row) -> bool:
        """Si la fila empieza por un marcador de turno o un token especial."""
        added = dig(self.tokenizer, "added_tokens_decoder", {}).get(row.real[0])
        if (added and added.special) or self.roles is None:
            return True
        return bool(self.roles.pattern.match("".join(self.pieces(row.real[:12])).strip()))

    @cached_property
    def conversations(self) -> list[Dialogue] | None:
        """Los diálogos: los dados o los de una columna `messages`; lo saltado, en `notices`."""
        given, data, self.notices = self.dialogues, self.train_dataset, []
        if given is not None:
            limit = None if isinstance(given, list | tuple) else DIALOGUES
            empty = limit is None and not given
            return [] if empty else read_dialogues(given, self.notices.append, limit)
        if data is None or not len(data) or "messages" not in dig(data[0], "keys", list)():
            return None
        whole = hasattr(data, "column_names")
        messages = data["messages"] if whole else [row["messages"] for row in data]
        with suppress(ValueError):  # que no se entiendan no impide mirar lo demás
            return read_dialogues(messages, self.notices.append, DIALOGUES)

    @once
    def kinds_of(self, row: Row) -> list[Kind]:
        """Qué es cada token de una fila."""
        real = zip(row.real, classify(self.pieces(row.real), self.roles), strict=True)
        kinds = [Kind.PADDING] * len(row.ids)
        kinds[row.start : row.end] = [Kind.END if i in self.ends else kind for i, kind in real]
        return kinds

    def text_of(self, token: int) -> str:
        """El texto de un token."""
        return self.decode([token]) if self.tokenizer is not None else f"{token} "

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """El texto de cada token, por separado."""
        return [self.text_of(i) for i in ids]

    def is_blank(self, token: int) -> bool:
        """Si un token es solo espacio, y no un fin."""
        return token not in self.ends and not self.text_of(token).strip()

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
        labels = row.labels or [IGNORED] * len(row.ids)
        counted = tuple(i > 0 and label != IGNORED for i, label in enumerate(labels))
        kinds = tuple(map(int, self.kinds_of(row)))
        return Example(tuple(self.pieces(row.ids)), kinds, counted, row.number)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Al salir, el azar y el recorte y el relleno del tokenizador vuelven a como estaban."""
        import numpy as np
        import torch

        states = random.getstate(), np.random.get_state()
        backend = dig(self.tokenizer, "_tokenizer")
        before = {name: dig(backend, name) for name in ("truncation", "padding")} if backend else {}
        with torch.random.fork_rng(devices=[]):
            try:
                yield
            finally:
                random.setstate(states[0])
                np.random.set_state(states[1])
                for name, options in before.items():
                    on, off = getattr(backend, f"enable_{name}"), getattr(backend, f"no_{name}")
                    off() if options is None else on(**options)
