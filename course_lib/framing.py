"""Lo que alguien escribe no abre turnos: se codifica aparte del marco que le pone la plantilla.

Los marcadores que son tokens entran por su id: se codifica con una copia del tokenizador en que se
llaman de otro modo, elegido al azar, y ningún texto da con ellos por mucho que se les parezca. Los
rótulos que son texto, como `[/INST]` o `USER:`, el modelo no los distingue de los que alguien
copie: se mira en los ids si lo escrito añade o tapa alguno, y entonces se rechaza.
"""

import json
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise

_SECRET = secrets.token_hex(8)
_HIDDEN = re.compile(rf"{_SECRET}m(\d+)m")  # el hueco que deja lo escrito
_PROBES = (["user", "assistant", "user"], ["system", "user"], ["user", "assistant", "tool"])
_MARKUP = re.compile(r"<+[^<>\s]+>+|\[+[^\[\]\s]+\]+")

Piece = tuple[str, int | None, bool]  # un texto, de qué mensaje (o del marco) y si es respuesta


@dataclass(frozen=True)
class Framed:
    """Ids y, de cada uno, de qué mensaje es (`None`, del marco) y si la plantilla lo da por
    respuesta."""

    ids: list[int]
    owners: list[int | None]
    replies: list[bool]


@dataclass(frozen=True, eq=False)
class Guard:
    """Lo que abre y cierra turnos: los tokens, con su nombre secreto, el patrón que los encuentra y
    sus ids; los rótulos de texto; y la copia del tokenizador que conoce esos nombres."""

    names: dict[str, str]
    pattern: re.Pattern
    ids: frozenset[int]
    labels: tuple[str, ...]
    backend: object

    def encode(self, pieces: Sequence[Piece], special: bool = False) -> Framed:
        """Los ids de unos trozos: solo en los del marco hay marcadores."""
        text, chars = "", []  # y, de cada carácter, su mensaje y si es respuesta
        for part, owner, mine in pieces:
            if owner is None:
                part = self.pattern.sub(lambda match: self.names[match[0]], part)
            text += part
            chars += [(owner, mine)] * len(part)
        out, chars = self.backend.encode(text, add_special_tokens=special), chars or [(None, False)]
        ends = [max(end, 1) for _, end in out.offsets]  # hay tokens que no ocupan nada
        starts = [min(start, end - 1) for (start, _), end in zip(out.offsets, ends)]
        owners = [chars[end - 1][0] for end in ends]
        replies = [any(mine for _, mine in chars[a:b]) for a, b in zip(starts, ends)]
        return Framed(out.ids, owners, replies)


def guard_of(tokenizer) -> Guard:
    """Los marcadores de un tokenizador y de su plantilla; se buscan de nuevo si cambian."""
    tokens = tokenizer.added_tokens_decoder.items()
    added = tuple((index, token.content, token.special) for index, token in tokens)
    return _find(tokenizer, added, str(tokenizer.chat_template))


def frame_messages(tokenizer, messages: Sequence[dict[str, str]], ask: bool = False) -> Framed:
    """Una conversación con la plantilla del tokenizador.

    Raises:
        ValueError: si está vacía, si un mensaje no es texto o si finge un marcador.
    """
    hidden, written = _hide(messages)
    empty, real = (_render(tokenizer, said, ask) for said in (hidden, messages))
    guard, pieces = guard_of(tokenizer), _pieces(*empty, written)
    if "".join(text for text, *_ in pieces) == real[0]:
        return encode_pieces(guard, tokenizer, pieces, guard.labels)
    # La plantilla transforma lo escrito («upper», «tojson»…), y ya no se sabe qué es del marco.
    framed, innocent = (guard.encode(_pieces(*told, [])) for told in (real, empty))
    _refuse_forged(guard, tokenizer, guard.labels, framed, innocent, written)
    return framed


