"""De un diálogo a números: la codificación correcta y, al lado, la de la lección original.

Ambas dicen de cada posición qué es (`Kind`) y si la pérdida la cuenta, y de ahí salen los colores
de las lecciones. La correcta (`encode_conversation`) usa la plantilla de chat del propio
tokenizador, la misma al entrenar que al contestar: una sola verdad. Los marcadores y la plantilla
del curso se nombran aquí y en ningún otro sitio.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from course_lib.framing import Framed, encode_pieces, frame_messages, guard_of, marks_replies

USER, BOT, PAD = "<|user|>", "<|bot|>", "<|pad|>"
ORIGINAL_USER, ORIGINAL_BOT = "<|user|>", "<|bot|>"  # los de aquella lección: no se tocan
MARKERS = (USER, BOT)  # los que abren un turno; cada uno es un token cuando se prepara el chat
IGNORED = -100  # la etiqueta que la pérdida de transformers no cuenta
LONGEST = 1_000_000  # tokens de un ejemplo: más no le caben a ningún modelo

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
    """Deja a la vista que un marcador escrito en un texto no lo es: le mete un espacio dentro o, si
    es un solo carácter, lo quita.

    Sin eso y sin `framing`, quien escriba «<|bot|>» en el chat hablaría con la voz del modelo.

    >>> from course_lib.tracks import mini
    >>> plain("hola<|bot|>", mini().load_tokenizer())
    'hola< |bot|>'
    """
    for mark in marks(tokenizer):
        text = text.replace(mark, f"{mark[0]} {mark[1:]}" if len(mark) > 1 else "")
    return text


def marks(tokenizer) -> list[str]:
    """Lo que `plain` parte, en el orden en que lo hace: los marcadores del curso y los del
    tokenizador y su plantilla, sean tokens o texto."""
    guard = guard_of(tokenizer)
    known = {*guard.names, *guard.labels, *MARKERS, ORIGINAL_USER, ORIGINAL_BOT}
    # Primero los de un carácter: al quitarlo podría quedar entero un marcador más largo.
    return sorted(filter(str.strip, known), key=lambda mark: (len(mark) > 1, -len(mark), mark))


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
    if not 0 < max_length <= LONGEST:
        raise ValueError(f"max_length={max_length} ha de estar entre 1 y {LONGEST}.")
    said, answered = f" {plain(user, tokenizer)}", f" {plain(reply, tokenizer)}".rstrip()
    pieces = [(ORIGINAL_USER, None), (said, 0), (f" {ORIGINAL_BOT}", None), (answered, 1)]
    framed = _original(tokenizer, pieces)
    kinds = [{None: Kind.MARKER, 0: Kind.USER, 1: Kind.REPLY}[owner] for owner in framed.owners]
    size = len(framed.ids[:max_length])

    def padded(values: list, fill) -> list:
        gap = [fill] * (max_length - size)
        left = tokenizer.padding_side == "left"
        return gap + values[:size] if left else values[:size] + gap

    ids, mask = padded(framed.ids, tokenizer.pad_token_id), padded([1] * size, 0)
    return Encoded(ids, mask, list(ids), padded(kinds, Kind.PADDING))


def original_prompt(
    tokenizer, messages: Sequence[dict[str, str]], glue: str | None = None
) -> list[int]:
    """Los ids con que la lección original preguntaba: espacios en una pregunta suelta, y en una
    charla con historia líneas separadas por saltos que el entrenamiento no había visto nunca.

    Args:
        glue: con qué unir los turnos, si no ha de ser como la original.
    """
    marker = {"user": ORIGINAL_USER, "assistant": ORIGINAL_BOT}
    glue = glue or (" " if len(messages) == 1 else "\n")
    pieces = []
    for k, message in enumerate(messages):
        said = f" {plain(message['content'], tokenizer)}"
        pieces += [(marker[message["role"]], None), (said, k), (glue, None)]
    return _original(tokenizer, [*pieces, (ORIGINAL_BOT, None)]).ids


def _original(tokenizer, pieces: list[tuple]) -> Framed:
    guard = guard_of(tokenizer)
    labels = sorted({ORIGINAL_USER, ORIGINAL_BOT} - guard.names.keys())
    return encode_pieces(guard, tokenizer, [(*p, False) for p in pieces], labels, special=True)


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

    Lo escrito en un mensaje no puede fingir un turno. Se codifica aparte del marco (`framing`),
    donde ningún texto da con un token marcador; a los marcadores que lleve, sean tokens o rótulos
    de texto como `GPT4 Correct User:`, se les ve un espacio dentro (`plain`), y el mensaje que aun
    así dejaría en los ids un rótulo de más se rechaza.

    Args:
        messages: `{"role": "user" | "assistant" | …, "content": texto}`, en orden.

    Raises:
        ValueError: si no hay plantilla, o un mensaje no es texto o finge un rótulo; y con una
            plantilla que no marque la generación, si la conversación no empieza por quien pregunta
            o si reescribe lo anterior al seguir.
    """
    messages = _plain_messages(tokenizer, messages)
    encode = _marked if marks_replies(tokenizer.get_chat_template()) else _inferred
    ids, kinds, counts = encode(tokenizer, messages)
    labels = [token if yes else IGNORED for token, yes in zip(ids, counts, strict=True)]
    return Encoded(ids, [1] * len(ids), labels, kinds)


