"""Lo que cuenta el registro del entrenamiento: sobreajuste y saltos; y lo olvidado al acabar."""

import math
from statistics import mean, median

from course_lib.audit.case import Case
from course_lib.audit.findings import Finding, finding
from course_lib.tables import wilson

OVERFIT_GRAVE, OVERFIT_WARNING = 1.10, 1.02  # veces la mejor pérdida de evaluación
JUMP, RISE, WINDOW = 2.0, 0.5, 10  # veces el nivel, nats de más, y cuántas anotaciones lo dan
BIG_GRADIENT, REPEATED = 100.0, 2
LOST_GRAVE, LOST_WARNING = 0.10, 0.03
NOT_ABILITIES = {"dice_si", "conversa", "segundos", "tokens", "quien"}
NO_LOG = "el registro del entrenamiento (trainer.state.log_history)"


def check_overfitting(case: Case) -> Finding | str | None:
    """La pérdida de evaluación sube mientras baja la de entrenamiento."""
    if not case.log:
        return NO_LOG
    held = [(row.get("step", i), row["eval_loss"]) for i, row in enumerate(case.log)
            if _finite(row.get("eval_loss"))]  # fmt: skip
    train = [(row.get("step", i), row["loss"]) for i, row in enumerate(case.log)
             if _finite(row.get("loss"))]  # fmt: skip
    if len(held) < 2:
        return "al menos dos evaluaciones (eval_loss) en el registro"
    best_step, best = min(held, key=lambda point: point[1])
    last_step, last = held[-1]
    ratio = last / best if best > 0 else 1.0
    if ratio < OVERFIT_WARNING:
        return None
    before = [loss for step, loss in train if step <= best_step][-3:]
    after = [loss for step, loss in train if step > best_step][-3:]
    if not before or not after:
        return "la pérdida de entrenamiento (loss) antes y después de la mejor evaluación"
    if mean(after) >= mean(before):
        return None  # empeora en todas partes: no es sobreajuste
    severity = "grave" if ratio >= OVERFIT_GRAVE else "aviso"
    if getattr(case.args, "load_best_model_at_end", False):
        severity = "nota"  # se queda con el mejor: solo se perdió tiempo
    return finding(
        "sobreajuste",
        severity,
        f"La pérdida de evaluación llegó a {_es(best)} en el paso {best_step} y acabó en "
        f"{_es(last)} en el {last_step} ({_es(ratio)} veces), mientras la de entrenamiento bajaba "
        f"de {_es(mean(before))} a {_es(mean(after))}.",
        {"mejor": best, "paso_mejor": best_step, "ultima": last, "veces": ratio},
    )


def check_rate(case: Case) -> Finding | str | None:
    """Saltos de la pérdida, pérdidas que no son un número y gradientes enormes."""
    if not case.log:
        return NO_LOG
    steps = [row for row in case.log if isinstance(row.get("loss"), int | float | str)]
    losses = [(row.get("step", i), float(row["loss"])) for i, row in enumerate(steps)]
    norms = [float(row["grad_norm"]) for row in steps if row.get("grad_norm") is not None]
    if not losses:
        return "la pérdida de entrenamiento (loss) en el registro"
    warm = _warmup(case, steps)
    # Con los lotes por longitudes la pérdida va en dientes de sierra: el nivel es el de los picos.
    grouped = getattr(case.args, "train_sampling_strategy", None) == "group_by_length"
    usual = max if grouped else median
    for i, (step, loss) in enumerate(losses):
        previous = [value for _, value in losses[max(0, i - WINDOW) : i] if math.isfinite(value)]
        level = usual(previous) if previous else math.inf
        if not math.isfinite(loss):
            return _runaway(step, f"deja de ser un número ({loss})", losses, i)
        if loss == 0 and previous and level > RISE:
            return _runaway(step, f"cae a 0 de golpe, desde {_es(level)}", losses, i)
        if step > warm and len(previous) >= 2 and loss >= JUMP * level and loss >= level + RISE:
            return _runaway(step, f"salta a {_es(loss)}, desde {_es(level)}", losses, i)
    big = [norm for norm in norms if norm > BIG_GRADIENT]
    if len(big) < REPEATED:
        return None
    return finding(
        "tasa-alta",
        "aviso",
        f"La norma del gradiente pasa de {BIG_GRADIENT:.0f} en {len(big)} de {len(norms)} "
        f"anotaciones; la mayor, {_es(max(big))}.",
        {"anotaciones": len(norms), "enormes": len(big), "mayor": max(big)},
    )


def check_forgetting(case: Case) -> Finding | str | None:
    """Capacidades que bajan, con intervalos que no se tocan."""
    if not case.before or not case.after:
        return "las mismas capacidades medidas antes y después (before y after)"
    names = [n for n in case.before if n in case.after and n not in NOT_ABILITIES]
    pairs = {name: (_span(case.before[name]), _span(case.after[name])) for name in names}
    pairs = {name: pair for name, pair in pairs.items() if None not in pair}
    if not pairs:
        return "alguna capacidad, en proporción, medida las dos veces"
    lost = {
        name: (old[0], new[0])
        for name, (old, new) in pairs.items()
        if round(old[0] - new[0], 9) >= LOST_WARNING and new[2] < old[1]
    }
    if not lost:
        return None
    worst = max(old - new for old, new in lost.values())
    shown = "; ".join(f"{n}, del {100 * o:.0f} al {100 * a:.0f}%" for n, (o, a) in lost.items())
    return finding(
        "olvido",
        "grave" if round(worst, 9) >= LOST_GRAVE else "aviso",
        f"De {len(pairs)} capacidades han bajado {len(lost)}, sin que sus intervalos del 95% se "
        f"toquen: {shown}.",
        {name: {"antes": old, "despues": new} for name, (old, new) in lost.items()},
    )


def _span(measure) -> tuple[float, float, float] | None:
    """Valor e intervalo de una `Measure`, de (aciertos, n) o de su diccionario."""
    if isinstance(measure, dict):
        value, low, high = (measure.get(key) for key in ("value", "low", "high"))
    elif isinstance(measure, tuple | list) and len(measure) == 2:
        hits, n = measure
        if not n:
            return None
        value, (low, high) = hits / n, wilson(hits, n)
    else:
        value, low, high = (getattr(measure, key, None) for key in ("value", "low", "high"))
    if None in (value, low, high) or not 0 <= value <= 1:
        return None
    return value, low, high


def _runaway(step, what: str, losses, i: int) -> Finding:
    shown = ", ".join(_es(loss) for _, loss in losses[max(0, i - 4) : i + 2])
    return finding(
        "tasa-alta",
        "grave",
        f"En el paso {step} la pérdida {what}. Alrededor: {shown}.",
        {"paso": step, "perdida": losses[i][1]},
    )


def _warmup(case: Case, steps: list[dict]) -> float:
    """Hasta qué paso se calienta: lo dicen los argumentos o la tasa anotada, mientras sube."""
    declared = getattr(case.args, "warmup_steps", 0) or 0
    declared = declared if declared >= 1 else 0  # menos de 1 es una proporción
    rates = [(row.get("step", 0), row["learning_rate"]) for row in steps if "learning_rate" in row]
    rising = [b[0] for a, b in zip(rates, rates[1:]) if b[1] > a[1]]
    first_fall = next((b[0] for a, b in zip(rates, rates[1:]) if b[1] < a[1]), math.inf)
    return max([declared, *(step for step in rising if step < first_fall)])


def _finite(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _es(value: float) -> str:
    return f"{value:.3g}".replace(".", ",")
