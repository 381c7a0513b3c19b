"""Ejercicios: respuestas hostiles a `check`. Hay veredicto en español, sin traza y a tiempo.

Y lo bueno se acepta en cualquier tipo de número, y nunca un `nan` en lugar de un número.
"""

import contextlib
import io
import itertools
import math
import os
import random
import re
import sys
import time
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from unittest.mock import patch

from course_lib.exercises import all_exercises, answers, check, get
from taller.asedio import LIMIT, Broken

SLOW = {"1.4", "4.4"}  # los que ponen a hablar a un modelo: su revisión es la de otros
VERDICT = re.compile(r"Ejercicio [\d.]+: (correcto|hecho|todavía no|sin responder)")


class Angry:
    """Se queja de todo lo que se le pida."""

    def _fail(self, *_):
        raise RuntimeError("no me toques")

    __repr__ = __eq__ = __getattr__ = __bool__ = __len__ = __iter__ = __float__ = _fail
    __hash__ = None


class Lying:
    """Dice que sí a todo."""

    def __eq__(self, other):
        return True

    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    __hash__ = None

    def __repr__(self):
        return "correcto\n" * 3


class Slow:
    """No acaba de escribirse, de compararse ni de darse."""

    def _loop(self, *_):
        for _ in itertools.count():
            pass

    __repr__ = __eq__ = __getattr__ = __len__ = _loop
    __hash__ = None


class Endless:
    def __iter__(self):
        return itertools.count()


class Mute(Exception):
    def __str__(self):
        raise ValueError


def _fail(error: BaseException):
    raise error


def _knot() -> list:
    knot: list = []
    knot.append(knot)
    return knot


def _recursive(*_):
    return _recursive(*_)


def _swallow(*_):
    while True:
        try:
            time.sleep(0)
        except:  # noqa: E722
            pass


def _spoil(*given):
    for value in given:
        with contextlib.suppress(Exception):
            value.clear()
    return given


def values(rng: random.Random):
    """Un valor hostil, a veces dentro de otro."""
    import numpy as np
    import pandas as pd
    import torch

    made = (
        lambda: math.nan,
        lambda: math.inf,
        lambda: 10**400,
        lambda: 10**5000,
        lambda: -1,
        lambda: 1j,
        lambda: Decimal("sNaN"),
        lambda: Fraction(1, 3),
        lambda: True,
        lambda: "",
        lambda: "\ud800",
        lambda: "x" * 10**6,
        lambda: b"\xff",
        Angry,
        Lying,
        Slow,
        Endless,
        object,
        _knot,
        itertools.count,
        lambda: np.array([[1, np.nan]]),
        lambda: np.array([], dtype=object),
        lambda: np.datetime64("NaT"),
        lambda: torch.zeros(0),
        lambda: torch.empty(2, device="meta"),
        lambda: torch.tensor(0.5),
        lambda: pd.DataFrame({"a": [1]}),
        lambda: pd.NA,
        lambda: pd.Series([None]),
        lambda: range(10**12),
        lambda: int,
        lambda: print,
        lambda: sys,
        lambda: {},
        lambda: [],
        lambda: (...,),
        lambda: (0.5, None),
    )
    value = rng.choice(made)()
    way = rng.randrange(8)
    wraps = {
        0: lambda v: [v],
        1: lambda v: (0.5, v),
        2: lambda v: {"a": v, "minimo": v},
        3: lambda v: [v] * 50,
    }
    return wraps.get(way, lambda v: v)(value)


