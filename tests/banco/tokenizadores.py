"""Tokenizadores pequeños hechos al vuelo, con las costumbres de los que hay por el mundo.

`make(nombre)` da siempre una copia nueva, que el caso puede modificar.
"""

import copy
import json
from functools import cache

from course_lib.encoding import CHAT_TEMPLATE, prepare_for_chat
from tests.banco.caso import shared
from tests.banco.textos import stories

_OPEN, _CLOSE = "{% generation %}", "{% endgeneration %}"
_LOOP = "{% for m in messages %}{% if m['role'] == 'assistant' %}"
_ASK = "{% if add_generation_prompt %}"

# Cada plantilla marca la respuesta y su fin. Las claves son las de `make`.
TEMPLATES = {
    "chatml": _LOOP
    + "<|im_start|>assistant\n"
    + _OPEN
    + "{{ m['content'] }}<|im_end|>\n"
    + _CLOSE
    + "{% else %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    + _ASK
    + "<|im_start|>assistant\n{% endif %}",
    "llama2": "{{ bos_token }}"
    + _LOOP
    + _OPEN
    + " {{ m['content'] }}{{ eos_token }}"
    + _CLOSE
    + "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}",
    "llama3": "{{ bos_token }}"
    + _LOOP
    + "<|start_header_id|>assistant<|end_header_id|>\n\n"
    + _OPEN
    + "{{ m['content'] }}<|eot_id|>"
    + _CLOSE
    + "{% else %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}"
    + "<|eot_id|>{% endif %}{% endfor %}"
    + _ASK
    + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "zephyr": _LOOP
    + "<|assistant|>\n"
    + _OPEN
    + "{{ m['content'] }}{{ eos_token }}\n"
    + _CLOSE
    + "{% else %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n{% endif %}{% endfor %}"
    + _ASK
    + "<|assistant|>\n{% endif %}",
    "gemma": _LOOP
    + "<start_of_turn>model\n"
    + _OPEN
    + "{{ m['content'] }}<end_of_turn>\n"
    + _CLOSE
    + "{% else %}<start_of_turn>user\n{{ m['content'] }}<end_of_turn>\n{% endif %}{% endfor %}"
    + _ASK
    + "<start_of_turn>model\n{% endif %}",
    "curso": CHAT_TEMPLATE,
}


def make(name: str):
    """Un tokenizador nuevo.

    Args:
        name: `gpt2` (BPE de bytes, sin relleno), `gpt2-relleno`, `gpt2-real`, `curso`,
            `curso-gpt2-real`, `chatml`, `qwen` (ChatML con otro fin), `llama2`, `llama3`, `zephyr`,
            `gemma`, `unigram`, `unigram-chat`, `wordpiece` o `wordpiece-chat`.

    Raises:
        Unavailable: si pide el de GPT-2 y no está.
        KeyError: si el nombre no es ninguno.
    """
    if name.endswith("gpt2-real"):
        from transformers import GPT2Tokenizer

        tokenizer = GPT2Tokenizer.from_pretrained(shared("gpt2_tokenizer"))
        return prepare_for_chat(tokenizer) if name.startswith("curso") else tokenizer
    return copy.deepcopy(_MAKERS[name]())


def _texts() -> list[str]:
    return stories(60, "es") + stories(60, "en")


@cache
def _gpt2():
    """Como el de GPT-2: BPE de bytes, un solo token especial y ningún relleno."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Tokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        _texts(), vocab_size=600, special_tokens=["<|endoftext|>"], show_progress=False
    )
    state = json.loads(bpe.to_str())["model"]
    return GPT2Tokenizer(vocab=state["vocab"], merges=[tuple(m) for m in state["merges"]])


def _gpt2_padded():
    tokenizer = copy.deepcopy(_gpt2())
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    return tokenizer


def _course():
    return prepare_for_chat(copy.deepcopy(_gpt2()))


@cache
def _bpe(special: tuple[str, ...], bos: bool, template: str, **roles: str):
    """BPE de bytes entrenado con sus marcadores dentro, como los modelos ya hechos al chat."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        _texts(),
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=list(special),
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    if bos:
        first = roles["bos_token"]
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{first} $A",
            pair=f"{first} $A $B",
            special_tokens=[(first, bpe.token_to_id(first))],
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, **roles)
    tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def _chatml(eos: str = "<|im_end|>"):
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
    return _bpe(special, False, "chatml", eos_token=eos, pad_token="<|pad|>")


def _llama2():
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    return _bpe(("<unk>", "<s>", "</s>"), True, "llama2", **roles)


def _llama3():
    special = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
    roles = {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|finetune_right_pad_id|>",
    }
    return _bpe((*special, "<|eot_id|>", "<|finetune_right_pad_id|>"), True, "llama3", **roles)


def _zephyr():
    special = ("<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>")
    return _bpe(special, False, "zephyr", bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def _gemma():
    special = ("<pad>", "<eos>", "<start_of_turn>", "<end_of_turn>")
    return _bpe(special, False, "gemma", eos_token="<eos>", pad_token="<pad>")


@cache
def _pieces(kind: str):
    """Unigram con espacios visibles, como el de T5 o Llama, o WordPiece, como el de BERT."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if kind == "unigram":
        roles = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
        unknown = "<unk>"
        model = Tokenizer(models.Unigram())
        model.pre_tokenizer = pre_tokenizers.Metaspace()
        model.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=500,
            special_tokens=[*roles.values(), unknown],
            unk_token=unknown,
            show_progress=False,
        )
    else:
        roles = {"bos_token": "[CLS]", "eos_token": "[SEP]", "pad_token": "[PAD]"}
        unknown = "[UNK]"
        model = Tokenizer(models.WordPiece(unk_token=unknown))
        model.normalizer = normalizers.BertNormalizer(lowercase=False)
        model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        model.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=700, special_tokens=[*roles.values(), unknown], show_progress=False
        )
    model.train_from_iterator(_texts(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=model, unk_token=unknown, **roles)


def _pieces_chat(kind: str):
    tokenizer = copy.deepcopy(_pieces(kind))
    tokenizer.add_tokens(["<|user|>", "<|bot|>"], special_tokens=True)
    # WordPiece no ve los espacios: la respuesta tiene que empezar en la letra.
    shut = CHAT_TEMPLATE.replace("{% generation %} ", " {% generation %}")
    tokenizer.chat_template = shut if kind == "wordpiece" else CHAT_TEMPLATE
    return tokenizer


_MAKERS = {
    "gpt2": _gpt2,
    "gpt2-relleno": _gpt2_padded,
    "curso": _course,
    "chatml": _chatml,
    "qwen": lambda: _chatml("<|endoftext|>"),
    "llama2": _llama2,
    "llama3": _llama3,
    "zephyr": _zephyr,
    "gemma": _gemma,
    "unigram": lambda: _pieces("unigram"),
    "wordpiece": lambda: _pieces("wordpiece"),
    "unigram-chat": lambda: _pieces_chat("unigram"),
    "wordpiece-chat": lambda: _pieces_chat("wordpiece"),
}
