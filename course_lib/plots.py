"""Todas las figuras del curso, con un solo estilo y siempre con texto alternativo.

Los colores son los de Okabe e Ito (2008), que distinguen también quienes no ven el rojo o el
verde; y como en gris se confundirían, cada serie lleva además su trazo, su trama o su rótulo.
"""

import html
from collections.abc import Mapping, Sequence

from course_lib.encoding import Encoded, Kind
from course_lib.tables import Measure, number, percent

# De cada clase: nombre, color, el mismo rebajado con blanco (sobre él se lee el negro en el tema
# claro y en el oscuro), trazo de su línea y trama de su área.
_STYLES = {
    Kind.MARKER: ("marcador", "#E69F00", "#F6DDA6", "-.", "//"),
    Kind.USER: ("usuario", "#56B4E9", "#C4E5F7", ":", ".."),
    Kind.REPLY: ("respuesta", "#009E73", "#A6DDCE", "-", ""),
    Kind.END: ("fin", "#CC79A7", "#EDD0E0", (0, (1, 3)), "xx"),
    Kind.PADDING: ("relleno", "#BBBBBB", "#E7E7E7", "--", "\\\\"),
}
NAMES, COLORS, PASTELS, DASHES, HATCHES = (
    {kind: style[i] for kind, style in _STYLES.items()} for i in range(5)
)


