"""Lo que devuelve la auditoría: hallazgos, abstenciones y el informe que los reúne."""

import json
from dataclasses import asdict, dataclass
from itertools import groupby

from course_lib import data_path
from course_lib.encoding import Kind
from course_lib.tables import number

SEVERITIES = ("grave", "aviso", "nota")  # de peor a mejor
TEXT_TOKENS, HTML_TOKENS = 60, 160  # los que se enseñan de un ejemplo
JSON_ITEMS = 200  # lo que se escribe de una lista en JSON, como mucho


@dataclass(frozen=True)
class Example:
    """Un ejemplo para colorear, token a token."""

    tokens: tuple[str, ...]  # sus textos
    kinds: tuple[int, ...]  # qué es cada uno: un `Kind`
    counted: tuple[bool, ...]  # si la pérdida lo cuenta
    row: int  # el número de su fila en los datos


@dataclass(frozen=True)
class Finding:
    """Algo que está mal, con su prueba."""

    check: str  # el identificador de la comprobación, como «relleno-contado»
    severity: str  # «grave» (estropea el ajuste), «aviso» (conviene mirarlo) o «nota»
    title: str  # qué está mal, en una línea
    evidence: str  # cuentas, tokens y números de fila que lo prueban
    numbers: dict  # esas cifras, sin redondear
    why: str  # por qué duele
    mend: str  # cómo se arregla
    lesson: str  # la lección del curso que lo explica
    rows: tuple[int, ...] = ()  # filas en las que se ve
    example: Example | None = None  # una de ellas, token a token
    supposed: bool = False  # si no se mide en lo dado, sino en lo que se supone que se hará
    places: tuple[int, ...] = ()  # la línea, o el número, de esas filas en su archivo
    marks: tuple[str, ...] = ()  # las huellas de sus textos: no cambian al renumerarlas


@dataclass(frozen=True)
class Abstention:
    """Una comprobación que no se pudo hacer, y lo que le falta."""

    check: str
    lacks: str


@dataclass(frozen=True, repr=False)
class Report:
    """El informe de una auditoría. Se lee con `print`, en un cuaderno o con `to_json`."""

    findings: tuple[Finding, ...] = ()  # lo que está mal, lo peor primero
    abstained: tuple[Abstention, ...] = ()  # lo que no se pudo comprobar
    passed: tuple[str, ...] = ()  # lo que se comprobó y está bien
    example: Example | None = None
    failed: tuple[Abstention, ...] = ()  # lo que falló por dentro, y con qué error
    notices: tuple[str, ...] = ()  # lo que se saltó al leer los diálogos
    assumed: str = ""  # lo que se leyó y lo que se supone, si se supone algo

    @property
    def grave(self) -> bool:
        """Si algún hallazgo es grave."""
        return any(finding.severity == "grave" for finding in self.findings)

    def to_json(self) -> str:
        """El informe en JSON; de las listas largas, el comienzo y, en `…_total`, cuántos son."""

        def plain(value):  # lo de numpy o torch, como número; lo que no cabe en JSON, como texto
            return value.item() if hasattr(value, "item") else str(value)

        text = json.dumps(asdict(self) | {"grave": self.grave}, default=plain)
        # Tampoco cabe una pérdida infinita o no numérica.
        fits = json.loads(text, parse_constant=lambda name: str(float(name)))
        return json.dumps(_capped(fits), ensure_ascii=False)

    def brief(self) -> str:
        """El informe sin lo que está bien ni lo que no se pudo comprobar, que solo se cuenta."""
        return self._render("informe.txt")

    def __repr__(self) -> str:
        tokens = []
        for token, _, counts, times in self._runs():
            visible = token.replace(" ", "·").replace("\n", "↵")
            visible = f"[{visible}]" if counts else visible
            tokens.append(f"{visible}×{times}" if times > 1 else visible)
        return self._render("informe.txt", tokens=tokens, limit=TEXT_TOKENS, full=True)

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

        severities = [found.severity for found in self.findings if not found.supposed]
        counts = [(severities.count(severity), severity) for severity in SEVERITIES]
        shown = [f"{n} {severity}{'s' * (n > 1)}" for n, severity in counts if n]
        if n := len(self.failed):
            which = "comprobaciones fallaron" if n > 1 else "comprobación falló"
            shown.append(f"{n} {which} por dentro")
        more = len(self.findings) - len(severities)
        guess = f"; si se ajustara como se supone, {more} cosa{'s' * (more > 1)} que mirar"
        summary = (
            f"Auditoría: {', '.join(shown) or 'nada que objetar'}{guess * (more > 0)}. "
            f"Comprobaciones sin hallazgos: {len(self.passed)}; "
            f"sin hacer, por falta de datos: {len(self.abstained)}."
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
        tokens = zip(example.tokens, example.kinds, example.counted) if example else ()
        for token, some in groupby(tokens):
            times = len([*some])
            padded = token[1] == Kind.PADDING
            runs += [(*token, times)] if padded else [(*token, 1)] * times
        return runs


def _capped(value):
    """Lo mismo, con las listas largas cortadas y, al lado, su longitud."""
    if isinstance(value, list):
        return [_capped(item) for item in value[:JSON_ITEMS]]
    if not isinstance(value, dict):
        return value
    long = {k: len(v) for k, v in value.items() if isinstance(v, list) and len(v) > JSON_ITEMS}
    return {key: _capped(v) for key, v in value.items()} | {
        f"{k}_total": n for k, n in long.items()
    }


def worst_first(findings) -> tuple[Finding, ...]:
    """Los hallazgos, de peor a mejor y, entre iguales, en el orden de las comprobaciones."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
