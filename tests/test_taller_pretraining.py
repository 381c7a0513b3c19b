"""La receta del minimodelo: cortada y seguida da lo mismo, y un archivo dañado no se carga."""

import itertools
import json
import re

import pytest
import torch
from checks import each
from transformers import AutoModelForCausalLM, AutoTokenizer

from course_lib import hub, reading
from taller import pretraining

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
}


def some_texts(seed=0):
    return list(itertools.islice(reading.pretraining_documents(seed), 200))


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


def test_a_run_cut_short_and_resumed_gives_the_weights_of_a_straight_one(
    tiny, monkeypatch, tmp_path
):
    straight = pretraining.pretrain(tmp_path / "seguido", STEPS)
    files = [name for name in hub.MODEL_FILES if name != "model.safetensors"]
    different = []
    for step in (1, 2, 5):
        folder = tmp_path / f"cortado en {step}"
        mend = cut_at(monkeypatch, step)
        with pytest.raises(KeyboardInterrupt):
            pretraining.pretrain(folder, STEPS)
        mend()
        resumed = pretraining.pretrain(folder, STEPS)
        if not same(weights(straight), weights(resumed)):
            different.append((step, "pesos"))
        different += [
            (step, n) for n in files if (straight / n).read_bytes() != (resumed / n).read_bytes()
        ]
    assert not different


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
    hub.verify_checksums(folder)
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
        assert re.match("—|[A-ZÁÉÍÓÚÑ]", tokenizer.decode(row))


def test_the_texts_are_the_world_and_in_their_share_talk():
    texts = list(itertools.islice(pretraining.documents(5, 0.3), 3_000))
    talk = [text for text in texts if text.startswith("—")]
    assert len(talk) / len(texts) == pytest.approx(0.3, abs=0.03)
    world = list(itertools.islice(reading.pretraining_documents(5), len(texts) - len(talk)))
    assert [text for text in texts if not text.startswith("—")] == world


def test_of_a_talk_every_token_weighs_one_and_of_the_rest_what_cannot_be_guessed_weighs_less(
    tiny, monkeypatch, tokenizer
):
    monkeypatch.setattr(pretraining, "CONTEXT", 600)
    assert pretraining.batch(tokenizer, 2, talk=1)[1].unique().tolist() == [1]
    seen, weights = 0, []
    for row, worth in zip(*pretraining.batch(tokenizer, 2, talk=0), strict=True):
        assert worth.unique().tolist() == [0, pretraining.GUESSWORK / pretraining.SEEN, 1]
        light = tokenizer.decode(row[worth < 1])
        heavy = tokenizer.decode(row[worth == 1])
        assert not re.search("Pregunta:|Contexto:|Respuesta:", heavy)
        asked = light.split("Respuesta:")
        assert all(re.match(r"\s*(Pregunta:|Contexto:|$)", text) for text in asked), light
        seen += len(asked) - 1
        weights += worth[worth < 1].tolist()
    assert seen > 5
    assert sum(weights) / len(weights) == pytest.approx(pretraining.GUESSWORK, rel=0.3)


@each("steps", [pretraining.STEPS, 2 * pretraining.STEPS])
def test_the_rate_and_the_talk_go_by_stretches_of_any_length(steps):
    peak, times = pretraining.PHASES[0][1], steps // pretraining.STEPS
    rates, talk = zip(*(pretraining.schedule(step, steps) for step in range(steps)))
    assert rates[0] == pytest.approx(peak / pretraining.WARMUP) and max(rates) == peak
    starts = [0, *itertools.accumulate(times * length for length, *_ in pretraining.PHASES)]
    for first, end, (_, top, bottom, share) in zip(starts, starts[1:], pretraining.PHASES):
        assert set(talk[first:end]) == {share}
        if first:
            assert rates[first] == top
            assert rates[(first + end) // 2] == pytest.approx((top + bottom) / 2, rel=0.01)


def test_each_step_reads_the_talk_that_its_stretch_says(tiny, monkeypatch, tmp_path):
    real, shares = pretraining.batch, []
    monkeypatch.setattr(pretraining, "batch", lambda *args: shares.append(args[-1]) or real(*args))
    pretraining.pretrain(tmp_path, 10)
    assert shares == [pretraining.schedule(step, 10)[1] for step in range(10)]
    assert len(set(shares)) == len(pretraining.PHASES)
