"""Cómo se pregunta, frente a cómo se entrenó: plantilla, espacios, marcadores y comienzos."""

from collections import Counter

from course_lib.audit.asking import HISTORY, asked_ids, difference, tried_prompts
from course_lib.audit.case import Case
from course_lib.audit.findings import Finding, finding, grade, listing, percent
from course_lib.audit.roles import ANY_MARKER, render_probe
from course_lib.encoding import BOT, USER

TEMPLATE_GRAVE, TEMPLATE_WARNING = 0.50, 0.05
MARKER_SHARE = 0.05  # de las filas, para creer que un texto entre ángulos es un marcador
DOUBLE_BOS = 0.01


def check_template(case: Case) -> Finding | str | None:
    """Los ids de la petición no son el principio de los del ejemplo."""
    tried = tried_prompts(case)
    if isinstance(tried, str):
        return tried
    failed = [t for t in tried if not t["fits"] and not t["only_space"]]
    drifting = [t for t in tried if t["fits"] and not t["history_fits"]]
    share = len(failed) / len(tried)
    severity = grade(share, TEMPLATE_GRAVE, TEMPLATE_WARNING)
    numbers = {
        "filas": len(tried),
        "distintas": len(failed),
        "proporcion": share,
        "con_historia": len(drifting),
    }
    if severity:
        first = failed[0]
        evidence = (
            f"En {len(failed)} de {len(tried)} filas probadas ({percent(share)}) la petición no "
            f"es el principio del ejemplo. {difference(case, first['ids'], first['row'].real)}"
        )
        guilty = failed
    elif len(drifting) >= TEMPLATE_GRAVE * len(tried):
        severity, guilty, first = "aviso", drifting, drifting[0]
        evidence = (
            f"Una pregunta suelta empieza como los ejemplos, pero con historia no: en "
            f"{len(drifting)} de {len(tried)} filas probadas, al seguir la charla se monta otra "
            f"cosa. {difference(case, first['history'], first['row'].real)}"
        )
    else:
        return None
    return finding(
        "plantilla-distinta",
        severity,
        evidence,
        numbers,
        [t["row"].number for t in guilty],
        case.example(first["row"]),
    )


def check_space(case: Case) -> Finding | str | None:
    """La petición acaba en un espacio que estropea su tokenización."""
    tried = tried_prompts(case)
    if isinstance(tried, str):
        return tried
    failed = [t for t in tried if t["only_space"]]
    if len(failed) < TEMPLATE_WARNING * len(tried) or not failed:
        return None
    first = failed[0]
    return finding(
        "espacio-final",
        "aviso",
        f"En {len(failed)} de {len(tried)} filas probadas la petición acaba en "
        f"{case.decode(first['ids'][-3:])!r}, y sus ids no son el principio del ejemplo. "
        f"{difference(case, first['ids'], first['row'].real)}",
        {"filas": len(tried), "con_espacio": len(failed)},
        [t["row"].number for t in failed],
    )


def check_markers(case: Case) -> Finding | str | None:
    """Marcadores de turno que el tokenizador parte."""
    if case.tokenizer is None:
        return "el tokenizador"
    texts = _marked_texts(case)
    if texts is None:
        return "filas, plantilla o petición en las que buscar marcadores"
    counts = Counter(marker for text in texts for marker in set(ANY_MARKER.findall(text)))
    markers = {m for m, n in counts.items() if n >= MARKER_SHARE * len(texts)}
    # Los de la plantilla, aunque en las filas ya no se lean por haber caído en «<unk>».
    markers |= set(ANY_MARKER.findall(render_probe(case.tokenizer) or ""))
    broken = {}
    for marker in sorted(markers):
        ids = case.tokenizer.encode(marker, add_special_tokens=False)
        if len(ids) > 1 and marker.upper() not in ("[INST]", "[/INST]"):  # esos nacieron así
            broken[marker] = case.pieces(ids)
    if not broken:
        return None
    shown = "; ".join(f"{m} en {len(p)}: {' '.join(map(repr, p))}" for m, p in broken.items())
    return finding(
        "marcadores-rotos",
        "aviso",
        f"Este tokenizador parte los marcadores: {shown}.",
        {"piezas": {marker: len(pieces) for marker, pieces in broken.items()}},
        example=case.example(case.rows[0]) if isinstance(case.rows, list) else None,
    )


def check_double_bos(case: Case) -> Finding | str | None:
    """Dos tokens de comienzo seguidos."""
    if case.tokenizer is None:
        return "el tokenizador"
    bos = case.tokenizer.bos_token_id
    if bos is None:
        return "un token de comienzo: este tokenizador no lo tiene"
    if isinstance(case.rows, str):
        return case.rows
    double = [row for row in case.rows if row.real[:2] == [bos, bos]]
    share = len(double) / len(case.rows)
    if share < DOUBLE_BOS:
        return None
    return finding(
        "doble-bos",
        "aviso",
        f"{len(double)} de {len(case.rows)} filas ({percent(share)}) empiezan por "
        f"{case.decode(double[0].real[:4])!r}: filas {listing(row.number for row in double)}."
        + case.sampling(),
        {"filas": len(case.rows), "dobles": len(double), "proporcion": share},
        [row.number for row in double],
        case.example(double[0]),
    )


def _marked_texts(case: Case) -> list[str] | None:
    """Textos en los que buscar marcadores: filas, plantilla y petición; o `None` si no hay."""
    if isinstance(case.rows, list):
        # Sin espacios: los tokenizadores por palabras los meten dentro de un marcador roto.
        return ["".join("".join(case.pieces(row.real)).split()) for row in case.rows[:200]]
    texts = list(case.raw_texts[:200])
    if not texts and case.conversations and not case.tokenizer.chat_template:
        texts = [f"{USER} {BOT}"]  # sin plantilla propia, los del curso
    if not texts and render_probe(case.tokenizer):
        texts = [render_probe(case.tokenizer)]
    if case.prompt is not None:
        try:
            ask = [{"role": "user", "content": HISTORY}]
            texts.append(case.decode(asked_ids(case, ask)[0]))
        except Exception:
            pass
    return texts or None
