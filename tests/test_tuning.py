"""La receta de la lección 07: nada de lo que se puntúa se ajusta, y LoRA entrena lo que dice."""

import copy
import dataclasses

import pytest
from checks import each

from course_lib import world
from course_lib.dialogues import Dialogue
from course_lib.encoding import BOT, USER, Kind, prepare_for_chat
from course_lib.evaluation import build_exam, leaks
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
    talk_conversations,
    task_questions,
    with_lora,
)

# --- La tarea ------------------------------------------------------------------------------------


def test_every_country_is_on_one_side_only():
    train, test = split_countries()
    assert sorted(c.name for c in [*train, *test]) == sorted(c.name for c in world.load_countries())


@each("language", ["es", "en"])
def test_the_task_is_about_its_countries_and_no_others(language):
    countries, yes = split_countries(1, language)[0], world.WORDS[language].yes
    taught = task_questions(countries, 1, yes_no=4, chains=300, unknown=80)
    assert {kind: len(questions) for kind, questions in taught.items()} == {
        "hechos": 49 * 4 * 6, "sí o no": 49 * 4 * 4, "encadenadas": 300, "no lo sé": 80
    }  # fmt: skip
    assert sum(q.answer == yes for q in taught["sí o no"]) == 49 * 4 * 2
    assert {len(q.history) for q in taught["encadenadas"]} == {1, 2, 3}
    said = [t for questions in taught.values() for q in questions for t in (*q.history, q)]
    known = {t.about for t in said if t.answer != world.WORDS[language].unknown}
    assert known == {c.name for c in countries}


def test_each_dialogue_is_told_from_both_sides():
    said = talk_conversations([Dialogue(("Hola.", "¡Hola!", "¿Qué tal?")), Dialogue(("A.", "B."))])
    assert [[m["content"] for m in messages] for messages in said] == [
        ["Hola.", "¡Hola!"], ["A.", "B."], ["¡Hola!", "¿Qué tal?"]
    ]  # fmt: skip
    assert all([m["role"] for m in messages] == ["user", "assistant"] for messages in said)


def test_replay_is_the_same_for_the_same_seed_and_other_for_another():
    assert replay_texts(5) == replay_texts(5) != replay_texts(5, seed=1)


def examined(split: int, language: str = "es") -> list:
    """Todo lo que se le preguntará a un modelo: preguntas sueltas, charlas y lo que no se sabe."""
    exam = build_exam(150, countries=split_countries(split, language)[1])
    return [question for part in vars(exam).values() for question in part]


@each("split", [0, 1])
def test_nothing_of_the_exam_is_in_what_is_tuned(split):
    track = get_track("mini")
    tokenizer = prepare_for_chat(track.load_tokenizer())
    train, held_out = chat_examples(track, tokenizer, split=split)
    texts = [tokenizer.decode(e.input_ids) for e in [*train, *held_out]]
    turns = [turn for d in track.load_dialogues("test") for turn in d.turns]
    assert not leaks([*examined(split), *turns], texts)
    # Lo de antes, repasar con todos los países, delataba todas las preguntas sobre los del examen.
    before = replay_texts(2_400, countries=world.load_countries())
    asked = [question for question in examined(split) if question.about]
    told = [question for question, _ in leaks(asked, before)]
    real = {c.name for c in world.load_countries()}
    assert told == [question for question in asked if question.about in real]


@pytest.fixture(scope="module")
def made():
    """Los ejemplos de ajustar y los apartados, sin encadenar y encadenando, y cómo leerlos."""
    track = get_track("mini")
    tokenizer = prepare_for_chat(track.load_tokenizer())
    sizes = {"talk": 50, "replay": 30, "chains": 100, "unknown": 40}
    both = [chat_examples(track, tokenizer, chained=chained, **sizes) for chained in (False, True)]
    return *both, tokenizer


def test_one_task_in_ten_comes_after_another_talk_and_without_chains_none_comes_after(made):
    (loose, _), (train, held_out), tokenizer = made
    tasks = 44 * 4 * (6 + 16) + 100 + 40
    talks = talk_conversations(get_track("mini").load_dialogues("train")[:50])
    turns = [tokenizer.decode(e.input_ids).count(USER) for e in train]
    assert len(train) == len(talks) + tasks + 30 and turns.count(0) == 30
    assert len(held_out) == 5 * 4 * (6 + 4) + 60 + 20
    # De varios turnos son ya las 100 encadenadas y 20 de las de «no lo sé», que van al final.
    after = sum(n > 1 for n in turns) - sum(len(talk) > 2 for talk in talks) - 120
    assert 0 <= after - 44 * 4 * (6 + 16) / 10 < 5
    loose = [tokenizer.decode(e.input_ids).count(USER) for e in loose]
    assert set(loose) == {0, 1}
    assert loose.count(1) == sum(len(talk) // 2 for talk in talks) + tasks - 120


def test_held_out_examples_are_about_countries_that_are_not_tuned(made):
    _, (train, held_out), tokenizer = made
    asked = world.fact_questions(split_countries()[0][-5:])
    tuned, apart = ([tokenizer.decode(e.input_ids) for e in part] for part in (train, held_out))
    assert (len(leaks(asked, tuned)), len(leaks(asked, apart))) == (0, 20)
    assert all(e.kinds[0] == Kind.MARKER for e in held_out)


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
    talks = talk_conversations(track.load_dialogues("train")[:6])
    assert (len(train), len(held_out)) == (len(talks) + 4 * 6 + 6, 4 * 6)
    texts = [tokenizer.decode(e.input_ids) for e in [*train, *held_out]]
    replay = [text for text in texts if not text.startswith(USER)]
    assert len(replay) == 6 and not any("Respuesta:" in text for text in replay)
    assert not leaks(examined(0, "en"), texts)
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