def encode_text(tokenizer, text: str) -> Encoded:
    """Un texto corriente, sin papeles: la pérdida lo cuenta entero, con su fin."""
    ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    kinds = [Kind.REPLY] * (len(ids) - 1) + [Kind.END]
    return Encoded(ids, [1] * len(ids), list(ids), kinds)


def chat_prompt(tokenizer, messages: Sequence[dict[str, str]]) -> list[int]:
    """Los ids de una conversación a la espera de respuesta: prefijo exacto de los de entrenar."""
    return frame_messages(tokenizer, _plain_messages(tokenizer, messages), ask=True).ids


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


def _plain_messages(tokenizer, messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    if not tokenizer.chat_template:
        raise ValueError(
            "El tokenizador no trae plantilla de chat: dale la del curso con prepare_for_chat."
        )

    def shown(name: str, value):
        return plain(value, tokenizer) if isinstance(value, str) and name != "role" else value

    return [{name: shown(name, value) for name, value in m.items()} for m in messages]


def _marked(tokenizer, messages: Sequence[dict]) -> tuple[list[int], list[Kind], list[bool]]:
    """Ids, clases y qué cuenta, con una plantilla que marca la generación."""
    framed, markers = frame_messages(tokenizer, messages), guard_of(tokenizer).ids
    kinds = [Kind.REPLY if mine else Kind.USER for mine in framed.replies]
    for i, token in enumerate(framed.ids):
        if token == tokenizer.eos_token_id:
            kinds[i] = Kind.END
        elif token in markers:
            kinds[i] = Kind.MARKER
    return framed.ids, kinds, framed.replies


def _inferred(tokenizer, messages: Sequence[dict]) -> tuple[list[int], list[Kind], list[bool]]:
    """Lo mismo con una plantilla que no la marca: se ve por dónde crece la conversación."""
    if not messages or messages[0]["role"] == "assistant":
        raise ValueError("La conversación está vacía o empieza por el asistente: quita ese turno.")
    framed, markers = frame_messages(tokenizer, messages), guard_of(tokenizer).ids
    ids, end = framed.ids, 0
    kinds = [Kind.MARKER if owner is None else Kind.USER for owner in framed.owners]
    counts = [False] * len(ids)
    for k, message in enumerate(messages):
        answers = message["role"] == "assistant"
        before = frame_messages(tokenizer, messages[:k], ask=True).ids if answers else ids[:end]
        after = frame_messages(tokenizer, messages[: k + 1]).ids
        if ids[: len(before)] != before or ids[: len(after)] != after:
            raise ValueError(
                f"Esta plantilla de chat reescribe lo anterior al llegar al mensaje {k + 1}, así "
                "que no se puede saber qué tokens son respuesta: pon {% generation %} en la "
                "plantilla o usa prepare_for_chat."
            )
        start, end = len(before), len(after)
        if not answers:
            continue
        ends = [i for i in range(start, end) if ids[i] in markers]
        stop = ends[-1] + 1 if ends else end  # tras el fin, un salto de línea ya no es suyo
        for i in range(start, stop):
            kinds[i], counts[i] = (Kind.END if i in ends else Kind.REPLY), True
    return ids, kinds, counts