def encode_pieces(
    guard: Guard, tokenizer, pieces: Sequence[Piece], labels: Sequence[str], special: bool = False
) -> Framed:
    """Los ids de unos trozos de marco y de texto escrito, que no puede fingir esos rótulos."""
    framed = guard.encode(pieces, special)
    if labels or any(k is not None for k, i in zip(framed.owners, framed.ids) if i in guard.ids):
        written = [(text, k) for text, k, _ in pieces if k is not None]
        # Lo mismo con un texto cualquiera, con los mismos espacios a los lados.
        calm = {text: re.sub(r"(?s)\S(.*\S)?", f"{_SECRET}m0m", text) for text, _ in written}
        hidden = tuple((t if k is None else calm[t], k, mine) for t, k, mine in pieces)
        innocent = _innocent(guard, hidden, special)
        _refuse_forged(guard, tokenizer, labels, framed, innocent, written)
    return framed


@lru_cache(maxsize=64)  # el marco se repite de un ejemplo a otro
def _innocent(guard: Guard, pieces: tuple[Piece, ...], special: bool) -> Framed:
    return guard.encode(pieces, special)


def marks_replies(template: str) -> bool:
    """Si una plantilla de chat señala con `{% generation %}` lo que dice el modelo."""
    return bool(re.search(r"{%-?\s*generation\s*-?%}", template))


def _hide(messages: Sequence[dict]) -> tuple[list[dict], list[tuple[str, int]]]:
    """Los mensajes con un hueco en lugar de lo escrito, y lo escrito, con su número de mensaje.

    Los espacios de los lados se quedan: la plantilla que los recorte los recortará igual.
    """
    if not messages:
        raise ValueError("La conversación está vacía: pon al menos un mensaje.")
    hidden, written = [], []
    for k, message in enumerate(messages):
        hidden.append(dict(message))
        for name, text in ({"role": "", "content": None} | message).items():
            if name == "role" and not re.fullmatch(r"[\w-]+", str(text)):
                raise ValueError(f"El mensaje {k + 1} no dice en «role» de quién es: pon «user»…")
            if isinstance(text, list | dict) or (name == "content" and not isinstance(text, str)):
                raise ValueError(
                    f"El mensaje {k + 1} no trae un texto en «{name}», sino {type(text).__name__}: "
                    "escríbelo como texto o quita el mensaje."
                )
            if name != "role" and isinstance(text, str) and (core := text.strip()):
                hidden[k][name] = text.replace(core, f"{_SECRET}m{len(written)}m", 1)
                written.append((core, k))
    return hidden, written


def _render(tokenizer, messages: Sequence[dict], ask: bool) -> tuple[str, list[tuple[int, int]]]:
    """El texto que escribe la plantilla y los tramos que marca como respuesta."""
    from transformers.utils.chat_template_utils import render_jinja_template

    template = tokenizer.get_chat_template()
    options = {"chat_template": template, "add_generation_prompt": ask}
    options |= {"return_assistant_tokens_mask": marks_replies(template)}
    texts, spans = render_jinja_template([messages], **options, **tokenizer.special_tokens_map)
    return texts[0], spans[0] if spans else []


def _pieces(text: str, spans: list[tuple[int, int]], written: list) -> list[Piece]:
    """Un texto cortado por sus huecos, ya llenos, y por donde empieza o acaba una respuesta."""
    pieces: list[Piece] = []
    for start, end in pairwise(sorted({0, len(text), *chain(*spans)})):
        mine = any(a <= start < b for a, b in spans)
        for i, part in enumerate(_HIDDEN.split(text[start:end]) if written else [text[start:end]]):
            pieces.append((*written[int(part)], mine) if i % 2 else (part, None, mine))
    return pieces


def _refuse_forged(guard, tokenizer, labels, framed, innocent, written) -> None:
    """Rechaza lo escrito si en los ids no están los mismos marcadores que con un texto inocente."""
    forms = _forms(guard, tokenizer, tuple(labels))

    def seen(ids: list[int]) -> Counter:
        found = Counter(tokenizer.convert_ids_to_tokens([i for i in ids if i in guard.ids]))
        text = tokenizer.decode(ids, clean_up_tokenization_spaces=False) if forms else ""
        for form in forms:
            found[form] += len(re.findall(f"(?={re.escape(form)})", text))
        return found

    checks = [("Un mensaje", framed.ids, innocent.ids)]
    if forms:  # y cada texto por su lado, por si tapa un rótulo y añade otro
        alone = [(k, guard.encode([(text, k, False)]).ids) for text, k in written]
        checks = [*((f"El mensaje {k + 1}", ids, []) for k, ids in alone), *checks]
    for where, ids, same in checks:
        found, wanted = seen(ids), seen(same)
        for mark in (found - wanted) | (wanted - found):
            raise ValueError(
                f"{where} imita «{mark.strip() or 'un salto de línea'}», que en esta plantilla "
                "abre o cierra un turno, y el modelo no lo distinguiría: quítalo o escríbelo de "
                "otro modo."
            )


