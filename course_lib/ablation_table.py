"""Leer la ablación guardada: cada medida con un intervalo que abarca semillas y preguntas."""

from collections.abc import Sequence
from dataclasses import dataclass

from course_lib.ablation import condition
from course_lib.autopsy_measures import build_exam
from course_lib.evaluation import always_yes, score_row, wilson

MEASURES = {
    "sabe": "Sabe",
    "chat": "Responde en chat",
    "historia": "Responde con historia",
    "si_no": "Sí/no",
    "si_no_chat": "Sí/no en chat",
    "dice_si": "Dice «sí» en chat",
    "lee": "Lee",
    "para": "Se calla a tiempo",
    "conversa": "Conversa (nats por token de respuesta)",
    "parejas": "Pérdida en parejas apartadas",
    "dialogos": "Pérdida en diálogos apartados",
}
LOSSES = ("conversa", "parejas", "dialogos")


@dataclass(frozen=True)
class Summary:
    """Una medida de una condición: media de sus semillas, intervalo, y el valor de cada una."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]


def summarize(store: dict, name: str, measure: str) -> Summary | None:
    """Una medida de una condición: la media de sus semillas, con un intervalo que las abarca.

    Las semillas contestan a las mismas preguntas: repetir el ajuste no trae preguntas nuevas, así
    que el intervalo de la media es el de Wilson con las n preguntas de una corrida (no con tres
    veces n), y se ensancha hasta abarcar la corrida mejor y la peor. Es ancho a propósito: con
    tres semillas no se puede afinar más. En la pérdida, en lugar del de Wilson, la mitad media
    de los intervalos por diálogos.

    Returns:
        `None` si ninguna corrida tiene esa medida.
    """
    wanted = condition(name)
    runs = sorted(
        (run for run in store["corridas"] if run["condicion"] == (wanted.reuses or name)),
        key=lambda run: run["semilla"],
    )
    views = [run["vistas"]["habitual"] | run["vistas"].get(wanted.view, {}) for run in runs]
    found = [view[measure] for view in views if measure in view]
    if not found:
        return None
    values = tuple(m["value"] for m in found)
    mean = sum(values) / len(values)
    if measure in LOSSES:
        half = sum(m["high"] - m["low"] for m in found) / len(found) / 2
        low, high = mean - half, mean + half
    else:
        n = found[0]["n"]
        low, high = wilson(mean * n, n)
    return Summary(mean, min(low, *values), max(high, *values), values)


def format_ablation(store: dict, names: Sequence[str], measures: Sequence[str]) -> str:
    """Las condiciones como tabla de Markdown, con el tonto y el modelo de partida delante."""
    exam = build_exam(store["presupuesto"]["preguntas"])
    header = " | ".join(MEASURES[m] for m in measures)
    lines = [f"| Qué se arregla | {header} |", "|---" * (len(measures) + 1) + "|"]
    dummy = score_row("", always_yes, always_yes, exam)
    rows = {"(siempre «Sí.»)": dummy, "(el modelo de partida)": store["base"]} | {
        condition(name).mends: {m: summarize(store, name, m) for m in measures} for name in names
    }
    for title, row in rows.items():
        cells = [_cell(m, row.get(m)) for m in measures]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(name: str, measure: Summary | dict | None) -> str:
    if measure is None:
        return "—"
    m = measure if isinstance(measure, dict) else vars(measure)
    if name in LOSSES:
        return f"{m['value']:.2f} [{m['low']:.2f}, {m['high']:.2f}]".replace(".", ",")
    return f"{100 * m['value']:.0f}% [{100 * m['low']:.0f}, {100 * m['high']:.0f}]"
