"""Las rutas: se eligen por nombre o por variable, y la que hay carga un modelo que se usa."""

import dataclasses
import json

import pytest

from course_lib.tracks import CPU_EXAMPLES, get_track, own_track


def test_the_track_is_the_one_asked_for_or_that_of_the_variable_or_mini(monkeypatch):
    monkeypatch.delenv("CURSO_RUTA", raising=False)
    assert get_track().name == "mini"
    monkeypatch.setenv("CURSO_RUTA", "")
    assert get_track().name == "mini"
    monkeypatch.setenv("CURSO_RUTA", "enorme")
    assert get_track("mini").name == "mini"
    with pytest.raises(ValueError, match=r"No hay ninguna ruta «enorme»: .*mini.*CURSO_RUTA"):
        get_track()


def test_the_model_and_the_tokenizer_of_a_track_fit_each_other_and_its_lengths():
    track = get_track("mini")
    model, tokenizer = track.load_model(), track.load_tokenizer()
    assert not model.training
    assert tokenizer.pad_token is None  # como el de GPT-2: la lección 03 lo descubre
    assert len(tokenizer) == model.config.vocab_size
    assert track.max_length <= model.config.max_position_embeddings
    assert len(track.load_dialogues()) >= track.train_dialogues


@pytest.fixture
def no_gpu(monkeypatch):
    """Una máquina sin GPU, aunque la haya, y ninguna variable puesta."""
    monkeypatch.setattr("course_lib.tracks.device", lambda: "cpu")
    monkeypatch.delenv("CURSO_EJEMPLOS", raising=False)


def test_the_gpt2_track_is_the_original_lesson_and_says_what_runs(no_gpu, monkeypatch):
    monkeypatch.setenv("CURSO_EJEMPLOS", "0")
    said = []
    track = get_track("gpt2", said.append)
    assert (track.language, track.train_dialogues, track.limit) == ("en", 11_118, None)
    assert (track.epochs, track.batch_size, track.warmup_steps) == (3, 32, 100)
    assert len(said) == 1
    assert "openai-community/gpt2" in said[0]


def test_without_a_gpu_a_big_track_is_cut_by_itself_and_says_how_much(no_gpu):
    said = []
    track = get_track("gpt2", said.append)
    assert track.limit == track.train_dialogues == track.questions == CPU_EXAMPLES
    assert track.cut(5) == 5
    assert track.cut(500) == CPU_EXAMPLES
    assert f"{CPU_EXAMPLES} de 11118 diálogos" in said[-1]
    assert "CURSO_EJEMPLOS=0" in said[-1]


def test_an_odd_cut_leaves_an_even_exam_and_a_warmup_in_proportion(no_gpu, monkeypatch):
    monkeypatch.setenv("CURSO_EJEMPLOS", "75")
    track = get_track("mini", lambda text: None)
    assert (track.questions, track.train_dialogues, track.warmup_steps) == (76, 75, 75)


@pytest.mark.parametrize("value", ["muchos", "-3", "1.5"])
def test_a_cut_that_is_not_a_number_is_explained(no_gpu, monkeypatch, value):
    monkeypatch.setenv("CURSO_EJEMPLOS", value)
    with pytest.raises(ValueError, match=rf"CURSO_EJEMPLOS={value} no es un número: .* 0 para"):
        get_track("mini")


def test_what_the_lesson_claims_must_hold_in_mini_and_elsewhere_is_reported(no_gpu, capsys):
    mini = get_track("mini")
    mini.expect("dos y dos son cuatro", True)
    assert capsys.readouterr().out == "Se cumple: dos y dos son cuatro.\n"
    with pytest.raises(AssertionError, match="No se cumple: dos y dos son cinco"):
        mini.expect("dos y dos son cinco", False)
    other = get_track("gpt2", lambda text: None)
    other.expect("dos y dos son cuatro", True)
    other.expect("dos y dos son cinco", False)
    assert capsys.readouterr().out == (
        "Se cumple: dos y dos son cuatro.\nAQUÍ NO se cumple: dos y dos son cinco.\n"
    )


def test_a_sentence_of_a_lesson_comes_in_the_language_of_the_track():
    spanish = get_track("mini")
    english = dataclasses.replace(spanish, language="en")
    assert spanish.text("Hola, ¿qué tal?") == "Hola, ¿qué tal?"
    assert english.text("Hola, ¿qué tal?") == "Hello, how are you?"
    assert english.text("Muy bien, gracias.", "Hola, ¿qué tal?") == [
        "Fine, thank you.",
        "Hello, how are you?",
    ]
    with pytest.raises(ValueError, match=r"«Nada\.» no está traducida: añádela a data/"):
        english.text("Nada.")


