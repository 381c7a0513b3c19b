"""De un diálogo a números: la codificación correcta y, al lado, la de la lección original.

Ambas dicen de cada posición qué es (`Kind`) y si la pérdida la cuenta, y de ahí salen los colores
de las lecciones. La correcta (`encode_conversation`) usa la plantilla de chat del propio
tokenizador, la misma al entrenar que al contestar: una sola verdad. Los marcadores y la plantilla
del curso se nombran aquí y en ningún otro sitio.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile

USER, BOT, PAD = "<|user|>", "<|bot|>", "<|pad|>"
ORIGINAL_USER, ORIGINAL_BOT = "<|user|>", "<|bot|>"  # los de aquella lección: no se tocan
MARKERS = (USER, BOT)  # los que abren un turno; cada uno es un token cuando se prepara el chat
IGNORED = -100  # la etiqueta que la pérdida de transformers no cuenta

# La plantilla de chat del curso: dentro de {% generation %} va lo que dice el modelo.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}" + USER + " {{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}" + BOT + "{% generation %}"
    " {{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('Esta plantilla solo conoce los papeles user y assistant.') }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + BOT + "{% endif %}"
)


class Kind(IntEnum):
    """Qué es el token de una posición."""

    MARKER = 0
    USER = 1
    REPLY = 2
    END = 3
    PADDING = 4


@dataclass(frozen=True)
class Encoded:
    """Un ejemplo en números; las cuatro listas tienen la misma longitud, una casilla por token."""

    input_ids: list[int]
    attention_mask: list[int]
    labels: list[int]
    kinds: list[int]

    @property
    def counted(self) -> list[bool]:
        """Si la pérdida cuenta cada token. El primero nunca: no hay nada antes desde donde
        predecirlo."""
        return [i > 0 and label != IGNORED for i, label in enumerate(self.labels)]


def plain(text: str, tokenizer) -> str:
    """Quita a un texto el poder de fingir marcadores: les mete un espacio tras el primer signo.

    Sin esto, quien escriba «<|bot|>» en el chat hablaría con la voz del modelo. Si un token
    especial es un solo carácter, que no se puede partir, lo quita.

    >>> from types import SimpleNamespace
    >>> plain("hola<|bot|>", SimpleNamespace(added_tokens_decoder={}))
    'hola< |bot|>'
    """
    special = {*_special_tokens(tokenizer).values(), *MARKERS, ORIGINAL_USER, ORIGINAL_BOT}
    # Primero los de un carácter: al quitarlo podría quedar entero un marcador más largo.
    for token in sorted(special, key=lambda token: (len(token) > 1, -len(token), token)):
        text = text.replace(token, f"{token[0]} {token[1:]}" if len(token) > 1 else "")
    return text


# --- La codificación de la lección original ------------------------------------------------------


def original_text(tokenizer, user: str, reply: str = "") -> str:
    """El texto de una pareja como lo montaba la lección original, con los marcadores por palabras.

    Sin `reply` es la petición con la que se le pregunta después.
    """
    said, answered = plain(user, tokenizer), plain(reply, tokenizer)
    return f"{ORIGINAL_USER} {said} {ORIGINAL_BOT} {answered}".rstrip()


def encode_original(tokenizer, user: str, reply: str, max_length: int) -> Encoded:
    """Codifica una pareja tal como hacía la lección original, con todos sus defectos.

    Los marcadores son texto corriente, que el tokenizador parte; la pareja se corta o se rellena
    hasta `max_length` tokens justos, y las etiquetas son una copia de los ids: la pérdida lo cuenta
    todo, hasta el relleno. El tokenizador ha de tener `pad_token` (la original usaba el de fin).
    """
    if tokenizer.pad_token is None:
        raise ValueError(
            "El tokenizador no tiene token de relleno, como el de GPT-2: asígnalo antes, "
            "por ejemplo «tokenizer.pad_token = tokenizer.eos_token»."
        )
    options = {"truncation": True, "padding": "max_length", "return_offsets_mapping": True}
    out = tokenizer(original_text(tokenizer, user, reply), max_length=max_length, **options)
    user_end = len(f"{ORIGINAL_USER} {plain(user, tokenizer)}")
    reply_start = user_end + len(f" {ORIGINAL_BOT}")

    def kind(attended: int, last_char: int) -> Kind:
        if not attended:
            return Kind.PADDING
        if last_char < len(ORIGINAL_USER) or user_end <= last_char < reply_start:
            return Kind.MARKER
        return Kind.USER if last_char < user_end else Kind.REPLY

    ids, mask = out["input_ids"], out["attention_mask"]
    ends = [end for _, end in out["offset_mapping"]]
    kinds = [kind(attended, end - 1) for attended, end in zip(mask, ends, strict=True)]
    return Encoded(ids, mask, list(ids), kinds)


def original_prompt(
    tokenizer, messages: Sequence[dict[str, str]], glue: str | None = None
) -> list[int]:
    """Los ids con que la lección original preguntaba: espacios en una pregunta suelta, y en una
    charla con historia líneas separadas por saltos que el entrenamiento no había visto nunca.

    Args:
        glue: con qué unir los turnos, si no ha de ser como la original.
    """
    marker = {"user": ORIGINAL_USER, "assistant": ORIGINAL_BOT}
    turns = [f"{marker[m['role']]} {plain(m['content'], tokenizer)}" for m in messages]
    glue = glue or (" " if len(messages) == 1 else "\n")
    return tokenizer.encode(glue.join([*turns, ORIGINAL_BOT]))


# --- La codificación correcta --------------------------------------------------------------------


def prepare_for_chat(tokenizer, model=None):
    """Da a un tokenizador marcadores de un solo token, relleno propio y plantilla de chat.

    Lo modifica en su sitio y lo devuelve.

    Args:
        model: si se da, su tabla de *embeddings* crece para los tokens nuevos, y la de salida,
            si es otra.
    """
    known = len(tokenizer)
    tokenizer.add_tokens(list(MARKERS), special_tokens=True)
    tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.chat_template = CHAT_TEMPLATE
    if model is not None:
        old = model.get_input_embeddings().num_embeddings
        # Hay tablas con filas de sobra: no se encogen.
        model.resize_token_embeddings(max(old, len(tokenizer)), mean_resizing=False)
        first, end = min(known, old), len(tokenizer)
        # Nacen iguales a la media de los demás: ni más probables ni más raros que cualquiera.
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            table.weight.data[first:end] = table.weight.data[:first].mean(0)
        model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def encode_conversation(tokenizer, messages: Sequence[dict[str, str]]) -> Encoded:
    """Codifica una conversación con la plantilla del tokenizador: cuentan las respuestas y su fin.

    Vale con cualquier plantilla de chat. Si marca la generación, como la del curso, transformers
    dice qué tokens son respuesta. Las del Hub rara vez lo hacen: entonces se escribe la
    conversación hasta cada respuesta y hasta que acaba, y lo que hay en medio es lo que dijo el
    modelo. No corta ni rellena: del relleno se ocupa `collate`, lote a lote.

    Los tokens especiales que alguien escriba en un mensaje dejan de serlo (`plain`); los rótulos
    que son texto corriente, como `GPT4 Correct User:`, no se tocan, porque sin un fin de turno
    delante no abren otro.

    Args:
        messages: `{"role": "user" | "assistant" | …, "content": texto}`, en orden.

    Raises:
        ValueError: si no hay plantilla; y con una que no marque la generación, si la conversación
            no empieza por quien pregunta o si la plantilla reescribe lo anterior al seguir.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            "El tokenizador no trae plantilla de chat: dale la del curso con prepare_for_chat."
        )
    render = _marked if marks_replies(tokenizer.chat_template) else _inferred
    ids, kinds, counts = render(tokenizer, _plain_messages(tokenizer, messages))
    labels = [token if yes else IGNORED for token, yes in zip(ids, counts, strict=True)]
    return Encoded(ids, [1] * len(ids), labels, kinds)


