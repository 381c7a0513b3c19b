"""La receta del minimodelo: cortada y seguida da lo mismo, y un archivo dañado no se carga."""

import hashlib
import itertools
import json
import re
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from course_lib import checksums, corpus, data_path, pretraining

STEPS = 6
TINY = {
    "VOCABULARY": 400,
    "CONTEXT": 64,
    "LAYERS": 1,
    "WIDTH": 16,
    "HEADS": 2,
    "ROWS": 2,
    "WARMUP": 2,
    "SAVE_EVERY": 2,
    "STEPS": STEPS,
}


def some_texts(seed=0):
    return list(itertools.islice(corpus.pretraining_documents(seed), 200))


@pytest.fixture
def tiny(monkeypatch):
    """La misma receta, con números diminutos."""
    for name, value in TINY.items():
        monkeypatch.setattr(pretraining, name, value)
    monkeypatch.setattr(pretraining, "tokenizer_texts", some_texts)


def cut_at(monkeypatch, step):
    """Corta el preentrenamiento al llegar al paso `step`, como un Ctrl-C o un apagón."""
    real = pretraining.batch

    def batch_or_stop(tokenizer, number, *args):
        if number == step:
            raise KeyboardInterrupt
        return real(tokenizer, number, *args)

    monkeypatch.setattr(pretraining, "batch", batch_or_stop)
    return lambda: monkeypatch.setattr(pretraining, "batch", real)


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


# --- Seguir donde se quedó -----------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_run_cut_short_and_resumed_gives_the_weights_of_a_straight_one(
    tiny, monkeypatch, tmp_path, step
):
    straight = pretraining.pretrain(tmp_path / "seguido", STEPS)
    mend = cut_at(monkeypatch, step)
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(tmp_path / "cortado", STEPS)
    mend()
    resumed = pretraining.pretrain(tmp_path / "cortado", STEPS)
    assert same(weights(straight), weights(resumed))
    files = [name for name in checksums.MODEL_FILES if name != "model.safetensors"]
    for name in files:
        assert (straight / name).read_bytes() == (resumed / name).read_bytes()


def test_another_seed_gives_other_weights_and_the_same_seed_the_same(tiny, tmp_path):
    one, two, other = (
        weights(pretraining.pretrain(tmp_path / str(i), 3, seed))
        for i, seed in enumerate((0, 0, 1))
    )
    assert same(one, two) and not same(one, other)


def test_progress_of_another_recipe_is_refused_unless_one_starts_afresh(
    tiny, monkeypatch, tmp_path
):
    mend = cut_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(tmp_path, STEPS)
    mend()
    with pytest.raises(ValueError, match=r"es de otra receta.*usa otra carpeta o.*--desde-cero"):
        pretraining.pretrain(tmp_path, STEPS + 1)
    assert pretraining.pretrain(tmp_path, STEPS + 1, resume=False) == tmp_path


def test_progress_is_kept_without_pickle_and_only_the_last(tiny, tmp_path):
    pretraining.pretrain(tmp_path, STEPS)
    assert sorted(p.name for p in (tmp_path / "avance").iterdir()) == [
        "estado.json",
        "paso-4.safetensors",
    ]


