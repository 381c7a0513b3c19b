"""El motor: lo que necesita cada comprobación, cómo se gradúa lo que ve y cómo se cuenta.

Una comprobación es una función decorada con `check`. Devuelve `Seen` si ve algo, `None` si todo
está bien y una frase si le falta algo; si se rompe por dentro, la auditoría lo dice aparte. Sus
textos están en `data/auditoria/comprobaciones.toml`.
"""

import string
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

from course_lib import read_toml
from course_lib.audit.case import Case
from course_lib.audit.report import Abstention, Example, Finding
from course_lib.audit.rows import Row
from course_lib.tables import number, percent

CATALOGUE: dict[str, dict[str, str]] = dict(read_toml("auditoria", "comprobaciones.toml"))
LACKS = CATALOGUE.pop("falta")  # lo que se dice cuando falta algo
Outcome = Finding | Abstention | str | None  # lo que ve, que se rompió, lo que falta, nada
CHECKS: dict[str, Callable[[Case], Outcome]] = dict.fromkeys(CATALOGUE)  # el orden
LISTED = 8  # filas que se nombran


class Seen:
    """Lo que ve una comprobación, antes de ponerle palabras.

    Args:
        numbers: las cifras que lo prueban; si hay `proporcion`, por ella se gradúa.
        rows: las filas en que se ve, o sus números. La primera `Row` sirve de ejemplo.
        say: los nombres de las frases de su prueba; los vacíos se saltan.
        severity: la gravedad, si no es la que tocaría; `at_most`, la mayor que puede tener.
        title: el nombre de su título; `example`, el ejemplo, si no es la primera fila.
        cause: la causa, si tiene título, porqué o arreglo propios (`arreglo_causa`…); sin `say`, su
            prueba es la frase con su nombre.
        words: lo que las frases nombran y no son cifras.
    """

    def __init__(self, numbers: dict, rows: Iterable = (), say: Sequence = (),
                 severity: str | None = None, at_most: str | None = None, title: str = "titulo",
                 example: Example | None = None, cause: str = "", **words):  # fmt: skip
        self.numbers, self.title, self.words = numbers, title, words
        self.cause, self.say = cause, say or [cause or "prueba"]
        self.severity, self.at_most, self.example = severity, at_most, example
        rows = tuple(rows)
        self.first = rows[0] if rows and isinstance(rows[0], Row) else None
        self.rows = tuple(row.number for row in rows) if self.first else rows

    def finding(self, name: str, severity: str, case: Case | None = None) -> Finding:
        """El hallazgo, con los textos de la comprobación `name`."""
        texts, spanish = CATALOGUE[name], _Spanish()
        own = {key: texts.get(f"{key}_{self.cause}", texts[key])
               for key in (self.title, "duele", "arreglo")}  # fmt: skip
        values = {"lista": self.rows} | self.numbers | self.words
        said = [spanish.vformat(texts[phrase], (), values) for phrase in self.say if phrase]
        if self.first and (seen := case.collated).sampled < seen.total:
            looked, total = number(seen.sampled), number(seen.total)
            said.append(f"Muestra al azar de {looked} de {total} filas.")
        return Finding(
            check=name,
            severity=severity,
            title=spanish.vformat(own[self.title], (), values),
            evidence=" ".join(said),
            numbers=self.numbers,
            why=own["duele"],
            mend=own["arreglo"],
            lesson=texts["leccion"],
            rows=self.rows,
            example=case.example(self.first) if self.first else self.example,
        )


def first_cause(numbers: dict, causes: dict[str, Any], **words) -> Seen | None:
    """Lo que se ve por la primera causa que se da.

    Args:
        causes: cada una, si se da; si lo que dice es un texto, es su gravedad.
    """
    cause, held = next(((name, held) for name, held in causes.items() if held), ("", None))
    level = held if isinstance(held, str) else None
    return Seen(numbers, cause=cause, severity=level, **words) if cause else None


def check(name: str, *needs, severity: str | None = None, grave=inf, aviso=inf, nota=None):
    """Registra una comprobación, que recibe el caso y, detrás, lo que necesita.

    Args:
        name: su identificador, que da también su sitio entre las demás.
        needs: atributos del caso, o funciones de él; si falta uno, la comprobación se abstiene con
            la frase de `LACKS`, con la que acompañe al nombre o con la que devuelva la función.
        severity: la gravedad de lo que se vea, si no depende de una proporción.
        grave, aviso: desde qué proporción se lo considera.
        nota: por encima de cuál.
    """

    def register(function: Callable) -> Callable:
        def run(case: Case) -> Outcome:
            try:
                values: list[Any] = []
                for need in needs:
                    attribute, lack = need if isinstance(need, tuple) else (need, LACKS.get(need))
                    value = need(case) if callable(need) else getattr(case, attribute)
                    if value is None or value == set() or isinstance(value, str):
                        return value or lack
                    values.append(value)
                seen = function(case, *values)
                if not isinstance(seen, Seen):
                    return seen
                level = seen.severity or severity
                level = level or grade(seen.numbers["proporcion"], grave, aviso, nota)
                return level and seen.finding(name, seen.at_most or level, case)
            except Exception as error:  # no es una abstención: del fallo no se sabe nada
                reason = " ".join(str(error).split())[:120]
                return Abstention(name, f"{type(error).__name__}: {reason}")

        CHECKS[name] = run
        return function

    return register


def share(name: str, part: Sequence, whole: Sequence) -> dict:
    """Cuántas filas hay, cuántas son las que se llaman `name`, y qué proporción son.

    >>> share("vacias", [7], [5, 6, 7, 8])
    {'filas': 4, 'vacias': 1, 'proporcion': 0.25}
    """
    return {"filas": len(whole), name: len(part), "proporcion": len(part) / len(whole)}


def grade(share: float, grave: float, aviso: float, nota: float | None = None) -> str | None:
    """La gravedad que toca a una proporción, o `None` si no llega a ninguna.

    >>> grade(0.2, grave=0.2, aviso=0.01)
    'grave'
    """
    if share >= grave:
        return "grave"
    if share >= aviso:
        return "aviso"
    return "nota" if nota is not None and share > nota else None


class _Spanish(string.Formatter):
    """Da formato a la española y con otras tres maneras, que explica `comprobaciones.toml`."""

    def format_field(self, value: Any, spec: str) -> str:
        if spec == "filas":
            more = f" y {len(value) - LISTED} más" if len(value) > LISTED else ""
            return ", ".join(map(str, value[:LISTED])) + more
        if spec.startswith("es"):
            values = value if isinstance(value, list) else [value]
            return ", ".join(f"{v:{spec[2:] or '.3g'}}".replace(".", ",") for v in values)
        if not spec and type(value) is int:
            return number(value)
        return percent(value, 1) if spec == "%" else super().format_field(value, spec)
