"""El entrenamiento: sus argumentos, su registro y lo que olvidó; y la llamada con que se genera."""

import inspect
import math
from contextlib import suppress
from functools import partial
from itertools import pairwise, takewhile
from statistics import mean, median
from typing import Any

from course_lib.audit.case import Case
from course_lib.audit.engine import LACKS, Seen, check, grade
from course_lib.audit.rows import as_list, dig
from course_lib.audit.trial import rehearse
from course_lib.audit.weights import STILL, peft_kinds, positions
from course_lib.tables import number, percent, wilson

LORA_RATE, LORAS = 1e-4, {"LORA", "ADALORA", "LOHA", "LOKR"}
HIGH, HIGH_FULL = 5e-3, 5e-4  # las mayores con Adam; la segunda, en un modelo ya entrenado
# Entre qué valores se mueven los ajustes; un cero los apaga.
KNOBS = {"weight_decay": (0, 1), "max_grad_norm": (1e-3, math.inf), "adam_epsilon": (0, 1e-4),
         "label_smoothing_factor": (0, 0.5)}  # fmt: skip
SMOKE, EPOCHS = 10, 50  # pasos de una prueba rápida; épocas que son muchas
SPENT, MOST = 1e-3, 0.9  # de la tasa pedida, y de los pasos o de ella
STUCK = 0.95  # de los pesos, que un paso no mueve
SAME = 0.1  # lo que puede diferir una proporción de otra
HALF = 0.5  # de max_length, gastado en la pregunta, o de los pasos
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
    strategy = dig(args, "eval_strategy", "no")
    strategy = str(getattr(strategy, "value", strategy))
    never = strategy == "no"
    if not never and case.eval_dataset is None and case.train_dataset is None:
        return "los datos: train_dataset y eval_dataset"
    empty = case.eval_dataset is None or not len(case.eval_dataset)
    if measured:
        return None  # de otro modo, quizá, y está en el registro
    if not (never or empty):
        total, every = steps_of(case), (dig(args, "eval_steps") or 0) * (strategy == "steps")
        level = "nota" if (total or 0) <= SMOKE else "aviso"
        late = total and every > total
        return (
            Seen({"pasos": total, "eval_steps": every}, cause="nunca", severity=level)
            if late
            else None
        )
    what = "ambas" if never and empty else "estrategia" if never else "ejemplos"
    return Seen({"eval_strategy": strategy, "eval_dataset": not empty}, say=[what])


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


def _optimizer(case: Case) -> tuple[list[float], str]:
    """Las tasas con que se entrena de verdad y con qué: el optimizador manda sobre `args`."""
    made = dig(case.trainer, "optimizer")
    groups = [group for group in dig(made, "param_groups", []) if group["params"]]
    if groups:
        kind = type(dig(made, "optimizer", made)).__name__
        return [group.get("initial_lr", group["lr"]) for group in groups], kind.lower()
    optim = dig(case.args, "optim", "adamw")
    return [dig(case.args, "learning_rate", 0.0)], str(getattr(optim, "value", optim))


