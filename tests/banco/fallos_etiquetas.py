"""Fallos de etiquetas: fin tapado y relleno contado."""

from functools import partial

from course_lib.encoding import IGNORED, encode_original
from course_lib.encoding import collate as course_collate
from tests.banco import filas, modelos
from tests.banco.caso import Case, planted
from tests.banco.textos import messages, stories, talks
from tests.banco.tokenizadores import TEMPLATES, make


def cases() -> list[Case]:
    """Los casos de estas dos comprobaciones."""
    return [*_hidden_end(), *_counted_padding()]


def part(rows, other, share: float) -> list[dict]:
    """Cambia una parte de las filas por las de `other`, repartida a intervalos iguales."""
    chosen = round(len(rows) * share)
    spots = {round(k * len(rows) / chosen) for k in range(chosen)} if chosen else set()
    return [other[i] if i in spots else r for i, r in enumerate(rows)]


def rows_of(tokenizer, n: int, language: str = "es", turns: int = 2, **how) -> list[dict]:
    """Filas con plantilla si el tokenizador la tiene y con papeles de texto si no."""
    return rows_from(tokenizer, talks(n, language, turns), language, **how)


def rows_from(tokenizer, dialogues, language: str = "es", **how) -> list[dict]:
    """Lo mismo, con las charlas dadas."""
    if tokenizer.chat_template:
        return filas.chat_rows(tokenizer, dialogues, **how)
    return filas.plain_rows(tokenizer, dialogues, "usuario" if language == "es" else "user", **how)


# --- 1: fin-tapado -------------------------------------------------------------------------------


def _hidden_end() -> list[Case]:
    def by_library(name, n, language="es", pad=None):
        tokenizer = make(name)
        tokenizer.pad_token = pad or tokenizer.eos_token
        rows = filas.without_labels(rows_of(tokenizer, n, language))
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": filas.language_modeling(tokenizer),
        }

    def fixed(name, n, language, collated):
        tokenizer = make(name)
        tokenizer.pad_token = tokenizer.eos_token
        rows = filas.pad(
            rows_of(tokenizer, n, language, everything=True), 96, tokenizer.pad_token_id
        )
        for r in rows:
            r["labels"] = [IGNORED if t == tokenizer.pad_token_id else t for t in r["input_ids"]]
        extra = {"data_collator": filas.default()} if collated else {}
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)} | extra

    def reply_only(name, n, collator=True):
        tokenizer = make(name)
        rows = rows_of(tokenizer, n, "es", 4)
        ends = {tokenizer.eos_token_id}
        for r in rows:
            r["labels"] = [IGNORED if t in ends else t for t in r["labels"]]
        extra = {"data_collator": filas.by_length(tokenizer.pad_token_id)} if collator else {}
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)} | extra

    def own_collator(name, n):
        tokenizer = make(name)
        tokenizer.pad_token = tokenizer.eos_token
        rows = filas.text_rows(tokenizer, stories(n))
        return {
            "tokenizer": tokenizer,
            "train_dataset": rows,
            "data_collator": filas.by_id(tokenizer.pad_token_id),
        }

    def in_trainer():
        tokenizer = make("gpt2")
        tokenizer.pad_token = tokenizer.eos_token
        rows = filas.dataset(filas.without_labels(rows_of(tokenizer, 40)))
        collator = filas.language_modeling(tokenizer)
        trained = modelos.trainer(modelos.gpt2(), rows, collator, tokenizer)
        return {"trainer": trained}

    def in_sft():
        tokenizer = make("chatml")
        outside = TEMPLATES["chatml"].replace(
            "<|im_end|>\n{% endgeneration %}", "{% endgeneration %}<|im_end|>\n"
        )
        tokenizer.chat_template = outside
        records = [{"messages": messages(d)} for d in talks(16)]
        return {
            "trainer": modelos.sft_trainer(
                modelos.gpt2(), records, tokenizer, assistant_only_loss=True
            )
        }

    made = [
        ("relleno=fin y DataCollatorForLanguageModeling, 2 filas", partial(by_library, "gpt2", 2)),
        ("lo mismo en inglés, 200 filas", partial(by_library, "gpt2", 200, "en")),
        ("lo mismo con el de GPT-2", partial(by_library, "gpt2-real", 30)),
        ("unigram con relleno=</s>", partial(by_library, "unigram", 50)),
        ("WordPiece con relleno=[SEP]", partial(by_library, "wordpiece", 25, "en")),
        ("Llama 2 con relleno=</s>", partial(by_library, "llama2", 60)),
        ("Llama 3 con relleno=<|eot_id|>", partial(by_library, "llama3", 60, "en")),
        ("ChatML con relleno=<|im_end|>", partial(by_library, "chatml", 12)),
        ("etiquetas hechas por id, a longitud fija", partial(fixed, "gpt2", 20, "es", True)),
        ("etiquetas hechas por id, sin colador, 2000", partial(fixed, "gpt2", 2000, "en", False)),
        ("respuestas sin su fin, varios turnos", partial(reply_only, "curso", 30)),
        ("respuestas sin su <|im_end|>, sin colador", partial(reply_only, "chatml", 8, False)),
        ("colador propio que enmascara por id", partial(own_collator, "unigram", 20)),
        ("Trainer con el colador de transformers", in_trainer),
        ("SFTTrainer con el fin fuera de la generación", in_sft),
    ]
    return [planted("fin-tapado", "grave", name, build) for name, build in made]


