"""Cómo se pregunta, frente a cómo se entrenó: plantilla, espacios, marcadores y comienzos.

De los ids de una fila se vuelve a los mensajes, y de ellos, a la petición que los pide.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import dropwhile, groupby, takewhile
from operator import itemgetter

from course_lib.audit.case import Case, once
from course_lib.audit.engine import LACKS, Seen, check, share
from course_lib.audit.recipe import call_of
from course_lib.audit.roles import ANY_MARKER, FAMILIES, render_probe
from course_lib.audit.rows import SEED, Row, as_list, dig, sample_features
from course_lib.dialogues import Pair, normalize, to_pairs
from course_lib.encoding import IGNORED, Kind, pair_messages

DIALOGUES = 2000  # en los que se busca de dónde sale una fila sin marcadores
TEMPLATE_SAMPLE = 60  # filas con las que se prueba la petición
FOLLOW_UP = {"role": "user", "content": "¿Y algo más?"}  # lo que se dice para seguir la charla
FAILING = 0.05  # de las peticiones, aunque solo falle el espacio
DRIFTING = 0.50  # de las peticiones que solo fallan con historia
MARKER_SHARE = 0.05  # de las filas, para creer que un texto entre ángulos es un marcador
TEXTS = ("text", "prompt", "completion", "messages")  # columnas sin tokenizar
BORN_BROKEN = ("[INST]", "[/INST]")  # marcadores que nunca fueron de un token


Messages = list[dict[str, str]]


def source_messages(case: Case, row: Row) -> Messages:
    """Los mensajes de una fila: leídos entre sus marcadores o, si no los hay, buscados."""
    # Con tokens desconocidos, de la fila no se puede leer lo que se dijo.
    unknown = dig(case.tokenizer, "unk_token_id")
    gaps = unknown not in (None, case.eos, case.bos) and unknown in row.real
    if case.roles is None or gaps:  # los de la pareja dada más larga que salga en la fila
        text = _compact("".join(case.pieces(row.real)))
        inside = (pair for pair, said in _known_pairs(case).items() if re.search(said, text))
        best = max(inside, key=lambda pair: len(pair.user + pair.reply), default=None)
        return pair_messages(best.user, best.reply) if best else []
    return between_markers(case, row)


def between_markers(case: Case, row: Row) -> Messages:
    """Los mensajes que se leen entre los marcadores de la fila."""
    roles = {Kind.USER: "user", Kind.REPLY: "assistant"}
    out = []
    for kind, run in groupby(zip(case.kinds_of(row), row.ids), key=itemgetter(0)):
        if kind in roles and (text := case.decode([i for _, i in run]).strip()):
            out.append({"role": roles[kind], "content": text})
    return out


@once
def _known_pairs(case: Case) -> dict[Pair, re.Pattern]:
    """Las parejas de los diálogos dados, y cómo se reconocen en un texto."""
    pairs = to_pairs((case.conversations or [])[:DIALOGUES])
    return {p: re.compile(f"{_compact(p.user)}.*{_compact(p.reply)}") for p in pairs}


def _compact(text: str) -> str:
    """Las letras y cifras, seguidas: así se parecen el texto y sus pedazos."""
    return normalize(text).replace(" ", "")


def _system_message(case: Case, row: Row) -> Messages:
    """El mensaje de sistema de la fila, en una lista, o vacía si no se reconoce ninguno."""
    kinds = case.kinds_of(row)
    first = next((i for i, kind in enumerate(kinds) if kind == Kind.USER), row.end)
    before = case.decode(row.ids[row.start : first])
    for match in FAMILIES[0].pattern.finditer(before):
        if match.lastgroup == "system":
            text = ANY_MARKER.split(before[match.end() :], maxsplit=1)[0]
            return [{"role": "system", "content": text.strip()}]
    return []


@dataclass
class Asked:
    """Lo que pasa al preguntar lo mismo que un ejemplo."""

    row: Row | None  # la del ejemplo; si no hay, se compara con la plantilla
    real: list[int]  # los ids del ejemplo
    ids: list[int]  # los de la petición
    fault: str  # qué falla: «espacio», «final», «sistema», «comienzo», «otra» o nada
    learnt: bool = False  # si lo que le falta al final lo escribe el modelo, que lo aprende
    drift: Sequence[int] = ()  # los ids con que sigue la charla, si lo anterior cambia


@once
def tried_prompts(case: Case) -> list[Asked] | str:
    """Qué pasa al montar la petición de cada fila de una muestra, o qué falta para saberlo."""
    if case.prompt is None or case.tokenizer is None:
        return LACKS["prompt" if case.prompt is None else "tokenizer"]
    if not case.has_rows:
        return _against_template(case) or case.rows
    rows = list(case.rows)
    random.Random(SEED).shuffle(rows)
    tried: list[Asked] = []
    for row in rows[: 4 * TEMPLATE_SAMPLE]:
        messages = source_messages(case, row)
        last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=0)
        if last == 0 or messages[last - 1]["role"] != "user" or len(tried) == TEMPLATE_SAMPLE:
            continue
        try:
            options = asked_ids(case, messages[:last])
        except Exception as error:  # la función es de quien llama
            return f"una función prompt que no falle: lanza «{str(error)[:120]}»"
        if asked := _compare(case, row, messages[: last + 1], options):
            tried.append(asked)
    lack = "filas en las que reconocer quién habla, o los diálogos de los que salen"
    return tried or _against_template(case) or lack


def _against_template(case: Case) -> list[Asked]:
    """La petición frente a la plantilla del tokenizador, si se separan solo al final."""
    tried: list[Asked] = []
    for messages in ([FOLLOW_UP], [FOLLOW_UP, {"role": "assistant", "content": "No."}, FOLLOW_UP]):
        with suppress(Exception):  # cada plantilla, y cada función, tiene sus exigencias
            render = partial(case.tokenizer.apply_chat_template, messages, return_dict=True)
            want = render(add_generation_prompt=True)["input_ids"]
            options = asked_ids(case, messages)
            ids = want if want in options else options[-1]
            spaced = any(_only_space(case, option, want) for option in options)
            fault = "final" if ids == want[: len(ids)] else "espacio" * spaced
            if fault:
                tried.append(Asked(None, want, ids, fault * (ids != want)))
    return tried


def asked_ids(case: Case, messages: Messages) -> list[list[int]]:
    """Los ids de la petición, con un solo comienzo."""
    return [_one_start(case, ids) for ids in _raw_ids(case, messages)]


def _one_start(case: Case, ids: list[int]) -> list[int]:
    """Los ids sin comienzos repetidos: que los haya lo dice «doble-bos»."""
    starts = len(list(takewhile(lambda token: token == case.bos, ids)))
    return ids[max(0, starts - 1) :]


def _raw_ids(case: Case, messages: Messages) -> list[list[int]]:
    """Los ids que da la función; si da texto, con y sin los tokens que se añaden solos."""
    out = case.prompt(case.tokenizer, [dict(m) for m in messages])
    if isinstance(out, str):
        encode = case.tokenizer.encode
        return [encode(out, add_special_tokens=special) for special in (True, False)]
    out = as_list(out["input_ids"] if hasattr(out, "keys") else out)
    return [[int(i) for i in (out[0] if out and isinstance(out[0], list) else out)]]


def _compare(case: Case, row: Row, messages: Messages, options: list[list[int]]) -> Asked | None:
    """La petición frente a su ejemplo, o `None` si está cortado antes de la respuesta."""
    system, real = _system_message(case, row), _one_start(case, row.real)
    with suppress(Exception):  # un mensaje de sistema también se da al preguntar, si se puede
        options = options + (asked_ids(case, [*system, *messages[:-1]]) if system else [])
    fitting = [ids for ids in options if ids == real[: len(ids)]]
    if not fitting and any(real == ids[: len(real)] for ids in options):
        return None
    ids, learnt = (fitting or options)[0], False
    drift = _drift(case, messages, ids, real)
    if system and drift:
        drift = _drift(case, [*system, *messages], ids, real)
    if fitting:
        between, learnt = _skipped(case, row, row.end - len(real) + len(ids))
        fault = "final" if between else ""
    elif any(_only_space(case, option, real) for option in options):
        fault = "espacio"
    elif system and system[0]["content"] not in case.decode(ids):
        fault = "sistema"
    else:
        fault = "comienzo" if case.bos == real[0] and ids == real[1 : len(ids) + 1] else "otra"
    return Asked(row, real, ids, fault, learnt, drift)


def _skipped(case: Case, row: Row, at: int) -> tuple[list[int], bool]:
    """Lo que queda entre el final de la petición y la respuesta, y si la pérdida lo cuenta.

    Lo que no se da al preguntar ni se cuenta al entrenar no lo escribirá nadie.
    """
    labels, kinds = row.labels if not case.slips else None, case.kinds_of(row)
    counted = [i for i in range(at, row.end) if labels and labels[i] != IGNORED]
    if counted and counted[0] > at:
        return row.ids[at : counted[0]], False
    frame = list(takewhile(lambda i: kinds[i] in (Kind.MARKER, Kind.END), range(at, row.end)))
    marks = [row.ids[i] for i in frame if kinds[i] == Kind.MARKER and not case.is_blank(row.ids[i])]
    return marks, bool(counted)


def _only_space(case: Case, ids: list[int], real: list[int]) -> bool:
    """Si a la petición solo le sobran los espacios del final para ser el principio del ejemplo."""
    text = case.decode(ids)
    for special in (True, False):
        if case.tokenizer.encode(text, add_special_tokens=special) != ids:
            continue  # de este modo no se llega a estos ids: no serviría de comparación
        for end in range(len(text) - 1, len(text.rstrip()) - 1, -1):
            cut = case.tokenizer.encode(text[:end], add_special_tokens=special)
            if cut == real[: len(cut)]:
                return True
    return False


def _drift(case: Case, messages: Messages, alone: list[int], real: list[int]) -> list[int]:
    """Los ids con que sigue la charla, si lo anterior no se monta como en el ejemplo."""
    try:
        longer = asked_ids(case, [*messages, FOLLOW_UP])
        fresh = asked_ids(case, [FOLLOW_UP])
    except Exception:  # hay funciones que solo admiten una pregunta
        return []
    core = real
    while core and (core[-1] in case.ends or case.is_blank(core[-1])):
        core = core[:-1]
    starts = (core, alone)
    fits = any(ids in fresh or any(ids[: len(s)] == s for s in starts) for ids in longer)
    return [] if fits else longer[0]


@check("plantilla-distinta", tried_prompts, grave=0.50, aviso=FAILING)
def another_template(case: Case, tried: list[Asked]):
    """Los ids de la petición no son el principio de los del ejemplo."""
    short = [t for t in tried if t.fault == "final"]  # a alguna puede faltarle solo un espacio
    failed = [t for t in tried if t.fault in ("sistema", "comienzo", "otra")]
    failed = short if len(short) >= DRIFTING * len(tried) else failed
    drifting = [t for t in tried if t.fault in ("", "final") and t.drift]
    numbers = share("distintas", failed, tried) | {"con_historia": len(drifting)}
    if numbers["proporcion"] >= FAILING:
        cause = Counter(t.fault for t in failed).most_common(1)[0][0]
        guilty = [t for t in failed if t.fault == cause]
        limit, level = "aviso" if guilty[0].learnt else None, None
    elif len(drifting) >= DRIFTING * len(tried):
        guilty, cause, limit, level = drifting, "historia", None, "aviso"
    else:
        return None
    ids = guilty[0].drift if cause == "historia" else guilty[0].ids
    return Seen(
        numbers,
        [t.row for t in guilty if t.row],
        say=[cause if cause in ("final", "historia") else "prueba"],
        severity=level,
        at_most=limit,
        cause=cause,
        diferencia=_difference(case, ids, guilty[0].real),
    )


@check("espacio-final", tried_prompts, severity="aviso")
def trailing_space(case: Case, tried: list[Asked]):
    """La petición acaba en un espacio que estropea su tokenización."""
    failed = [t for t in tried if t.fault == "espacio"]
    if len(failed) < FAILING * len(tried) or not failed:
        return None
    ids, real = failed[0].ids, failed[0].real
    numbers = {"filas": len(tried), "con_espacio": len(failed)}
    words = {"final": case.decode(ids[-3:]), "diferencia": _difference(case, ids, real)}
    return Seen(numbers, [t.row.number for t in failed if t.row], **words)


@check("marcadores-rotos", "tokenizer", severity="aviso")
def broken_markers(case: Case, tokenizer):
    """Marcadores de turno que el tokenizador parte."""
    texts, probe = _marked_texts(case), render_probe(tokenizer) or ""
    if not texts and not probe:
        return "filas, plantilla o petición en las que buscar marcadores"
    counts = Counter(marker for text in texts for marker in set(ANY_MARKER.findall(text)))
    markers = {m for m, n in counts.items() if n >= MARKER_SHARE * len(texts)}
    # Los de la plantilla, aunque en las filas ya no se lean por haber caído en «<unk>».
    markers |= set(ANY_MARKER.findall(probe))
    pieces = {m: case.pieces(tokenizer.encode(m, add_special_tokens=False)) for m in markers}
    split = [m for m in sorted(markers) if len(pieces[m]) > 1 and m.upper() not in BORN_BROKEN]
    if not split:
        return None
    shown = [f"{m} en {len(pieces[m])}: {' '.join(map(repr, pieces[m]))}" for m in split]
    return Seen({"piezas": {m: len(pieces[m]) for m in split}}, partidos="; ".join(shown))


@check("doble-bos", "tokenizer", "bos", "rows_or_call", aviso=0.01)
def double_bos(case: Case, _, bos: int, __):
    """Dos tokens de comienzo seguidos, o uno suelto en medio."""
    rows = case.rows if case.has_rows else []
    double = {row: 0 for row in rows if row.real[:2] == [bos, bos]}
    if found := double or {row: at for row in rows if (at := stray_bos(case, row))}:
        row, at = next(iter(found.items()))
        start = case.decode(row.real[max(0, at - 3) : at + 4])
        cause = "" if double else "medio"
        return Seen(share("dobles", [*found], rows), found, cause=cause, comienzo=start)
    call = call_of(case)
    asked = [] if isinstance(call, str) else call[0]
    asked = [list(dropwhile(lambda token: token == case.pad, ids)) for ids in asked]
    with suppress(Exception):  # la función es de quien llama; si da texto, quizá no se repita
        asked += [min(_raw_ids(case, [FOLLOW_UP]), key=len)] if case.prompt else []
    # Con el relleno igual que el comienzo, una racha más larga es relleno.
    twice = [ids for ids in asked if ids[:2] == [bos] * 2 and [bos, case.pad] != [*ids[2:3], bos]]
    if not twice:
        return None
    start = case.decode(twice[0][:5])
    return Seen({"dobles": len(twice)}, cause="peticion", severity="aviso", comienzo=start)


def stray_bos(case: Case, row: Row) -> int | None:
    """Dónde hay, en una fila, un token de comienzo justo antes de lo que se contesta."""
    if case.bos is None or case.bos in case.ends or case.bos not in row.real[1:]:
        return None
    kinds, labels = case.kinds_of(row), row.labels or [IGNORED] * len(row.ids)
    for i in range(row.start + 1, row.end):
        if row.ids[i] == case.bos and row.ids[i - 1] not in case.ends | {case.bos}:
            opens = kinds[i - 1] == Kind.MARKER and kinds[i] == Kind.REPLY
            if opens or labels[i - 1] == IGNORED != labels[i]:
                return i - row.start
    return None


def _difference(case: Case, ids: list[int], real: list[int]) -> str:
    """Dónde se separan los ids de una petición y los de su ejemplo, en texto."""
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
    found = [] if case.train_dataset is None else sample_features(case.train_dataset, limit=200)
    texts = ["".join(str(row[name]) for name in TEXTS if name in row) for _, row in found]
    with suppress(Exception):  # la función es de quien llama
        texts += [case.decode(asked_ids(case, [FOLLOW_UP])[0])] if case.prompt else []
    return [text for text in texts if text]