def marks_replies(template: str) -> bool:
    """Si una plantilla de chat señala con `{% generation %}` lo que dice el modelo."""
    return bool(re.search(r"{%-?\s*generation\s*-?%}", template))


def encode_text(tokenizer, text: str) -> Encoded:
    """Un texto corriente, sin papeles: la pérdida lo cuenta entero, con su fin."""
    ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    kinds = [Kind.REPLY] * (len(ids) - 1) + [Kind.END]
    return Encoded(ids, [1] * len(ids), list(ids), kinds)


def chat_prompt(tokenizer, messages: Sequence[dict[str, str]]) -> list[int]:
    """Los ids de una conversación a la espera de respuesta: prefijo exacto de los de entrenar."""
    return _render(tokenizer, _plain_messages(tokenizer, messages), ask=True)


def pair_messages(user: str, reply: str) -> list[dict[str, str]]:
    """Una pareja como lista de mensajes."""
    return [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]


def dialogue_messages(dialogue) -> list[dict[str, str]]:
    """Un `Dialogue` como mensajes: sin los de sistema, que la plantilla del curso no tiene, y hasta
    la última respuesta. Sin papeles en el archivo, los turnos alternan y empieza el usuario.

    >>> from course_lib.dialogues import Dialogue
    >>> [m["role"] for m in dialogue_messages(Dialogue(("Hola.", "¡Hola!", "¿Qué tal?")))]
    ['user', 'assistant']
    """
    alternate = [("user", "assistant")[i % 2] for i in range(len(dialogue.turns))]
    said = zip(dialogue.roles or alternate, dialogue.turns, strict=True)
    messages = [{"role": role, "content": turn} for role, turn in said if role != "system"]
    while messages and messages[-1]["role"] == "user":
        messages.pop()
    return messages


