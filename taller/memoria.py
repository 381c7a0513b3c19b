"""Compara la memoria que predice `course_lib.costs` con el pico medido en modelos pequeños.

Cada caso se mide en un proceso nuevo y en la CPU. El pico sale del registro de memoria de
`torch.profiler`, que apunta cada reserva y cada devolución de torch: es exacto y repetible, también
con lo que un operador pide y suelta por dentro. La memoria del proceso no serviría: mezcla las
bibliotecas, las páginas que el sistema no recupera y lo que torch se guarda para luego.

    python -m taller.memoria

Los casos de QLoRA necesitan `bitsandbytes`, que el curso no instala: si falta, no se miden.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

LIMIT = 0.15
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def gpt2(**changes: Any) -> Any:
    """La configuración de un GPT-2 pequeño, sin *dropout*."""
    from transformers import GPT2Config

    small = {"n_layer": 4, "n_embd": 256, "n_head": 4, "vocab_size": 2000, "n_positions": 512}
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2Config(**(small | ids | off | changes))


def mistral(**changes: Any) -> Any:
    """La configuración de un Mistral pequeño, con claves compartidas por parejas de cabezas."""
    from transformers import MistralConfig

    small = {"num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 768}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2000}
    return MistralConfig(**(small | heads | changes))


# Nombre del caso: (configuración, medidas). Con «prompt» se contesta; con «batch» se entrena.
CASES: dict[str, tuple[Callable[[], Any], dict]] = {
    "GPT-2, completo": (gpt2, {"batch": 8, "length": 128}),
    "GPT-2, completo, con Trainer": (gpt2, {"batch": 8, "length": 128, "trainer": True}),
    "GPT-2, completo, vocabulario 16.000": (
        lambda: gpt2(vocab_size=16_000),
        {"batch": 8, "length": 128},
    ),
    "GPT-2, completo, lote mínimo": (gpt2, {"batch": 1, "length": 32}),
    "GPT-2, completo, dropout, sin fundir": (
        lambda: gpt2(resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1),
        {"batch": 8, "length": 128, "fused_attention": False},
    ),
    "GPT-2, completo, precisión mixta": (gpt2, {"batch": 8, "length": 128, "precision": "mixta"}),
    "GPT-2, completo, acumulando": (gpt2, {"batch": 4, "length": 128, "accumulation": 2}),
    "GPT-2, completo, rehaciendo": (
        lambda: gpt2(n_layer=8),
        {"batch": 8, "length": 128, "checkpointing": True},
    ),
    "GPT-2, LoRA": (gpt2, {"batch": 8, "length": 128, "method": "lora"}),
    "GPT-2 de verdad (124M), completo": (
        lambda: gpt2(n_layer=12, n_embd=768, n_head=12, vocab_size=50_257, n_positions=1024),
        {"batch": 4, "length": 64},
    ),
    "GPT-2 de verdad (124M), LoRA": (
        lambda: gpt2(n_layer=12, n_embd=768, n_head=12, vocab_size=50_257, n_positions=1024),
        {"batch": 4, "length": 64, "method": "lora"},
    ),
    "Mistral, completo": (mistral, {"batch": 8, "length": 128}),
    "Mistral, completo, fila larga": (mistral, {"batch": 2, "length": 512}),
    "Mistral, completo, bf16": (mistral, {"batch": 8, "length": 128, "precision": "bf16"}),
    "Mistral, LoRA": (mistral, {"batch": 8, "length": 128, "method": "lora"}),
    "Mistral, LoRA en todo, bf16": (
        mistral,
        {"batch": 8, "length": 128, "method": "lora", "precision": "bf16", "targets": ALL_LINEAR},
    ),
    "Mistral, LoRA en todo, bf16, rehaciendo": (
        lambda: mistral(num_hidden_layers=8),
        {"batch": 8, "length": 128, "method": "lora", "precision": "bf16", "targets": ALL_LINEAR}
        | {"checkpointing": True},
    ),
    "Mistral, LoRA en todo, mixta": (
        mistral,
        {"batch": 8, "length": 128, "method": "lora", "precision": "mixta", "targets": ALL_LINEAR},
    ),
    "GPT-2, QLoRA": (gpt2, {"batch": 8, "length": 128, "method": "qlora", "precision": "bf16"}),
    "Mistral, QLoRA": (
        mistral,
        {"batch": 8, "length": 128, "method": "qlora", "precision": "bf16"},
    ),
    "GPT-2, una pasada": (gpt2, {"batch": 8, "prompt": 128, "precision": "fp32"}),
    "GPT-2, genera": (gpt2, {"batch": 8, "prompt": 128, "new_tokens": 16, "precision": "fp32"}),
    "Mistral, una pasada, vocabulario 16.000": (
        lambda: mistral(vocab_size=16_000),
        {"batch": 8, "prompt": 128, "precision": "fp32"},
    ),
    "Mistral, genera mucho": (
        mistral,
        {"batch": 8, "prompt": 16, "new_tokens": 200, "precision": "fp32"},
    ),
    "Mistral, genera, bf16": (
        mistral,
        {"batch": 8, "prompt": 128, "new_tokens": 16, "precision": "bf16"},
    ),
}


def predicted(name: str) -> float:
    """Los bytes que predice `course_lib.costs` para un caso."""
    from course_lib.costs import config_shape, inference_memory, training_memory

    build, run = CASES[name]
    estimate = inference_memory if "prompt" in run else training_memory
    known = {key: value for key, value in run.items() if key != "trainer"}
    return estimate(config_shape(build()), **known).total


def measured(name: str) -> int:
    """El pico de bytes reservados por torch al crear el modelo y usarlo como dice el caso."""
    build, run = CASES[name]
    if "prompt" in run:
        return peak(lambda: answer(build(), **run))
    return peak(lambda: train(build(), **run))


def peak(work: Callable[[], object]) -> int:
    """El máximo de bytes vivos a la vez mientras corre `work`."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    events = record.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    live = highest = 0
    for _, change in changes:
        live += change
        highest = max(highest, live)
    return highest


