"""Las filas tal como las verá el modelo: después del *collator* y con su relleno localizado.

Se llama al *collator* como lo haría `Trainer`, sobre una muestra y en lotes pequeños. De cada lote
se saca una `Row` por documento, también si el lote los junta en una sola fila.
"""

import copy
import inspect
import random
from collections.abc import Iterator
from dataclasses import dataclass
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
    """Un documento ya colacionado.

    Attributes:
        number: su número en los datos.
        ids: todos sus ids, relleno incluido.
        labels: sus etiquetas, o `None` si el lote no las trae.
        start, end: el texto de verdad es `ids[start:end]`; lo demás es relleno.
    """

    number: int
    ids: list[int]
    labels: list[int] | None
    start: int
    end: int

    @property
    def real(self) -> list[int]:
        """Los ids sin el relleno."""
        return self.ids[self.start : self.end]

    @property
    def supervised(self) -> list[int]:
        """Las posiciones del texto de verdad que la pérdida cuenta (la primera no puede)."""
        first = self.start or 1
        return [i for i in range(first, self.end) if self.labels[i] != IGNORED]


def real_span(ids: list[int], mask, pad: int | None, eos: int | None) -> tuple[int, int]:
    """Dónde empieza y acaba el texto de una fila.

    Manda la máscara de atención. Si no la hay, o no tapa nada, el relleno es la racha de tokens de
    relleno de un extremo; cuando relleno y fin son el mismo token, el primero de la racha final es
    el fin.

    >>> real_span([5, 6, 0, 0], None, pad=0, eos=0)
    (0, 3)
    """
    start, end = 0, len(ids)
    if mask is not None and len(mask) == len(ids) and 0 in mask and any(mask):
        inside = [i for i, m in enumerate(mask) if m]
        return inside[0], inside[-1] + 1
    if pad is None:
        return start, end
    while end > 0 and ids[end - 1] == pad:
        end -= 1
    if end == 0:
        return 0, len(ids)
    if pad == eos and end < len(ids):
        end += 1
    while start < end and ids[start] == pad:
        start += 1
    if pad == eos and start == 1:  # uno solo es un comienzo, no relleno
        start = 0
    return start, end


def ids_of(feature: dict) -> list[int]:
    """Los ids de una fila de los datos; si no los trae, ninguno."""
    ids = feature.get("input_ids")
    return [] if ids is None else as_list(ids)


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
    """Lo que salió de colacionar una muestra.

    Attributes:
        rows: los documentos, en orden.
        sampled: cuántas filas de los datos se miraron, y `total`, cuántas hay.
        masked_language: si el *collator* enmascara tokens al azar.
        joined: filas de lote en las que el *collator* juntó varios documentos.
        bounded: cuántas de ellas llevan sus fronteras.
        block_mask: si la máscara de atención separa documentos.
    """

    rows: list[Row]
    sampled: int
    total: int
    masked_language: bool
    joined: int = 0
    bounded: int = 0
    block_mask: bool = False


def sample_features(dataset, limit: int = SAMPLE) -> list[tuple[int, dict]]:
    """Hasta `limit` filas al azar, siempre las mismas, con su número y en su orden."""
    chosen = range(len(dataset))
    if len(chosen) > limit:
        chosen = sorted(random.Random(SEED).sample(chosen, limit))
    if hasattr(dataset, "select"):
        return list(zip(chosen, dataset.select(chosen).to_list(), strict=True))
    return [(i, dict(dataset[i])) for i in chosen]


def collate_sample(
    dataset, collator=None, pad=None, eos=None, columns=None, limit: int = SAMPLE
) -> Collated | str:
    """Colaciona una muestra de los datos.

    Args:
        pad: el id del relleno, si se sabe, y `eos`, el del fin.
        columns: las que se dan al *collator*; si no se dicen, todas.

    Returns:
        `Collated`, o una frase que dice por qué no se pudo.
    """
    features = sample_features(dataset, limit)
    if not features:
        return "los datos de entrenamiento están vacíos"
    features = [(i, feature) for i, feature in features if len(ids_of(feature))]
    if not features:
        return "filas con input_ids: las que hay son aún texto; tokenízalas o da el Trainer"
    masked_language = bool(getattr(collator, "mlm", False))
    out = Collated([], len(features), len(dataset), masked_language)
    for at in range(0, len(features), BATCH):
        group = features[at : at + BATCH]
        batch, error = _call(collator, [feature for _, feature in group], columns)
        if batch is None:
            return f"un collator que acepte estas filas: falla con «{error}»"
        out.rows += _documents(batch, group, pad, eos)
        restarts = any(_resets(positions) for positions in batch.get("position_ids") or [])
        merged = restarts or len(batch["input_ids"]) < len(group)
        blocks = _has_blocks(batch)
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
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    return {*inspect.signature(model.forward).parameters, "labels", "label", "label_ids"}


