"""Las filas: qué cuenta la pérdida en ellas, cuáles se cortaron y si unos ejemplos ven a otros."""

from collections import Counter
from itertools import groupby, pairwise, takewhile

from course_lib.audit.case import Case, once
from course_lib.audit.engine import Seen, check, share
from course_lib.audit.prompts import between_markers, stray_bos
from course_lib.audit.recipe import call_of
from course_lib.audit.roles import Roles, render_probe
from course_lib.audit.rows import Row, dig, mask_fault
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


@check("descuadre", "rows_or_call", grave=0.20, aviso=0.01)
def misaligned(case: Case, _):
    """Etiquetas que no son el token de su sitio, o una máscara que no es la del relleno."""
    if case.slips:
        kind = max(case.slips, key=lambda name: len(case.slips[name]))
        rows = case.slips[kind]
        value = Counter(rows.values()).most_common(1)[0][0]
        say = ["malas_filas", kind, kind == "valor" and value == case.pad and "mismo"]
        # Sin saber qué modelo es, podría ser uno con codificador, con sus etiquetas aparte.
        limit = "aviso" if case.model is None and kind in ("ajenas", "largos") else None
        numbers = share("malas", [*rows], case.rows) | {"valor": value}
        return Seen(numbers, rows, say, cause=kind, at_most=limit)
    call, asked = call_of(case), []
    if not isinstance(call, str) and call[1] is not None:
        asked = [(i, ids, mask) for i, (ids, mask) in enumerate(zip(*call[:2]))]
    trained = case.has_rows and not case.collated.block_mask
    for group in ([(row, row.ids, row.mask) for row in case.rows] if trained else [], asked):
        faults = {who: mask_fault(ids, mask, case.pad, case.marks) for who, ids, mask in group}
        for kind in ("tapa", "fines", "relleno"):
            if guilty := [who for who, fault in faults.items() if fault == kind]:
                limit = None if kind == "tapa" or group is asked else "aviso"
                numbers = share("malas", guilty, group)
                return Seen(numbers, guilty, ["malas_filas", kind], cause=kind, at_most=limit)
    return None


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
    if left_open := [row for row in whole if not _closes(case, row)]:
        first, last = left_open[0], left_open[0].supervised[-1]
        return Seen(
            share("sin_fin", left_open, whole),
            left_open,
            say=["prueba", not case.is_chat and "seguido"],
            at_most=None if case.is_chat else "nota",
            ultimo=case.decode(first.ids[max(0, last - 3) : last + 1]),
        )
    if not case.is_chat or case.tokenizer is None:
        return None
    stops, told = case.stops
    last_ones = {row: _end_at(case, row, row.supervised[-1]) for row in whole}
    deaf = [row for row, token in last_ones.items() if token not in stops | {None}]
    if not deaf:
        return None
    words = {"texto": case.text_of(last_ones[deaf[0]]), "severity": None if told else "nota"}
    words["paran"] = ", ".join(repr(case.text_of(token)) for token in sorted(stops - {None}))
    return Seen(share("sin_fin", deaf, whole), deaf, cause="otro", **words)


@check("usuario-supervisado", "labelled", "roles", aviso=0.50)
def supervised_user(case: Case, rows: list[Row], roles: Roles):
    """El texto del usuario cuenta en la pérdida."""
    turns: dict[Row, list[list[bool]]] = {}  # qué tokens cuentan de cada turno del usuario
    for row in rows:
        kinds = case.kinds_of(row)
        runs = [[*run] for kind, run in groupby(range(len(kinds)), kinds.__getitem__)
                if kind == Kind.USER]  # fmt: skip
        if runs and Kind.REPLY in kinds[runs[0][0] :]:  # si no, no se sabe dónde acaba el usuario
            turns[row] = [[row.labels[i] != IGNORED for i in run] for run in runs]
    if not turns:
        return "texto de usuario en las filas"
    guilty = [row for row, said in turns.items()
              if any(sum(turn) >= USER_TOKENS * len(turn) for turn in said)]  # fmt: skip
    counted = [counts for said in turns.values() for turn in said for counts in turn]
    return Seen(
        share("supervisadas", guilty, turns)
        | {"tokens_de_usuario": len(counted), "tokens_contados": sum(counted)},
        guilty,
        at_most="nota" if roles.name == "preguntas" else None,  # un cuestionario no es una charla
    )


@check("nada-supervisado", grave=0.50, aviso=0.01)
def nothing_supervised(case: Case):
    """Filas en las que la pérdida no cuenta nada, sin que el corte lo explique."""
    if case.refused:
        return Seen({}, cause="plantilla", severity="grave", error=case.refused[:200])
    if case.train_dataset is not None and not len(case.train_dataset):
        return Seen({}, cause="sin_filas", severity="grave")
    if isinstance(rows := case.labelled, str):
        return rows
    cut = cut_rows(case) if case.ends else ()
    empty = [row for row in rows if row not in cut and set(row.labels) <= {IGNORED}]
    blank: dict[Row, str] = {}  # lo que cuenta, sin los fines ni los espacios de los extremos
    for row in rows:
        said = case.pieces([row.ids[i] for i in row.supervised if row.ids[i] not in case.marks])
        if row.supervised and "".join(said).strip().lower() in HOLLOW:
            blank[row] = "".join(said).strip()
    if len(blank) > len(empty) and case.is_chat and not case.wrapped:
        limit = None if "" in blank.values() else "nota"
        return Seen(share("vacias", blank, rows), blank, cause="sin_texto", at_most=limit)
    start = case.decode(empty[0].real[:16]) if empty and case.tokenizer is not None else ""
    said = ["prueba", start and "comienzo"]
    return Seen(share("vacias", empty, rows), empty, say=said, comienzo=start)


