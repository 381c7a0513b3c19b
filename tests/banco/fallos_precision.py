"""Fallos de aritmética: precisiones imposibles y acumulación mal promediada."""

from functools import partial

from tests.banco import modelos
from tests.banco.caso import Case, planted
from tests.banco.fallos_entrenar import held_out, ready


def cases() -> list[Case]:
    """Los casos de estas tres comprobaciones."""
    return [*_half_trainable(), *_impossible(), *_accumulation()]


# --- 20: fp16-entrenable -------------------------------------------------------------------------


def _half_trainable() -> list[Case]:
    def halved(build=modelos.gpt2, layers=2, only="", kind=modelos.arguments, trainer=False, **cfg):
        tokenizer, data, collator = ready()
        model = build(len(tokenizer), layers)
        model = model.half() if not only else model
        if only:
            for name, weight in model.named_parameters():
                weight.data = weight.data.half() if only in name else weight.data
        if cfg:
            model = modelos.lora(model, autocast_adapter_dtype=False, **cfg)
            for name, weight in model.named_parameters():
                if "lora" in name:
                    weight.data = weight.data.half()
        args = kind(fp16=True, learning_rate=2e-4)
        if trainer:
            return {"trainer": modelos.trainer(model, data, collator, tokenizer, args)}
        return {"model": model, "args": args, "eval_dataset": held_out()}

    made = [
        ("GPT-2 entero en fp16", partial(halved)),
        ("Llama entero en fp16", partial(halved, modelos.llama)),
        ("una sola capa", partial(halved, modelos.gpt2, 1)),
        ("seis capas", partial(halved, modelos.gpt2, 6)),
        ("solo la salida en fp16", partial(halved, modelos.llama, only="lm_head")),
        ("solo los embeddings en fp16", partial(halved, modelos.gpt2, only="wte")),
        ("una matriz de un bloque", partial(halved, modelos.gpt2, 3, only="h.1.mlp.c_fc.weight")),
        ("LoRA en fp16 sobre GPT-2", partial(halved, r=4)),
        ("LoRA en fp16 sobre Llama", partial(halved, modelos.llama, r=8)),
        ("SFTConfig", partial(halved, modelos.llama, kind=modelos.sft_arguments)),
        ("Trainer", partial(halved, trainer=True)),
    ]
    return [planted("fp16-entrenable", "grave", name, build) for name, build in made]


# --- 21: precision-imposible ---------------------------------------------------------------------


def _impossible() -> list[Case]:
    # Con use_cpu no hay acelerador que valga, aunque la máquina tenga una GPU.
    def flagged(kind=modelos.arguments, build=None, name="curso", trainer=False, **settings):
        tokenizer, data, collator = ready(name)
        args = kind(fp16=True, **settings)
        if trainer:
            model = build(len(tokenizer))
            return {"trainer": modelos.trainer(model, data, collator, tokenizer, args)}
        extra = {"model": build(len(tokenizer))} if build else {}
        return {"args": args, "train_dataset": data, "eval_dataset": held_out()} | extra

    def args_only(**settings):
        return {"args": modelos.arguments(fp16=True, **settings)}

    made = [
        ("solo los argumentos", args_only),
        ("con evaluación en fp16 también", partial(args_only, fp16_full_eval=True)),
        ("con acumulación", partial(args_only, gradient_accumulation_steps=4)),
        ("lote de 1", partial(args_only, per_device_train_batch_size=1, learning_rate=1e-5)),
        ("SFTConfig", partial(flagged, modelos.sft_arguments)),
        ("con GPT-2", partial(flagged, build=modelos.gpt2)),
        ("con Llama", partial(flagged, build=modelos.llama, name="llama3")),
        (
            "con LoRA",
            partial(flagged, build=lambda v: modelos.lora(modelos.gpt2(v)), learning_rate=2e-4),
        ),
        ("Trainer con GPT-2", partial(flagged, build=modelos.gpt2, trainer=True)),
        (
            "Trainer con Llama y ChatML",
            partial(flagged, build=modelos.llama, name="chatml", trainer=True),
        ),
        (
            "Trainer con LoRA",
            partial(
                flagged,
                build=lambda v: modelos.lora(modelos.llama(v)),
                trainer=True,
                learning_rate=2e-4,
            ),
        ),
    ]
    return [planted("precision-imposible", "nota", name, build) for name, build in made]


