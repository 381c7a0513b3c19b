"""Las filas: qué cuenta la pérdida en ellas, cuáles se cortaron y si unos ejemplos ven a otros."""

from collections import Counter
from itertools import pairwise, takewhile

from course_lib.audit.case import Case, once
from course_lib.audit.engine import Seen, check, share
from course_lib.audit.prompts import between_markers, stray_bos
from course_lib.audit.roles import Roles, render_probe
from course_lib.audit.rows import Row, dig
from course_lib.dialogues import normalize
from course_lib.encoding import IGNORED, Kind

PADDING_LEVELS = {"grave": 0.20, "aviso": 0.01}  # de las etiquetas que cuentan
USER_TOKENS = 0.50  # de sus tokens de usuario, para decir que una fila los cuenta
PILE = 3  # filas iguales de largas, para creer que las iguala un tope
MANY = 5  # filas, todas igual de largas: tantas no coinciden por casualidad
HOLLOW = ("", "none", "nan", "null")  # lo que se lee en las respuestas que faltan
PACKED = 0.10  # de las filas, para decir que se empaquetó
LIMITS = ("args.max_length", "args.max_seq_length", "tokenizer.model_max_length",
          "model.config.max_position_embeddings")  # fmt: skip
WRAPPED = "filas que no estén empaquetadas en trozos iguales"


@once
def masked_ends(case: Case) -> tuple[int, list[Row]] | str | None:
    """El token de fin que nadie cuenta, si importa, y las filas en que cierra algo que cuenta."""
    counted = {row.ids[i] for row in case.labelled for i in row.supervised} & case.ends
    hidden: dict[int, list[Row]] = {}
    for row in case.labelled:
        supervised, visible = set(row.supervised), _visible(case, row)
        after = {row.ids[i] for before, i in pairwise(visible) if before in supervised}
        for token in (after & case.ends) - counted:
            hidden.setdefault(token, []).append(row)
    if not hidden and not counted:
        return "algún token de fin en el texto de las filas"
    # Si otro fin de turno sí cuenta, que falte uno solo importa cuando es el del tokenizador.
    if case.eos in hidden:
        return case.eos, hidden[case.eos]
    return None if counted else next(iter(hidden.items()))


@check("fin-tapado", "labelled", "ends", masked_ends, severity="grave")
def masked_end(case: Case, rows: list[Row], ends: set[int], masked: tuple[int, list[Row]]):
    """El token de fin está detrás de lo que se enseña, y ninguna fila lo cuenta."""
    token, guilty = masked
    said = ["prueba", case.pad == token and "relleno"]
    numbers = {"filas": len(rows), "con_fin": len(guilty), "id": token}
    return Seen(numbers, guilty, say=said, texto=case.text_of(token))


@check("relleno-contado", "labelled", **PADDING_LEVELS)
def counted_padding(case: Case, rows: list[Row]):
    """La parte de las etiquetas que cuentan que es relleno."""
    # Nadie predice la primera.
    counted = sum(label != IGNORED for row in rows for label in row.labels[1:])
    if not counted:
        return "alguna etiqueta que cuente"
    extra = {row: _counted_padding(case, row) for row in rows}
    padded = sum(extra.values())
    worst = [row for row in rows if extra[row]]
    numbers = {"etiquetas": counted, "relleno": padded, "proporcion": padded / counted}
    return Seen(numbers, worst, con_relleno=len(worst), filas=len(rows))


@check("sin-fin", "labelled", "ends", grave=0.50, aviso=0.05)
def no_end(case: Case, rows: list[Row], ends: set[int]):
    """Filas que acaban sin nada que diga que acaban."""
    if case.wrapped:
        return WRAPPED if case.is_chat else None
    cut = set(cut_rows(case)) if case.is_chat else ()
    whole = [row for row in rows if row.supervised and row not in cut]
    if not whole:
        return "filas enteras, sin cortar y con algo que cuente"
    left_open = [row for row in whole if not _closes(case, row)]
    stops, told = case.stops
    if not left_open and case.is_chat and case.tokenizer is not None:
        ends_in = {row: _end_at(case, row, row.supervised[-1]) for row in whole}
        deaf = [row for row, token in ends_in.items() if token is not None and token not in stops]
        if not deaf:
            return None
        words = {"texto": case.text_of(ends_in[deaf[0]]), "severity": None if told else "nota"}
        words["paran"] = ", ".join(repr(case.text_of(token)) for token in sorted(stops - {None}))
        return Seen(share("sin_fin", deaf, whole), deaf, cause="otro", **words)
    if not left_open:
        return None
    first = left_open[0]
    return Seen(
        share("sin_fin", left_open, whole),
        left_open,
        say=["prueba", not case.is_chat and "seguido"],
        at_most=None if case.is_chat else "nota",
        ultimo=case.decode(first.ids[max(0, first.supervised[-1] - 3) :][:4]),
    )


