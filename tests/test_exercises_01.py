"""Lección 01: los errores probables reciben una frase que ayuda."""

from dataclasses import replace

from course_lib.decision import Lack, Rung, advise
from course_lib.exercises import get
from course_lib.exercises.lesson_01 import _capitals


def test_a_wrong_diagnosis_is_told_why(solved, refusal):
    for change, words in [
        ({"a": Lack.NEW_KNOWLEDGE}, "caducado"),
        ({"b": Lack.ANOTHER_FORM}, "molde"),
        ({"c": Lack.NEW_KNOWLEDGE}, "el saber está"),
        ({"d": Lack.CHANGING_KNOWLEDGE}, "no cambia desde 1950"),
        ({"e": Lack.STYLE}, "sin mirar los fallos"),
        ({"b": "json"}, "no es un valor de Lack"),
        ({"d": ...}, "Falta decir qué le pasa al caso d"),
    ]:
        assert words in refusal("1.1", solved("1.1") | change)


def test_a_diagnosis_may_be_written_as_text(solved):
    assert get("1.1").review({k: str(v) for k, v in solved("1.1").items()}) is None


def test_a_misread_case_is_told_which_sentence_to_reread(solved, refusal):
    for change, words in [
        ({"lacks": Lack.STYLE}, "cambian cada trimestre"),
        (
            {"has_evaluation": True},
            "«nos parece que va algo mejor» no es un conjunto de evaluación",
        ),
        ({"private": False}, "no pueden salir"),
        ({"cost_critical": True}, "veinte consultas"),
        ({"examples": 20_000}, "has puesto 20.000, pero tienen 2.000"),
        ({"tried": (Rung.PROMPT, Rung.RAG)}, "nada más"),
        ({"maintained": False}, "una persona"),
        ({"gpu_hours": 5}, "50 horas"),
    ]:
        assert words in refusal("1.2", replace(solved("1.2"), **change))


def test_the_case_of_the_third_exercise_starts_with_retrieval(solved):
    assert advise(solved("1.2")).rung == Rung.RAG
    assert get("1.2").review(replace(solved("1.2"), tried=[Rung.PROMPT])) is None


def test_a_change_that_is_not_enough_is_told_what_is_missing(solved, refusal):
    for change, words in [
        ({"examples": 499}, "al menos 500 ejemplos"),
        ({"has_evaluation": False}, "antes va «medir y mirar los fallos»"),
        ({"tried": (Rung.PROMPT,)}, "antes va «ejemplos en el prompt (few-shot)»"),
        ({"lacks": Lack.ANOTHER_FORM}, "sigue siendo el estilo"),
    ]:
        assert words in refusal("1.3", replace(solved("1.3"), **change))


def test_critical_cost_is_another_way_to_reach_lora(solved):
    answer = replace(solved("1.3"), tried=(Rung.PROMPT,), cost_critical=True)
    assert get("1.3").review(answer) is None


def test_a_prediction_is_checked_with_what_the_model_said(solved, refusal):
    guess, said = solved("1.4")
    assert get("1.4").review((3, said)) is None
    right = [question.answer for question in _capitals()]
    for answer, words in [
        ((guess, 1), "contarlas le toca a `check`"),
        ((guess, said[:4]), "las 99 capitales, y hay 4"),
        ((guess, right), "como sin el espacio"),
        ((guess, [1] * 99), "la lista de textos"),
        ((100, said), "de 0 a 99"),
        (said, "(prediccion, medida)"),
    ]:
        assert words in refusal("1.4", answer)
