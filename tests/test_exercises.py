"""Lo que vale para todo ejercicio, y las dos revisiones que casi todos comparten."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from course_lib.exercises import all_exercises, check, get, hint, solution
from course_lib.exercises.review import function, number, shown

IDS = list(all_exercises())
NOT_FUNCTIONS = ["", "no sé", [], {}, {"a": 1}, 0, -1, 3.5, float("nan"), float("inf"), object()]
BAD_FUNCTIONS = [int, lambda *_: None, lambda *_: 1 / 0, lambda *_: "sí", lambda *_: float("nan")]


def one_line(capsys) -> str:
    """Lo que se ha impreso, en un renglón."""
    return " ".join(capsys.readouterr().out.split())


def test_the_exercises_of_a_lesson_are_numbered_from_one():
    counts = Counter(int(id.split(".")[0]) for id in IDS)
    assert IDS == [
        f"{lesson}.{n}" for lesson in sorted(counts) for n in range(1, counts[lesson] + 1)
    ]


def test_every_printed_solution_is_accepted(solved, capsys):
    for id in IDS:
        check(id, solved(id))
        assert one_line(capsys).startswith(f"Ejercicio {id}: {get(id).welcome(solved(id))}")
        solution(id)
        assert "respuesta" in capsys.readouterr().out


def test_an_unanswered_exercise_says_so_and_never_fails(capsys):
    for id in IDS:
        for nothing in (..., None):
            check(id, nothing)
            assert f"Ejercicio {id}: sin responder todavía." in capsys.readouterr().out


def test_an_answer_of_another_kind_is_refused_and_only_a_function_may_break(refusal):
    for id in IDS:
        for odd in [*NOT_FUNCTIONS, True]:
            assert "salta" not in refusal(id, odd)
        for function_ in BAD_FUNCTIONS:
            refusal(id, function_)


def test_the_hints_grow_none_is_empty_and_none_chains_colons(capsys):
    for id in IDS:
        hints = get(id).hints
        assert len(hints) >= 2
        for text in [*hints, get(id).praise if isinstance(get(id).praise, str) else "—"]:
            assert text.strip()
            assert not re.search(r": [^.?!]*: ", re.sub("`[^`]*`", "", text)), text
        hint(id)
        assert "(Hay otra: hint(" in one_line(capsys)
        hint(id, 99)
        assert one_line(capsys) == f"Pista {len(hints)} de {len(hints)}. {hints[-1]}"


def test_an_unknown_exercise_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"No hay ejercicio «9\.9»; hay estos: 1\.1, "):
        get("9.9")


def test_a_number_is_good_within_its_tolerance_and_a_known_slip_is_explained():
    review = number(200, {100: "Es el doble."}, "No son {}.", "un número de pesos", tolerance=0.01)
    assert review(200) is review(199) is None
    assert review(100.5) == "Es el doble."
    assert review(-1234.5) == "No son −1.234,5."
    for odd in (True, "200", float("nan"), float("inf"), 1j):
        assert review(odd).startswith("Se espera un número de pesos, y hay ")


def test_a_function_is_told_the_case_it_fails():
    review = function(
        "half(values, by)", (([4, 6], 2), [2, 3], "se divide entre dos", ([4, 6], "No."))
    )
    assert review(lambda values, by: (value / by for value in values)) is None
    assert review([2, 3]) == "Se espera la función misma, sin llamarla: `half(values, by)`."
    assert "no devuelve nada" in review(lambda values, by: None)
    assert "debe devolver una lista, y devuelve 0,5." in review(lambda values, by: 0.5)
    assert review(lambda values, by: values) == "No. (`half([4, 6], 2)` da [4, 6].)"
    wrong = review(lambda values, by: [])
    assert wrong == "`half([4, 6], 2)` debe dar [2, 3] y da []: se divide entre dos."
    assert "cambia lo que recibe" in review(lambda values, by: [values.pop(0) / 2, values[0] / 2])


def test_what_a_function_gives_is_looked_at_again_when_cases_are_not_enough():
    review = function("f(x)", ((1,), 0.25, "sí"), then=lambda f: None if f(2) == 2 else "Otra.")
    assert review(lambda x: x if x > 1 else 1 / 4) is None
    assert review(lambda x: 0.25) == "Otra."
    assert "debe devolver un número, y devuelve '0,25'." in review(lambda x: "0,25")


def test_numbers_are_read_inshown():
    said = [shown(x) for x in (2_359_296, 0.25, 1 / 3, 7.0, 1537.4, -0.5)]
    assert said == ["2.359.296", "0,25", "0,3333", "7", "1.537,4", "−0,5"]


def test_the_exercises_load_nothing_heavy():
    code = "import sys, course_lib.exercises as e; e.all_exercises(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
