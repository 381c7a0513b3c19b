"""Ejercicios: comprobar una respuesta, pedir pistas y ver la solución.

Una comprobación nunca rompe el cuaderno: sin responder (`...`) lo dice y nada más, y si la
respuesta no vale explica por qué. Cada lección tiene su módulo, con sus `EXERCISES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any


@dataclass(frozen=True)
class Exercise:
    """Un ejercicio.

    `review` recibe la respuesta y devuelve `None` si es buena o una frase que dice qué le falta;
    `praise` es lo que se lee al acertar, `hints` van de la más leve a la más clara, y `solution`
    es código de Python que deja una respuesta buena en la variable `respuesta`.
    """

    id: str
    review: Callable[[Any], str | None]
    praise: str
    hints: tuple[str, ...]
    solution: str


@cache
def all_exercises() -> dict[str, Exercise]:
    """Todos los ejercicios del curso, por su identificador («3.1»)."""
    found = {}
    for module in iter_modules(__path__):
        for exercise in import_module(f"{__name__}.{module.name}").EXERCISES:
            found[exercise.id] = exercise
    return found


def get(id: str) -> Exercise:
    """El ejercicio `id`.

    Raises:
        ValueError: si no existe; el mensaje dice cuáles hay.
    """
    exercises = all_exercises()
    if id not in exercises:
        raise ValueError(f"No hay ejercicio «{id}»; hay estos: {', '.join(sorted(exercises))}.")
    return exercises[id]


def check(id: str, answer: Any = ...) -> None:
    """Comprueba tu respuesta al ejercicio `id` e imprime el resultado."""
    exercise = get(id)
    if answer is ... or answer is None:
        print(f"Ejercicio {id}: sin responder todavía. Si te atascas: hint('{id}').")
        return
    try:
        complaint = exercise.review(answer)
    except Exception as error:  # la respuesta de un estudiante puede fallar de cualquier manera
        complaint = f"al probarla salta {type(error).__name__}: {error}"
    if complaint is None:
        print(f"Ejercicio {id}: correcto. {exercise.praise}")
    else:
        print(f"Ejercicio {id}: todavía no: {complaint} (Pistas: hint('{id}').)")


def hint(id: str, level: int = 1) -> None:
    """Imprime la pista número `level`; las siguientes dicen más."""
    hints = get(id).hints
    level = max(1, min(level, len(hints)))
    more = f" (Hay otra: hint('{id}', {level + 1}).)" if level < len(hints) else ""
    print(f"Pista {level} de {len(hints)}: {hints[level - 1]}{more}")


def solution(id: str) -> None:
    """Imprime una solución comprobada."""
    print(get(id).solution.strip())
