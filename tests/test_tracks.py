"""Las rutas: se eligen por nombre o por variable, y la que hay carga un modelo que se usa."""

import ast
import dataclasses
import json
from pathlib import Path

import pytest

from course_lib.tracks import CPU_EXAMPLES, get_track, load_causal_lm, load_tokenizer, own_track


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


# --- Lo que no se carga --------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path, make_model):
    make_model().save_pretrained(tmp_path / "modelo")
    return tmp_path / "modelo"


def rewrite(folder, change):
    """Cambia los pesos guardados en una carpeta."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def other_config(folder, **changes):
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | changes))


WEIGHT = "transformer.h.1.mlp.c_fc.weight"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: rewrite(folder, lambda w: w.pop(WEIGHT)),
        lambda folder: rewrite(folder, lambda w: w.update(otro=w.pop(WEIGHT))),
        lambda folder: rewrite(folder, lambda w: w.update({WEIGHT: w[WEIGHT][:3].clone()})),
        lambda folder: other_config(folder, n_layer=3),
        lambda folder: other_config(folder, n_layer=1),
        lambda folder: other_config(folder, n_layer=0),
        lambda folder: other_config(folder, n_layer=10**9),
        lambda folder: other_config(folder, n_positions=10**9),
        lambda folder: other_config(folder, model_type="bert"),
        lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'),
    ],
    ids=[
        "falta",
        "renombrado",
        "cortado",
        "más capas",
        "menos capas",
        "sin capas",
        "mil",
        "posiciones",
        "bert",
        "sin medidas",
    ],
)
def test_a_model_with_other_weights_is_refused_and_nothing_is_made_up(saved, damage, monkeypatch):
    from transformers import PreTrainedModel

    damage(saved)
    built = []
    init = PreTrainedModel.__init__

    def spy(self, *args, **kwargs):
        init(self, *args, **kwargs)
        built.append(sum(p.numel() for p in self.parameters() if p.device.type != "meta"))

    monkeypatch.setattr(PreTrainedModel, "__init__", spy)
    with pytest.raises(ValueError, match=r"Los pesos de «.+» no son los que pide su config\.json"):
        load_causal_lm(str(saved))
    assert max(built, default=0) < 10**6


@pytest.mark.parametrize(
    "spare", ["otro", "lm_head.weight", "transformer.h.0.attn.bias", "h.0.attn.masked_bias"]
)
def test_tied_weights_are_not_missed_and_a_spare_one_does_no_harm(saved, spare):
    rewrite(
        saved, lambda weights: weights.update({spare: weights["transformer.wte.weight"].clone()})
    )
    assert load_causal_lm(str(saved)).get_output_embeddings().weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", '{"model_type": "gpt2", "n_layer": "2"}'),
        ("config.json", '{"model_type": "gpt2", "quantization_config": 3}'),
        ("config.json", "[]"),
        ("tokenizer.json", "{"),
        ("tokenizer.json", '{"model": {}}'),
        ("tokenizer_config.json", '{"extra_special_tokens": 7}'),
    ],
)
def test_whatever_is_wrong_in_a_folder_it_is_one_sentence_in_spanish(saved, tokenizer, file, text):
    tokenizer.save_pretrained(saved)
    (saved / file).write_text(text)
    load = load_causal_lm if file == "config.json" else load_tokenizer
    with pytest.raises(
        (OSError, ValueError), match=r"^(La carpeta|Algún archivo de|Los pesos de) «"
    ):
        load(str(saved))


def test_an_adapter_with_a_weight_less_is_refused(saved, tmp_path, make_model):
    from peft import LoraConfig, get_peft_model

    lora = get_peft_model(make_model(), LoraConfig(r=2, target_modules=["c_attn"]))
    lora.peft_config["default"].base_model_name_or_path = str(saved)
    lora.save_pretrained(folder := tmp_path / "adaptador")
    assert load_causal_lm(str(folder))
    (folder / "adapter_model.safetensors").rename(folder / "model.safetensors")
    rewrite(folder, lambda weights: weights.pop(min(weights)))
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="no son los que pide"):
        load_causal_lm(str(folder))


def test_an_index_that_names_a_pickle_is_refused_before_reading_it(saved, tmp_path, monkeypatch):
    import torch

    trap = tmp_path / "abierto"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (trap,)

    (saved / "model.safetensors").unlink()
    torch.save({WEIGHT: Hostile()}, saved / "pesos.bin")
    index = {"metadata": {}, "weight_map": {WEIGHT: "pesos.bin"}}
    (saved / "model.safetensors.index.json").write_text(json.dumps(index))
    opened = []
    monkeypatch.setattr("torch.load", lambda *args, **options: opened.append(args))
    with pytest.raises(ValueError, match="guarda pesos como pickle, que al leerse puede ejecutar"):
        load_causal_lm(str(saved))
    assert not opened and not trap.exists()


def loads(text: str) -> list[ast.Call]:
    """Las llamadas que cargan algo que podría traer código."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call for call in calls if brings_code(call)]


def brings_code(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if name.endswith("load_dataset"):  # «json» y los suyos leen archivos de aquí
        return ast.unparse(call.args[0]) not in ("'json'", "'csv'", "'parquet'")
    owner, _, method = name.rpartition(".")
    return method == "from_pretrained" and not owner.startswith(
        ("GPT2Tokenizer", "PeftModel")  # no tienen código ajeno que ejecutar
    )


def test_nothing_is_loaded_without_saying_that_foreign_code_is_not_run():
    root = Path(__file__).parents[1]
    sources = {
        p: p.read_text("utf-8") for d in ("course_lib", "taller") for p in root.glob(f"{d}/**/*.py")
    }
    for path in root.glob("notebooks/*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        lines = "\n".join(code).splitlines()
        sources[path] = "\n".join(
            line for line in lines if not line.lstrip().startswith(("%", "!"))
        )
    found = [(path, call) for path, text in sources.items() for call in loads(text)]
    assert len(found) > 5
    for path, call in found:
        said = [ast.unparse(k.value) for k in call.keywords if k.arg == "trust_remote_code"]
        assert said == ["False"], f"{path}: {ast.unparse(call)}"
