"""El banco de la auditoría: todo fallo plantado se ve, con su gravedad, y nada limpio alarma."""

from collections import Counter
from types import SimpleNamespace

import pytest

from tests.banco.__main__ import table
from tests.banco.caso import CHECKS, SEVERITIES, control, planted
from tests.banco.medir import Outcome, all_cases, measure, run, scores

pytestmark = pytest.mark.usefixtures("light_collections")
PLANTED, CONTROLS, EXERCISED = 10, 60, 5


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """El banco entero, que tarda: se pasa una vez."""
    return run(all_cases())


def test_every_planted_fault_is_found_with_its_severity(outcomes):
    planted_ones = [o for o in outcomes if o.case.planted]
    missed = [f"{o.case.check} · {o.case.name}: {o.problem}" for o in planted_ones if o.problem]
    assert missed == []


def test_no_clean_control_raises_a_false_alarm(outcomes):
    alarms = {o.case.name: o.false_alarms() for o in outcomes if o.false_alarms()}
    assert alarms == {}


def test_each_check_is_measured_on_ten_faults_and_on_controls_where_it_could_be_made(outcomes):
    table = scores(outcomes)
    assert [s.check for s in table] == list(CHECKS)
    assert [s for s in table if s.cases < PLANTED or s.exercised < EXERCISED] == []


def test_no_case_breaks_the_auditor_and_controls_are_enough(outcomes):
    assert [f"{o.case.name}: {o.error}" for o in outcomes if o.error] == []
    assert sum(not o.case.planted and not o.skipped for o in outcomes) >= CONTROLS


def test_no_two_cases_have_the_same_name():
    names = Counter((case.check, case.name) for case in all_cases())
    assert [name for name, times in names.items() if times > 1] == []


def report(findings=(), abstained=(), passed=()):
    return SimpleNamespace(findings=findings, abstained=abstained, passed=passed)


def test_the_benchmark_complains_of_a_detector_that_misses(monkeypatch):
    silent = SimpleNamespace(check="fuga", lacks="las pruebas")
    mild = SimpleNamespace(check="fuga", severity="nota", evidence="")
    answers = {
        "no lo ve": report(passed=("fuga",)),
        "se abstiene": report(abstained=(silent,)),
        "gravedad «nota» en vez de «grave»": report(findings=(mild,)),
        "ni lo ve ni lo menciona": report(),
    }
    said = {}
    for complaint, answer in answers.items():
        monkeypatch.setattr("course_lib.audit.audit", lambda answer=answer, **inputs: answer)
        outcome = measure(planted("fuga", "grave", "de prueba", dict))
        said[complaint] = complaint in outcome.problem and complaint in table([outcome])
    assert said == dict.fromkeys(answers, True)


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
