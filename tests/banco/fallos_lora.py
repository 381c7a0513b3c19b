"""Fallos de LoRA: no adapta nada, o no le llega el gradiente."""

import warnings
from functools import partial

from tests.banco import modelos
from tests.banco.caso import Case, planted, scratch
from tests.banco.fallos_entrenar import held_out, ready


def cases() -> list[Case]:
    """Los casos de estas dos comprobaciones."""
    return [*_no_effect(), *_no_gradient()]


def given(model, trainer: bool = False, log=None, **settings) -> dict:
    """El modelo con una receta sana alrededor; el vocabulario es el del tokenizador del curso."""
    tokenizer, data, collator = ready()
    args = modelos.arguments(learning_rate=2e-4, **settings)
    if trainer:
        made = modelos.trainer(model, data, collator, tokenizer, args)
        if log:
            made.state.log_history = list(log)
            made.state.global_step = log[-1]["step"]
        return {"trainer": made}
    extra = {"log": log} if log else {}
    return {"model": model, "args": args, "eval_dataset": held_out()} | extra


# --- 18: lora-sin-efecto -------------------------------------------------------------------------


def _no_effect() -> list[Case]:
    def frozen(build, trainer=False):
        model = modelos.lora(build(603))
        for weight in model.parameters():
            weight.requires_grad = False
        return given(model, trainer)

    def inference(build):
        return given(modelos.lora(build(603), inference_mode=True))

    def disabled(build, layers=2):
        model = modelos.lora(build(603, layers))
        model.base_model.disable_adapter_layers()
        return given(model)

    def loaded(build, name):
        from peft import PeftModel

        folder = scratch() / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            modelos.lora(build(603)).save_pretrained(folder)
            return given(PeftModel.from_pretrained(build(603), folder))  # is_trainable=False

    def some_blocks(build, layers, chosen, trainer=False, **config):
        model = modelos.lora(build(603, layers), layers_to_transform=chosen, **config)
        return given(model, trainer)

    gpt2, llama = modelos.gpt2, modelos.llama
    mlp = ["c_fc"]
    made = [
        ("grave", "todo congelado, GPT-2", partial(frozen, gpt2)),
        ("grave", "todo congelado, Llama", partial(frozen, llama)),
        ("grave", "inference_mode=True", partial(inference, gpt2)),
        ("grave", "adaptadores apagados, GPT-2", partial(disabled, gpt2)),
        ("grave", "adaptadores apagados, Llama de 4", partial(disabled, llama, 4)),
        ("grave", "cargado sin is_trainable, GPT-2", partial(loaded, gpt2, "adaptador-gpt2")),
        ("grave", "cargado sin is_trainable, Llama", partial(loaded, llama, "adaptador-llama")),
        ("grave", "Trainer con todo congelado", partial(frozen, gpt2, True)),
        ("aviso", "un bloque de tres", partial(some_blocks, gpt2, 3, [0])),
        ("aviso", "un bloque de ocho, Llama", partial(some_blocks, llama, 8, [7])),
        ("aviso", "cinco de doce", partial(some_blocks, gpt2, 12, [0, 1, 2, 3, 4])),
        (
            "aviso",
            "dos de cinco, solo la red densa",
            partial(some_blocks, gpt2, 5, [1, 3], targets=mlp),
        ),
        ("aviso", "Trainer, uno de cuatro", partial(some_blocks, gpt2, 4, [2], True)),
    ]
    return [planted("lora-sin-efecto", *case) for case in made]


# --- 19: lora-sin-gradiente ----------------------------------------------------------------------


def flat_log(steps: int, level: float = 2.5) -> list[dict]:
    """El registro de un entrenamiento que no aprende: la pérdida no se mueve."""
    return [
        {
            "loss": level + 0.01 * (k % 3),
            "grad_norm": 0.0,
            "learning_rate": 2e-4,
            "epoch": (k + 1) / steps,
            "step": k + 1,
        }
        for k in range(steps)
    ]


def _no_gradient() -> list[Case]:
    def untouched(build, steps, layers=2, trainer=False, **config):
        model = modelos.lora(build(603, layers), **config)
        return given(model, trainer, flat_log(steps))

    def really_trained(build):
        """Entrena de verdad, con un optimizador que no conoce los pesos de LoRA."""
        import torch
        from transformers import Trainer

        tokenizer, data, collator = ready()
        model = modelos.lora(build(len(tokenizer)))
        stray = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([stray], lr=1e-3)
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(
                model,
                modelos.arguments(max_steps=3, logging_steps=1, eval_steps=3, learning_rate=2e-4),
                train_dataset=data,
                eval_dataset=held_out(),
                data_collator=collator,
                processing_class=tokenizer,
                optimizers=(optimizer, schedule),
            )
        modelos.train(trainer)
        return {"trainer": trainer}

    def checkpointed(build):
        """Puntos de control reentrantes y sin el gancho, para un bucle escrito a mano."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = modelos.lora(build(603))
            model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": True}
            )
            model.disable_input_require_grads()
            return given(model)

    gpt2, llama = modelos.gpt2, modelos.llama
    made = [
        ("un paso anotado", partial(untouched, gpt2, 1)),
        ("50 pasos, Llama", partial(untouched, llama, 50)),
        ("500 pasos, cuatro capas", partial(untouched, gpt2, 500, 4)),
        ("todas las matrices", partial(untouched, llama, 20, targets="all-linear")),
        ("rango 32, rsLoRA", partial(untouched, gpt2, 10, r=32, use_rslora=True)),
        ("DoRA", partial(untouched, llama, 10, use_dora=True)),
        ("solo la red densa", partial(untouched, gpt2, 30, 3, targets=["c_fc"])),
        ("Trainer con su registro", partial(untouched, gpt2, 25, trainer=True)),
        ("entrenado de verdad sin mover LoRA, GPT-2", partial(really_trained, gpt2)),
        ("entrenado de verdad sin mover LoRA, Llama", partial(really_trained, llama)),
        ("puntos de control sin el gancho", partial(checkpointed, gpt2)),
    ]
    return [planted("lora-sin-gradiente", "grave", name, build) for name, build in made]
