"""Lo que devuelve la auditoría: hallazgos, abstenciones y el informe que los reúne."""

import json
from dataclasses import asdict, dataclass, field

from course_lib import data_path
from course_lib.encoding import Kind
from course_lib.tables import number

SEVERITIES = ("grave", "aviso", "nota")  # de peor a mejor
PLURALS = {"grave": "graves", "aviso": "avisos", "nota": "notas"}
TEXT_TOKENS, HTML_TOKENS = 60, 160  # los que se enseñan de un ejemplo


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
        tokens = []
        for token, _, counts, times in self._runs():
            visible = token.replace(" ", "·").replace("\n", "↵")
            visible = f"[{visible}]" if counts else visible
            tokens.append(f"{visible}×{times}" if times > 1 else visible)
        return self._render("informe.txt", tokens=tokens, limit=TEXT_TOKENS)

    def _repr_html_(self) -> str:
        """El informe como tabla, con un ejemplo coloreado como en las lecciones."""
        from course_lib.plots import tokens_html

        example, runs = self._example(), self._runs()
        cells = [
            (f"{token}×{number(times)}" if times > 1 else token, kind, counts)
            for token, kind, counts, times in runs[:HTML_TOKENS]
        ]
        left = sum(times for *_, times in runs[HTML_TOKENS:])
        tokens = example and tokens_html(cells, example.kinds, example.counted, left)
        return self._render("informe.html", tokens=tokens)

    def _render(self, template: str, **values) -> str:
        """El informe con una de las plantillas de `data/auditoria`."""
        from jinja2 import Environment, FileSystemLoader, select_autoescape

        severities = [found.severity for found in self.findings]
        counts = [(severities.count(severity), severity) for severity in SEVERITIES]
        shown = [f"{n} {one if n == 1 else PLURALS[one]}" for n, one in counts if n]
        summary = (
            f"Auditoría: {', '.join(shown) or 'nada que objetar'}. Comprobaciones sin hallazgos: "
            f"{len(self.passed)}; sin hacer, por falta de datos: {len(self.abstained)}."
        )
        lacking: dict[str, list[str]] = {}  # juntas las que se deben a lo mismo
        for abstention in self.abstained:
            lacking.setdefault(abstention.lacks, []).append(abstention.check)
        values |= {"report": self, "summary": summary, "lacking": lacking}
        loader = FileSystemLoader(data_path("auditoria"))
        environment = Environment(loader=loader, autoescape=select_autoescape(["html"]))
        return environment.get_template(template).render(example=self._example(), **values)

    def _example(self) -> Example | None:
        """El del hallazgo más grave que lo traiga; si no, la primera fila que se pudo leer."""
        return next((found.example for found in self.findings if found.example), self.example)

    def _runs(self) -> list[tuple[str, int, bool, int]]:
        """Los tokens, las rachas de relleno juntas: (texto, clase, si cuenta, cuántas veces)."""
        example, runs = self._example(), []
        for token in zip(example.tokens, example.kinds, example.counted) if example else ():
            if runs and token[1] == Kind.PADDING and runs[-1][:3] == token:
                runs[-1] = (*token, runs[-1][3] + 1)
            else:
                runs.append((*token, 1))
        return runs


def worst_first(findings) -> tuple[Finding, ...]:
    """Los hallazgos, de peor a mejor y, entre iguales, en el orden de las comprobaciones."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


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
