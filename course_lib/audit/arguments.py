"""Los argumentos: los del entrenamiento y los de la llamada con que se genera."""

import inspect
from dataclasses import dataclass
from typing import Any

from course_lib.audit.case import Case
from course_lib.audit.engine import LACKS, Seen, check
from course_lib.audit.rows import as_list, dig
from course_lib.audit.weights import peft_kinds

LORA_RATE = 1e-4
HALF = 0.5  # de max_length, gastado en la pregunta


@check("sin-evaluacion", "args", severity="aviso")
def no_evaluation(case: Case, args):
    """Un entrenamiento que no mide nada fuera de sus ejemplos."""
    strategy = dig(args, "eval_strategy", "no")
    strategy = str(getattr(strategy, "value", strategy))
    never, untrained = strategy == "no", case.train_dataset is None
    if not never and case.eval_dataset is None and untrained:
        return "los datos: train_dataset y eval_dataset"
    empty = case.eval_dataset is None or not len(case.eval_dataset)
    missing = empty and (never or not untrained)
    if not (never or missing) or any("eval_loss" in row for row in case.log or []):
        return None  # se mide, o se midió de otro modo y está en el registro
    what = "ambas" if never and missing else "estrategia" if never else "ejemplos"
    return Seen({"eval_strategy": strategy, "eval_dataset": not empty}, say=[what])


@check("tasa-lora-baja", "args", ("model", "el modelo, para saber si lleva LoRA"), severity="aviso")
def low_lora_rate(case: Case, args, _):
    """Una tasa de ajuste completo con LoRA."""
    if not peft_kinds(case) & {"LORA", "ADALORA", "LOHA", "LOKR"}:
        return "un modelo con LoRA: este no lo lleva"
    if args.learning_rate >= LORA_RATE:
        return None
    return Seen({"learning_rate": args.learning_rate}, minima=LORA_RATE)


@check("fp16-entrenable", "args", "model", severity="grave")
def half_weights(case: Case, args, model):
    """Pesos en media precisión que se entrenan con `fp16=True`."""
    if not getattr(args, "fp16", False):
        return None
    import torch

    names = [name for name, weight in model.named_parameters()
             if weight.requires_grad and weight.dtype == torch.float16]  # fmt: skip
    return Seen({"matrices": len(names)}, nombres=", ".join(names[:3])) if names else None


@check("precision-imposible", "args")
def impossible_precision(case: Case, args):
    """Una precisión que el aparato no tiene."""
    fp16, bf16 = (getattr(args, name, False) for name in ("fp16", "bf16"))
    if not fp16 and not bf16:
        return None
    import torch

    here = "cpu"
    if torch.accelerator.is_available() and not dig(args, "use_cpu"):
        here = torch.accelerator.current_accelerator().type
    if fp16 and here == "cpu":
        return Seen({"aparato": here, "fp16": True}, say=["fp16"], severity="grave")
    fast = True
    if here == "cuda":
        fast = torch.cuda.get_device_capability()[0] >= 8
    elif here == "cpu":
        probe = dig(torch.cpu, "_is_avx512_bf16_supported")
        fast = probe is not None and probe()
    if fast or not bf16:
        return None
    return Seen({"aparato": here, "bf16": True}, say=["bf16"], severity="aviso")


@check("acumulacion", "args", severity="aviso")
def accumulation(case: Case, args):
    """Acumular gradientes con un modelo que no sabe cuántos tokens hay en total."""
    steps = dig(args, "gradient_accumulation_steps", 1)
    if steps <= 1:
        return None
    if case.model is None:
        return LACKS["model"]
    model = case.model.get_base_model() if hasattr(case.model, "get_base_model") else case.model
    accepts = dig(model, "accepts_loss_kwargs")
    if accepts is None:
        parameters = inspect.signature(model.forward).parameters.values()
        accepts = any(p.kind == p.VAR_KEYWORD or p.name == "num_items_in_batch" for p in parameters)
    if accepts or dig(case.trainer, "compute_loss_func") is not None:
        return None
    return Seen({"gradient_accumulation_steps": steps}, modelo=type(model).__name__)


