"""El modelo por dentro: los ids que caben, los tokens nuevos y lo que LoRA adapta de verdad."""

import math
import re
from collections.abc import Iterator

from course_lib.audit.case import Case
from course_lib.audit.engine import Seen, check
from course_lib.audit.rows import Row, all_ids, as_list, dig
from course_lib.encoding import IGNORED

ASKED = -1  # el número de lo que no es una fila de entrenamiento
POSITIONS = ("wpe", "embed_positions", "position_embeddings")
HALF = 0.5  # de los bloques
NEWBORN = 0.3  # de la distancia habitual a la media de la tabla
SHOWN = 1000  # filas que se apuntan en el informe
NO_PEFT = "un modelo con adaptadores de peft: este no los lleva"
FOR_USE = "los TrainingArguments: cargado así, este modelo es para usarlo, no para entrenar"
NEW_TO = ("tokenizer", "el tokenizador, para saber qué tokens son nuevos")
_BLOCK = re.compile(r"\.(?:h|layers?|blocks?)\.(\d+)\.")
_WRAPPERS = re.compile(r"\.(?:base_layer|original_module|modules_to_save.*|token_adapter.*)$")


def peft_configs(case: Case) -> dict | str:
    """Los ajustes de los adaptadores del modelo, por su nombre, o que no los lleva."""
    return dig(case.model, "peft_config") or NO_PEFT


def peft_kinds(case: Case) -> set[str]:
    """Las clases de adaptadores que lleva el modelo, como «LORA»."""
    configs = dig(case.model, "peft_config", {})
    return {str(getattr(c.peft_type, "value", c.peft_type)) for c in configs.values()}


@check("ids-fuera", "model", severity="grave")
def foreign_ids(case: Case, model):
    """Ids que no caben en la tabla de *embeddings*, o filas más largas que la de posiciones."""
    table = model.get_input_embeddings().weight.shape[0]
    train = all_ids(case.train_dataset) if case.has_rows else []
    every = [*train, *_other_ids(case)]
    if not every:
        return "filas, o una petición, con sus ids"
    spans = [(number, int(max(ids)), int(min(ids))) for number, ids in every]
    bad = {number for number, top, bottom in spans if top >= table or bottom < 0}
    # Un modelo que aprende sus posiciones, como GPT-2; con las rotatorias no hay tope.
    learnt = (m for name, m in model.named_modules() if name.split(".")[-1] in POSITIONS)
    room = dig(next(learnt, None), "num_embeddings", math.inf)
    long = {number: len(ids) for number, ids in train if len(ids) > room}
    if long and not bad:
        numbers = {"posiciones": room, "filas": len(long), "mayor": max(long.values())}
        rows = sorted(long)[:SHOWN]
        return Seen(numbers, rows, say=["posiciones"], title="titulo_posiciones")
    if not bad:
        return None
    rows = sorted(bad - {ASKED})
    top, bottom = max(top for _, top, _ in spans), min(0, *(low for *_, low in spans))
    numbers = {"tabla": table, "id_mayor": top, "id_menor": bottom, "filas": len(rows)}
    said = ["prueba", case.tokenizer and "vocabulario"]
    words = {"ultima": table - 1, "ajeno": top if top >= table else bottom}
    return Seen(numbers, rows[:SHOWN], said, tokens=len(case.tokenizer or ()), **words)


def _other_ids(case: Case) -> Iterator[tuple[int, list[int]]]:
    """Los ids de la evaluación, de las filas colacionadas y de lo que se pida."""
    if case.has_rows:
        yield from ((ASKED, ids) for _, ids in all_ids(case.eval_dataset))
        for row in case.rows:  # con el relleno y las etiquetas
            yield row.number, row.ids + [i for i in row.labels or [] if i != IGNORED]
    for ids in as_list(dig(case, "generation", {}).get("input_ids")) or []:
        yield ASKED, list(ids) if isinstance(ids, list | tuple) else [int(ids)]


