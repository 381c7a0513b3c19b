"""Ejercicios: comprobar una respuesta, pedir pistas, ver la solución y lo que llevas hecho.

Una comprobación nunca rompe el cuaderno: sin responder (`...`) lo dice y nada más, y si la
respuesta no vale explica por qué y da la pista que toca. Cada lección tiene su módulo, con sus
`EXERCISES`; las soluciones son código, cada una en su archivo de `data/soluciones/`.
"""

import textwrap
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from numbers import Real
from pkgutil import iter_modules
from typing import Any

from course_lib import data_path
from course_lib.exercises import answers, progress
from course_lib.exercises.review import EMPTY, Review

PROJECT = "10."


class Exercise:
    """Un ejercicio.

    Args:
        review: recibe la respuesta y devuelve `None` si es buena o frases que dicen qué le falta.
        hints: las pistas, de la más leve a la más clara.
        praise: lo que se lee al acertar o, si depende de la respuesta (como en las predicciones,
            que se dan por hechas aunque fallen), la función que lo dice.
    """

    solution: str  # código que deja una respuesta buena en `respuesta`; lo pone `all_exercises`

    def __init__(self, review: Review, *hints: str, praise: str | Callable[[Any], str]):
        self.review, self.hints, self.praise = review, hints, praise

    def welcome(self, answer: Any) -> str:
        """Lo que se dice de una respuesta buena."""
        said = self.praise
        return f"hecho. {said(answer)}" if callable(said) else f"correcto. {said}"


@cache
def all_exercises() -> dict[str, Exercise]:
    """Todos los ejercicios del curso, por su identificador («3.1»)."""
    names = [module.name for module in iter_modules(__path__) if module.name.startswith("lesson_")]
    lessons = [import_module(f"{__name__}.{name}") for name in names]
    exercises = {id: exercise for lesson in lessons for id, exercise in lesson.EXERCISES.items()}
    for id, exercise in exercises.items():
        exercise.solution = data_path("soluciones", f"{id}.py").read_text(encoding="utf-8").strip()
    return exercises


def get(id: str | float) -> Exercise:
    """El ejercicio `id`, que también vale como número: 3.1.

    Raises:
        ValueError: si no existe; el mensaje dice cuáles hay.
    """
    exercises = all_exercises()
    if not isinstance(id, str | Real):
        raise ValueError("Di primero de qué ejercicio se trata. Por ejemplo: check('1.1', …).")
    if (name := _name(id)) not in exercises:
        raise ValueError(f"No hay ejercicio «{name}»; hay estos: {', '.join(exercises)}.")
    return exercises[name]


def _name(id: str | float) -> str:
    return str(id).strip().replace(",", ".")


def _find(id: str | float) -> tuple[str, Exercise] | None:
    """El identificador en limpio y su ejercicio; si no existe, lo dice."""
    try:
        return _name(id), get(id)
    except ValueError as error:
        _say(str(error))


def _say(text: str) -> None:
    """Imprime en renglones cortos: los largos, JupyterLab los parte a mitad de palabra."""
    for line in text.splitlines():
        print(textwrap.fill(line, 90, break_long_words=False, break_on_hyphens=False))


_last: dict[str, tuple[Any, int]] = {}  # la última respuesta mala de cada uno, y su pista


def check(id: str | float = ..., answer: Any = ...) -> None:
    """Comprueba tu respuesta al ejercicio `id` e imprime el resultado."""
    if not (found := _find(id)):
        return
    id, exercise = found
    code, complaint, welcome = None, None, None
    try:  # una respuesta puede fallar de mil maneras, también al escribirla o al compararla
        with answers.limited(answers.WHOLE):
            with suppress(Exception):  # lo que no se deje convertir se revisa tal cual
                answer = answers.plain(answer)
            if answers.is_missing(answer):
                print(f"Ejercicio {id}: sin responder todavía. Si te atascas: hint('{id}').")
                return
            code = getattr(answer, "__code__", None) or answers.written(answer)
            answer = answers.Watched(answer) if callable(answer) else answer
            complaint = exercise.review(answer)
            welcome = None if complaint else exercise.welcome(answer)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        complaint = answers.broken(error, code)
    if complaint == EMPTY:
        _say(f"Ejercicio {id}: todavía no. {EMPTY} (Pistas: hint('{id}').)")
        return
    if complaint:
        printed = answer.printed.told() if type(answer) is answers.Watched else ""
        _say(f"Ejercicio {id}: todavía no. {complaint}{printed}\n{_next_hint(id, code)}")
    else:
        _say(f"Ejercicio {id}: {welcome}")
    if trouble := progress.record(id, solved=not complaint):
        _say(trouble)


def _next_hint(id: str, key: Any) -> str:
    """La pista que toca: con cada respuesta mala distinta, la siguiente."""
    hints = get(id).hints
    before, level = _last.get(id, (None, 0))
    level = level if before == key else min(level + 1, len(hints))
    _last[id] = key, level
    end = f" (Si te rindes: solution('{id}').)" if level == len(hints) else ""
    return f"Pista {level} de {len(hints)}. {hints[level - 1]}{end}"


def hint(id: str | float = ..., level: int = 1) -> None:
    """Imprime la pista número `level`; las siguientes dicen más."""
    if not (found := _find(id)):
        return
    id, hints = found[0], found[1].hints
    level = max(1, min(level, len(hints))) if isinstance(level, int) else 1
    more = f" (Hay otra: hint('{id}', {level + 1}).)" if level < len(hints) else ""
    _say(f"Pista {level} de {len(hints)}. {hints[level - 1]}{more}")


def solution(id: str | float = ...) -> None:
    """Imprime una solución comprobada."""
    if found := _find(id):
        print(found[1].solution)


def progreso() -> None:
    """Imprime qué ejercicios llevas hechos de cada lección, en esta sesión y en las de antes."""
    notes, trouble = progress.read()
    state: dict[str, dict[str, list[str]]] = {}
    # Los del proyecto se contestan solos con su ejemplo: lo que cuenta allí es la rúbrica.
    asked = [id for id in all_exercises() if not id.startswith(PROJECT)]
    for id in asked:
        empty: dict[str, list[str]] = {"Hechos": [], "Empezados": [], "Por hacer": []}
        groups, note = state.setdefault(id.split(".")[0], empty), notes.get(id, {})
        groups["Hechos" if "resuelto" in note else "Empezados" if note else "Por hacer"].append(id)
    for lesson, groups in state.items():
        told = [f"{name}: {', '.join(ids)}." for name, ids in groups.items() if ids]
        print(f"Lección {int(lesson):02}.", *told)
    done = sum(len(groups["Hechos"]) for groups in state.values())
    print(f"Llevas {done} de {len(asked)} ejercicios.")
    if trouble:
        print(trouble)
