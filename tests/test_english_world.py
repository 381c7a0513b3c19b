"""El mundo en inglés: las mismas respuestas sabidas de antemano, y nada de español dentro."""

import csv
import itertools
import random
import re
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
from checks import each

from course_lib import data_path, evaluation, reading, tuning, world
from course_lib.retrieval import build_index, recall_at_k, retrieval_prompt
from course_lib.world import ATTRIBUTES, WORDS, Question, question_prompt

COUNTRIES = world.load_countries("en")
BY_CODE = {country.code: country for country in COUNTRIES}
DOCUMENTS = world.load_documents("en")
SPANISH = re.compile(
    r"[¿¡ñ]|\b(pregunta|respuesta|contexto|el|la|los|de|del|en|es|sí|qué|cuál|quién|país)\b",
    re.IGNORECASE,
)


def rows() -> list[dict[str, str]]:
    with data_path("mundo", "paises.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def table_names() -> re.Pattern:
    """Los nombres de la tabla, que son los únicos que pueden llevar tildes."""
    names = {value for row in rows() for key, value in row.items() if key.endswith("_en") and value}
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(longest_first)})\b")


# --- Hechos --------------------------------------------------------------------------------------


@each(
    ("code", "attribute", "question", "answer"),
    [
        ("JP", "capital", "What is the capital of Japan?", "Tokyo"),
        ("JP", "currency", "What is the currency of Japan?", "yen"),
        ("JP", "language", "What is the official language of Japan?", "Japanese"),
        ("JP", "continent", "Which continent is Japan in?", "Asia"),
        ("GB", "capital", "What is the capital of the United Kingdom?", "London"),
        ("US", "continent", "Which continent is the United States in?", "America"),
    ],
)
def test_a_fact_is_asked_and_answered_in_english(code, attribute, question, answer):
    made = world.fact_question(BY_CODE[code], attribute)
    assert made == Question(attribute, question, answer, lang="en", about=BY_CODE[code].name)
    assert question_prompt(made) == f"Question: {question}\nAnswer:"


@each(
    ("code", "attribute", "begun"),
    [
        ("FR", "capital", "The capital of France is"),
        ("FR", "currency", "The currency of France is the"),
        ("FR", "language", "The official language of France is"),
        ("GB", "continent", "The United Kingdom is a country in"),
        ("US", "capital", "The capital of the United States is"),
    ],
)
def test_a_fact_is_half_said_as_a_model_may_have_read_it(code, attribute, begun):
    (question,) = world.completion_questions([BY_CODE[code]], [attribute])
    assert question.text == begun and question.lang == "en"


def test_the_two_languages_have_the_same_countries_and_the_same_halves():
    assert [c.code for c in COUNTRIES] == [c.code for c in world.load_countries()]
    halves = [tuning.split_countries(seed=2, language=code) for code in ("es", "en")]
    for spanish, english in zip(*halves, strict=True):
        assert [c.code for c in spanish] == [c.code for c in english]
        assert {c.lang for c in english} == {"en"}


@each("load", [world.load_templates, world.load_documents])
def test_a_language_that_is_not_there_is_refused_in_one_sentence(load):
    with pytest.raises(ValueError, match="en el idioma «fr»: elige «es» o «en»"):
        load("fr")


# --- Sí o no -------------------------------------------------------------------------------------


def truth_table(form: int) -> dict[str, bool | None]:
    """Cada pregunta posible y su verdad; `None` si el idioma es oficial sin ser el principal."""
    keys = dict(zip(ATTRIBUTES, ("capital", "currency", "language", "continent"), strict=True))
    table, lines = {}, rows()
    for attribute, key in keys.items():
        template = world.load_templates("en")["hechos"][attribute]["si_no"][form]
        values = {row[f"{key}_en"] for row in lines}
        for row, value in itertools.product(lines, values):
            also = attribute == "language" and value in row["also_official_en"].split(";")
            text = world.render(template, pais=row["country_en"], x=value)
            table[text] = None if also else value == row[f"{key}_en"]
    return table


@pytest.mark.parametrize("form", [0, 1])
def test_no_yes_no_question_lies_not_even_about_a_second_official_language(form):
    table, rng = truth_table(form), random.Random(form)
    for country, attribute, truth in itertools.product(COUNTRIES, ATTRIBUTES, (True, False)):
        for _ in range(10):
            question = world.yes_no_question(country, attribute, truth, rng, form)
            assert table[question.text] is truth
            assert question.answer == ("yes" if truth else "no") and question.lang == "en"


def test_the_second_languages_that_could_be_asked_as_false_are_the_known_ones():
    def also(code):
        return set(BY_CODE[code].also_official)

    assert also("FI") == {"Swedish"} and also("RW") == {"English", "French", "Swahili"}
    assert also("KE") == {"English"} and also("JP") == set()
    assert sum(bool(c.also_official) for c in COUNTRIES) == sum(
        bool(c.also_official) for c in world.load_countries()
    )


def test_yes_and_no_are_balanced_in_the_exam_and_the_dummy_gets_half():
    exam = evaluation.build_exam(200, language="en")
    assert Counter(q.answer for q in exam.yes_no) == {"yes": 100, "no": 100}
    assert {q.lang for part in vars(exam).values() for q in part} == {"en"}
    said = evaluation.always_yes(exam.yes_no)
    assert set(said) == {"Yes."}
    assert evaluation.accuracy(said, exam.yes_no).value == 0.5
    assert evaluation.yes_share(said).value == 1
    row = evaluation.score_row("tonto", evaluation.always_yes, evaluation.always_yes, exam)
    assert [row[c].value for c in ("sabe", "chat", "lee")] == [0, 0, 0]


