"""Las filas tal como las verá el modelo: después del *collator* y con su relleno localizado.

Se llama al *collator* como lo haría `Trainer`, sobre una muestra y en lotes pequeños. De cada lote
se saca una `Row` por documento, también si el lote los junta en una sola fila.
"""

import copy
import inspect
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from course_lib.encoding import IGNORED

SEED = 0  # de todos los sorteos de la auditoría
SAMPLE = 1000  # filas que se miran como mucho; con tantas, un 1% se ve (error típico de 0,3%)
BATCH = 8
MODEL_COLUMNS = ("input_ids", "attention_mask", "labels", "position_ids", "token_type_ids",
                 "seq_lengths", "completion_mask", "assistant_masks", "kinds")  # fmt: skip
BOUNDARIES = ("seq_idx", "cu_seq_lens_q", "cu_seqlens", "cu_seq_lens")


@dataclass(frozen=True, eq=False)
class Row:
    """Un documento ya colacionado: su texto es `ids[start:end]`, y lo demás, relleno."""

    number: int  # el de su fila en los datos
    ids: list[int]
    labels: list[int] | None  # si el lote las trae
    start: int
    end: int

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

    Manda la máscara de atención. Si no la hay, o no tapa nada, el relleno es la racha de tokens de
    relleno de un extremo; cuando relleno y fin son el mismo token, el primero de la racha final es
    el fin.

    >>> real_span([5, 6, 0, 0], None, pad=0, eos=0)
    (0, 3)
    """
    if mask is not None and len(mask) == len(ids) and 0 in mask and any(mask):
        inside = [i for i, m in enumerate(mask) if m]
    elif pad not in ids:
        return 0, len(ids)
    else:
        inside = [i for i, token in enumerate(ids) if token != pad]
        if pad == eos and inside:  # un fin de cada lado es suyo; por delante, solo si no hay más
            inside = [0 if inside[0] == 1 else inside[0], min(inside[-1] + 1, len(ids) - 1)]
    return (inside[0], inside[-1] + 1) if inside else (0, len(ids))


def ids_of(feature: dict) -> list[int]:
    """Los ids de una fila de los datos; si no los trae, ninguno."""
    return as_list(feature.get("input_ids")) or []


def as_list(value: Any) -> Any:
    """Un tensor, una matriz o una tupla, como lista; lo demás, igual."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, list | tuple) else value


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
    masked_language: bool  # si el collator enmascara tokens al azar
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
    if dataset is None or not len(dataset):
        return []
    if hasattr(dataset, "column_names"):
        found = dataset.with_format("numpy", columns=["input_ids"]).iter(batch_size=1000)
        rows = (ids for batch in found for ids in batch["input_ids"])
    else:
        rows = (row["input_ids"] for row in dataset)
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
    if not features:
        return "los datos de entrenamiento están vacíos"
    features = [(i, feature) for i, feature in features if ids_of(feature)]
    if not features:
        return "filas con input_ids: las que hay son aún texto; tokenízalas o da el Trainer"
    out = Collated([], len(features), len(dataset), bool(getattr(collator, "mlm", False)))
    for at in range(0, len(features), BATCH):
        group = features[at : at + BATCH]
        batch = _call(collator, [feature for _, feature in group], columns)
        if isinstance(batch, str):
            return f"un collator que acepte estas filas: falla con «{batch}»"
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


def trainer_columns(args, model, trainer) -> set[str] | None:
    """Las columnas que `Trainer` dejaría pasar, o `None` si las deja todas."""
    if args is None or model is None or not getattr(args, "remove_unused_columns", False):
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
    error = ""
    for kept in filter(None, (columns, set().union(*features), MODEL_COLUMNS, MODEL_COLUMNS[:3])):
        rows = [{k: as_list(v) for k, v in feature.items() if k in kept} for feature in features]
        try:
            return {key: as_list(value) for key, value in collator(rows).items()}
        except Exception as problem:
            error = error or " ".join(str(problem).split())[:120] or type(problem).__name__
    return error


def _documents(batch: dict, group: list[tuple[int, dict]], pad, eos) -> Iterator[Row]:
    """Las filas de un lote, partidas por documentos; `group` son las que se juntaron en él."""
    columns = [batch.get(name) for name in ("attention_mask", "labels", "position_ids")]
    for b, ids in enumerate(batch["input_ids"]):
        own = group if len(batch["input_ids"]) < len(group) else [group[b]]
        owners = [pair for pair in own for _ in ids_of(pair[1])]  # de quién es cada token
        mask, labels, positions = (column and column[b] for column in columns)
        mask = mask if mask and not isinstance(mask[0], list) else None
        for low, high in _cuts(positions, [len(ids_of(feature)) for _, feature in own], len(ids)):
            number, feature = owners[min(low, len(owners) - 1)]
            span = _span_in(ids[low:high], mask and mask[low:high], feature, pad, eos)
            yield Row(number, ids[low:high], labels and labels[low:high], *span)


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
