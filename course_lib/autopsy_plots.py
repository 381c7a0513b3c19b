"""Las figuras de la autopsia: de qué está hecha la pérdida, la ablación y el primer token."""

from collections.abc import Mapping, Sequence

from course_lib.autopsy_measures import contributions
from course_lib.encoding import Kind
from course_lib.plots import COLORS, NAMES, new_axes

HATCHES = {Kind.MARKER: "//", Kind.USER: "..", Kind.REPLY: "", Kind.END: "xx", Kind.PADDING: "\\\\"}


def loss_contributions(log: Sequence[dict], shares: Mapping[Kind, float], title: str):
    """Lo que cada clase de token aporta a la pérdida, apilado hasta dar el total.

    Args:
        log: anotaciones de `fine_tune`.
        shares: qué parte de los tokens que cuentan es de cada clase; suman 1.
    """
    figure, axes = new_axes(title, "paso de entrenamiento", "aportación a la pérdida (nats)")
    rows = [row for row in log if "loss" in row]
    steps = [row["step"] for row in rows]
    parts = [contributions(row, shares) for row in rows]
    kinds = list(parts[0])
    layers = axes.stackplot(
        steps,
        [[part[kind] for part in parts] for kind in kinds],
        labels=[f"{NAMES[kind]} ({100 * shares[kind]:.0f}% de los tokens)" for kind in kinds],
        colors=[COLORS[kind] for kind in kinds],
    )
    for layer, kind in zip(layers, kinds, strict=True):
        layer.set(hatch=HATCHES[kind], edgecolor="white", linewidth=0)
    axes.plot(steps, [float(row["loss"]) for row in rows], "k.", label="la pérdida del registro")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def dots(groups: Mapping[str, Sequence[tuple]], title: str, xlabel: str):
    """Puntos con su intervalo, un renglón por condición y una columna de ejes por medida.

    Args:
        groups: por cada medida, ternas (condición, resumen con `value`, `low`, `high` y `seeds`,
            color); en todas, las mismas condiciones y en el mismo orden.
    """
    from matplotlib.figure import Figure

    count = len(next(iter(groups.values())))
    figure = Figure(figsize=(10, 0.6 + 0.3 * count), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(groups), sharey=True)
    for axes, (name, rows) in zip(panels, groups.items(), strict=True):
        for y, (_, summary, color) in enumerate(rows):
            ends = [100 * summary.low, 100 * summary.high]
            axes.plot(ends, [y, y], color=color, lw=2, alpha=0.6)
            axes.plot([100 * s for s in summary.seeds], [y] * len(summary.seeds), "|", color=color)
            axes.plot(100 * summary.value, y, "o", color=color, ms=5)
        axes.set_title(name, fontsize=9)
        axes.set_xlim(-4, 104)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    panels[0].set_yticks(range(count), [row[0] for row in next(iter(groups.values()))])
    panels[0].invert_yaxis()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.supxlabel(xlabel, fontsize=9)
    return figure


def first_word_bars(words: Sequence[str], series: Mapping[str, Mapping[str, float]], title: str):
    """La probabilidad de cada primer token de la respuesta, con una barra por serie.

    Args:
        words: los tokens que se enseñan, tal como los decodifica el tokenizador.
        series: por el nombre de cada modelo, la probabilidad de cada token.
    """
    figure, axes = new_axes(title, "primer token de la respuesta", "probabilidad media (%)")
    width = 0.8 / len(series)
    styles = [("#BBBBBB", "//"), ("#D55E00", ""), ("#009E73", "..")]
    for k, ((name, chance), (color, hatch)) in enumerate(zip(series.items(), styles, strict=False)):
        axes.bar(
            [i + k * width for i in range(len(words))],
            [100 * chance.get(word, 0.0) for word in words],
            width,
            label=name,
            color=color,
            hatch=hatch,
            edgecolor="white",
        )
    shown = [word.replace(" ", "·").replace("\n", "↵") for word in words]
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(words))], shown)
    axes.legend(frameon=False)
    return figure
