"""La receta de la lección 07: nada de lo que se puntúa se ajusta, y LoRA entrena lo que dice."""

import copy
import dataclasses

import pytest

from course_lib import world
from course_lib.encoding import BOT, USER, Kind, prepare_for_chat
from course_lib.tuning import projections
from course_lib.tuning import split_countries
from course_lib.tracks import get_track
from course_lib.tuning import (
    chat_arguments,
    chat_examples,
    half_precision,
    quiet_peft,
    save_tuned,
    with_lora,
)


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


def test_a_cut_track_has_few_examples_of_each_thing_and_in_its_language():
    track = dataclasses.replace(get_track("mini"), limit=6, language="en")
    tokenizer = prepare_for_chat(track.load_tokenizer())
    train, held_out = chat_examples(track, tokenizer)
    assert (len(train), len(held_out)) == (2 * (6 + 6) + 6, 6)
    texts = [tokenizer.decode(e.input_ids) for e in [*train, *held_out]]
    replay = [text for text in texts if not text.startswith(USER)]
    assert len(replay) == 6 and not any("Respuesta:" in text for text in replay)
    asked = {q.text for q in world.fact_questions(split_countries(language="en")[1])}
    assert not any(question in text for text in texts for question in asked)
    assert any(text.startswith(f"{USER} Is ") for text in texts)


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


# --- LoRA en cualquier arquitectura --------------------------------------------------------------

MISTRAL = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


@pytest.fixture
def mistral(tokenizer):
    """Un Mistral diminuto, con la salida sin compartir, y el tokenizador con marcadores nuevos."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(3)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=False,
        )
    )
    prepare_for_chat(tokenizer, model)
    return model


def test_the_adapters_of_the_shipped_model_are_the_393600_weights_of_always():
    from course_lib.tuning import load_for_chat

    tuned = with_lora(*load_for_chat(get_track("mini")))
    config = tuned.peft_config["default"]
    assert sum(p.numel() for p in tuned.parameters() if p.requires_grad) == 393_600
    assert set(config.target_modules) == {"c_attn", "c_proj", "c_fc"}
    assert config.fan_in_fan_out


def test_the_targets_are_those_of_peft_all_linear(make_model, mistral):
    from peft import LoraConfig, get_peft_model

    assert projections(make_model()) == ["c_attn", "c_fc", "c_proj"]
    assert projections(mistral) == MISTRAL
    config = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM")
    with quiet_peft():
        peft = get_peft_model(mistral, config)
    adapted = {name.split(".")[-2] for name, _ in peft.named_modules() if name.endswith("lora_A")}
    assert adapted == set(MISTRAL)


def test_a_model_without_matrices_gets_a_sentence():
    import torch

    empty = torch.nn.Embedding(3, 2)
    empty.get_output_embeddings = lambda: None
    with pytest.raises(ValueError, match="no tiene matrices lineales"):
        projections(empty)


def test_lora_in_mistral_counts_as_by_hand(mistral, tokenizer):
    tuned = with_lora(mistral, tokenizer, rank=4)
    trained = {name: p.numel() for name, p in tuned.named_parameters() if p.requires_grad}
    # Por bloque: q y o 32→32, k y v 32→16, gate y up 32→48, down 48→32; dos bloques.
    adapters = 2 * 4 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 48))
    assert sum(n for name, n in trained.items() if "lora_" in name) == adapters
    # Y dos marcadores de 32 números en cada una de las dos tablas.
    assert sum(trained.values()) == adapters + 2 * 2 * 32


def test_with_an_untied_head_the_markers_learn_in_both_tables(mistral, tokenizer, tmp_path):
    import torch
    from peft import PeftModel

    base = copy.deepcopy(mistral)
    before = {
        name: table.weight.detach().clone()
        for name, table in (("in", mistral.get_input_embeddings()), ("out", mistral.lm_head))
    }
    tuned = with_lora(mistral, tokenizer, rank=4)
    ids = torch.tensor([tokenizer.convert_tokens_to_ids([USER, "a", BOT, "b"])])
    optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], lr=1.0)
    for _ in range(3):
        tuned(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_tuned(tuned, tmp_path)
    learned = tuned.eval()(ids).logits
    merged = tuned.merge_and_unload()
    rows = tokenizer.convert_tokens_to_ids([USER, BOT])
    for name, table in (("in", merged.get_input_embeddings()), ("out", merged.lm_head)):
        moved = (table.weight != before[name]).any(dim=1).nonzero().flatten().tolist()
        assert moved == rows, name
    with quiet_peft():
        loaded = PeftModel.from_pretrained(base, tmp_path).eval()
    assert torch.allclose(loaded(ids).logits, learned, atol=1e-5)


def test_a_tokenizer_with_its_own_template_has_no_new_rows(mistral, tokenizer):
    tokenizer.chat_template = "{{ messages }}"
    tuned = with_lora(mistral, tokenizer, rank=4)
    assert all("lora_" in name for name, p in tuned.named_parameters() if p.requires_grad)


@pytest.mark.parametrize(("native", "wanted"), [(True, {"bf16": True}), (False, {"fp16": True})])
def test_a_gpu_that_only_imitates_bf16_trains_in_fp16(monkeypatch, native, wanted):
    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", supported)
    assert half_precision() == wanted


def test_without_a_gpu_of_nvidia_it_trains_in_32_bits(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert half_precision() == {}