def _call(collator, features: list[dict], columns: set[str] | None) -> tuple[dict | None, str]:
    """Llama al *collator*; si las columnas de sobra le estorban, sin ellas.

    El primer error es el que se cuenta, por ser el de quien llama tal cual.
    """
    if collator is None:
        return {
            key: [as_list(feature[key]) for feature in features]
            for key in MODEL_COLUMNS
            if all(feature.get(key) is not None for feature in features)
        }, ""
    everything = set().union(*features)
    error = ""
    for kept in (columns, everything, MODEL_COLUMNS, MODEL_COLUMNS[:3]):
        if kept is None:
            continue
        rows = [{k: as_list(v) for k, v in feature.items() if k in kept} for feature in features]
        try:
            return {key: as_list(value) for key, value in collator(rows).items()}, ""
        except Exception as problem:
            error = error or " ".join(str(problem).split())[:120] or type(problem).__name__
    return None, error


def _has_blocks(batch: dict) -> bool:
    """Si la máscara separa documentos: con cuatro dimensiones o numerándolos."""
    mask = batch.get("attention_mask")
    if not mask or not isinstance(mask[0], list):
        return False
    return isinstance(mask[0][0], list) or any(max(row, default=0) > 1 for row in mask)


def _documents(batch: dict, group: list[tuple[int, dict]], pad, eos) -> Iterator[Row]:
    """Las filas de un lote, partidas por documentos; `group` son las que se juntaron en él."""
    masks, labels = batch.get("attention_mask"), batch.get("labels")
    for b, ids in enumerate(batch["input_ids"]):
        mask = masks[b] if masks is not None else None
        mask = mask if mask and not isinstance(mask[0], list) else None
        label = labels[b] if labels is not None else None
        if len(batch["input_ids"]) < len(group):
            cuts = _cuts(batch, b, [len(ids_of(f)) for _, f in group], len(ids))
            numbers = _owners(cuts, group)
        else:
            cuts = _cuts(batch, b, [len(ids)], len(ids))
            numbers = [group[b][0]] * len(cuts)
        if len(cuts) == 1:
            feature = group[b][1] if len(group) > b else {}
            yield Row(numbers[0], ids, label, *_span_in(ids, mask, feature, pad, eos))
            continue
        for (low, high), number in zip(cuts, numbers, strict=True):
            piece = ids[low:high]
            inner = real_span(piece, mask[low:high] if mask else None, pad, eos)
            yield Row(number, piece, label and label[low:high], *inner)


def _resets(positions: list[int]) -> bool:
    """Si las posiciones vuelven atrás: empieza otro documento (y no es relleno a ceros o unos)."""
    return any(b < a and d == b + 1 for a, b, d in zip(positions, positions[1:], positions[2:]))


def _span_in(ids: list[int], mask, feature: dict, pad, eos) -> tuple[int, int]:
    """El texto dentro de la fila colacionada, según la fila de la que salió.

    La máscara del lote no basta: hay quien la calcula comparando con el id del relleno, y entonces
    tapa también el fin verdadero.
    """
    own = ids_of(feature)
    if own and len(own) <= len(ids):
        start, end = real_span(own, as_list(feature.get("attention_mask")), pad, eos)
        for gap in (0, len(ids) - len(own)):  # rellena por la derecha o por la izquierda
            if ids[gap : gap + len(own)] == own:
                return gap + start, gap + end
    return real_span(ids, mask, pad, eos)


def _cuts(batch: dict, b: int, lengths: list[int], width: int) -> list[tuple[int, int]]:
    """Los tramos (desde, hasta) de cada documento de una fila de lote."""
    positions = batch.get("position_ids")
    starts = [0]
    if positions is not None and _resets(positions[b]):
        low = min(positions[b])
        starts = [i for i, p in enumerate(positions[b]) if p == low]
        # Un relleno de posiciones a cero no son documentos de un token.
        starts = [s for k, s in enumerate(starts) if k + 1 == len(starts) or starts[k + 1] > s + 1]
    elif len(lengths) > 1 and sum(lengths) == width:
        starts = [sum(lengths[:k]) for k in range(len(lengths))]
    starts[0] = 0
    return list(zip(starts, [*starts[1:], width], strict=True))


def _owners(cuts: list[tuple[int, int]], group: list[tuple[int, dict]]) -> list[int]:
    """De qué fila de los datos sale cada tramo de un lote aplanado."""
    owners = [number for number, feature in group for _ in ids_of(feature)]
    return [owners[low] if low < len(owners) else group[-1][0] for low, _ in cuts]
