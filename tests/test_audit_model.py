"""Lo que la auditoría ve en argumentos, modelo, registro y llamadas a generar; y el informe."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.audit import CHECKS, audit
from course_lib.audit.engine import CATALOGUE
from course_lib.dialogues import Dialogue
from course_lib.encoding import encode_conversation, encode_original, pair_messages


def severity(report, check):
    return next((f.severity for f in report.findings if f.check == check), None)


@pytest.fixture
def make_args(tmp_path):
    from transformers import TrainingArguments

    def make(**kwargs):
        return TrainingArguments(output_dir=str(tmp_path), **kwargs)

    return make


@pytest.fixture
def lora(make_model):
    from peft import LoraConfig, get_peft_model

    def make(model=None, **kwargs):
        config = LoraConfig(r=2, **{"target_modules": ["c_attn"], "fan_in_fan_out": True} | kwargs)
        return get_peft_model(model or make_model(), config)

    return make


# --- Generar -------------------------------------------------------------------------------------


def test_padding_on_the_right():
    right = {"input_ids": [[5, 6, 9], [7, 9, 9]], "attention_mask": [[1, 1, 1], [1, 0, 0]]}
    left = {"input_ids": [[5, 6, 8], [9, 9, 7]], "attention_mask": [[1, 1, 1], [0, 0, 1]]}
    assert severity(audit(generation=right), "relleno-derecha") == "grave"
    assert severity(audit(generation=left), "relleno-derecha") is None


def test_a_call_without_mask():
    for ids, expected in (([[9, 5, 6], [5, 6, 7]], "grave"), ([[5, 6, 7]], "aviso")):
        report = audit(generation={"input_ids": ids, "pad_token_id": 9})
        assert severity(report, "sin-mascara") == expected, ids


def test_max_length_counts_the_question():
    call = {"input_ids": [[1, 2, 3, 4]], "attention_mask": [[1] * 4]}
    found = [
        severity(audit(generation=call | options), "max-length-generacion")
        for options in (
            {"max_length": 4},
            {"max_length": 8},
            {"max_length": 9},
            {"max_length": 4, "max_new_tokens": 5},
        )
    ]
    assert found == ["grave", "aviso", "nota", None]


# --- El registro ---------------------------------------------------------------------------------


def history(train, held=()):
    rows = [{"step": 10 * i, "loss": loss} for i, loss in enumerate(train, 1)]
    return rows + [{"step": 10 * i, "eval_loss": loss} for i, loss in held]


def test_overfitting():
    found = []
    for last in (2.21, 2.06, 2.03, 1.9):
        log = history([3.0, 2.5, 2.0, 1.5, 1.0], held=[(1, 2.6), (2, 2.0), (5, last)])
        found.append(severity(audit(log=log), "sobreajuste"))
    assert found == ["grave", "aviso", None, None]


def test_a_rate_too_high():
    logs = {
        "un salto": ([2.0, 1.9, 1.8, 4.2, 3.9], "grave"),
        "no es un número": ([2.0, 1.9, math.nan], "grave"),
        "a cero de golpe": ([2.0, 1.9, 1.8, 0.0, 0.0], "grave"),
        "más del doble, pero muy poco": ([0.02, 0.01, 0.02, 0.05], None),
        "baja": ([3.0, 2.5, 2.0, 1.7], None),
    }
    found = {
        name: severity(audit(log=history(losses)), "tasa-alta")
        for name, (losses, _) in logs.items()
    }
    assert found == {name: expected for name, (_, expected) in logs.items()}


def test_a_jump_while_warming_up_is_forgiven():
    log = history([2.0, 1.9, 4.2, 1.8, 1.7, 1.6])
    for row, rate in zip(log, (1, 2, 3, 3, 2, 1), strict=True):
        row["learning_rate"] = rate * 1e-5
    assert severity(audit(log=log), "tasa-alta") is None


# --- Argumentos y modelo -------------------------------------------------------------------------


def test_evaluation_must_be_asked_for_and_have_data(make_args):
    rows = [{"input_ids": [1, 2, 3]}]
    assert severity(audit(args=make_args()), "sin-evaluacion") == "aviso"
    args = make_args(eval_strategy="epoch")
    assert severity(audit(args=args, train_dataset=rows), "sin-evaluacion") == "aviso"
    good = audit(args=args, train_dataset=rows, eval_dataset=[{"input_ids": [4]}])
    assert "sin-evaluacion" in good.passed


def test_precision_and_weights_in_half_precision(make_args, make_model):
    import torch

    if torch.accelerator.is_available():
        pytest.skip("En una GPU, fp16 sí se puede.")
    report = audit(args=make_args(fp16=True), model=make_model().half())
    assert severity(report, "precision-imposible") == "nota"
    assert severity(report, "fp16-entrenable") == "grave"
    assert severity(audit(args=make_args(fp16=True), model=make_model()), "fp16-entrenable") is None


def test_accumulation_with_a_model_that_cannot_count(make_args, make_model):
    import torch

    class Bare(torch.nn.Module):
        def forward(self, input_ids, labels=None):
            return input_ids

    args = make_args(gradient_accumulation_steps=4)
    assert severity(audit(args=args, model=Bare()), "acumulacion") == "aviso"
    assert severity(audit(args=args, model=make_model()), "acumulacion") is None


def test_ids_beyond_the_table(make_model, tokenizer):
    model = make_model(vocabulary=50)
    rows = [{"input_ids": [1, 2, 3]}, {"input_ids": [1, 50]}]
    report = audit(model=model, train_dataset=rows)
    assert severity(report, "ids-fuera") == "grave"
    assert report.findings[0].rows == (1,)
    assert severity(audit(model=model, train_dataset=rows[:1]), "ids-fuera") is None


def test_new_tokens_with_a_frozen_table(make_model, lora, tokenizer):
    from course_lib.encoding import prepare_for_chat

    model = make_model(vocabulary=len(tokenizer))
    prepare_for_chat(tokenizer, model)
    rows = [vars(encode_conversation(tokenizer, pair_messages("Hola, ¿y tú?", "Bien.")))]
    frozen = audit(model=lora(model), tokenizer=tokenizer, train_dataset=rows)
    assert severity(frozen, "nuevos-congelados") == "grave"
    markers = tokenizer.convert_tokens_to_ids(["<|user|>", "<|bot|>"])
    assert next(f for f in frozen.findings if f.check == "nuevos-congelados").numbers == {
        "ids": sorted(markers)
    }
    model = make_model(vocabulary=len(tokenizer) - 3)
    model.resize_token_embeddings(len(tokenizer))
    trained = lora(model, trainable_token_indices=markers)
    mended = audit(model=trained, tokenizer=tokenizer, train_dataset=rows)
    assert "nuevos-congelados" in mended.passed


def test_lora_without_effect_or_with_too_low_a_rate(lora, make_args):
    model = lora()
    report = audit(model=model, args=make_args(learning_rate=5e-5))
    assert severity(report, "tasa-lora-baja") == "aviso"
    assert "lora-sin-efecto" in report.passed
    assert (
        severity(audit(model=model, args=make_args(learning_rate=1e-4)), "tasa-lora-baja") is None
    )
    model.disable_adapter_layers()
    assert severity(audit(model=model, args=make_args()), "lora-sin-efecto") == "grave"


def test_adapters_that_did_not_move(lora):
    log = history([2.0, 2.0, 2.0])
    assert severity(audit(model=lora(), log=log), "lora-sin-gradiente") == "grave"
    moved = lora(init_lora_weights=False)
    assert "lora-sin-gradiente" in audit(model=moved, log=log).passed


def test_a_cut_gradient_is_measured_and_not_guessed(lora, make_args):
    """Con su opción, Trainer pide gradiente a la entrada; en un bucle a mano, nadie lo pide."""
    old = {"use_reentrant": True}
    args = make_args(gradient_checkpointing=True, gradient_checkpointing_kwargs=old)
    model = lora()
    assert "lora-sin-gradiente" in audit(model=model, args=args).passed
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=old)
    assert "lora-sin-gradiente" in audit(model=model, args=args).passed
    model.disable_input_require_grads()
    assert severity(audit(model=model), "lora-sin-gradiente") == "grave"
    model.enable_input_require_grads()
    assert "lora-sin-gradiente" in audit(model=model).passed


def test_a_trainer_fills_what_is_not_given(tokenizer, make_model, make_args):
    from course_lib.encoding import collate
    from course_lib.training import split_loss_trainer

    tokenizer.pad_token = tokenizer.eos_token
    rows = [vars(encode_original(tokenizer, f"Hola {i}", "Bien.", 64)) for i in range(9)]
    trainer = split_loss_trainer()(
        model=make_model(),
        args=make_args(remove_unused_columns=False),
        train_dataset=rows,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        processing_class=tokenizer,
    )
    found = {f.check: f.severity for f in audit(trainer=trainer).findings}
    assert found["relleno-contado"] == "grave"
    assert {"marcadores-rotos", "usuario-supervisado", "sin-evaluacion"} <= found.keys()
    with pytest.raises(ValueError, match="trainer debe ser un Trainer"):
        audit(trainer=3)


# --- El informe ----------------------------------------------------------------------------------


def test_every_check_has_its_advice_and_nothing_given_is_all_abstentions():
    assert CHECKS.keys() == CATALOGUE.keys()
    assert all(CHECKS.values())
    report = audit()
    assert {a.check for a in report.abstained} == CHECKS.keys()
    assert not report.passed
    assert not report.grave


def test_the_worst_comes_first_and_the_json_holds_it_all():
    report = audit(
        generation={"input_ids": [[1, 2, 3, 4]], "max_length": 4}, log=history([2.0, math.inf])
    )
    assert [f.severity for f in report.findings] == ["grave", "grave", "aviso"]
    data = json.loads(report.to_json())
    assert data["grave"] is True
    assert [f["check"] for f in data["findings"]] == [f.check for f in report.findings]
    for text in (str(report), report._repr_html_()):
        for finding in report.findings:
            assert finding.title in text
            assert f"lección {finding.lesson}" in text


def test_the_page_escapes_what_the_data_say():
    dialogues = [Dialogue(("<script>alert(1)</script>", "¿Qué?"))] * 2
    rows = [{"input_ids": [1, 2]}]
    page = audit(dialogues=dialogues, train_dataset=rows)._repr_html_()
    assert "<script>" not in page


def test_the_auditor_works_without_the_world_of_the_course():
    code = (
        "import sys\n"
        "from course_lib.audit import audit\n"
        "heavy = {'torch', 'transformers'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
        "from course_lib.dialogues import Dialogue\n"
        "rows = [{'input_ids': [1, 2], 'labels': [1, 2]}]\n"
        "report = audit([Dialogue(('Hola.', 'Adiós.'))] * 2, train_dataset=rows)\n"
        "assert report.findings and str(report) and report._repr_html_() and report.to_json()\n"
        "course = {'course_lib.' + m for m in ('world', 'tracks', 'evaluation')}\n"
        "assert not course & sys.modules.keys(), course & sys.modules.keys()\n"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_check_is_an_error():
    with pytest.raises(ValueError, match=r"«prisa».*fin-tapado"):
        audit(checks=["prisa"])