# --- 2: relleno-contado --------------------------------------------------------------------------


def share_rows(tokenizer, n: int, width: int, share: float, language: str = "es") -> list[dict]:
    """Filas de `width` tokens, todos contados, en que el relleno es justo esa parte del total."""
    text = [filas.encode(tokenizer, s) for s in stories(n, language, sentences=12)]
    rows = []
    for i, ids in enumerate(text):
        length = width - round(width * 2 * share * (i + 0.5) / n)
        body = (ids * (1 + length // len(ids)))[: length - 1]
        rows.append(filas.row([*body, tokenizer.eos_token_id]))
    return filas.pad(rows, width, tokenizer.pad_token_id, counted=True)


def _counted_padding() -> list[Case]:
    def original(name, n, width, language="es"):
        tokenizer = make(name)
        tokenizer.pad_token = tokenizer.eos_token
        pairs = [d.turns for d in talks(n, language)]
        rows = [vars(encode_original(tokenizer, *pair, width)) for pair in pairs]
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": lambda some: course_collate(some, tokenizer.pad_token_id),
        }

    def fixed(name, n, width, share, language="es", collated=True, same=False):
        tokenizer = make(name)
        if same:
            tokenizer.pad_token = tokenizer.eos_token
        rows = share_rows(tokenizer, n, width, share, language)
        extra = {"data_collator": filas.default()} if collated else {}
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)} | extra

    def dynamic(n):
        tokenizer = make("chatml")
        short, long = rows_of(tokenizer, n), rows_of(tokenizer, n, turns=6)
        return {
            "tokenizer": tokenizer,
            "train_dataset": [r for pair in zip(short, long) for r in pair],
            "data_collator": filas.counting(tokenizer.pad_token_id),
        }

    def unmasked(n):
        """Ni máscara hay: el relleno se ve por su id."""
        tokenizer = make("unigram")
        rows = share_rows(tokenizer, n, 80, 0.4)
        return {
            "tokenizer": tokenizer,
            "train_dataset": [{"input_ids": r["input_ids"], "labels": r["labels"]} for r in rows],
        }

    def left(n):
        tokenizer = make("llama2")
        rows = filas.pad(rows_of(tokenizer, n), 128, tokenizer.pad_token_id, True, left=True)
        return {"tokenizer": tokenizer, "train_dataset": rows, "data_collator": filas.default()}

    def replies(n):
        tokenizer = make("zephyr")
        rows = filas.pad(rows_of(tokenizer, n, "en"), 100, tokenizer.pad_token_id, counted=True)
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}

    def in_trainer(share):
        tokenizer = make("gpt2-relleno")
        rows = filas.dataset(share_rows(tokenizer, 60, 100, share))
        model = modelos.gpt2(len(tokenizer))
        return {"trainer": modelos.trainer(model, rows, filas.default(), tokenizer)}

    made = [
        ("grave", "codificación original", partial(original, "gpt2", 40, 128)),
        ("grave", "codificación original con el de GPT-2", partial(original, "gpt2-real", 30, 128)),
        (
            "grave",
            "codificación original en inglés, 2 filas",
            partial(original, "gpt2", 2, 96, "en"),
        ),
        ("grave", "longitud fija, 45%", partial(fixed, "gpt2-relleno", 50, 64, 0.45)),
        ("grave", "relleno=fin, 30%", partial(fixed, "gpt2", 50, 64, 0.30, same=True)),
        (
            "grave",
            "3000 filas sin colador, 40%",
            partial(fixed, "unigram", 3000, 40, 0.4, "en", False),
        ),
        ("grave", "lotes dinámicos con etiquetas copiadas", partial(dynamic, 30)),
        ("grave", "relleno a la izquierda, contado", partial(left, 30)),
        ("grave", "solo respuestas, pero con su relleno", partial(replies, 25)),
        ("grave", "apenas por encima: 21%", partial(fixed, "gpt2-relleno", 100, 200, 0.21)),
        ("aviso", "apenas por debajo: 19%", partial(fixed, "gpt2-relleno", 100, 200, 0.19)),
        ("aviso", "10%, relleno=fin", partial(fixed, "llama2", 80, 100, 0.10, "en", same=True)),
        ("aviso", "5%, WordPiece", partial(fixed, "wordpiece", 80, 100, 0.05)),
        ("aviso", "1,5%, filas largas", partial(fixed, "unigram", 100, 300, 0.015)),
        ("grave", "sin attention_mask, en listas", partial(unmasked, 40)),
        ("grave", "Trainer, 35%", partial(in_trainer, 0.35)),
        ("aviso", "Trainer, 12%", partial(in_trainer, 0.12)),
    ]
    return [planted("relleno-contado", *case) for case in made]