@check("nuevos-congelados", "model", peft_configs, NEW_TO, "rows", severity="grave")
def frozen_new_tokens(case: Case, model, configs: dict, _, rows: list[Row]):
    """Tokens añadidos cuyos *embeddings* no se ajustan."""
    new = sorted({token for row in rows for token in row.real} & _new_ids(case))
    embeddings = model.get_input_embeddings()
    table = next(name for name, module in model.named_modules() if module is embeddings)
    stem = _WRAPPERS.sub("", table)
    trained = [name for name, weight in model.named_parameters()
               if weight.requires_grad and name.startswith(stem + ".")]  # fmt: skip
    if any("token_adapter" in name or "trainable_tokens" in name for name in trained):
        indices = [dig(config, "trainable_token_indices", []) for config in configs.values()]
        lists = [v for i in indices for v in (i.values() if isinstance(i, dict) else [i])]
        new = [i for i in new if not any(i in learnt for learnt in lists)]
    elif trained:
        return None
    if not new:
        return None
    names = ", ".join(f"{text!r} ({i})" for text, i in zip(case.pieces(new), new, strict=True))
    return Seen({"ids": new}, cuantos=len(new), nombres=names, nombre_tabla=stem)


def _new_ids(case: Case) -> set[int]:
    """Los tokens añadidos que su archivo no traía, o con un vector casi igual a la media."""
    base = case.tokenizer.vocab_size
    added = {i for i in case.tokenizer.added_tokens_decoder if i >= base}
    shipped = case.tokenizer.init_kwargs.get("added_tokens_decoder")
    fresh = set() if shipped is None else added - {int(i) for i in shipped}
    weight = case.model.get_input_embeddings().weight.detach().float()
    inside = sorted(i for i in added if i < len(weight))
    if not inside:
        return fresh
    typical = (weight[:2000] - weight.mean(0)).norm(dim=1).median().item()
    distance = (weight[inside] - weight.mean(0)).norm(dim=1).tolist()
    return fresh | {i for i, d in zip(inside, distance, strict=True) if d < NEWBORN * typical}


@check("lora-sin-efecto", "model", severity="grave")
def no_effect(case: Case, model):
    """Adaptadores que no adaptan nada, o casi nada."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    numbers = {"entrenables": trainable, "pesos": sum(p.numel() for p in model.parameters())}
    configs = peft_configs(case)
    if configs is NO_PEFT:
        if trainable or case.args is None:
            return NO_PEFT
        return Seen(numbers, say=["ninguno"])
    layers = _lora_layers(model)
    if layers and all(getattr(layer, "disable_adapters", False) for _, layer in layers):
        return Seen(numbers, say=["desactivados"])
    if not trainable:
        loaded = all(config.inference_mode for config in configs.values())
        if case.args is None and case.train_dataset is None and loaded:
            return FOR_USE
        return Seen(numbers, say=["inferencia"])
    if "LORA" not in peft_kinds(case):
        return None
    if not layers:
        return Seen(numbers, say=["sin_capas"])
    blocks, adapted = (
        {match.group(1) for name, _ in named if (match := _BLOCK.search(name + "."))}
        for named in (model.named_modules(), layers)
    )
    if len(adapted) >= HALF * len(blocks):
        return None
    counts = {"adaptados": len(adapted), "bloques": len(blocks), "capas": len(layers)}
    return Seen(numbers, say=["pocos"], severity="aviso", **counts)


@check("lora-sin-gradiente", "model", severity="grave")
def no_gradient(case: Case, model):
    """Adaptadores que no se han movido, o a los que no llegará el gradiente."""
    if not _lora_layers(model):
        return NO_PEFT
    weights = [w for name, w in model.named_parameters() if "lora_B" in name]
    logged = [int(row.get("step", 0)) for row in case.log or []]
    steps = max([int(dig(case.trainer, "state.global_step", 0)), *logged])
    numbers = {"pasos": steps, "matrices": len(weights)}
    if steps and weights and not any(bool(w.detach().any()) for w in weights):
        return Seen(numbers, say=["quietas"])
    if not _reentrant(case):
        return None
    table = model.get_input_embeddings()
    fed = table._forward_hooks or any(p.requires_grad for p in table.parameters())
    return None if fed else Seen(numbers, say=["cortado"])


def _lora_layers(model) -> list[tuple[str, object]]:
    return [
        (name, module)
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and (len(module.lora_A) or len(module.lora_embedding_A))
    ]


def _reentrant(case: Case) -> bool:
    """Si hay *gradient checkpointing* del que corta el gradiente (el de antes)."""
    if dig(case.args, "gradient_checkpointing"):
        options = dig(case.args, "gradient_checkpointing_kwargs", {})
    else:
        inside = (m for m in case.model.modules() if dig(m, "gradient_checkpointing"))
        options = dig(next(inside, None), "_gradient_checkpointing_func.keywords", {})
    return bool(options.get("use_reentrant"))
