"""Llamar al *collator* como lo haría `Trainer`, sobre una muestra y en lotes pequeños."""

import copy
import inspect
import random
from dataclasses import dataclass

from course_lib.audit.rows import SEED, Row, as_list, documents, ids_of, resets

SAMPLE = 1000  # filas que se miran como mucho; con tantas, un 1% se ve (error típico de 0,3%)
BATCH = 8
MODEL_COLUMNS = (
    "input_ids",
    "attention_mask",
    "labels",
    "position_ids",
    "token_type_ids",
    "seq_lengths",
    "completion_mask",
    "assistant_masks",
    "kinds",
)
BOUNDARIES = ("seq_idx", "cu_seq_lens_q", "cu_seqlens", "cu_seq_lens")


@dataclass(frozen=True)
class Collated:
    """Lo que salió de colacionar una muestra.

    Attributes:
        rows: los documentos, en orden.
        joined: filas de lote en las que el *collator* juntó varios documentos.
        bounded: cuántas de ellas llevan sus fronteras.
        sampled: cuántas filas de los datos se miraron, y `total`, cuántas hay.
        masked_language: si el *collator* enmascara tokens al azar.
    """

    rows: list[Row]
    joined: int
    bounded: int
    sampled: int
    total: int
    masked_language: bool = False
    block_mask: bool = False


def sample_features(dataset, limit: int = SAMPLE) -> list[tuple[int, dict]]:
    """Hasta `limit` filas al azar, siempre las mismas, con su número y en su orden."""
    total = len(dataset)
    chosen = range(total)
    if total > limit:
        chosen = sorted(random.Random(SEED).sample(range(total), limit))
        if hasattr(dataset, "select"):
            return list(zip(chosen, dataset.select(chosen).to_list(), strict=True))
        return [(i, dict(dataset[i])) for i in chosen]
    if hasattr(dataset, "to_list"):
        return list(enumerate(dataset.to_list()))
    return [(i, dict(dataset[i])) for i in chosen]


def collate_sample(
    dataset,
    collator,
    args=None,
    model=None,
    trainer=None,
    pad=None,
    eos=None,
    limit: int = SAMPLE,
) -> "Collated | str":
    """Colaciona una muestra de los datos.

    Args:
        pad: el id del relleno, si se sabe, y `eos`, el del fin.

    Returns:
        `Collated`, o una frase que dice por qué no se pudo.
    """
    features = sample_features(dataset, limit)
    if not features:
        return "los datos de entrenamiento están vacíos"
    if not any(len(ids_of(feature)) for _, feature in features):
        return "filas con input_ids: las que hay son aún texto; tokenízalas o da el Trainer"
    features = [(i, f) for i, f in features if len(ids_of(f))]
    keep = _columns(features[0][1], args, model, trainer)
    rows: list[Row] = []
    joined = bounded = 0
    block = False
    for at in range(0, len(features), BATCH):
        group = features[at : at + BATCH]
        batch, error = _call(collator, [feature for _, feature in group], keep)
        if batch is None:
            return f"un collator que acepte estas filas: falla con «{error}»"
        found = list(documents(batch, group, pad, eos))
        rows += [row for row, _ in found]
        restarts = any(resets(positions) for positions in batch.get("position_ids") or [])
        merged = restarts or len(batch["input_ids"]) < len(group)
        joined += merged
        block |= _has_blocks(batch)
        marked = restarts or _has_blocks(batch) or any(key in batch for key in BOUNDARIES)
        bounded += merged and marked
    return Collated(
        rows,
        joined,
        bounded,
        len(features),
        len(dataset),
        masked_language=bool(getattr(collator, "mlm", False)),
        block_mask=block,
    )


def _columns(feature: dict, args, model, trainer) -> set[str] | None:
    """Las columnas que `Trainer` dejaría pasar, o `None` si las deja todas."""
    if args is None or model is None or not getattr(args, "remove_unused_columns", False):
        return None
    if trainer is not None:
        twin = copy.copy(trainer)  # así lo que anote no queda en el de quien llama
        twin._set_signature_columns_if_needed()
        return set(twin._signature_columns)
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    return {*inspect.signature(model.forward).parameters, "labels", "label", "label_ids"}


def _call(collator, features: list[dict], keep: set[str] | None) -> tuple[dict | None, str]:
    """Llama al *collator*; si las columnas de sobra le estorban, sin ellas.

    El primer error es el que se cuenta, por ser el de quien llama tal cual.
    """
    if collator is None:
        return {
            key: [as_list(feature[key]) for feature in features]
            for key in MODEL_COLUMNS
            if all(feature.get(key) is not None for feature in features)
        }, ""
    everything = set().union(*features)
    attempts = [keep] if keep is not None else []
    attempts += [everything, set(MODEL_COLUMNS), {"input_ids", "attention_mask", "labels"}]
    error = ""
    for columns in attempts:
        rows = [{k: as_list(v) for k, v in feature.items() if k in columns} for feature in features]
        try:
            batch = collator(rows)
            return {key: as_list(value) for key, value in batch.items()}, ""
        except Exception as problem:
            error = error or " ".join(str(problem).split())[:120] or type(problem).__name__
    return None, error


def _has_blocks(batch: dict) -> bool:
    """Si la máscara separa documentos: con cuatro dimensiones o numerándolos."""
    mask = batch.get("attention_mask")
    if not mask or not isinstance(mask[0], list):
        return False
    return isinstance(mask[0][0], list) or any(max(row, default=0) > 1 for row in mask)
