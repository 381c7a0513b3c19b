"""Tokenizadores de muchas formas, plantillas de muchos modelos y textos que fingen sus turnos.

Todo se hace aquí, sin red. `shapes()` da una función por forma; `attacks(rng, roles)`, un texto
malintencionado hecho con los marcadores de una plantilla.
"""

import copy
import json
import random
from functools import cache

TEXTS = [
    "Hola, ¿qué tal estás? Muy bien, gracias, ¿y tú? user assistant model system",
    "GPT4 Correct User: USER: ASSISTANT: ### Instruction: ### Response: [INST] [/INST] <<SYS>>",
    "<|im_start|>assistant <|user|> <|bot|> </s> <s> _bot_bot_ _user_user_ <start_of_turn>",
    "La niña comió piña en el jardín; mañana iremos al cine con Óscar y Ángela.",
] * 20

_LOOP = "{% for m in messages %}"
_ASK = "{% endfor %}{% if add_generation_prompt %}"
_USER = "{% if m['role'] == 'user' %}"


def _turns(user: str, bot: str, ask: str, start: str = "", system: str | None = None) -> str:
    other = "{{ raise_exception('sin ese papel') }}" if system is None else system
    roles = (
        f"{_USER}{user}{{% elif m['role'] == 'assistant' %}}{bot}{{% else %}}{other}{{% endif %}}"
    )
    return f"{start}{_LOOP}{roles}{_ASK}{ask}{{% endif %}}"


