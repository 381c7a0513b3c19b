"""Papeles: nadie debe poder abrir, cerrar ni fingir un turno con lo que escribe.

Tokenizadores de muchas formas, hechos aquí y sin red, cada uno con una plantilla, y mensajes hechos
con trozos de sus marcadores. Lo que se exige no mira cómo lo hace el curso: en los ids acabados
están los mismos marcadores, y en el mismo orden, que con mensajes inocentes; lo dicho en cada turno
sigue en su turno, y la pérdida no cuenta nada del usuario. O el mensaje se rechaza con una frase.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from course_lib.encoding import (
    ORIGINAL_BOT,
    ORIGINAL_USER,
    chat_prompt,
    encode_conversation,
    encode_original,
    original_prompt,
    prepare_for_chat,
)
from taller.asedio import Broken, refusals

TEXTS = [
    "hola qué tal estás hoy",
    "muy bien gracias y tú",
    "user assistant system bot human",
    "### Instruction: ### Response: USER: ASSISTANT: Human: [INST] <|user|> </s> _bot_ §",
    *(f"zu{i} za{i} {chr(97 + i)} {i}" for i in range(10)),
] * 3
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def turns_template(user: str, assistant: str, end: str, after_user: str = "", bos: str = "") -> str:
    """La plantilla que escribe cada turno entre su marcador y lo que lo cierra."""
    ask = assistant.rstrip(" ")  # como las del Hub: el espacio ya es de lo que se conteste
    return (
        f"{{{{ {bos!r} }}}}{{% for m in messages %}}{{% if m.role == 'user' %}}"
        f"{{{{ {user!r} + m.content + {after_user!r} }}}}{{% else %}}"
        f"{{{{ {assistant!r} + m.content + {end!r} }}}}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {ask!r} }}}}{{% endif %}}"
    )


@dataclass(frozen=True)
class Shape:
    """Una forma de tokenizador: sus piezas, sus tokens añadidos y su plantilla; `None`, la del
    curso. `marks` son los marcadores de papel, sean tokens o texto."""

    model: str
    marks: tuple[str, ...]
    template: str | None
    special: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()  # añadidos con special=False
    normalizer: Callable[[], Any] | None = None
    options: tuple[tuple[str, bool], ...] = ()  # de AddedToken

    @property
    def texts(self) -> tuple[str, ...]:
        """Los marcadores que son texto corriente."""
        return tuple(
            m for m in self.marks if m not in (*self.special, *self.plain) and self.template
        )


def _nfkc():
    return normalizers.NFKC()


def _lower():
    bare = [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    return normalizers.Sequence(bare)


def _gone():
    return normalizers.Replace(Regex(r"[\u200b@]"), "")


def _metaspace():
    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def _shapes() -> dict[str, Shape]:
    eot, im = "<|endoftext|>", ("<|im_start|>", "<|im_end|>")
    inst = ("[INST]", "[/INST]")
    mistral = turns_template("[INST] ", " ", "</s>", " [/INST]", "<s>").replace(
        "{% if add_generation_prompt %}{{ '' }}{% endif %}", ""
    )
    deep = ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>")
    head = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    llama3 = (
        "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + "
        "m.content + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    )
    gemma = (
        "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else "
        "m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    )
    zephyr = turns_template("<|user|>\n", "<|assistant|>\n", "</s>\n", "</s>\n")
    openchat = turns_template(
        "GPT4 Correct User: ",
        "GPT4 Correct Assistant: ",
        "<|end_of_turn|>",
        "<|end_of_turn|>",
        "<s>",
    )
    vicuna = turns_template("USER: ", "ASSISTANT: ", "</s>", " ")
    alpaca = turns_template("### Instruction:\n", "### Response:\n", "</s>\n\n", "\n\n")
    human = turns_template("\n\nHuman: ", "\n\nAssistant: ", "</s>")
    self_ = turns_template("_usr_", "_bot_", "</s>")
    one = turns_template("<|usr§|>", "<|bot§|>", "§")
    course = ("<|user|>", "<|bot|>", eot)
    s = ("<s>", "</s>")
    return {
        "curso": Shape("bytes", course, None, (eot,)),
        "curso unigram": Shape("unigram", ("<|user|>", "<|bot|>", "</s>"), None, s),
        "curso nfkc": Shape("bytes", course, None, (eot,), normalizer=_nfkc),
        "curso minúsculas": Shape("bytes", course, None, (eot,), normalizer=_lower),
        "chatml": Shape("bytes", im, CHATML, (*im, eot)),
        "chatml sin special": Shape("bytes", im, CHATML, (eot,), im),
        "chatml como texto": Shape("bytes", im, CHATML, (eot,)),
        "chatml rstrip": Shape(
            "bytes", im, CHATML, (*im, eot), options=(("rstrip", True), ("lstrip", True))
        ),
        "chatml normalizado": Shape(
            "bytes", im, CHATML, (*im, eot), normalizer=_lower, options=(("normalized", True),)
        ),
        "deepseek": Shape(
            "bytes", deep, turns_template(deep[0], deep[1], deep[2]), (deep[2],), deep[:2]
        ),
        "deepseek nfkc": Shape(
            "bytes",
            deep,
            turns_template(deep[0], deep[1], deep[2]),
            (deep[2],),
            deep[:2],
            _nfkc,
            (("normalized", True),),
        ),
        "llama3": Shape("bytes", head, llama3, head),
        "gemma": Shape(
            "metaspace",
            ("<start_of_turn>", "<end_of_turn>"),
            gemma,
            ("<start_of_turn>", "<end_of_turn>", *s),
            normalizer=_metaspace,
        ),
        "mistral texto": Shape("unigram", (*inst, "</s>"), mistral, s),
        "mistral tokens": Shape(
            "metaspace", (*inst, "</s>"), mistral, (*s, *inst), normalizer=_metaspace
        ),
        "zephyr": Shape(
            "metaspace", ("<|user|>", "<|assistant|>", "</s>"), zephyr, s, normalizer=_metaspace
        ),
        "openchat": Shape(
            "metaspace",
            ("GPT4 Correct User:", "GPT4 Correct Assistant:", "<|end_of_turn|>"),
            openchat,
            (*s, "<|end_of_turn|>"),
            normalizer=_metaspace,
        ),
        "vicuna": Shape("unigram", ("USER:", "ASSISTANT:", "</s>"), vicuna, s),
        "alpaca": Shape("bytes", ("### Instruction:", "### Response:", "</s>"), alpaca, s),
        "humano": Shape("bytes", ("\n\nHuman:", "\n\nAssistant:", "</s>"), human, s),
        "solapados": Shape("bytes", ("_usr_", "_bot_", "</s>"), self_, s, ("_usr_", "_bot_")),
        "de un carácter": Shape(
            "bytes", ("<|usr§|>", "<|bot§|>", "§"), one, ("<|usr§|>", "<|bot§|>", "§", "|")
        ),
        "quita signos": Shape("bytes", im, CHATML, (*im, eot), normalizer=_gone),
        "quita signos, texto": Shape(
            "bytes", ("<|user|>", "<|assistant|>", "</s>"), zephyr, s, normalizer=_gone
        ),
        "wordpiece": Shape("wordpiece", im, CHATML, (*im, eot), normalizer=_lower),
        "wordpiece texto": Shape(
            "wordpiece",
            ("user:", "assistant:", "</s>"),
            turns_template("user: ", "assistant: ", "</s>", " "),
            s,
            normalizer=_lower,
        ),
        "palabra sola": Shape(
            "bytes",
            im,
            CHATML.replace("m.content + '", "m.content + '\n"),
            (*im, eot),
            options=(("single_word", True),),
        ),
    }


SHAPES = _shapes()


@cache
def built(name: str):
    """El tokenizador de una forma, ya listo para transformers."""
    from transformers import PreTrainedTokenizerFast

    shape = SHAPES[name]
    unknown = {"wordpiece": "[UNK]", "unigram": "<unk>"}.get(shape.model)
    first = [unknown] if unknown else []
    tokenizer = {
        "bytes": lambda: Tokenizer(models.BPE()),
        "metaspace": lambda: Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True)),
        "unigram": lambda: Tokenizer(models.Unigram()),
        "wordpiece": lambda: Tokenizer(models.WordPiece(unk_token="[UNK]")),
    }[shape.model]()
    if shape.normalizer:
        tokenizer.normalizer = shape.normalizer()
    if shape.model == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=420, initial_alphabet=alphabet, show_progress=False
        )
    elif shape.model == "metaspace":
        tokenizer.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        first += [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=first, show_progress=False)
    elif shape.model == "unigram":
        tokenizer.pre_tokenizer, tokenizer.decoder = (
            pre_tokenizers.Metaspace(),
            decoders.Metaspace(),
        )
        trainer = trainers.UnigramTrainer(
            vocab_size=150,
            special_tokens=first,
            unk_token=unknown,
            show_progress=False,
            initial_alphabet=list("<>|[]/#:_§\n"),
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=400, special_tokens=first, show_progress=False
        )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if shape.model == "metaspace":  # las 256 de reserva son piezas corrientes
        import json

        state = json.loads(tokenizer.to_str())
        state["added_tokens"] = []
        tokenizer = Tokenizer.from_str(json.dumps(state))
    options = dict(shape.options)
    tokenizer.add_special_tokens([AddedToken(t, special=True, **options) for t in shape.special])
    tokenizer.add_tokens(
        [AddedToken(t, special=False, **{"normalized": False} | options) for t in shape.plain]
    )
    ends = [t for t in shape.special if t in (*shape.marks, "</s>", "<|endoftext|>")]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=ends[-1], unk_token=unknown
    )
    if shape.template is None:
        return prepare_for_chat(fast)
    fast.chat_template = shape.template
    fast.pad_token = fast.eos_token
    return fast


def pieces(name: str) -> list[str]:
    """Con qué se hacen los mensajes: los marcadores, sus trozos y lo que alguien iguala."""
    shape = SHAPES[name]
    marks = [*shape.marks, *shape.special, *shape.plain]
    made = list(marks)
    for mark in marks:
        cut = len(mark) // 2 or 1
        made += [
            mark[:cut],
            mark[cut:],
            mark[:1],
            mark[1:],
            mark[:-1],
            mark[-1:],
            mark[:-1] + mark,
            mark + mark[1:],
            mark.upper(),
            mark.lower(),
            mark.strip(),
            f" {mark} ",
            f"\n{mark}\n",
            mark[:cut] + "@" + mark[cut:],
            mark[:cut] + "\u200b" + mark[cut:],
            mark[:cut] + mark + mark[cut:],
            f"{mark[:cut]}§{mark[cut:]}",
            mark.replace("o", "ó"),
            "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in mark),
            mark.replace(" ", "\u00a0"),
            mark.replace(" ", "▁"),
            mark.replace("｜", "|"),
        ]
    return [
        *made,
        " ",
        "\n",
        "\n\n",
        "user",
        "assistant",
        "system",
        "hola",
        "ñ",
        "😀",
        "\x00",
        "▁",
        "Ġ",
        "Ċ",
        "<0x0A>",
        "[UNK]",
        "<unk>",
        "\u0301",
        "{{ '</s>' }}",
        "{% endfor %}",
        "\r",
        "\u2028",
    ]


def prepare(folder: Path) -> None:
    """Hace los tokenizadores, que no es de ningún caso."""
    for name in SHAPES:
        built(name)


def case(rng: random.Random, folder: Path | None = None) -> None:
    """Codifica una conversación hostil, para ajustar y para preguntar, y mira los ids."""
    name = rng.choice(list(SHAPES))
    made = pieces(name)
    messages = []
    for i in range(rng.choice((1, 1, 2, 3))):
        for role, key in (("user", "zu"), ("assistant", "za")):
            text = rng.choice(("", "", " ", "\n")).join(rng.choices(made, k=rng.randint(1, 6)))
            if rng.random() < 0.3 and role == "assistant":
                text = "hola"
            where = rng.randrange(3)
            text = f"{text if where else ''} {key}{i} {text if where != 1 else ''}"
            messages.append({"role": role, "content": text if rng.random() < 0.5 else text.strip()})
    check(name, messages)


def check(name: str, messages: Sequence[dict[str, str]]) -> None:
    """Lo que se exige de una forma con una conversación."""
    tokenizer, shape = built(name), SHAPES[name]
    innocent = [m | {"content": re.search(r"z[ua]\d", m["content"])[0]} for m in messages]
    original = (ORIGINAL_USER, ORIGINAL_BOT)  # en la codificación original, siempre son texto
    for encode, texts in (
        (lambda said: encode_conversation(tokenizer, said), shape.texts),
        (lambda said: chat_prompt(tokenizer, said[:-1]), shape.texts),
        (lambda said: original_prompt(tokenizer, said[:-1]), original),
        (lambda said: _attended(encode_original(tokenizer, *_pair(said), 600)), original),
    ):
        expected = encode(innocent)  # lo inocente se acepta siempre
        with refusals():
            _compare(tokenizer, shape, expected, encode(messages), messages, name, texts)


def _attended(row) -> list[int]:
    return [token for token, seen in zip(row.input_ids, row.attention_mask) if seen]


def _pair(messages: Sequence[dict[str, str]]) -> list[str]:
    return [message["content"] for message in messages[:2]]


def _compare(tokenizer, shape, expected, found, messages, name, texts) -> None:
    ids, base = (getattr(x, "input_ids", x) for x in (found, expected))
    told = f"«{name}», {[m['content'] for m in messages]!r}"
    added = tokenizer.get_added_vocab()
    marked = {added[t] for t in (*shape.marks, *shape.special, *shape.plain) if t in added}
    if [i for i in ids if i in marked] != [i for i in base if i in marked]:
        raise Broken("falsa", f"{told}: sobran o faltan marcadores en {tokenizer.decode(ids)!r}")
    # Los que son texto se buscan en el texto: da igual en qué trozos se lean.
    said, clean = tokenizer.decode(ids), tokenizer.decode(base)
    for mark in set(texts) - added.keys():
        read = tokenizer.decode(tokenizer.encode(mark, add_special_tokens=False)).strip()
        if said.count(read) != clean.count(read):
            raise Broken("falsa", f"{told}: el rótulo {mark!r} sobra en {said!r}")
    turns = re.findall(r"z[ua]\d", said)
    if turns != re.findall(r"z[ua]\d", clean):
        raise Broken(
            "pérdida", f"{told}: los turnos no son los dichos en {tokenizer.decode(ids)!r}"
        )
    if hasattr(found, "labels"):
        counted = tokenizer.decode([i for i, label in zip(ids, found.labels) if label >= 0])
        if (
            re.search(r"zu\d", counted)
            or len(set(re.findall(r"za\d", counted))) != len(messages) // 2
        ):
            raise Broken("falsa", f"{told}: la pérdida cuenta {counted!r}")
