"""Pasa los casos por un detector y cuenta: lo que encuentra, lo que calla y lo que inventa."""

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.banco import modelos
from tests.banco.caso import CHECKS, SEVERITIES, Case, Unavailable

ALARMS = ("grave", "aviso")


@dataclass(frozen=True)
class Outcome:
    """Lo que dio un caso.

    `found` son las gravedades halladas por comprobación (la peor de cada una); `evidence`, sus
    pruebas; `passed` y `abstained`, las comprobaciones limpias y aquellas en que se abstiene (con
    lo que le falta); `skipped` y `error` dicen por qué no se pudo medir.
    """

    case: Case
    found: dict[str, str] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)
    passed: frozenset[str] = frozenset()
    abstained: dict[str, str] = field(default_factory=dict)
    skipped: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def problem(self) -> str:
        """Lo que no es como pide el contrato, o la cadena vacía."""
        if self.skipped:
            return ""
        if self.error:
            return f"error: {self.error}"
        if not self.case.planted:
            alarms = ", ".join(f"{c} ({self.found[c]})" for c in self.false_alarms())
            return f"falsa alarma: {alarms}" if alarms else ""
        severity = self.found.get(self.case.check)
        if severity == self.case.severity:
            return ""
        if severity:
            return f"gravedad «{severity}» en vez de «{self.case.severity}»"
        if self.case.check in self.abstained:
            return f"se abstiene: {self.abstained[self.case.check]}"
        return "no lo ve" if self.case.check in self.passed else "ni lo ve ni lo menciona"

    def false_alarms(self) -> list[str]:
        """Las comprobaciones que alarman en un control."""
        if self.case.planted:
            return []
        return [check for check, severity in self.found.items() if severity in ALARMS]


def all_cases() -> list[Case]:
    """Todos los casos: primero los fallos plantados y después los controles."""
    from tests.banco import (
        controles_charlas,
        controles_coladores,
        controles_datos,
        controles_despues,
        controles_entrenar,
        controles_formas,
        controles_raros,
        controles_trl,
        fallos_alcance,
        fallos_datos,
        fallos_descuadre,
        fallos_entrenar,
        fallos_etiquetas,
        fallos_fin,
        fallos_generacion,
        fallos_ids,
        fallos_longitud,
        fallos_lora,
        fallos_marcadores,
        fallos_medidas,
        fallos_plantilla,
        fallos_precision,
        fallos_registro,
    )

    parts = (
        fallos_descuadre,
        fallos_etiquetas,
        fallos_fin,
        fallos_alcance,
        fallos_plantilla,
        fallos_marcadores,
        fallos_ids,
        fallos_generacion,
        fallos_longitud,
        fallos_datos,
        fallos_entrenar,
        fallos_precision,
        fallos_lora,
        fallos_registro,
        fallos_medidas,
        controles_datos,
        controles_coladores,
        controles_charlas,
        controles_entrenar,
        controles_trl,
        controles_despues,
        controles_formas,
        controles_raros,
    )
    return [case for part in parts for case in part.cases()]


def measure(case: Case) -> Outcome:
    """Prepara un caso y lo audita."""
    from course_lib.audit import audit

    modelos.quiet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            inputs = case.build()
        except Unavailable as reason:
            return Outcome(case, skipped=str(reason))
        start = time.perf_counter()
        try:
            report = audit(**inputs)
        except Exception as error:  # un detector que se cae no detecta: se cuenta y se sigue
            return Outcome(case, error=f"{type(error).__name__}: {error}")
    found: dict[str, str] = {}
    evidence: dict[str, str] = {}
    for finding in sorted(report.findings, key=lambda f: SEVERITIES.index(f.severity)):
        found.setdefault(finding.check, finding.severity)
        evidence.setdefault(finding.check, finding.evidence)
    return Outcome(
        case,
        found,
        evidence,
        frozenset(report.passed),
        {a.check: a.lacks for a in report.abstained},
        seconds=time.perf_counter() - start,
    )


def run(cases: Iterable[Case], progress: Callable[[Outcome], None] | None = None) -> list[Outcome]:
    """Mide todos los casos, en orden."""
    outcomes = []
    for case in cases:
        outcomes.append(measure(case))
        if progress:
            progress(outcomes[-1])
    return outcomes


@dataclass(frozen=True)
class Score:
    """La fila de una comprobación: fallos plantados a la izquierda, controles a la derecha."""

    check: str
    cases: int
    found: int
    exact: int
    abstained: int
    exercised: int
    alarms: int
    skipped: int


def scores(outcomes: Iterable[Outcome]) -> list[Score]:
    """Las cuentas por comprobación.

    Un control en que la comprobación se abstiene no cuenta como superado.
    """
    outcomes = list(outcomes)
    table = []
    for check in CHECKS:
        own = [o for o in outcomes if o.case.check == check]
        ran = [o for o in own if not o.skipped]
        controls = [o for o in outcomes if not o.case.planted and not o.skipped]
        alarms = sum(check in o.false_alarms() for o in controls)
        table.append(
            Score(
                check,
                len(ran),
                sum(check in o.found for o in ran),
                sum(o.found.get(check) == o.case.severity for o in ran),
                sum(check in o.abstained for o in ran),
                sum(check in o.passed or check in o.found for o in controls),
                alarms,
                len(own) - len(ran),
            )
        )
    return table


def speed(n: int = 10_000) -> tuple[float, float]:
    """Segundos de `audit` con `n` charlas de seis turnos y el tokenizador ya cargado.

    Returns:
        `(con filas, solo charlas)`: con el archivo y sus filas ya codificadas, y sin ellas.
    """
    from course_lib.audit import audit
    from tests.banco import filas
    from tests.banco.textos import export, talks
    from tests.banco.tokenizadores import make

    dialogues = talks(n, turns=6, roles=True)
    path = export(dialogues, "diez-mil.jsonl", "messages")
    tokenizer = make("curso")
    rows = filas.dataset(filas.chat_rows(tokenizer, dialogues))
    inputs = {"dialogues": path, "tokenizer": tokenizer}
    seconds = []
    for extra in ({"train_dataset": rows, "eval_dataset": rows.select(range(8))}, {}):
        start = time.perf_counter()
        audit(**inputs, **extra)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]
