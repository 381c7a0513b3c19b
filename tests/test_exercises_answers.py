"""Lo que entregan los estudiantes: otros tipos, funciones que fallan o no acaban, y el progreso."""

import json
import linecache
import signal
import sys
import threading
import time
from decimal import Decimal
from fractions import Fraction
from itertools import count

import numpy as np
import pytest
import torch

from course_lib.exercises import Exercise, answers, check, hint, progreso, solution
from course_lib.exercises.review import function, number, prediction, told
from course_lib.tables import Measure

HALF = function("half(x)", (([2, 4],), [1, 2], "la mitad de cada uno"))
PAIR = prediction(0, 99, number(81, {}, "La medida no es {}."))


@pytest.fixture
def asked(monkeypatch, tmp_path, capsys):
    """Una función que comprueba ejercicios de mentira, sin progreso ni pistas de antes."""
    exercises = {
        "1.1": Exercise(number(12, {}, "No es {}."), "Una.", "Otra.", praise="Eso."),
        "1.2": Exercise(HALF, "Divide.", praise="Bien."),
        "2.1": Exercise(PAIR, "Mide.", praise=lambda a: told(*a, 5)),
    }
    monkeypatch.setattr("course_lib.exercises.all_exercises", lambda: exercises)
    monkeypatch.setattr("course_lib.exercises._last", {})
    monkeypatch.setenv("CURSO_SALIDA", str(tmp_path))
    monkeypatch.delenv("CURSO_SIN_PROGRESO")

    def ask(*given, call=check):
        call(*given)
        said = capsys.readouterr().out
        assert all(len(line) <= 90 for line in said.splitlines() if " " in line)
        return said

    return ask


def test_values_of_numpy_pandas_and_torch_count_as_those_of_python(asked):
    pandas = pytest.importorskip("pandas")
    numbers = [np.int64(12), np.float16(12), np.longdouble(12), np.array(12), torch.tensor(12), 12]
    numbers += [torch.tensor(12.0, requires_grad=True), Decimal(12), Fraction(12)]
    for twelve in numbers:
        assert "correcto" in asked("1.1", twelve)
    for half in (np.array, np.longdouble, torch.tensor, pandas.Series, lambda values: iter(values)):
        assert "correcto" in asked("1.2", lambda x, half=half: half([v / 2 for v in x]))
    for pair in (
        (np.int64(80), torch.tensor(81.0)),
        np.array([80, 81]),
        (Fraction(80), Decimal(81)),
    ):
        assert "hecho" in asked("2.1", pair)
    assert answers.plain({np.str_("a"): (np.array(["b"]), [np.bool_(True)])}) == {
        "a": (["b"], [True])
    }


def test_the_exercise_may_be_named_with_a_number_and_a_wrong_call_gets_a_sentence(asked):
    assert asked(1.1, 12) == asked("1,1", 12) == asked(np.float64(1.1), 12)
    assert "sin responder" in asked(1.1) and "sin responder" in asked("2.1", (50, ...))
    for call in (check, hint, solution):
        assert "Di primero de qué ejercicio" in asked(call=call)
        assert "No hay ejercicio «9.9»; hay estos: 1.1, 1.2, 2.1." in asked(9.9, call=call)
    assert "Di primero de qué ejercicio" in asked(len, "1.2")  # al revés
    assert "Se espera la función misma" in asked("1.2", [1, 2])
    assert "no admite los argumentos" in asked("1.2", lambda: None)


def test_each_different_failure_brings_the_next_hint_and_an_empty_function_none(asked):
    assert "No es 3." in (first := asked("1.1", 3)) and "Pista 1 de 2. Una.\n" in first
    assert asked("1.1", 3) == first
    assert "Pista 2 de 2. Otra. (Si te rindes: solution('1.1').)" in asked("1.1", 4)
    assert "Pista 2 de 2." in asked("1.1", 5)
    assert "return" in (empty := asked("1.2", lambda x: None)) and "Divide" not in empty


def cell(code: str, name: str):
    """La función `name` de una celda como las de IPython, cuyo código no está en ningún archivo."""
    file = f"<celda {name}>"
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)
    names: dict = {}
    exec(compile(code, file, "exec"), names)
    return names[name]


def test_a_function_that_breaks_says_the_line_and_what_it_printed(asked):
    code = "def half(x):\n    for v in range(9):\n        print('v', v)\n    return x / 2\n"
    said = asked("1.2", cell(code, "half"))
    assert "en la línea 4 de tu celda (`return x / 2`), salta\nTypeError, con este mensaje" in said
    assert "Al probarla imprime:\n  v 0\n  v 1\n  v 2\n  …\n" in said
    assert "salta SystemExit" in asked("1.2", lambda x: exit())
    printed = asked(
        "1.2", cell("def loud(x):\n    print('hola')\n    return [v / 2 for v in x]", "loud")
    )
    assert "correcto" in printed and "hola" not in printed


def test_an_endless_loop_is_stopped_and_says_where(asked, monkeypatch):
    monkeypatch.setattr(answers, "LIMIT", 0.2)
    for body in (
        "while True:\n        pass",
        "while True:\n        try:\n            x = 1\n        except Exception:\n            pass",
        "while True:\n        print('otra vez')",
        "while True:\n        try:\n            x = 1\n        except:\n            pass",
        "import time\n    time.sleep(600)",
        "import re\n    re.match(r'(\\w+\\s?)+$', 40 * 'a' + '!')",
        "return 2 ** 10**10",
    ):
        said = asked("1.2", cell(f"def endless(x):\n    {body}\n", "endless"))
        assert "se ha detenido. ¿Hay un bucle que no acaba?" in " ".join(said.split())
        assert "de tu celda" in said
    assert "correcto" in asked("1.2", lambda x: [v / 2 for v in x])
    assert "no termina en cien mil elementos" in asked("1.2", lambda x: count())


