"""Los factores: nada del examen se cuela, cada ajuste es el que dice y la tabla guardada cuadra."""

import dataclasses
import itertools
from collections import Counter
from functools import partial
from types import SimpleNamespace

import pytest
from checks import each, graded_again, stored_runs

from course_lib import tables, world
from course_lib.autopsy import EPOCHS, FACTORS, MEASURES, RATES, cell_name, dose_name
from course_lib.chat import first_turn, generate
from course_lib.dialogues import Pair, shipped_dialogues
from course_lib.encoding import IGNORED, Kind, chat_prompt, original_prompt, prepare_for_chat
from course_lib.original import original_examples, total_steps, training_pairs
from course_lib.tracks import get_track
from course_lib.tuning import replay_texts
from taller import experiments, factores
from taller.factores import Condition, conditions, encode, unseen_exam

MINI = get_track("mini")
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


# --- Codificar -----------------------------------------------------------------------------------


def test_the_first_condition_is_the_original_recipe_row_by_row():
    tokenizer, condition = MINI.load_tokenizer(), conditions()["original"]
    rows = original_examples(MINI, tokenizer)
    pairs = training_pairs(MINI)
    assert rows == [encode(tokenizer, pair, condition, MINI.max_length) for pair in pairs]


def test_without_counted_padding_there_is_no_padding_and_no_end(padded):
    encoded = encode(padded, PAIR, conditions()["relleno"], LENGTH)
    assert counted(encoded) == {Kind.MARKER, Kind.USER, Kind.REPLY}
    assert padded.eos_token_id not in encoded.input_ids


def test_the_end_is_the_last_counted_token_when_padding_is_not(padded):
    encoded = encode(padded, PAIR, conditions()["relleno_fin"], LENGTH)
    assert encoded.labels[-1] == padded.eos_token_id
    assert encoded.kinds.count(Kind.END) == 1


def test_without_the_user_the_reply_and_the_padding_still_count(padded):
    encoded = encode(padded, PAIR, conditions()["usuario"], LENGTH)
    assert counted(encoded) == {Kind.REPLY, Kind.PADDING}
    assert len(encoded.input_ids) == LENGTH


