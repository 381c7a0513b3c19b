"""El modelo por dentro: los ids que caben, los tokens nuevos y lo que LoRA adapta de verdad."""

import math
import re
from collections.abc import Iterable

from course_lib.audit.case import Case
from course_lib.audit.findings import Finding, finding, listing
from course_lib.audit.raw import all_ids
from course_lib.encoding import IGNORED

HALF = 0.5  # de los bloques
NEWBORN = 0.3  # de la distancia habitual a la media de la tabla
NO_MODEL = "el modelo"
NO_PEFT = "un modelo con adaptadores de peft: este no los lleva"
_BLOCK = re.compile(r"\.(?:h|layers?|blocks?)\.(\d+)\.")


def check_ids(case: Case) -> Finding | str | None:
    """Ids que no caben en la tabla de *embeddings*, o filas más largas que la de posiciones."""
    if case.model is None:
        return NO_MODEL
    table = case.model.get_input_embeddings().weight.shape[0]
    highest, lowest, looked = -1, 0, 0
    bad: dict[int, list[int]] = {}
    for number, ids in _all_ids(case):
        looked += 1
        top, bottom = int(max(ids)), int(min(ids))
        for i in (top, bottom):
            if not 0 <= i < table:
                bad.setdefault(i, []).append(number)
        highest, lowest = max(highest, top), min(lowest, bottom)
    if not looked:
        return "filas, o una petición, con sus ids"
    room = _positions(case.model) or math.inf
    rows = all_ids(case.train_dataset) if isinstance(case.rows, list) else ()
    lengths = {number: len(ids) for number, ids in rows if len(ids) > room}
    if lengths and not bad:
        return finding(
            "ids-fuera",
            "grave",
            f"El modelo tiene {room} posiciones y hay filas de hasta {max(lengths.values())} "
            f"tokens: filas {listing(sorted(lengths))}.",
            {"posiciones": room, "filas": len(lengths), "mayor": max(lengths.values())},
            sorted(lengths)[:1000],
            title="Hay filas más largas que las posiciones del modelo",
        )
    if not bad:
        return None
    worst = highest if highest >= table else lowest
    rows = sorted({n for numbers in bad.values() for n in numbers if n >= 0})
    return finding(
        "ids-fuera",
        "grave",
        f"La tabla de embeddings tiene {table} filas, de la 0 a la {table - 1}, y en los datos "
        f"sale el id {worst}. Filas {listing(rows)}."
        + (f" El tokenizador tiene {len(case.tokenizer)} tokens." if case.tokenizer else ""),
        {"tabla": table, "id_mayor": highest, "id_menor": lowest, "filas": len(rows)},
        rows[:1000],
    )


def _positions(model) -> int | None:
    """Las posiciones de un modelo que las aprende, como GPT-2; con las rotatorias no hay tope."""
    for name, module in model.named_modules():
        if name.split(".")[-1] in ("wpe", "embed_positions", "position_embeddings"):
            return getattr(module, "num_embeddings", None)
    return None


def check_new_tokens(case: Case) -> Finding | str | None:
    """Tokens añadidos cuyos *embeddings* no se ajustan."""
    if case.model is None:
        return NO_MODEL
    configs = getattr(case.model, "peft_config", None)
    if not configs:
        return NO_PEFT
    if case.tokenizer is None:
        return "el tokenizador, para saber qué tokens son nuevos"
    if isinstance(case.rows, str):
        return case.rows
    used = {token for row in case.rows for token in set(row.real)}
    new = sorted(used & _new_ids(case))
    if not new:
        return None
    table = next(
        name
        for name, module in case.model.named_modules()
        if module is case.model.get_input_embeddings()
    )
    stem = re.sub(r"\.(?:base_layer|original_module|modules_to_save.*|token_adapter.*)$", "", table)
    trained = [
        name
        for name, weight in case.model.named_parameters()
        if weight.requires_grad and name.startswith(stem + ".")
    ]
    if any("token_adapter" in name or "trainable_tokens" in name for name in trained):
        learnt = {i for config in configs.values() for i in _indices(config)}
        new = [i for i in new if i not in learnt]
    elif trained:
        return None
    if not new:
        return None
    names = ", ".join(f"{text!r} ({i})" for text, i in zip(case.pieces(new), new, strict=True))
    return finding(
        "nuevos-congelados",
        "grave",
        f"En los datos salen {len(new)} tokens añadidos al vocabulario, {names}, y la tabla "
        f"«{stem}» está congelada.",
        {"ids": new},
    )


