"""El consejero: qué peldaño aconseja, por qué, y que no diga nunca lo que el curso desmiente."""

import itertools
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from checks import each

from course_lib.decision import (
    Lack,
    Needs,
    Rung,
    advise,
    decision_form,
    decision_widget,
    format_advice,
    obstacles,
    trains,
)

LORA_EXAMPLES, LORA_HOURS, FULL_EXAMPLES, FULL_HOURS, CONTINUED_HOURS = 500, 1, 10_000, 20, 1_000
CASES = Path(__file__).parent / "consejero"
BOOLEANS = ("has_evaluation", "cost_critical", "private", "maintained", "api_only")
RICH = {"has_evaluation": True, "maintained": True, "examples": 20_000, "gpu_hours": 100.0}


def all_needs():
    """Una rejilla con todas las carencias y lo que más cambia el consejo."""
    some = (Rung.PROMPT, Rung.FEW_SHOT, Rung.RAG, Rung.OTHER_MODEL, Rung.LORA)
    tries = [tuple(rungs) for n in (0, 1, 5) for rungs in itertools.combinations(some, n)]
    flags = list(itertools.product((False, True), repeat=len(BOOLEANS)))
    means = [(0, 0), (3, LORA_HOURS), (LORA_EXAMPLES, LORA_HOURS), (FULL_EXAMPLES, FULL_HOURS)]
    means += [(FULL_EXAMPLES, CONTINUED_HOURS)]
    for lack, tried, flag, (n, gpu) in itertools.product(Lack, tries, flags, means):
        rest = {
            "verifier": bool(n),
            "preferences": n,
            "own_text": 10**5 * n,
            "vendor_tuning": n > 3,
        }
        yield Needs(
            lack,
            tried=tried,
            examples=n,
            gpu_hours=gpu,
            **rest,
            **dict(zip(BOOLEANS, flag, strict=True)),
        )


@pytest.fixture(scope="module")
def grid():
    return [(needs, advise(needs)) for needs in all_needs()]


def judged(kind: str) -> list[tuple[str, Rung, list[Rung]]]:
    """De cada caso, quién es, el consejo de las reglas y los que dio por buenos quien lo juzgó."""
    told = {name: tomllib.loads((CASES / name).read_text("utf-8")) for name in FILES}
    judgements = {row["id"]: row for row in told["juicios.toml"]["juicio"]}
    rows = []
    for case in CASES_OF[kind]:
        fields = told["necesidades.toml"][case]
        fields |= {"lacks": [Lack[lack] for lack in fields["lacks"]]}
        fields |= {"tried": [Rung[rung] for rung in fields.get("tried", ())]}
        good = [judgements[case]["primero"], *judgements[case]["tambien"]]
        rows.append((case, advise(Needs(**fields)).rung, [Rung[name] for name in good]))
    return rows


FILES = ("necesidades.toml", "juicios.toml")
CASES_OF = {
    "examen": [f"c{i:02}" for i in range(1, 41)],
    "ensayo": [f"c{i:02}" for i in range(41, 61)],
}


def test_the_first_advice_agrees_with_the_blind_judgement_in_36_of_40_cases():
    # Las reglas se ensayaron con los veinte del otro grupo y se midieron una vez con estos:
    # 36 de 40. Si se cambian después de ver los fallos, esta cifra ya no es un examen.
    wrong = {case: rung.name for case, rung, good in judged("examen") if rung != good[0]}
    assert set(wrong) == {"c15", "c22", "c35", "c37"}


def test_the_cases_the_rules_were_tried_on_agree_too():
    assert sum(rung in good for _, rung, good in judged("ensayo")) == 20


def test_knowledge_that_changes_or_is_new_never_leads_to_training(grid):
    lacks = (Lack.CHANGING_KNOWLEDGE, Lack.NEW_KNOWLEDGE)
    rungs = {r for n, a in grid if n.lacks in lacks for r in (a.rung, *a.then)}
    assert Rung.RAG in rungs and not any(map(trains, rungs))


