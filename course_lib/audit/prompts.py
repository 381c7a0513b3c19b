"""Cómo se pregunta, frente a cómo se entrenó: plantilla, espacios, marcadores y comienzos."""

from collections import Counter

from course_lib.audit.case import Case
from course_lib.audit.engine import Seen, check, share
from course_lib.audit.messages import FOLLOW_UP, Asked, asked_ids, tried_prompts
from course_lib.audit.roles import ANY_MARKER, render_probe
from course_lib.audit.rows import Row
from course_lib.audit.texts import texts_in
from course_lib.encoding import BOT, USER

FAILING = 0.05  # de las peticiones, aunque solo falle el espacio
DRIFTING = 0.50  # de las peticiones que solo fallan con historia
MARKER_SHARE = 0.05  # de las filas, para creer que un texto entre ángulos es un marcador
BORN_BROKEN = ("[INST]", "[/INST]")  # marcadores que nunca fueron de un token


@check("plantilla-distinta", tried_prompts, grave=0.50, aviso=FAILING)
def another_template(case: Case, tried: list[Asked]):
    """Los ids de la petición no son el principio de los del ejemplo."""
    failed = [t for t in tried if not t.fits and not t.only_space]
    drifting = [t for t in tried if t.fits and not t.history_fits]
    numbers = share("distintas", failed, tried) | {"con_historia": len(drifting)}
    if numbers["proporcion"] >= FAILING:
        guilty, ids, words = failed, failed[0].ids, {}
    elif len(drifting) >= DRIFTING * len(tried):
        guilty, ids = drifting, drifting[0].history
        words = {"say": ["historia"], "severity": "aviso"}
    else:
        return None
    first = guilty[0].row
    words |= {"example": case.example(first), "diferencia": _difference(case, ids, first)}
    return Seen(numbers, [t.row.number for t in guilty], **words)


@check("espacio-final", tried_prompts, severity="aviso")
def trailing_space(case: Case, tried: list[Asked]):
    """La petición acaba en un espacio que estropea su tokenización."""
    failed = [t for t in tried if t.only_space]
    if len(failed) < FAILING * len(tried) or not failed:
        return None
    ids, row = failed[0].ids, failed[0].row
    numbers = {"filas": len(tried), "con_espacio": len(failed)}
    words = {"final": case.decode(ids[-3:]), "diferencia": _difference(case, ids, row)}
    return Seen(numbers, [t.row.number for t in failed], **words)


@check("marcadores-rotos", "tokenizer", severity="aviso")
def broken_markers(case: Case, tokenizer):
    """Marcadores de turno que el tokenizador parte."""
    texts = _marked_texts(case)
    if not texts:
        return "filas, plantilla o petición en las que buscar marcadores"
    counts = Counter(marker for text in texts for marker in set(ANY_MARKER.findall(text)))
    markers = {m for m, n in counts.items() if n >= MARKER_SHARE * len(texts)}
    # Los de la plantilla, aunque en las filas ya no se lean por haber caído en «<unk>».
    markers |= set(ANY_MARKER.findall(render_probe(tokenizer) or ""))
    pieces = {m: case.pieces(tokenizer.encode(m, add_special_tokens=False)) for m in markers}
    broken = {
        m: pieces[m] for m in sorted(markers) if len(pieces[m]) > 1 and m.upper() not in BORN_BROKEN
    }
    if not broken:
        return None
    shown = [f"{m} en {len(parts)}: {' '.join(map(repr, parts))}" for m, parts in broken.items()]
    return Seen(
        {"piezas": {marker: len(parts) for marker, parts in broken.items()}},
        example=case.example(case.rows[0]) if case.has_rows else None,
        partidos="; ".join(shown),
    )


@check("doble-bos", "tokenizer", "bos", "rows", aviso=0.01)
def double_bos(case: Case, _, bos: int, rows: list[Row]):
    """Dos tokens de comienzo seguidos."""
    double = [row for row in rows if row.real[:2] == [bos, bos]]
    start = double and case.decode(double[0].real[:4])
    return Seen(share("dobles", double, rows), double, comienzo=start)


def _difference(case: Case, ids: list[int], row: Row) -> str:
    """Dónde se separan los ids de una petición y los de su ejemplo, en texto."""
    real = row.real
    at = next((i for i, (a, b) in enumerate(zip(ids, real)) if a != b), min(len(ids), len(real)))
    low = max(0, at - 4)
    return (
        f"Se separan en el token {at}: al entrenar, {case.decode(real[low : at + 6])!r}; "
        f"al preguntar, {case.decode(ids[low : at + 6])!r}."
    )


def _marked_texts(case: Case) -> list[str]:
    """Textos en los que buscar marcadores: de las filas o, si no hay, de lo demás."""
    if case.has_rows:
        # Sin espacios: los tokenizadores por palabras los meten dentro de un marcador roto.
        return ["".join("".join(case.pieces(row.real)).split()) for row in case.rows[:200]]
    texts = texts_in(case.train_dataset)
    if not texts and case.conversations and not case.tokenizer.chat_template:
        texts = [f"{USER} {BOT}"]  # sin plantilla propia, los del curso
    if not texts and (probe := render_probe(case.tokenizer)):
        texts = [probe]
    try:
        asked = [case.decode(asked_ids(case, [FOLLOW_UP])[0])] if case.prompt else []
    except Exception:
        asked = []
    return texts + asked
