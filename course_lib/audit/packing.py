"""Varios ejemplos en una fila: si se ven unos a otros."""

from course_lib.audit.case import Case
from course_lib.audit.engine import Seen, check, share
from course_lib.audit.messages import between_markers
from course_lib.audit.roles import render_probe
from course_lib.audit.rows import Row
from course_lib.dialogues import normalize

PACKED = 0.10  # de las filas, para decir que se empaquetó


@check("empaquetado", "rows")
def packing(case: Case, rows: list[Row]):
    """Filas con dos documentos o más y sin fronteras entre ellos."""
    collated = case.collated
    loose = collated.joined - collated.bounded
    if collated.joined or collated.block_mask:
        if not loose or collated.block_mask:
            return None
        numbers = {"lotes": collated.joined, "sin_fronteras": loose}
        return Seen(numbers, rows[:8], say=["lotes"], severity="grave")
    if not case.ends:
        return "el tokenizador, para ver dónde acaba cada documento"
    if borders := _borders(case):
        starts = {row: _inner_starts(case, row, borders) for row in rows}
        packed = [row for row in rows if starts[row]]
        if len(packed) >= PACKED * len(rows):
            at = starts[packed[0]][0]
            around = case.decode(packed[0].real[max(0, at - 6) : at + 6])
            return _seen(case, packed, "frontera", alrededor=around)
    return _unrelated(case) if case.is_chat and case.roles is not None else None


def _seen(case: Case, packed: list[Row], proof: str, **words) -> Seen:
    return Seen(
        share("empaquetadas", packed, case.rows),
        packed,
        say=["prueba", proof, not case.is_chat and "seguido"],
        severity="grave" if case.is_chat else "nota",
        **words,
    )


def _borders(case: Case) -> set[int]:
    """Los tokens que, en medio de una fila, solo pueden separar documentos.

    Con muchas plantillas el fin cierra cada respuesta, y el comienzo abre cada pregunta, de una
    misma charla: esos no sirven.
    """
    tokens = {case.eos, case.bos} - {None}
    if not case.is_chat or case.wrapped:
        return tokens
    text = render_probe(case.tokenizer)
    if text is None or case.roles is None or case.roles.name != "plantilla":
        return set()
    inside = text.strip()[1:-1]
    return {token for token in tokens if case.tokenizer.convert_ids_to_tokens(token) not in inside}


def _inner_starts(case: Case, row: Row, borders: set[int]) -> list[int]:
    """Dónde empieza cada documento de la fila, menos el primero."""
    real = row.real
    last = len(real) - 1
    while last > 0 and (real[last] in borders or case.is_blank(real[last])):
        last -= 1
    return [i + 1 for i in range(1, last) if real[i] in borders]


def _unrelated(case: Case) -> Seen | str | None:
    """Filas con varios intercambios que no tienen que ver: charlas distintas, pegadas."""
    said = {row: between_markers(case, row) for row in case.rows}
    several = [row for row in said if sum(m["role"] == "user" for m in said[row]) > 1]
    if len(several) < PACKED * len(case.rows):
        return None
    whole, mixed = _origin(case, [[normalize(m["content"]) for m in said[row]] for row in several])
    if mixed > 0.5 * len(several):
        return _seen(case, several, "mezcla", mezcladas=mixed)
    if whole >= 0.5 * len(several):
        return None
    # Varias charlas cortas pegadas tienen la forma de una larga: las filas solas no lo dicen.
    return "los diálogos de los que salen las filas, para saber si cada una es de una sola charla"


def _origin(case: Case, read: list[list[str]]) -> tuple[int, int]:
    """Cuántas filas son, enteras, de uno de los diálogos dados, y cuántas mezclan varios."""

    def round_trip(text: str) -> str:
        return case.decode(case.tokenizer.encode(text, add_special_tokens=False))

    # Si no aparecen tal cual, como los devuelve el tokenizador, que puede cambiar signos y letras.
    for spelled in (str, round_trip):
        homes: dict[str, set[int]] = {}
        for i, dialogue in enumerate(case.conversations or []):
            for turn in dialogue.turns:
                homes.setdefault(normalize(spelled(turn)), set()).add(i)
        found = [[homes.get(text, set()) for text in texts] for texts in read]
        shared = [bool(set.intersection(*sets)) for sets in found if sets and all(sets)]
        if shared:
            return sum(shared), len(shared) - sum(shared)
    return 0, 0
