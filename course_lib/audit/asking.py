"""Preguntar lo mismo que un ejemplo y ver si la petición es, en ids, el principio del suyo."""

import random

from course_lib.audit.case import Case
from course_lib.audit.rows import SEED, Row
from course_lib.audit.turns import source_messages, system_message

TEMPLATE_SAMPLE = 60  # filas con las que se prueba la petición
HISTORY = "¿Y algo más?"  # lo que se dice para seguir la charla


def tried_prompts(case: Case) -> list[dict] | str:
    """Qué pasa al montar la petición de cada fila; se calcula una vez por auditoría."""
    if "tried" not in case.memo:
        case.memo["tried"] = _try_prompts(case)
    return case.memo["tried"]


def _try_prompts(case: Case) -> list[dict] | str:
    if case.prompt is None:
        return "la función con la que se pregunta (prompt)"
    if case.tokenizer is None:
        return "el tokenizador"
    if isinstance(case.rows, str):
        return case.rows
    rows = list(case.rows)
    random.Random(SEED).shuffle(rows)
    tried = []
    for row in rows[: 4 * TEMPLATE_SAMPLE]:
        outcome = _try_row(case, row)
        if isinstance(outcome, Exception):
            return f"una función prompt que no falle: lanza «{str(outcome)[:120]}»"
        if outcome is not None:
            tried.append(outcome)
        if len(tried) == TEMPLATE_SAMPLE:
            break
    return tried or "filas en las que reconocer quién habla, o los diálogos de los que salen"


def _try_row(case: Case, row: Row) -> dict | Exception | None:
    messages = source_messages(case, row)
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=0)
    if last == 0 or messages[last - 1]["role"] != "user":
        return None
    asked = messages[:last]
    system = system_message(case, row)
    try:
        options = asked_ids(case, asked)
    except Exception as error:  # la función es de quien llama
        return error
    try:  # la fila puede llevar un mensaje de sistema, que entonces también se da al preguntar
        options += asked_ids(case, [*system, *asked]) if system else []
    except Exception:
        pass
    real = row.real
    if any(ids == real[: len(ids)] for ids in options):
        fits, ids = True, next(ids for ids in options if ids == real[: len(ids)])
    elif any(real == ids[: len(real)] for ids in options):
        return None  # la fila está cortada antes de la respuesta
    else:
        fits, ids = False, options[0]
    only_space = not fits and any(_only_space(case, option, real) for option in options)
    history, history_fits = _with_history(case, messages[: last + 1], ids, real)
    if system and not history_fits:
        history, history_fits = _with_history(case, [*system, *messages[: last + 1]], ids, real)
    return {
        "row": row,
        "ids": ids,
        "fits": fits,
        "only_space": only_space,
        "history": history,
        "history_fits": history_fits,
    }


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


def _with_history(case: Case, messages, alone: list[int], real: list[int]):
    """Si al seguir la charla lo anterior se monta como en el ejemplo."""
    ask = {"role": "user", "content": HISTORY}
    try:
        longer = asked_ids(case, [*messages, ask])
        fresh = asked_ids(case, [ask])
    except Exception:  # hay funciones que solo admiten una pregunta
        return alone, True
    core = real
    while core and (core[-1] in case.ends or not case.pieces([core[-1]])[0].strip()):
        core = core[:-1]
    ok = any(
        ids[: len(core)] == core or ids in fresh or ids[: len(alone)] == alone for ids in longer
    )
    return longer[0], ok


def asked_ids(case: Case, messages) -> list[list[int]]:
    """Los ids de la petición; si la función da texto, con y sin los tokens que se añaden solos."""
    out = case.prompt(case.tokenizer, [dict(m) for m in messages])
    if isinstance(out, str):
        return _encode(case, out)
    if hasattr(out, "keys"):
        out = out["input_ids"]
    if hasattr(out, "tolist"):
        out = out.tolist()
    if out and isinstance(out[0], list):
        out = out[0]
    return [[int(i) for i in out]]


def _encode(case: Case, text: str) -> list[list[int]]:
    return [case.tokenizer.encode(text, add_special_tokens=special) for special in (True, False)]


def difference(case: Case, ids: list[int], real: list[int]) -> str:
    """Dónde se separan dos listas de ids, en texto."""
    at = next((i for i, (a, b) in enumerate(zip(ids, real)) if a != b), min(len(ids), len(real)))
    low = max(0, at - 4)
    return (
        f"Se separan en el token {at}: al entrenar, {case.decode(real[low : at + 6])!r}; "
        f"al preguntar, {case.decode(ids[low : at + 6])!r}."
    )
