"""El ajuste, contra la pérdida de transformers y contra sí mismo."""

from functools import partial

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from course_lib.encoding import (
    Kind,
    collate,
    encode_conversation,
    encode_original,
    pair_messages,
    prepare_for_chat,
)
from course_lib.training import fine_tune, set_seed

PAIRS = [
    ("Hola, ¿qué tal?", "Muy bien, gracias, ¿y tú?"),
    ("¿Y la niña?", "En el jardín."),
    ("a", "b"),
    ("¿Vamos al cine?", "Mañana iremos con Óscar y Ángela."),
]
pytestmark = pytest.mark.usefixtures("light_collections")


@pytest.fixture
def arguments(tmp_path):
    def make(folder="ajuste", **changes):
        values = {
            "max_steps": 6,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
        }
        return TrainingArguments(output_dir=str(tmp_path / folder), **(values | changes))

    return make


def encode_pairs(encoding, tokenizer):
    """Los cuatro ejemplos con una de las dos codificaciones, y su función de lotes."""
    if encoding == "original":
        tokenizer.pad_token = tokenizer.eos_token
        rows = [encode_original(tokenizer, *pair, 48) for pair in PAIRS]
    else:
        prepare_for_chat(tokenizer)
        rows = [encode_conversation(tokenizer, pair_messages(*pair)) for pair in PAIRS]
    return rows, partial(collate, pad_token_id=tokenizer.pad_token_id)


@pytest.fixture(params=["original", "chat"])
def data(request, tokenizer):
    return encode_pairs(request.param, tokenizer)


@pytest.fixture
def chat_data(tokenizer):
    return encode_pairs("chat", tokenizer)


def own_loss(model, batch):
    """La pérdida que da transformers por su cuenta, sin nada nuestro."""
    names = ("input_ids", "attention_mask", "labels")
    with torch.inference_mode():
        return model.eval()(**{name: batch[name] for name in names}).loss.item()


def entries(run):
    return [row for row in run.log if "loss" in row]


def same_weights(one, other, tolerance=0.0):
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    return all(torch.allclose(a, b, rtol=0, atol=tolerance) for (_, a), b in pairs)


def test_the_loss_is_that_of_transformers_for_the_same_batch(data, arguments, make_model):
    rows, collator = data
    expected = own_loss(make_model(), collator(rows))
    args = arguments(max_steps=1, per_device_train_batch_size=4)
    run = fine_tune(make_model(), args, rows, collator)
    assert entries(run)[0]["loss"] == pytest.approx(expected, abs=1e-3)


def test_the_loss_of_each_kind_that_counts_is_that_of_transformers_with_only_it_labelled(
    data, arguments, make_model
):
    rows, collator = data
    batch = collator(rows)
    args = arguments(max_steps=1, per_device_train_batch_size=4)
    (entry,) = entries(fine_tune(make_model(), args, rows, collator))
    for kind in Kind:
        here = (batch["kinds"] == kind) & (batch["labels"] != -100)
        name = f"loss_{kind.name.lower()}"
        if not here[:, 1:].any():
            assert name not in entry
            continue
        labels = torch.where(here, batch["input_ids"], -100)
        assert entry[name] == pytest.approx(
            own_loss(make_model(), batch | {"labels": labels}), 1e-4
        )


def test_where_everything_counts_the_kinds_recombine_into_the_loss(
    tokenizer, arguments, make_model
):
    rows, collator = encode_pairs("original", tokenizer)
    args = arguments(per_device_train_batch_size=4, logging_steps=2)
    run = fine_tune(make_model(), args, rows, collator)
    kinds = [kind for row in rows for kind in row.kinds[1:]]
    assert len(entries(run)) == 3
    for entry in entries(run):
        parts = [entry.get(f"loss_{k.name.lower()}", 0) * kinds.count(k) for k in Kind]
        assert sum(parts) / len(kinds) == pytest.approx(float(entry["loss"]), abs=1e-3)