@check("usuario-supervisado", "labelled", "roles", aviso=0.50)
def supervised_user(case: Case, rows: list[Row], roles: Roles):
    """El texto del usuario cuenta en la pérdida."""
    spots: dict[Row, list[int]] = {}
    for row in rows:
        kinds = case.kinds_of(row)
        said = [i for i, kind in enumerate(kinds) if kind == Kind.USER]
        if said and Kind.REPLY in kinds[said[0] :]:  # si no, no se sabe dónde acaba el usuario
            spots[row] = said
    if not spots:
        return "texto de usuario en las filas"
    counts = {row: sum(row.labels[i] != IGNORED for i in said) for row, said in spots.items()}
    guilty = [row for row, said in spots.items() if _counts_a_turn(row, said)]
    tokens = sum(map(len, spots.values()))
    return Seen(
        share("supervisadas", guilty, spots)
        | {"tokens_de_usuario": tokens, "tokens_contados": sum(counts.values())},
        guilty,
        at_most="nota" if roles.name == "preguntas" else None,  # un cuestionario no es una charla
    )


def _counts_a_turn(row: Row, said: list[int]) -> bool:
    """Si la pérdida cuenta algún turno entero, o casi, de los del usuario."""
    runs: dict[int, list[int]] = {}
    for order, i in enumerate(said):
        runs.setdefault(i - order, []).append(i)
    shares = (sum(row.labels[i] != IGNORED for i in run) / len(run) for run in runs.values())
    return any(share >= USER_TOKENS for share in shares)


def labelled_or_lost(case: Case) -> list[Row] | str:
    """Las filas con etiquetas; ninguna si TRL las descartó todas o no llegaría a hacerlas."""
    data = case.train_dataset
    return [] if case.refused or (data is not None and not len(data)) else case.labelled


@check("nada-supervisado", labelled_or_lost, grave=0.50, aviso=0.01)
def nothing_supervised(case: Case, rows: list[Row]):
    """Filas en las que la pérdida no cuenta nada, sin que el corte lo explique."""
    if not rows:
        why = "plantilla" if case.refused else "sin_filas"
        return Seen({}, cause=why, severity="grave", error=case.refused[:200])
    cut = cut_rows(case) if case.ends else ()
    empty = [row for row in rows if row not in cut and set(row.labels) <= {IGNORED}]
    blank = [row for row in rows if row.supervised and _said(case, row).lower() in HOLLOW]
    if len(blank) > len(empty) and case.is_chat and not case.wrapped:
        limit = None if "" in [_said(case, row) for row in blank] else "nota"
        return Seen(share("vacias", blank, rows), blank, cause="sin_texto", at_most=limit)
    start = case.decode(empty[0].real[:16]) if empty and case.tokenizer is not None else ""
    said = ["prueba", start and "comienzo"]
    return Seen(share("vacias", empty, rows), empty, say=said, comienzo=start)


def _said(case: Case, row: Row) -> str:
    """Lo que cuenta, sin los fines ni los espacios de los extremos."""
    ids = (row.ids[i] for i in row.supervised)
    return "".join(case.pieces([i for i in ids if i not in case.marks])).strip()


@check("respuesta-cortada", "rows", "ends", grave=0.20, aviso=0.01, nota=0)
def truncated(case: Case, rows: list[Row], ends: set[int]):
    """Respuestas cortadas por el tope de longitud."""
    if case.wrapped:  # trozos de un texto seguido: no hay respuesta que cortar
        return WRAPPED if case.is_chat else None
    cut = cut_rows(case)
    headless = [] if cut else headless_rows(case)
    if headless:
        numbers = share("cortadas", headless, rows) | {"tope": _cap(case)}
        return Seen(numbers, headless, cause="comienzo", severity="nota")
    lost = sum(map(_is_mute, cut))
    if not case.is_chat and lost < len(cut):
        return None
    numbers = share("cortadas", cut, rows) | {"tope": _cap(case), "sin_respuesta": lost}
    return Seen(numbers, cut, say=["prueba", lost and "enteras"])


@once
def cut_rows(case: Case) -> list[Row]:
    """Las filas que llegan al tope y a las que les falta el fin, o todo lo que enseñar."""
    limit = _cap(case)
    full = [row for row in case.rows if limit is not None and len(row.real) >= limit]
    return [row for row in full if not _closed(case, row, row.end - 1) or _is_mute(row)]


@once
def headless_rows(case: Case) -> list[Row]:
    """Las filas que llegan al tope y no empiezan como empieza siempre la plantilla."""
    limit, text = _cap(case), render_probe(case.tokenizer)
    if limit is None or text is None or dig(case.roles, "name") != "plantilla":
        return []
    first = case.tokenizer.encode(text, add_special_tokens=False)[0]
    full = [row for row in case.rows if len(row.real) >= limit]
    return [row for row in full if row.real[0] != first and not case.opens(row)]


def _is_mute(row: Row) -> bool:
    """Si la fila tiene etiquetas y ninguna cuenta."""
    return row.labels is not None and not row.supervised


