"""La receta de la lección 07: nada de lo que se puntúa se ajusta, y LoRA entrena lo que dice."""

import pytest

from course_lib import world
from course_lib.encoding import USER, Kind, prepare_for_chat
from course_lib.task import split_countries
from course_lib.tracks import get_track
from course_lib.tuning import chat_arguments, chat_examples, with_lora


@pytest.fixture(scope="module")
def chat_examples_and_tokenizer():
    track = get_track("mini")
    tokenizer = prepare_for_chat(track.load_tokenizer())
    return chat_examples(track, tokenizer, talk=50, replay=30), tokenizer


def test_the_scored_countries_appear_in_no_chat_example(chat_examples_and_tokenizer):
    (train, held_out), tokenizer = chat_examples_and_tokenizer
    asked = {q.text for q in world.fact_questions(split_countries()[1])}
    marker = tokenizer.convert_tokens_to_ids(USER)
    chats = [tokenizer.decode(e.input_ids) for e in [*train, *held_out] if e.input_ids[0] == marker]
    assert len(chats) == 2 * (44 * 4 * 11 + 50) + 5 * 4 * 11
    assert not any(question in chat for chat in chats for question in asked)


def test_held_out_examples_are_not_among_those_tuned(chat_examples_and_tokenizer):
    (train, _), tokenizer = chat_examples_and_tokenizer
    tuned = [tokenizer.decode(e.input_ids) for e in train if e.kinds[0] == Kind.MARKER]
    held_out = world.fact_questions(split_countries()[0][-5:])
    assert not any(question.text in text for text in tuned for question in held_out)


def test_lora_trains_the_adapters_and_the_two_new_markers_and_nothing_else(tokenizer, make_model):
    model = make_model(positions=32)
    prepare_for_chat(tokenizer, model)
    tuned = with_lora(model, tokenizer, rank=4)
    trained = {name: p.numel() for name, p in tuned.named_parameters() if p.requires_grad}
    # Por bloque: c_attn 32→96, c_proj 32→32, c_fc 32→128 y la otra c_proj 128→32; dos bloques.
    adapters = 2 * 4 * ((32 + 96) + (32 + 32) + (32 + 128) + (128 + 32))
    assert sum(n for name, n in trained.items() if "lora_" in name) == adapters
    assert sum(trained.values()) == adapters + 2 * 32


def test_the_best_of_what_was_measured_is_what_stays(tmp_path):
    args = chat_arguments(tmp_path)
    assert args.load_best_model_at_end
    assert args.eval_strategy == args.save_strategy == "steps"
    assert args.save_steps % args.eval_steps == 0
