"""Fallos de ids: fuera de la tabla, nuevos y congelados, y dos veces el comienzo."""

from functools import partial

from tests.banco import filas, modelos
from tests.banco.caso import Case, planted
from tests.banco.fallos_etiquetas import rows_of
from tests.banco.textos import talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los casos de estas tres comprobaciones."""
    return [*_out_of_range(), *_frozen_new(), *_two_starts()]


# --- 7: ids-fuera --------------------------------------------------------------------------------


def _out_of_range() -> list[Case]:
    def not_resized(name, n, model=modelos.gpt2, missing=1, language="es"):
        tokenizer = make(name)
        rows = rows_of(tokenizer, n, language)
        size = max(max(r["input_ids"]) for r in rows) + 1 - missing
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows), "model": model(size)}

    def one_bad(n, bad, position=1, language="es"):
        tokenizer = make("chatml")
        rows = rows_of(tokenizer, n, language)
        rows[n // 2]["input_ids"][position] = bad
        return {"tokenizer": tokenizer, "train_dataset": rows, "model": modelos.gpt2(600)}

    def collated_pad(n):
        tokenizer = make("gpt2-relleno")
        rows = filas.dataset(filas.without_labels(rows_of(tokenizer, n)))
        return {
            "tokenizer": tokenizer,
            "train_dataset": rows,
            "data_collator": filas.language_modeling(tokenizer),
            "model": modelos.gpt2(600),  # la tabla no llegó a crecer
        }

    def with_lora(n):
        tokenizer = make("curso")
        model = modelos.lora(modelos.llama(600))
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows_of(tokenizer, n, turns=4)),
            "model": model,
        }

    def in_trainer(n):
        tokenizer = make("curso")
        data = filas.dataset(rows_of(tokenizer, n))
        collator = filas.by_length(tokenizer.pad_token_id)
        return {"trainer": modelos.trainer(modelos.gpt2(600), data, collator, tokenizer)}

    def only_eval(n):
        tokenizer = make("curso")
        good = filas.text_rows(tokenizer, [d.turns[1] for d in talks(n)])
        return {
            "tokenizer": tokenizer,
            "train_dataset": good,
            "eval_dataset": rows_of(tokenizer, 4),
            "model": modelos.gpt2(600),
        }

    def real():
        tokenizer = make("curso-gpt2-real")
        rows = rows_of(tokenizer, 20, "en")
        return {"tokenizer": tokenizer, "train_dataset": rows, "model": modelos.gpt2(50257)}

    made = [
        ("marcadores añadidos y tabla sin crecer", partial(not_resized, "curso", 30)),
        (
            "tokenizador de otro modelo",
            partial(not_resized, "llama3", 30, modelos.llama, 200, "en"),
        ),
        ("justo el primero que no cabe, 2 filas", partial(not_resized, "unigram-chat", 2)),
        ("una fila de 1000 con el id 600 de 600", partial(one_bad, 1000, 600)),
        ("un -1", partial(one_bad, 40, -1)),
        ("un -100 que era para las etiquetas", partial(one_bad, 12, -100, 0, "en")),
        ("un id disparatado al final", partial(one_bad, 200, 9_999_999, -1)),
        ("el relleno nuevo lo pone el colador", partial(collated_pad, 20)),
        ("Llama con LoRA", partial(with_lora, 25)),
        ("Trainer", partial(in_trainer, 20)),
        ("solo en la evaluación", partial(only_eval, 30)),
        ("GPT-2 con el id 50257", real),
    ]
    return [planted("ids-fuera", "grave", name, build) for name, build in made]


# --- 8: nuevos-congelados ------------------------------------------------------------------------


def grown(base: str, added: list[str], template: str, architecture=modelos.gpt2, layers: int = 2):
    """Un modelo ya hecho al que se le añaden marcadores: tokenizador y modelo crecidos."""
    from tests.banco.tokenizadores import TEMPLATES

    tokenizer = make(base)
    model = architecture(len(tokenizer), layers)
    tokenizer.add_tokens(added, special_tokens=True)
    tokenizer.chat_template = TEMPLATES[template]
    model.resize_token_embeddings(len(tokenizer))
    return tokenizer, model


COURSE, CHATML = ["<|user|>", "<|bot|>"], ["<|im_start|>", "<|im_end|>"]


def _frozen_new() -> list[Case]:
    def frozen(
        base, added, template, n, architecture=modelos.gpt2, language="es", trainer=False, **config
    ):
        tokenizer, model = grown(base, added, template, architecture)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        model = modelos.lora(model, **config)
        rows = filas.dataset(filas.chat_rows(tokenizer, talks(n, language)))
        if trainer:
            collator = filas.by_length(tokenizer.pad_token_id)
            return {
                "trainer": modelos.trainer(model, rows, collator, tokenizer, learning_rate=2e-4)
            }
        return {"tokenizer": tokenizer, "train_dataset": rows, "model": model}

    def half_trained(n):
        tokenizer, model = grown("gpt2", COURSE, "curso")
        user = tokenizer.convert_tokens_to_ids("<|user|>")
        model = modelos.lora(model, trainable_token_indices=[user])
        rows = filas.dataset(filas.chat_rows(tokenizer, talks(n)))
        return {"tokenizer": tokenizer, "train_dataset": rows, "model": model}

    gpt2_all = ["c_attn", "c_proj", "c_fc"]
    llama_all = "all-linear"
    zephyr = ["<|user|>", "<|assistant|>"]
    made = [
        ("marcadores del curso, GPT-2", partial(frozen, "gpt2", COURSE, "curso", 30)),
        ("lo mismo, 2 filas", partial(frozen, "gpt2", COURSE, "curso", 2)),
        ("ChatML recién añadido", partial(frozen, "gpt2", CHATML, "chatml", 30, language="en")),
        (
            "todas las matrices de GPT-2",
            partial(frozen, "gpt2", COURSE, "curso", 20, targets=gpt2_all),
        ),
        ("Llama con ChatML", partial(frozen, "unigram", CHATML, "chatml", 30, modelos.llama)),
        (
            "Llama, all-linear",
            partial(frozen, "gpt2", zephyr, "zephyr", 20, modelos.llama, targets=llama_all),
        ),
        (
            "WordPiece con Gemma",
            partial(frozen, "wordpiece", ["<start_of_turn>", "<end_of_turn>"], "gemma", 20),
        ),
        (
            "rango 16 y DoRA",
            partial(frozen, "gpt2", COURSE, "curso", 15, modelos.llama, r=16, use_dora=True),
        ),
        ("1500 filas", partial(frozen, "gpt2", COURSE, "curso", 1500, language="en")),
        ("solo se entrena uno de los dos", partial(half_trained, 30)),
        ("Trainer", partial(frozen, "gpt2", COURSE, "curso", 20, trainer=True)),
        ("el de GPT-2", partial(frozen, "gpt2-real", CHATML, "chatml", 10)),
    ]
    return [planted("nuevos-congelados", "grave", name, build) for name, build in made]


# --- 9: doble-bos --------------------------------------------------------------------------------


def _two_starts() -> list[Case]:
    def doubled(name, n, share=1.0, language="es", trainer=False, labelled=True):
        tokenizer = make(name)
        rows = rows_of(tokenizer, n, language)
        chosen = round(n * share)
        for k in range(chosen):
            r = rows[round(k * n / chosen)]
            first = [tokenizer.bos_token_id]
            again = first if r["input_ids"][0] == first[0] else first * 2
            r["input_ids"] = again + r["input_ids"]
            r["labels"] = [-100] * len(again) + r["labels"]
            r["attention_mask"] = [1] * len(r["input_ids"])
        data = filas.dataset(rows if labelled else filas.without_labels(rows))
        if trainer:
            collator = filas.by_length(tokenizer.pad_token_id)
            model = modelos.gpt2(len(tokenizer))
            return {"trainer": modelos.trainer(model, data, collator, tokenizer)}
        return {"tokenizer": tokenizer, "train_dataset": data}

    def twice(name, n, language="es"):
        tokenizer = make(name)  # la plantilla ya escribe el comienzo, y tokenizar lo repite
        from tests.banco.textos import messages

        rows = [
            filas.row(
                tokenizer(tokenizer.apply_chat_template(messages(d), tokenize=False))["input_ids"]
            )
            for d in talks(n, language, 4)
        ]
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}

    made = [
        ("plantilla de Llama 2 y tokenizar otra vez", partial(twice, "llama2", 40)),
        ("plantilla de Llama 3 y tokenizar otra vez", partial(twice, "llama3", 40, "en")),
        ("dos filas", partial(twice, "llama2", 2)),
        ("unigram, a mano", partial(doubled, "unigram-chat", 60)),
        ("WordPiece con dos [CLS]", partial(doubled, "wordpiece", 30, 1, "en")),
        ("BPE de bytes con dos <|endoftext|>", partial(doubled, "gpt2", 30)),
        ("la mitad", partial(doubled, "llama3", 80, 0.5)),
        ("5%, sin etiquetas", partial(doubled, "llama2", 200, 0.05, labelled=False)),
        ("justo el 1%", partial(doubled, "llama2", 100, 0.01)),
        ("justo el 1% de 2000, inglés", partial(doubled, "zephyr", 2000, 0.01, "en")),
        ("Trainer", partial(doubled, "llama3", 20, trainer=True)),
    ]
    return [planted("doble-bos", "aviso", name, build) for name, build in made]
