"""De los ids de una fila, de vuelta a los mensajes; y de ellos, a la petición que los pide."""

import random
from dataclasses import dataclass
from itertools import groupby

from course_lib.audit.case import Case
from course_lib.audit.engine import LACKS, once
from course_lib.audit.roles import ANY_MARKER, FAMILIES
from course_lib.audit.rows import SEED, Row, as_list
from course_lib.dialogues import normalize, to_pairs
from course_lib.encoding import Kind, pair_messages

DIALOGUES = 2000  # en los que se busca de dónde sale una fila sin marcadores
TEMPLATE_SAMPLE = 60  # filas con las que se prueba la petición
FOLLOW_UP = {"role": "user", "content": "¿Y algo más?"}  # lo que se dice para seguir la charla

Messages = list[dict[str, str]]


def source_messages(case: Case, row: Row) -> Messages:
    """Los mensajes de una fila: leídos entre sus marcadores o, si no los hay, buscados.

    Returns:
        Los turnos en orden, o una lista vacía si no hay modo de saber quién habla.
    """
    # Con tokens desconocidos, de la fila no se puede leer lo que se dijo.
    unknown = getattr(case.tokenizer, "unk_token_id", None)
    gaps = unknown not in (None, case.eos, case.bos) and unknown in row.real
    if case.roles is not None and not gaps:
        return between_markers(case, row)
    # La pareja de los diálogos dados cuyos textos salen en la fila, uno detrás de otro.
    text, best, size = _compact("".join(case.pieces(row.real))), None, 0
    for pair, user, reply in _known_pairs(case):
        at = text.find(user)
        if at >= 0 and len(user) + len(reply) > size and text.find(reply, at + len(user)) >= 0:
            best, size = pair, len(user) + len(reply)
    return pair_messages(best.user, best.reply) if best else []


def between_markers(case: Case, row: Row) -> Messages:
    """Los mensajes que se leen entre los marcadores de la fila."""
    roles = {Kind.USER: "user", Kind.REPLY: "assistant"}
    kinds, out, at = case.kinds_of(row), [], 0
    for kind, run in groupby(kinds):
        start, at = at, at + len(list(run))
        if kind in roles and (text := case.decode(row.ids[start:at]).strip()):
            out.append({"role": roles[kind], "content": text})
    return out


@once
def _known_pairs(case: Case) -> list[tuple]:
    known = (case.conversations or [])[:DIALOGUES]
    return [(pair, _compact(pair.user), _compact(pair.reply)) for pair in to_pairs(known)]


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
    """Lo que pasa al preguntar lo mismo que un ejemplo.

    Attributes:
        row: la fila del ejemplo, y `ids`, los de la petición.
        fits: si la petición es el principio del ejemplo.
        only_space: si no lo es solo por los espacios del final.
        history: los ids con que sigue la charla, y `history_fits`, si lo anterior se monta igual.
    """

    row: Row
    ids: list[int]
    fits: bool
    only_space: bool
    history: list[int]
    history_fits: bool


@once
def tried_prompts(case: Case) -> list[Asked] | str:
    """Qué pasa al montar la petición de cada fila de una muestra, o qué falta para saberlo."""
    if case.prompt is None or case.tokenizer is None:
        return LACKS["prompt" if case.prompt is None else "tokenizer"]
    if not case.has_rows:
        return case.rows
    rows = list(case.rows)
    random.Random(SEED).shuffle(rows)
    tried: list[Asked] = []
    for row in rows[: 4 * TEMPLATE_SAMPLE]:
        messages = source_messages(case, row)
        last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=0)
        if last == 0 or messages[last - 1]["role"] != "user":
            continue
        try:
            options = asked_ids(case, messages[:last])
        except Exception as error:  # la función es de quien llama
            return f"una función prompt que no falle: lanza «{str(error)[:120]}»"
        if asked := _compare(case, row, messages[: last + 1], options):
            tried.append(asked)
        if len(tried) == TEMPLATE_SAMPLE:
            break
    return tried or "filas en las que reconocer quién habla, o los diálogos de los que salen"


def asked_ids(case: Case, messages: Messages) -> list[list[int]]:
    """Los ids de la petición; si la función da texto, con y sin los tokens que se añaden solos."""
    out = case.prompt(case.tokenizer, [dict(m) for m in messages])
    if isinstance(out, str):
        encode = case.tokenizer.encode
        return [encode(out, add_special_tokens=special) for special in (True, False)]
    out = as_list(out["input_ids"] if hasattr(out, "keys") else out)
    return [[int(i) for i in (out[0] if out and isinstance(out[0], list) else out)]]


def _compare(case: Case, row: Row, messages: Messages, options: list[list[int]]) -> Asked | None:
    """La petición frente a su ejemplo, o `None` si está cortado antes de la respuesta."""
    system, real = _system_message(case, row), row.real
    try:  # la fila puede llevar un mensaje de sistema, que entonces también se da al preguntar
        options = options + (asked_ids(case, [*system, *messages[:-1]]) if system else [])
    except Exception:
        pass
    fitting = [ids for ids in options if ids == real[: len(ids)]]
    if not fitting and any(real == ids[: len(real)] for ids in options):
        return None
    ids = (fitting or options)[0]
    only_space = not fitting and any(_only_space(case, option, real) for option in options)
    history, history_fits = _follow(case, messages, ids, real)
    if system and not history_fits:
        history, history_fits = _follow(case, [*system, *messages], ids, real)
    return Asked(row, ids, bool(fitting), only_space, history, history_fits)


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


def _follow(case: Case, messages: Messages, alone: list[int], real: list[int]):
    """Los ids con que sigue la charla, y si lo anterior se monta como en el ejemplo."""
    try:
        longer = asked_ids(case, [*messages, FOLLOW_UP])
        fresh = asked_ids(case, [FOLLOW_UP])
    except Exception:  # hay funciones que solo admiten una pregunta
        return alone, True
    core = real
    while core and (core[-1] in case.ends or case.is_blank(core[-1])):
        core = core[:-1]
    fits = any(
        ids[: len(core)] == core or ids in fresh or ids[: len(alone)] == alone for ids in longer
    )
    return longer[0], fits
