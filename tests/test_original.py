"""La receta original: la lección 04 y la biblioteca dicen lo mismo, y el registro es coherente."""

import dataclasses
import json
from pathlib import Path

import pytest

from course_lib import original, output_path
from course_lib.resume import resumable_fine_tune
from course_lib.tracks import get_track

pytestmark = pytest.mark.usefixtures("light_collections")
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "04_entrenar.ipynb"


def cell_with(text: str) -> str:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    return next(source for source in sources if text in source)


def test_lesson_04_trains_with_the_arguments_of_the_library(tmp_path, monkeypatch):
    import torch
    from transformers import TrainingArguments

    monkeypatch.setenv("CURSO_SALIDA", str(tmp_path))
    track = get_track()
    names = {
        "track": track,
        "every": max(1, min(100, original.total_steps(track) // 18)),
        "torch": torch,
        "TrainingArguments": TrainingArguments,
        "SEED": original.SEED,
        "output_path": output_path,
    }
    exec(cell_with("args = TrainingArguments("), names)
    ours = original.original_arguments(track, output_path("fracaso", track.name))
    assert names["args"].to_dict() == ours.to_dict()


def test_the_values_that_do_not_depend_on_size_are_the_original_lesson_s():
    track = get_track("mini")
    assert (track.epochs, track.warmup_steps, track.weight_decay) == (3, 100, 0.01)


def test_a_run_is_logged_about_twenty_times_if_short_and_every_hundred_steps_if_long():
    track = get_track("mini")

    def steps(**changes) -> tuple[int, int]:
        args = original.original_arguments(dataclasses.replace(track, **changes), Path("nada"))
        return args.logging_steps, args.save_steps

    assert steps() == (27, 135)  # de 489 pasos
    assert steps(train_dialogues=2, batch_size=32) == (1, 5)
    assert steps(epochs=30) == (100, 500)  # 4.890 pasos


def test_the_record_adds_up():
    record = original.original_record()
    pairs = 87_170 - record["dialogos"]  # intervenciones menos diálogos
    assert record["pasos"] == -(-pairs // 32) * 3
    assert pairs * 3 / record["segundos"] == pytest.approx(record["ejemplos_por_segundo"], rel=1e-3)
    # 6 × pesos de los bloques × posiciones de 128 tokens
    assert 6 * 85.05e6 * 3 * pairs * 128 == pytest.approx(record["flos"], rel=0.01)


def test_about_70_percent_of_the_padded_positions_are_padding():
    track = get_track("mini")
    masks = [e.attention_mask for e in original.original_examples(track, track.load_tokenizer())]
    padding = sum(1 - sum(row) / len(row) for row in masks) / len(masks)
    cut = sum(sum(row) == track.max_length for row in masks) / len(masks)
    print(f"relleno: {padding:.1%}; parejas que llenan la fila: {cut:.1%}")
    assert 0.62 <= padding <= 0.75
    assert cut < 0.01


def tiny_track(epochs: int = 2):
    """La ruta por omisión, con tan pocas charlas y tan cortas que se ajusta en un momento."""
    return dataclasses.replace(
        get_track("mini"), train_dialogues=4, epochs=epochs, batch_size=8, max_length=48
    )


def test_a_model_trained_by_halves_beforehand_is_not_taken_for_the_original_one(tmp_path):
    import torch

    track, folder = tiny_track(epochs=1), tmp_path / "fracaso"
    model, tokenizer = track.load_model(), track.load_tokenizer()
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight += 0.01  # como si ya hubiera dado unos pasos
    rows = original.original_examples(track, tokenizer)
    run = resumable_fine_tune(
        model,
        original.original_arguments(track, folder),
        rows,
        lambda batch: original.collate(batch, tokenizer.pad_token_id),
    )
    original.save_original(track, run, tokenizer, folder)
    made, *_ = original.original_model(track, folder)
    clean, *_ = original.original_model(track, tmp_path / "limpia")
    assert torch.equal(made.lm_head.weight, clean.lm_head.weight)
    assert not torch.equal(made.lm_head.weight, model.lm_head.weight)


def test_cut_in_the_middle_it_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch, capsys):
    import torch

    track = tiny_track()
    steps = original.total_steps(track)
    straight, *_ = original.original_model(track, tmp_path / "seguido")
    calls, collate = 0, original.collate

    def cut(rows, pad_token_id):
        nonlocal calls
        calls += 1
        if calls == steps - 1:
            raise KeyboardInterrupt
        return collate(rows, pad_token_id)

    monkeypatch.setattr(original, "collate", cut)
    with pytest.raises(KeyboardInterrupt):
        original.original_model(track, tmp_path / "cortado")
    capsys.readouterr()
    resumed, *_ = original.original_model(track, tmp_path / "cortado")
    assert "Sigo desde el paso" in capsys.readouterr().out
    pairs = zip(straight.parameters(), resumed.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    again, *_ = original.original_model(track, tmp_path / "cortado")  # ya está guardado
    assert capsys.readouterr().out == ""
    assert torch.equal(again.lm_head.weight, resumed.lm_head.weight)


def test_a_saved_model_of_another_recipe_is_not_reused(tmp_path):
    track = get_track("mini")

    def recipe(start="los de siempre", **changes):
        changed = dataclasses.replace(track, **changes)
        args = original.original_arguments(changed, tmp_path)
        return original.recipe(changed, args, start)

    assert recipe() == recipe()
    assert recipe(start="otros pesos") != recipe()
    for changes in ({"learning_rate": 9e-3}, {"train_dialogues": 9}, {"max_length": 64}):
        assert recipe(**changes) != recipe()
    assert json.loads(json.dumps(recipe())) == recipe()  # vuelve igual de receta.json
