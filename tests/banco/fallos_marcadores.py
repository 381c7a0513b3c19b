"""Marcadores de papel que el tokenizador parte."""

from functools import partial

from course_lib.dialogues import read_dialogues, to_pairs
from course_lib.encoding import encode_original, original_text
from tests.banco import filas
from tests.banco.caso import Case, planted, shared
from tests.banco.textos import talks
from tests.banco.tokenizadores import TEMPLATES, make


def cases() -> list[Case]:
    """Los casos de esta comprobación."""
    return _broken_markers()


# --- 6: marcadores-rotos -------------------------------------------------------------------------


def _broken_markers() -> list[Case]:
    def template(name, which, n, language="es", rows=True, added=()):
        tokenizer = make(name)
        tokenizer.add_tokens(list(added), special_tokens=True)
        tokenizer.chat_template = TEMPLATES[which]
        dialogues = talks(n, language, roles=True)
        if not rows:
            return {"tokenizer": tokenizer, "dialogues": dialogues}
        data = filas.dataset(filas.chat_rows(tokenizer, dialogues, everything=True))
        return {"tokenizer": tokenizer, "train_dataset": data}

    def original(name, n):
        tokenizer = make(name)
        rows = [filas.encode(tokenizer, original_text(tokenizer, *d.turns)) for d in talks(n)]
        return {"tokenizer": tokenizer, "train_dataset": [filas.row(ids) for ids in rows]}

    def written(name, n):
        tokenizer = make(name)
        dialogues = talks(n, "en")

        def prompt(tokenizer, said):
            return f"<|im_start|>user\n{said[-1]['content']}<|im_end|>\n<|im_start|>assistant\n"

        def text(d):
            return prompt(tokenizer, [{"role": "user", "content": d.turns[0]}]) + d.turns[1]

        rows = [filas.row(filas.encode(tokenizer, text(d))) for d in dialogues]
        return {
            "tokenizer": tokenizer,
            "dialogues": dialogues,
            "train_dataset": rows,
            "prompt": prompt,
        }

    def sample():
        """La codificación de la lección original, con la muestra de verdad."""
        path = shared("dailydialog", "train_1k.jsonl")
        tokenizer = make("gpt2-real")
        tokenizer.pad_token = tokenizer.eos_token
        pairs = to_pairs(read_dialogues(path, report=lambda text: None))[:300]
        rows = [vars(encode_original(tokenizer, p.user, p.reply, 128)) for p in pairs]
        return {"tokenizer": tokenizer, "dialogues": path, "train_dataset": filas.dataset(rows)}

    made = [
        ("marcadores del curso sin añadir", partial(template, "gpt2", "curso", 30)),
        (
            "ChatML sobre un BPE que no lo conoce",
            partial(template, "gpt2-relleno", "chatml", 30, "en"),
        ),
        ("ChatML sin filas, solo charlas", partial(template, "gpt2", "chatml", 10, rows=False)),
        ("cabeceras de Llama 3 sobre unigram", partial(template, "unigram", "llama3", 25)),
        ("Zephyr sobre un BPE", partial(template, "gpt2", "zephyr", 25, "en")),
        ("Gemma sobre WordPiece", partial(template, "wordpiece", "gemma", 25)),
        (
            "falta añadir uno de los dos",
            partial(template, "gpt2", "curso", 40, added=("<|user|>",)),
        ),
        ("codificación original, 2 filas", partial(original, "gpt2", 2)),
        ("codificación original, 1500 filas", partial(original, "gpt2", 1500)),
        ("escritos a mano en la petición", partial(written, "gpt2", 20)),
        ("muestra de DailyDialog y GPT-2", sample),
    ]
    return [planted("marcadores-rotos", "aviso", name, build) for name, build in made]
