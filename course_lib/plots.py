"""Todas las figuras del curso, con un solo estilo y siempre con texto alternativo.

Los colores son los de Okabe e Ito (2008), que distinguen también quienes no ven el rojo o el
verde; y como en gris se confundirían, cada serie lleva además su trazo, su trama o su rótulo.
"""

import html
from collections.abc import Sequence

from course_lib.encoding import Encoded, Kind
from course_lib.tracks import Track

COLORS = {
    Kind.MARKER: "#E69F00",
    Kind.USER: "#56B4E9",
    Kind.REPLY: "#009E73",
    Kind.END: "#CC79A7",
    Kind.PADDING: "#BBBBBB",
}
# Los mismos, rebajados con blanco: sobre ellos se lee el negro en el tema claro y en el oscuro.
PASTELS = {
    Kind.MARKER: "#F6DDA6",
    Kind.USER: "#C4E5F7",
    Kind.REPLY: "#A6DDCE",
    Kind.END: "#EDD0E0",
    Kind.PADDING: "#E7E7E7",
}
NAMES = {
    Kind.MARKER: "marcador",
    Kind.USER: "usuario",
    Kind.REPLY: "respuesta",
    Kind.END: "fin",
    Kind.PADDING: "relleno",
}
DASHES = {
    Kind.MARKER: "-.",
    Kind.USER: ":",
    Kind.REPLY: "-",
    Kind.END: (0, (1, 3)),
    Kind.PADDING: "--",
}


