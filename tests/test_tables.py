"""Los números y las medidas: intervalos publicados, cómo se escriben y cómo se guardan."""

import math
import random

import numpy as np
import pytest
from checks import each

from course_lib.evaluation import accuracy, always_yes, build_exam, score_row
from course_lib.tables import (
    Measure,
    Tally,
    change,
    contrast,
    format_scoreboard,
    from_json,
    markdown,
    number,
    percent,
    proportion,
    summarize,
    tally,
    to_json,
    wilson,
)

# --- Intervalos ----------------------------------------------------------------------------------


@each(
    ("hits", "n", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17, tabla I, método 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # Brown, Cai y DasGupta (2001), Statistical Science 16, n = 10
        (0, 10, 0.000, 0.2775),
        (10, 10, 0.7225, 1.000),
    ],
)
def test_wilson_gives_the_published_intervals(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_nothing_tried_is_an_error_and_not_a_division_by_zero():
    for measure in (lambda: wilson(0, 0), lambda: proportion([]), lambda: accuracy([], [])):
        with pytest.raises(ValueError, match="No hay intervalo sin intentos"):
            measure()


# --- Varias semillas y varios países ------------------------------------------------------------


NAMES = [f"país {i}" for i in range(50)]


def ends(measure: Measure) -> tuple[float, float]:
    return measure.low, measure.high


def test_a_tally_adds_up_each_group():
    told = tally([True, False, True], ["Perú", "Chad", "Perú"])
    assert told == Tally(["Perú", "Chad"], [2, 0], [2, 1])


def test_the_mean_is_of_all_the_answers_and_n_counts_each_question_once():
    here, there = ["Perú", "Chad"], ["Cuba", "Omán", "Laos"]
    runs = [Tally(here, [1, 3], [4, 4]), Tally(here, [3, 3], [4, 4])]
    runs.append(Tally(there, [2, 0, 1], [2, 2, 2]))
    measure = contrast({"a": runs}, {"a": 1})
    assert measure.value == pytest.approx(13 / 22)
    assert (sorted(measure.seeds), measure.n) == ([0.5, 0.5, 0.75], 8 + 6)
    assert measure.low < measure.value < measure.high


@each("right", [0, 4])
def test_if_all_is_right_or_all_wrong_the_interval_is_that_of_wilson(right):
    runs = [Tally(NAMES, [right] * 50, [4] * 50)] * 2
    found = ends(contrast({"a": runs}, {"a": 1}))
    assert found == pytest.approx(wilson(right / 4 * 50, 50))  # 50 países, y no 200 respuestas


def test_the_answers_of_a_country_are_not_independent_and_widen_the_interval():
    # Con p = 1/2, la desviación es 0,5/√n: n son los países, no las respuestas.
    for countries, size in ((50, 4), (200, 1)):
        names = [str(i) for i in range(countries)]
        run = Tally(names, [size, 0] * (countries // 2), [size] * countries)
        measure = contrast({"a": [run]}, {"a": 1})
        half = 1.96 * 0.5 / countries**0.5
        assert ends(measure) == pytest.approx((0.5 - half, 0.5 + half), abs=0.015)


def test_the_chance_of_the_seeds_widens_the_interval_too():
    # De dos semillas se sortea una: sale la mejor o la peor.
    runs = [Tally(NAMES, [right] * 50, [10] * 50) for right in (2, 8)]
    assert ends(contrast({"a": runs}, {"a": 1})) == pytest.approx((0.2, 0.8))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    # Cuatro semillas que varían y dos repartos: sin quitar una al sortear, se quedaría corto.
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        runs = [
            Tally([f"{split} {name}" for name in NAMES], list(rng.binomial(20, p, 50)), [20] * 50)
            for split in (0, 1) for p in np.clip(rng.normal(0.5, 0.1, 4), 0, 1)
        ]  # fmt: skip
        low, high = ends(contrast({"a": runs}, {"a": 1}, draws=400))
        covered += low <= 0.5 <= high
    assert 0.88 <= covered / 200 <= 0.99


@each("seeds", [1, 4])  # las que tiene un lado; el otro, una
def test_a_difference_compares_the_same_countries(seeds):
    rng = random.Random(1)
    known = [[rng.randrange(4) for _ in range(50)] for _ in (0, 1)]
    runs = {
        more: [
            Tally([f"{split} {name}" for name in NAMES], [k + more for k in known[split]], [4] * 50)
            for split in (0, 1)
        ]
        for more in (0, 1)
    }
    groups = {"una": runs[0], "otra": runs[0] * seeds, "mejor": runs[1] * seeds}
    same = contrast(groups, {"otra": 1, "una": -1})
    assert (same.value, *ends(same)) == (0, 0, 0)
    # Una más de cuatro en todos los países: si fueran otros los sorteados, variaría.
    better = contrast(groups, {"mejor": 1, "una": -1})
    assert (better.value, *ends(better)) == pytest.approx((0.25,) * 3)


def test_what_is_stored_is_summarized_and_compared_by_condition():
    store = {
        "corridas": [
            {"condicion": "a", "reparto": 0, "medidas": {"sabe": [0, [4, 4], [4, 4]]}},
            {"condicion": "b", "reparto": 0, "medidas": {"sabe": [0, [1, 1], [4, 4]]}},
        ],
        "grupos": [["Perú", "Chad"]],
    }
    assert ends(summarize(store, "a", "sabe")) == pytest.approx(wilson(2, 2))
    assert summarize(store, "a", "lee") is None and summarize(store, "c", "sabe") is None
    assert change(store, "a", "b", "sabe").value == -0.75


# --- Escribir ------------------------------------------------------------------------------------


@each(
    "written, expected",
    [
        (number(0), "0"),
        (number(83813), "83.813"),
        (number(5.785, 3), "5,785"),
        (number(-1234.56, 1), "−1.234,6"),
        (number(2.5, 2, " s"), "2,50 s"),
        (number(math.inf), "∞"),
        (number(-math.inf), "−∞"),
        (number(math.nan), "no es un número"),
        (percent(1), "100%"),
        (percent(0.0004, 2), "0,04%"),
    ],
)
def test_a_number_is_written_as_in_spanish(written, expected):
    assert written == expected


def test_a_measure_is_a_percentage_or_nats_always_with_its_interval():
    assert str(Measure(0.956, 200, 0.92, 0.977)) == "96% [92, 98]"
    assert Measure(2.314, 999, 2.27, 2.351).nats == "2,31 [2,27, 2,35]"


def test_what_is_not_there_is_a_dash():
    assert markdown(["Quién", "Sabe"], [["uno", None], ["dos", 0]]).splitlines()[2:] == [
        "| uno | — |",
        "| dos | 0 |",
    ]


def test_what_is_saved_comes_back_the_same_with_its_measures():
    seeds = Measure(0.5, 100, 0.3, 0.7, (0.3, 0.7))
    saved = {"fila": [{"sabe": Measure(0.5, 10, 0.2, 0.8), "quien": "año"}], "semillas": seeds}
    assert from_json(to_json(saved)) == saved
    looks_like = {"value": 1, "n": 2}  # no es una medida: le faltan los extremos
    assert from_json(to_json(looks_like)) == looks_like


def test_a_name_with_bars_or_line_breaks_does_not_break_the_table():
    rows = [{"quien": "uno | dos\n| tres", "sabe": None}]
    header, _, row, *_ = format_scoreboard(rows).split("\n")
    assert row.startswith(r"| uno \| dos \| tres | — |")
    assert row.replace(r"\|", "").count("|") == header.count("|")


def test_the_table_gives_every_figure_with_its_interval_and_the_sizes_below():
    exam = build_exam(n=10)
    rows = [
        score_row("tonto", always_yes, always_yes, exam),
        score_row("otro", always_yes, always_yes, exam, Measure(2.5, 99, 2.1, 2.9), None, 41.7, 35),
    ]
    header, _, first, second, _, sizes = format_scoreboard(rows).split("\n")
    assert first.count("|") == second.count("|") == header.count("|")
    assert first.startswith("| tonto | 0% [0, 28] | 0% [0, 28] | 50% [24, 76] |")
    assert first.endswith("| — | — | — | — |")
    assert second.endswith("| — | 2,50 [2,10, 2,90] | 42 | 35 |")
    assert sizes == (
        "Entre corchetes, el intervalo del 95%. Sabe, Responde en chat, Sí/no, Sí/no en chat, "
        "Dice «sí» en chat, Lee: n = 10; Conversa (nats por token de respuesta): n = 99."
    )