def test_what_is_made_loads_verifies_and_says_how_it_was_made(tiny, tmp_path):
    folder = pretraining.pretrain(tmp_path, STEPS)
    checksums.verify_checksums(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", None)
    text = "¿Cuál es la capital de Perú? Año, pingüino, 😀"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    story = json.loads((folder / "entrenamiento.json").read_text())
    assert story["steps"] == STEPS and story["loss"] > 0


def test_training_lowers_the_loss(tiny, tmp_path):
    short = pretraining.pretrain(tmp_path / "corto", 2)
    long = pretraining.pretrain(tmp_path / "largo", 60)
    losses = [json.loads((f / "entrenamiento.json").read_text())["loss"] for f in (short, long)]
    assert losses[1] < losses[0] - 0.3


# --- Lotes ---------------------------------------------------------------------------------------


def test_the_same_step_is_always_the_same_batch_and_another_is_another(tiny, tokenizer):
    def ids(step, seed=0):
        return pretraining.batch(tokenizer, step, seed)[0].tolist()

    assert ids(7) == ids(7)
    assert len({str(b) for b in (ids(7), ids(8), ids(7, seed=1))}) == 3


def test_every_row_begins_with_a_document_and_is_full(tiny, tokenizer):
    ids, worth = pretraining.batch(tokenizer, 1)
    assert ids.shape == worth.shape == (TINY["ROWS"], TINY["CONTEXT"])
    for row in ids.tolist():
        assert tokenizer.decode(row)[0].isupper()


def test_only_questions_and_contexts_weigh_less(tiny, monkeypatch, tokenizer):
    monkeypatch.setattr(pretraining, "CONTEXT", 600)
    seen = 0
    for row, worth in zip(*pretraining.batch(tokenizer, 2), strict=True):
        assert worth.unique().tolist() == pytest.approx([pretraining.GUESSWORK, 1])
        light = tokenizer.decode(row[worth < 1])
        heavy = tokenizer.decode(row[worth == 1])
        assert not re.search("Pregunta:|Contexto:|Respuesta:", heavy)
        asked = light.split("Respuesta:")
        assert all(re.match(r"\s*(Pregunta:|Contexto:|$)", text) for text in asked), light
        seen += len(asked) - 1
    assert seen > 5


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    peak, warmup = pretraining.LEARNING_RATE, pretraining.WARMUP
    steps = warmup + 1_000
    rates = [pretraining.learning_rate(step, steps) for step in range(steps + 1)]
    assert rates[warmup - 1] == rates[warmup] == max(rates) == peak
    assert rates[0] == pytest.approx(peak / warmup)
    assert rates[warmup + 500] == pytest.approx(peak / 2)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


# --- Sumas de comprobación -----------------------------------------------------------------------


@pytest.fixture
def model_folder(tmp_path):
    """Una carpeta con los nombres de un modelo y sus sumas; lo que hay dentro da igual."""
    for name in checksums.MODEL_FILES:
        (tmp_path / name).write_text(f"contenido de {name}")
    (tmp_path / "config.json").write_text("abc")
    checksums.write_checksums(tmp_path)
    return tmp_path


def test_checksums_are_those_of_sha256sum(model_folder):
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, «abc»
    assert f"{known}  config.json" in (model_folder / "SHA256SUMS").read_text().splitlines()
    assert len((model_folder / "SHA256SUMS").read_text().splitlines()) == 5
    checksums.verify_checksums(model_folder)


@pytest.mark.parametrize("name", checksums.MODEL_FILES)
def test_a_damaged_file_is_refused_by_name_and_with_the_way_out(model_folder, name):
    content = bytearray((model_folder / name).read_bytes())
    content[0] ^= 1  # un solo bit
    (model_folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}» está dañado.*[Vv]uelve a descargar el curso"):
        checksums.verify_checksums(model_folder)


@pytest.mark.parametrize("name", ["SHA256SUMS", *checksums.MODEL_FILES])
def test_a_missing_file_is_told_by_name_and_with_the_way_out(model_folder, name):
    (model_folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"Falta «.*{name}»\. Vuelve a descargar el curso"):
        checksums.verify_checksums(model_folder)


@pytest.mark.parametrize("content", [b"", b"nada\n", b"\xff\xfe\x00", None])
def test_a_damaged_list_of_checksums_does_not_pass_for_a_verified_model(model_folder, content):
    sums = model_folder / "SHA256SUMS"
    sums.write_bytes(sums.read_bytes()[:150] if content is None else content)
    with pytest.raises(ValueError, match=r"SHA256SUMS» está dañado"):
        checksums.verify_checksums(model_folder)


def test_the_shipped_model_is_the_one_that_its_checksums_say_and_stops_being_it_if_touched(
    tmp_path,
):
    shipped = data_path("mini")
    checksums.verify_checksums(shipped)
    digest = hashlib.sha256((shipped / "model.safetensors").read_bytes()).hexdigest()
    assert f"{digest}  model.safetensors" in (shipped / "SHA256SUMS").read_text()
    shutil.copytree(shipped, tmp_path / "mini")
    with (tmp_path / "mini" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"model\.safetensors» está dañado"):
        checksums.verify_checksums(tmp_path / "mini")