def _schedule(case: Case, total: int) -> list[float]:
    """Por cuánto se multiplica la tasa, paso a paso, si lo dice el planificador."""
    import torch
    from transformers import get_scheduler

    made, dummy = dig(case.trainer, "lr_scheduler"), torch.optim.SGD([torch.zeros(1)])
    with suppress(Exception):  # los hay que piden más
        warm, kind = case.args.get_warmup_steps(total), case.args.lr_scheduler_type
        made = made or get_scheduler(kind, dummy, warm, total)
    shape = dig(dig(made, "scheduler", made), "lr_lambdas", [])
    return [shape[0](step) for step in range(0, total, -(-total // 100))] if shape else []


@check("tasa-lora-baja", severity="aviso")
def low_rate(case: Case):
    """Una tasa que apenas mueve los pesos: por baja, o porque no llega a la pedida."""
    logged = [row["learning_rate"] for row in case.log or [] if "learning_rate" in row]
    if len(logged) >= STILL and not any(logged):
        return Seen({"anotaciones": len(logged)}, cause="nula", severity="grave")
    if case.args is None:
        return LACKS["args"]
    rate, total = max(_optimizer(case)[0]), steps_of(case) or 0
    factors = _schedule(case, total) if total > 1 else []
    spent = mean(f < SPENT for f in factors[1:]) if factors else 0
    climb = factors.index(max(factors)) / len(factors) if factors else 0
    numbers = {"learning_rate": rate, "pasos": total, "proporcion": max(spent, climb)}
    if not rate or spent == 1:
        return Seen(numbers, cause="nula", severity="grave")
    if max(spent, climb) > HALF:
        short = total <= SMOKE or max(spent, climb) < MOST < max(factors)
        words = {"severity": "nota" if short else "aviso", "llega": rate * max(factors)}
        return Seen(numbers, cause="agotada" if spent > climb else "calentamiento", **words)
    if case.model is None:
        return "el modelo, para saber si lleva LoRA"
    if not peft_kinds(case) & LORAS:
        return "un modelo con LoRA: este no lo lleva"
    return Seen(numbers, minima=LORA_RATE) if rate < LORA_RATE else None


@check("fp16-entrenable", "args", "model", severity="grave")
def half_weights(case: Case, args, model):
    """Pesos en media precisión que se entrenan: `float16` los rompe y `bfloat16` no los mueve."""
    learnt = {n: w for n, w in model.named_parameters() if w.requires_grad and w.numel()}
    half = {n: w for n, w in learnt.items() if str(w.dtype) == "torch.float16"}
    if half:
        cause = "" if dig(args, "fp16") else "pura"
        return Seen({"matrices": len(half)}, say=[cause or "prueba"], cause=cause,
                    nombres=", ".join([*half][:3]))  # fmt: skip
    short = [w for w in learnt.values() if str(w.dtype) == "torch.bfloat16" and w.dim() > 1]
    rates, kind = _optimizer(case)
    if not short or "adam" not in kind:
        return None
    # Un paso de Adam mueve un peso lo que la tasa, y si no es medio escalón de bf16, se redondea.
    sample = short[len(short) // 2].detach().flatten()[:10_000].float().abs()
    stuck = (2.0 ** (sample.log2().floor() - 8) > max(rates)).float().mean().item()
    numbers = {"matrices": len(short), "proporcion": stuck, "learning_rate": max(rates)}
    return Seen(numbers, cause="bf16", severity="aviso") if stuck > STUCK else None


@check("precision-imposible", "args")
def impossible_precision(case: Case, args):
    """Una precisión que el aparato no tiene."""
    import torch

    here = "cpu"
    if torch.accelerator.is_available() and not dig(args, "use_cpu"):
        here = torch.accelerator.current_accelerator().type
    if dig(args, "fp16") and here == "cpu":
        return Seen({"aparato": here, "fp16": True}, cause="fp16", severity="nota")
    fast = here != "cpu" or dig(torch.cpu, "_is_avx512_bf16_supported", bool)()
    if here == "cuda":
        fast = torch.cuda.get_device_capability()[0] >= 8
    if fast or not dig(args, "bf16"):
        return None
    level = "nota" if here == "cpu" else "aviso"
    return Seen({"aparato": here, "bf16": True}, cause="bf16", severity=level)


@check("acumulacion", "args", severity="aviso")
def accumulation(case: Case, args):
    """Una pérdida que el paso no promedia como se cree: al acumular, entre procesos o la propia."""
    steps, gpus = dig(args, "gradient_accumulation_steps", 1), dig(args, "n_gpu", 1)
    if case.model is not None and (found := _own_loss(case, steps, rehearse(case)[1])):
        return found
    several = dig(args, "world_size", 1) > 1
    if gpus > 1 and not several:
        return Seen({"gpus": gpus}, cause="un_proceso")
    if dig(args, "average_tokens_across_devices", True) is False:
        return Seen({"procesos": dig(args, "world_size", 1)}, cause="sin_promediar",
                    severity="aviso" if several else "nota")  # fmt: skip
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


def _own_loss(case: Case, steps: int, found: dict[str, float]) -> Seen | None:
    """Qué hace de más o de menos la pérdida propia del `Trainer`, medida en un lote."""
    if not all(map(math.isfinite, found.values())) or not found.get("una"):
        return None

    def alike(name: str, times: float = 1.0, margin: float = 1e-4) -> bool:
        return abs(found[name] - times * found["una"]) < margin * abs(times * found["una"])

    several, divided = dig(case.args, "world_size", 1) > 1, alike("doble", 0.5, SAME)
    counts = dig(case.trainer, "model_accepts_loss_kwargs")
    counts = counts or dig(case.trainer, "compute_loss_func") is not None
    counts = dig(case.trainer, "loss_is_scaled_for_ga", counts)  # ¿lo da por dividido Trainer?
    averaged = dig(case.args, "average_tokens_across_devices")
    causes = {
        "sin_desplazar": (alike("sin_desplazar") and not alike("media"), "grave"),
        "todo": (alike("todo") and not alike("media"), "aviso"),
        "dos_veces": (steps > 1 and (alike("media", steps, SAME) or divided > counts), "aviso"),
        "por_lotes": (steps > 1 and divided < counts, "aviso"),
        "entre_procesos": (divided and averaged and alike("procesos"),
                           "aviso" if several else "nota"),
    }  # fmt: skip
    seen = [(cause, level) for cause, (holds, level) in causes.items() if holds]
    return Seen({"acumula": steps} | found, cause=seen[0][0], severity=seen[0][1]) if seen else None


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
    fresh = _option(given, "max_new_tokens")
    asked = 0 if isinstance(call, str) else max(map(len, call[0]))
    room, learnt = (math.inf, False) if case.model is None else positions(case.model)
    if asked + (fresh or 0) > room:
        numbers = {"peticion": asked, "nuevos": fresh or 0, "posiciones": room}
        return Seen(numbers, cause="posiciones", severity="grave" if learnt else "aviso")
    if top is None or fresh is not None:
        return None
    if isinstance(call, str):
        return "los input_ids de la llamada, para saber cuánto ocupa la pregunta"
    width = max(map(len, call[0]))
    severity = "grave" if width >= top else "aviso" if width >= HALF * top else "nota"
    numbers = {"peticion": width, "max_length": top, "quedan": max(0, top - width)}
    return Seen(numbers, severity=severity)


@check("sobreajuste")
def overfitting(case: Case):
    """La pérdida de evaluación sube mientras baja la de entrenamiento, o se dan épocas de más."""
    epochs, log = dig(case.args, "num_train_epochs", 0), case.log or []
    held, train = _series(log, "eval_loss"), _series(log, "loss")
    callbacks = dig(case.trainer, "callback_handler.callbacks", [])
    careful = dig(case.args, "load_best_model_at_end") or "EarlyStopping" in str(callbacks)
    if not held and epochs >= EPOCHS and dig(case.args, "max_steps", 0) <= 0 and not careful:
        return Seen({"epocas": int(epochs)}, cause="epocas", severity="aviso")
    if len(held) < 2:
        return "al menos dos evaluaciones (eval_loss) en el registro" if case.log else LACKS["log"]
    best_step, best = min(held, key=lambda point: point[1])
    last_step, last = held[-1]
    ratio = last / best if best > 0 else 1.0
    severity = grade(ratio, **OVERFIT)
    numbers = {"mejor": best, "paso_mejor": best_step, "ultima": last, "veces": ratio}
    before = [loss for step, loss in train if step <= best_step][-3:]
    after = [loss for step, loss in train if step > best_step][-3:]
    if severity is None:
        return None
    if not before or not after:
        if severity != "grave" or train:
            return "la pérdida de entrenamiento (loss) antes y después de la mejor evaluación"
        return Seen(numbers, cause="sube", severity="aviso", paso_ultimo=last_step)
    if mean(after) >= mean(before):
        return None  # empeora en todas partes: no es sobreajuste
    if dig(case.args, "load_best_model_at_end"):
        severity = "nota"  # se queda con el mejor: solo se perdió tiempo
    words = {"paso_ultimo": last_step, "antes": mean(before), "despues": mean(after)}
    return Seen(numbers, severity=severity, **words)


@check("tasa-alta", severity="grave")
def runaway(case: Case):
    """Un entrenamiento que se desboca, en su registro, o que se desbocaría por sus ajustes."""
    found = _runaway(case, case.log) if case.log else LACKS["log"]
    return found if isinstance(found, Seen) else _declared(case) or found


def _declared(case: Case) -> Seen | None:
    """Una tasa o un ajuste fuera de lo usual."""
    for name, (low, high) in KNOBS.items():
        value = dig(case.args, name)
        if isinstance(value, int | float) and value and not low <= value <= high:
            return Seen({name: value}, cause="ajuste", severity="aviso",
                        nombre=name, valor=value, desde=low, hasta=high)  # fmt: skip
    if case.args is None or case.model is None:
        return None
    rates, kind = _optimizer(case)
    top = HIGH if peft_kinds(case) else HIGH_FULL
    if "adam" not in kind or max(rates) < top or peft_kinds(case) - LORAS:
        return None
    # Un modelo sin nombre se entrena desde cero, quizá, y aguanta más.
    fresh = max(rates) < HIGH and not dig(case.model, "config._name_or_path")
    level = "nota" if fresh else "aviso"
    return Seen({"learning_rate": max(rates)}, cause="pedida", severity=level, tope=top)


def _runaway(case: Case, log: list[dict]) -> Seen | str | None:
    """Saltos de la pérdida, pérdidas que no son un número y gradientes enormes."""
    rows = [row for row in log if isinstance(row.get("loss"), int | float | str)]
    losses = [float(row["loss"]) for row in rows]
    warm = _warmup(case, rows)
    # Con los lotes por longitudes la pérdida va en dientes de sierra: el nivel es el de los picos.
    grouped = dig(case.args, "train_sampling_strategy") == "group_by_length"
    usual = max if grouped else median
    for i, loss in enumerate(losses):
        step = rows[i].get("step", i)
        previous = [value for value in losses[max(0, i - WINDOW) : i] if math.isfinite(value)]
        level = usual(previous) if previous else math.inf
        times = loss / level if len(previous) >= 2 else loss / level / JUMP  # una sola dice menos
        jumps = times >= JUMP and loss >= level + RISE
        zero = loss == 0 and level > RISE
        cause = "infinita" if not math.isfinite(loss) else "cero" if zero else "salto"
        if cause == "salto" and not (step > warm and jumps):
            continue
        words = {"nivel": level, "vecinas": losses[max(0, i - 4) : i + 2]}
        return Seen({"paso": step, "perdida": loss}, say=[cause, "vecinas"], cause=cause, **words)
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