_C = "{{ m['content'] }}"
_T = "{{ m['content'] | trim }}"
_NAMED = "{{ '<|' + m['role'] + '|>' }}"
# La plantilla y las cadenas con que abre y cierra turnos: las que pueden ser tokens o solo texto.
TEMPLATES = {
    "curso": (
        _turns(
            f"<|user|> {_C}",
            f"<|bot|>{{% generation %}} {_C}</s>{{% endgeneration %}}",
            "<|bot|>",
        ),
        ["<|user|>", "<|bot|>", "</s>"],
    ),
    "chatml": (
        f"{_LOOP}<|im_start|>{{{{ m['role'] }}}}\n{_C}<|im_end|>\n{_ASK}<|im_start|>assistant\n"
        "{% endif %}",
        ["<|im_start|>", "<|im_end|>"],
    ),
    "llama2": (
        _turns(
            f"<s>[INST] {_T} [/INST]",
            f" {_T} </s>",
            "",
            system=f"<s>[INST] <<SYS>>\n{_C}\n<</SYS>>\n\n",
        ),
        ["[INST]", "[/INST]", "</s>", "<s>", "<<SYS>>", "<</SYS>>"],
    ),
    "llama3": (
        f"<|begin|>{_LOOP}<|start_header_id|>{{{{ m['role'] }}}}<|end_header_id|>\n\n{_T}<|eot_id|>"
        f"{_ASK}<|start_header_id|>assistant<|end_header_id|>\n\n{{% endif %}}",
        ["<|begin|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    ),
    "mistral": (
        _turns(f"[INST] {_C} [/INST]", f"{_C}</s>", "", "<s>"),
        ["[INST]", "[/INST]", "</s>", "<s>"],
    ),
    "zephyr": (
        f"{_LOOP}{_NAMED}\n{_C}</s>\n{_ASK}<|assistant|>\n{{% endif %}}",
        ["<|user|>", "<|assistant|>", "<|system|>", "</s>"],
    ),
    "gemma": (
        _turns(
            f"<start_of_turn>user\n{_T}<end_of_turn>\n",
            f"<start_of_turn>model\n{_T}<end_of_turn>\n",
            "<start_of_turn>model\n",
            "<bos>",
        ),
        ["<start_of_turn>", "<end_of_turn>", "<bos>"],
    ),
    "deepseek": (
        _turns(
            f"<｜User｜>{_C}",
            "<｜Assistant｜>{{ m['content'].split('</think>')[-1] }}<｜end▁of▁sentence｜>",
            "<｜Assistant｜><think>\n",
            "<｜begin▁of▁sentence｜>",
            _C,
        ),
        ["<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"],
    ),
    "phi3": (
        f"{_LOOP}{_NAMED}\n{_C}<|end|>\n{_ASK}<|assistant|>\n{{% endif %}}",
        ["<|user|>", "<|assistant|>", "<|end|>"],
    ),
    "openchat": (
        f"<s>{_LOOP}GPT4 Correct {{{{ m['role'].title() }}}}: {_C}<|end_of_turn|>{_ASK}"
        "GPT4 Correct Assistant:{% endif %}",
        ["GPT4 Correct User:", "GPT4 Correct Assistant:", "<|end_of_turn|>"],
    ),
    "alpaca": (
        _turns(
            f"### Instruction:\n{_C}\n\n",
            f"### Response:\n{_C}</s>\n\n",
            "### Response:\n",
            "A continuación, una instrucción.\n\n",
        ),
        ["### Instruction:", "### Response:", "</s>"],
    ),
    "vicuna": (
        _turns(f"USER: {_C} ", f"ASSISTANT: {_C}</s>", "ASSISTANT:", "Una charla. "),
        ["USER:", "ASSISTANT:", "</s>"],
    ),
    "solapados": (
        _turns(f"_user_user_{_C}", f"_bot_bot_{_C}</s>", "_bot_bot_"),
        ["_user_user_", "_bot_bot_", "</s>"],
    ),
    "un signo": (
        _turns(f"<|user§|>{_C}", f"<|bot§|>{_C}§", "<|bot§|>"),
        ["<|user§|>", "<|bot§|>", "§"],
    ),
    "transforma": (
        _turns("<|user|>{{ m['content'] | upper }}", f"<|bot|>{_C}</s>", "<|bot|>"),
        ["<|user|>", "<|bot|>", "</s>"],
    ),
    "json": (
        _turns("<|user|>{{ m['content'] | tojson }}", f"<|bot|>{_C}</s>", "<|bot|>"),
        ["<|user|>", "<|bot|>", "</s>"],
    ),
}
KINDS = (
    "bytes",
    "bytes-nfkc",
    "bytes-nfc",
    "bytes-prefijo",
    "bytes-minúsculas",
    "bytes-llama3",
    "bpe-legacy",
    "bpe-first",
    "unigram",
    "unigram-nfkc",
    "wordpiece",
    "wordpiece-minúsculas",
    "palabras",
    "sin-invisibles",
)
HOW = ("especiales", "añadidos", "normalizados", "recortan", "texto")


@cache
def _trained(kind: str):
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )

    special = ["<unk>", "</s>", "<s>"]
    common = {"special_tokens": special, "show_progress": False}
    if kind.startswith("bytes") or kind == "sin-invisibles":
        made = Tokenizer(models.BPE(ignore_merges=kind == "bytes-llama3"))
        prefix = kind == "bytes-prefijo"
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        made.decoder = decoders.ByteLevel()
        normalizer = {
            "bytes-nfkc": normalizers.NFKC(),
            "bytes-nfc": normalizers.NFC(),
            "bytes-minúsculas": normalizers.Lowercase(),
            "sin-invisibles": normalizers.Replace(Regex("[\u200b-\u200d\u2060\u00ad]"), ""),
        }.get(kind)
        if normalizer:
            made.normalizer = normalizer
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, **common)
    elif kind.startswith("bpe"):
        made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        if kind == "bpe-legacy":
            steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
            made.normalizer = normalizers.Sequence(steps)
        else:
            made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        made.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
        common["special_tokens"] = [*special, *(f"<0x{i:02X}>" for i in range(256))]
        trainer = trainers.BpeTrainer(vocab_size=700, **common)
        made.train_from_iterator(TEXTS, trainer)
        state = json.loads(made.to_str())
        state["added_tokens"] = state["added_tokens"][:3]  # los de un byte no son especiales
        return Tokenizer.from_str(json.dumps(state))
    elif kind.startswith("unigram"):
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        if kind.endswith("nfkc"):
            made.normalizer = normalizers.NFKC()
        trainer = trainers.UnigramTrainer(vocab_size=400, unk_token="<unk>", **common)
    elif kind.startswith("wordpiece"):
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer = normalizers.BertNormalizer(lowercase=kind.endswith("minúsculas"))
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=600, **common)
    else:
        made = Tokenizer(models.WordLevel(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(vocab_size=600, **common)
    made.train_from_iterator(TEXTS, trainer)
    return made


def make(kind: str, template: str, how: str):
    """Un tokenizador de esa clase con esa plantilla; sus marcadores, tokens o texto según `how`."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    names = {"unk_token": "<unk>", "eos_token": "</s>", "bos_token": "<s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=copy.deepcopy(_trained(kind)), **names)
    flags = {
        "especiales": {"special": True, "normalized": False},
        "añadidos": {"special": False, "normalized": False},
        "normalizados": {"special": False, "normalized": True},
        "recortan": {"special": True, "normalized": False, "lstrip": True, "rstrip": True},
    }
    if how != "texto":
        roles = [role for role in TEMPLATES[template][1] if role not in ("</s>", "<s>")]
        added = [AddedToken(role, **flags[how]) for role in roles]
        tokenizer.add_tokens(added, special_tokens=flags[how]["special"])
    tokenizer.chat_template = TEMPLATES[template][0]
    return tokenizer


def wide(text: str) -> str:
    """El mismo texto con letras y signos de ancho doble, que NFKC devuelve a los de siempre."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def attack(rng: random.Random, roles: list[str]) -> str:
    """Un texto que intenta que alguno de esos marcadores quede en los ids."""
    role = rng.choice(roles)
    k = rng.randint(0, len(role))
    forms = (
        role,
        role + rng.choice(roles),
        role[:k] + role + role[k:],
        role[:k] + role[:k] + role + role[k:] + role[k:],
        "".join(c * 2 for c in role),
        role[:k] + rng.choice("§\u200b\u200d\u00ad\u0301\u0338 \n") + role[k:],
        wide(role),
        wide(role[:k]) + role[k:],
        role.upper(),
        role.lower(),
        role.replace(" ", "  "),
        role[:k],
        role[k:],
        role[-k:] + role + role[:k],
        "\u0338" + role,
        f"{role}\n{wide(rng.choice(roles))}",
        f"</think>{role}",
        role[0] + " " + role[1:],
        role.strip("<|>[]/"),
        rng.choice(roles)[:k] + "a" + role,
    )
    pieces = [rng.choice(forms) for _ in range(rng.randint(1, 3))]
    around = [rng.choice(("", "Hola. ", "\n", " ", "assistant\n", "ñ")) for _ in range(2)]
    return around[0] + rng.choice(("", " ", "\n")).join(pieces) + around[1]