# --- 22: acumulacion -----------------------------------------------------------------------------


def wrapped(shape: str, vocabulary: int = 603, layers: int = 1):
    """Un modelo propio alrededor de GPT-2 o de capas sueltas; su `forward` es el que se pide.

    Args:
        shape: «cerrado» (solo lo de siempre), «con posiciones», «capas» (sin transformers),
            «lote» (un diccionario), «abierto» (con `**kwargs`) o «cuenta» (`num_items_in_batch`).
    """
    import torch

    inner = modelos.gpt2(vocabulary, layers)

    class Own(torch.nn.Module):
        """Lo que tienen en común: el modelo de dentro."""

        def __init__(self):
            super().__init__()
            self.inner = inner
            self.config = inner.config

    class Closed(Own):
        def forward(self, input_ids, attention_mask=None, labels=None):
            return self.inner(input_ids, attention_mask=attention_mask, labels=labels)

    class Positions(Own):
        def forward(self, input_ids, attention_mask=None, position_ids=None, labels=None):
            return self.inner(input_ids, labels=labels, position_ids=position_ids)

    class Layers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(vocabulary, 8)
            self.output = torch.nn.Linear(8, vocabulary)

        def forward(self, input_ids, labels):
            logits = self.output(self.table(input_ids))
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            return {"loss": loss, "logits": logits}

    class Open(Own):
        def forward(self, input_ids, labels=None, **kwargs):
            return self.inner(input_ids, labels=labels, **kwargs)

    class Counting(Own):
        def forward(self, input_ids, attention_mask=None, labels=None, num_items_in_batch=None):
            return self.inner(input_ids, labels=labels, num_items_in_batch=num_items_in_batch)

    kinds = {
        "cerrado": Closed,
        "con posiciones": Positions,
        "capas": Layers,
        "abierto": Open,
        "cuenta": Counting,
    }
    return kinds[shape]()


def _accumulation() -> list[Case]:
    def accumulated(shape, steps, trainer=False, kind=modelos.arguments, layers=1, **settings):
        tokenizer, data, collator = ready()
        model = wrapped(shape, len(tokenizer), layers)
        args = kind(gradient_accumulation_steps=steps, **settings)
        if trainer:
            return {"trainer": modelos.trainer(model, data, collator, tokenizer, args)}
        return {"model": model, "args": args, "eval_dataset": held_out()}

    def with_lora(steps):
        model = modelos.lora(wrapped("cerrado"), ["c_attn"], task_type=None, fan_in_fan_out=True)
        args = modelos.arguments(gradient_accumulation_steps=steps, learning_rate=2e-4)
        return {"model": model, "args": args, "eval_dataset": held_out()}

    made = [
        ("envoltura cerrada, 2 pasos", partial(accumulated, "cerrado", 2)),
        ("envoltura cerrada, 64 pasos", partial(accumulated, "cerrado", 64)),
        ("con posiciones, 4 pasos", partial(accumulated, "con posiciones", 4)),
        ("capas sueltas, 8 pasos", partial(accumulated, "capas", 8)),
        (
            "capas sueltas, 2 pasos, lote de 1",
            partial(accumulated, "capas", 2, per_device_train_batch_size=1),
        ),
        ("SFTConfig, 16 pasos", partial(accumulated, "cerrado", 16, kind=modelos.sft_arguments)),
        ("tres capas, 4 pasos", partial(accumulated, "con posiciones", 4, layers=3)),
        ("Trainer, 2 pasos", partial(accumulated, "cerrado", 2, True)),
        ("Trainer, 32 pasos, con posiciones", partial(accumulated, "con posiciones", 32, True)),
        ("Trainer, capas sueltas", partial(accumulated, "capas", 4, True)),
        ("LoRA alrededor de la envoltura", partial(with_lora, 4)),
    ]
    return [planted("acumulacion", "aviso", name, build) for name, build in made]
