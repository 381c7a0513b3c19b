"""El entrenamiento: sus argumentos, su registro y lo que olvidó; y la llamada con que se genera."""

import inspect
import math
from functools import partial
from statistics import mean, median
from typing import Any

from course_lib.audit.case import Case
from course_lib.audit.engine import LACKS, Seen, check, first_cause, grade
from course_lib.audit.rows import as_list, dig
from course_lib.audit.trial import own_losses
from course_lib.audit.weights import STILL, peft_kinds, positions
from course_lib.tables import number, percent, wilson

LORA_RATE, LORAS = 1e-4, {"LORA", "ADALORA", "LOHA", "LOKR"}
HIGH, HIGH_FULL = 5e-3, 5e-4  # las mayores con Adam; la segunda, en un modelo ya entrenado
SMOKE, EPOCHS = 10, 50  # pasos de una prueba rápida; épocas que son muchas
HALF, MOST = 0.5, 0.9  # de los pesos, de los pasos o de max_length
SAME = 0.1  # lo que puede diferir una proporción de otra
OVERFIT = {"grave": 1.10, "aviso": 1.02}  # veces la mejor pérdida de evaluación
JUMP, RISE, WINDOW = 2.0, 0.5, 10  # veces el nivel, nats de más, y cuántas anotaciones lo dan
BIG_GRADIENT, REPEATED = 100.0, 2
LOST = {"grave": 0.10, "aviso": 0.03}  # de los aciertos
NOT_ABILITIES = {"dice_si", "conversa", "segundos", "tokens", "quien"}


@check("sin-evaluacion", severity="aviso")
def no_evaluation(case: Case):
    """Un entrenamiento que no mide nada fuera de sus ejemplos."""
    measured, args = [r["eval_loss"] for r in case.log or [] if "eval_loss" in r], case.args
    if any(not math.isfinite(float(loss)) for loss in measured):
        return Seen({"evaluaciones": len(measured)}, cause="nan", severity="grave")
    if args is None:
        return LACKS["args"]
    if measured:
        return None  # de otro modo, quizá, y está en el registro
    strategy = dig(args, "eval_strategy", "no")
    never, empty = strategy == "no", not case.eval_dataset
    if not never and case.eval_dataset is None and case.train_dataset is None:
        return "los datos: train_dataset y eval_dataset"
    total, every = steps_of(case) or 0, dig(args, "eval_steps") or 0
    late = strategy == "steps" and every > total > 0
    numbers = {"eval_strategy": strategy, "eval_dataset": not empty, "pasos": total}
    causes = {
        "ambas": never and empty,
        "estrategia": never,
        "ejemplos": empty,
        "nunca": late and ("nota" if total <= SMOKE else "aviso"),
    }
    return first_cause(numbers | {"eval_steps": every}, causes)


def steps_of(case: Case) -> int | None:
    """Cuántos pasos dará el entrenamiento, si se sabe cuántas filas hay."""
    if dig(case.args, "max_steps", 0) > 0:
        return case.args.max_steps
    data = dig(case.trainer, "train_dataset", case.train_dataset)
    if not hasattr(data, "__len__") or dig(case.args, "train_batch_size") is None:
        return None
    batches = math.ceil(len(data) / (case.args.train_batch_size * case.args.world_size))
    updates = math.ceil(batches / max(1, case.args.gradient_accumulation_steps))
    return math.ceil(updates * case.args.num_train_epochs)


def _optimizer(case: Case) -> tuple[float, str]:
    """La mayor tasa con que se entrena de verdad, y con qué: el optimizador manda sobre `args`."""
    made = dig(case.trainer, "optimizer")
    groups = [group for group in dig(made, "param_groups", []) if group["params"]]
    if groups:
        kind = type(dig(made, "optimizer", made)).__name__
        return max(group.get("initial_lr", group["lr"]) for group in groups), kind.lower()
    optim = dig(case.args, "optim", "adamw")
    return dig(case.args, "learning_rate", 0.0), str(getattr(optim, "value", optim))


