"""La receta de la lección 07: nada de lo que se puntúa se ajusta, y LoRA entrena lo que dice."""

import copy
import dataclasses

import pytest

from course_lib import world
from course_lib.encoding import BOT, USER, Kind, prepare_for_chat
from course_lib.tracks import get_track
from course_lib.tuning import (
    chat_examples,
    half_precision,
    load_for_chat,
    projections,
    quiet_peft,
    replay_texts,
    save_tuned,
    split_countries,
    task_conversations,
    with_lora,
)

# --- La tarea ------------------------------------------------------------------------------------


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


def trained(model) -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_a_tokenizer_without_the_markers_has_no_new_rows(make_model, tokenizer):
    tokenizer.chat_template = "{{ messages }}"
    tuned = with_lora(make_model(positions=32), tokenizer, rank=4)
    assert trained(tuned) and all("lora_" in name for name in trained(tuned))


def test_whoever_rewords_the_template_still_trains_the_new_markers(mistral, tokenizer):
    before = tokenizer.chat_template
    tokenizer.chat_template = before.replace("solo conoce", "conoce solo")
    assert tokenizer.chat_template != before
    tuned = with_lora(mistral, tokenizer, rank=4)
    rows = [name for name in trained(tuned) if "lora_" not in name]
    assert len(rows) == 2  # en la tabla de entrada y en la de salida
    assert all("token_adapter" in name for name in rows), rows


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