def test_outside_the_main_thread_a_loop_is_stopped_too(asked, monkeypatch):
    monkeypatch.setattr(answers, "LIMIT", 0.2)
    said = []
    code = cell("def endless(x):\n    while True:\n        pass\n", "endless")
    thread = threading.Thread(target=lambda: said.append(asked("1.2", code)))
    thread.start(), thread.join(60)
    assert "en la línea 2 de tu celda (`while True:`), no" in said[0]


def test_the_whole_check_is_limited_and_the_alarm_of_others_goes_on(asked, monkeypatch):
    monkeypatch.setattr(answers, "WHOLE", 0.5)
    loops = type("Loops", (), {"__repr__": lambda self: [None for _ in count()]})
    for endless in (loops(), [loops()], lambda x: time.sleep(0.3) or loops()):
        assert "se ha detenido" in asked("1.2", endless)
    rang, handler = [], signal.signal(signal.SIGALRM, lambda *_: rang.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert "correcto" in asked("1.1", 12)
        time.sleep(0.3)
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert rang


class Hostile:
    """Un objeto que se queja de todo lo que se le pida."""

    def complain(self, *_):
        raise RuntimeError("no me toques")

    __repr__ = __eq__ = __getattr__ = __bool__ = __len__ = __iter__ = __float__ = complain
    __hash__ = None


class Mute(Exception):
    def __str__(self):
        raise ValueError


def test_no_answer_breaks_a_check(asked):
    def fails(error):
        raise error

    knot: list = []
    knot.append(knot)
    for odd in (Hostile(), [Hostile()], (0.5, Hostile()), knot, 10**5000, -(10**400)):
        for id in ("1.1", "1.2", "2.1"):
            assert "todavía no. " in asked(id, odd)
        assert "todavía no. " in asked("1.2", lambda x, odd=odd: odd)
    for error in (Mute(), GeneratorExit(), ValueError("a\n" * 10_000), SystemExit(3)):
        said = asked("1.2", lambda x, error=error: fails(error))
        assert f"salta {type(error).__name__}" in " ".join(said.split()) and len(said) < 700
    loud = lambda x: print(10**6 * "x") or sys.stdout.close() or x  # noqa: E731
    assert "Al probarla imprime" in asked("1.2", loud)


def test_nan_and_infinity_are_never_an_answer(asked):
    for value in (float("nan"), np.float32("nan"), Decimal("NaN"), np.array([1, np.nan]), -np.inf):
        for answer in (value, [value], {"a": (1, value)}, Measure(value, 9, 0.1, 0.2)):
            said = asked("1.1", answer)
            assert "que no es un número. ¿De qué división" in " ".join(said.split())
            assert "que no es un número" in asked("1.2", lambda x, answer=answer: answer)


def test_a_wrong_prediction_is_fine_and_a_wrong_measure_is_not(asked):
    assert "hecho. Predijiste 90 y sale 81. Es menos de lo que" in asked("2.1", (90, 81))
    assert "Es más de lo que" in asked("2.1", (3, 81))
    assert "Lo has visto venir." in asked("2.1", (80, 81))
    assert "La medida no es 80." in asked("2.1", (90, 80))
    for odd in (5, (1, 2, 3), (200, 81), ("sí", 81)):
        assert (
            "todavía no. Se espera una pareja" in (said := asked("2.1", odd)) or "de 0 a 99" in said
        )


def test_progress_outlives_the_kernel_and_never_breaks_a_check(asked, tmp_path, monkeypatch):
    file = tmp_path / "progreso.json"
    asked("1.1")
    assert not file.exists()  # sin responder no se apunta nada
    asked("1.1", 12), asked("1.1", 3), asked("1.2", lambda x: x)
    notes = json.loads(file.read_text("utf-8"))
    assert notes["1.1"].keys() == {"resuelto", "empezado"} and notes["1.2"].keys() == {"empezado"}
    file.write_text(json.dumps(notes | {"9.9": {"resuelto": "2020-01-01"}}), "utf-8")  # ya no está
    assert asked(call=progreso).splitlines() == [
        "Lección 01. Hechos: 1.1. Empezados: 1.2.",
        "Lección 02. Por hacer: 2.1.",
        "Llevas 1 de 3 ejercicios.",
    ]
    for broken in ("{", "[1]", '{"1.1": 3}', "\xff"):
        file.write_text(broken, "latin-1")
        assert "está roto" in asked(call=progreso)
        assert "correcto" in (said := asked("1.1", 12)) and "está roto" in said
        assert (tmp_path / "progreso.roto.json").read_text("latin-1") == broken
        assert "roto" not in asked("1.1", 12) and "Hechos: 1.1." in asked(call=progreso)
    assert {path.name for path in tmp_path.iterdir()} == {"progreso.json", "progreso.roto.json"}
    monkeypatch.setenv("CURSO_SALIDA", str(file))  # un archivo donde se espera una carpeta
    assert "correcto" in (said := asked("1.1", 12)) and "No se ha podido apuntar" in said
    assert "Llevas 0 de 3" in asked(call=progreso)
    monkeypatch.delenv("CURSO_SALIDA")  # en Colab, tras reiniciar y sin repetir la primera celda
    monkeypatch.setattr("course_lib.lessons.DRIVE", str(tmp_path))
    assert "correcto" in asked("1.1", 12)
    assert (tmp_path / "curso-ajuste-fino" / "salida" / "progreso.json").is_file()
