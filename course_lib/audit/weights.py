"""El modelo por dentro: los ids que caben, los tokens nuevos y lo que LoRA adapta de verdad."""

import math
import re
from collections.abc import Iterator

from course_lib.audit.case import Case, once
from course_lib.audit.engine import LACKS, Seen, check, first_cause
from course_lib.audit.rows import Row, all_ids, as_list, dig
from course_lib.audit.trial import gradients
from course_lib.encoding import IGNORED

ASKED = -1  # el número de lo que no es una fila de entrenamiento
POSITIONS = ("wpe", "embed_positions", "position_embeddings")
HALF = 0.5  # de los bloques o de los pesos
NEWBORN = 0.3  # de la distancia habitual a la media de la tabla
STILL = 3  # anotaciones con el gradiente a cero
SHOWN = 1000  # filas que se apuntan en el informe
NO_PEFT = "un modelo con adaptadores de peft: este no los lleva"
FOR_USE = "los TrainingArguments: cargado así, este modelo es para usarlo, no para entrenar"
NEW_TO = ("tokenizer", "el tokenizador, para saber qué tokens son nuevos")
_WRAPPERS = re.compile(r"\.(?:base_layer|original_module|modules_to_save.*|token_adapter.*)$")
_BLOCK = re.compile(r"\.(?:h|layers?|blocks?)\.(\d+)\.")


def peft_kinds(case: Case) -> set[str]:
    """Las clases de adaptadores que lleva el modelo, como «LORA»."""
    configs = dig(case.model, "peft_config", {})
    return {str(getattr(c.peft_type, "value", c.peft_type)) for c in configs.values()}


@check("ids-fuera", "model", "embeddings", severity="grave")
def foreign_ids(case: Case, model, embeddings):
    """Ids que no caben en la tabla de *embeddings*, o filas más largas que la de posiciones."""
    table, (room, learnt) = len(embeddings.weight), positions(model)
    train = all_ids(case.train_dataset) if case.has_rows else []
    every = [*train, *(pair for pair in _other_ids(case) if len(pair[1]))]
    if not every:
        return "filas, o una petición, con sus ids"
    spans = [(number, int(max(ids)), int(min(ids))) for number, ids in every]
    foreign = {number for number, top, bottom in spans if top >= table or bottom < 0}
    long = [number for number, ids in train if len(ids) > room]
    reached = case.collate([case.train_dataset[i] for i in long[:8]])  # el collator puede cortarlas
    longest = 0 if isinstance(reached, str) else max(len(row.ids) for row in reached.rows)
    rows = sorted(foreign - {ASKED}) if foreign else long
    top, bottom = max(top for _, top, _ in spans), min(low for *_, low in spans)
    numbers = {"tabla": table, "id_mayor": top, "id_menor": bottom, "filas": len(rows),
               "mayor": longest}  # fmt: skip
    words = {"ultima": table - 1, "ajeno": top if top >= table else bottom, "posiciones": room}
    level = "grave" if learnt else "nota"  # las rotatorias no tienen tabla que se acabe
    causes = {"vocabulario": foreign and case.tokenizer is not None, "prueba": foreign,
              "posiciones": longest > room and level}  # fmt: skip
    words |= {"rows": rows[:SHOWN], "tokens": len(case.tokenizer or ())}
    return first_cause(numbers, causes, **words)


def positions(model) -> tuple[float, bool]:
    """Hasta qué posición llega el modelo, y si las aprende, como GPT-2: pasarse es un error."""
    modules = () if model is None else model.named_modules()
    learnt = (module for name, module in modules if name.split(".")[-1] in POSITIONS)
    table = dig(next(learnt, None), "num_embeddings")
    return table or dig(model, "config.max_position_embeddings") or math.inf, bool(table)


def _other_ids(case: Case) -> Iterator[tuple[int, list[int]]]:
    """Los ids de la evaluación, de las filas colacionadas y de lo que se pida."""
    if case.has_rows:
        yield from ((ASKED, ids) for _, ids in all_ids(case.eval_dataset))
        for row in case.rows:  # con el relleno y las etiquetas
            yield row.number, row.ids + [i for i in row.labels or [] if i != IGNORED]
    for ids in as_list(dig(case, "generation", {}).get("input_ids")) or []:
        yield ASKED, list(ids) if isinstance(ids, list | tuple) else [int(ids)]


@check("nuevos-congelados", "model", "embeddings", NEW_TO, "rows", severity="grave")
def frozen_new_tokens(case: Case, model, embeddings, _, rows: list[Row]):
    """Tokens añadidos cuyos *embeddings* no se ajustan."""
    configs, table = dig(model, "peft_config", {}), embeddings
    if not configs and table.weight.requires_grad:
        return NO_PEFT
    new = {token for row in rows for token in row.real} & _new_ids(case)
    name = next(name for name, module in model.named_modules() if module is table)
    name = _WRAPPERS.sub("", name)
    trained = [n for n, w in model.named_parameters() if w.requires_grad and n.startswith(name)]
    chosen = [dig(config, "trainable_token_indices", []) for config in configs.values()]
    if any(chosen):
        lists = [ids for some in chosen
                 for ids in (some.values() if isinstance(some, dict) else [some])]  # fmt: skip
        new -= {i for ids in lists for i in ids}
    elif trained:
        return None
    if not new:
        return None
    ids = sorted(new)
    names = ", ".join(f"{text!r} ({i})" for text, i in zip(case.pieces(ids), ids, strict=True))
    words = {"cuantos": len(ids), "nombres": names, "nombre_tabla": name}
    return Seen({"ids": ids}, say=["prueba"], cause="" if configs else "a_mano", **words)