def new_axes(title: str, xlabel: str, ylabel: str, size: tuple[float, float] = (7.5, 3.6)):
    """Una figura vacía, con sus ejes, en el estilo del curso; el título dice el hallazgo."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    return figure, axes


def show(figure, alt: str) -> None:
    """Enseña una figura en el cuaderno con su texto alternativo, que un lector de pantalla lee."""
    if not alt.strip():
        raise ValueError("A la figura le falta el texto alternativo: di en una frase qué enseña.")
    from io import BytesIO

    from IPython.display import Image, display

    png = BytesIO()
    # Sin fecha ni versión dentro, la misma figura da los mismos bytes.
    figure.savefig(png, format="png", metadata={"Software": None})
    display(Image(png.getvalue(), metadata={"alt": alt}))


def show_tokens(encoded: Encoded, tokenizer, limit: int | None = None) -> None:
    """Enseña un ejemplo token a token: el color dice qué es cada uno, y la raya, que cuenta; de
    los que pasan de `limit`, solo cuántos son."""
    from IPython.display import HTML, display

    texts = [tokenizer.decode([token]) for token in encoded.input_ids[:limit]]
    cells = list(zip(texts, encoded.kinds, encoded.counted))
    left = len(encoded.input_ids) - len(texts)
    display(HTML(tokens_html(cells, encoded.kinds, encoded.counted, left)))


def tokens_html(
    cells: Sequence[tuple[str, int, bool]],
    kinds: Sequence[int],
    counted: Sequence[bool],
    left: int = 0,
) -> str:
    """Los tokens de un ejemplo, uno tras otro, y debajo la leyenda con cuántos hay de cada clase.

    Lo que cuenta en la pérdida va entre ⟦ y ⟧, que se leen también donde se pierden los estilos,
    como en GitHub, y con una raya debajo, que es un borde: un subrayado no pasa el filtro con que
    JupyterLab limpia las salidas guardadas.

    Args:
        cells: de cada token que se enseña, su texto, su clase y si cuenta.
        kinds, counted: la clase y si cuenta, de todos los del ejemplo.
        left: cuántos no se enseñan.
    """
    shown, inside = "", False
    for text, kind, counts in cells:
        shown += "⟧" * (inside and not counts) + "⟦" * (counts and not inside)
        shown, inside = shown + _token(text, Kind(kind), counts), counts
    shown += "⟧" * inside + f"<span>… y {number(left)} tokens más</span>" * bool(left)
    legend = " ".join(
        f'<span style="background:{PASTELS[kind]};color:#000;padding:1px 6px">'
        f"{NAMES[kind]}: {number(list(kinds).count(kind))}</span>"
        for kind in sorted(set(kinds))
    )
    total = f"{number(sum(counted))} de {number(len(counted))}"
    return (
        f'<div style="line-height:2.1">{shown}</div>'
        f'<div style="margin-top:6px;font-size:90%">{legend} · '
        f"⟦con raya⟧: cuenta en la pérdida ({total})</div>"
    )


def _token(text: str, kind: Kind, counts: bool) -> str:
    title = f"{NAMES[kind]}, {'cuenta' if counts else 'no cuenta'} en la pérdida"
    visible = text.replace(" ", "·").replace("\n", "↵")
    return (
        f'<span title="{title}" style="background:{PASTELS[kind]};color:#000;'
        f"border-bottom:3px solid {'#000' if counts else PASTELS[kind]};"
        "padding:1px 3px 2px;margin:2px 1px;display:inline-block;"
        f'font-family:monospace">{html.escape(visible)}</span>'
    )


def loss_curve(log: Sequence[dict], title: str, record: Sequence[tuple[int, float]] = ()):
    """La pérdida que se minimiza contra el paso, y si se da, la de otro registro al lado.

    Args:
        log: anotaciones de `Trainer` con `step` y `loss` (nats por token contado).
        record: parejas (paso, pérdida) de un registro ajeno, para comparar.
    """
    mine = {"color": "#0072B2", "marker": "o", "ms": 3, "label": "este cuaderno"}
    other = {"color": "#D55E00", "ls": "--", "marker": "s", "ms": 4}
    other["label"] = "registro de la lección original"
    return _loss_lines(title, [(_points(log, "loss"), mine), (record, other)])


def loss_by_kind(log: Sequence[dict], title: str):
    """La pérdida media de cada clase de token contra el paso (nats por token)."""
    lines = []
    for kind in Kind:
        look = {"color": COLORS[kind], "ls": DASHES[kind], "lw": 2, "label": NAMES[kind]}
        lines.append((_points(log, f"loss_{kind.name.lower()}"), look))
    return _loss_lines(title, lines)


def train_and_held_out(log: Sequence[dict], title: str):
    """La pérdida de entrenamiento y la de lo apartado, según las anotaciones de `fine_tune`."""
    train = {"color": "#0072B2", "ls": "--", "label": "entrenamiento"}
    held_out = {"color": "#D55E00", "marker": "o", "label": "apartado"}
    return _loss_lines(
        title, [(_points(log, "loss"), train), (_points(log, "eval_loss"), held_out)]
    )


def _points(log: Sequence[dict], column: str) -> list[tuple[int, float]]:
    return [(row["step"], float(row[column])) for row in log if column in row]


def _loss_lines(title: str, lines: Sequence[tuple[Sequence, dict]]):
    """Pérdidas contra el paso: de cada línea, sus puntos y su aspecto; sin puntos, no se dibuja."""
    figure, axes = new_axes(title, "paso de entrenamiento", "pérdida (nats por token)")
    drawn = [axes.plot(*zip(*points), **look) for points, look in lines if points]
    axes.set_ylim(bottom=0)
    if len(drawn) > 1:
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


# El aspecto de una caja: lo que hay, lo que no cambia, lo que se entrena y un rótulo suelto. En
# gris los distingue el trazo del borde.
_LOOKS = {
    "caja": {"fc": "#C4E5F7", "ec": "black"},
    "fija": {"fc": "#E7E7E7", "ec": "black", "ls": "--"},
    "nueva": {"fc": "#A6DDCE", "ec": "black", "lw": 1.8},
    "rótulo": {"fc": "none", "ec": "none"},
}


def diagram(
    boxes: Sequence[tuple],
    title: str,
    arrows: Sequence[tuple[str, str]] = (),
    size: tuple[float, float] = (5.5, 3.4),
):
    """Un esquema de cajas y flechas, con letra que se lee también a 400 píxeles de ancho.

    Args:
        boxes: de cada una, `(nombre, x, y, ancho, alto, texto, aspecto)`, en pulgadas desde la
            esquina de abajo a la izquierda; los aspectos son los de `_LOOKS`.
        arrows: parejas de nombres: de dónde sale y adónde llega cada flecha.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=size, dpi=110)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(0, size[1]))
    axes.set_axis_off()
    drawn, look = {}, {"ha": "center", "va": "top", "fontsize": 12, "linespacing": 1.2}
    axes.text(0.1, size[1] - 0.08, title, **look | {"ha": "left"}, weight="bold")
    for name, x, y, width, height, text, kind in boxes:
        drawn[name] = axes.add_patch(Rectangle((x, y), width, height, **_LOOKS[kind]))
        middle, top = x + width / 2, y + height / 2 + 0.1 * (1 + len(text.splitlines()))
        axes.text(middle, top, name, **look, weight="bold")
        axes.text(middle, top - 0.21, text, **look)
    for start, end in arrows:
        style = {"arrowstyle": "-|>", "lw": 1.8, "color": "black", "mutation_scale": 18}
        style |= {"patchA": drawn[start], "patchB": drawn[end], "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", *(drawn[at].get_center() for at in (end, start)), arrowprops=style)
    return figure


def flow(rows: Sequence[Mapping], title: str, arrows: Sequence[tuple[str, str]], fixed: str = ""):
    """Un esquema en cuadrícula: por renglón, los nombres de sus cajas y el texto de cada una;
    `fixed` es la que no cambia."""
    height, looks = 1.3 * len(rows) + 0.3, {fixed: "fija"}
    boxes = [
        (name, 0.1 + 2.9 * i, height - 1.3 * j - 1.35, 2.4, 0.9, text, looks.get(name, "caja"))
        for j, row in enumerate(rows)
        for i, (name, text) in enumerate(row.items())
    ]
    return diagram(boxes, title, arrows, (5.5, height))