def functions(rng: random.Random):
    """Una función hostil."""
    value = values(rng)
    errors = (ValueError("a\n" * 10**5), Mute(), SystemExit(3), GeneratorExit(), MemoryError())
    error = rng.choice(errors)
    return rng.choice(
        (
            lambda *_: value,
            lambda *_: value,
            lambda *_: _fail(error),
            _recursive,
            _swallow,
            _spoil,
            lambda *_: time.sleep(600),
            lambda *_: 2**10**10,
            lambda *_: itertools.repeat(1),
            lambda *_: re.match(r"(\w+\s?)+$", "a" * 40 + "!"),
            lambda *_: print("x" * 10**6),
            lambda *_: sys.stdout.close(),
            lambda *_: (i for i in itertools.count()),
            lambda *_: exec("1/0"),
            lambda: 1,
            lambda *_, **__: locals(),
            lambda *_: [None for _ in itertools.count()],
        )
    )


@cache
def solved(id: str):
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(get(id).solution, names)
        check(id, names["respuesta"])  # así queda hecho lo que se mide una vez, que tarda
    return names["respuesta"]


def numbers(rng: random.Random):
    """Con qué tipo escribir los números de una respuesta buena, y si así es buena."""
    import numpy as np
    import torch

    return rng.choice(
        (
            (np.float64, True),
            (np.longdouble, True),
            (np.array, True),
            (lambda v: Fraction(v), True),
            (lambda v: Decimal(repr(v)), True),
            (lambda v: torch.tensor(v, dtype=torch.float64), True),
            (lambda v: np.int64(v) if isinstance(v, int) else v, True),
            (lambda v: math.nan, False),
            (lambda v: np.float32("nan"), False),
            (lambda v: -math.inf, False),
            (lambda v: Decimal("nan"), False),
            (lambda v: torch.tensor(math.nan), False),
        )
    )


def converted(value, to, seen: list):
    """La misma respuesta con otros números; `seen` apunta si había alguno."""
    if isinstance(value, int | float) and type(value) in (int, float):
        seen.append(value)
        return to(value)
    if type(value) in (list, tuple, dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        made = {key: converted(item, to, seen) for key, item in items}
        return made if isinstance(value, dict) else type(value)(made.values())
    if is_dataclass(value) and not isinstance(value, type):
        changes = {f.name: converted(getattr(value, f.name), to, seen) for f in fields(value)}
        return replace(value, **changes)
    if callable(value):
        return lambda *args: converted(value(*args), to, seen)
    return value


def prepare(folder: Path) -> None:
    """Lee los ejercicios, que no es de ningún caso; y lo hecho aquí no cuenta como progreso."""
    os.environ["CURSO_SIN_PROGRESO"] = "1"
    all_exercises()


def case(rng: random.Random, folder: Path | None = None) -> None:
    """Comprueba una respuesta hostil o una buena, con sus números de otro tipo."""
    id = rng.choice([id for id in all_exercises() if id not in SLOW])
    way, seen, good = rng.random(), [], None
    if way < 0.3:
        to, good = numbers(rng)
        try:
            answer = converted(solved(id), to, seen)
        except ValueError:  # la misma clase de la respuesta lo rechaza, con su frase
            return
    else:
        answer = functions(rng) if way < 0.7 else values(rng)
    with (
        contextlib.nullcontext() if good else patch.multiple(answers, LIMIT=0.2, WHOLE=1.0),
        contextlib.redirect_stdout(io.StringIO()) as out,
    ):
        start = time.monotonic()
        check(id, answer)
    # `check` atrapa también lo que lance quien vigila el asedio: se mira el reloj.
    if (took := time.monotonic() - start) > LIMIT:
        raise Broken("cuelgue", f"{id}: {took:.0f} segundos")
    said = out.getvalue()
    if not (verdict := VERDICT.match(said)) or len(said) > 6_000:
        raise Broken("frase", f"{id}: {said[:300]!r}")
    if good and verdict[1] not in ("correcto", "hecho"):
        raise Broken("falsa", f"{id}: no acepta la buena con otros números: {said[:300]!r}")
    accepted = verdict[1] in ("correcto", "hecho")
    if accepted and (good is None or (good is False and seen)):
        raise Broken("falsa", f"{id}: acepta lo que no vale: {said[:300]!r}")
