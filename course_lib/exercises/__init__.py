"""Ejercicios: comprobar una respuesta, pedir pistas y ver la solución.

Una comprobación nunca rompe el cuaderno: sin responder (`...`) lo dice y nada más, y si la
respuesta no vale explica por qué. Cada lección tiene su módulo, con sus `EXERCISES`.
"""

import re
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from course_lib.exercises.review import Review


class Exercise:
    """Un ejercicio.

    Args:
        review: recibe la respuesta y devuelve `None` si es buena o frases que dicen qué le falta.
        hints: las pistas, de la más leve a la más clara.
        praise: lo que se lee al acertar.
        solution: código de Python que deja una respuesta buena en la variable `respuesta`; si
            acaba en una función, se le añade la línea que la deja ahí.
    """

    def __init__(self, review: Review, *hints: str, praise: str, solution: str):
        if (last := re.findall(r"^(?:def )?(\w+)", solution, re.M)[-1]) != "respuesta":
            solution += f"\n\nrespuesta = {last}"
        self.review, self.hints, self.praise, self.solution = review, hints, praise, solution


@cache
def all_exercises() -> dict[str, Exercise]:
    """Todos los ejercicios del curso, por su identificador («3.1»)."""
    names = [module.name for module in iter_modules(__path__) if module.name.startswith("lesson_")]
    lessons = [import_module(f"{__name__}.{name}") for name in names]
    return {id: exercise for lesson in lessons for id, exercise in lesson.EXERCISES.items()}


def get(id: str) -> Exercise:
    """El ejercicio `id`.

    Raises:
        ValueError: si no existe; el mensaje dice cuáles hay.
    """
    exercises = all_exercises()
    if id not in exercises:
        raise ValueError(f"No hay ejercicio «{id}»; hay estos: {', '.join(exercises)}.")
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
        complaint = f"Al probarla salta {type(error).__name__}, con este mensaje: «{error}»."
    if complaint is None:
        print(f"Ejercicio {id}: correcto. {exercise.praise}")
    else:
        print(f"Ejercicio {id}: todavía no. {complaint} (Pistas: hint('{id}').)")


def hint(id: str, level: int = 1) -> None:
    """Imprime la pista número `level`; las siguientes dicen más."""
    hints = get(id).hints
    level = max(1, min(level, len(hints)))
    more = f" (Hay otra: hint('{id}', {level + 1}).)" if level < len(hints) else ""
    print(f"Pista {level} de {len(hints)}: {hints[level - 1]}{more}")


def solution(id: str) -> None:
    """Imprime una solución comprobada."""
    print(get(id).solution.strip())