def _new_ids(case: Case) -> set[int]:
    """Los tokens añadidos que su archivo no traía, o con un vector casi igual a la media."""
    base = case.tokenizer.vocab_size
    added = {i for i in case.tokenizer.added_tokens_decoder if i >= base}
    shipped = case.tokenizer.init_kwargs.get("added_tokens_decoder")
    fresh = set() if shipped is None else added - {int(i) for i in shipped}
    weight = case.embeddings.weight.detach().float()
    inside = sorted(i for i in added if i < len(weight))
    if not inside:
        return fresh
    typical = (weight[:2000] - weight.mean(0)).norm(dim=1).median().item()
    distance = (weight[inside] - weight.mean(0)).norm(dim=1).tolist()
    return fresh | {i for i, d in zip(inside, distance, strict=True) if d < NEWBORN * typical}


@check("lora-sin-efecto", "model", severity="grave")
def no_effect(case: Case, model):
    """Un entrenamiento que no cambia nada, o nada que quede: por LoRA o por el optimizador."""
    if found := idle(case):
        return found
    kinds = peft_kinds(case)
    if not kinds or not any(w.requires_grad for w in model.parameters()):
        return FOR_USE if kinds else NO_PEFT
    if "LORA" not in kinds:
        return None
    if lost := _unsaved(model):
        numbers = {"matrices": len(lost), "pesos": sum(w.numel() for w in lost.values())}
        return Seen(numbers, cause="sin_guardar", severity="aviso", nombres=", ".join([*lost][:3]))
    layers = _lora_layers(model)
    blocks, adapted = (
        {match.group(1) for name, _ in named if (match := _BLOCK.search(name + "."))}
        for named in (model.named_modules(), layers)
    )
    if adapted == blocks or len(adapted) >= max(2, HALF * len(blocks)):
        return None
    numbers = {"adaptados": len(adapted), "bloques": len(blocks), "capas": len(layers)}
    return Seen(numbers | _sizes(model), cause="pocos", severity="aviso")


@once
def idle(case: Case) -> Seen | None:
    """Por qué no cambiará ningún peso, si se ve en cómo está montado el entrenamiento."""
    model, configs = case.model, dig(case.model, "peft_config", {})
    learnt = {name: id(weight) for name, weight in model.named_parameters() if weight.requires_grad}
    layers = [layer for _, layer in _lora_layers(model)]
    active = {name for layer in layers for name in layer.active_adapters}
    reach = any(f".{name}." in f"{weight}." for name in active for weight in learnt)
    loaded = all(config.inference_mode for config in configs.values())
    using = loaded and case.args is None and (case.train_dataset is None or not configs)
    groups = dig(case.trainer, "optimizer.param_groups", [])
    held = {*learnt.values()} & {id(weight) for group in groups for weight in group["params"]}
    partly = "aviso" if held else "grave"
    sharded = dig(case.trainer, "is_fsdp_enabled") or dig(case.trainer, "is_deepspeed_enabled")
    causes = {
        "desactivados": layers and all(dig(layer, "disable_adapters") for layer in layers),
        "inferencia": configs and not learnt and not using,
        "ninguno": not configs and not learnt and not using,
        "fundidos": layers and all(layer.merged for layer in layers),
        "otro_adaptador": layers and learnt and not reach,
        "alfa": layers and not any(layer.scaling.get(n) for layer in layers for n in active),
        "sin_capas": "LORA" in peft_kinds(case) and not layers,
        "optimizador": groups and not sharded and len(held) < HALF * len(learnt) and partly,
    }
    numbers = _sizes(model) | {"matrices": len(learnt), "llevadas": len(held)}
    return first_cause(numbers, causes, activos=", ".join(sorted(active)))


def _sizes(model) -> dict[str, int]:
    weights = [*model.parameters()]
    learnt = sum(w.numel() for w in weights if w.requires_grad)
    return {"entrenables": learnt, "pesos": sum(w.numel() for w in weights)}


def _unsaved(model) -> dict:
    """Las matrices que se ajustan y que el adaptador, al guardarse, no lleva."""
    from peft import get_peft_model_state_dict

    kept = set()
    for name in model.peft_config:
        state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        kept |= {weight.data_ptr() for weight in state.values()}
    return {name: weight for name, weight in model.named_parameters()
            if weight.requires_grad and weight.data_ptr() not in kept}  # fmt: skip


@check("lora-sin-gradiente", severity="grave")
def no_gradient(case: Case):
    """Pesos que no se han movido, o a los que no llega el gradiente."""
    norms = [row["grad_norm"] for row in case.log or [] if row.get("grad_norm") is not None]
    if case.model is None:
        still = len(norms) >= STILL and not any(norms)
        return Seen({"anotaciones": len(norms)}, cause="nulo") if still else LACKS["model"]
    weights = [w for name, w in case.model.named_parameters() if "lora_B" in name]
    logged = [int(row.get("step", 0)) for row in case.log or []]
    steps = max([int(dig(case.trainer, "state.global_step", 0)), *logged])
    found = {} if idle(case) else gradients(case)
    # Las lora_A no lo reciben al nacer, que lora_B es cero.
    arrived = [size for name, size in found.items() if "lora_B" in name] or [*found.values()]
    numbers = {"pasos": steps, "matrices": len(weights) or len(found)}
    causes = {
        "quietas": steps and weights and not any(bool(w.detach().any()) for w in weights),
        "cortado": arrived and not any(arrived),
    }
    return first_cause(numbers, causes) or (None if _lora_layers(case.model) else NO_PEFT)


def _lora_layers(model) -> list[tuple[str, object]]:
    return [
        (name, module)
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and (len(module.lora_A) or len(module.lora_embedding_A))
    ]
