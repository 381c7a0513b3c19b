"""Filas codificadas: charlas con plantilla, textos con etiquetas de papel y texto corrido."""

from collections.abc import Callable, Sequence

from course_lib.encoding import IGNORED
from tests.banco.textos import messages

PROMPTS = {
    "usuario": "Usuario: {}\nAsistente:",
    "user": "User: {}\nAssistant:",
    "alpaca": "### Instrucción:\n{}\n\n### Respuesta:\n",
    "pregunta": "Pregunta: {} Respuesta:",
}


def row(ids: Sequence[int], labels: Sequence[int] | None = None) -> dict[str, list[int]]:
    """Una fila sin relleno; sin `labels`, las etiquetas son una copia de los ids."""
    return {
        "input_ids": list(ids),
        "attention_mask": [1] * len(ids),
        "labels": list(ids if labels is None else labels),
    }


def chat_rows(tokenizer, dialogues, everything: bool = False) -> list[dict[str, list[int]]]:
    """Una fila por charla, con la plantilla del tokenizador.

    Args:
        everything: si cuenta todo o, como debe ser, solo las respuestas y su fin.
    """
    rows = []
    for dialogue in dialogues:
        out = tokenizer.apply_chat_template(
            messages(dialogue), return_dict=True, return_assistant_tokens_mask=True
        )
        ids, counted = out["input_ids"], out["assistant_masks"]
        labels = [t if everything or c else IGNORED for t, c in zip(ids, counted)]
        rows.append(row(ids, labels))
    return rows


def chat_ids(tokenizer, dialogue_messages) -> list[int]:
    """Los ids de la petición, con la plantilla."""
    return tokenizer.apply_chat_template(
        dialogue_messages, add_generation_prompt=True, return_dict=True
    )["input_ids"]


def plain_rows(
    tokenizer,
    dialogues,
    style: str = "usuario",
    everything: bool = False,
    end: bool = True,
) -> list[dict[str, list[int]]]:
    """Una fila por charla de dos turnos, con los papeles escritos como texto corriente."""
    rows = []
    for dialogue in dialogues:
        prompt = encode(tokenizer, PROMPTS[style].format(dialogue.turns[0]))
        space = "" if PROMPTS[style].endswith("\n") else " "
        reply = encode(tokenizer, space + dialogue.turns[1])
        reply += [tokenizer.eos_token_id] if end else []
        labels = [*(prompt if everything else [IGNORED] * len(prompt)), *reply]
        rows.append(row(prompt + reply, labels))
    return rows


def text_rows(tokenizer, texts: Sequence[str], end: bool = True) -> list[dict[str, list[int]]]:
    """Texto corrido, que cuenta entero, con el token de fin detrás."""
    tail = [tokenizer.eos_token_id] if end else []
    return [row(encode(tokenizer, text) + tail) for text in texts]


def blocks(tokenizer, texts: Sequence[str], size: int) -> list[dict[str, list[int]]]:
    """El texto corrido pegado y cortado en bloques iguales, como en el preentrenamiento."""
    ids = [i for r in text_rows(tokenizer, texts) for i in r["input_ids"]]
    return [row(ids[k : k + size]) for k in range(0, len(ids) - size + 1, size)]


def encode(tokenizer, text: str) -> list[int]:
    """Los ids de un texto, sin añadidos."""
    return tokenizer.encode(text, add_special_tokens=False)


# --- Rellenar y cortar ---------------------------------------------------------------------------


def pad(rows, width: int, pad_id: int, counted: bool = False, left: bool = False) -> list[dict]:
    """Rellena (o corta) cada fila hasta `width`; con `counted`, la pérdida cuenta el relleno."""
    padded = []
    for r in rows:
        gap = max(0, width - len(r["input_ids"]))
        fill = {
            "input_ids": pad_id,
            "attention_mask": 0,
            "labels": pad_id if counted else IGNORED,
        }
        padded.append(
            {
                name: [value] * gap + list(r[name])
                if left
                else (list(r[name]) + [value] * gap)[:width]
                for name, value in fill.items()
            }
        )
    return padded


def cut(rows, width: int) -> list[dict]:
    """Corta por la derecha las filas que pasan de `width`."""
    return [{name: values[:width] for name, values in r.items()} for r in rows]


def without_labels(rows) -> list[dict]:
    """Las filas sin etiquetas: las pondrá el colador."""
    return [{k: v for k, v in r.items() if k != "labels"} for r in rows]


def dataset(rows):
    """Las filas como `Dataset`."""
    from datasets import Dataset

    return Dataset.from_list(rows)


# --- Coladores -----------------------------------------------------------------------------------


def by_length(pad_id: int) -> Callable[[list[dict]], dict]:
    """Un colador correcto: enmascara el relleno por su posición y no por su id."""

    def collate(rows: list[dict]) -> dict:
        import torch

        width = max(len(r["input_ids"]) for r in rows)
        batch = pad(rows, width, pad_id)
        return {name: torch.tensor([r[name] for r in batch]) for name in batch[0]}

    return collate


def by_id(pad_id: int) -> Callable[[list[dict]], dict]:
    """Un colador con el error clásico: enmascara todo lo que tenga el id del relleno."""

    def collate(rows: list[dict]) -> dict:
        batch = by_length(pad_id)(rows)
        batch["labels"] = batch["input_ids"].masked_fill(batch["input_ids"] == pad_id, IGNORED)
        return batch

    return collate


def counting(pad_id: int) -> Callable[[list[dict]], dict]:
    """Un colador cuyas etiquetas son una copia de los ids, con relleno y todo."""

    def collate(rows: list[dict]) -> dict:
        batch = by_length(pad_id)(rows)
        batch["labels"] = batch["input_ids"].clone()
        return batch

    return collate


def language_modeling(tokenizer):
    """El de transformers, que enmascara por id."""
    from transformers import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(tokenizer, mlm=False)


def seq2seq(tokenizer):
    """El de transformers que respeta las etiquetas de la fila y enmascara por longitud."""
    from transformers import DataCollatorForSeq2Seq

    return DataCollatorForSeq2Seq(tokenizer, padding=True)


def default():
    """El de transformers que solo apila filas de igual longitud."""
    from transformers import default_data_collator

    return default_data_collator
