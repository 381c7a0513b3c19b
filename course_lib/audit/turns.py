"""De los ids de una fila, de vuelta a los mensajes que la formaron."""

from course_lib.audit.case import Case
from course_lib.audit.fold import fold
from course_lib.audit.roles import ANY_MARKER, FAMILIES
from course_lib.audit.rows import Row
from course_lib.dialogues import to_pairs
from course_lib.encoding import Kind, pair_messages

DIALOGUES = 2000  # en los que se busca de dónde sale una fila sin marcadores


def source_messages(case: Case, row: Row) -> list[dict[str, str]]:
    """Los mensajes de una fila: leídos entre sus marcadores o, si no los hay, buscados.

    Returns:
        Los turnos en orden, o una lista vacía si no hay modo de saber quién habla.
    """
    if case.roles is not None and not has_gaps(case, row):
        return between_markers(case, row)
    return _from_dialogues(case, row)


def has_gaps(case: Case, row: Row) -> bool:
    """Si la fila tiene tokens desconocidos: de ella no se puede leer lo que se dijo."""
    unknown = getattr(case.tokenizer, "unk_token_id", None)
    special = (case.eos, getattr(case.tokenizer, "bos_token_id", None))
    return unknown is not None and unknown not in special and unknown in row.real


def system_message(case: Case, row: Row) -> list[dict[str, str]]:
    """El mensaje de sistema de la fila, en una lista, o vacía si no se reconoce ninguno."""
    kinds = case.kinds_of(row)
    first = next((i for i, kind in enumerate(kinds) if kind == Kind.USER), row.end)
    before = case.decode(row.ids[row.start : first])
    for match in FAMILIES[0].pattern.finditer(before):
        if match.lastgroup == "system":
            text = before[match.end() :]
            cut = min((m.start() for m in ANY_MARKER.finditer(text)), default=len(text))
            return [{"role": "system", "content": text[:cut].strip()}]
    return []


def between_markers(case: Case, row: Row) -> list[dict[str, str]]:
    """Los mensajes que se leen entre los marcadores de la fila."""
    kinds, out, i = case.kinds_of(row), [], 0
    while i < len(kinds):
        j = i
        while j < len(kinds) and kinds[j] == kinds[i]:
            j += 1
        if kinds[i] in (Kind.USER, Kind.REPLY):
            text = case.decode(row.ids[i:j]).strip()
            role = "user" if kinds[i] == Kind.USER else "assistant"
            if text:
                out.append({"role": role, "content": text})
        i = j
    return out


def _from_dialogues(case: Case, row: Row) -> list[dict[str, str]]:
    """La pareja de los diálogos dados cuyos textos salen en la fila, uno detrás de otro."""
    if "pairs" not in case.memo:
        known = (case.conversations or [])[:DIALOGUES]
        case.memo["pairs"] = [(p, _compact(p.user), _compact(p.reply)) for p in to_pairs(known)]
    text, best, size = _compact("".join(case.pieces(row.real))), None, 0
    for pair, user, reply in case.memo["pairs"]:
        at = text.find(user)
        if at >= 0 and len(user) + len(reply) > size and text.find(reply, at + len(user)) >= 0:
            best, size = pair, len(user) + len(reply)
    return pair_messages(best.user, best.reply) if best else []


def _compact(text: str) -> str:
    """Las letras y cifras, seguidas: así se parecen el texto y sus pedazos."""
    return fold(text).replace(" ", "")
