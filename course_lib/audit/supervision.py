"""Qué cuenta la pérdida: el fin, el relleno, el texto del usuario, o nada."""

from course_lib.audit.case import Case
from course_lib.audit.findings import Finding, finding, grade, listing, percent
from course_lib.audit.rows import Row
from course_lib.audit.truncation import closes, cut_rows
from course_lib.encoding import IGNORED, Kind

PADDING_GRAVE, PADDING_WARNING = 0.20, 0.01  # de las etiquetas que cuentan
NO_END_GRAVE, NO_END_WARNING = 0.50, 0.05  # de las filas sin cortar
USER_ROWS = 0.50  # de las filas con usuario
USER_TOKENS = 0.50  # de sus tokens de usuario, para decir que una fila los cuenta
EMPTY_GRAVE, EMPTY_WARNING = 0.50, 0.01
NO_TOKENIZER = "el tokenizador, para saber cuál es el token de fin"


def check_masked_end(case: Case) -> Finding | str | None:
    """El token de fin está detrás de lo que se enseña, y ninguna fila lo cuenta."""
    if isinstance(case.labelled, str):
        return case.labelled
    if not case.ends:
        return NO_TOKENIZER
    seen = _unsupervised_ends(case)
    if not any(seen.values()):
        return None if _counted_ends(case) else "algún token de fin en el texto de las filas"
    hidden = {token: rows for token, rows in seen.items() if token not in _counted_ends(case)}
    # Si otro fin de turno sí cuenta, que falte uno solo importa cuando es el del tokenizador.
    if not hidden or (_counted_ends(case) and case.eos not in hidden):
        return None
    token = case.eos if case.eos in hidden else next(iter(hidden))
    rows = hidden[token]
    text = case.pieces([token])[0]
    return finding(
        "fin-tapado",
        "grave",
        f"El token de fin {text!r} (id {token}) cierra el texto de {len(rows)} filas de "
        f"{len(case.labelled)} y su etiqueta es {IGNORED} en todas: filas "
        f"{listing(row.number for row in rows)}."
        + (" El relleno es el mismo token." if case.pad == token else "")
        + case.sampling(),
        {"filas": len(case.labelled), "con_fin": len(rows), "id": token},
        [row.number for row in rows],
        case.example(rows[0]),
    )


def check_padding(case: Case) -> Finding | str | None:
    """La parte de las etiquetas que cuentan que es relleno."""
    if isinstance(case.labelled, str):
        return case.labelled
    counted = padded = 0
    worst: list[Row] = []
    for row in case.labelled:
        extra = _counted_padding(case, row)
        counted += sum(label != IGNORED for label in row.labels[1:])  # nadie predice el primero
        padded += extra
        if extra:
            worst.append(row)
    if not counted:
        return "alguna etiqueta que cuente"
    share = padded / counted
    severity = grade(share, PADDING_GRAVE, PADDING_WARNING)
    if severity is None:
        return None
    return finding(
        "relleno-contado",
        severity,
        f"{padded} de las {counted} etiquetas que la pérdida cuenta son relleno: el "
        f"{percent(share)}. Se ve en {len(worst)} filas de {len(case.labelled)}: "
        f"{listing(row.number for row in worst)}." + case.sampling(),
        {"etiquetas": counted, "relleno": padded, "proporcion": share},
        [row.number for row in worst],
        case.example(worst[0]),
        title=f"El {percent(share)} de lo que cuenta la pérdida es relleno",
    )


def check_no_end(case: Case) -> Finding | str | None:
    """Filas que acaban sin nada que diga que acaban."""
    if isinstance(case.labelled, str):
        return case.labelled
    if not case.ends:
        return NO_TOKENIZER
    if case.wrapped:
        return None if not case.is_chat else "filas que no estén empaquetadas en trozos iguales"
    cut = {id(row) for row in cut_rows(case)} if case.is_chat else set()
    whole = [row for row in case.labelled if row.supervised and id(row) not in cut]
    if not whole:
        return "filas enteras, sin cortar y con algo que cuente"
    masked = isinstance(check_masked_end(case), Finding)
    open_rows = [
        row
        for row in whole
        # Con el fin en el texto pero tapado, el fallo es otro y ya está dicho.
        if not closes(case, row) and not (masked and _next_is_end(case, row))
    ]
    share = len(open_rows) / len(whole)
    severity = grade(share, NO_END_GRAVE, NO_END_WARNING)
    if severity is None:
        return None
    last = case.decode(open_rows[0].ids[max(0, open_rows[0].supervised[-1] - 3) :][:4])
    plain = " Es texto sin turnos: solo importa si ha de saber dónde parar."
    return finding(
        "sin-fin",
        severity if case.is_chat else "nota",
        f"{len(open_rows)} de {len(whole)} filas ({percent(share)}) acaban lo que cuenta en la "
        f"pérdida sin token de fin; la fila {open_rows[0].number}, en {last!r}."
        + ("" if case.is_chat else plain)
        + case.sampling(),
        {"filas": len(whole), "sin_fin": len(open_rows), "proporcion": share},
        [row.number for row in open_rows],
        case.example(open_rows[0]),
    )


