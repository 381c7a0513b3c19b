"""Controles limpios en formas poco corrientes: tensores, flujos, columnas de más."""

from tests.banco import filas, modelos
from tests.banco.caso import Case, control
from tests.banco.controles_datos import everything
from tests.banco.fallos_entrenar import held_out, ready
from tests.banco.textos import talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los controles de formas."""
    made = [*_shapes()]
    return [control(name, build) for name, build in made]


def _shapes():
    """Formas en que llegan los datos."""

    def tensors():
        made = everything("chatml", 30)
        torch_rows = {k: made[k].with_format("torch") for k in ("train_dataset", "eval_dataset")}
        return made | torch_rows

    def own_dataset():
        """Un `Dataset` de torch, no de datasets."""
        import torch

        tokenizer, data, collator = ready("chatml", 20)

        class Rows(torch.utils.data.Dataset):
            def __init__(self, rows):
                self.rows = rows

            def __len__(self):
                return len(self.rows)

            def __getitem__(self, i):
                return self.rows[i]

        made = modelos.trainer(
            modelos.gpt2(), Rows(data.to_list()), collator, tokenizer, eval_rows=held_out("chatml")
        )
        return {"trainer": made}

    def stream():
        tokenizer, data, collator = ready("chatml", 20)
        made = modelos.trainer(
            modelos.gpt2(),
            data.to_iterable_dataset(),
            collator,
            tokenizer,
            eval_rows=held_out("chatml"),
            max_steps=10,
        )
        return {"trainer": made}

    def two_evaluations():
        tokenizer, data, collator = ready("llama3", 20)
        parts = {"cortas": held_out("llama3"), "largas": held_out("llama3").select(range(2))}
        made = modelos.trainer(modelos.gpt2(), data, collator, tokenizer, eval_rows=parts)
        return {"trainer": made}

    def more_columns():
        tokenizer, data, _ = ready("zephyr", 20, "en")
        extra = data.add_column("texto", [f"fila {i}" for i in range(len(data))])
        extra = extra.add_column("token_type_ids", [[0] * len(r) for r in data["input_ids"]])
        return {"tokenizer": tokenizer, "train_dataset": extra, "eval_dataset": held_out("zephyr")}

    def without_mask():
        tokenizer, data, _ = ready("curso", 30)
        rows = filas.pad(data.to_list(), 90, tokenizer.pad_token_id)
        rows = [{k: r[k] for k in ("input_ids", "labels")} for r in rows]
        return {"tokenizer": tokenizer, "train_dataset": rows}

    def multiple_of_eight():
        from transformers import DataCollatorForSeq2Seq

        tokenizer, data, _ = ready("llama2", 30, "en")
        collator = DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8)
        return {"tokenizer": tokenizer, "train_dataset": data, "data_collator": collator}

    def encoding():
        tokenizer = make("unigram")
        tokenizer.padding_side = "left"
        call = tokenizer([d.turns[0] for d in talks(5)], padding=True, return_tensors="pt")
        call["max_new_tokens"] = 12  # sigue siendo un BatchEncoding
        return {"tokenizer": tokenizer, "generation": call}

    def embeddings():
        import torch

        call = {"inputs_embeds": torch.zeros(1, 4, 16), "max_new_tokens": 5}
        return {"tokenizer": make("curso"), "generation": call}

    return [
        ("filas en tensores", tensors),
        ("Dataset de torch en un Trainer", own_dataset),
        ("datos en flujo (IterableDataset)", stream),
        ("dos conjuntos de evaluación", two_evaluations),
        ("columnas de más", more_columns),
        ("relleno enmascarado, sin attention_mask", without_mask),
        ("relleno hasta un múltiplo de ocho", multiple_of_eight),
        ("petición en un BatchEncoding", encoding),
        ("petición en inputs_embeds", embeddings),
    ]
