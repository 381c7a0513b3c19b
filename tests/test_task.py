"""La tarea y sus datos: lo que se ajusta no se puntúa, y lo que se examina no se enseña."""

import re

from course_lib import world
from course_lib.encoding import IGNORED, Kind
from course_lib.reading import plain_texts, reworded_questions, reworded_texts
from course_lib.encoding import encode_text
from course_lib.tuning import replay_texts, split_countries, task_conversations


def test_every_country_is_on_one_side_only():
    train, test = split_countries()
    assert sorted(c.name for c in [*train, *test]) == sorted(c.name for c in world.load_countries())


def test_no_question_of_the_exam_is_ever_taught():
    train, test = split_countries()
    taught = {messages[0]["content"] for messages in task_conversations(train)}
    asked = {q.text for q in [*world.fact_questions(test), *world.yes_no_questions(test)]}
    assert not taught & asked


def test_half_of_the_yes_no_questions_are_true():
    train, _ = split_countries()
    answers = [messages[1]["content"] for messages in task_conversations(train)]
    assert answers.count("Sí.") == answers.count("No.") == len(train) * 4 * 4


def test_replay_is_the_same_for_the_same_seed_and_other_for_another():
    assert replay_texts(5) == replay_texts(5) != replay_texts(5, seed=1)


def test_a_replayed_text_counts_whole_with_its_end(tokenizer):
    encoded = encode_text(tokenizer, "La niña comió piña")
    assert tokenizer.decode(encoded.input_ids[:-1]) == "La niña comió piña"
    assert encoded.labels == encoded.input_ids
    assert encoded.input_ids[-1] == tokenizer.eos_token_id
    assert encoded.kinds[-1] == Kind.END
    assert IGNORED not in encoded.labels


def test_rewordings_keep_every_fact_and_change_the_words():
    documents = world.load_documents()
    plain, reworded = plain_texts(documents), reworded_texts(documents, copies=6)
    assert len(reworded) == 6 * len(plain)
    for i, document in enumerate(documents):
        copies = reworded[6 * i : 6 * i + 6]
        for question in document.questions:
            assert all(question.answer.lower() in copy.lower() for copy in copies)
        assert any(copy != document.text for copy in copies)


def test_reworded_questions_are_never_those_of_the_exam():
    documents = world.load_documents()
    exam = {q.text for d in documents for q in d.questions}
    taught = [re.search(r"Pregunta: (.+)", text)[1] for text in reworded_questions(documents)]
    assert taught and not exam & set(taught)
