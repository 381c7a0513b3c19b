"""La autopsia: los efectos salen de sus celdas, y las tablas y figuras dicen lo guardado."""

import itertools

import pytest

from course_lib import autopsy, plots, tables
from course_lib.autopsy import FACTORS, cell_name, effects, format_conditions
from course_lib.dialogues import read_dialogues
from course_lib.encoding import Kind
from course_lib.tables import Measure
from taller.muestra import sample_figures


def test_first_words_are_probabilities_in_order(tokenizer, make_model):
    prompts = [tokenizer.encode("Hola, ¿qué"), tokenizer.encode("¿Cuál es")]
    words = autopsy.first_words(make_model(), tokenizer, prompts)
    chances = list(words.values())
    assert sum(chances) == pytest.approx(1, abs=1e-4)
    assert chances[0] == max(chances)


# --- La tabla ------------------------------------------------------------------------------------


def made_up() -> dict:
    """Una tabla inventada: de cien, aciertan 20, 40 más si hay código y datos, y 10 si hay repaso,
    que a la tasa mayor son 30."""
    runs = [{"condicion": "base", "reparto": 0, "medidas": {"sabe": [0, [10] * 10, [10] * 10]}}]
    for rate, code, data, replay in itertools.product((1, 10), *[(False, True)] * 3):
        name = cell_name(*itertools.compress(FACTORS, (code, data, replay)), rate=rate)
        right = 2 + 4 * code * data + (3 if rate > 1 else 1) * replay
        measures = {"sabe": [0, [right] * 10, [10] * 10], "conversa": [1, [9.0, 11.0], [4, 4]]}
        runs.append({"condicion": name, "reparto": 0, "medidas": measures})
    titles = {"original": "nada", "codigo_datos": "código y datos"}
    groups = [[f"país {i}" for i in range(10)], ["un día", "otro"]]
    budget = {"vocabulario": 400}
    return {"presupuesto": budget, "condiciones": titles, "corridas": runs, "grupos": groups}


@pytest.mark.parametrize("rate", [1, 10])
def test_an_effect_is_the_mean_of_its_differences_and_an_interaction_what_two_add(rate):
    found = effects(made_up(), "sabe", rate)
    code, data, replay = FACTORS.values()
    expected = {code: 0.2, data: 0.2, replay: 0.1 if rate == 1 else 0.3}
    expected |= {f"{code} × {data}": 0.4, f"{code} × {replay}": 0, f"{data} × {replay}": 0}
    if rate > 1:
        expected |= {f"{f} × la tasa": 0.2 * (f == replay) for f in (code, data, replay)}
    assert {name: m.value for name, m in found.items()} == pytest.approx(expected)
    table = autopsy.format_effects(made_up(), ["sabe"], rate)
    assert f"| {code} × {data} | +40 [40, 40] |" in table and table.count("\n") == len(found) + 1


def test_the_table_starts_with_the_dummy_and_the_base_model():
    columns, names = ["sabe", "dice_si", "conversa"], ["original", "codigo_datos"]
    table = format_conditions(made_up(), names, columns)
    assert table.splitlines()[2:] == [
        "| (el tonto) | 0% | 100% | 5,99 |",  # ln 400
        "| (el modelo de partida) | 100% [72, 100] | — | — |",
        "| nada | 20% [20, 20] | — | 2,50 [2,25, 2,75] |",
        "| código y datos | 60% [60, 60] | — | 2,50 [2,25, 2,75] |",
    ]
    other = format_conditions(made_up(), names, columns, titles=["una", "otra"])
    assert [line.split(" | ")[0] for line in other.splitlines()[4:]] == ["| una", "| otra"]


def test_the_curves_have_a_point_for_each_dose_and_a_color_for_each_rate():
    store = made_up()
    run = next(run for run in store["corridas"] if run["condicion"] == "original")
    doses = [*itertools.product(autopsy.RATES, autopsy.EPOCHS)]
    store["corridas"] += [run | {"condicion": autopsy.dose_name(*dose)} for dose in doses]
    (points,) = autopsy.dose_curves(store, {"sabe": "lo que sabe"}).values()
    assert [label for label, *_ in points] == [autopsy.dose_title(*dose) for dose in doses]
    assert len({color for *_, color in points}) == len(autopsy.RATES)
    assert len(plots.dots({"lo que sabe": points}, "Título", "%").axes) == 1


def test_the_stored_figures_of_dailydialog_are_those_of_the_sample(shared_data, gpt2_tokenizer):
    path = shared_data / "dailydialog" / "train_1k.jsonl"
    dialogues = read_dialogues(path, report=lambda notice: None)
    figures = sample_figures(dialogues, gpt2_tokenizer)
    saved = tables.stored("muestra_dailydialog")
    assert {name: saved[name] for name in figures} == figures


# --- Las figuras ---------------------------------------------------------------------------------


def test_a_kind_no_step_met_contributes_nothing():
    row = {"loss": 3.0, "loss_reply": 6.0}
    shares = {Kind.REPLY: 0.5, Kind.PADDING: 0.5, Kind.END: 0.0}
    assert plots.contributions(row, shares) == {Kind.REPLY: 3.0, Kind.PADDING: 0.0}


def test_the_contributions_are_drawn_beside_the_loss_of_the_log():
    log = [
        {"step": 20, "loss": 2.0, "loss_reply": 4.0, "loss_padding": 1.0},
        {"step": 40, "loss": 0.5, "loss_reply": 2.0, "loss_padding": 0.0},
    ]
    shares = {Kind.REPLY: 0.25, Kind.END: 0.0, Kind.PADDING: 0.75}
    (axes,) = plots.loss_contributions(log, shares, "Título").axes
    assert list(axes.lines[-1].get_ydata()) == [2.0, 0.5]
    assert len(axes.collections) == 2  # sin la clase que no cuenta
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:2] == ["respuesta (25% de los tokens)", "relleno (75% de los tokens)"]


def test_every_condition_has_its_row_in_every_panel():
    rows = [(name, Measure(0.5, 100, 0.4, 0.6, (0.45, 0.55)), "black") for name in ("una", "otra")]
    figure = plots.dots({"sabe": rows, "lee": rows}, "Título", "aciertos (%)")
    assert len(figure.axes) == 2
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["una", "otra"]
    assert list(figure.axes[0].lines[0].get_xdata()) == [40, 60]


def test_a_word_that_a_model_never_says_has_an_empty_bar():
    series = {"antes": {".": 1.0}, "después": {" Sí": 0.5, ".": 0.5}}
    (axes,) = plots.first_word_bars([" Sí", "."], series, "Título").axes
    assert [bar.get_height() for bar in axes.patches] == [0, 100, 50, 50]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["·Sí", "."]
