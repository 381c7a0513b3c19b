"""Las figuras: texto alternativo, colores legibles y nada de HTML que venga de los datos."""

import re

import pytest

from course_lib import plots
from course_lib.encoding import Kind, encode_conversation, encode_original, pair_messages

LOG = [
    {"step": 10, "loss": 4.0, "loss_reply": 5.0, "loss_padding": 1.0},
    {"step": 20, "loss": 2.0, "loss_reply": 4.0, "loss_padding": 0.1},
    {"step": 20, "train_runtime": 3.0},
]


@pytest.fixture
def displayed(monkeypatch):
    """Lo que llega al cuaderno: una lista de (datos, metadatos) por tipo MIME."""
    from IPython.core.formatters import DisplayFormatter

    formatter = DisplayFormatter()
    formatter.active_types = list(formatter.formatters)
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda thing: shown.append(formatter.format(thing))
    )
    return shown


def make_figure(values=(1, 2, 3)):
    figure, axes = plots.new_axes("El hallazgo", "paso", "pérdida (nats)")
    axes.plot(values)
    return figure


# --- Figuras -------------------------------------------------------------------------------------


def test_a_figure_is_shown_as_png_with_its_text_alternative(displayed):
    plots.show(make_figure(), "La pérdida sube de 1 a 3.")
    ((data, metadata),) = displayed
    assert "image/png" in data
    assert metadata["image/png"]["alt"] == "La pérdida sube de 1 a 3."


def test_the_same_figure_gives_the_same_bytes_and_another_gives_others(displayed):
    for values in ((1, 2), (1, 2), (2, 1)):
        plots.show(make_figure(values), "Una línea.")
    one, two, other = (data["image/png"] for data, _ in displayed)
    assert one == two != other


def test_a_figure_without_text_alternative_is_refused(displayed):
    with pytest.raises(ValueError, match="le falta el texto alternativo"):
        plots.show(make_figure(), "  ")
    assert displayed == []


def test_axes_carry_the_title_and_the_units():
    (axes,) = make_figure().axes
    assert axes.get_title(loc="left") == "El hallazgo"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("paso", "pérdida (nats)")


def test_the_loss_curve_draws_the_points_of_the_log_and_of_the_record():
    (axes,) = plots.loss_curve(LOG, "Baja", record=[(100, 2.8689), (200, 0.7758)]).axes
    ours, record = axes.lines
    assert ours.get_xydata().tolist() == [[10, 4], [20, 2]]
    assert record.get_xydata().tolist() == [[100, 2.8689], [200, 0.7758]]
    assert axes.get_ylim()[0] == 0 and axes.get_legend() is not None
    assert plots.loss_curve(LOG, "Baja").axes[0].get_legend() is None


def test_the_loss_by_kind_draws_a_named_line_per_kind_told_apart_without_colour():
    (axes,) = plots.loss_by_kind(LOG, "Baja").axes
    assert {line.get_label(): line.get_xydata().tolist() for line in axes.lines} == {
        "respuesta": [[10, 5], [20, 4]],
        "relleno": [[10, 1], [20, 0.1]],
    }
    assert len({str(line.get_linestyle()) for line in axes.lines}) == 2


def test_the_histogram_counts_every_value_and_marks_the_limit():
    (axes,) = plots.histogram([1, 1, 2, 30], "Casi todas caben", "tokens", "parejas", limit=20).axes
    assert sum(bar.get_height() for bar in axes.patches) == 4
    assert axes.lines[0].get_xdata()[0] == 20


def test_every_kind_has_its_own_name_colour_and_dash():
    for table in (plots.NAMES, plots.COLORS, plots.PASTELS, plots.DASHES):
        assert set(table) == set(Kind)
        assert len({str(value) for value in table.values()}) == len(Kind)


# --- Tokens de colores ---------------------------------------------------------------------------


def token_spans(page):
    return re.findall(r'<span title="([^"]*)" style="([^"]*)">(.*?)</span>', page)