def test_accumulating_two_small_batches_is_one_large_batch(data, arguments, make_model):
    rows, collator = data
    steps = partial(arguments, max_steps=2, optim="sgd", learning_rate=0.5)
    large = steps("uno", per_device_train_batch_size=4)
    small = steps("dos", gradient_accumulation_steps=2)
    one = fine_tune(make_model(), large, rows, collator)
    two = fine_tune(make_model(), small, rows, collator)
    assert same_weights(one.model, two.model, 1e-5)
    assert not same_weights(one.model, make_model(), 1e-2)


def test_the_loss_on_held_out_data_is_that_of_transformers_and_leaves_the_log_alone(
    data, arguments, make_model
):
    rows, collator = data
    plain = fine_tune(make_model(), arguments("sin"), rows, collator)
    args = arguments("con", eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=4)
    measured = fine_tune(make_model(), args, rows, collator, eval_dataset=rows)
    last = [row["eval_loss"] for row in measured.log if "eval_loss" in row][-1]
    assert last == pytest.approx(own_loss(measured.model, collator(rows)), abs=1e-4)
    names = {name for row in entries(plain) for name in row if name.startswith("loss")}
    assert [{n: row.get(n) for n in names} for row in entries(measured)] == [
        {n: row.get(n) for n in names} for row in entries(plain)
    ]


def test_an_old_checkpoint_is_used_only_if_it_is_given(chat_data, arguments, make_model, tmp_path):
    rows, collator = chat_data
    saving = partial(arguments, save_strategy="steps", save_steps=2)
    one = fine_tune(make_model(), saving(), rows, collator)
    two = fine_tune(make_model(), saving(), rows, collator)
    assert same_weights(one.model, two.model)
    point = str(tmp_path / "ajuste" / "checkpoint-4")
    resumed = fine_tune(make_model(), saving(), rows, collator, resume_from_checkpoint=point)
    assert same_weights(one.model, resumed.model)
    assert [row["loss"] for row in entries(resumed)] == [row["loss"] for row in entries(one)]


def test_a_dataset_dicts_and_encoded_examples_give_the_same(chat_data, arguments, make_model):
    rows, collator = chat_data
    dicts = [vars(row) for row in rows]
    runs = [
        fine_tune(make_model(), arguments(max_steps=1), data, collator)
        for data in (rows, dicts, Dataset.from_list(dicts))
    ]
    assert all(same_weights(runs[0].model, run.model) for run in runs[1:])


# --- Guardar, cargar y errores -------------------------------------------------------------------


def test_a_tuned_model_saved_and_loaded_gives_identical_logits(
    chat_data, tokenizer, arguments, make_model, tmp_path
):
    rows, collator = chat_data
    run = fine_tune(make_model(), arguments(), rows, collator, processing_class=tokenizer)
    run.trainer.save_model(str(tmp_path / "guardado"))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "guardado").eval()
    ids = collator(rows)["input_ids"]
    with torch.inference_mode():
        assert torch.equal(loaded(ids).logits, run.model.eval()(ids).logits)
    again = AutoTokenizer.from_pretrained(tmp_path / "guardado")
    assert [encode_conversation(again, pair_messages(*pair)) for pair in PAIRS] == rows


def test_training_learns_its_four_examples_by_heart(data, arguments, make_model):
    rows, collator = data
    run = fine_tune(
        make_model(), arguments(max_steps=60, per_device_train_batch_size=4), rows, collator
    )
    first, last = entries(run)[0]["loss"], entries(run)[-1]["loss"]
    assert last < first / 10
    assert run.seconds > 0 and run.trainer.model is run.model


def test_data_without_its_columns_is_refused_with_the_way_out(arguments, make_model):
    rows = [{"input_ids": [1], "labels": [1]}]
    with pytest.raises(ValueError, match=r"\['attention_mask', 'kinds'\].*course_lib\.encoding"):
        fine_tune(make_model(), arguments(), rows, collate)
    with pytest.raises(ValueError, match="No hay ejemplos con los que entrenar"):
        fine_tune(make_model(), arguments(), [], collate)


def test_a_seed_fixes_python_numpy_and_torch_alike():
    import random

    import numpy as np

    def draw():
        set_seed(5)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()
