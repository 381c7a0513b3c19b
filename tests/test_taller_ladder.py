"""Cómo se mide la escalera: mismas preguntas para todos y nada visto de antemano."""

from course_lib import data_path, tables, world
from course_lib.hub import sha256
from course_lib.ladder import EXAMS, form_prompt
from course_lib.tracks import get_track
from course_lib.tuning import split_countries
from taller.ladder import SEEDS, TUNED, chat_arguments, few_shot_prompt, question_sets


def test_the_questions_are_about_countries_that_no_rung_tunes():
    tuned, _ = split_countries()
    asked = {q.text for q in [*question_sets()["hechos"], *question_sets()["si_no"]]}
    taught = {q.text for q in [*world.fact_questions(tuned), *world.yes_no_questions(tuned)]}
    assert len(asked) == 200 + 400 and not asked & taught


def test_documents_are_asked_without_giving_them():
    assert all(q.context is None for q in question_sets()["documentos"])


def test_the_examples_of_few_shot_are_about_other_countries(tokenizer):
    question = question_sets()["hechos"][0]
    text = tokenizer.decode(few_shot_prompt(tokenizer, question))
    assert text.endswith(tokenizer.decode(form_prompt(tokenizer, question)))
    assert text.count("Pregunta:") == 4
    solved = text[: text.rindex("Pregunta:")]
    train = [q.text for q in world.fact_questions(split_countries()[0])]
    assert sum(q in solved for q in train) == 3
    assert question.text not in solved


def test_the_stored_ladder_is_complete_and_of_this_model():
    stored = tables.stored("escalera")
    assert stored["ajustes"].keys() == TUNED.keys()
    assert all(len(rows) == len(SEEDS) for rows in stored["ajustes"].values())
    sizes = {name: len(questions) for name, questions in question_sets().items()}
    rows = [*stored["peldaños"].values(), *(r for rs in stored["ajustes"].values() for r in rs)]
    assert all(row[exam].n == sizes[exam] for row in rows for exam in EXAMS)
    model = sha256(data_path("mini", "model.safetensors"))
    assert stored["procedencia"]["minimodelo"] == model


def test_with_few_examples_it_is_still_logged_and_measured(tmp_path):
    for examples in (10, 40, 120, 7_672):
        args = chat_arguments(get_track("mini"), tmp_path, examples)
        steps = -(-examples // args.per_device_train_batch_size)
        assert args.eval_steps <= steps and args.logging_steps <= max(1, steps // 2)


def test_lora_learns_at_its_own_rate(tmp_path):
    track = get_track("mini")
    rates = [chat_arguments(track, tmp_path, 100, lora).learning_rate for lora in (False, True)]
    assert rates == [3e-4, 3e-3]  # los de la escalera guardada


def test_the_best_of_what_was_measured_is_what_stays(tmp_path):
    args = chat_arguments(get_track("mini"), tmp_path, examples=7_672)
    assert args.load_best_model_at_end
    assert args.eval_strategy == args.save_strategy == "steps"
    assert args.save_steps % args.eval_steps == 0