def check_user(case: Case) -> Finding | str | None:
    """El texto del usuario cuenta en la pérdida."""
    if isinstance(case.labelled, str):
        return case.labelled
    if case.roles is None:
        return "marcadores de turno que reconocer en las filas, y el tokenizador para leerlas"
    with_user = supervised = tokens = 0
    guilty: list[Row] = []
    for row in case.labelled:
        kinds = case.kinds_of(row)
        spots = [i for i, kind in enumerate(kinds) if kind == Kind.USER]
        if not spots or Kind.REPLY not in kinds[spots[0] :]:
            continue  # sin respuesta detrás, no se sabe dónde acaba el usuario
        with_user += 1
        counts = sum(row.labels[i] != IGNORED for i in spots)
        tokens += len(spots)
        supervised += counts
        if counts >= USER_TOKENS * len(spots):
            guilty.append(row)
    if not with_user:
        return "texto de usuario en las filas"
    share = len(guilty) / with_user
    if share < USER_ROWS:
        return None
    return finding(
        "usuario-supervisado",
        "nota" if case.roles.name == "preguntas" else "aviso",  # un cuestionario no es una charla
        f"En {len(guilty)} de {with_user} filas con usuario ({percent(share)}) la pérdida cuenta "
        f"su texto: {supervised} de {tokens} tokens." + case.sampling(),
        {"filas": with_user, "supervisadas": len(guilty), "proporcion": share,
         "tokens_de_usuario": tokens, "tokens_contados": supervised},
        [row.number for row in guilty],
        case.example(guilty[0]),
    )  # fmt: skip


def check_nothing(case: Case) -> Finding | str | None:
    """Filas en las que la pérdida no cuenta nada, sin que el corte lo explique."""
    if isinstance(case.labelled, str):
        return case.labelled
    cut = {id(row) for row in cut_rows(case)} if case.ends else set()
    empty = [
        row
        for row in case.labelled
        if id(row) not in cut and all(label == IGNORED for label in row.labels)
    ]
    share = len(empty) / len(case.labelled)
    severity = grade(share, EMPTY_GRAVE, EMPTY_WARNING)
    if severity is None:
        return None
    text = case.decode(empty[0].real[:16]) if case.tokenizer is not None else ""
    return finding(
        "nada-supervisado",
        severity,
        f"{len(empty)} de {len(case.labelled)} filas ({percent(share)}) tienen todas las "
        f"etiquetas a {IGNORED}: {listing(row.number for row in empty)}."
        + (f" La primera empieza por {text!r}." if text else "")
        + case.sampling(),
        {"filas": len(case.labelled), "vacias": len(empty), "proporcion": share},
        [row.number for row in empty],
        case.example(empty[0]),
    )


def _unsupervised_ends(case: Case) -> dict[int, list[Row]]:
    """De cada token de fin, las filas en que cierra algo que cuenta y él no cuenta."""
    seen: dict[int, list[Row]] = {token: [] for token in case.ends}
    for row in case.labelled:
        supervised = set(row.supervised)
        for i in range(row.start + 1, row.end):
            if row.ids[i] not in case.ends or row.labels[i] != IGNORED:
                continue
            before = i - 1
            while before > row.start and not case.pieces([row.ids[before]])[0].strip():
                before -= 1
            if before in supervised and row not in seen[row.ids[i]][-1:]:
                seen[row.ids[i]].append(row)
    return seen


def _counted_ends(case: Case) -> set[int]:
    """Los tokens de fin que alguna fila cuenta."""
    return {row.ids[i] for row in case.labelled for i in row.supervised if row.ids[i] in case.ends}


def _next_is_end(case: Case, row: Row) -> bool:
    rest = row.ids[row.supervised[-1] + 1 : row.end]
    text = [i for i in rest if i in case.ends or case.pieces([i])[0].strip()]
    return bool(text) and text[0] in case.ends


def _counted_padding(case: Case, row: Row) -> int:
    """El relleno que cuenta; un solo token de fin detrás del texto no es relleno, es el fin."""
    spots = [*range(1, row.start), *range(row.end, len(row.ids))]
    counted = [i for i in spots if row.labels[i] != IGNORED]
    if counted == [row.end] and row.ids[row.end] in case.ends:
        return 0
    return len(counted)