def test_a_track_without_a_tuned_model_says_so():
    said = []
    assert get_track("mini").instructs(said.append) == []
    assert said == ["En la ruta «mini» no hay un modelo ya ajustado: se sigue sin él."]


@pytest.fixture
def own_dialogues(tmp_path):
    path = tmp_path / "mis_dialogos.jsonl"
    lines = [{"dialog": [f"¿Está abierta la tienda {k}?", f"Sí, la {k} sí."]} for k in range(40)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_ones_own_track_splits_whole_dialogues_and_loads_a_folder(
    no_gpu, own_dialogues, tmp_path, make_model, tokenizer
):
    folder = tmp_path / "modelo"
    make_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    said = []
    track = own_track(folder, own_dialogues, report=said.append, max_length=32)
    parts = [track.load_dialogues(part) for part in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert len({d.turns for part in parts for d in part}) == 40
    assert (track.language, track.max_length, track.train_dialogues) == ("es", 32, CPU_EXAMPLES)
    model = track.load_model()
    assert model.num_parameters() == make_model().num_parameters()
    assert len(track.load_tokenizer()) <= model.config.vocab_size


def test_an_untied_output_table_is_saved_with_the_model(tmp_path, own_dialogues, no_gpu):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    track = own_track(tmp_path / "llama", own_dialogues, report=lambda text: None)
    model = track.load_model()
    model.save_pretrained(tmp_path / "otra")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "otra")
    assert torch.equal(model.lm_head.weight, again.lm_head.weight)


def test_a_language_without_questions_is_explained(own_dialogues):
    with pytest.raises(ValueError, match="el idioma «fr»: elige «es» o «en»"):
        own_track("modelo", own_dialogues, language="fr")


def test_a_folder_without_a_model_is_explained(no_gpu, own_dialogues, tmp_path):
    (tmp_path / "vacia").mkdir()
    track = own_track(tmp_path / "vacia", own_dialogues, report=lambda text: None)
    with pytest.raises(FileNotFoundError, match="vacia» no tiene un modelo completo en safet"):
        track.load_model()


def test_a_damaged_model_is_explained(no_gpu, own_dialogues, tmp_path, make_model):
    folder = tmp_path / "modelo"
    make_model().save_pretrained(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    track = own_track(folder, own_dialogues, report=lambda text: None)
    with pytest.raises(ValueError, match="dañado: vuelve a copiarlo"):
        track.load_model()


def test_code_that_comes_with_a_model_is_never_run(no_gpu, own_dialogues, tmp_path):
    folder = tmp_path / "raro"
    folder.mkdir()
    config = {"model_type": "raro", "auto_map": {"AutoConfig": "conf.Raro"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    ran = tmp_path / "ejecutado"
    (folder / "conf.py").write_text(f"open({str(ran)!r}, 'w')\n", encoding="utf-8")
    track = own_track(folder, own_dialogues, report=lambda text: None)
    with pytest.raises(ValueError, match=r"raro» necesita ejecutar código .* no lo hace nunca"):
        track.load_model()
    assert not ran.exists()


@pytest.mark.parametrize("name", ["./nada", "/nada/de/nada", "{folder}/nada", "una/carpeta/honda"])
def test_a_folder_that_does_not_exist_is_not_taken_for_a_name_of_the_hub(
    no_gpu, own_dialogues, tmp_path, name
):
    track = own_track(name.format(folder=tmp_path), own_dialogues, report=lambda text: None)
    with pytest.raises(FileNotFoundError, match=r"No existe la carpeta «.*»: revisa la ruta"):
        track.load_tokenizer()


def test_examples_longer_than_the_model_are_refused_before_training(
    no_gpu, own_dialogues, tmp_path, make_model
):
    make_model(positions=64).save_pretrained(tmp_path / "modelo")
    track = own_track(tmp_path / "modelo", own_dialogues, report=lambda text: None, max_length=100)
    with pytest.raises(ValueError, match=r"ejemplos de 100 tokens .* caben 64: baja max_length"):
        track.load_model()


def test_a_field_that_a_track_lacks_and_too_few_dialogues_are_explained(own_dialogues, tmp_path):
    with pytest.raises(ValueError, match="Una ruta no tiene maxlength: sus campos"):
        own_track("modelo", own_dialogues, maxlength=3)
    few = tmp_path / "pocos.jsonl"
    few.write_text("\n".join(own_dialogues.read_text().splitlines()[:9]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"pocos\.jsonl» no llega a diez diálogos distintos"):
        own_track("modelo", few)
