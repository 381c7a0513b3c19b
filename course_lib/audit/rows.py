"""Las filas tal como las verá el modelo: después del *collator* y con su relleno localizado.

Se llama al *collator* como lo haría `Trainer`, sobre una muestra y en lotes pequeños. De cada lote
se saca una `Row` por documento, también si el lote los junta en una sola fila.
"""

import copy
import inspect
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise, product, takewhile
from typing import Any

from course_lib.encoding import IGNORED

SEED = 0  # de todos los sorteos de la auditoría
SAMPLE = 1000  # filas que se miran como mucho; con tantas, un 1% se ve (error típico de 0,3%)
BATCH = 8
MODEL_COLUMNS = ("input_ids", "attention_mask", "labels", "position_ids", "token_type_ids",
                 "seq_lengths", "completion_mask", "assistant_masks", "kinds")  # fmt: skip
SLIPPED = 0.1  # de las etiquetas que cuentan, para decir que son otras
MASKS = ("completion_mask", "assistant_masks")
BOUNDARIES = ("seq_idx", "cu_seq_lens_q", "cu_seqlens", "cu_seq_lens")


@dataclass(frozen=True, eq=False)
class Row:
    """Un documento ya colacionado: su texto es `ids[start:end]`, y lo demás, relleno."""

    number: int  # el de su fila en los datos
    ids: list[int]
    labels: list[int] | None  # si el lote las trae
    start: int
    end: int
    mask: list[int] | None = None  # su máscara de atención, si el lote la trae
    unpaired: int = 0  # cuántas etiquetas le sobran o, con signo menos, le faltan

    @property
    def real(self) -> list[int]:
        """Los ids sin el relleno."""
        return self.ids[self.start : self.end]

    @cached_property
    def supervised(self) -> list[int]:
        """Las posiciones del texto de verdad que la pérdida cuenta (la primera no puede)."""
        return [i for i in range(self.start or 1, self.end) if self.labels[i] != IGNORED]


def real_span(ids: list[int], mask, pad: int | None, eos: int | None) -> tuple[int, int]:
    """Dónde empieza y acaba el texto de una fila.

    Manda la máscara de atención. Si no la hay, no tapa nada o tapa texto, el relleno es la racha de
    tokens de relleno de un extremo; cuando relleno y fin son el mismo token, el primero de la racha
    final es el fin.

    >>> real_span([5, 6, 0, 0], None, pad=0, eos=0)
    (0, 3)
    """
    if mask and len(mask) == len(ids) and {0, 1} <= set(mask) and not hidden_text(ids, mask):
        inside = [i for i, m in enumerate(mask) if m]
    elif pad not in ids:
        return 0, len(ids)
    else:
        inside = [i for i, token in enumerate(ids) if token != pad]
        if pad == eos and inside:  # un fin de cada lado es suyo; por delante, solo si no hay más
            inside = [0 if inside[0] == 1 else inside[0], min(inside[-1] + 1, len(ids) - 1)]
    return (inside[0], inside[-1] + 1) if inside else (0, len(ids))


def hidden_text(ids: list[int], mask: list[int]) -> set[int]:
    """Los tokens de texto que tapa una máscara: en un extremo, uno solo repetido es relleno."""
    seen = [i for i, m in enumerate(mask) if m] or [len(ids)]
    edges = set(ids[: seen[0]]), set(ids[seen[-1] + 1 :])
    inside = {i for i, m in zip(ids[seen[0] : seen[-1]], mask[seen[0] : seen[-1]]) if not m}
    return inside.union(*(edge for edge in edges if len(edge) > 1))


def mask_fault(ids: list[int], mask: list[int] | None, pad: int | None, marks: set) -> str | None:
    """Qué le pasa a una máscara: «tapa» texto o solo «fines», o deja ver «relleno» por delante.

    Args:
        marks: los tokens de comienzo y de fin, que en un extremo pueden ser texto.

    >>> mask_fault([0, 0, 5, 6], [1, 1, 1, 1], pad=0, marks=set())
    'relleno'
    """
    mask = mask if mask and len(mask) == len(ids) else [1] * len(ids)
    if (hidden := hidden_text(ids, mask)) or 1 not in mask:
        last = max((i for i, m in enumerate(mask) if m), default=0)
        if hidden - marks - {pad} or 1 not in mask:
            return "tapa"
        return "fines" if 0 in mask[mask.index(1) : last] else None  # detrás, nadie los lee
    padded = len(list(takewhile(lambda token: token == pad, ids))) - (pad in marks)
    return "relleno" if mask.index(1) < padded < len(ids) else None