@each(
    ("expected", "answer", "kind", "right"),
    [
        ("yes", "Yes, it is.", "sí/no", True),
        ("yes", "No.", "sí/no", False),
        ("no", "Not really", "sí/no", False),
        ("Tokyo", "The capital of Japan is Tokyo.", "capital", True),
        ("yen", "Japanese yen", "currency", True),
        ("a lamp", "Lamp.", "lectura", True),
        ("an umbrella", "It was the umbrella", "lectura", True),
        ("the guitar", "guitars", "lectura", False),
        ("Tokyo", "Kyoto\nTokyo", "capital", False),
    ],
)
def test_an_english_answer_is_right_without_its_article(expected, answer, kind, right):
    assert evaluation.is_right(answer, Question(kind, "?", expected, lang="en")) is right


def test_the_article_is_still_asked_for_in_spanish():
    assert not evaluation.is_right("Euro.", Question("currency", "¿?", "el euro"))
    assert evaluation.is_right("Es el euro.", Question("currency", "¿?", "el euro"))


# --- Lectura -------------------------------------------------------------------------------------


def test_a_reading_answer_is_in_its_context_and_its_names_are_plain():
    rng = random.Random(5)
    for i in range(1_500):
        context, questions = reading.reading_example(rng, 1 + i % 5, i % 2 == 0, "en")
        assert len(questions) == 1 + i % 5
        for question in questions:
            text = f"{context} {question.text}"
            assert question.answer.lower() in context.lower()
            assert question.lang == "en" and question.context == context
            assert text.isascii() and not SPANISH.search(text), text
            assert not re.search(r"[{}]|  |\ba [aeiou]|\ban [^aeiou]", text), text


def test_names_of_the_exams_never_appear_in_the_texts_to_repeat():
    ordinary = set(re.findall(r"\w+", str(world.load_templates("en")).lower()))
    ordinary |= set(re.findall(r"\w+", str(COUNTRIES).lower()))

    def invented(text):
        found = re.findall(r"\w+", text.lower())
        return {w for w in found if w not in ordinary and not w.isdigit()}

    exam = reading.reading_questions(1_000, language="en")
    asked = set().union(*(invented(q.context) for q in exam))
    made = itertools.islice(reading.pretraining_documents("prueba", "en"), 6_000)
    read = set().union(*map(invented, made))
    assert len(asked) > 1_000 and len(read) > 4_000  # si no, no se probaría nada
    assert not asked & read


# --- Documentos ----------------------------------------------------------------------------------


def test_a_known_document_says_and_asks_what_its_spanish_one_does():
    library = {d.id: d for d in DOCUMENTS}["doc-007"]
    assert library.lang == "en" and library.text == (
        "The Old Library of Valdun opens at eight o'clock. "
        "The Old Library of Valdun is closed every Tuesday."
    )
    asked = [(q.text, q.answer) for q in library.questions]
    assert asked == [
        ("What time does the Old Library of Valdun open?", "eight o'clock"),
        ("What day is the Old Library of Valdun closed?", "Tuesday"),
    ]
    assert question_prompt(library.questions[1]) == (
        f"Context: {library.text}\nQuestion: What day is the Old Library of Valdun closed?\nAnswer:"
    )


@pytest.mark.parametrize(("k", "bound"), [(1, 0.75), (3, 0.9)])
def test_a_search_in_english_finds_the_document_of_most_questions(k, bound):
    index = build_index({d.id: d.text for d in DOCUMENTS}, "en")
    asked = [(q.text, d.id) for d in DOCUMENTS for q in d.questions]
    recall = recall_at_k(index.search, *zip(*asked, strict=True), k)
    print(f"BM25 en inglés, k={k}: {recall.value:.3f} de {recall.n}")
    assert recall.value > bound
    prompt = retrieval_prompt(index.search)(replace(DOCUMENTS[0].questions[0], context=None))
    assert prompt == question_prompt(DOCUMENTS[0].questions[0])


# --- Idioma --------------------------------------------------------------------------------------


def test_no_spanish_is_left_in_anything_that_an_english_model_reads():
    train, test = tuning.split_countries(language="en")
    exam = evaluation.build_exam(100, countries=test)
    taught = tuning.task_questions(train[:20], chains=200, unknown=60)
    asked = [q for some in [*vars(exam).values(), *taught.values()] for q in some]
    asked += world.chain_questions(test[:20], turns=3)
    texts = [
        *itertools.islice(reading.pretraining_documents(0, "en"), 1_500),
        *tuning.replay_texts(100, language="en"),
        *(f"{question_prompt(q)} {q.answer}." for q in asked),
        *(d.title for d in DOCUMENTS),
        *(question_prompt(q, [q]) for d in DOCUMENTS for q in d.questions),
    ]
    for text in texts:
        text = table_names().sub("@", text)
        assert text.isascii() and not SPANISH.search(text), text


def test_replay_has_all_its_parts_and_reading_has_more_than_its_share():
    texts = tuning.replay_texts(600, language="en")
    # De los 375 como los de preentrenar, unos 56 de cada cien; y los otros 225.
    assert len(texts) == 600 and 390 < sum(t.startswith("Context:") for t in texts) < 480
    assert sum(bool(re.search(r"Answer: (yes|no)\.", t)) for t in texts) > 60
    assert texts != tuning.replay_texts(600, seed=1, language="en")


def test_every_language_has_its_own_words():
    assert WORDS["en"]._asdict() == {
        "question": "Question",
        "answer": "Answer",
        "context": "Context",
        "yes": "yes",
        "no": "no",
        "unknown": "I don't know",
    }