def train(
    config: Any,
    batch: int,
    length: int,
    method: str = "full",
    precision: str = "fp32",
    targets: tuple[str, ...] = (),
    checkpointing: bool = False,
    accumulation: int = 1,
    fused_attention: bool = True,
    trainer: bool = False,
) -> None:
    """Da dos pasos: en el segundo, el optimizador ya ocupa lo suyo."""
    import torch

    model = load_in_four_bits(config) if method == "qlora" else load(config, precision)
    if method != "full":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(target_modules=list(targets) or None))
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.randint(1, config.vocab_size, (batch, length))
    if trainer:
        return train_with_trainer(model, ids)
    moving = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(moving, fused=True)
    for _ in range(2):
        for _ in range(accumulation):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixta"):
                loss = model(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            del loss
        optimizer.step()
        optimizer.zero_grad()
    return None


def train_with_trainer(model: Any, ids: Any) -> None:
    """Los mismos dos pasos con `Trainer`."""
    from transformers import Trainer, TrainingArguments

    rows = [{"input_ids": row, "labels": row} for row in ids] * 2
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=len(ids),
            max_steps=2,
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=True,
        )
        Trainer(model, arguments, train_dataset=rows).train()


def answer(
    config: Any, batch: int, prompt: int, new_tokens: int = 0, precision: str = "fp32"
) -> None:
    """Da una pasada o, si se piden tokens nuevos, los genera."""
    import torch

    model = load(config, precision).eval()
    ids = torch.randint(3, config.vocab_size, (batch, prompt))
    with torch.no_grad():
        if not new_tokens:
            model(input_ids=ids)
            return
        amount = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
        mask = torch.ones_like(ids)
        model.generate(ids, attention_mask=mask, do_sample=False, pad_token_id=0, **amount)


def load(config: Any, precision: str) -> Any:
    """Un modelo con pesos al azar: para medir memoria valen tanto como los buenos."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return AutoModelForCausalLM.from_config(config, dtype=dtype)


def load_in_four_bits(config: Any) -> Any:
    """Lo mismo con las matrices en 4 bits (`nf4`) y doble cuantización, como en QLoRA."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with tempfile.TemporaryDirectory() as folder:
        load(config, "bf16").save_pretrained(folder)
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, quantization_config=nf4, device_map="cpu"
        )


def main() -> int:
    """Mide todos los casos y escribe la tabla.

    Returns:
        1 si alguna predicción se aparta más del 15% de lo medido.
    """
    print(f"{'caso':40} {'predicho':>9} {'medido':>9} {'error':>7}   (MB)")
    worst = 0.0
    for name, (_, run) in CASES.items():
        if run.get("method") == "qlora" and find_spec("bitsandbytes") is None:
            print(f"{name:40} no se mide: falta bitsandbytes")
            continue
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"No se pudo medir «{name}»: {done.stderr.strip()}")
        peak_bytes = int(done.stdout.split()[-1])
        guess = predicted(name)
        error = guess / peak_bytes - 1
        worst = max(worst, abs(error))
        print(f"{name:40} {guess / 1e6:9.1f} {peak_bytes / 1e6:9.1f} {error:+7.1%}", flush=True)
    print(f"El mayor error es del {worst:.1%}; el límite, del {LIMIT:.0%}.")
    return int(worst > LIMIT)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measured(sys.argv[1]))
    else:
        from course_lib.cli import run_safely  # aquí: lo que se mide va sin ella

        sys.exit(run_safely(main))
