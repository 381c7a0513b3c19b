"""El entrenamiento: sus argumentos, su registro y lo que olvidó; y la llamada con que se genera."""

import inspect
import math
from functools import partial
from itertools import pairwise, takewhile
from statistics import mean, median
from typing import Any

from course_lib.audit.case import Case
from course_lib.audit.engine import LACKS, Seen, check, grade
from course_lib.audit.rows import as_list, dig
from course_lib.audit.weights import peft_kinds
from course_lib.tables import number, percent, wilson

LORA_RATE = 1e-4
HALF = 0.5  # de max_length, gastado en la pregunta
OVERFIT = {"grave": 1.10, "aviso": 1.02}  # veces la mejor pérdida de evaluación
JUMP, RISE, WINDOW = 2.0, 0.5, 10  # veces el nivel, nats de más, y cuántas anotaciones lo dan
BIG_GRADIENT, REPEATED = 100.0, 2
LOST = {"grave": 0.10, "aviso": 0.03}  # de los aciertos
NOT_ABILITIES = {"dice_si", "conversa", "segundos", "tokens", "quien"}


@check("sin-evaluacion", "args", severity="aviso")
def no_evaluation(case: Case, args):
    """Un entrenamiento que no mide nada fuera de sus ejemplos."""
    strategy = dig(args, "eval_strategy", "no")
    strategy = str(getattr(strategy, "value", strategy))
    never = strategy == "no"
    if not never and case.eval_dataset is None and case.train_dataset is None:
        return "los datos: train_dataset y eval_dataset"
    empty = case.eval_dataset is None or not len(case.eval_dataset)
    if not (never or empty) or any("eval_loss" in row for row in case.log or []):
        return None  # se mide, o se midió de otro modo y está en el registro
    what = "ambas" if never and empty else "estrategia" if never else "ejemplos"
    return Seen({"eval_strategy": strategy, "eval_dataset": not empty}, say=[what])


@check("tasa-lora-baja", "args", ("model", "el modelo, para saber si lleva LoRA"), severity="aviso")
def low_lora_rate(case: Case, args, _):
    """Una tasa de ajuste completo con LoRA."""
    if not peft_kinds(case) & {"LORA", "ADALORA", "LOHA", "LOKR"}:
        return "un modelo con LoRA: este no lo lleva"
    rate = args.learning_rate
    return Seen({"learning_rate": rate}, minima=LORA_RATE) if rate < LORA_RATE else None


@check("fp16-entrenable", "args", "model", severity="grave")
def half_weights(case: Case, args, model):
    """Pesos en media precisión que se entrenan con `fp16=True`."""
    half = {name: weight for name, weight in model.named_parameters() if weight.requires_grad
            and str(weight.dtype) == "torch.float16"}  # fmt: skip
    if not half or not dig(args, "fp16"):
        return None
    return Seen({"matrices": len(half)}, nombres=", ".join([*half][:3]))


@check("precision-imposible", "args")
def impossible_precision(case: Case, args):
    """Una precisión que el aparato no tiene."""
    import torch

    here = "cpu"
    if torch.accelerator.is_available() and not dig(args, "use_cpu"):
        here = torch.accelerator.current_accelerator().type
    if dig(args, "fp16") and here == "cpu":
        return Seen({"aparato": here, "fp16": True}, say=["fp16"], severity="grave")
    fast = here != "cpu" or dig(torch.cpu, "_is_avx512_bf16_supported", bool)()
    if here == "cuda":
        fast = torch.cuda.get_device_capability()[0] >= 8
    if fast or not dig(args, "bf16"):
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
    model = dig(case.model, "get_base_model", lambda: case.model)()
    accepts = dig(model, "accepts_loss_kwargs")
    if accepts is None:
        parameters = inspect.signature(model.forward).parameters.values()
        accepts = any(p.kind == p.VAR_KEYWORD or p.name == "num_items_in_batch" for p in parameters)
    if accepts or dig(case.trainer, "compute_loss_func") is not None:
        return None
    return Seen({"gradient_accumulation_steps": steps}, modelo=type(model).__name__)


