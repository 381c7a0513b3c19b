"""Ayudas para comprobar muchas cosas en una prueba y decir juntas todas las que fallan."""

import gzip
import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest

from course_lib import data_path, tables
from course_lib.evaluation import is_right
from taller import experiments


def complaint(function: Callable, *args, **kwargs) -> str:
    """La frase del `ValueError` u `OSError` con que se queja `function`; vacía si no hay queja."""
    try:
        function(*args, **kwargs)
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def each(names: str | tuple[str, ...], cases: Iterable) -> Callable:
    """Como `pytest.mark.parametrize`, pero en una prueba, que dice juntos los casos que fallan.

    Es para rejillas de casos iguales y rápidos. Los casos comparten los accesorios (*fixtures*).
    """
    names = names.split(", ") if isinstance(names, str) else list(names)
    cases = list(cases)

    def decorate(check: Callable) -> Callable:
        def test(**fixtures):
            wrong = []
            for case in cases:
                values = [case] if len(names) == 1 else case
                try:
                    check(**dict(zip(names, values, strict=True)), **fixtures)
                except (Exception, pytest.fail.Exception) as error:
                    wrong.append(f"{case!r:.200}: {type(error).__name__}: {error}")
            assert not wrong, f"{len(wrong)} de {len(cases)} casos:\n" + "\n".join(wrong)

        signature = inspect.signature(check)
        others = [p for name, p in signature.parameters.items() if name not in names]
        test.__signature__ = signature.replace(parameters=others)
        test.__name__, test.__doc__ = check.__name__, check.__doc__
        test.__module__, test.__qualname__ = check.__module__, check.__qualname__
        return test

    return decorate


def stored_runs(name: str) -> list[tuple[dict, dict]]:
    """Las corridas guardadas de un experimento, cada una con sus respuestas; comprueba antes que
    sean de este modelo y de estos datos, y que las hipótesis estuvieran registradas."""
    stored, now = tables.stored(name), experiments.provenance()
    made = stored["procedencia"]
    assert [made[key] for key in ("minimodelo", "datos")] == [now["minimodelo"], now["datos"]]
    assert re.fullmatch("[0-9a-f]{40}", made["hipótesis"])
    packed = data_path("experimentos", f"{name}.jsonl.gz").read_bytes()
    told = [json.loads(line) for line in gzip.decompress(packed).decode("utf-8").split("\n")]
    assert [row["corrida"].rpartition("-")[2] for row in told] == [
        str(run["semilla"]) for run in stored["corridas"]
    ]
    for measures in (run["medidas"] for run in stored["corridas"]):
        for name, (group, *counted) in measures.items():
            measures[name] = [stored["grupos"][group], *counted]
    return list(zip(stored["corridas"], told, strict=True))


def graded_again(answers: Sequence[str], questions: Sequence) -> list[list]:
    """De cada país, o de cada pregunta si no trata de ninguno: nombre, aciertos y preguntas."""
    right, asked = Counter(), Counter()
    for i, (answer, question) in enumerate(zip(answers, questions, strict=True)):
        right[question.about or i] += is_right(answer, question)
        asked[question.about or i] += 1
    return [[*map(str, asked)], [right[group] for group in asked], [*asked.values()]]
