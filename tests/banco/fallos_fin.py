"""Fallos de etiquetas: respuestas que no acaban."""

from functools import partial

from tests.banco import filas, modelos
from tests.banco.caso import Case, planted
from tests.banco.fallos_etiquetas import part, rows_of
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los casos de esta comprobación."""
    return _no_end()


# --- 3: sin-fin ----------------------------------------------------------------------------------


def endless(rows, tail: int = 1) -> list[dict]:
    """Las filas sin su final: sin los últimos `tail` tokens."""
    return [{name: values[:-tail] for name, values in r.items()} for r in rows]


def _no_end() -> list[Case]:
    def plain(name, n, share, language="es", everything=False, trainer=False):
        tokenizer = make(name)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        good = rows_of(tokenizer, n, language, everything=everything)
        # ChatML y Zephyr cierran con el fin y un salto de línea: se quitan los dos.
        last = good[0]["input_ids"][-1] != tokenizer.eos_token_id
        rows = part(good, endless(good, 2 if last else 1), share)
        data = filas.dataset(rows)
        collator = filas.by_length(tokenizer.pad_token_id)
        if trainer:
            model = modelos.gpt2(len(tokenizer))
            return {"trainer": modelos.trainer(model, data, collator, tokenizer)}
        return {"tokenizer": tokenizer, "train_dataset": data, "data_collator": collator}

    def newline(n):
        """Acaban en un salto de línea, que no es un fin."""
        tokenizer = make("llama2")
        rows = [
            {
                k: v[:-1] + filas.encode(tokenizer, "\n")
                for k, v in r.items()
                if k != "attention_mask"
            }
            for r in rows_of(tokenizer, n, "en")
        ]
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}

    def template(n):
        tokenizer = make("curso")
        tokenizer.chat_template = tokenizer.chat_template.replace("{{ eos_token }}", "")
        rows = rows_of(tokenizer, n, turns=2)
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}

    made = [
        ("grave", "papeles de texto, 2 filas", partial(plain, "gpt2", 2, 1)),
        (
            "grave",
            "papeles de texto, todo cuenta, inglés",
            partial(plain, "gpt2", 80, 1, "en", True),
        ),
        ("grave", "plantilla que olvida el fin", partial(template, 30)),
        ("grave", "ChatML sin <|im_end|>", partial(plain, "chatml", 40, 1)),
        ("grave", "Llama 2 sin </s>", partial(plain, "llama2", 40, 1, "en")),
        ("grave", "unigram sin </s>", partial(plain, "unigram", 25, 1)),
        ("grave", "el de GPT-2", partial(plain, "gpt2-real", 30, 1)),
        ("grave", "un salto de línea en lugar del fin", partial(newline, 30)),
        ("grave", "justo la mitad", partial(plain, "curso", 200, 0.5)),
        ("aviso", "casi la mitad: 49%", partial(plain, "curso", 200, 0.49)),
        ("aviso", "la quinta parte, WordPiece", partial(plain, "wordpiece", 100, 0.2)),
        ("aviso", "justo el 5%", partial(plain, "zephyr", 200, 0.05)),
        ("aviso", "6% de 1500, inglés", partial(plain, "llama3", 1500, 0.06, "en")),
        ("grave", "Trainer", partial(plain, "curso", 40, 0.8, trainer=True)),
    ]
    return [planted("sin-fin", *case) for case in made]
