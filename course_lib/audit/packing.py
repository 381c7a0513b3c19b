"""Varios ejemplos en una fila: si se ven unos a otros."""

from course_lib.audit.case import Case
from course_lib.audit.findings import Finding, finding, listing, percent
from course_lib.audit.fold import fold
from course_lib.audit.roles import render_probe
from course_lib.audit.rows import Row
from course_lib.audit.turns import between_markers

PACKED = 0.10  # de las filas, para decir que se empaquetó


def check_packing(case: Case) -> Finding | str | None:
    """Filas con dos documentos o más y sin fronteras entre ellos."""
    if isinstance(case.rows, str):
        return case.rows
    collated = case.collated
    if collated.block_mask:
        return None
    loose = collated.joined - collated.bounded
    if loose:
        return finding(
            "empaquetado",
            "grave",
            f"El collator junta los ejemplos de cada lote en una sola fila, y en {loose} de "
            f"{collated.joined} lotes no hay position_ids que vuelvan a cero, ni seq_idx, ni "
            "cu_seqlens, ni una máscara por bloques." + case.sampling(),
            {"lotes": collated.joined, "sin_fronteras": loose},
            [row.number for row in case.rows[:8]],
            case.example(case.rows[0]),
        )
    if collated.joined:
        return None
    if not case.ends:
        return "el tokenizador, para ver dónde acaba cada documento"
    borders = _borders(case)
    if borders:
        packed = [row for row in case.rows if _inner(case, row, borders)]
        if len(packed) >= PACKED * len(case.rows):
            at = _inner(case, packed[0], borders)[0]
            around = case.decode(packed[0].real[max(0, at - 6) : at + 6])
            return _finding(case, packed, f"Uno acaba y otro empieza en {around!r}.")
    return _unrelated(case) if case.is_chat and case.roles is not None else None


def _unrelated(case: Case) -> Finding | str | None:
    """Filas con varios intercambios que no tienen que ver: charlas distintas, pegadas."""
    several = [row for row in case.rows if _exchanges(case, row) > 1]
    if len(several) < PACKED * len(case.rows):
        return None
    whole, mixed = _origin(case, several)
    if mixed > 0.5 * len(several):
        return _finding(
            case,
            several,
            f"En {mixed} de ellas, los turnos son de diálogos distintos de los que se dieron.",
        )
    if whole >= 0.5 * len(several):
        return None
    # Varias charlas cortas pegadas tienen la forma de una larga: las filas solas no lo dicen.
    return "los diálogos de los que salen las filas, para saber si cada una es de una sola charla"


def _origin(case: Case, rows: list[Row]) -> tuple[int, int]:
    """Cuántas filas son, enteras, de uno de los diálogos dados, y cuántas mezclan varios."""
    read = [[fold(m["content"]) for m in between_markers(case, row)] for row in rows]

    def round_trip(text: str) -> str:
        return case.decode(case.tokenizer.encode(text, add_special_tokens=False))

    # Si no aparecen tal cual, como los devuelve el tokenizador, que puede cambiar signos y letras.
    for spelled in (str, round_trip):
        homes: dict[str, set[int]] = {}
        for i, dialogue in enumerate(case.conversations or []):
            for turn in dialogue.turns:
                homes.setdefault(fold(spelled(turn)), set()).add(i)
        found = [[homes.get(text, set()) for text in texts] for texts in read]
        shared = [bool(set.intersection(*sets)) for sets in found if sets and all(sets)]
        if shared:
            return sum(shared), len(shared) - sum(shared)
    return 0, 0


def _finding(case: Case, packed: list[Row], proof: str) -> Finding:
    share = len(packed) / len(case.rows)
    plain = " En texto seguido es práctica corriente, y suele bastar."
    return finding(
        "empaquetado",
        "grave" if case.is_chat else "nota",
        f"{len(packed)} de {len(case.rows)} filas ({percent(share)}) llevan varios documentos y "
        f"nada los separa: {listing(row.number for row in packed)}. {proof}"
        + ("" if case.is_chat else plain)
        + case.sampling(),
        {"filas": len(case.rows), "empaquetadas": len(packed), "proporcion": share},
        [row.number for row in packed],
        case.example(packed[0]),
    )


def _borders(case: Case) -> set[int]:
    """Los tokens que, en medio de una fila, solo pueden separar documentos.

    Con muchas plantillas el fin cierra cada respuesta, y el comienzo abre cada pregunta, de una
    misma charla: esos no sirven.
    """
    bos = getattr(case.tokenizer, "bos_token_id", None)
    tokens = {token for token in (case.eos, bos) if token is not None}
    if not case.is_chat or case.wrapped:
        return tokens
    text = render_probe(case.tokenizer) if case.tokenizer is not None else None
    if text is None or case.roles is None or case.roles.name != "plantilla":
        return set()
    inside = text.strip()[1:-1]
    return {token for token in tokens if case.tokenizer.convert_ids_to_tokens(token) not in inside}


def _inner(case: Case, row: Row, borders: set[int]) -> list[int]:
    """Dónde empieza cada documento de la fila, menos el primero."""
    real = row.real
    last = len(real) - 1
    while last > 0 and (real[last] in borders or not case.pieces([real[last]])[0].strip()):
        last -= 1
    return [i + 1 for i in range(1, last) if real[i] in borders]


def _exchanges(case: Case, row: Row) -> int:
    """Cuántas veces habla el usuario en una fila."""
    return sum(message["role"] == "user" for message in between_markers(case, row))