def test_special_markers_are_one_token_and_all_else_stays(tokenizer):
    prepare_for_chat(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    encoded = encode(tokenizer, PAIR, conditions()["marcadores"], LENGTH)
    markers = [i for i, k in zip(encoded.input_ids, encoded.kinds, strict=True) if k == Kind.MARKER]
    assert tokenizer.convert_ids_to_tokens(markers[:1]) == ["<|user|>"]
    assert counted(encoded) == {Kind.MARKER, Kind.USER, Kind.REPLY, Kind.PADDING}


def test_the_course_code_trains_on_what_it_asks(chat_tokenizer):
    encoded = encode(chat_tokenizer, PAIR, conditions()["codigo"], LENGTH)
    asked = chat_prompt(chat_tokenizer, [{"role": "user", "content": PAIR.user}])
    assert encoded.input_ids[: len(asked)] == asked
    assert counted(encoded) == {Kind.REPLY, Kind.END}


def test_every_condition_mends_something_and_factors_and_doses_are_crossed():
    mended = {dataclasses.replace(c, name="", mends="") for c in conditions().values()}
    assert len(mended) == len(conditions()) == 16 + 7 + 10
    assert Condition("") in mended
    for rate, *fixed in itertools.product((1, 10), *[(False, True)] * 3):
        c = conditions()[cell_name(*itertools.compress(FACTORS, fixed), rate=rate)]
        assert [c.course_code, "tarea" in c.data, "repaso" in c.data, c.rate] == [*fixed, rate]
    for rate, epochs in itertools.product(RATES, EPOCHS):
        c = conditions()[dose_name(rate, epochs)]
        assert (c.rate, 3 * c.epochs, c.data) == (rate, epochs, ("charla",))


# --- Lo que se pregunta --------------------------------------------------------------------------


def test_in_english_everything_it_asks_and_teaches_is_in_english():
    taught, exam = factores.task_pairs("en"), unseen_exam(20, "en")
    texts = [q.text for part in vars(exam).values() for q in part]
    texts += [pair.user for pair in [*taught, *factores.other_pairs(20, 0, "en")]]
    texts += [world.text(said, "en") for said in factores.GREETING]
    assert not any("¿" in text for text in texts)
    assert sum(q.answer == "yes" for q in exam.yes_no) == 10
    assert len(taught) == len(factores.task_pairs())


def test_a_question_of_another_subject_takes_its_text_along():
    for pair in factores.other_pairs(50, 3):
        assert pair.reply.rstrip(".").lower() in pair.user.lower()


def test_the_spaced_prompt_is_the_original_one_until_there_is_history(padded):
    messages = [{"role": "user", "content": "Hola."}]
    spaced = partial(original_prompt, glue=" ")
    assert spaced(padded, messages) == original_prompt(padded, messages)
    history = [*messages, {"role": "assistant", "content": "¡Hola!"}, *messages]
    text = padded.decode(spaced(padded, history))
    assert text == "<|user|> Hola. <|bot|> ¡Hola! <|user|> Hola. <|bot|>"
    assert "\n" in padded.decode(original_prompt(padded, history))


@each(
    "text, expected",
    [(" Sí.", True), (" Sí. <|user|> ¿Y tú?", False), (" no" * 80, False)],
)
def test_an_answer_stops_if_it_neither_runs_on_nor_is_cut(padded, text, expected):
    assert factores.stops(text, padded, 40) is expected


def test_sampling_draws_and_greedy_does_not(padded, make_model):
    model, prompts = make_model(), [padded.encode("Hola, ¿qué tal")] * 8
    assert len(set(generate(model, padded, prompts, 6))) == 1
    assert len(set(generate(factores.sampling(model), padded, prompts, 6))) > 1


# --- Ajustar -------------------------------------------------------------------------------------


@pytest.fixture
def asked_for(monkeypatch):
    """Una función que da lo que una condición pide a `fine_tune`, sin ajustar nada."""
    asked = {}

    def note(model, args, rows, collate):
        asked.update(args=args, rows=rows, model=model)
        asked["trainer"] = SimpleNamespace(
            train_dataset=[vars(row) for row in rows], eval_dataset=None
        )
        return SimpleNamespace(**asked)

    monkeypatch.setattr(factores, "fine_tune", note)
    return lambda name, seed=0, split=0: factores.train(MINI, conditions()[name], seed, split)


@each("name, split", [("datos_repaso", 0), ("datos_repaso", 1), ("codigo_datos_repaso", 1),
                      ("otro_asunto", 1)])  # fmt: skip
def test_nothing_of_the_exam_is_in_what_a_condition_tunes(name, split, asked_for):
    run, tokenizer, _ = asked_for(name, split, split)
    exam = unseen_exam(split=split)
    assert experiments.leaked(run, tokenizer, exam) == 0
    pairs, more = len(training_pairs(MINI)), len(conditions()[name].data) - 1
    assert len(run.rows) == (1 + more) * pairs  # tanta tarea, repaso u otro asunto como charla


def test_a_replay_with_every_country_would_be_caught(asked_for, monkeypatch):
    def everything(n, seed, language, countries):
        return replay_texts(n, seed, language, world.load_countries())

    monkeypatch.setattr("course_lib.tuning.replay_texts", everything)
    run, tokenizer, _ = asked_for("repaso")
    exam = unseen_exam()
    about = len(exam.facts) + len(exam.yes_no) + len(exam.chained)
    assert experiments.leaked(run, tokenizer, exam) >= about


def test_each_condition_trains_at_its_rate_for_its_steps_and_holds_out_its_pairs(asked_for):
    steps, pairs = total_steps(MINI), training_pairs(MINI)
    for name, rate, epochs in (("original", 1, 1), ("original_x3_e9", 3, 3), ("repaso_x10", 10, 1)):
        args = asked_for(name)[0].args
        assert args.learning_rate == pytest.approx(rate * MINI.learning_rate)
        assert args.max_steps == epochs * steps and args.warmup_steps == MINI.warmup_steps
    short = asked_for("original_e1")[0].args  # 81 pasos: la subida también es de una tercera parte
    assert short.warmup_steps == round(MINI.warmup_steps / 3) < short.max_steps
    run, tokenizer, held = asked_for("parejas")
    assert len(run.rows) + len(held) == len(pairs) and len(held) == round(len(pairs) / 10)
    texts = [tokenizer.decode(row.input_ids, skip_special_tokens=True) for row in run.rows]
    assert not any(f" {pair.user} <|bot|> {pair.reply}" in text for pair in held for text in texts)


def test_the_new_markers_are_born_as_their_condition_says():
    import torch

    def born(markers):
        model, tokenizer = factores.prepare(MINI, Condition("", markers=markers))
        assert tokenizer.pad_token == tokenizer.eos_token
        table = model.get_input_embeddings().weight.data
        return (len(tokenizer), table[:-3], table[-3:]) if markers != "partidos" else len(tokenizer)

    size = born("partidos")
    for markers in ("medio", "distinto", "raro"):
        length, known, new = born(markers)
        assert (length, len(known)) == (size + 3, size)
        if markers == "medio":
            assert torch.allclose(new, known.mean(0).expand(3, -1), atol=1e-6)
        if markers == "raro":
            rare = factores.rare_tokens(MINI.load_tokenizer())
            counts = factores._token_counts(MINI.load_tokenizer().name_or_path)
            assert torch.equal(new, known[rare]) and all(0 < counts[t] <= 3 for t in rare)
        if markers == "distinto":
            spread = ((new - known.mean(0)) / known.std(0)).std()
            assert spread == pytest.approx(1, abs=0.15) and not torch.equal(new[0], new[1])


# --- Medir ---------------------------------------------------------------------------------------


def test_a_tiny_run_gives_every_measure_and_what_is_saved_comes_back(monkeypatch):
    def some(part):
        return shipped_dialogues(part)[: {"train": 14, "test": 6}.get(part, 9)]

    small = dataclasses.replace(MINI, dialogues=some, train_dialogues=12)
    monkeypatch.setattr(factores, "get_track", lambda name: small)
    base = factores.measure_once("base", 1, 1, steps=1, questions=4)
    assert set(base["medidas"]) == set(MEASURES) - {"parejas", "dialogos", "segundos", "tokens"}
    # Las parejas que se apartan con cada semilla no son de los mismos diálogos.
    runs = [factores.measure_once("parejas", seed, 0, 1, 4) for seed in (0, 2)]
    assert all({"parejas", "dialogos"} < set(run["medidas"]) for run in runs)
    assert tables.from_json(tables.to_json(runs)) == runs
    assert all(run["fugas"] == 0 for run in [base, *runs])
    held = [tables.Tally(*run["medidas"]["parejas"]) for run in runs]
    measure = tables.contrast({"parejas": held}, {"parejas": 1})
    sums, counts = (sum(sum(tally[i]) for tally in held) for i in (1, 2))
    assert measure.value == pytest.approx(sums / counts)


# --- Lo guardado ---------------------------------------------------------------------------------


def test_the_stored_table_is_whole_and_its_answers_can_be_graded_again():
    found = stored_runs("factores")
    assert tables.stored("factores")["presupuesto"]["pasos"] == total_steps(MINI)
    seeds = {"base": 2} | {name: factores.seeds_of(c) for name, c in conditions().items()}
    assert Counter(run["condicion"] for run, _ in found) == seeds
    exams = [unseen_exam(split=split) for split in (0, 1)]
    for run, told in found:
        assert run["reparto"] == run["semilla"] % 2 and run["fugas"] == 0
        exam, measures = exams[run["reparto"]], run["medidas"]
        said = [first_turn(raw) for raw in told["chat"]]
        assert measures["chat"] == graded_again(said, exam.facts)
        assert measures["si_no_chat"] == graded_again(told["si_no_chat"], exam.yes_no)
        assert measures["lee"] == graded_again(told["lee"], exam.reading)
