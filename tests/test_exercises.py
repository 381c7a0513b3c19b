"""Lo que vale para todo ejercicio: su solución se acepta, y sin responder lo dice y no falla."""

import pytest

from course_lib.exercises import all_exercises, check, get

# Las lecciones 01 y 03 se prueban en sus archivos: algunas necesitan lo que hay en el cuaderno.
IDS = [id for id in all_exercises() if not id.startswith(("1.", "3."))]


@pytest.mark.parametrize("id", IDS)
def test_the_printed_solution_is_accepted(id, capsys):
    names: dict = {}
    exec(get(id).solution, names)
    check(id, names["respuesta"])
    assert "correcto" in capsys.readouterr().out


@pytest.mark.parametrize("id", IDS)
def test_an_unanswered_exercise_says_so_and_never_fails(id, capsys):
    check(id, ...)
    assert "sin responder" in capsys.readouterr().out
