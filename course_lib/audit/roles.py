"""Quién habla en cada token: los marcadores de turno, buscados en el texto de la fila.

Primero se prueban los de la plantilla del tokenizador; después, las formas conocidas (`<|user|>`,
`<|im_start|>user`, `[INST]`, `### Instruction:`, «Usuario:»…). Se busca en el texto y no en los
ids, porque un marcador puede estar partido en trozos.
"""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from course_lib.encoding import Kind

PEOPLE = (
    "user|usuario|usuaria|human|humano|prompter|persona|cliente|client|alumno|estudiante|student"
)
REQUESTS = "instruction|instrucción|instruccion|pregunta|question|input|entrada|prompt"
USER_WORDS = f"{PEOPLE}|{REQUESTS}"
BOT_WORDS = (
    "assistant|asistente|bot|model|modelo|ai|ia|gpt|chatbot|response|respuesta|answer|output|"
    "salida|completion|agente|agent|profesor|tutor"
)
SYSTEM_WORDS = "system|sistema|contexto|context|developer|tool|ipython"
_TAGGED = (
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>|<\|turn>)\s*(?:{w})\b\s*"
    r"(?:<\|end_header_id\|>|<\|message\|>|<\|im_sep\|>)?"
    r"|<[|｜]?\s*(?:{w})\s*[|｜]?>|\[(?:{w})\]|#{{2,3}}\s*(?:{w})\s*:?(?=\s)"
)
_COLON = r"(?:(?<=[\s>\]])|^)(?:{w})\s*:"
ANY_MARKER = re.compile(
    r"<[|｜][^<>|｜\s]{{1,30}}[|｜]>|</?(?:start_of_turn|end_of_turn|{w})>|\[/?(?:{w})\]".format(
        w="|".join(f"(?:{words})" for words in (USER_WORDS, BOT_WORDS, SYSTEM_WORDS))
    ),
    re.IGNORECASE,
)
END_NAMES = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<|return|>",
    "<|eom_id|>",
    "<|eot|>",
    "<turn|>",
    "</s>",
    "<eos>",
)
LABELS = ("rótulos", "preguntas")  # «Usuario:» y «Pregunta:»
LONG_LABEL = 4  # letras con los dos puntos: un rótulo más corto necesita a su pareja
_PROBES = ("probeta", "matraz", "embudo", "crisol")  # textos que ninguna plantilla contiene


@dataclass(frozen=True)
class Roles:
    """Cómo se reconocen los turnos: una expresión con grupos `user`, `bot` y `system`."""

    pattern: re.Pattern
    name: str


def _family(name: str, user: str, bot: str, system: str) -> Roles:
    forms = f"(?P<user>{user})|(?P<bot>{bot})|(?P<system>{system})"
    return Roles(re.compile(forms, re.IGNORECASE), name)


FAMILIES = (
    _family(
        "marcadores",
        r"\[INST\]|" + _TAGGED.format(w=USER_WORDS),
        r"\[/INST\]|" + _TAGGED.format(w=BOT_WORDS),
        _TAGGED.format(w=SYSTEM_WORDS),
    ),
    *(
        _family(
            name,
            _COLON.format(w=words),
            _COLON.format(w=BOT_WORDS + "|a|r"),
            _COLON.format(w=SYSTEM_WORDS),
        )
        for name, words in (("rótulos", PEOPLE + "|u"), ("preguntas", REQUESTS + "|q|p"))
    ),
)


def template_roles(tokenizer) -> Roles | None:
    """Los marcadores de la plantilla del tokenizador, deducidos de una conversación de prueba."""
    text = render_probe(tokenizer)
    if text is None:
        return None
    user, bot, user2, bot2 = (text.index(probe) for probe in _PROBES)
    first, second, third, _ = _PROBES
    to_bot = text[user + len(first) : bot]
    to_user = text[bot + len(second) : user2]
    again = text[user2 + len(third) : bot2]
    if not to_bot.strip() or not to_user.strip() or to_bot != again:
        return None
    # Lo que tienen en común el comienzo y la vuelta al usuario es su marcador: lo demás es el fin.
    opening, common = text[:user], 0
    while common < min(len(opening), len(to_user)) and opening[-1 - common] == to_user[-1 - common]:
        common += 1
    to_user = to_user[len(to_user) - common :] if common else to_user
    if not to_user.strip() or to_user.strip() == to_bot.strip():
        return None
    return Roles(
        re.compile(f"(?P<bot>{_loose(to_bot)})|(?P<user>{_loose(to_user)})|(?P<system>(?!))"),
        "plantilla",
    )


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


