"""La autopsia: cada condición arregla lo que dice y nada más, y la tabla guardada está al día."""

import dataclasses
from functools import partial

import pytest
from checks import each

from course_lib import autopsy, original, plots, tables, tuning, world
from course_lib.autopsy import (
    MEASURES,
    Condition,
    conditions,
    encode,
    format_ablation,
    summarize,
)
from course_lib.dialogues import Pair, read_dialogues, to_pairs
from course_lib.encoding import IGNORED, Kind, chat_prompt, original_prompt, prepare_for_chat
from course_lib.tables import Measure, wilson
from course_lib.tracks import get_track
from taller import ablation, experiments
from taller.__main__ import main
from taller.muestra import sample_figures

PAIR = Pair("Hola, ¿qué tal?", "Muy bien, gracias.", 0)
LENGTH = 60


@pytest.fixture
def padded(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def counted(encoded) -> set[Kind]:
    """Las clases de token que entran en la pérdida."""
    return {
        Kind(k) for k, label in zip(encoded.kinds, encoded.labels, strict=True) if label != IGNORED
    }


def condition(name: str) -> Condition:
    return conditions()[name]


# --- Codificar -----------------------------------------------------------------------------------


def test_the_first_condition_is_the_original_recipe_row_by_row():
    track = get_track("mini")
    tokenizer = track.load_tokenizer()
    rows = original.original_examples(track, tokenizer)
    ours = [
        encode(tokenizer, pair, condition("original"), track.max_length)
        for pair in autopsy.training_pairs(track)
    ]
    assert ours == rows


def test_adding_the_end_alone_changes_no_id_and_no_label():
    # Por eso la condición «fin» vuelve a usar los modelos de la original.
    track = get_track("mini")
    tokenizer = track.load_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    for pair in autopsy.training_pairs(track):
        before, after = (
            encode(tokenizer, pair, c, track.max_length)
            for c in (condition("original"), condition("fin"))
        )
        assert (before.input_ids, before.labels) == (after.input_ids, after.labels)
    assert condition("fin").reuses == "original"


def test_without_counted_padding_there_is_no_padding_and_no_end(padded):
    encoded = encode(padded, PAIR, condition("relleno"), LENGTH)
    assert counted(encoded) == {Kind.MARKER, Kind.USER, Kind.REPLY}
    assert padded.eos_token_id not in encoded.input_ids


def test_the_end_is_the_last_counted_token_when_padding_is_not(padded):
    encoded = encode(padded, PAIR, condition("relleno_fin"), LENGTH)
    assert encoded.labels[-1] == padded.eos_token_id
    assert encoded.kinds.count(Kind.END) == 1


def test_without_the_user_the_reply_and_the_padding_still_count(padded):
    encoded = encode(padded, PAIR, condition("usuario"), LENGTH)
    assert counted(encoded) == {Kind.REPLY, Kind.PADDING}
    assert len(encoded.input_ids) == LENGTH


def test_special_markers_are_one_token_and_all_else_stays(tokenizer):
    prepare_for_chat(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    encoded = encode(tokenizer, PAIR, condition("marcadores"), LENGTH)
    markers = [i for i, k in zip(encoded.input_ids, encoded.kinds, strict=True) if k == Kind.MARKER]
    assert tokenizer.convert_ids_to_tokens(markers[:1]) == ["<|user|>"]
    assert counted(encoded) == {Kind.MARKER, Kind.USER, Kind.REPLY, Kind.PADDING}


def test_the_course_code_trains_on_what_it_asks(chat_tokenizer):
    encoded = encode(chat_tokenizer, PAIR, condition("codigo"), LENGTH)
    asked = chat_prompt(chat_tokenizer, [{"role": "user", "content": PAIR.user}])
    assert encoded.input_ids[: len(asked)] == asked
    assert counted(encoded) == {Kind.REPLY, Kind.END}


def test_every_condition_mends_something_and_the_reused_ones_exist():
    first, *others = conditions().values()
    assert first.name == "original"
    assert [*conditions()] == [c.name for c in conditions().values()]
    for c in others:
        bare = dataclasses.replace(c, name="original", mends="", hypothesis="")
        assert bare != Condition("original", "", ""), c.name
        assert len(c.hypothesis) > 30
        assert c.reuses is None or condition(c.reuses).reuses is None


# --- Medir ---------------------------------------------------------------------------------------


def test_the_exam_never_asks_about_a_country_of_the_training_data():
    trained = {pair.user for pair in autopsy.task_pairs()}
    exam = autopsy.build_exam(200)
    unseen = {c.name for c in tuning.split_countries()[1]}
    assert not trained & {q.text for q in [*exam.facts, *exam.yes_no]}
    for question in exam.facts:
        # «del Reino Unido» lleva dentro el artículo del nombre.
        assert any(question.text.endswith(f"{n.removeprefix('el ')}?") for n in unseen)
    assert sum(q.answer == world.YES for q in exam.yes_no) == 100


def test_in_english_everything_it_asks_and_teaches_is_in_english():
    taught = autopsy.task_pairs("en")
    exam = autopsy.build_exam(20, "en")
    texts = [q.text for q in [*exam.facts, *exam.yes_no, *exam.reading]]
    texts += [pair.user for pair in taught]
    texts += [world.text(said, "en") for said in autopsy.GREETING]
    assert not any("¿" in text for text in texts)
    assert sum(q.answer == "yes" for q in exam.yes_no) == 10
    assert len(taught) == len(autopsy.task_pairs())


def test_without_dialogues_left_to_train_the_loss_is_of_the_validation_ones(monkeypatch):
    track = get_track("mini")
    seen = []
    monkeypatch.setattr(autopsy, "pairs_loss", lambda *args: seen.append(args[-1]))
    everything = len(track.load_dialogues("train"))
    whole = dataclasses.replace(track, train_dialogues=everything, limit=3)
    autopsy.reply_loss(whole, condition("original"), None, None, "train")
    assert seen == [to_pairs(track.load_dialogues("validation")[:3])]


def test_a_kind_no_step_met_contributes_nothing():
    row = {"loss": 3.0, "loss_reply": 6.0}
    shares = {Kind.REPLY: 0.5, Kind.PADDING: 0.5, Kind.END: 0.0}
    assert plots.contributions(row, shares) == {Kind.REPLY: 3.0, Kind.PADDING: 0.0}


def test_the_spaced_prompt_is_the_original_one_until_there_is_history(padded):
    messages = [{"role": "user", "content": "Hola."}]
    spaced = partial(original_prompt, glue=" ")
    assert spaced(padded, messages) == original_prompt(padded, messages)
    history = [*messages, {"role": "assistant", "content": "¡Hola!"}, *messages]
    text = padded.decode(spaced(padded, history))
    assert text == "<|user|> Hola. <|bot|> ¡Hola! <|user|> Hola. <|bot|>"
    assert "\n" in padded.decode(original_prompt(padded, history))


@each(
    ("text", "expected"),
    [(" Sí.", True), (" Sí. <|user|> ¿Y tú?", False), (" no" * 80, False)],
)
def test_an_answer_stops_if_it_neither_runs_on_nor_is_cut(padded, text, expected):
    assert autopsy.stops(text, padded, 40) is expected


def test_first_words_are_probabilities_in_order(padded, make_model):
    prompts = [padded.encode("Hola, ¿qué"), padded.encode("¿Cuál es")]
    words = autopsy.first_words(make_model(), padded, prompts)
    chances = list(words.values())
    assert sum(chances) == pytest.approx(1, abs=1e-4)
    assert chances[0] == max(chances)


def test_sampling_draws_and_greedy_does_not(padded, make_model):
    from course_lib.chat import generate

    model, prompts = make_model(), [padded.encode("Hola, ¿qué tal")] * 8
    assert len(set(generate(model, padded, prompts, 6))) == 1
    assert len(set(generate(autopsy.sampling(model), padded, prompts, 6))) > 1


def test_a_tiny_run_gives_every_measure_of_its_views():
    settings = dataclasses.asdict(condition("original"))
    run = ablation.measure_once("mini", settings, seed=0, steps=1, questions=2)
    assert set(run["vistas"]) == {"habitual", "igual", "azar"}
    assert set(run["vistas"]["habitual"]) <= set(MEASURES)
    assert tables.from_json(tables.to_json(run)) == run  # como la guarda `run_jobs`


def test_no_seeds_is_an_error_and_writes_nothing(tmp_path, capsys):
    path = tmp_path / "tabla.json"
    assert main(["ablacion", "--semillas", "0", "--salida", str(path)]) == 2
    assert "pide al menos una" in capsys.readouterr().err
    assert not path.exists()


# --- La tabla ------------------------------------------------------------------------------------


def share(value: float) -> Measure:
    return Measure(value, 100, 0.0, 1.0)


def made_up(values: list[float], **views) -> dict:
    """Una tabla inventada: una corrida de «original» por valor, con 100 preguntas."""
    runs = [
        {
            "condicion": "original",
            "semilla": seed,
            "vistas": {"habitual": {"chat": share(v)}} | views,
        }
        for seed, v in enumerate(values)
    ]
    return {"corridas": runs}


def test_the_interval_counts_each_question_once_however_many_seeds():
    summary = summarize(made_up([0.5, 0.5, 0.5]), "original", "chat")
    assert (summary.low, summary.high) == wilson(50, 100)


def test_the_interval_covers_the_best_and_the_worst_seed():
    summary = summarize(made_up([0.1, 0.5, 0.9]), "original", "chat")
    assert summary.value == pytest.approx(0.5)
    assert (summary.low, summary.high, summary.seeds) == (0.1, 0.9, (0.1, 0.5, 0.9))


def test_a_condition_that_asks_again_takes_only_what_its_view_measured():
    store = made_up([0.6], azar={"chat": share(0.2)})
    assert summarize(store, "azar", "chat").value == 0.2
    assert summarize(store, "original", "chat").value == 0.6
    assert summarize(store, "original", "lee") is None
    assert summarize(store, "tasa", "chat") is None


@pytest.fixture(scope="module")
def stored():
    return tables.stored("ablacion")


def test_the_stored_table_has_every_condition_with_three_seeds_or_more(stored):
    for c in conditions().values():
        for measure in ("sabe", "chat", "lee", "dice_si", "conversa"):
            assert len(summarize(stored, c.name, measure).seeds) >= 3, (c.name, measure)


def test_the_stored_table_was_made_with_these_data_this_model_and_this_budget(stored):
    track = get_track("mini")
    budget = stored["presupuesto"]
    assert budget["datos"] == ablation.data_fingerprint(track)
    assert budget["pasos"] == original.total_steps(track)
    assert stored["procedencia"]["minimodelo"] == experiments.provenance()["minimodelo"]


def test_the_table_starts_with_the_dummy_and_the_base_model(stored):
    lines = format_ablation(stored, ["original", "datos"], ["sabe", "dice_si"]).splitlines()
    assert lines[2].startswith("| (siempre «Sí.») | 0% ") and "100% [" in lines[2]
    assert lines[3].startswith("| (el modelo de partida)")
    assert len(lines) == 6


def test_the_stored_figures_of_dailydialog_are_those_of_the_sample(shared_data, gpt2_tokenizer):
    path = shared_data / "dailydialog" / "train_1k.jsonl"
    dialogues = read_dialogues(path, report=lambda notice: None)
    figures = sample_figures(dialogues, gpt2_tokenizer)
    saved = tables.stored("muestra_dailydialog")
    assert {name: saved[name] for name in figures} == figures


# --- Las figuras ---------------------------------------------------------------------------------


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
