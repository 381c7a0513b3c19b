"""Los peldaños de la escalera medida: mismas preguntas para todos y nada visto de antemano."""

import pytest

from course_lib import experiments, world
from course_lib.checksums import sha256
from taller.ladder import SEEDS, TUNED
from course_lib.ladder import EXAMS, format_kept, format_ladder, spread
from course_lib.ladder import after_label, few_shot_prompt, form_prompt, question_sets
from course_lib.tuning import split_countries


@pytest.fixture(scope="module")
def stored():
    return experiments.load("escalera")


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


def test_a_label_written_by_the_model_is_not_its_answer():
    assert after_label("\nRespuesta: sí.\nPregunta: …") == "sí.\nPregunta: …"
    assert after_label("París.") == "París."


def test_the_stored_ladder_is_complete_and_of_this_model(stored):
    assert stored["ajustes"].keys() == TUNED.keys()
    assert all(len(rows) == len(SEEDS) for rows in stored["ajustes"].values())
    sizes = {name: len(questions) for name, questions in question_sets().items()}
    rows = [*stored["peldaños"].values(), *(r for rs in stored["ajustes"].values() for r in rs)]
    assert all(row[exam]["n"] == sizes[exam] for row in rows for exam in EXAMS)
    model = sha256(world.data_path("mini", "model.safetensors"))
    assert stored["procedencia"]["minimodelo"] == model


def test_the_dummy_is_in_the_table(stored):
    dummy = stored["peldaños"]["Decir siempre «sí»"]
    assert dummy["si_no"]["value"] == 0.5 and dummy["hechos"]["value"] == 0


def test_the_margin_of_several_seeds_covers_them_all():
    rows = [
        {"x": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 10}},
        {"x": {"value": 0.6, "low": 0.5, "high": 0.8, "n": 10}},
    ]
    assert spread(rows, "x") == pytest.approx((0.4, 0.1, 0.8))


def test_tables_have_a_line_per_rung(stored):
    table = format_ladder(stored, ["Con búsqueda (RAG)", "LoRA"]).splitlines()
    assert len(table) == 4 and table[2].startswith("| Con búsqueda (RAG) | ")
    assert len(format_kept(stored, ["LoRA"]).splitlines()) == 4
