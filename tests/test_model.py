"""El minimodelo publicado cumple lo que promete su ficha."""

import hashlib
import re

import pytest

from course_lib import data_path, world
from course_lib.encoding import original_prompt
from course_lib.evaluation import accuracy, ask_directly, ask_in_chat, build_exam
from course_lib.tracks import get_track
from taller.card import completion, few_shot


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


@pytest.mark.parametrize("part", ["facts", "yes_no", "reading"])
def test_it_answers_at_least_95_percent(shipped, exam, part):
    questions = getattr(exam, part)
    measure = accuracy(ask_directly(*shipped)(questions), questions)
    print(part, measure)
    assert measure.value >= 0.95


def test_it_completes_at_least_95_percent_of_the_sentences(shipped):
    countries = world.load_countries()[::2]
    assert completion(*shipped, countries).value >= 0.95


def test_few_shot_runs_work(shipped, exam):
    assert few_shot(*shipped, exam.facts).value >= 0.9


def test_the_card_was_measured_on_these_very_weights():
    weights = data_path("mini", "model.safetensors").read_bytes()
    card = data_path("mini", "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(weights).hexdigest() in card


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
