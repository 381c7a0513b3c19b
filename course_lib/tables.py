"""Números en español, medidas con su intervalo y tablas: todo número de una lección pasa por aquí.

También abre lo que guardaron los experimentos que no caben en una clase (`stored`).
"""

import json
import math
from collections import Counter, namedtuple
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from course_lib import data_path


def number(value: float, decimals: int = 0, unit: str = "") -> str:
    """Un número como se escribe en español: coma decimal y punto en los miles.

    Args:
        decimals: cuántos decimales, también si son ceros.
        unit: lo que va pegado detrás, como «%».

    >>> number(2222208), number(5.7854, 3), number(1234.5, 2)
    ('2.222.208', '5,785', '1.234,50')
    """
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "no es un número")
    text = f"{value:,.{decimals}f}".translate(str.maketrans(",.", ".,"))
    return text.replace("-", "−") + unit


def percent(share: float, decimals: int = 0) -> str:
    """Una proporción, de 0 a 1, en tanto por ciento.

    >>> percent(0.7156), percent(0.7156, 1)
    ('72%', '71,6%')
    """
    return number(100 * share, decimals, "%")


@dataclass(frozen=True)
class Measure:
    """Una medida con su n y su intervalo del 95%.

    Las proporciones van de 0 a 1 y las pérdidas, en nats por token. `n` cuenta preguntas o tokens;
    `seeds` son los valores de cada semilla, si la medida resume varias.
    """

    value: float
    n: int
    low: float
    high: float
    seeds: tuple[float, ...] = ()

    def __str__(self) -> str:
        """La proporción con su intervalo: «96% [93, 97]»."""
        return f"{percent(self.value)} [{number(100 * self.low)}, {number(100 * self.high)}]"

    @property
    def nats(self) -> str:
        """La pérdida con su intervalo: «2,31 [2,27, 2,35]»."""
        return f"{number(self.value, 2)} [{number(self.low, 2)}, {number(self.high, 2)}]"

    @property
    def points(self) -> str:
        """Una diferencia de proporciones, en puntos: «+12 [8, 15]»."""
        value, low, high = (number(100 * x) for x in (self.value, self.low, self.high))
        return f"{'+' if self.value > 0 else ''}{value} [{low}, {high}]"


def wilson(hits: float, n: int) -> tuple[float, float]:
    """Intervalo del 95% para una proporción de `hits` aciertos en `n` intentos (Wilson, 1927).

    >>> tuple(round(x, 3) for x in wilson(50, 100))
    (0.404, 0.596)
    """
    if n == 0:
        raise ValueError("No hay intervalo sin intentos: n debe ser al menos 1.")
    z = 1.959964
    center = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return max(0.0, center - half), min(1.0, center + half)


def proportion(outcomes: Sequence[bool]) -> Measure:
    """La proporción de verdaderos, con el intervalo de Wilson."""
    hits, n = sum(outcomes), len(outcomes)
    low, high = wilson(hits, n)
    return Measure(hits / n, n, low, high)


# Lo que una corrida da de una medida: de cada conglomerado (un país, una escena, un documento), su
# nombre, lo que suma y de cuánto. «De Perú sabe 3 de 4»: «Perú», 3 y 4; una pérdida: nats y tokens.
Tally = namedtuple("Tally", "ids sums counts")


def tally(outcomes: Sequence[float], groups: Sequence[object]) -> Tally:
    """Lo acertado, reunido por grupos: el país de cada pregunta, la escena de cada turno."""
    sums, counts = Counter(), Counter(groups)
    for outcome, group in zip(outcomes, groups, strict=True):
        sums[group] += outcome
    return Tally(list(map(str, counts)), [sums[g] for g in counts], list(counts.values()))


def contrast(
    groups: Mapping[str, Sequence[Tally]], weights: Mapping[str, float], draws: int = 2000
) -> Measure:
    """La media de una condición, o una suma con pesos de varias, con un intervalo del 95% que
    cuenta el azar de las preguntas y el de las semillas.

    Remuestrea a la vez los conglomerados y, entre las que hicieron el mismo examen, las semillas
    (*bootstrap* de dos factores; Owen, 2007, arXiv:0712.1111). De `s` semillas sortea `s` − 1: con
    tan pocas, sortear `s` acorta el intervalo (Rao y Wu, 1988); de una sola no cuenta su azar. Los
    países sorteados son los mismos en todas las condiciones: una resta es una comparación apareada.
    Donde nada varía, porque todo se acierta o todo se falla, cada lado aporta el intervalo de
    Wilson de tantos intentos como conglomerados (Newcombe, 1998).

    Args:
        groups: las corridas de cada condición.
        weights: cuánto cuenta cada condición: `{"a": 1}` es su media, y `{"b": 1, "a": -1}`, lo que
            va de `a` a `b`.
    """
    import numpy as np

    ids = sorted({name for runs in groups.values() for run in runs for name in run.ids})
    at = {name: i for i, name in enumerate(ids)}
    drawn = np.random.default_rng(0).multinomial(len(ids), np.full(len(ids), 1 / len(ids)), draws)
    value, replicas, seeds, margins = 0.0, np.zeros(draws), [], [0.0, 0.0]
    rng = np.random.default_rng(1)
    for name, weight in weights.items():
        total, sampled, asked = np.zeros(2), np.zeros((2, draws)), {}
        for exam in sorted({tuple(run.ids) for run in groups[name]}):
            runs = [run for run in groups[name] if tuple(run.ids) == exam]
            tallies = np.array([[r.sums for r in runs], [r.counts for r in runs]], float)
            chosen = rng.integers(len(runs), size=(max(1, len(runs) - 1), draws))
            columns = drawn[:, [at[cluster] for cluster in exam]].T
            each = np.take_along_axis(tallies @ columns, chosen[None], 1)
            sampled += len(runs) * each.mean(1)
            total += tallies.sum((1, 2))
            asked |= dict(zip(exam, tallies[1, 0].tolist()))
            seeds += (tallies[0].sum(1) / tallies[1].sum(1)).tolist()
        mean, n = float(total[0] / total[1]), round(sum(asked.values()))
        value += weight * mean
        replicas += weight * sampled[0] / np.maximum(sampled[1], 1)
        ends = wilson(mean * len(asked), len(asked)) if 0 <= mean <= 1 else (mean, mean)
        for side, end in enumerate(ends if weight > 0 else ends[::-1]):
            margins[side] += (weight * (end - mean)) ** 2
    low, high = np.quantile(replicas, [0.025, 0.975]).tolist()
    if low == high and all(
        run.sums in ([0] * len(run.ids), run.counts) for g in weights for run in groups[g]
    ):
        low, high = value - math.sqrt(margins[0]), value + math.sqrt(margins[1])
    return Measure(value, n, low, high, tuple(seeds) if len(weights) == 1 else ())


