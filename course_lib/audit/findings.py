"""Lo que devuelve la auditoría: hallazgos, abstenciones y el informe que los reúne."""

import json
from dataclasses import asdict, dataclass, field

from course_lib.audit.advice import ADVICE

SEVERITIES = ("grave", "aviso", "nota")  # de peor a mejor


@dataclass(frozen=True)
class Example:
    """Un ejemplo para colorear: el texto de cada token, qué es (`Kind`) y si la pérdida lo cuenta.

    `row` es el número de su fila en los datos.
    """

    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    counted: tuple[bool, ...]
    row: int


@dataclass(frozen=True)
class Finding:
    """Algo que está mal, con su prueba.

    Attributes:
        check: el identificador de la comprobación, como «relleno-contado».
        severity: «grave» (estropea el ajuste), «aviso» (conviene mirarlo) o «nota».
        title: qué está mal, en una línea.
        evidence: cuentas, tokens y números de fila que lo prueban.
        numbers: esas cifras, sin redondear.
        why: por qué duele.
        mend: cómo se arregla.
        lesson: la lección del curso que lo explica.
        rows: filas en las que se ve.
        example: una de ellas, token a token.
    """

    check: str
    severity: str
    title: str
    evidence: str
    numbers: dict
    why: str
    mend: str
    lesson: str
    rows: tuple[int, ...] = ()
    example: Example | None = None


@dataclass(frozen=True)
class Abstention:
    """Una comprobación que no se pudo hacer, y lo que le falta."""

    check: str
    lacks: str


@dataclass(frozen=True, repr=False)
class Report:
    """El informe de una auditoría. Se lee con `print`, en un cuaderno o con `to_json`.

    Attributes:
        findings: lo que está mal, lo peor primero.
        abstained: lo que no se pudo comprobar.
        passed: lo que se comprobó y está bien.
    """

    findings: tuple[Finding, ...] = ()
    abstained: tuple[Abstention, ...] = ()
    passed: tuple[str, ...] = ()
    example: Example | None = field(default=None, repr=False)

    @property
    def grave(self) -> bool:
        """Si algún hallazgo es grave."""
        return any(finding.severity == "grave" for finding in self.findings)

    def to_json(self) -> str:
        """El informe entero en JSON."""
        # Una pérdida infinita o no numérica no cabe en JSON: se escribe como texto.
        return json.dumps(_plain(asdict(self) | {"grave": self.grave}), ensure_ascii=False)

    def __repr__(self) -> str:
        from course_lib.audit.render import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from course_lib.audit.render import as_html

        return as_html(self)


def finding(
    check: str,
    severity: str,
    evidence: str,
    numbers: dict,
    rows=(),
    example: Example | None = None,
    title: str | None = None,
) -> Finding:
    """Un hallazgo con los consejos de su comprobación."""
    advice = ADVICE[check]
    return Finding(
        check=check,
        severity=severity,
        title=title or advice.title,
        evidence=evidence,
        numbers=numbers,
        why=advice.why,
        mend=advice.mend,
        lesson=advice.lesson,
        rows=tuple(rows),
        example=example,
    )


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


def percent(share: float) -> str:
    """Una proporción como se escribe en español.

    >>> percent(0.71562)
    '71,6%'
    """
    return f"{100 * share:.1f}%".replace(".", ",")


def listing(numbers, limit: int = 8) -> str:
    """Los primeros números de fila.

    >>> listing(range(12), limit=3)
    '0, 1, 2 y 9 más'
    """
    numbers = list(numbers)
    shown = ", ".join(map(str, numbers[:limit]))
    rest = len(numbers) - limit
    return f"{shown} y {rest} más" if rest > 0 else shown


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return value.item() if hasattr(value, "item") else str(value)
