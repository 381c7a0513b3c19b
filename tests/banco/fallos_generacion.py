"""Fallos de la llamada a `generate`: relleno del lado equivocado, sin máscara, tope corto."""

from functools import partial

from tests.banco import filas
from tests.banco.caso import Case, planted
from tests.banco.textos import talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los casos de estas tres comprobaciones."""
    return [*_right_padding(), *_no_mask(), *_max_length()]


def prompts(tokenizer, n: int, language: str = "es") -> list[list[int]]:
    """Las peticiones de `n` charlas, de longitudes distintas."""
    said = [" ".join(d.turns[: 1 + i % 3]) for i, d in enumerate(talks(n, language, 4))]
    if tokenizer.chat_template:
        return [filas.chat_ids(tokenizer, [{"role": "user", "content": s}]) for s in said]
    return [filas.encode(tokenizer, filas.PROMPTS["usuario"].format(s)) for s in said]


def batch(ids: list[list[int]], pad_id: int, left: bool = True, kind: str = "torch") -> dict:
    """Un lote rellenado a un lado, con su máscara.

    Args:
        kind: «torch», «numpy» o «listas».
    """
    import numpy as np
    import torch

    width = max(map(len, ids))
    rows = filas.pad([filas.row(r) for r in ids], width, pad_id, left=left)
    convert = {"torch": torch.tensor, "numpy": np.array, "listas": list}[kind]
    return {name: convert([r[name] for r in rows]) for name in ("input_ids", "attention_mask")}


# --- 10: relleno-derecha -------------------------------------------------------------------------


def _right_padding() -> list[Case]:
    def padded(name, n, kind="torch", language="es", same=False, mask=True, told=True):
        tokenizer = make(name)
        if same or tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        call = batch(prompts(tokenizer, n, language), tokenizer.pad_token_id, False, kind)
        if not mask:
            del call["attention_mask"]
        if told:
            call["pad_token_id"] = tokenizer.pad_token_id
        return {"tokenizer": tokenizer, "generation": call | {"max_new_tokens": 20}}

    def library(name, n):
        tokenizer = make(name)
        said = [d.turns[i % 2] for i, d in enumerate(talks(n))]
        call = tokenizer(said, padding=True, return_tensors="pt")  # a la derecha, si no se dice
        return {"tokenizer": tokenizer, "generation": {**call, "max_new_tokens": 32}}

    def one_short(n):
        tokenizer = make("curso")
        ids = [prompts(tokenizer, 1)[0]] * (n - 1)
        ids.insert(n // 2, ids[0][:-3])
        call = batch(ids, tokenizer.pad_token_id, left=False)
        return {"tokenizer": tokenizer, "generation": call | {"max_new_tokens": 8}}

    def only_mask():
        call = batch([[5, 6, 7, 8], [5, 6]], 0, left=False)
        return {"generation": call | {"max_new_tokens": 8}}

    made = [
        ("marcadores del curso", partial(padded, "curso", 8)),
        ("relleno=fin", partial(padded, "gpt2", 2, same=True)),
        ("con arreglos de NumPy, inglés", partial(padded, "chatml", 16, "numpy", "en")),
        ("con listas", partial(padded, "zephyr", 4, "listas", told=False)),
        ("sin máscara, con el relleno al final", partial(padded, "llama3", 8, mask=False)),
        ("tokenizador con padding=True, sin más", partial(library, "unigram", 12)),
        ("WordPiece con padding=True", partial(library, "wordpiece", 3)),
        ("una sola petición corta entre 64", partial(one_short, 64)),
        ("sin tokenizador, solo la máscara", only_mask),
        ("400 peticiones", partial(padded, "llama2", 400, language="en")),
        ("el de GPT-2", partial(padded, "gpt2-real", 6)),
    ]
    return [planted("relleno-derecha", "grave", name, build) for name, build in made]


# --- 11: sin-mascara -----------------------------------------------------------------------------


def _no_mask() -> list[Case]:
    # Con un relleno distinto del fin y declarado, transformers deduce la máscara: no es un fallo.
    def many(name, n, kind="torch", language="es", declared=True, key="input_ids"):
        tokenizer = make(name)
        tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side = "left"
        call = batch(prompts(tokenizer, n, language), tokenizer.pad_token_id, True, kind)
        call = {key: call["input_ids"], "max_new_tokens": 20}
        if declared:
            call["pad_token_id"] = tokenizer.pad_token_id
        return {"tokenizer": tokenizer, "generation": call}

    def one_padded(name, width):
        tokenizer = make(name)
        tokenizer.pad_token = tokenizer.eos_token
        ids = prompts(tokenizer, 1)[0]
        call = batch([ids, ids * (width // len(ids))], tokenizer.pad_token_id)
        return {
            "tokenizer": tokenizer,
            "generation": {"input_ids": call["input_ids"][:1], "max_new_tokens": 16},
        }

    def one(name, kind, language="es", **more):
        tokenizer = make(name)
        ids = batch(prompts(tokenizer, 1, language), 0, kind=kind)["input_ids"]
        return {
            "tokenizer": tokenizer,
            "generation": {"input_ids": ids, "max_new_tokens": 16} | more,
        }

    made = [
        ("grave", "relleno=fin, dos peticiones", partial(many, "gpt2", 2)),
        ("grave", "relleno=fin, 30, inglés", partial(many, "chatml", 30, language="en")),
        (
            "grave",
            "relleno=fin, sin decirlo en la llamada",
            partial(many, "llama2", 8, declared=False),
        ),
        ("grave", "con listas", partial(many, "unigram", 5, "listas")),
        ("grave", "con NumPy, WordPiece", partial(many, "wordpiece", 6, "numpy")),
        ("grave", "300 peticiones", partial(many, "llama3", 300, language="en")),
        ("grave", "con el nombre «inputs»", partial(many, "zephyr", 4, key="inputs")),
        ("grave", "una fila rellenada a longitud fija", partial(one_padded, "gpt2", 128)),
        ("grave", "una fila rellenada, unigram", partial(one_padded, "unigram", 96)),
        ("grave", "el de GPT-2", partial(many, "gpt2-real", 4)),
        ("aviso", "una sola petición", partial(one, "gpt2", "torch")),
        ("aviso", "una sola, en listas, inglés", partial(one, "chatml", "listas", "en")),
        ("aviso", "una sola, con haces", partial(one, "llama3", "torch", num_beams=3)),
    ]
    return [planted("sin-mascara", *case) for case in made]


# --- 23: max-length-generacion -------------------------------------------------------------------


def _max_length() -> list[Case]:
    def call(name, length, cap, n=1, kind="torch", language="es", mask=True, **more):
        tokenizer = make(name)
        ids = (prompts(tokenizer, 1, language)[0] * (length // 8 + 1))[:length]
        made = batch([ids] * n, 0, kind=kind) | {"max_length": cap} | more
        if not mask:
            del made["attention_mask"]
        return {"tokenizer": tokenizer, "generation": made}

    def longest_decides(n):
        tokenizer = make("curso")
        ids = [[7] * (10 + 60 * (i == n - 1)) for i in range(n)]
        made = batch(ids, tokenizer.pad_token_id) | {"max_length": 64}
        return {"tokenizer": tokenizer, "generation": made}

    made = [
        ("grave", "petición igual al tope", partial(call, "gpt2", 64, 64)),
        ("grave", "petición mayor que el tope", partial(call, "chatml", 200, 128, language="en")),
        ("grave", "lote en que una sola no cabe", partial(longest_decides, 8)),
        (
            "grave",
            "en listas, muestreando",
            partial(call, "llama2", 50, 40, 3, "listas", do_sample=True),
        ),
        ("grave", "el tope de fábrica de antes: 20", partial(call, "unigram", 20, 20, 2)),
        ("aviso", "queda un token", partial(call, "gpt2", 63, 64)),
        ("aviso", "justo la mitad", partial(call, "zephyr", 64, 128, 4)),
        ("aviso", "tres cuartos, NumPy", partial(call, "llama3", 150, 200, 2, "numpy", "en")),
        ("aviso", "la mitad y uno, sin máscara", partial(call, "gpt2", 51, 100, mask=False)),
        ("nota", "casi la mitad", partial(call, "gpt2", 49, 100)),
        ("nota", "sobra sitio", partial(call, "chatml", 12, 512, 6, "torch", "en")),
        ("nota", "sobra sitio, WordPiece", partial(call, "wordpiece", 30, 256, num_beams=2)),
    ]
    return [planted("max-length-generacion", *case) for case in made]