def _factors(case: Case, total: int) -> list[float]:
    """Por cuánto se multiplica la tasa al avanzar, según el planificador o el calentamiento."""
    steps = range(0, total, -(-total // 100)) if total > 1 else ()
    if steps and (shapes := dig(case.trainer, "lr_scheduler.lr_lambdas")):
        return [shapes[0](step) for step in steps]
    warm = dig(case.args, "get_warmup_steps", lambda _: 0)(total)
    return [min(1.0, (step + 1) / (warm + 1)) for step in steps] or [1.0]


@check("tasa-lora-baja", severity="aviso")
def low_rate(case: Case):
    """Una tasa que apenas mueve los pesos: por baja, o porque no llega a la pedida."""
    logged = [row["learning_rate"] for row in case.log or [] if "learning_rate" in row]
    if len(logged) >= STILL and not any(logged):
        return Seen({"anotaciones": len(logged)}, cause="nula", severity="grave")
    if case.args is None:
        return LACKS["args"]
    (rate, _), total = _optimizer(case), steps_of(case) or 0
    factors = _factors(case, total)
    climb, top = factors.index(max(factors)) / len(factors), max(factors)
    numbers = {"learning_rate": rate, "pasos": total, "proporcion": climb}
    short = total <= SMOKE or climb < MOST
    causes = {"nula": not rate * top and "grave",
              "calentamiento": climb > HALF and ("nota" if short else "aviso")}  # fmt: skip
    if found := first_cause(numbers, causes, llega=rate * top):
        return found
    if case.model is None:
        return "el modelo, para saber si lleva LoRA"
    if not peft_kinds(case) & LORAS:
        return "un modelo con LoRA: este no lo lleva"
    return Seen(numbers, minima=LORA_RATE) if rate < LORA_RATE else None


@check("fp16-entrenable", "args", "model", severity="grave")
def half_weights(case: Case, args, model):
    """Pesos que se entrenan en `float16`, que los rompe."""
    learnt = {name: w for name, w in model.named_parameters() if w.requires_grad and w.numel()}
    half = [name for name, weight in learnt.items() if str(weight.dtype) == "torch.float16"]
    cause = "" if dig(args, "fp16") else "pura"
    return Seen({"matrices": len(half)}, cause=cause, nombres=", ".join(half[:3])) if half else None


@check("precision-imposible", "args", severity="aviso")
def impossible_precision(case: Case, args):
    """Una precisión que el aparato no tiene."""
    import torch

    cpu = not torch.accelerator.is_available() or bool(dig(args, "use_cpu"))
    old = not cpu and torch.cuda.is_available() and torch.cuda.get_device_capability()[0] < 8
    causes = {"fp16": cpu and dig(args, "fp16") and "nota", "bf16": old and dig(args, "bf16")}
    return first_cause({"cpu": cpu}, causes)


@check("acumulacion", "args", severity="aviso")
def accumulation(case: Case, args):
    """Una pérdida que el paso no promedia como se cree: al acumular, entre procesos o la propia."""
    steps, gpus = dig(args, "gradient_accumulation_steps", 1), dig(args, "n_gpu", 1)
    processes = dig(args, "world_size", 1)
    split = dig(args, "average_tokens_across_devices", True) is False
    causes = {
        "un_proceso": gpus > processes == 1,
        "sin_promediar": split and ("aviso" if processes > 1 else "nota"),
    }
    numbers = {"gradient_accumulation_steps": steps, "gpus": gpus, "procesos": processes}
    if case.model is None:
        return first_cause(numbers, causes) or (LACKS["model"] if steps > 1 else None)
    model = dig(case.model, "get_base_model", lambda: case.model)()
    causes["prueba"] = steps > 1 and not _counts_items(case, model)
    measured = own_losses(case)
    return first_cause(
        numbers | measured, _own_loss(case, steps, measured) | causes, modelo=type(model).__name__
    )


def _counts_items(case: Case, model) -> bool:
    """Si la pérdida se divide entre las etiquetas de todo el paso."""
    accepts = dig(model, "accepts_loss_kwargs")
    if accepts is None:
        parameters = inspect.signature(model.forward).parameters.values()
        accepts = any(p.kind == p.VAR_KEYWORD or p.name == "num_items_in_batch" for p in parameters)
    return accepts or dig(case.trainer, "compute_loss_func") is not None


def _own_loss(case: Case, steps: int, found: dict[str, float]) -> dict[str, Any]:
    """Qué hace de más o de menos la pérdida propia del `Trainer`, medida en un lote."""
    if not all(map(math.isfinite, found.values())) or not found.get("una"):
        return {}

    def alike(name: str, times: float = 1.0, margin: float = 1e-4) -> bool:
        return abs(found[name] - times * found["una"]) < margin * abs(times * found["una"])

    level = "aviso" if dig(case.args, "world_size", 1) > 1 else "nota"
    divided = alike("doble", 0.5, SAME)
    counts = dig(case.trainer, "model_accepts_loss_kwargs")
    counts = counts or dig(case.trainer, "compute_loss_func") is not None
    counts = dig(case.trainer, "loss_is_scaled_for_ga", counts)  # ¿lo da por dividido Trainer?
    averaged = dig(case.args, "average_tokens_across_devices")
    return {
        "sin_desplazar": alike("sin_desplazar") and not alike("media") and "grave",
        "todo": alike("todo") and not alike("media"),
        "dos_veces": steps > 1 and (alike("media", steps, SAME) or divided > counts),
        "por_lotes": steps > 1 and divided < counts,
        "entre_procesos": divided and averaged and alike("procesos") and level,
    }


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
    hidden = [i for i, row in enumerate(mask or []) if row and not row[-1]]
    bad = hidden or [i for i, row in enumerate(ids) if row and row[-1] == pad]
    # Un solo fin que la máscara deja ver, o que llevan todas las del lote, es suyo y no relleno.
    if pad == case.eos and not hidden and (mask or len(bad) == len(ids)):
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


@check("max-length-generacion", call_of)
def max_length(case: Case, call: tuple):
    """`max_length` en vez de `max_new_tokens`."""
    top, fresh = (_option(case.generation, name) for name in ("max_length", "max_new_tokens"))
    width, (room, learnt) = max(map(len, call[0])), positions(case.model)
    if width + (fresh or 0) > room:
        numbers = {"peticion": width, "nuevos": fresh or 0, "posiciones": room}
        return Seen(numbers, cause="posiciones", severity="grave" if learnt else "aviso")
    if top is None or fresh is not None:
        return None
    severity = "grave" if width >= top else "aviso" if width >= HALF * top else "nota"
    numbers = {"peticion": width, "max_length": top, "quedan": max(0, top - width)}
    return Seen(numbers, severity=severity)


@check("sobreajuste")
def overfitting(case: Case):
    """La pérdida de evaluación sube mientras baja la de entrenamiento, o se dan épocas de más."""
    epochs, log = dig(case.args, "num_train_epochs", 0), case.log or []
    held, train = _series(log, "eval_loss"), _series(log, "loss")
    kept = dig(case.args, "load_best_model_at_end")  # se queda con el mejor
    if not held and epochs >= EPOCHS and dig(case.args, "max_steps", 0) <= 0 and not kept:
        return Seen({"epocas": int(epochs)}, cause="epocas", severity="aviso")
    if len(held) < 2:
        return "al menos dos evaluaciones (eval_loss) en el registro" if case.log else LACKS["log"]
    best_step, best = min(held, key=lambda point: point[1])
    last_step, last = held[-1]
    ratio = last / best if best > 0 else 1.0
    severity = grade(ratio, **OVERFIT)
    numbers = {"mejor": best, "paso_mejor": best_step, "ultima": last, "veces": ratio,
               "paso_ultimo": last_step}  # fmt: skip
    before = [loss for step, loss in train if step <= best_step][-3:]
    after = [loss for step, loss in train if step > best_step][-3:]
    if severity == "grave" and not train:
        return Seen(numbers, cause="sube", severity="aviso")
    if severity and not (before and after):
        return "la pérdida de entrenamiento (loss) antes y después de la mejor evaluación"
    if severity is None or mean(after) >= mean(before):
        return None  # si empeora en todas partes, no es sobreajuste
    words = {"antes": mean(before), "despues": mean(after)}
    return Seen(numbers, severity="nota" if kept else severity, **words)


@check("tasa-alta", severity="grave")
def runaway(case: Case):
    """Un entrenamiento que se desboca, en su registro, o que se desbocaría por su tasa."""
    found = _runaway(case, case.log) if case.log else LACKS["log"]
    if isinstance(found, Seen) or case.args is None or case.model is None:
        return found
    (rate, kind), kinds = _optimizer(case), peft_kinds(case)
    top = HIGH if kinds else HIGH_FULL
    if "adam" not in kind or rate < top or kinds - LORAS:
        return found
    # Un modelo sin nombre se entrena desde cero, quizá, y aguanta más.
    fresh = rate < HIGH and not dig(case.model, "config._name_or_path")
    level = "nota" if fresh else "aviso"
    return Seen({"learning_rate": rate}, cause="pedida", severity=level, tope=top)


def _runaway(case: Case, log: list[dict]) -> Seen | str | None:
    """Saltos de la pérdida, pérdidas que no son un número y gradientes enormes."""
    rows = [row for row in log if isinstance(row.get("loss"), int | float | str)]
    losses = [float(row["loss"]) for row in rows]
    rates = {row.get("step", 0): row["learning_rate"] for row in rows if "learning_rate" in row}
    warm = max(dig(case.args, "warmup_steps", 0), max(rates, key=rates.get, default=0))
    # Con los lotes por longitudes la pérdida va en dientes de sierra: el nivel es el de los picos.
    grouped = dig(case.args, "train_sampling_strategy") == "group_by_length"
    for i, loss in enumerate(losses):
        step = rows[i].get("step", i)
        previous = [value for value in losses[max(0, i - WINDOW) : i] if math.isfinite(value)]
        level = (max if grouped else median)(previous) if previous else math.inf
        times = JUMP if len(previous) > 1 else JUMP**2  # una sola dice menos
        causes = {
            "infinita": not math.isfinite(loss),
            "cero": loss == 0 and level > RISE,
            "salto": step > warm and loss >= max(times * level, level + RISE),
        }
        words = {"nivel": level, "vecinas": losses[max(0, i - 4) : i + 2]}
        if found := first_cause({"paso": step, "perdida": loss}, causes, **words):
            return found
    norms = [float(row["grad_norm"]) for row in rows if row.get("grad_norm") is not None]
    if len(norms) >= STILL and mean(map(math.isnan, norms)) > HALF:
        return Seen({"anotaciones": len(norms)}, cause="gradiente_nan")
    big = [norm for norm in norms if norm > BIG_GRADIENT]
    if len(big) >= REPEATED:
        numbers = {"anotaciones": len(norms), "enormes": len(big), "mayor": max(big)}
        return Seen(numbers, cause="gradiente", severity="aviso", tope=BIG_GRADIENT)
    return None if losses else "la pérdida de entrenamiento (loss) en el registro"


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


def _interval(measure) -> tuple[float, float, float] | None:
    """Valor e intervalo de una `Measure`, de (aciertos, n) o de su diccionario."""
    if isinstance(measure, tuple | list) and len(measure) == 2:
        hits, n = measure
        return (hits / n, *wilson(hits, n)) if n else None
    get = measure.get if isinstance(measure, dict) else partial(dig, measure)
    value, low, high = map(get, ("value", "low", "high"))
    inside = None not in (value, low, high) and 0 <= value <= 1
    return (value, low, high) if inside else None
