"""El minimodelo publicado cumple lo que promete su ficha."""

import hashlib
import re

import pytest

from course_lib import corpus, data_path, reading
from course_lib.encoding import original_prompt
from course_lib.evaluation import accuracy, ask_directly, ask_in_chat, build_exam
from course_lib.tracks import get_track


@pytest.fixture(scope="module")
def shipped():
    track = get_track("mini")
    return track.load_model(), track.load_tokenizer()


@pytest.fixture(scope="module")
def exam():
    return build_exam(200)


def test_the_weights_are_small_and_in_safetensors():
    folder = data_path("mini")
    assert (folder / "model.safetensors").stat().st_size <= 12_000_000
    assert not list(folder.glob("*.bin")) and not list(folder.glob("*.pt"))


def test_the_published_sums_are_those_of_the_files():
    folder = data_path("mini")
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected


@pytest.mark.parametrize("part", ["facts", "yes_no", "reading"])
def test_it_answers_at_least_95_percent(shipped, exam, part):
    questions = getattr(exam, part)
    measure = accuracy(ask_directly(*shipped)(questions), questions)
    print(part, measure)
    assert measure.value >= 0.95


def test_it_fails_through_chat_markers_it_never_saw(shipped, exam):
    answers = ask_in_chat(*shipped, original_prompt)(exam.facts)
    assert accuracy(answers, exam.facts).value < 0.2


def test_it_has_no_padding_token_like_gpt2(shipped):
    _, tokenizer = shipped
    assert tokenizer.pad_token is None
    assert tokenizer.all_special_tokens == ["<|endoftext|>"]
    assert len(tokenizer.encode("<|user|>")) > 1


def test_the_card_has_every_required_measure_over_200_questions_or_more():
    card = data_path("mini", "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| [\d,]+% \| [\d,]+–[\d,]+ \| (\d+) \|$", card, re.MULTILINE)
    sizes = {name: int(n) for name, n in rows}
    for name in ("pregunta y respuesta", "completando", "sí o no", "nunca visto", "few-shot"):
        (size,) = [n for row, n in sizes.items() if name in row]
        assert size >= 200, name


def test_names_in_reading_exams_were_kept_out_of_pretraining():
    import itertools

    text = " ".join(itertools.islice(corpus.pretraining_documents("prueba"), 3000))
    read = set(re.findall(r"\w+", text))
    exam_words = {
        word
        for q in reading.reading_questions(200)
        for word in re.findall(r"\b[A-ZÁÉÍÓÚÑ]\w+", q.context)
    }
    import zlib

    reserved = {w for w in exam_words if zlib.crc32(w.lower().encode()) % 10 == 0}
    assert len(reserved) > 200
    assert not reserved & read
