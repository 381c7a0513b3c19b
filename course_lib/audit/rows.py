"""Las filas tal como las verá el modelo: después del *collator* y con su relleno localizado.

Se llama al *collator* sobre lotes pequeños, con las mismas columnas que le dejaría `Trainer`, y de
cada lote se saca una `Row` por documento, también si el lote los junta en una sola fila.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from course_lib.encoding import IGNORED

SEED = 0  # de todos los sorteos de la auditoría


@dataclass(frozen=True)
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
    ids = feature.get("input_ids")
    return [] if ids is None else ids


def as_list(value: Any):
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, list | tuple) else value


def documents(batch: dict, group, pad, eos) -> Iterator[tuple[Row, bool]]:
    """Las filas de un lote, partidas por documentos."""
    masks = batch.get("attention_mask")
    labels = batch.get("labels")
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
            span = _span_in(ids, mask, group[b][1] if len(group) > b else {}, pad, eos)
            yield Row(numbers[0], ids, label, *span), False
            continue
        for (low, high), number in zip(cuts, numbers, strict=True):
            piece = ids[low:high]
            inner = real_span(piece, mask[low:high] if mask else None, pad, eos)
            yield Row(number, piece, label and label[low:high], *inner), True


def _span_in(ids, mask, feature: dict, pad, eos) -> tuple[int, int]:
    """El texto dentro de la fila colacionada, según la fila de la que salió.

    La máscara del lote no basta: hay quien la calcula comparando con el id del relleno, y entonces
    tapa también el fin verdadero.
    """
    own = as_list(ids_of(feature))
    if own and len(own) <= len(ids):
        own_mask = feature.get("attention_mask")
        start, end = real_span(own, None if own_mask is None else as_list(own_mask), pad, eos)
        if ids[: len(own)] == own:
            return start, end
        gap = len(ids) - len(own)
        if ids[gap:] == own:
            return gap + start, gap + end
    return real_span(ids, mask, pad, eos)


def _cuts(batch: dict, b: int, lengths: list[int], width: int) -> list[tuple[int, int]]:
    """Los tramos (desde, hasta) de cada documento de una fila de lote."""
    positions = batch.get("position_ids")
    if positions is not None and resets(positions[b]):
        low = min(positions[b])
        starts = [i for i, p in enumerate(positions[b]) if p == low]
        # Un relleno de posiciones a cero no son documentos de un token.
        starts = [s for k, s in enumerate(starts) if k + 1 == len(starts) or starts[k + 1] > s + 1]
    elif len(lengths) > 1 and sum(lengths) == width:
        starts = [sum(lengths[:k]) for k in range(len(lengths))]
    else:
        starts = [0]
    starts[0] = 0
    return list(zip(starts, [*starts[1:], width], strict=True))


def _owners(cuts, group) -> list[int]:
    """De qué fila de los datos sale cada tramo de un lote aplanado."""
    numbers, ends, total = [], [], 0
    for _, feature in group:
        total += len(ids_of(feature))
        ends.append(total)
    for low, _ in cuts:
        k = next((k for k, end in enumerate(ends) if low < end), len(group) - 1)
        numbers.append(group[k][0])
    return numbers


def resets(positions) -> bool:
    """Si las posiciones vuelven atrás: empieza otro documento (y no es relleno a ceros o unos)."""
    return any(b < a and d == b + 1 for a, b, d in zip(positions, positions[1:], positions[2:]))