def _loose(marker: str) -> str:
    """El marcador como expresión, sin exigir espacios: hay tokenizadores que los pierden."""
    return r"\s*".join(re.escape(part) for part in marker.split())


def end_ids(tokenizer, model=None) -> set[int]:
    """Los ids que acaban un turno: el de fin y los de fin de turno que el tokenizador conozca."""
    ends: set[int] = set()
    for config in (getattr(model, "config", None), getattr(model, "generation_config", None)):
        value = getattr(config, "eos_token_id", None)
        ends |= set(value) if isinstance(value, list | tuple) else {value}
    if tokenizer is not None:
        ends.add(tokenizer.eos_token_id)
        added = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
        ends |= {added[name] for name in END_NAMES if name in added}
        text = render_probe(tokenizer)
        if text is not None:
            tail = text[text.index(_PROBES[3]) + len(_PROBES[3]) :].lstrip()
            ends |= {i for content, i in added.items() if content and tail.startswith(content)}
    return {end for end in ends if end is not None}


def find_roles(texts: list[str], tokenizer=None) -> Roles | None:
    """Los marcadores que sirven para estas filas, o `None`: los que salen en la mitad o más.

    A los de la plantilla del tokenizador les basta una de cada veinte: las demás pueden ser texto
    corriente, de repaso.
    """
    candidates = [template_roles(tokenizer)] if tokenizer is not None else []
    for roles in [*candidates, *FAMILIES]:
        if roles is None:
            continue
        hits = 0
        for text in texts:
            found = [m.lastgroup for m in roles.pattern.finditer(text)]
            ok = "user" in found  # con la respuesta cortada puede faltar el marcador del otro
            if ok and roles.name in LABELS:  # a media frase no es un turno, ni «P:» sin «R:»
                first = roles.pattern.match(re.sub(r"^(?:<[^>]*>|\s)+", "", text))
                ok = bool(first) and ("bot" in found or len(first.group()) > LONG_LABEL)
            hits += ok
        if texts and hits >= (0.05 if roles.name == "plantilla" else 0.5) * len(texts):
            return roles
    return None


def classify(
    pieces: list[str], ids: list[int], span: tuple[int, int], roles: Roles | None, ends: set[int]
) -> list[Kind]:
    """Qué es cada token de una fila.

    Args:
        pieces: el texto de cada token.
        span: dónde empieza y acaba lo que no es relleno.
        roles: los marcadores; sin ellos todo es respuesta, que es lo que el modelo escribe.
    """
    kinds = [Kind.PADDING] * len(ids)
    low, high = span
    for i in range(low, high):
        kinds[i] = Kind.END if ids[i] in ends else Kind.REPLY
    if roles is None:
        return kinds
    for start, end, who, marker in turns(pieces[low:high], roles.pattern):
        kind = Kind.REPLY if who == "bot" else Kind.USER if who == "user" else Kind.MARKER
        for i in range(low + start, low + end):
            if ids[i] not in ends:
                kinds[i] = Kind.MARKER if marker else kind
    return kinds


def turns(pieces: list[str], pattern: re.Pattern) -> list[tuple[int, int, str, bool]]:
    """Los tramos de una fila, en tokens: (desde, hasta, quién, si es el marcador mismo)."""
    starts, at = [], 0
    for piece in pieces:
        starts.append(at)
        at += len(piece)
    text = "".join(pieces)
    out, who, done = [], "system", 0
    for match in pattern.finditer(text):
        # Un token es del marcador si alguno de sus caracteres visibles lo es.
        first = max(done, bisect_right(starts, match.start()) - 1)
        last = max(first, bisect_left(starts, match.end()))
        while (
            first < last
            and starts[first] < match.start()
            and _blank_overlap(text, match.start(), starts[first] + len(pieces[first]))
        ):
            first += 1
        out += [(done, first, who, False), (first, last, match.lastgroup, True)]
        who, done = match.lastgroup, last
    out.append((done, len(pieces), who, False))
    return [t for t in out if t[0] < t[1]]


def _blank_overlap(text: str, start: int, end: int) -> bool:
    return not text[start:end].strip()
