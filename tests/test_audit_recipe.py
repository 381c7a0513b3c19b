"""Recetas como las escribe la gente: lo que se ve probándolas con un lote, y lo que no alarma."""

import copy
import random

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer

from course_lib.audit import audit
from tests.banco import modelos
from tests.banco.fallos_entrenar import held_out, ready

pytestmark = pytest.mark.filterwarnings("ignore")


def made(kind=Trainer, build=modelos.llama, adapt=None, optimizer=None, **settings):
    """Un `Trainer` sano salvo por lo que se diga."""
    tokenizer, data, collator = ready(n=40)
    model = build(len(tokenizer))
    model = modelos.lora(model, **adapt) if adapt is not None else model
    func = settings.pop("compute_loss_func", None)
    usual = {"learning_rate": 2e-4 if adapt is not None else 5e-5, "eval_strategy": "epoch"}
    args = modelos.arguments(**(usual | settings))
    return kind(
        model,
        args,
        train_dataset=data,
        eval_dataset=held_out(),
        data_collator=collator,
        processing_class=tokenizer,
        compute_loss_func=func,
        optimizers=optimizer(model) if optimizer else (None, None),
    )


def own_loss(shift=1, reduction="mean", times=None):
    """Una clase con su pérdida: desplazada o no, sumada o promediada, y dividida entre `times`."""

    class Own(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            logits = model(**inputs).logits
            guess, aim = logits[:, : logits.shape[1] - shift], labels[:, shift:]
            loss = cross_entropy(guess.flatten(0, 1), aim.flatten(), reduction=reduction)
            return loss / (times(self, num_items_in_batch) if times else 1)

    return Own


def seen(trainer, **given) -> dict[str, str]:
    """Lo que se halla de lo que aquí se prueba, con su gravedad."""
    found = audit(trainer=trainer, **given).findings
    return {f.check: f.severity for f in found if f.check not in {"sin-fin", "fuga"}}


def adam(rate, of=lambda model: model.parameters()):
    return lambda model: (torch.optim.AdamW(of(model), lr=rate), None)


def frozen_in_time(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)


by_items = {"reduction": "sum", "times": lambda trainer, items: items}
FAULTS = {
    "LoRA por cero": ("lora-sin-efecto", "grave", {"adapt": {"lora_alpha": 0}}),
    "otro optimizador": ("lora-sin-efecto", "grave",
                         {"optimizer": adam(5e-5, lambda m: modelos.llama().parameters())}),
    "tasa escondida": ("tasa-alta", "aviso", {"optimizer": adam(1e-2)}),
    "tasa escondida, LoRA": ("tasa-lora-baja", "aviso",
                             {"adapt": {}, "optimizer": adam(1e-6)}),
    "planificador a cero": ("tasa-lora-baja", "grave", {"optimizer": frozen_in_time}),
    "calentamiento eterno": ("tasa-lora-baja", "aviso", {"warmup_steps": 500}),
    "evaluación que no llega": ("sin-evaluacion", "aviso",
                                {"eval_strategy": "steps", "eval_steps": 500}),
    "cien épocas": ("sobreajuste", "aviso", {"num_train_epochs": 100}),
    "fp16 sin la opción": ("fp16-entrenable", "grave",
                           {"build": lambda n: modelos.llama(n).half()}),
    "pérdida sin desplazar": ("acumulacion", "grave", {"kind": own_loss(0)}),
    "pérdida por lotes": ("acumulacion", "aviso",
                          {"kind": own_loss(), "gradient_accumulation_steps": 4}),
    "compute_loss_func por lotes": ("acumulacion", "aviso", {
        "compute_loss_func": lambda out, labels, num_items_in_batch=None: cross_entropy(
            out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()),
        "gradient_accumulation_steps": 4}),
    "entre procesos": ("acumulacion", "nota", {"kind": own_loss(**by_items)}),
}  # fmt: skip
SOUND = {
    "ajuste completo": {},
    "acumulando": {"gradient_accumulation_steps": 8, "build": modelos.gpt2},
    "LoRA": {"adapt": {}},
    "LoRA y puntos de control": {"adapt": {}, "gradient_checkpointing": True},
    "LoRA con módulos guardados": {"adapt": {"modules_to_save": ["lm_head", "embed_tokens"]}},
    "LoRA en fp32 sobre bf16": {"adapt": {}, "build": lambda n: modelos.llama(n).bfloat16()},
    "pesos en bf16": {"build": lambda n: modelos.llama(n).bfloat16()},
    "otro AdamW": {"optimizer": adam(3e-5)},
    "prueba rápida": {"max_steps": 2, "eval_strategy": "steps", "eval_steps": 1},
    "pérdida bien dividida": {"gradient_accumulation_steps": 4, "kind": own_loss(
        reduction="sum", times=lambda t, items: items / t.accelerator.num_processes)},
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_under_its_only_name(name):
    check, severity, settings = FAULTS[name]
    assert seen(made(**settings)) == {check: severity}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_recipe_raises_nothing(name):
    assert seen(made(**SOUND[name])) == {}


def test_weights_the_adapter_would_not_save():
    trainer = made(adapt={})
    trainer.model.get_input_embeddings().weight.requires_grad = True
    assert seen(trainer) == {"lora-sin-efecto": "aviso"}


def test_new_tokens_frozen_by_hand_are_told_apart_from_those_of_lora():
    tokenizer, *_ = ready()
    tokenizer.add_tokens(["<|nuevo|>"])
    model = modelos.llama(len(tokenizer))
    table = model.get_input_embeddings().weight
    table.data[-1] = table.mean(0)  # como lo deja resize_token_embeddings
    rows = [{"input_ids": [1, 2, len(tokenizer) - 1], "labels": [1, 2, 3]}]
    for frozen, severity in ((False, None), (True, "grave")):
        table.requires_grad = not frozen
        report = audit(model=model, tokenizer=tokenizer, train_dataset=rows)
        found = {f.check: f for f in report.findings}.get("nuevos-congelados")
        assert (found and found.severity) == severity
    assert "requires_grad_(True)" in found.mend and "LoRA" not in found.why


@pytest.mark.parametrize("cause", ["disable_adapter_layers", "merge_adapter"])
def test_adapters_left_out_of_the_computation(cause):
    trainer = made(adapt={})
    getattr(trainer.model.base_model, cause)()
    assert seen(trainer) == {"lora-sin-efecto": "grave"}


def test_a_loss_that_gives_no_gradient():
    class Loose(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return model(**inputs).loss.detach().requires_grad_()

    assert seen(made(Loose)) == {"lora-sin-gradiente": "grave"}


def test_one_process_for_several_gpus_and_positions_that_run_out():
    trainer = made()
    trainer.args._n_gpu = 4
    assert seen(trainer) == {"acumulacion": "aviso"}
    call = {"input_ids": [[1] * 40], "attention_mask": [[1] * 40], "max_new_tokens": 60}
    report = audit(model=modelos.gpt2(n_positions=64), generation=call)
    assert {f.check: f.severity for f in report.findings} == {"max-length-generacion": "grave"}


def test_nothing_given_is_modified():
    class Counting(own_loss()):
        def compute_loss(self, *args, **kwargs):
            self.seen["veces"] = self.seen["veces"] + 1
            self.log({"mía": 1.0})
            return super().compute_loss(*args, **kwargs)

    trainer = made(Counting, adapt={"lora_dropout": 0.5}, gradient_accumulation_steps=4)
    trainer.seen, model = {"veces": 0}, trainer.model.eval()
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight) if weight.requires_grad else None
    model.base_model.model.lm_head.train()

    def state():
        weights = [(w.requires_grad, w.grad, w.clone()) for w in model.parameters()]
        hooks = [len(m._forward_hooks) for m in model.modules()]
        modes = [m.training for m in model.modules()]
        log = copy.deepcopy(trainer.state.log_history)
        return weights, hooks, modes, log, dict(trainer.seen), torch.get_rng_state()

    before, dice = state(), random.getstate()
    assert seen(trainer) == {"acumulacion": "aviso"}
    after = state()
    for old, new in zip(before[0], after[0], strict=True):
        assert old[0] == new[0] and old[1] is new[1] and torch.equal(old[2], new[2])
        assert new[1] is None or bool((new[1] == 1).all())
    assert before[1:5] == after[1:5] and torch.equal(before[5], after[5])
    assert random.getstate() == dice
