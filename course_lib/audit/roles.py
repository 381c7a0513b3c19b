"""Quién habla en cada token: los marcadores de turno, buscados en el texto de la fila.

Primero se prueban los de la plantilla del tokenizador; después, las formas conocidas (`<|user|>`,
`<|im_start|>user`, `[INST]`, `### Instruction:`, «Usuario:»…). Se busca en el texto y no en los
ids, porque un marcador puede estar partido en trozos.
"""

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate, takewhile
from typing import NamedTuple

from course_lib import read_toml
from course_lib.audit.rows import dig
from course_lib.encoding import Kind

_WORDS = read_toml("auditoria", "marcadores.toml")
PEOPLE, REQUESTS, BOT = _WORDS["personas"], _WORDS["peticiones"], _WORDS["modelo"]
SYSTEM = _WORDS["sistema"]
_TAGGED, _COLON = "|".join(_WORDS["marcador"]), _WORDS["rotulo"]
ANY_MARKER = re.compile(
    _WORDS["cualquiera"].format(w=f"{PEOPLE}|{REQUESTS}|{BOT}|{SYSTEM}"), re.IGNORECASE
)
LABELS = ("rótulos", "preguntas")  # «Usuario:» y «Pregunta:»
LONG_LABEL = 4  # letras con los dos puntos: un rótulo más corto necesita a su pareja
_PROBES = ("probeta", "matraz", "embudo", "crisol")  # textos que ninguna plantilla contiene


class Roles(NamedTuple):
    """Cómo se reconocen los turnos: una expresión con grupos `user`, `bot` y `system`."""

    name: str
    pattern: re.Pattern


def _family(name: str, form: str, user: str, bot: str) -> Roles:
    user, bot, system = (form.format(w=words) for words in (user, bot, SYSTEM))
    if form is _TAGGED:
        user, bot = r"\[INST\]|" + user, r"\[/INST\]|" + bot
    forms = f"(?P<user>{user})|(?P<bot>{bot})|(?P<system>{system})"
    return Roles(name, re.compile(forms, re.IGNORECASE))


FAMILIES = (
    _family("marcadores", _TAGGED, f"{PEOPLE}|{REQUESTS}", BOT),
    _family("rótulos", _COLON, PEOPLE + "|u", BOT + "|a|r"),
    _family("preguntas", _COLON, REQUESTS + "|q|p", BOT + "|a|r"),
)


def template_roles(tokenizer) -> Roles | None:
    """Los marcadores de la plantilla del tokenizador, deducidos de una conversación de prueba."""
    text = render_probe(tokenizer)
    if text is None:
        return None
    opening, to_bot, to_user, again, _ = re.split("|".join(_PROBES), text)
    # Lo que tienen en común el comienzo y la vuelta al usuario es su marcador: lo demás es el fin.
    endings = zip(reversed(opening), reversed(to_user))
    common = len(list(takewhile(lambda pair: pair[0] == pair[1], endings)))
    to_user = to_user[-common:]  # si no tienen nada en común, todo
    if to_bot != again or len({"", to_bot.strip(), to_user.strip()}) < 3:
        return None
    # Sin exigir espacios: hay tokenizadores que los pierden.
    bot, user = (r"\s*".join(map(re.escape, marker.split())) for marker in (to_bot, to_user))
    return Roles("plantilla", re.compile(f"(?P<bot>{bot})|(?P<user>{user})|(?P<system>(?!))"))


def render_probe(tokenizer) -> str | None:
    """La conversación de prueba, de dos preguntas y dos respuestas, con la plantilla."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    roles = ("user", "assistant") * 2
    messages = [{"role": r, "content": c} for r, c in zip(roles, _PROBES, strict=True)]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception:  # cada plantilla tiene sus exigencias
        return None
    return text if all(text.count(probe) == 1 for probe in _PROBES) else None


def end_ids(tokenizer, model=None) -> set[int]:
    """Los ids que acaban un turno: el de fin y los de fin de turno que el tokenizador conozca."""
    ends: set[int] = set()
    for config in ("config", "generation_config"):
        value = dig(model, f"{config}.eos_token_id")
        ends |= set(value) if isinstance(value, list | tuple) else {value}
    if tokenizer is not None:
        ends.add(tokenizer.eos_token_id)
        added = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
        ends |= {added[name] for name in _WORDS["fines"] if name in added}
        if text := render_probe(tokenizer):
            tail = text.split(_PROBES[3])[1].lstrip()
            ends |= {i for content, i in added.items() if content and tail.startswith(content)}
    return ends - {None}


def find_roles(texts: list[str], tokenizer=None) -> Roles | None:
    """Los marcadores que salen en la mitad de las filas, o más, si los hay."""
    # Un preámbulo: lo que comparten el primero y el último por orden alfabético, y los de en medio.
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(texts), max(texts)))
    fixed = len([*alike]) if len(texts) > 1 else 0
    for roles in filter(None, (template_roles(tokenizer), *FAMILIES)):
        hits = sum(_has_turns(text, roles, fixed) for text in texts)
        # A los de la plantilla les basta una de cada veinte: las demás pueden ser de repaso.
        if hits >= (0.05 if roles.name == "plantilla" else 0.5) * len(texts):
            return roles
    return None


def _has_turns(text: str, roles: Roles, fixed: int) -> bool:
    """Si habla el usuario; con la respuesta cortada puede faltar el marcador del otro.

    `fixed` son las letras con que empiezan todos los textos.
    """
    found = [m.lastgroup for m in roles.pattern.finditer(text)]
    if "user" not in found or roles.name not in LABELS:
        return "user" in found
    # A media frase, si no es la misma en todos, un rótulo no abre un turno, ni «P:» sin «R:».
    first = roles.pattern.match(re.sub(r"^(?:<[^>]*>|\s)+", "", text))
    if first is None:
        first = roles.pattern.search(text, 0, fixed)
    return bool(first) and ("bot" in found or len(first.group()) > LONG_LABEL)


def classify(pieces: list[str], roles: Roles | None) -> list[Kind]:
    """Qué es cada token, por su texto; sin marcadores todo es respuesta.

    El relleno y los fines no, que se ven por su id.
    """
    if roles is None:
        return [Kind.REPLY] * len(pieces)
    says = {"bot": Kind.REPLY, "user": Kind.USER, "system": Kind.MARKER}
    starts = list(accumulate(map(len, pieces), initial=0))[:-1]
    text = "".join(pieces)
    kinds: list[Kind] = []
    kind = Kind.MARKER  # lo que va antes del primer turno
    for match in roles.pattern.finditer(text):
        first = max(len(kinds), bisect_right(starts, match.start()) - 1)
        last = max(first, bisect_left(starts, match.end()))
        # Un token es del marcador si alguno de sus caracteres visibles lo es.
        if first < last and not text[match.start() : starts[first] + len(pieces[first])].strip():
            first += 1
        kinds += [kind] * (first - len(kinds)) + [Kind.MARKER] * (last - first)
        kind = says[match.lastgroup]
    return kinds + [kind] * (len(pieces) - len(kinds))
