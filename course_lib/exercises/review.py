"""Las revisiones que sirven a casi todo ejercicio: un número, una función y una predicción.

Cada una se construye con lo que se pide y da otra función, que recibe la respuesta y devuelve
`None` si es buena o, si no, las frases que dicen qué le falta.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from numbers import Real
from typing import Any

from course_lib import tables
from course_lib.exercises import answers

Review = Callable[[Any], str | None]
MOST = 1e300  # más allá no cabe en la coma flotante
EMPTY = "Tu función no devuelve nada. Escribe su cuerpo y acábalo con un `return`."


def number(
    right: float, slips: dict[float, str], otherwise: str, expects="un número", tolerance=0.0
) -> Review:
    """La revisión de un número.

    Args:
        right: el bueno.
        slips: los errores conocidos: cada número equivocado y lo que se le dice.
        otherwise: lo que se dice de cualquier otro; en el sitio de `{}` va el de la respuesta.
        expects: qué se espera, para quien no da un número.
        tolerance: el margen relativo con que un número se toma por el bueno o por un error.
    """

    def review(answer: Any) -> str | None:
        if not is_number(answer):
            comma = re.match(r"\W*\d+, ?\d+\W*", shown(answer))  # 0,35 es, para Python, una pareja
            way = " Los decimales, en Python, van con punto." if comma else ""
            return f"Se espera {expects}, y hay {shown(answer)}.{way}"
        for value, why in ({right: None} | slips).items():
            if math.isclose(answer, value, rel_tol=tolerance):
                return why
        return otherwise.format(shown(answer))

    return review


def function(signature: str, *cases: tuple, then: Review | None = None) -> Review:
    """La revisión de una función, que ha de acertar cada caso sin cambiar lo que recibe.

    Args:
        signature: su nombre y lo que recibe, como en el enunciado: `steps(pairs, epochs)`.
        cases: cada uno, los argumentos, el resultado, por qué es ese y, detrás, los errores
            conocidos: un resultado, o una función que los reconoce, y lo que se dice de él.
        then: otra revisión de la misma función, cuando no basta con casos.
    """

    def review(answer: Any) -> str | None:
        if not callable(answer):
            return f"Se espera la función misma, sin llamarla: `{signature}`."
        if not _takes(answer, signature.count(",") + 1):
            return f"Tu función no admite los argumentos que pide el enunciado: `{signature}`."
        for arguments, expected, reason, *slips in cases:
            given = deepcopy(arguments)
            said = answer(*given)
            if said is None and arguments is cases[0][0]:
                return EMPTY
            if given != arguments:
                return "Tu función cambia lo que recibe. Déjalo como está y devuelve algo nuevo."
            if isinstance(said, bool) and expected in (0, 1):
                said = float(said)
            if is_number(expected) and not is_number(said):
                return f"Tu función debe devolver un número, y devuelve {shown(said)}."
            if isinstance(expected, list):
                if not isinstance(said, Iterable):
                    return f"Tu función debe devolver una lista, y devuelve {shown(said)}."
                said = answers.taken(said)
            if _agree(said, expected):
                continue
            call = f"`{signature.partition('(')[0]}({', '.join(map(_code, arguments))})`"
            for slip, why in slips:
                if slip(said) if callable(slip) else _agree(said, slip):
                    return f"{why} ({call} da {shown(said)}.)"
            return f"{call} debe dar {shown(expected)} y da {shown(said)}: {reason}."
        return then(answer) if then else None

    return review


def prediction(low: float, high: float, measured: Review) -> Review:
    """La revisión de una pareja (predicción, medida): lo único que puede estar mal es la medida.

    De ella se ocupa `measured`; como predicción vale cualquier número de `low` a `high`.
    """

    def review(answer: Any) -> str | None:
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            return "Se espera una pareja: `(prediccion, medida)`."
        guess, measure = answer
        if not is_number(guess) or not low <= guess <= high:
            limits = f"un número de {shown(low)} a {shown(high)}"
            return f"Tu predicción debe ser {limits}, y hay {shown(guess)}. No hace falta acertar."
        return measured(measure)

    return review


def within(low: float, high: float, call: str, unit: str = "un tanto por ciento") -> Review:
    """La revisión de una medida que aquí no se repite, porque costaría lo que costó: vale toda la
    que puede salir.

    Args:
        call: la llamada que la da.
    """

    def review(measured: Any) -> str | None:
        if is_number(measured) and low <= measured <= high:
            return None
        return f"La medida es {unit}, lo que da `{call}`, y hay {shown(measured)}."

    return review


def told(guess: float, real: float, margin: float) -> str:
    """Cómo ha quedado una predicción, dicho con amabilidad.

    >>> told(90, 81, 5)
    'Predijiste 90 y sale 81. Es menos de lo que esperabas; por eso se escribe antes, para notarlo.'
    """
    side = "menos" if real < guess else "más"
    surprise = f"Es {side} de lo que esperabas; por eso se escribe antes, para notarlo."
    verdict = "Lo has visto venir." if abs(guess - real) <= margin else surprise
    return f"Predijiste {shown(guess)} y sale {shown(real)}. {verdict}"


def is_number(value: Any) -> bool:
    """Si es un número con el que contar: ni un booleano, ni `nan`, ni infinito o casi."""
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) < MOST


def _agree(one: Any, other: Any) -> bool:
    if is_number(other):
        return is_number(one) and math.isclose(one, other, abs_tol=1e-6)
    if type(one) is type(other) and isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_agree, one, other))
    return one == other


def _takes(function: Callable, count: int) -> bool:
    """Si se la puede llamar con tantos argumentos; de las que no lo dicen, se supone."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def shown(value: Any) -> str:
    """Un valor como se lee en una frase: los números, en español; lo demás, como en Python."""
    if not is_number(value):
        return _code(value)
    text = tables.number(value, 0 if isinstance(value, int) else 4)
    return text.rstrip("0").rstrip(",") if "," in text else text


def _code(value: Any) -> str:
    # Los de un `Enum`, por su nombre.
    return re.sub(r"<(\w+\.\w+): [^<>]*>", r"\1", answers.written(value))