@once
def _cap(case: Case) -> int | None:
    """El tope de longitud en tokens que parece haberse aplicado, o `None` si no se ve ninguno."""
    lengths = Counter(len(row.real) for row in case.rows)
    longest = max(lengths)
    if longest in [dig(case, path) for path in LIMITS]:
        return longest
    if len(lengths) == 1:
        distinct = {tuple(row.real) for row in case.rows}
        return longest if len(distinct) >= MANY else None
    if {len(row.ids) for row in case.rows} == {longest}:  # todas rellenas hasta lo que una llena
        return longest
    near = [lengths[longest - back] for back in range(1, 6)]
    pile = lengths[longest] >= max(PILE, 3 * sum(near) / len(near))
    below = [_closed(case, r, r.end - 1) for r in case.rows if len(r.real) < longest]
    return longest if pile and sum(below) > 0.5 * len(below) else None


def _visible(case: Case, row: Row) -> list[int]:
    """Las posiciones del texto de verdad que no son solo espacios."""
    return [i for i in range(row.start, row.end) if not case.is_blank(row.ids[i])]


def _closes(case: Case, row: Row) -> bool:
    """Si lo último que cuenta es un fin, aunque sea el primer token del relleno.

    Con el fin detrás, pero tapado en todas las filas, el fallo es otro y ya está dicho.
    """
    last, after = row.supervised[-1], row.end
    if last == after - 1 and after < len(row.ids) and row.labels[after] in case.ends:
        return True
    if isinstance(masked_ends(case), tuple):
        rest = [row.ids[i] for i in _visible(case, row) if i > last]
        if rest and rest[0] in case.ends:
            return True
    return _closed(case, row, last)


def _closed(case: Case, row: Row, last: int) -> bool:
    """Si hay un token de fin en esa posición, o antes y con dos espacios en medio como mucho."""
    return _end_at(case, row, last) is not None


def _end_at(case: Case, row: Row, last: int) -> int | None:
    """Ese token de fin."""
    tokens = row.ids[max(row.start + 1, last - 2) : last + 1]
    visible = [token for token in tokens if not case.is_blank(token)]
    return visible[-1] if visible and visible[-1] in case.ends else None


def _counted_padding(case: Case, row: Row) -> int:
    """El relleno que cuenta; un solo token de fin detrás del texto no es relleno, es el fin."""
    spots = [*range(1, row.start), *range(row.end, len(row.ids))]
    counted = [i for i in spots if row.labels[i] != IGNORED]
    return 0 if counted == [row.end] and row.ids[row.end] in case.ends else len(counted)


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
    borders, said = _borders(case), ["prueba", "frontera"]
    starts: dict[Row, list[int]] = {}  # dónde empieza cada documento de una fila, menos el primero
    for row in rows:
        real = row.real
        while len(real) > 1 and (real[-1] in borders or case.is_blank(real[-1])):
            real.pop()
        opening = len(list(takewhile(lambda token: token in borders, real)))
        inside = range(max(1, opening), len(real) - 1)
        stray = stray_bos(case, row)  # uno suelto ante la respuesta no separa documentos
        starts[row] = [i + 1 for i in inside if real[i] in borders and i != stray]
    packed = [row for row in rows if starts[row]]
    if len(packed) >= PACKED * len(rows):
        at = starts[packed[0]][0]
        words = {"alrededor": case.decode(packed[0].real[max(0, at - 6) : at + 6])}
    else:
        unrelated = _unrelated(case) if case.is_chat and case.roles is not None else None
        if not isinstance(unrelated, tuple):
            return unrelated
        packed, mixed = unrelated
        said, words = ["prueba", "mezcla"], {"mezcladas": mixed}
    return Seen(
        share("empaquetadas", packed, rows),
        packed,
        say=[*said, not case.is_chat and "seguido"],
        severity="grave" if case.is_chat else "nota",
        **words,
    )


def _borders(case: Case) -> set[int]:
    """Los tokens que, en medio de una fila, solo pueden separar documentos."""
    tokens = {case.eos, case.bos} - {None}
    if not case.is_chat or case.wrapped:
        return tokens
    text = render_probe(case.tokenizer)
    if text is None or case.roles is None or case.roles.name != "plantilla":
        return set()
    inside = text.strip()[1:-1]  # un fin que cierre cada respuesta de una misma charla no sirve
    return {token for token in tokens if case.tokenizer.convert_ids_to_tokens(token) not in inside}


def _unrelated(case: Case) -> tuple[list[Row], int] | str | None:
    """Las filas con varios intercambios, y cuántas mezclan charlas que no tienen que ver."""
    said = {row: between_markers(case, row) for row in case.rows}
    several = [row for row in said if sum(m["role"] == "user" for m in said[row]) > 1]
    if len(several) < PACKED * len(case.rows):
        return None
    whole, mixed = _origin(case, [[normalize(m["content"]) for m in said[row]] for row in several])
    if mixed > 0.5 * len(several):
        return several, mixed
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