def ladder(rungs: Sequence[tuple[str, str, str]], title: str):
    """Una escalera: de cada peldaño, de abajo arriba, su nombre, qué cambia y qué cuesta."""
    tell = "cambia: {}\ncuesta: {}".format
    boxes = [
        (name, 0.05 + 0.36 * i, 0.05 + 0.76 * i, 3.6, 0.7, tell(changes, costs), "caja")
        for i, (name, changes, costs) in enumerate(rungs)
    ]
    return diagram(boxes, title, size=(5.5, 0.76 * len(rungs) + 0.25 * (2 + title.count("\n"))))


def scoreboard_bars(rows: Sequence[dict], title: str):
    """Las proporciones de filas de `score_row`, con su intervalo: un grupo de barras por medida."""
    names = {"sabe": "sabe", "chat": "responde\nen chat", "si_no": "sí/no"}
    names |= {"si_no_chat": "sí/no\nen chat", "dice_si": "dice «sí»\nen chat", "lee": "lee"}
    figure, axes = new_axes(title, "", "proporción (%)", size=(8.5, 3.8))
    styles = [("#BBBBBB", "//"), ("#0072B2", ""), ("#D55E00", "xx"), ("#009E73", "..")]
    series = {row["quien"]: [row[name] for name in names] for row in rows}
    _grouped_bars(axes, list(names.values()), series, styles)
    axes.set_ylim(0, 105)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(rows))
    return figure


def _grouped_bars(axes, labels: Sequence[str], series: Mapping[str, Sequence], styles) -> None:
    """Un grupo de barras por rótulo y una por serie, en tanto por ciento; con intervalo, si se dan
    `Measure` y no números. `styles`: el color y la trama de cada serie."""
    width = 0.8 / len(series)
    for k, ((name, shares), (color, hatch)) in enumerate(zip(series.items(), styles)):
        at = [i + k * width for i in range(len(labels))]
        values = [100 * getattr(share, "value", share) for share in shares]
        axes.bar(at, values, width, label=name, color=color, hatch=hatch, edgecolor="white")
        for x, value, share in zip(at, values, shares):
            if isinstance(share, Measure):
                ends = [[max(0, value - 100 * share.low)], [max(0, 100 * share.high - value)]]
                axes.errorbar(x, value, ends, color="black", lw=1, capsize=2)
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(labels))], labels)


def contributions(row: Mapping, shares: Mapping[Kind, float]) -> dict[Kind, float]:
    """Lo que cada clase de token aporta a la pérdida de una anotación: suman la pérdida.

    Args:
        row: una anotación de `fine_tune`; si a sus pasos no les tocó ningún token de una clase, no
            la trae, y su aportación es 0.
        shares: qué parte de los tokens que cuentan es de cada clase; suman 1.

    >>> row = {"loss": 2.0, "loss_reply": 4.0, "loss_padding": 0.0}
    >>> contributions(row, {Kind.REPLY: 0.5, Kind.PADDING: 0.5, Kind.END: 0.0})
    {<Kind.REPLY: 2>: 2.0, <Kind.PADDING: 4>: 0.0}
    """
    losses = {kind: row.get(f"loss_{kind.name.lower()}", 0.0) for kind in shares}
    return {kind: share * losses[kind] for kind, share in shares.items() if share}


def loss_contributions(log: Sequence[dict], shares: Mapping[Kind, float], title: str):
    """Lo que cada clase de token aporta a la pérdida, apilado hasta dar el total.

    Los argumentos son como los de `contributions`; `log`, las anotaciones de `fine_tune`.
    """
    figure, axes = new_axes(title, "paso de entrenamiento", "aportación a la pérdida (nats)")
    rows = [row for row in log if "loss" in row]
    steps, parts = [row["step"] for row in rows], [contributions(row, shares) for row in rows]
    kinds = list(parts[0])
    layers = axes.stackplot(
        steps,
        [[part[kind] for part in parts] for kind in kinds],
        labels=[f"{NAMES[kind]} ({percent(shares[kind])} de los tokens)" for kind in kinds],
        colors=[COLORS[kind] for kind in kinds],
    )
    for layer, kind in zip(layers, kinds, strict=True):
        layer.set(hatch=HATCHES[kind], edgecolor="white", linewidth=0)
    axes.plot(*zip(*_points(rows, "loss")), "k.", label="la pérdida del registro")
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
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
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
    """La probabilidad de cada primer token (`words`, tal como se decodifican), por modelo."""
    figure, axes = new_axes(title, "primer token de la respuesta", "probabilidad media (%)")
    styles = [("#BBBBBB", "//"), ("#D55E00", ""), ("#009E73", "..")]
    shares = {name: [chance.get(w, 0.0) for w in words] for name, chance in series.items()}
    _grouped_bars(axes, [w.replace(" ", "·").replace("\n", "↵") for w in words], shares, styles)
    axes.legend(frameon=False)
    return figure