def tallies(store: Mapping, measure: str) -> dict[str, list[Tally]]:
    """Las corridas guardadas de cada condición que tienen una medida."""
    found: dict[str, list[Tally]] = {}
    for run in store["corridas"]:
        if measure in run["medidas"]:
            group, *counted = run["medidas"][measure]
            found.setdefault(run["condicion"], []).append(Tally(store["grupos"][group], *counted))
    return found


def summarize(store: Mapping, name: str, measure: str) -> Measure | None:
    """Una medida de una condición, o `None` si no la tiene; el intervalo, el de `contrast`."""
    groups = tallies(store, measure)
    return contrast(groups, {name: 1}) if name in groups else None


def change(store: Mapping, before: str, after: str, measure: str) -> Measure:
    """Cuánto cambia una medida de una condición a otra, a las mismas preguntas."""
    return contrast(tallies(store, measure), {after: 1, before: -1})


def mean(values: Iterable[float]) -> float:
    """La media de unos números."""
    values = list(values)
    return sum(values) / len(values)


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Una tabla de Markdown: la primera columna a la izquierda y las demás, de números, a la
    derecha. `None` se enseña como una raya.

    >>> print(markdown(["Modelo", "Sabe"], [["base", None]]))
    | Modelo | Sabe |
    |---|---:|
    | base | — |
    """
    lines = [header, *([("—" if cell is None else cell) for cell in row] for row in rows)]
    text = [f"| {' | '.join(map(str, line))} |" for line in lines]
    text.insert(1, "|---" + "|---:" * (len(header) - 1) + "|")
    return "\n".join(text)


COLUMNS = {
    "sabe": "Sabe",
    "chat": "Responde en chat",
    "si_no": "Sí/no",
    "si_no_chat": "Sí/no en chat",
    "dice_si": "Dice «sí» en chat",
    "lee": "Lee",
    "habla": "Habla",
    "conversa": "Conversa (nats por token de respuesta)",
    "segundos": "Segundos de ajuste",
    "tokens": "Tokens por respuesta",
}
LOSSES = ("conversa", "parejas", "dialogos")  # las que van en nats


def cell(column: str, value: Measure | float | None) -> str | None:
    """Lo que se escribe en una casilla según su columna; `None` si no hay nada que escribir."""
    if not isinstance(value, Measure):
        return value if value is None else number(value, 2 if column in LOSSES else 0)
    return value.nats if column in LOSSES else str(value)


def format_scoreboard(rows: Sequence[dict]) -> str:
    """La tabla de resultados en Markdown, de filas de `score_row`: cada medida con su intervalo, y
    debajo las n."""
    # Un nombre lo escribe cualquiera: ni una raya ni un salto de línea parten la tabla.
    names = [" ".join(str(row["quien"]).split()).replace("|", r"\|") for row in rows]
    table = [
        [who, *(cell(name, row.get(name)) for name in COLUMNS)] for who, row in zip(names, rows)
    ]
    sizes = []
    for name, title in COLUMNS.items():
        counts = sorted({row[name].n for row in rows if isinstance(row.get(name), Measure)})
        if counts:
            sizes.append((title, " o ".join(map(number, counts))))
    said = [
        f"{', '.join(title for title, _ in same)}: n = {size}"
        for size, same in groupby(sizes, key=lambda pair: pair[1])
    ]
    below = f"Entre corchetes, el intervalo del 95%. {'; '.join(said)}."
    return f"{markdown(['Modelo', *COLUMNS.values()], table)}\n\n{below}"


def to_json(value: object) -> str:
    """Lo medido, en JSON: cada `Measure`, como diccionario de sus campos, sin `seeds` si no hay."""

    def fields(measure: Measure) -> dict:
        return {name: x for name, x in vars(measure).items() if x != ()}

    return json.dumps(value, ensure_ascii=False, indent=1, default=fields) + "\n"


def from_json(text: str):
    """Lo que guardó `to_json`, con sus `Measure`."""
    return json.loads(text, object_hook=_measure)


def stored(name: str) -> dict:
    """El resultado guardado en `data/experimentos/`, por su nombre sin extensión."""
    return from_json(data_path("experimentos", f"{name}.json").read_text(encoding="utf-8"))


def _measure(fields: dict):
    if fields.keys() - {"seeds"} != {"value", "n", "low", "high"}:
        return fields
    return Measure(**fields | {"seeds": tuple(fields.get("seeds", ()))})