def check_lora(case: Case) -> Finding | str | None:
    """Adaptadores que no adaptan nada, o casi nada."""
    if case.model is None:
        return NO_MODEL
    configs = getattr(case.model, "peft_config", None)
    trainable = sum(p.numel() for p in case.model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in case.model.parameters())
    if not configs:
        if trainable or case.args is None:
            return NO_PEFT
        return _no_effect("grave", f"Ninguno de los {total} pesos se ajusta.", trainable, total)
    layers = _lora_layers(case.model)
    off = [name for name, layer in layers if getattr(layer, "disable_adapters", False)]
    if layers and len(off) == len(layers):
        return _no_effect("grave", "Los adaptadores están desactivados.", trainable, total)
    if not trainable and case.args is None and case.train_dataset is None and _loaded(configs):
        return "los TrainingArguments: cargado así, este modelo es para usarlo, no para entrenar"
    if not trainable:
        return _no_effect(
            "grave",
            f"Ninguno de los {total} pesos se ajusta: el modelo se cargó para usarlo, no para "
            "entrenarlo (is_trainable=True).",
            trainable,
            total,
        )
    lora = any(str(getattr(c.peft_type, "value", c.peft_type)) == "LORA" for c in configs.values())
    if not lora:
        return None
    if not layers:
        return _no_effect("grave", "Ninguna capa lleva adaptador.", trainable, total)
    blocks = {m.group(1) for n, _ in case.model.named_modules() if (m := _BLOCK.search(n + "."))}
    adapted = {m.group(1) for name, _ in layers if (m := _BLOCK.search(name + "."))}
    if len(adapted) >= HALF * len(blocks):
        return None
    return _no_effect(
        "aviso",
        f"Solo llevan adaptador {len(adapted)} de {len(blocks)} bloques ({len(layers)} capas); se "
        f"ajustan {trainable} de {total} pesos.",
        trainable,
        total,
    )


def check_lora_gradient(case: Case) -> Finding | str | None:
    """Adaptadores que no se han movido, o a los que no llegará el gradiente."""
    if case.model is None:
        return NO_MODEL
    layers = _lora_layers(case.model)
    if not layers:
        return NO_PEFT
    weights = [w for name, w in case.model.named_parameters() if "lora_B" in name]
    steps = max([_steps(case), *(int(row.get("step", 0)) for row in case.log or [])])
    if steps and weights and not any(bool(w.detach().any()) for w in weights):
        return finding(
            "lora-sin-gradiente",
            "grave",
            f"Tras {steps} pasos, las {len(weights)} matrices lora_B siguen a cero, como nacieron.",
            {"pasos": steps, "matrices": len(weights)},
        )
    if not _reentrant(case):
        return None
    table = case.model.get_input_embeddings()
    if any(p.requires_grad for p in table.parameters()) or table._forward_hooks:
        return None
    return finding(
        "lora-sin-gradiente",
        "grave",
        "Gradient checkpointing está activo con use_reentrant=True, los embeddings están "
        "congelados y nadie ha llamado a enable_input_require_grads().",
        {"pasos": steps, "matrices": len(weights)},
    )


def _no_effect(severity: str, evidence: str, trainable: int, total: int) -> Finding:
    numbers = {"entrenables": trainable, "pesos": total}
    return finding("lora-sin-efecto", severity, evidence, numbers)


def _all_ids(case: Case) -> Iterable[tuple[int, list[int]]]:
    """Los ids de todas las filas, no de una muestra, y de lo que se pida; −1 es una petición."""
    if isinstance(case.rows, list):
        yield from all_ids(case.train_dataset)
        yield from ((-1, ids) for _, ids in all_ids(case.eval_dataset))
        for row in case.rows:  # colacionadas: con el relleno y las etiquetas
            yield row.number, row.ids + [label for label in row.labels or [] if label != IGNORED]
    asked = (case.generation or {}).get("input_ids")
    if asked is not None:
        for ids in asked.tolist() if hasattr(asked, "tolist") else asked:
            yield -1, list(ids) if isinstance(ids, list | tuple) else [int(ids)]


def _new_ids(case: Case) -> set[int]:
    """Los tokens añadidos sobre el vocabulario de base que el modelo no trae aprendidos.

    Son nuevos los que se añadieron a un tokenizador cargado de un archivo que no los traía, y los
    que tienen por vector casi la media de la tabla, que es como nace una fila al agrandarla.
    """
    base = case.tokenizer.vocab_size
    added = {i for i in case.tokenizer.added_tokens_decoder if i >= base}
    shipped = case.tokenizer.init_kwargs.get("added_tokens_decoder")
    fresh = set() if shipped is None else added - {int(i) for i in shipped}
    weight = case.model.get_input_embeddings().weight.detach()
    inside = sorted(i for i in added if i < weight.shape[0])
    if not inside:
        return fresh
    mean = weight.float().mean(0)
    typical = (weight[:2000].float() - mean).norm(dim=1).median().item()
    distance = (weight[inside].float() - mean).norm(dim=1).tolist()
    return fresh | {i for i, d in zip(inside, distance, strict=True) if d < NEWBORN * typical}


def _loaded(configs) -> bool:
    """Si los adaptadores se cargaron ya hechos, para inferencia."""
    return all(config.inference_mode for config in configs.values())


def _indices(config) -> list[int]:
    indices = getattr(config, "trainable_token_indices", None) or []
    if isinstance(indices, dict):
        return [i for values in indices.values() for i in values]
    return list(indices)


def _lora_layers(model) -> list[tuple[str, object]]:
    return [
        (name, module)
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and (len(module.lora_A) or len(module.lora_embedding_A))
    ]


def _steps(case: Case) -> int:
    return int(getattr(getattr(case.trainer, "state", None), "global_step", 0) or 0)


def _reentrant(case: Case) -> bool:
    """Si hay *gradient checkpointing* del que corta el gradiente (el de antes)."""
    kwargs = getattr(case.args, "gradient_checkpointing_kwargs", None) or {}
    if getattr(case.args, "gradient_checkpointing", False):
        return bool(kwargs.get("use_reentrant", False))
    for module in case.model.modules():
        if getattr(module, "gradient_checkpointing", False):
            function = getattr(module, "_gradient_checkpointing_func", None)
            return bool(getattr(function, "keywords", {}).get("use_reentrant", False))
    return False
