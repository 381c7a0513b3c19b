"""El consejero: qué peldaño aconseja, por qué, y que no diga nunca lo que el curso desmiente."""

import itertools
import re

import pytest
from checks import each

from course_lib.decision import (
    FULL_EXAMPLES,
    FULL_HOURS,
    LORA_EXAMPLES,
    LORA_HOURS,
    Lack,
    Needs,
    Rung,
    advise,
    decision_form,
    decision_widget,
    format_advice,
    obstacles,
)

BOOLEANS = ("has_evaluation", "cost_critical", "private", "maintained")
RICH = {"has_evaluation": True, "maintained": True, "examples": 20_000, "gpu_hours": 100.0}


def all_needs():
    """Una rejilla con todas las carencias y lo que más cambia el consejo."""
    tries = [tuple(rungs) for n in (0, 1, 2, 4) for rungs in itertools.combinations(Rung, n)]
    flags = list(itertools.product((False, True), repeat=len(BOOLEANS)))
    examples = (0, 3, LORA_EXAMPLES - 1, LORA_EXAMPLES, FULL_EXAMPLES)
    hours = (0, LORA_HOURS, FULL_HOURS)
    for lack, tried, flag, n, gpu in itertools.product(Lack, tries, flags, examples, hours):
        yield Needs(
            lack, tried=tried, examples=n, gpu_hours=gpu, **dict(zip(BOOLEANS, flag, strict=True))
        )


@pytest.fixture(scope="module")
def grid():
    return [(needs, advise(needs)) for needs in all_needs()]


def test_knowledge_that_changes_or_is_new_never_leads_to_training(grid):
    lacks = (Lack.CHANGING_KNOWLEDGE, Lack.NEW_KNOWLEDGE)
    rungs = {r for n, a in grid if n.lacks in lacks for r in (a.rung, *a.then)}
    assert rungs == {Rung.RAG, Rung.TUNED_MODEL}


def test_an_unknown_lack_never_leads_to_training(grid):
    rungs = {r for n, a in grid if n.lacks == Lack.UNKNOWN for r in (a.rung, *a.then)}
    assert max(rungs) < Rung.LORA


def test_training_always_needs_evaluation_examples_hours_and_a_keeper(grid):
    trained = [n for n, a in grid if Rung.LORA in (a.rung, *a.then)]
    assert trained
    assert all(n.has_evaluation and n.maintained for n in trained)
    assert all(n.examples >= LORA_EXAMPLES and n.gpu_hours >= LORA_HOURS for n in trained)


def test_full_tuning_is_never_advised_before_lora_nor_with_few_examples(grid):
    full = [n for n, a in grid if Rung.FULL in (a.rung, *a.then)]
    assert full
    assert all(Rung.LORA in n.tried and n.examples >= FULL_EXAMPLES for n in full)


def test_more_means_never_take_training_away(grid):
    # Con todo lo demás igual, dar de sobra lo que pide el ajuste fino no aleja nunca de él.
    trains = {n: a.rung >= Rung.LORA for n, a in grid}
    plenty = {"examples": FULL_EXAMPLES, "gpu_hours": FULL_HOURS}
    assert all(trains[Needs(**(vars(needs) | plenty))] for needs, yes in trains.items() if yes)


def test_trying_rungs_in_the_order_advised_climbs_and_never_repeats():
    needs = Needs(Lack.STYLE_OR_FORMAT, **RICH)
    climbed = []
    for _ in Rung:
        rung = advise(needs).rung
        if rung in climbed:
            break
        climbed.append(rung)
        needs = Needs(Lack.STYLE_OR_FORMAT, tried=tuple(climbed), **RICH)
    assert climbed == [Rung.PROMPT, Rung.FEW_SHOT, Rung.TUNED_MODEL, Rung.LORA, Rung.FULL]
    assert any("Ya has probado" in warning for warning in advise(needs).warnings)


def test_format_with_many_examples_and_critical_cost_leads_to_lora():
    means = RICH | {"cost_critical": True}
    assert advise(Needs(Lack.STYLE_OR_FORMAT, tried=(Rung.PROMPT,), **means)).rung == Rung.LORA
    before = advise(Needs(Lack.STYLE_OR_FORMAT, **means))
    assert (before.rung, before.then) == (Rung.PROMPT, (Rung.LORA,))


def test_critical_cost_skips_the_examples_only_if_lora_is_within_reach():
    means = {"tried": (Rung.PROMPT,), "cost_critical": True, "examples": 40}
    advice = advise(Needs(Lack.STYLE_OR_FORMAT, **means))
    assert (advice.rung, advice.then) == (Rung.FEW_SHOT, (Rung.TUNED_MODEL,))


