"""Los datos sin tokenizar: diálogos de un archivo, de una lista o de un dataset con mensajes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.audit.rows import sample_features
from course_lib.dialogues import Dialogue, read_dialogues


def conversations_in(dialogues: Any, dataset: Any) -> list[Dialogue] | None:
    """Los diálogos que se dieron, o los que lleve el dataset en su columna `messages`.

    Raises:
        ValueError: si `dialogues` no es ni una ruta ni una lista de diálogos.
    """
    if isinstance(dialogues, str | Path):
        return read_dialogues(dialogues, report=lambda _: None)
    if dialogues is not None:
        return [_as_dialogue(item, i) for i, item in enumerate(dialogues)]
    first = dataset[0] if dataset is not None and len(dataset) else None
    if not hasattr(first, "keys") or "messages" not in first:
        return None
    whole = hasattr(dataset, "column_names")
    rows = dataset["messages"] if whole else [row["messages"] for row in dataset]
    return [_as_dialogue(list(messages), i) for i, messages in enumerate(rows)]


def texts_in(dataset: Any) -> list[str]:
    """Los textos de una muestra de filas sin tokenizar."""
    if dataset is None or not len(dataset) or "input_ids" in dataset[0]:
        return []
    out = []
    for _, row in sample_features(dataset, limit=200):
        parts = [row[key] for key in ("text", "prompt", "completion") if key in row]
        parts += row.get("messages") or []
        flat = [m for part in parts for m in (part if isinstance(part, list) else [part])]
        texts = [m["content"] if isinstance(m, dict) else m for m in flat]
        out.append("".join(t for t in texts if isinstance(t, str)))
    return [text for text in out if text]


def all_ids(dataset: Any) -> list[tuple[int, Sequence[int]]]:
    """La columna `input_ids` entera, fila a fila y con su número; las vacías se saltan."""
    if dataset is None or not len(dataset):
        return []
    if hasattr(dataset, "column_names"):
        found = dataset.with_format("numpy", columns=["input_ids"]).iter(batch_size=1000)
        rows = (ids for batch in found for ids in batch["input_ids"])
    else:
        rows = (row["input_ids"] for row in dataset)
    return [(number, ids) for number, ids in enumerate(rows) if len(ids)]


def _as_dialogue(item: Any, index: int) -> Dialogue:
    if isinstance(item, Dialogue):
        return item
    if isinstance(item, dict):
        item = item.get("messages") or item.get("dialog") or []
    if isinstance(item, list | tuple) and all(isinstance(turn, str) for turn in item):
        return Dialogue(tuple(item))
    if isinstance(item, list | tuple) and all(isinstance(m, dict) for m in item):
        texts = tuple(str(m.get("content") or "") for m in item)
        return Dialogue(texts, roles=tuple(str(m.get("role")) for m in item))
    raise ValueError(
        f"dialogues debe ser una ruta o una lista de Dialogue, y el elemento {index} es "
        f"{type(item).__name__}: léelos con read_dialogues."
    )