@lru_cache(maxsize=8)
def _forms(guard: Guard, tokenizer, labels: tuple[str, ...]) -> list[str]:
    """Los rótulos tal como se escriben y tal como se leen en los ids."""
    read = [guard.encode([(label, 0, False)]).ids for label in labels]
    known = [ids for ids in read if {*ids} - {tokenizer.unk_token_id}]
    return sorted({*labels, *(tokenizer.decode(ids).strip() for ids in known)} - {""})


@lru_cache(maxsize=8)
def _find(tokenizer, added: tuple[tuple[int, str, bool], ...], template: str) -> Guard:
    """Los marcadores: los tokens especiales y lo que la plantilla pone alrededor de un texto."""
    frames, openers = [], []
    for roles in _PROBES if tokenizer.chat_template else ():
        messages = [{"role": r, "content": f"{_SECRET}m{k}m"} for k, r in enumerate(roles)]
        try:
            pieces = _HIDDEN.split(_render(tokenizer, messages, True)[0])[::2]
        except Exception:  # cada plantilla tiene sus exigencias
            continue
        frames += pieces
        if roles[0] == "user":  # antes del primer turno puede haber un preámbulo
            pieces[0] = " ".join(_MARKUP.findall(pieces[0]))
        openers += pieces
    text = "\n".join(frames)
    tokens = {word: i for i, word, special in added if word.strip() and (special or word in text)}
    names = {content: f"{_SECRET}t{index}t" for content, index in tokens.items()}
    ids = frozenset(tokens.values()) - {tokenizer.unk_token_id}
    probe = " ".join([text, *tokens])
    for own in (names, {}):  # los que no se dejan renombrar, se vigilan como el texto
        longest = sorted(own, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest)) or "(?!)")
        labels = _labels(openers, pattern)
        try:
            guard = Guard(own, pattern, ids, labels, _renamed(tokenizer, added, own))
            found = guard.encode([(probe, None, False)]).ids
        except Exception:  # no es de la biblioteca tokenizers, o lleva una pieza hecha en Python
            break
        if found == tokenizer.encode(probe, add_special_tokens=False):
            return guard
    raise ValueError("Con este tokenizador no se sabe impedir que alguien finja un turno.")


def _labels(openers: list[str], tokens: re.Pattern) -> tuple[str, ...]:
    """Los rótulos de texto que abren un turno: tras el último token marcador, si lo hay."""
    labels = set()
    for opener in openers:
        *before, tail = tokens.split(opener)
        # Una palabra suelta, como «assistant» en ChatML, solo abre turno tras su token.
        parts = [part.strip() for part in re.split(f"({_MARKUP.pattern})|\n", tail) if part]
        found = [part for part in parts if len(part) > 2 and re.search(r"[^\w\s]|_", part)]
        labels.update(found or ([] if before else [opener]))
    return tuple(sorted(labels - {""}))


def _renamed(tokenizer, added, names: dict[str, str]):
    """Una copia del tokenizador con otros nombres para esos tokens."""
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    for token in state["added_tokens"]:
        if name := names.get(token["content"]):
            token |= {"content": name, "normalized": False, "single_word": False}
    vocab = state["model"]["vocab"]  # si ahí está cada nombre, conserva su id
    if isinstance(vocab, dict) and names:
        vocab |= {names.get(word, word): index for index, word, _ in added}
    elif names:
        vocab[:] = [(names.get(word, word), score) for word, score in vocab]
    return Tokenizer.from_str(json.dumps(state))