def test_critical_cost_alone_does_not_lead_to_training(grid):
    poor = [a for n, a in grid if n.cost_critical and n.examples < LORA_EXAMPLES]
    assert max(a.rung for a in poor) < Rung.LORA


def test_privacy_changes_the_reasons_and_not_the_rung(grid):
    rungs = {n: a.rung for n, a in grid if not n.private}
    for needs, advice in grid:
        if needs.private:
            fields = {**vars(needs), "private": False}
            assert rungs[Needs(**fields)] == advice.rung
            assert any("no salen" in reason.criterion for reason in advice.reasons)


def test_without_evaluation_the_warning_is_to_measure_first(grid):
    for needs, advice in grid:
        assert any("Mide primero" in w for w in advice.warnings) != needs.has_evaluation


def test_what_is_missing_for_a_higher_rung_is_said():
    needs = Needs(Lack.STYLE_OR_FORMAT, examples=40, tried=(Rung.PROMPT,))
    changes = " ".join(advise(needs).changes)
    assert f"al menos {LORA_EXAMPLES} ejemplos" in changes and "hay 40" in changes
    assert "evaluación" in changes and "alguien que lo mantenga" in changes
    assert not obstacles(Needs(Lack.STYLE_OR_FORMAT, **RICH), Rung.LORA)


def test_every_advice_has_reasons_measures_and_a_way_to_change_it(grid):
    for _, advice in grid:
        assert advice.reasons and advice.measures and advice.changes
        assert advice.rung not in advice.then


def test_the_same_needs_give_the_same_advice(grid):
    assert all(advise(needs) == advice for needs, advice in grid[::97])


def test_sources_carry_author_year_and_link(grid):
    sources = {r.source for _, a in grid for r in a.reasons if r.source}
    assert len(sources) >= 10
    for source in sources:
        assert source.authors and 2017 <= source.year
        year_month = re.fullmatch(r"https://arxiv\.org/abs/(\d\d)(\d\d)\.\d{5}", source.url)
        assert 2000 + int(year_month.group(1)) == source.year


def test_plain_text_names_the_lack_as_well_as_the_enum():
    assert advise(Needs("un saber que cambia")) == advise(Needs(Lack.CHANGING_KNOWLEDGE))


@each(
    ("fields", "message"),
    [
        ({"lacks": "dinero"}, "elige entre «un saber que cambia»"),
        ({"examples": -1}, "un entero desde 0"),
        ({"examples": 3.5}, "un entero desde 0"),
        ({"examples": True}, "un entero desde 0"),
        ({"gpu_hours": float("nan")}, "las horas, desde 0"),
        ({"gpu_hours": -2}, "las horas, desde 0"),
        ({"gpu_hours": "muchas"}, "las horas, desde 0"),
        ({"private": "no"}, "escribe True o False"),
        ({"tried": (9,)}, "una tupla como"),
        ({"tried": Rung.PROMPT}, "una tupla como"),
        ({"tried": "prompt"}, "una tupla como"),
    ],
)
def test_bad_input_gets_one_sentence_with_the_way_out(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        Needs(**({"lacks": Lack.UNKNOWN} | fields))
    assert repr(next(iter(fields.values()))) in str(error.value)


def test_markdown_has_the_rung_the_warning_and_linked_sources():
    text = format_advice(advise(Needs(Lack.CHANGING_KNOWLEDGE)))
    assert text.startswith("**Empieza por: buscar y leer (RAG).**")
    assert "> **Aviso.** Mide primero" in text
    assert "[Lewis et al., 2020](https://arxiv.org/abs/2005.11401)" in text


def test_the_form_answers_as_the_function_does():
    form = decision_form()
    form.controls["lacks"].value = Lack.STYLE_OR_FORMAT
    form.controls["tried"].value = (Rung.PROMPT,)
    for name in ("has_evaluation", "maintained", "cost_critical"):
        form.controls[name].value = True
    form.controls["examples"].value, form.controls["gpu_hours"].value = 20_000, 10
    means = RICH | {"gpu_hours": 10.0, "cost_critical": True}
    assert form.needs() == Needs(Lack.STYLE_OR_FORMAT, tried=(Rung.PROMPT,), **means)
    assert "ajuste fino con LoRA" in form.children[-1].value


def test_where_nothing_draws_the_form_its_advice_is_read_as_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    decision_widget()
    (data,) = shown
    text = data["text/plain"]
    assert (
        "Empieza por: buscar y leer (RAG). Si no basta: un" in text and "Lewis et al., 2020" in text
    )
    assert "*" not in text and max(map(len, text.splitlines())) <= 96
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"]
