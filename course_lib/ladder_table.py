"""La escalera medida, en tabla y en figura: lo que `curso escalera` guardó."""

from collections.abc import Iterable, Mapping, Sequence

from course_lib.plots import new_axes

EXAMS = {"hechos": "Hechos", "si_no": "Sí/no", "documentos": "Documentos nuevos"}
KEPT = {"sabe": "Sabe", "si_no_forma": "Sí/no", "lee": "Lee"}


def spread(rows: Sequence[Mapping], column: str) -> tuple[float, float, float]:
    """El valor medio de una medida y su margen.

    Con una sola medida, el margen es su intervalo del 95%; con varias semillas, el que va del
    límite más bajo al más alto de los intervalos de todas: incluye el azar de las preguntas y el
    del ajuste.
    """
    cells = [row[column] for row in rows]
    mean = sum(cell["value"] for cell in cells) / len(cells)
    return mean, min(cell["low"] for cell in cells), max(cell["high"] for cell in cells)


def ladder_rows(result: Mapping) -> dict[str, list[dict]]:
    """Todos los peldaños de un resultado guardado: sus medidas, una por semilla."""
    return {name: [row] for name, row in result["peldaños"].items()} | dict(result["ajustes"])


def format_ladder(result: Mapping, names: Sequence[str] | None = None) -> str:
    """La escalera como tabla de Markdown.

    Args:
        result: lo guardado por `curso escalera`.
        names: qué peldaños y en qué orden; por omisión, todos.
    """
    rows = ladder_rows(result)
    titles = [*EXAMS.values(), "Tokens por respuesta", "Segundos de ajuste"]
    lines = ["| Peldaño | " + " | ".join(titles) + " |", "|---" + "|---:" * len(titles) + "|"]
    for name in names or rows:
        cells = [percent(*spread(rows[name], exam)) for exam in EXAMS]
        tokens, seconds = (_mean(rows[name], column) for column in ("tokens", "segundos"))
        lines.append(f"| {name} | {' | '.join(cells)} | {tokens} | {seconds} |")
    return "\n".join(lines)


def format_kept(result: Mapping, names: Sequence[str]) -> str:
    """Lo que cada ajuste conserva de lo que el modelo sabía, y lo que cuesta, en Markdown."""
    titles = [*KEPT.values(), "Pesos entrenados", "MB en disco"]
    lines = ["| Modelo | " + " | ".join(titles) + " |", "|---" + "|---:" * len(titles) + "|"]
    base = [percent(*spread([result["base"]], column)) for column in KEPT]
    lines.append(f"| Antes de ajustar | {' | '.join(base)} | — | — |")
    for name in names:
        rows = result["ajustes"][name]
        cells = [percent(*spread(rows, column)) for column in KEPT]
        weights, size = f"{rows[0]['pesos']:_}".replace("_", "."), f"{rows[0]['megas']:.1f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {weights} | {size.replace('.', ',')} |")
    return "\n".join(lines)


def ladder_figure(result: Mapping, names: Iterable[str], title: str):
    """Los aciertos de cada peldaño en cada examen, con su margen: un renglón por peldaño.

    Args:
        result: lo guardado por `curso escalera`.
        names: qué peldaños, de arriba abajo.
    """
    rows, names = ladder_rows(result), list(names)
    figure, axes = new_axes("", "aciertos (%)", "", size=(8.5, 1.3 + 0.42 * len(names)))
    # Alineado con la figura y no con los ejes: los nombres de los peldaños son largos.
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    styles = zip(EXAMS.items(), ("#0072B2", "#E69F00", "#009E73"), "osD", (-0.2, 0.0, 0.2))
    for (exam, label), color, marker, shift in styles:
        for y, name in enumerate(names):
            value, low, high = (100 * x for x in spread(rows[name], exam))
            axes.plot([low, high], [y + shift] * 2, color=color, lw=2, alpha=0.5)
            axes.plot(value, y + shift, marker, color=color, ms=6, label=label if y == 0 else None)
    axes.set_yticks(range(len(names)), [name.replace("*", "") for name in names])
    axes.invert_yaxis()
    axes.set_xlim(-3, 103)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=3)
    return figure


def percent(value: float, low: float, high: float) -> str:
    """Una proporción con su margen, en puntos.

    >>> percent(0.955, 0.93, 0.97)
    '96% [93, 97]'
    """
    return f"{100 * value:.0f}% [{100 * low:.0f}, {100 * high:.0f}]"


def _mean(rows: Sequence[Mapping], column: str) -> str:
    values = [row.get(column) for row in rows]
    return "—" if None in values else f"{sum(values) / len(values):.0f}"
