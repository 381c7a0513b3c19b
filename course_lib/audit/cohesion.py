"""¿Una charla o varias pegadas? Lo dicen las palabras que comparten sus intercambios seguidos.

Una fila con varias charlas cortas tiene la misma forma que una charla de varios turnos. La
diferencia está en el tema: medido en DailyDialog y en CharlaDiaria, el 40% de los intercambios
seguidos de una charla comparten alguna palabra poco corriente, y menos del 10% de los que no
tienen que ver.
"""

import math
import random
from collections import Counter

from course_lib.audit.fold import fold

RARE = 0.05  # de los intercambios: una palabra que sale en más no dice de qué se habla
MARGIN = 0.10  # si el parecido dentro de las filas pasa en esto al de fuera, son charlas
USUAL = 0.25  # lo que lo pasa al menos, de media, en los dos corpus
ACROSS = 2000  # parejas de intercambios de filas distintas que se comparan


def cohesion(rows: list[list[str]]) -> tuple[float, float, int]:
    """Cuánto se parecen los intercambios seguidos de una fila, y los de filas distintas.

    Args:
        rows: de cada fila, el texto de sus intercambios (pregunta y respuesta) en orden.

    Returns:
        `(dentro, fuera, n)`: la parte de las parejas de intercambios que comparten alguna palabra
        poco corriente, y cuántas se miraron dentro.
    """
    bags = [[_stems(text) for text in row] for row in rows]
    flat = [(k, bag) for k, row in enumerate(bags) for bag in row]
    counts = Counter(stem for _, bag in flat for stem in bag)
    # De lo que trata una charla se puede hablar en todos sus intercambios: no es menos suyo.
    limit = max(RARE * len(flat), max(map(len, bags)))

    def akin(a: set[str], b: set[str]) -> bool:
        return any(counts[stem] <= limit for stem in a & b)

    inside = [akin(a, b) for row in bags for a, b in zip(row, row[1:])]
    rng = random.Random(0)
    drawn = [rng.sample(flat, 2) for _ in range(ACROSS)] if len(flat) > 1 else []
    across = [akin(a, b) for (k, a), (j, b) in drawn if k != j]
    return _mean(inside), _mean(across), len(inside)


def margin(n: int) -> float:
    """Lo que puede pasar el parecido de dentro al de fuera y ser aún charlas pegadas.

    Con pocos pasos, una charla de verdad puede parecerlo por azar: se exige que su parecido quede
    1,64 errores típicos por debajo del usual (una cola del 5%), y con muy pocos nada lo cumple.

    >>> [round(margin(n), 2) for n in (6, 12, 100)]
    [-0.07, 0.02, 0.1]
    """
    return min(MARGIN, USUAL - 1.64 * math.sqrt(0.35 * 0.65 / n))


def _stems(text: str) -> set[str]:
    """Las palabras con peso, por sus cinco primeras letras, y los números."""
    return {word[:5] for word in fold(text).split() if len(word) >= 4 or word.isdigit()}


def _mean(values: list[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
