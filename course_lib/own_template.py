"""Codificar con la plantilla que un modelo ya ajustado trae, cuando no marca qué dice él.

Las plantillas del Hub rara vez llevan `{% generation %}`, y sin eso transformers no sabe qué tokens
son respuesta. Pero se puede averiguar: se escribe la conversación hasta cada respuesta, y hasta que
acaba, y lo que hay en medio es lo que dijo el modelo.
"""

import re
from collections.abc import Sequence

from course_lib.encoding import IGNORED, Encoded, Kind, encode_conversation, plain


def marks_replies(template: str) -> bool:
    """Si una plantilla de chat señala con `{% generation %}` lo que dice el modelo.

    >>> marks_replies("{% if add_generation_prompt %}{% endif %}")
    False
    """
    return bool(re.search(r"{%-?\s*generation\s*-?%}", template))


def encode_with_own_template(tokenizer, messages: Sequence[dict[str, str]]) -> Encoded:
    """Codifica una conversación con la plantilla del tokenizador: cuentan las respuestas y su fin.

    Si la plantilla marca la generación, es `encode_conversation`. Los tokens especiales que alguien
    escriba en un mensaje dejan de serlo (`plain`); los rótulos que son texto corriente, como `GPT4
    Correct User:`, no se tocan, porque sin un fin de turno delante no abren otro.

    Args:
        tokenizer: con plantilla de chat.
        messages: `{"role": "user" | "assistant" | …, "content": texto}`, en orden.

    Raises:
        ValueError: si no hay plantilla, si la conversación no empieza por quien pregunta o si la
            plantilla reescribe lo anterior al añadir un mensaje.
    """
    template = tokenizer.chat_template
    if not template:
        raise ValueError(
            "El tokenizador no trae plantilla de chat: dale la del curso con prepare_for_chat."
        )
    if not messages or messages[0]["role"] == "assistant":
        raise ValueError("La conversación está vacía o empieza por el asistente: quita ese turno.")
    if marks_replies(template):
        return encode_conversation(tokenizer, messages)

    messages = [{**m, "content": plain(m["content"], tokenizer)} for m in messages]
    ids = _render(tokenizer, messages)
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    kinds = [Kind.MARKER] * len(ids)
    labels = [IGNORED] * len(ids)
    end = 0
    for k, message in enumerate(messages):
        answers = message["role"] == "assistant"
        before = _render(tokenizer, messages[:k], answers) if answers else ids[:end]
        after = _render(tokenizer, messages[: k + 1])
        if ids[: len(before)] != before or ids[: len(after)] != after:
            raise ValueError(
                f"Esta plantilla de chat reescribe lo anterior al llegar al mensaje {k + 1}, así "
                "que no se puede saber qué tokens son respuesta: pon {% generation %} en la "
                "plantilla o usa prepare_for_chat."
            )
        start, end = len(before), len(after)
        if answers:
            ends = [i for i in range(start, end) if ids[i] in special]
            stop = ends[-1] + 1 if ends else end  # tras el fin, un salto de línea ya no es suyo
            labels[start:stop] = ids[start:stop]
            kinds[start:stop] = [Kind.REPLY] * (stop - start)
            for i in ends:
                kinds[i] = Kind.END
        else:
            first, last = _content(tokenizer, messages[: k + 1], after, start)
            kinds[first:last] = [Kind.USER] * (last - first)
    return Encoded(ids, [1] * len(ids), labels, kinds)


def _content(tokenizer, messages: list[dict], ids: list[int], start: int) -> tuple[int, int]:
    """Dónde empieza y acaba lo escrito en el último mensaje: lo que cambia si se escribe otra cosa.

    Solo sirve para los colores y para partir la pérdida por clases; las etiquetas no salen de aquí.
    """
    text = messages[-1]["content"]
    other = next(c for c in "0¡z" if c not in (text[:1], text[-1:]))
    probe = _render(tokenizer, [*messages[:-1], {**messages[-1], "content": other}])
    head = _common(ids, probe)
    tail = _common(ids[::-1], probe[::-1])
    return max(head, start), max(head, start, len(ids) - tail)


def _render(tokenizer, messages: list[dict], ask: bool = False) -> list[int]:
    out = tokenizer.apply_chat_template(messages, add_generation_prompt=ask, return_dict=True)
    return out["input_ids"]


def _common(a: list[int], b: list[int]) -> int:
    """Cuántos elementos tienen iguales desde el principio."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
