"""El tope de longitud: cuál es, qué filas llegan a él y a cuáles les cortó la respuesta."""

from collections import Counter

from course_lib.audit.case import Case
from course_lib.audit.findings import Finding, finding, grade, listing, percent
from course_lib.audit.rows import Row

CUT_GRAVE, CUT_WARNING = 0.20, 0.01
PILE = 3  # filas iguales de largas, para creer que las iguala un tope
MANY = 5  # filas, todas igual de largas: tantas no coinciden por casualidad


def ends_well(case: Case, row: Row) -> bool:
    """Si la fila acaba en un token de fin, con o sin un salto de línea detrás."""
    return _closed(case, row, row.end - 1)


def closes(case: Case, row: Row) -> bool:
    """Si lo último que cuenta en la pérdida es un token de fin.

    Vale también el primer token del relleno, si es el de fin y es el único que cuenta.
    """
    last = row.supervised[-1]
    if last == row.end - 1 and _first_pad_is_end(case, row):
        return True
    return _closed(case, row, last)


def cap(case: Case) -> int | None:
    """El tope de longitud en tokens que parece haberse aplicado, o `None` si no se ve ninguno."""
    lengths = Counter(row.end - row.start for row in case.rows)
    longest = max(lengths)
    declared = [
        getattr(case.args, "max_length", None),
        getattr(case.args, "max_seq_length", None),
        getattr(case.tokenizer, "model_max_length", None),
        getattr(getattr(case.model, "config", None), "max_position_embeddings", None),
    ]
    if longest in declared:
        return longest
    if len(lengths) == 1:
        distinct = {tuple(row.real) for row in case.rows}
        return longest if len(distinct) >= MANY else None
    widths = {len(row.ids) for row in case.rows}
    if widths == {longest}:  # todas rellenas hasta el mismo ancho, y alguna lo llena
        return longest
    near = [lengths[longest - back] for back in range(1, 6)]
    pile = lengths[longest] >= max(PILE, 3 * sum(near) / len(near))
    below = [row for row in case.rows if row.end - row.start < longest]
    return longest if pile and sum(ends_well(case, r) for r in below) > 0.5 * len(below) else None


def cut_rows(case: Case) -> list[Row]:
    """Las filas que llegan al tope y a las que les falta el fin, o todo lo que enseñar."""
    limit = cap(case)
    if limit is None:
        return []
    full = [row for row in case.rows if row.end - row.start >= limit]
    return [
        row
        for row in full
        if not ends_well(case, row) or (row.labels is not None and not row.supervised)
    ]


def check_truncated(case: Case) -> Finding | str | None:
    """Respuestas cortadas por el tope de longitud."""
    if isinstance(case.rows, str):
        return case.rows
    if not case.ends:
        return "el tokenizador, para saber cuál es el token de fin"
    if case.wrapped:  # trozos de un texto seguido: no hay respuesta que cortar
        return None if not case.is_chat else "filas que no estén empaquetadas en trozos iguales"
    cut = cut_rows(case)
    if not case.is_chat and any(row.labels is None or row.supervised for row in cut):
        return None
    share = len(cut) / len(case.rows)
    severity = grade(share, CUT_GRAVE, CUT_WARNING, 0)
    if severity is None:
        return None
    hidden = sum(row.labels is not None and not row.supervised for row in cut)
    evidence = (
        f"{len(cut)} de {len(case.rows)} filas ({percent(share)}) llenan los {cap(case)} tokens "
        f"del tope y no tienen el final de la respuesta. Filas {listing(r.number for r in cut)}."
    )
    if hidden:
        evidence += f" En {hidden} de ellas el corte se llevó la respuesta entera."
    return finding(
        "respuesta-cortada",
        severity,
        evidence + case.sampling(),
        {"filas": len(case.rows), "cortadas": len(cut), "proporcion": share, "tope": cap(case),
         "sin_respuesta": hidden},
        [row.number for row in cut],
        case.example(cut[0]),
    )  # fmt: skip


def _closed(case: Case, row: Row, last: int) -> bool:
    blanks = 0
    while last > row.start and blanks < 3:
        if row.ids[last] in case.ends:
            return True
        if "".join(case.pieces([row.ids[last]])).strip():
            return False
        last, blanks = last - 1, blanks + 1
    return False


def _first_pad_is_end(case: Case, row: Row) -> bool:
    after = row.end
    return (
        after < len(row.ids)
        and row.ids[after] in case.ends
        and row.labels is not None
        and row.labels[after] == row.ids[after]
    )
