"""Controles limpios de coladores: los de transformers, el de TRL y los propios."""

from functools import partial

from tests.banco import filas, modelos
from tests.banco.caso import Case, control
from tests.banco.fallos_alcance import marker_collator
from tests.banco.fallos_etiquetas import part, rows_of
from tests.banco.textos import stories
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los controles de coladores."""
    made = [*_collated()]
    return [control(name, build) for name, build in made]


def _collated():
    def by(collator, name, n, language="es", same=False, keep=True, left=False):
        tokenizer = make(name)
        if same:
            tokenizer.pad_token = tokenizer.eos_token
        if left:
            tokenizer.padding_side = "left"
        rows = rows_of(tokenizer, n, language)
        data = filas.dataset(rows if keep else filas.without_labels(rows))
        return {
            "tokenizer": tokenizer,
            "train_dataset": data.select(range(4, n)),
            "eval_dataset": data.select(range(4)),
            "data_collator": collator(tokenizer),
            "model": modelos.gpt2(len(tokenizer)),
        }

    def modeling_of_text():
        tokenizer = make("gpt2-relleno")
        rows = filas.without_labels(filas.text_rows(tokenizer, stories(25, "en")))
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": filas.language_modeling(tokenizer),
        }

    def fixed(name, width, language, same=False, left=False):
        tokenizer = make(name)
        if same:
            tokenizer.pad_token = tokenizer.eos_token
        rows = filas.pad(rows_of(tokenizer, 40, language), width, tokenizer.pad_token_id, left=left)
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": filas.default(),
        }

    def same_start_and_pad():
        tokenizer = make("gpt2")  # comienzo = fin = relleno, a la izquierda y enmascarado
        tokenizer.pad_token = tokenizer.eos_token
        rows = filas.pad(rows_of(tokenizer, 40), 96, tokenizer.pad_token_id, left=True)
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}

    def found_marker():
        tokenizer = make("chatml")
        rows = rows_of(tokenizer, 30, everything=True)
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": marker_collator(tokenizer, "<|im_start|>assistant\n"),
        }

    def few(name, n, share, change):
        tokenizer = make(name)
        good = rows_of(tokenizer, n)
        other = change(tokenizer, good)
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(part(good, other, share)),
            "data_collator": filas.by_length(tokenizer.pad_token_id),
        }

    def no_end(tokenizer, rows):
        return [{k: v[:-1] for k, v in r.items()} for r in rows]

    def all_counted(tokenizer, rows):
        return [r | {"labels": list(r["input_ids"])} for r in rows]

    def two_starts(n, twice):
        tokenizer = make("llama3")
        rows = rows_of(tokenizer, n)
        for r in rows[:twice]:
            for k in r:
                r[k] = [-100 if k == "labels" else r[k][0], *r[k]]
        return {"tokenizer": tokenizer, "train_dataset": rows}

    lm, s2s = filas.language_modeling, filas.seq2seq
    return [
        ("DataCollatorForLanguageModeling, texto y relleno propio", modeling_of_text),
        ("DataCollatorForSeq2Seq, relleno propio", partial(by, s2s, "chatml", 30)),
        ("DataCollatorForSeq2Seq, relleno=fin", partial(by, s2s, "llama2", 40, "en", True)),
        ("DataCollatorForSeq2Seq, a la izquierda", partial(by, s2s, "curso", 30, left=True)),
        ("DataCollatorForSeq2Seq, GPT-2 con relleno=fin", partial(by, s2s, "gpt2", 50, same=True)),
        ("longitud fija y relleno enmascarado", partial(fixed, "zephyr", 160, "en")),
        (
            "longitud fija, relleno=fin enmascarado por longitud",
            partial(fixed, "gpt2", 120, "es", True),
        ),
        ("longitud fija, relleno a la izquierda", partial(fixed, "llama3", 150, "es", left=True)),
        ("comienzo=fin=relleno, a la izquierda con máscara", same_start_and_pad),
        ("colador que busca el marcador y lo encuentra", found_marker),
        ("una de 40 sin fin (2,5%)", partial(few, "curso", 40, 1 / 40, no_end)),
        ("cuenta el usuario en el 45%", partial(few, "chatml", 100, 0.45, all_counted)),
        ("dos comienzos en 1 de 150 (0,7%)", partial(two_starts, 150, 1)),
        (
            "respuestas y DataCollatorForLanguageModeling de TRL",
            partial(by, _trl_collator, "curso", 30),
        ),
        (
            "texto con papeles, unigram y colador de transformers",
            partial(by, lm, "unigram", 30, keep=False),
        ),
    ]


def _trl_collator(tokenizer):
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