def call_of(case: Case) -> tuple | str:
    """De la llamada a `generate`, los ids y la máscara, fila a fila, y el id del relleno."""
    given = case.generation or {}
    ids = _matrix(given.get("inputs") if given.get("input_ids") is None else given["input_ids"])
    pads = (_option(given, "pad_token_id"), case.pad, case.eos)
    pad = next((value for value in pads if isinstance(value, int)), None)
    return (ids, _matrix(given.get("attention_mask")), pad) if ids else LACKS["generation"]


def _matrix(value: Any) -> list[list[int]] | None:
    """Los ids o la máscara, como una lista de filas; una fila suelta es un lote de una."""
    rows = [as_list(row) for row in as_list(value) or []]
    return ([rows] if rows and not isinstance(rows[0], list) else rows) or None


def _option(given: dict, name: str) -> Any:
    value = given.get(name)
    return dig(given.get("generation_config"), name) if value is None else value


@check("relleno-derecha", call_of, severity="grave")
def right_padding(case: Case, call: tuple):
    """Relleno a la derecha del lote que se genera."""
    ids, mask, pad = call
    if dig(case.model, "config.is_encoder_decoder"):
        return None  # con codificador, la respuesta no sigue a la pregunta
    if mask is None and pad is None:
        return "la attention_mask o el id del relleno"
    bad, same = [i for i, row in enumerate(mask or []) if row and not row[-1]], pad == case.eos
    if mask is None or (not bad and pad is not None and not same):
        bad = [i for i, row in enumerate(ids) if row and row[-1] == pad]
        # Un solo fin en una petición suelta, o en todas las del lote, es suyo y no relleno.
        if same and len(bad) == len(ids):
            bad = [i for i in bad if ids[i][-2:] == [pad, pad]]
    if not bad:
        return None
    tail = ids[bad[0]][-6:]
    final = case.decode(tail) if case.tokenizer is not None else str(tail)
    numbers = {"peticiones": len(ids), "con_relleno_a_la_derecha": len(bad)}
    return Seen(numbers, bad, final=final)


