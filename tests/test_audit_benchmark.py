"""El banco de la auditoría: todo fallo plantado se ve, con su gravedad, y nada limpio alarma."""

from collections import Counter
from types import SimpleNamespace

import pytest

from herramientas.banco.__main__ import table
from herramientas.banco.caso import CHECKS, SEVERITIES, control, planted
from course_lib.autopsy import measure
from herramientas.banco.medir import Outcome, all_cases, scores
from taller.colab_cuadernos import run

PLANTED, CONTROLS, EXERCISED = 10, 60, 5


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return run(all_cases())


@pytest.fixture(scope="module")
def score(outcomes):
    return {s.check: s for s in scores(outcomes)}


@pytest.mark.parametrize("check", CHECKS)
def test_every_planted_fault_is_found_with_its_severity(check, outcomes):
    own = [o for o in outcomes if o.case.check == check]
    assert [f"{o.case.name}: {o.problem}" for o in own if o.problem] == []


@pytest.mark.parametrize("check", CHECKS)
def test_no_clean_control_raises_a_false_alarm(check, outcomes):
    assert [o.case.name for o in outcomes if check in o.false_alarms()] == []


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_is_measured_on_ten_faults_and_on_controls_where_it_could_be_made(check, score):
    assert score[check].cases >= PLANTED
    assert score[check].exercised >= EXERCISED


def test_no_case_breaks_the_auditor_and_controls_are_enough(outcomes):
    assert [f"{o.case.name}: {o.error}" for o in outcomes if o.error] == []
    assert sum(not o.case.planted and not o.skipped for o in outcomes) >= CONTROLS


def test_no_two_cases_have_the_same_name():
    names = Counter((case.check, case.name) for case in all_cases())
    assert [name for name, times in names.items() if times > 1] == []


def report(findings=(), abstained=(), passed=()):
    return SimpleNamespace(findings=findings, abstained=abstained, passed=passed)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (report(passed=("fuga",)), "no lo ve"),
        (report(abstained=(SimpleNamespace(check="fuga", lacks="las pruebas"),)), "se abstiene"),
        (
            report(findings=(SimpleNamespace(check="fuga", severity="nota", evidence=""),)),
            "gravedad «nota» en vez de «grave»",
        ),
        (report(), "ni lo ve ni lo menciona"),
    ],
)
def test_the_benchmark_complains_of_a_detector_that_misses(monkeypatch, answer, complaint):
    monkeypatch.setattr("course_lib.audit.audit", lambda **inputs: answer)
    outcome = measure(planted("fuga", "grave", "de prueba", dict))
    assert complaint in outcome.problem
    assert complaint in table([outcome])


def test_the_benchmark_complains_of_a_detector_that_alarms_at_everything(monkeypatch):
    every = [SimpleNamespace(check=c, severity="aviso", evidence="") for c in CHECKS]
    monkeypatch.setattr("course_lib.audit.audit", lambda **inputs: report(findings=every))
    outcome = measure(control("limpio", dict))
    assert outcome.false_alarms() == list(CHECKS)
    assert all(s.alarms == 1 for s in scores([outcome]))


def test_a_control_on_which_the_check_abstains_does_not_count_as_passed(monkeypatch):
    silent = report(abstained=[SimpleNamespace(check=c, lacks="todo") for c in CHECKS])
    monkeypatch.setattr("course_lib.audit.audit", lambda **inputs: silent)
    assert all(s.exercised == 0 for s in scores([measure(control("limpio", dict))]))


def test_a_fault_outside_the_contract_is_refused():
    with pytest.raises(ValueError, match="El contrato no tiene"):
        planted("inventada", SEVERITIES[0], "x", dict)