def slip_of(row: Row) -> tuple[str, int] | None:
    """En qué no casan las etiquetas de una fila con sus ids, y por cuánto o con qué valor.

    >>> slip_of(Row(0, [5, 6, 7, 8], [6, 7, 8, -100], 0, 4))
    ('corridas', 1)
    """
    ids, labels = row.ids, row.labels or []
    counted = [i for i, label in enumerate(labels) if label != IGNORED]
    # El fin puede ser solo la etiqueta que va detrás del texto.
    wrong = [i for i in counted if labels[i] != ids[i] and i != row.end]
    many = len(wrong) > SLIPPED * len(counted)
    if row.unpaired or not wrong:
        return ("largos", row.unpaired) if row.unpaired else None
    same = [i - wrong[0] for i, token in enumerate(ids) if token == labels[wrong[0]]]
    for offset in sorted(same, key=abs) if many else ():
        inside = [i for i in counted if 0 <= i + offset < len(ids)]
        hits = sum(labels[i] == ids[i + offset] for i in inside)
        if len(inside) > 1 and hits > (1 - SLIPPED) * len(counted):
            return "corridas" if abs(offset) == 1 else "rellenos", offset
    values = {labels[i] for i in wrong}
    return ("valor", values.pop()) if len(values) == 1 else ("ajenas", len(wrong)) if many else None


def ids_of(feature: Any) -> list[int]:
    """Los ids de una fila de los datos; si no los trae, ninguno."""
    return as_list(feature.get("input_ids")) or []