@dataclass
class Call:
    """Una llamada a `generate`: sus ids y su máscara, fila a fila, y el id del relleno."""

    ids: list[list[int]]
    mask: list[list[int]] | None
    pad: int | None


def call_of(case: Case) -> Call | str:
    """La llamada con que se genera, o que falta."""
    given = case.generation or {}
    ids = _matrix(given.get("inputs") if given.get("input_ids") is None else given["input_ids"])
    pads = (_option(given, "pad_token_id"), case.pad, case.eos)
    pad = next((value for value in pads if isinstance(value, int)), None)
    return Call(ids, _matrix(given.get("attention_mask")), pad) if ids else LACKS["generation"]


def _matrix(value: Any) -> list[list[int]] | None:
    """Los ids o la máscara, como una lista de filas; una fila suelta es un lote de una."""
    if value is None:
        return None
    value = value.tolist() if hasattr(value, "tolist") else [as_list(row) for row in value]
    return ([value] if value and not isinstance(value[0], list) else value) or None


def _option(given: dict, name: str) -> Any:
    value = given.get(name)
    return dig(given.get("generation_config"), name) if value is None else value


@check("relleno-derecha", call_of, severity="grave")
def right_padding(case: Case, call: Call):
    """Relleno a la derecha del lote que se genera."""
    if dig(case.model, "config.is_encoder_decoder"):
        return None  # con codificador, la respuesta no sigue a la pregunta
    if call.mask is None and call.pad is None:
        return "la attention_mask o el id del relleno"
    ids, pad, same = call.ids, call.pad, call.pad == case.eos
    padded = [i for i, row in enumerate(ids) if row and row[-1] == pad]
    bad = [i for i, row in enumerate(call.mask or []) if row and not row[-1]]
    if call.mask is None or (not bad and pad is not None and not same):
        bad = padded
        # Un solo fin en una petición suelta, o en todas las del lote, es suyo y no relleno.
        if same and len(bad) == len(ids):
            bad = [i for i in bad if ids[i][-2:] == [pad, pad]]
    if not bad:
        return None
    tail = ids[bad[0]][-6:]
    final = case.decode(tail) if case.tokenizer is not None else str(tail)
    numbers = {"peticiones": len(ids), "con_relleno_a_la_derecha": len(bad)}
    return Seen(numbers, bad, primera=bad[0], final=final)


@check("sin-mascara", call_of)
def no_mask(case: Case, call: Call):
    """Una llamada sin máscara de atención."""
    if call.mask is not None:
        return None
    pads = [0 if call.pad is None else row.count(call.pad) for row in call.ids]
    same = call.pad is not None and call.pad == case.eos
    some, one = any(pads), len(call.ids) == 1
    return Seen(
        {"peticiones": len(call.ids), "relleno": sum(pads)},
        [i for i, n in enumerate(pads) if n],
        say=["prueba", "con_relleno" if some else "sin_relleno", same and "mismo"],
        severity="grave" if some and (same or not one) else "aviso",
        suyas="su petición" if one else "sus peticiones",
    )


@check("max-length-generacion", "generation")
def max_length(case: Case, given: dict):
    """`max_length` en vez de `max_new_tokens`."""
    top, call = _option(given, "max_length"), call_of(case)
    if top is None or _option(given, "max_new_tokens") is not None:
        return None
    if isinstance(call, str):
        return "los input_ids de la llamada, para saber cuánto ocupa la pregunta"
    width = max(map(len, call.ids))
    severity = "grave" if width >= top else "aviso" if width >= HALF * top else "nota"
    numbers = {"peticion": width, "max_length": top, "quedan": max(0, top - width)}
    return Seen(numbers, severity=severity)