def new_axes(title: str, xlabel: str, ylabel: str, size: tuple[float, float] = (7.5, 3.6)):
    """Una figura vacía con el estilo del curso; el título dice el hallazgo.

    Returns:
        `(figura, ejes)` de matplotlib. Se enseña con `show`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    return figure, axes


def finding(track: Track, text: str) -> str:
    """El hallazgo de una figura hecha en vivo: lo que se vio en `mini`, y en otra ruta, por ver.

    >>> from course_lib.tracks import get_track
    >>> finding(get_track("mini"), "La pérdida cae.")
    'La pérdida cae.'
    """
    return text if track.name == "mini" else f"¿Como en «mini»? {text}"


def show(figure, alt: str) -> None:
    """Enseña una figura en el cuaderno con su texto alternativo, que un lector de pantalla lee.

    Raises:
        ValueError: si falta el texto alternativo.
    """
    if not alt.strip():
        raise ValueError("A la figura le falta el texto alternativo: di en una frase qué enseña.")
    from io import BytesIO

    from IPython.display import Image, display

    png = BytesIO()
    # Sin fecha ni versión dentro, la misma figura da los mismos bytes.
    figure.savefig(png, format="png", metadata={"Software": None})
    display(Image(png.getvalue(), metadata={"alt": alt}))


def show_tokens(encoded: Encoded, tokenizer, limit: int | None = None) -> None:
    """Enseña un ejemplo token a token: el color dice qué es, y el subrayado, que cuenta.

    Args:
        encoded: el ejemplo codificado.
        tokenizer: para volver a texto cada id.
        limit: cuántos tokens enseñar como mucho; de los demás se dice cuántos son.
    """
    from IPython.display import HTML, display

    shown = len(encoded.input_ids) if limit is None else min(limit, len(encoded.input_ids))
    cells = [
        token_html(tokenizer.decode([token]), Kind(kind), counts)
        for token, kind, counts in zip(
            encoded.input_ids[:shown], encoded.kinds, encoded.counted, strict=False
        )
    ]
    if shown < len(encoded.input_ids):
        cells.append(f"<span>… y {len(encoded.input_ids) - shown} tokens más</span>")
    display(HTML(tokens_html(cells, encoded.kinds, encoded.counted)))


def token_html(text: str, kind: Kind, counts: bool) -> str:
    """Un token coloreado por su clase y, si cuenta en la pérdida, subrayado."""
    line = "underline 3px" if counts else "none"
    title = f"{NAMES[kind]}, {'cuenta' if counts else 'no cuenta'} en la pérdida"
    visible = text.replace(" ", "·").replace("\n", "↵")
    return (
        f'<span title="{title}" style="background:{PASTELS[kind]};color:#000;'
        f"text-decoration:{line};text-underline-offset:5px;"
        "padding:1px 3px 5px;margin:2px 1px;display:inline-block;"
        f'font-family:monospace">{html.escape(visible)}</span>'
    )


def tokens_html(cells: Sequence[str], kinds: Sequence[int], counted: Sequence[bool]) -> str:
    """Los tokens de un ejemplo, uno tras otro, y debajo la leyenda con cuántos hay de cada clase.

    Args:
        cells: lo que se enseña, de `token_html`.
        kinds: la clase de todos los tokens del ejemplo, también de los que no se enseñan.
        counted: si cuenta cada uno.
    """
    legend = " ".join(
        f'<span style="background:{PASTELS[kind]};color:#000;padding:1px 6px">'
        f"{NAMES[kind]}: {list(kinds).count(kind)}</span>"
        for kind in Kind
        if kind in kinds
    )
    total = f"subrayado: cuenta en la pérdida ({sum(counted)} de {len(counted)})"
    return (
        f'<div style="line-height:2.1">{"".join(cells)}</div>'
        f'<div style="margin-top:6px;font-size:90%">{legend} · {total}</div>'
    )


def loss_curve(log: Sequence[dict], title: str, record: Sequence[tuple[int, float]] = ()):
    """La pérdida que se minimiza contra el paso, y si se da, la de otro registro al lado.

    Args:
        log: anotaciones de `Trainer` con `step` y `loss` (nats por token contado).
        record: parejas (paso, pérdida) de un registro ajeno, para comparar.
    """
    figure, axes = new_axes(title, "paso de entrenamiento", "pérdida (nats por token)")
    points = [(row["step"], float(row["loss"])) for row in log if "loss" in row]
    axes.plot(*zip(*points, strict=True), color="#0072B2", marker="o", ms=3, label="este cuaderno")
    if record:
        axes.plot(
            *zip(*record, strict=True),
            color="#D55E00",
            ls="--",
            marker="s",
            ms=4,
            label="registro de la lección original",
        )
        axes.legend(frameon=False)
    axes.set_ylim(bottom=0)
    return figure


def loss_by_kind(log: Sequence[dict], title: str):
    """La pérdida media de cada clase de token contra el paso (nats por token)."""
    figure, axes = new_axes(title, "paso de entrenamiento", "pérdida (nats por token)")
    for kind in Kind:
        name = f"loss_{kind.name.lower()}"
        points = [(row["step"], row[name]) for row in log if name in row]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=COLORS[kind],
                ls=DASHES[kind],
                lw=2,
                label=NAMES[kind],
            )
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def train_and_held_out(log: Sequence[dict], title: str):
    """La pérdida de entrenamiento y la de lo apartado, según los pasos.

    Args:
        log: anotaciones de `fine_tune`, con `loss` unas y `eval_loss` otras.
    """
    figure, axes = new_axes(title, "paso de entrenamiento", "pérdida (nats por token)")
    for name, label, style in (
        ("loss", "entrenamiento", {"color": "#0072B2", "ls": "--"}),
        ("eval_loss", "apartado", {"color": "#D55E00", "marker": "o"}),
    ):
        rows = [row for row in log if name in row]
        axes.plot([r["step"] for r in rows], [float(r[name]) for r in rows], label=label, **style)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def histogram(values: Sequence[float], title: str, xlabel: str, ylabel: str, limit=None):
    """Cuántas veces sale cada valor; `limit` marca una cota con una línea de puntos."""
    figure, axes = new_axes(title, xlabel, ylabel)
    low, high = int(min(values)), int(max(values))
    step = max(1, (high - low) // 40)  # bordes enteros, para que no queden huecos entre barras
    axes.hist(values, bins=range(low, high + 2 * step, step), color="#56B4E9", edgecolor="white")
    if limit is not None:
        axes.axvline(limit, color="black", ls=":")
        axes.annotate(f"{limit}", (limit, axes.get_ylim()[1] * 0.9), ha="right")
    return figure


def ladder(rungs: Sequence[tuple[str, str, str]], title: str):
    """Una escalera: de cada peldaño, su nombre encima y dentro qué cambia y qué cuesta.

    Args:
        rungs: ternas (nombre, qué cambia, qué cuesta) de abajo arriba, en pocas palabras.
    """
    figure, axes = new_axes(title, "", "", size=(9.5, 4.6))
    steps = range(1, len(rungs) + 1)
    axes.bar(steps, [1 + step for step in steps], width=0.96, color="#56B4E9", alpha=0.35)
    for step, (name, changes, costs) in zip(steps, rungs, strict=True):
        axes.text(step, step + 1.1, name, ha="center", va="bottom", weight="bold", fontsize=9)
        inside = f"cambia\n{changes}\n\ncuesta\n{costs}"
        axes.text(step, step + 0.85, inside, ha="center", va="top", fontsize=8)
    axes.set_ylim(0, len(rungs) + 2)
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=11)
    return figure


def scoreboard_bars(rows: Sequence[dict], title: str):
    """Las proporciones del marcador con su intervalo del 95%: un grupo de barras por medida.

    Args:
        rows: filas de `evaluation.score_row`.
    """
    names = {
        "sabe": "sabe",
        "chat": "responde\nen chat",
        "si_no": "sí/no",
        "si_no_chat": "sí/no\nen chat",
        "dice_si": "dice «sí»\nen chat",
        "lee": "lee",
    }
    figure, axes = new_axes(title, "", "proporción (%)", size=(8.5, 3.8))
    width = 0.8 / len(rows)
    styles = [("#BBBBBB", "//"), ("#0072B2", ""), ("#D55E00", "xx"), ("#009E73", "..")]
    for k, row in enumerate(rows):
        measures = [row[name] for name in names]
        values = [100 * m["value"] for m in measures]
        spans = [
            [max(0, v - 100 * m["low"]) for v, m in zip(values, measures, strict=True)],
            [max(0, 100 * m["high"] - v) for v, m in zip(values, measures, strict=True)],
        ]
        color, hatch = styles[k % len(styles)]
        axes.bar(
            [i + k * width for i in range(len(names))],
            values,
            width,
            yerr=spans,
            label=row["quien"],
            color=color,
            hatch=hatch,
            edgecolor="white",
            error_kw={"lw": 1, "capsize": 2},
        )
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(names))], list(names.values()))
    axes.set_ylim(0, 105)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(rows))
    return figure