def as_list(value: Any) -> Any:
    """Un tensor, una matriz o una tupla, como lista; lo demás, igual."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple) and value and hasattr(value[0], "tolist"):
        return [as_list(item) for item in value]
    return list(value) if isinstance(value, list | tuple) else value


def plain_rows(data: Any) -> Any:
    """Las filas de unos datos que vienen en lotes ya hechos, en tensores o en parejas.

    >>> plain_rows([{"input_ids": [[5, 6], [7, 8]]}])
    [{'input_ids': [5, 6]}, {'input_ids': [7, 8]}]
    """
    data = [data] if hasattr(data, "keys") else data
    first = data[0] if len(data) else ""
    if not hasattr(first, "keys") and not isinstance(first, str):
        pairs = [row if isinstance(row, tuple) else (row,) for row in data]
        return [dict(zip(("input_ids", "labels"), map(as_list, pair))) for pair in pairs]
    ids = [] if isinstance(first, str) else ids_of(first)
    if not ids or not isinstance(ids[0], list):
        return data
    names = [name for name in MODEL_COLUMNS if name in first]
    return [dict(zip(names, row)) for batch in data
            for row in zip(*(as_list(batch[name]) for name in names))]  # fmt: skip


def dig(holder: Any, path: str, default: Any = None) -> Any:
    """El atributo al que se llega por `path`, como «config.eos_token_id», si está."""
    for name in path.split("."):
        holder = getattr(holder, name, None)
    return default if holder is None else holder


@dataclass
class Collated:
    """Lo que salió de colacionar una muestra."""

    rows: list[Row]  # los documentos, en orden
    sampled: int  # cuántas filas de los datos se miraron
    total: int  # y cuántas hay
    joined: int = 0  # lotes en los que el collator juntó varios documentos
    bounded: int = 0  # cuántos de ellos llevan sus fronteras
    block_mask: bool = False  # si la máscara de atención separa documentos


def sample_features(dataset, limit: int = SAMPLE) -> list[tuple[int, dict]]:
    """Hasta `limit` filas al azar, siempre las mismas, con su número y en su orden."""
    chosen = range(len(dataset))
    if len(chosen) > limit:
        chosen = sorted(random.Random(SEED).sample(chosen, limit))
    if hasattr(dataset, "select"):
        return list(zip(chosen, dataset.select(chosen).to_list(), strict=True))
    return [(i, dict(dataset[i])) for i in chosen]


def all_ids(dataset: Any) -> list[tuple[int, Sequence[int]]]:
    """La columna `input_ids` entera, fila a fila y con su número; las vacías se saltan."""
    names = dig(dataset, "column_names", ["input_ids"])
    if dataset is None or not len(dataset) or "input_ids" not in names:
        return []
    if hasattr(dataset, "column_names"):
        found = dataset.with_format("numpy", columns=["input_ids"]).iter(batch_size=1000)
        rows = (ids for batch in found for ids in batch["input_ids"])
    else:
        rows = map(ids_of, dataset)
    return [(number, ids) for number, ids in enumerate(rows) if len(ids)]


def collate_sample(
    dataset, collator=None, pad=None, eos=None, columns=None, limit: int = SAMPLE
) -> Collated | str:
    """Colaciona una muestra de los datos, o dice en una frase por qué no se pudo.

    Args:
        pad: el id del relleno, si se sabe, y `eos`, el del fin.
        columns: las que se dan al *collator*; si no se dicen, todas.
    """
    features = sample_features(dataset, limit)
    features = [(i, _with_labels(feature)) for i, feature in features if ids_of(feature)]
    if not features:
        return "filas con input_ids: no las hay, o son aún texto; tokenízalas o da el Trainer"
    out = Collated([], len(features), len(dataset))
    for at in range(0, len(features), BATCH):
        group = features[at : at + BATCH]
        batch = _call(collator, [feature for _, feature in group], columns)
        if isinstance(batch, str):
            return f"un collator que acepte estas filas: falla con «{batch}»"
        if not all(isinstance(ids, list) for ids in batch.get("input_ids") or [None]):
            return "un collator que dé un lote con sus input_ids, una lista por fila"
        out.rows += _documents(batch, group, pad, eos)
        restarts = any(_resets(positions) for positions in batch.get("position_ids") or [])
        merged = restarts or len(batch["input_ids"]) < len(group)
        masks = [mask for mask in batch.get("attention_mask") or [] if mask and type(mask) is list]
        # La máscara separa documentos si tiene cuatro dimensiones o si los numera.
        blocks = any(isinstance(mask[0], list) or max(mask) > 1 for mask in masks)
        out.joined += merged
        out.bounded += merged and (restarts or blocks or any(key in batch for key in BOUNDARIES))
        out.block_mask |= blocks
    return out


def _with_labels(feature: dict) -> dict:
    """La fila, con las etiquetas que TRL saca de sus máscaras si no las trae."""
    masks = [as_list(feature[key]) for key in MASKS if feature.get(key) is not None]
    if not masks or feature.get("labels") is not None:
        return feature
    paired = zip(ids_of(feature), *masks)
    return feature | {"labels": [i if all(bits) else IGNORED for i, *bits in paired]}


def trainer_columns(args, model, trainer) -> set[str] | None:
    """Las columnas que `Trainer` dejaría pasar, o `None` si las deja todas."""
    if model is None or not getattr(args, "remove_unused_columns", False):
        return None
    if trainer is not None:
        twin = copy.copy(trainer)  # así lo que anote no queda en el de quien llama
        twin._set_signature_columns_if_needed()
        return set(twin._signature_columns)
    model = dig(model, "get_base_model", lambda: model)()
    return {*inspect.signature(model.forward).parameters, "labels", "label", "label_ids"}


def _call(collator, features: list[dict], columns: set[str] | None) -> dict | str:
    """El lote; si las columnas de sobra estorban, sin ellas. Si no sale, el primer error."""
    if collator is None:
        full = [key for key in MODEL_COLUMNS if all(f.get(key) is not None for f in features)]
        return {key: [as_list(feature[key]) for feature in features] for key in full}
    import torch

    error = ""
    some = filter(None, (columns, set().union(*features), MODEL_COLUMNS, MODEL_COLUMNS[:3]))
    # Hay quien espera listas y quien espera tensores.
    for kept, form in product([*some], (as_list, lambda value: torch.tensor(as_list(value)))):
        try:
            rows = [{k: form(v) for k, v in feature.items() if k in kept} for feature in features]
            return {key: as_list(value) for key, value in collator(rows).items()}
        except Exception as problem:
            error = error or " ".join(str(problem).split())[:120] or type(problem).__name__
    return error


def sft_rows(data: Any, tokenizer, args) -> tuple[Any, Callable]:
    """Las filas que `SFTTrainer` de TRL sacaría de unos textos o mensajes, y su *collator*.

    Raises:
        RuntimeError: si a alguna no le queda nada que enseñar.
    """
    from types import SimpleNamespace

    from datasets import Dataset, disable_progress_bars, enable_progress_bars
    from trl import SFTTrainer
    from trl.chat_template_utils import get_training_chat_template
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    features = [feature for _, feature in sample_features(data)]
    template, only = None, args.completion_only_loss
    only = {"prompt", "completion"} <= features[0].keys() if only is None else only
    if args.assistant_only_loss and "{% generation" not in (tokenizer.chat_template or ""):
        with suppress(ValueError):  # TRL solo sabe marcar las plantillas que conoce
            template = get_training_chat_template(tokenizer)
    twin = SimpleNamespace(_tokenizer=tokenizer, chat_template=template, completion_only_loss=only)
    disable_progress_bars()
    try:
        rows = SFTTrainer._prepare_dataset(
            twin, Dataset.from_list(features), tokenizer, args, args.packing, None, "train"
        )
    finally:
        enable_progress_bars()
    free = args.padding_free or (args.packing and args.packing_strategy != "wrapped")
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return rows, DataCollatorForLanguageModeling(pad_token_id=pad, padding_free=free)


def _documents(batch: dict, group: list[tuple[int, dict]], pad, eos) -> Iterator[Row]:
    """Las filas de un lote, partidas por documentos; `group` son las que se juntaron en él."""
    columns = [batch.get(name) for name in ("attention_mask", "labels", "position_ids")]
    for b, ids in enumerate(batch["input_ids"]):
        own = group if len(batch["input_ids"]) < len(group) else [group[b]]
        owners = [pair for pair in own for _ in ids_of(pair[1])]  # de quién es cada token
        mask, labels, positions = (column and column[b] for column in columns)
        mask = mask if mask and not isinstance(mask[0], list) else None
        labels = labels if isinstance(labels, list) else None  # una clase no es de nadie
        unpaired = len(labels) - len(ids) if labels else 0
        labels = labels and (labels + [IGNORED] * -unpaired)[: len(ids)]
        for low, high in _cuts(positions, [len(ids_of(feature)) for _, feature in own], len(ids)):
            number, feature = owners[min(low, len(owners) - 1)]
            seen = mask and mask[low:high]
            span = _span_in(ids[low:high], seen, feature, pad, eos)
            own_labels = labels and labels[low:high]
            yield Row(number, ids[low:high], own_labels, *span, seen, unpaired)


def _resets(positions: list[int]) -> bool:
    """Si las posiciones vuelven atrás: empieza otro documento (y no es relleno a ceros o unos)."""
    return any(b < a and d == b + 1 for a, b, d in zip(positions, positions[1:], positions[2:]))


def _cuts(positions: list[int] | None, lengths: list[int], width: int) -> Iterable[tuple[int, int]]:
    """Dónde empieza y acaba cada documento de una fila de lote."""
    starts = [0]
    if positions and _resets(positions):
        low = min(positions)
        starts = [i for i, position in enumerate(positions) if position == low]
        # Un relleno de posiciones a cero no son documentos de un token.
        starts = [s for s, after in zip(starts, [*starts[1:], math.inf]) if after > s + 1]
    elif len(lengths) > 1 and sum(lengths) == width:
        starts = list(accumulate(lengths[:-1], initial=0))
    return pairwise([0, *starts[1:], width])


def _span_in(ids: list[int], mask, feature: dict, pad, eos) -> tuple[int, int]:
    """El texto de un documento, según la fila de la que salió."""
    own = ids_of(feature)  # manda su máscara: la del lote puede tapar el fin si es el relleno
    for gap in (0, len(ids) - len(own)):  # rellena por la derecha o por la izquierda
        if own and ids[gap : gap + len(own)] == own:
            start, end = real_span(own, as_list(feature.get("attention_mask")), pad, eos)
            return gap + start, gap + end
    return real_span(ids, mask, pad, eos)
