"""Los `TrainingArguments`: evaluación, tasa, precisión y acumulación."""

import inspect

from course_lib.audit.case import Case
from course_lib.audit.findings import Finding, finding

LORA_RATE = 1e-4
NO_ARGS = "los TrainingArguments (args)"


def check_evaluation(case: Case) -> Finding | str | None:
    """Un entrenamiento que no mide nada fuera de sus ejemplos."""
    if case.args is None:
        return NO_ARGS
    strategy = getattr(case.args, "eval_strategy", "no")
    strategy = str(getattr(strategy, "value", strategy))
    if strategy != "no" and case.eval_dataset is None and case.train_dataset is None:
        return "los datos: train_dataset y eval_dataset"
    empty = case.eval_dataset is None or not len(case.eval_dataset)
    missing = []
    if strategy == "no":
        missing.append("eval_strategy es «no»")
    if empty and (case.train_dataset is not None or strategy == "no"):
        missing.append("no hay ejemplos apartados (eval_dataset)")
    if not missing:
        return None
    if any("eval_loss" in row for row in case.log or []):
        return None  # se midió de otro modo, y está en el registro
    return finding(
        "sin-evaluacion",
        "aviso",
        f"En este entrenamiento {' y '.join(missing)}.",
        {"eval_strategy": strategy, "eval_dataset": not empty},
    )


def check_lora_rate(case: Case) -> Finding | str | None:
    """Una tasa de ajuste completo con LoRA."""
    if case.args is None:
        return NO_ARGS
    if case.model is None:
        return "el modelo, para saber si lleva LoRA"
    configs = getattr(case.model, "peft_config", None)
    kinds = {str(getattr(c.peft_type, "value", c.peft_type)) for c in (configs or {}).values()}
    if not kinds & {"LORA", "ADALORA", "LOHA", "LOKR"}:
        return "un modelo con LoRA: este no lo lleva"
    rate = case.args.learning_rate
    if rate >= LORA_RATE:
        return None
    return finding(
        "tasa-lora-baja",
        "aviso",
        f"learning_rate es {rate:g}, y con LoRA conviene {LORA_RATE:g} o más.",
        {"learning_rate": rate},
    )


def check_fp16_weights(case: Case) -> Finding | str | None:
    """Pesos en media precisión que se entrenan con `fp16=True`."""
    if case.args is None:
        return NO_ARGS
    if case.model is None:
        return "el modelo"
    if not getattr(case.args, "fp16", False):
        return None
    import torch

    names = [
        name
        for name, weight in case.model.named_parameters()
        if weight.requires_grad and weight.dtype == torch.float16
    ]
    if not names:
        return None
    return finding(
        "fp16-entrenable",
        "grave",
        f"args.fp16 está activo y {len(names)} de las matrices que se entrenan están en fp16: "
        f"{', '.join(names[:3])}…",
        {"matrices": len(names)},
    )


def check_precision(case: Case) -> Finding | str | None:
    """Una precisión que el aparato no tiene."""
    if case.args is None:
        return NO_ARGS
    fp16, bf16 = (getattr(case.args, name, False) for name in ("fp16", "bf16"))
    if not fp16 and not bf16:
        return None
    import torch

    here = "cpu"
    if torch.accelerator.is_available() and not getattr(case.args, "use_cpu", False):
        here = torch.accelerator.current_accelerator().type
    if fp16 and here == "cpu":
        return finding(
            "precision-imposible",
            "grave",
            "args.fp16 está activo y aquí se entrenaría en la CPU.",
            {"aparato": here, "fp16": True},
        )
    if bf16 and not _has_bf16(here):
        return finding(
            "precision-imposible",
            "aviso",
            f"args.bf16 está activo y este aparato ({here}) no lo acelera: irá más lento que fp32.",
            {"aparato": here, "bf16": True},
        )
    return None


def check_accumulation(case: Case) -> Finding | str | None:
    """Acumular gradientes con un modelo que no sabe cuántos tokens hay en total."""
    if case.args is None:
        return NO_ARGS
    steps = getattr(case.args, "gradient_accumulation_steps", 1)
    if steps <= 1:
        return None
    if case.model is None:
        return "el modelo"
    if getattr(case.trainer, "compute_loss_func", None) is not None:
        return None
    model = case.model.get_base_model() if hasattr(case.model, "get_base_model") else case.model
    if hasattr(model, "accepts_loss_kwargs"):
        accepts = model.accepts_loss_kwargs
    else:
        parameters = inspect.signature(model.forward).parameters.values()
        accepts = any(p.kind == p.VAR_KEYWORD or p.name == "num_items_in_batch" for p in parameters)
    if accepts:
        return None
    return finding(
        "acumulacion",
        "aviso",
        f"gradient_accumulation_steps es {steps}, y {type(model).__name__}.forward no acepta "
        "num_items_in_batch.",
        {"gradient_accumulation_steps": steps},
    )


def _has_bf16(kind: str) -> bool:
    import torch

    if kind == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    if kind == "cpu":
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(probe and probe())
    return True