def test_each_token_says_what_it_is_and_is_underlined_only_if_it_counts(displayed, chat_tokenizer):
    encoded = encode_conversation(chat_tokenizer, pair_messages("Hola", "Muy bien"))
    plots.show_tokens(encoded, chat_tokenizer)
    page = displayed[0][0]["text/html"]
    spans = token_spans(page)
    assert len(spans) == len(encoded.input_ids)
    for (title, style, _), kind, counts in zip(spans, encoded.kinds, encoded.counted, strict=True):
        assert title.split(",")[0] == plots.NAMES[kind]
        assert ("no cuenta" in title) is not counts
        assert plots.PASTELS[kind] in style and ("border-bottom:3px solid #000" in style) is counts
    # Donde se pierden los estilos, como en GitHub, lo que cuenta se lee entre corchetes.
    text = re.sub(r"<[^>]+>", "", page.split("</div>")[0])
    assert text == "&lt;|user|&gt;·Hola&lt;|bot|&gt;⟦·Muy·bien&lt;|endoftext|&gt;⟧"


def test_the_tokens_of_a_hostile_text_do_not_become_html(displayed, chat_tokenizer):
    encoded = encode_conversation(chat_tokenizer, pair_messages("<script>&", '"><img src=x>'))
    plots.show_tokens(encoded, chat_tokenizer)
    page = displayed[0][0]["text/html"]
    assert set(re.findall(r"</?(\w+)", page)) == {"div", "span"}


def test_a_limit_shows_the_first_tokens_and_counts_the_rest_and_all_the_kinds(displayed, tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    encoded = encode_original(tokenizer, "Hola", "Bien", 64)
    plots.show_tokens(encoded, tokenizer, limit=10)
    page = displayed[0][0]["text/html"]
    assert len(token_spans(page)) == 10
    assert "… y 54 tokens más" in page
    assert f"relleno: {encoded.kinds.count(Kind.PADDING)}" in page
    assert "cuenta en la pérdida (63 de 64)" in page
    plots.show_tokens(encoded, tokenizer, limit=200)
    assert "tokens más" not in displayed[1][0]["text/html"]


# --- Esquemas ------------------------------------------------------------------------------------


def test_the_words_of_a_diagram_fit_in_their_boxes_and_are_read_at_400_pixels():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rows = [{"uno": "dos renglones\nde texto", "otro": ""}, {"fijo": "no cambia"}]
    figures = [
        plots.flow(rows, "El hallazgo", [("uno", "otro"), ("otro", "fijo")], fixed="fijo"),
        plots.ladder([("bajo", "nada", "poco"), ("alto", "todos los pesos", "mucho")], "Sube"),
    ]
    for figure in figures:
        FigureCanvasAgg(figure).draw()
        (axes,) = figure.axes
        title, *words = [text for text in axes.texts if text.get_text()]
        boxes = [box.get_window_extent() for box in axes.patches]
        for text in words:
            space = text.get_window_extent()
            assert any(
                box.x0 <= space.x0 <= space.x1 <= box.x1
                and box.y0 <= space.y0 <= space.y1 <= box.y1
                for box in boxes
            ), text
            assert text.get_fontsize() * figure.dpi / 72 * 400 / figure.bbox.width > 11
        assert title.get_window_extent().y0 >= max(box.y1 for box in boxes)


def test_an_arrow_goes_from_the_edge_of_a_box_to_the_edge_of_the_other():
    figure = plots.flow([{"uno": "", "otro": ""}], "El hallazgo", [("uno", "otro")])
    (axes,) = figure.axes
    (arrow,) = [text.arrow_patch for text in axes.texts if getattr(text, "arrow_patch", None)]
    assert [patch.get_x() for patch in (arrow.patchA, arrow.patchB)] == [
        box.get_x() for box in axes.patches
    ]


def test_the_first_rung_of_the_ladder_is_the_lowest():
    (axes,) = plots.ladder([("bajo", "nada", "poco"), ("alto", "todo", "mucho")], "Sube").axes
    assert [box.get_y() for box in axes.patches] == sorted(box.get_y() for box in axes.patches)
    assert "cambia: todo\ncuesta: mucho" in [text.get_text() for text in axes.texts]