@check("respuesta-cortada", "rows", "ends", grave=0.20, aviso=0.01, nota=0)
def truncated(case: Case, rows: list[Row], ends: set[int]):
    """Respuestas cortadas por el tope de longitud."""
    if case.wrapped:  # trozos de un texto seguido: no hay respuesta que cortar
        return WRAPPED if case.is_chat else None
    full, cut, roles = full_rows(case), cut_rows(case), dig(case.roles, "name")
    numbers = {"tope": len(full[0].real) if full else 0}
    if not cut and roles == "plantilla":  # que no empiezan como empieza siempre la plantilla
        usual = case.tokenizer.encode(render_probe(case.tokenizer), add_special_tokens=False)[0]
        headless = [row for row in full if row.real[0] != usual and not case.opens(row)]
        numbers |= share("cortadas", headless, rows)
        return Seen(numbers, headless, cause="comienzo", at_most="nota")
    lost = sum(map(_is_mute, cut))
    if not case.is_chat and lost < len(cut):
        return None
    numbers |= share("cortadas", cut, rows) | {"sin_respuesta": lost}
    return Seen(numbers, cut, say=["prueba", lost and "enteras"])


@once
def full_rows(case: Case) -> list[Row]:
    """Las filas que llegan al tope de longitud."""
    limit = _cap(case)
    return [row for row in case.rows if limit is not None and len(row.real) >= limit]


@once
def cut_rows(case: Case) -> list[Row]:
    """Las filas que llegan al tope y a las que les falta el fin, o todo lo que enseñar."""
    last = {row: _end_at(case, row, row.end - 1) for row in full_rows(case)}
    return [row for row, end in last.items() if end is None or _is_mute(row)]


def _is_mute(row: Row) -> bool:
    """Si la fila tiene etiquetas y ninguna cuenta."""
    return row.labels is not None and not row.supervised


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
    below = [_end_at(case, r, r.end - 1) is not None for r in case.rows if len(r.real) < longest]
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
    return _end_at(case, row, last) is not None


def _end_at(case: Case, row: Row, last: int) -> int | None:
    """El token de fin que hay ahí, o antes y con dos espacios en medio como mucho."""
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
    borders = _borders(case)
    seconds = {row: _second_start(case, row, borders) for row in rows}
    packed = [row for row in rows if seconds[row]]
    if len(packed) >= PACKED * len(rows):
        at = seconds[packed[0]]
        said, words = (
            "frontera",
            {"alrededor": case.decode(packed[0].real[max(0, at - 6) : at + 6])},
        )
    else:
        unrelated = _unrelated(case) if case.is_chat and case.roles is not None else None
        if not isinstance(unrelated, tuple):
            return unrelated
        packed, mixed = unrelated
        said, words = "mezcla", {"mezcladas": mixed}
    return Seen(
        share("empaquetadas", packed, rows),
        packed,
        say=["prueba", said, not case.is_chat and "seguido"],
        severity="grave" if case.is_chat else "nota",
        **words,
    )


def _second_start(case: Case, row: Row, borders: set[int]) -> int | None:
    """Dónde empieza el segundo documento de una fila, si lleva varios."""
    end, real = len(row.real), row.real
    while end > 1 and (real[end - 1] in borders or case.is_blank(real[end - 1])):
        end -= 1
    opening = len(list(takewhile(lambda token: token in borders, real[:end])))
    stray = stray_bos(case, row)  # uno suelto ante la respuesta no separa documentos
    inside = range(max(1, opening), end - 1)
    return next((i + 1 for i in inside if real[i] in borders and i != stray), None)


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

    def as_read(text: str) -> str:
        return case.decode(case.tokenizer.encode(text, add_special_tokens=False))

    whole: list[bool] = []  # si cada fila, de las que se encuentran, es de un solo diálogo
    for spell in (str, as_read):  # tal cual o, si así no salen, como los deja el tokenizador
        homes: dict[str, set[int]] = {}  # los diálogos en que se dice cada cosa
        for i, dialogue in enumerate(case.conversations or []):
            for turn in dialogue.turns:
                homes.setdefault(normalize(spell(turn)), set()).add(i)
        found = [[homes.get(normalize(m["content"]), set()) for m in said[row]] for row in several]
        whole = [bool(set.intersection(*sets)) for sets in found if all(sets)]
        if whole:
            break
    if whole.count(False) > 0.5 * len(several):
        return several, whole.count(False)
    if whole.count(True) >= 0.5 * len(several):
        return None
    # Varias charlas cortas pegadas tienen la forma de una larga: las filas solas no lo dicen.
    return "los diálogos de los que salen las filas, para saber si cada una es de una sola charla"