def collate(rows: Iterable[Encoded | dict], pad_token_id: int) -> dict:
    """Junta ejemplos (`Encoded`, o diccionarios con sus cuatro listas) en un lote.

    Returns:
        Cuatro tensores de enteros de forma (filas, tokens del más largo), con relleno por la
        derecha, que no cuenta en la pérdida sea cual sea su id.
    """
    import torch

    rows = [row if isinstance(row, dict) else vars(row) for row in rows]
    width = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": pad_token_id, "attention_mask": 0, "labels": IGNORED}
    return {
        name: torch.tensor([list(row[name]) + [value] * (width - len(row[name])) for row in rows])
        for name, value in (fill | {"kinds": Kind.PADDING}).items()
    }


def _special_tokens(tokenizer) -> dict[int, str]:
    """Los tokens especiales, por su id; otros añadidos («  », «<think>») son texto corriente."""
    added = tokenizer.added_tokens_decoder.items()
    return {index: token.content for index, token in added if token.special}


def _plain_messages(tokenizer, messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [{**m, "content": plain(m["content"], tokenizer)} for m in messages]


def _render(tokenizer, messages: Sequence[dict], ask: bool = False) -> list[int]:
    out = tokenizer.apply_chat_template(messages, add_generation_prompt=ask, return_dict=True)
    return out["input_ids"]


def _marked(tokenizer, messages: Sequence[dict]) -> tuple[list[int], list[Kind], list[int]]:
    """Ids, clases y qué cuenta, con una plantilla que marca la generación."""
    out = tokenizer.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, counts, special = out["input_ids"], out["assistant_masks"], _special_tokens(tokenizer)
    kinds = [Kind.REPLY if mine else Kind.USER for mine in counts]
    for i, token in enumerate(ids):
        if token in special or token == tokenizer.eos_token_id:
            kinds[i] = Kind.END if token == tokenizer.eos_token_id else Kind.MARKER
    return ids, kinds, counts


def _inferred(tokenizer, messages: Sequence[dict]) -> tuple[list[int], list[Kind], list[int]]:
    """Lo mismo con una plantilla que no la marca: se ve por dónde crece la conversación."""
    if not messages or messages[0]["role"] == "assistant":
        raise ValueError("La conversación está vacía o empieza por el asistente: quita ese turno.")
    ids, special = _render(tokenizer, messages), _special_tokens(tokenizer)
    kinds, counts, end = [Kind.MARKER] * len(ids), [0] * len(ids), 0
    for k, message in enumerate(messages):
        answers = message["role"] == "assistant"
        before = _render(tokenizer, messages[:k], ask=True) if answers else ids[:end]
        after = _render(tokenizer, messages[: k + 1])
        if ids[: len(before)] != before or ids[: len(after)] != after:
            raise ValueError(
                f"Esta plantilla de chat reescribe lo anterior al llegar al mensaje {k + 1}, así "
                "que no se puede saber qué tokens son respuesta: pon {% generation %} en la "
                "plantilla o usa prepare_for_chat."
            )
        start, end = len(before), len(after)
        if not answers:
            first, last = _content(tokenizer, messages[: k + 1], after, start)
            kinds[first:last] = [Kind.USER] * (last - first)
            continue
        ends = [i for i in range(start, end) if ids[i] in special]
        stop = ends[-1] + 1 if ends else end  # tras el fin, un salto de línea ya no es suyo
        for i in range(start, stop):
            kinds[i], counts[i] = (Kind.END if i in ends else Kind.REPLY), 1
    return ids, kinds, counts


def _content(tokenizer, messages: list[dict], ids: list[int], start: int) -> tuple[int, int]:
    """Dónde empieza y acaba lo escrito en el último mensaje: lo que cambia si se escribe otra cosa.

    Solo sirve para los colores y para partir la pérdida por clases; las etiquetas no salen de aquí.
    """
    text = messages[-1]["content"]
    other = next(c for c in "0¡z" if c not in (text[:1], text[-1:]))
    probe = _render(tokenizer, [*messages[:-1], {**messages[-1], "content": other}])
    head, tail = _common(ids, probe), _common(ids[::-1], probe[::-1])
    return max(head, start), max(head, start, len(ids) - tail)


def _common(a: list[int], b: list[int]) -> int:
    """Cuántos elementos tienen iguales desde el principio."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(a, b))))