def test_an_unknown_lack_never_leads_to_training(grid):
    rungs = {r for n, a in grid if n.lacks == Lack.UNKNOWN for r in (a.rung, *a.then)}
    assert not any(map(trains, rungs))


def test_training_always_needs_evaluation_except_with_labels_to_set_apart(grid):
    trained = [(n, a.rung) for n, a in grid if trains(a.rung)]
    assert trained
    assert all(n.has_evaluation or rung == Rung.ENCODER for n, rung in trained)
    tuned = [n for n, rung in trained if rung == Rung.LORA]
    assert all(n.examples >= LORA_EXAMPLES and n.gpu_hours >= LORA_HOURS for n in tuned)


def test_training_without_a_keeper_is_warned(grid):
    for needs, advice in grid:
        if trains(advice.rung):
            assert any("que lo cuide" in w for w in advice.warnings) != needs.maintained


def test_full_tuning_is_never_advised_before_lora_nor_with_few_examples(grid):
    full = [n for n, a in grid if Rung.FULL in (a.rung, *a.then)]
    assert full
    assert all(Rung.LORA in n.tried and n.examples >= FULL_EXAMPLES for n in full)


def test_no_advice_repeats_what_was_tried_nor_offers_the_impossible(grid):
    for needs, advice in grid:
        for rung in (advice.rung, *advice.then):
            assert rung == Rung.EVALUATE or rung not in needs.tried
            assert not obstacles(needs, rung)


def test_without_the_weights_nothing_that_needs_them_is_advised(grid):
    rungs = {r for n, a in grid if n.api_only for r in (a.rung, *a.then)}
    assert max(rungs) == Rung.HOSTED_TUNING


def test_trying_rungs_in_the_order_advised_climbs_and_never_repeats():
    needs = Needs(Lack.STYLE, **RICH)
    climbed = []
    while (rung := advise(needs).rung) != Rung.EVALUATE:
        assert rung not in climbed
        climbed.append(rung)
        needs = Needs(Lack.STYLE, tried=tuple(climbed), **RICH)
    assert climbed == [Rung.PROMPT, Rung.FEW_SHOT, Rung.LORA, Rung.OTHER_MODEL, Rung.FULL]
    assert any("Ya has probado" in warning for warning in advise(needs).warnings)


def test_critical_cost_skips_the_examples_only_if_tuning_is_within_reach():
    means = RICH | {"cost_critical": True, "tried": (Rung.PROMPT,)}
    assert advise(Needs(Lack.STYLE, **means)).rung == Rung.LORA
    poor = advise(Needs(Lack.STYLE, **means | {"examples": 40}))
    assert (poor.rung, poor.then) == (Rung.FEW_SHOT, (Rung.OTHER_MODEL,))


def test_several_lacks_are_climbed_in_the_order_given():
    means = RICH | {"tried": (Rung.RAG, Rung.BETTER_RETRIEVAL, Rung.OTHER_MODEL)}
    both = Needs((Lack.NEW_KNOWLEDGE, Lack.FORMAT), **means)
    assert advise(both).rung == Rung.CONSTRAINED
    assert len(advise(both).reasons) > len(advise(Needs(Lack.FORMAT, **means)).reasons)


def test_what_is_not_worth_it_is_left_alone():
    advice = advise(Needs(Lack.LABELS, worth_it=False, **RICH))
    assert (advice.rung, advice.then, advice.warnings) == (Rung.NOTHING, (), ())


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
    needs = Needs(Lack.STYLE, examples=40, tried=(Rung.PROMPT,))
    changes = " ".join(advise(needs).changes)
    assert f"al menos {LORA_EXAMPLES} ejemplos" in changes and "hay 40" in changes
    assert not obstacles(Needs(Lack.STYLE, **RICH), Rung.LORA)


def test_every_advice_has_reasons_measures_and_a_way_to_change_it(grid):
    for _, advice in grid:
        assert advice.reasons and advice.measures and advice.changes
        assert advice.rung not in advice.then


