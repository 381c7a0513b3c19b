"""Lo que cuenta el registro del entrenamiento: sobreajuste y saltos; y lo olvidado al acabar."""

import math
from functools import partial
from statistics import mean, median

from course_lib.audit.case import Case
from course_lib.audit.engine import Seen, check, grade
from course_lib.audit.rows import dig
from course_lib.tables import wilson

OVERFIT = {"grave": 1.10, "aviso": 1.02}  # veces la mejor pérdida de evaluación
JUMP, RISE, WINDOW = 2.0, 0.5, 10  # veces el nivel, nats de más, y cuántas anotaciones lo dan
BIG_GRADIENT, REPEATED = 100.0, 2
LOST = {"grave": 0.10, "aviso": 0.03}  # de los aciertos
NOT_ABILITIES = {"dice_si", "conversa", "segundos", "tokens", "quien"}


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
        if not math.isfinite(loss):
            what = "infinita"
        elif loss == 0 and previous and level > RISE:
            what = "cero"
        elif step > warm and jumps:
            what = "salto"
        else:
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
    shown = [f"{name}, del {100 * v['antes']:.0f} al {100 * v['despues']:.0f}%"
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
    rising = [b[0] for a, b in zip(rates, rates[1:]) if b[1] > a[1]]
    first_fall = next((b[0] for a, b in zip(rates, rates[1:]) if b[1] < a[1]), math.inf)
    return max([declared, *(step for step in rising if step < first_fall)])


def _interval(measure) -> tuple[float, float, float] | None:
    """Valor e intervalo de una `Measure`, de (aciertos, n) o de su diccionario."""
    if isinstance(measure, tuple | list) and len(measure) == 2:
        hits, n = measure
        return (hits / n, *wilson(hits, n)) if n else None
    get = measure.get if isinstance(measure, dict) else partial(dig, measure)
    value, low, high = map(get, ("value", "low", "high"))
    inside = None not in (value, low, high) and 0 <= value <= 1
    return (value, low, high) if inside else None
