"""Las soluciones de la lección 1 valen, y los errores probables reciben una frase que ayuda."""

from dataclasses import replace

import pytest

from course_lib.decision import Needs, advise
from course_lib.decision import Lack, Rung
from course_lib.exercises import check
from course_lib.exercises.lesson_01 import EXERCISES

BY_ID = {exercise.id: exercise for exercise in EXERCISES}


def solved(id: str):
    scope: dict = {}
    exec(BY_ID[id].solution, scope)
    return scope["respuesta"]


@pytest.mark.parametrize("id", BY_ID)
def test_the_solution_is_accepted(id, capsys):
    check(id, solved(id))
    assert "correcto" in capsys.readouterr().out


@pytest.mark.parametrize("id", BY_ID)
@pytest.mark.parametrize("nothing", [..., None])
def test_unanswered_says_so(id, nothing, capsys):
    check(id, nothing)
    assert "sin responder" in capsys.readouterr().out


@pytest.mark.parametrize("id", BY_ID)
@pytest.mark.parametrize("odd", [{}, [], 0, "no sé", object(), {"a": 1}, float("nan"), True])
def test_an_answer_of_another_kind_is_refused_without_a_traceback(id, odd, capsys):
    check(id, odd)
    said = capsys.readouterr().out
    assert "todavía no" in said and "salta" not in said


@pytest.mark.parametrize(
    ("change", "help_"),
    [
        ({"a": Lack.NEW_KNOWLEDGE}, "caducado"),
        ({"b": Lack.ANOTHER_FORM}, "molde"),
        ({"c": Lack.NEW_KNOWLEDGE}, "el saber está"),
        ({"d": Lack.CHANGING_KNOWLEDGE}, "no cambia desde 1950"),
        ({"e": Lack.STYLE_OR_FORMAT}, "sin mirar los fallos"),
        ({"b": "json"}, "no es un valor de Lack"),
        ({"d": ...}, "falta decir qué le pasa al caso d"),
    ],
)
def test_a_wrong_diagnosis_is_told_why(change, help_):
    assert help_ in BY_ID["1.1"].review(solved("1.1") | change)


def test_a_diagnosis_may_be_written_as_text():
    assert BY_ID["1.1"].review({k: str(v) for k, v in solved("1.1").items()}) is None


def test_the_lora_count_is_the_one_made_by_hand():
    # Por bloque: 1.024 × 16 + 16 × 3.072 = 65.536 y 1.024 × 16 + 16 × 1.024 = 32.768.
    assert solved("1.2") == 24 * (65_536 + 32_768) == 2_359_296


@pytest.mark.parametrize(
    ("wrong", "help_"),
    [
        (98_304, "un solo bloque"),
        (1_572_864, "la salida"),
        (786_432, "la de entrada"),
        (1_179_648, "r sería 8"),
        (100_663_296, "congelados"),
        (1_610_612_736, "se suman"),
        (294_912, "r × (entrada + salida)"),
    ],
)
def test_a_wrong_count_is_told_which_slip_it_is(wrong, help_):
    assert help_ in BY_ID["1.2"].review(wrong)


@pytest.mark.parametrize(
    ("change", "help_"),
    [
        ({"lacks": Lack.STYLE_OR_FORMAT}, "cambian cada trimestre"),
        ({"has_evaluation": True}, "no es un conjunto de evaluación"),
        ({"private": False}, "no pueden salir"),
        ({"cost_critical": True}, "veinte consultas"),
        ({"examples": 20}, "2.000"),
        ({"tried": (Rung.PROMPT, Rung.RAG)}, "nada más"),
        ({"maintained": False}, "una persona"),
        ({"gpu_hours": 5}, "50 horas"),
    ],
)
def test_a_misread_case_is_told_which_sentence_to_reread(change, help_):
    assert help_ in BY_ID["1.3"].review(replace(solved("1.3"), **change))


def test_the_case_of_the_third_exercise_starts_with_retrieval():
    assert advise(solved("1.3")).rung == Rung.RAG


@pytest.mark.parametrize(
    ("change", "help_"),
    [
        ({"examples": 499}, "al menos 500 ejemplos"),
        ({"has_evaluation": False}, "un conjunto de evaluación"),
        ({"maintained": False}, "alguien que lo mantenga"),
        ({"tried": (Rung.PROMPT,)}, "antes va «ejemplos en el prompt (few-shot)»"),
        ({"lacks": Lack.ANOTHER_FORM}, "sigue siendo el estilo"),
    ],
)
def test_a_change_that_is_not_enough_is_told_what_is_missing(change, help_):
    assert help_ in BY_ID["1.4"].review(replace(solved("1.4"), **change))


def test_critical_cost_is_another_way_to_reach_lora():
    answer = replace(solved("1.4"), tried=(Rung.PROMPT,), cost_critical=True)
    assert BY_ID["1.4"].review(answer) is None
    assert isinstance(answer, Needs)
