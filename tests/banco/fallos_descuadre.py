"""Fallos de «descuadre»: etiquetas o máscara que no son las de sus ids."""

from functools import partial

from tests.banco import filas
from tests.banco.caso import Case, planted
from tests.banco.fallos_etiquetas import rows_of
from tests.banco.fallos_generacion import batch, prompts
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los casos de esta comprobación y los de máscaras vacías de TRL."""

    def changed(name, change, left=False):
        """Filas correctas cuyo lote se estropea; con `left`, se rellenan por la izquierda."""
        tokenizer = make(name)
        pad = tokenizer.pad_token_id

        def collate(rows):
            import torch

            batch = filas.pad(rows, max(len(r["input_ids"]) for r in rows), pad, left=left)
            made = [change(dict(r), pad) for r in batch]
            return {k: torch.tensor([r[k] for r in made]) for k in made[0]}

        rows = filas.dataset(rows_of(tokenizer, 24))
        return {"tokenizer": tokenizer, "train_dataset": rows, "data_collator": collate}

    def shifted(row, _, by=1):
        labels = row["labels"]
        return row | {"labels": [*labels[by:], *labels[:by]]}

    def other_side(row, _):
        gap = row["attention_mask"].index(1)
        return row | {"labels": row["labels"][gap:] + row["labels"][:gap]}

    def valued(row, pad, value=None):
        value = pad if value is None else value
        return row | {"labels": [value if i == -100 else i for i in row["labels"]]}

    def masked(row, _, change=lambda m, label: 1):
        pairs = zip(row["attention_mask"], row["labels"])
        return row | {"attention_mask": [change(m, label) for m, label in pairs]}

    def call(change, name="qwen"):
        tokenizer = make(name)
        made = batch(prompts(tokenizer, 6), tokenizer.pad_token_id, kind="listas")
        made["attention_mask"] = [[change(m) for m in row] for row in made["attention_mask"]]
        return {"tokenizer": tokenizer, "generation": made | {"max_new_tokens": 20}}

    made = [
        ("grave", "ya desplazadas", partial(changed, "chatml", shifted)),
        ("grave", "desplazadas al revés", partial(changed, "llama3", partial(shifted, by=-1))),
        ("grave", "rellenos opuestos", partial(changed, "zephyr", other_side, left=True)),
        ("grave", "0 en vez de -100", partial(changed, "chatml", partial(valued, value=0))),
        ("grave", "-1 en vez de -100", partial(changed, "llama3", partial(valued, value=-1))),
        ("grave", "el relleno en vez de -100", partial(changed, "gemma", valued)),
        ("aviso", "máscara de unos a la izquierda", partial(changed, "gemma", masked, left=True)),
        (
            "grave",
            "máscara al revés",
            partial(changed, "chatml", partial(masked, change=lambda m, label: 1 - m)),
        ),
        (
            "grave",
            "máscara que es la de la pérdida",
            partial(changed, "llama3", partial(masked, change=lambda m, label: int(label != -100))),
        ),
        ("grave", "al generar, unos sobre el relleno", partial(call, lambda m: 1)),
        ("grave", "al generar, ceros en el texto", partial(call, lambda m: 1 - m, "llama3")),
    ]
    return [
        *(planted("descuadre", *case) for case in made),
        planted("nada-supervisado", "grave", "assistant_masks a cero", no_assistant_tokens),
        planted("nada-supervisado", "grave", "TRL lo descartó todo", nothing_left),
    ]


def no_assistant_tokens():
    """Lo que da apply_chat_template si la plantilla no marca la respuesta (trl#3927)."""
    tokenizer = make("chatml")
    rows = [
        {"input_ids": r["input_ids"], "assistant_masks": [0] * len(r["input_ids"])}
        for r in rows_of(tokenizer, 20)
    ]
    return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}


def nothing_left():
    """Mensajes y argumentos de TRL, con un tope que no llega a las respuestas (trl#6668)."""
    from tests.banco import modelos
    from tests.banco.textos import messages, talks

    said = [{"messages": messages(d)} for d in talks(20)]
    args = modelos.sft_arguments(assistant_only_loss=True, max_length=8)
    return {"tokenizer": make("chatml"), "train_dataset": filas.dataset(said), "args": args}