def test_the_same_needs_give_the_same_advice(grid):
    assert all(advise(needs) == advice for needs, advice in grid[::97])


def test_sources_carry_author_year_and_link(grid):
    sources = {r.source for _, a in grid for r in a.reasons if r.source}
    assert len(sources) >= 20
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
        ({"lacks": ()}, "una cosa o varias"),
        ({"lacks": (Lack.STYLE, 3)}, "una cosa o varias"),
        ({"preferences": 1.5}, "un entero desde 0"),
        ({"own_text": -1}, "un entero desde 0"),
        ({"worth_it": 1}, "escribe True o False"),
        ({"examples": -1}, "un entero desde 0"),
        ({"examples": 3.5}, "un entero desde 0"),
        ({"examples": True}, "un entero desde 0"),
        ({"gpu_hours": float("nan")}, "las horas, desde 0"),
        ({"gpu_hours": -2}, "las horas, desde 0"),
        ({"gpu_hours": "muchas"}, "las horas, desde 0"),
        ({"private": "no"}, "escribe True o False"),
        ({"tried": (99,)}, "una tupla como"),
        ({"tried": Rung.PROMPT}, "una tupla como"),
        ({"tried": "prompt"}, "una tupla como"),
    ],
)
def test_bad_input_gets_one_sentence_with_the_way_out(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        Needs(**({"lacks": Lack.UNKNOWN} | fields))
    assert repr(next(iter(fields.values()))) in str(error.value)


def test_the_numbers_of_numpy_are_numbers():
    given = {"examples": 500, "gpu_hours": 2.5, "private": True}
    of_numpy = {"examples": np.int64(500), "gpu_hours": np.float32(2.5), "private": np.True_}
    assert Needs(Lack.STYLE, **of_numpy) == Needs(Lack.STYLE, **given)


def test_markdown_has_the_rung_the_warning_and_linked_sources():
    text = format_advice(advise(Needs(Lack.CHANGING_KNOWLEDGE)))
    assert text.startswith("**Empieza por: buscar y leer (RAG).**")
    assert "> **Aviso.** Mide primero" in text
    assert "[Lewis et al., 2020](https://arxiv.org/abs/2005.11401)" in text


def test_the_form_answers_as_the_function_does():
    form = decision_form()
    form.controls["lacks"][Lack.UNKNOWN].value = False
    form.controls["lacks"][Lack.STYLE].value = True
    form.controls["tried"][Rung.PROMPT].value = True
    for name in ("has_evaluation", "maintained", "cost_critical"):
        form.controls[name].value = True
    form.controls["examples"].value, form.controls["gpu_hours"].value = "20.000", "10,5"
    means = RICH | {"gpu_hours": 10.5, "cost_critical": True}
    assert form.needs() == Needs((Lack.STYLE,), tried=(Rung.PROMPT,), **means)
    assert "ajuste fino con LoRA" in form.children[-1].value


@pytest.mark.parametrize("typed", ["muchos", "<b>", "1,2,3", "inf", "nan", "-1", "1e400"])
def test_what_is_not_an_amount_is_said_in_place_of_the_advice(typed):
    form = decision_form()
    form.controls["examples"].value = typed
    said = form.children[-1].value
    assert "Empieza por" not in said and "<b>" not in said
    assert "no es una cantidad: escríbela con cifras" in said
    form.controls["examples"].value = "12"
    assert "Empieza por" in form.children[-1].value


def test_with_nothing_lacking_the_form_asks_what_is():
    form = decision_form()
    form.controls["lacks"][Lack.UNKNOWN].value = False
    assert "Empieza por" not in form.children[-1].value
    assert "Marca al menos una" in form.children[-1].value


def test_where_nothing_draws_the_form_its_advice_is_read_as_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    decision_widget()
    (data,) = shown
    text = data["text/plain"]
    assert (
        "Empieza por: medir y mirar los fallos. Si no basta: un *prompt*".replace("*", "") in text
        and "Brown et al., 2020" not in text
    )
    assert "*" not in text and max(map(len, text.splitlines())) <= 96
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"]
