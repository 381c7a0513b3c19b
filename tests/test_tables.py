"""Los números y las medidas: intervalos publicados, cómo se escriben y cómo se guardan."""

import math

import pytest
from checks import each

from course_lib.evaluation import accuracy, always_yes, build_exam, score_row
from course_lib.tables import (
    Measure,
    format_scoreboard,
    from_json,
    markdown,
    number,
    percent,
    proportion,
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


def test_two_measures_overlap_if_their_intervals_touch():
    low, middle, high = (Measure(x, 10, x - 0.1, x + 0.1) for x in (0.2, 0.35, 0.6))
    assert low.overlaps(middle) and middle.overlaps(low)
    assert not low.overlaps(high) and not high.overlaps(low)


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


def test_the_table_gives_every_figure_with_its_interval_and_the_sizes_below():
    exam = build_exam(n=10)
    rows = [
        score_row("tonto", always_yes, always_yes, exam),
        score_row("otro", always_yes, always_yes, exam, Measure(2.5, 99, 2.1, 2.9), 41.7, 35),
    ]
    header, _, first, second, _, sizes = format_scoreboard(rows).split("\n")
    assert first.count("|") == second.count("|") == header.count("|")
    assert first.startswith("| tonto | 0% [0, 28] | 0% [0, 28] | 50% [24, 76] |")
    assert first.endswith("| — | — | — |")
    assert second.endswith("| 2,50 [2,10, 2,90] | 42 | 35 |")
    assert sizes == (
        "Entre corchetes, el intervalo del 95%. Sabe, Responde en chat, Sí/no, Sí/no en chat, "
        "Dice «sí» en chat, Lee: n = 10; Conversa (nats por token): n = 99."
    )