@check("sin-mascara", call_of)
def no_mask(case: Case, call: tuple):
    """Una llamada sin máscara de atención."""
    ids, mask, pad = call
    if mask is not None:
        return None
    pads = [0 if pad is None else row.count(pad) for row in ids]
    same, some, one = pad is not None and pad == case.eos, any(pads), len(ids) == 1
    return Seen(
        {"peticiones": len(ids), "relleno": sum(pads)},
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
    width = max(map(len, call[0]))
    severity = "grave" if width >= top else "aviso" if width >= HALF * top else "nota"
    numbers = {"peticion": width, "max_length": top, "quedan": max(0, top - width)}
    return Seen(numbers, severity=severity)


@check("sobreajuste", "log")
def overfitting(case: Case, log: list[dict]):
    """La pérdida de evaluación sube mientras baja la de entrenamiento."""
    held, train = _series(log, "eval_loss"), _series(log, "loss")
    if len(held) < 2:
        return "al menos dos evaluaciones (eval_loss) en el registro"
    best_step, best = min(held, key=lambda point: point[1])
    last_step, last = held[-1]
    ratio = last / best if best > 0 else 1.0
    severity = grade(ratio, **OVERFIT)
    if severity is None:
        return None
    before = [loss for step, loss in train if step <= best_step][-3:]
    after = [loss for step, loss in train if step > best_step][-3:]
    if not before or not after:
        return "la pérdida de entrenamiento (loss) antes y después de la mejor evaluación"
    if mean(after) >= mean(before):
        return None  # empeora en todas partes: no es sobreajuste
    if dig(case.args, "load_best_model_at_end"):
        severity = "nota"  # se queda con el mejor: solo se perdió tiempo
    numbers = {"mejor": best, "paso_mejor": best_step, "ultima": last, "veces": ratio}
    words = {"paso_ultimo": last_step, "antes": mean(before), "despues": mean(after)}
    return Seen(numbers, severity=severity, **words)


@check("tasa-alta", "log", severity="grave")
def runaway(case: Case, log: list[dict]):
    """Saltos de la pérdida, pérdidas que no son un número y gradientes enormes."""
    rows = [row for row in log if isinstance(row.get("loss"), int | float | str)]
    losses = [float(row["loss"]) for row in rows]
    if not losses:
        return "la pérdida de entrenamiento (loss) en el registro"
    warm = _warmup(case, rows)
    # Con los lotes por longitudes la pérdida va en dientes de sierra: el nivel es el de los picos.
    grouped = dig(case.args, "train_sampling_strategy") == "group_by_length"
    usual = max if grouped else median
    for i, loss in enumerate(losses):
        step = rows[i].get("step", i)
        previous = [value for value in losses[max(0, i - WINDOW) : i] if math.isfinite(value)]
        level = usual(previous) if previous else math.inf
        jumps = len(previous) >= 2 and loss >= JUMP * level and loss >= level + RISE
        zero = loss == 0 and previous and level > RISE
        what = "infinita" if not math.isfinite(loss) else "cero" if zero else "salto"
        if what == "salto" and not (step > warm and jumps):
            continue
        words = {"nivel": level, "vecinas": losses[max(0, i - 4) : i + 2]}
        return Seen({"paso": step, "perdida": loss}, say=[what, "vecinas"], **words)
    norms = [float(row["grad_norm"]) for row in rows if row.get("grad_norm") is not None]
    big = [norm for norm in norms if norm > BIG_GRADIENT]
    if len(big) < REPEATED:
        return None
    numbers = {"anotaciones": len(norms), "enormes": len(big), "mayor": max(big)}
    return Seen(numbers, say=["gradiente"], severity="aviso", tope=BIG_GRADIENT)


@check("olvido")
def forgetting(case: Case):
    """Capacidades que bajan, con intervalos que no se tocan."""
    if not case.before or not case.after:
        return "las mismas capacidades medidas antes y después (before y after)"
    names = [n for n in case.before if n in case.after and n not in NOT_ABILITIES]
    pairs = {name: (_interval(case.before[name]), _interval(case.after[name])) for name in names}
    pairs = {name: pair for name, pair in pairs.items() if None not in pair}
    if not pairs:
        return "alguna capacidad, en proporción, medida las dos veces"
    lost = {
        name: {"antes": old, "despues": new}
        for name, ((old, low, _), (new, _, high)) in pairs.items()
        if round(old - new, 9) >= LOST["aviso"] and high < low
    }
    if not lost:
        return None
    worst = max(round(v["antes"] - v["despues"], 9) for v in lost.values())
    shown = [f"{name}, del {number(100 * v['antes'])} al {percent(v['despues'])}"
             for name, v in lost.items()]  # fmt: skip
    words = {"capacidades": len(pairs), "bajan": len(lost), "cuales": "; ".join(shown)}
    return Seen(lost, severity=grade(worst, **LOST), **words)


def _series(log: list[dict], name: str) -> list[tuple[float, float]]:
    """Los valores anotados con ese nombre, cada uno con su paso."""
    return [(row.get("step", i), row[name]) for i, row in enumerate(log)
            if isinstance(row.get(name), int | float) and math.isfinite(row[name])]  # fmt: skip


def _warmup(case: Case, rows: list[dict]) -> float:
    """Hasta qué paso se calienta: lo dicen los argumentos o la tasa anotada, mientras sube."""
    declared = dig(case.args, "warmup_steps", 0)
    declared = declared if declared >= 1 else 0  # menos de 1 es una proporción
    rates = [(row.get("step", 0), row["learning_rate"]) for row in rows if "learning_rate" in row]
    climb = takewhile(lambda pair: pair[0][1] <= pair[1][1], pairwise(rates))
    return max([declared, *(after[0] for before, after in climb if after[1] > before[1])])


def _interval(measure) -> tuple[float, float, float] | None:
    """Valor e intervalo de una `Measure`, de (aciertos, n) o de su diccionario."""
    if isinstance(measure, tuple | list) and len(measure) == 2:
        hits, n = measure
        return (hits / n, *wilson(hits, n)) if n else None
    get = measure.get if isinstance(measure, dict) else partial(dig, measure)
    value, low, high = map(get, ("value", "low", "high"))
    inside = None not in (value, low, high) and 0 <= value <= 1
    return (value, low, high) if inside else None
