"""Un modelo grande en una GPU pequeña: qué manera de ajustarlo cabe, cargarlo y ajustarlo.

El modelo es OpenChat 3.5; todo vale igual para un Mistral en miniatura, que es como se prueba sin
GPU. Qué cabe se calcula con `costs` antes de descargar nada.
"""

import importlib
import os
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from course_lib import data_path
from course_lib.costs import GIB, Memory, Shape, config_shape, fits, training_memory
from course_lib.encoding import Encoded, collate, encode_conversation
from course_lib.hub import checked
from course_lib.tables import number
from course_lib.tracks import load_causal_lm, load_tokenizer
from course_lib.training import Run, fine_tune
from course_lib.tuning import SEED, half_precision, save_tuned, with_lora

RANK, LENGTH = 16, 512
# La revisión de enero de 2024. La primera, openchat/openchat_3.5, solo publica sus pesos como
# *pickle*, que al cargarse puede ejecutar código; esta, en safetensors.
OPENCHAT = "openchat/openchat-3.5-0106"
TEMPLATE = (  # la de su tokenizador: https://huggingface.co/openchat/openchat-3.5-0106
    "{{ bos_token }}{% for message in messages %}"
    "{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] }}"
    "{{ '<|end_of_turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"
)
# La tasa y el lote de QLoRA para 7B (Dettmers et al., 2023, arXiv:2305.14314, apéndice B.2).
RATE, EFFECTIVE_BATCH = 2e-4, 16


# Una manera de ajustar con LoRA, 16 filas por paso: `batch` van juntas y el resto se acumula;
# `checkpointing` rehace al volver lo que no guardó al ir.
Setup = namedtuple("Setup", "name four_bits batch checkpointing")
# De la más rápida a la más ahorradora.
SETUPS = (
    Setup("LoRA, de 16 en 16", four_bits=False, batch=16, checkpointing=False),
    Setup("LoRA, de una en una, rehaciendo", four_bits=False, batch=1, checkpointing=True),
    Setup("QLoRA, de 4 en 4", four_bits=True, batch=4, checkpointing=False),
    Setup("QLoRA, de 4 en 4, rehaciendo", four_bits=True, batch=4, checkpointing=True),
    Setup("QLoRA, de una en una, rehaciendo", four_bits=True, batch=1, checkpointing=True),
)


def openchat_config():
    """La configuración de OpenChat 3.5: un Mistral 7B (Jiang et al., 2023, arXiv:2310.06825) con
    dos tokens más, según su `config.json`."""
    from transformers import MistralConfig

    return MistralConfig.from_json_file(data_path("openchat", "config.json"))


def lora_targets(shape: Shape) -> list[str]:
    """Las matrices que adapta `with_lora`: todas las de los bloques, por su nombre corto."""
    return sorted({name.split(".")[-1] for name, _, _ in shape.matrices})


def setup_memory(shape: Shape, setup: Setup, length: int = LENGTH, half: bool = True) -> Memory:
    """La memoria de un paso con `setup`, según `costs`.

    Args:
        length: tokens de la fila más larga.
        half: el modelo congelado, en 16 bits; si no, en 32, que es lo sensato en una CPU.
    """
    memory = training_memory(
        shape,
        batch=setup.batch,
        length=length,
        method="qlora" if setup.four_bits else "lora",
        precision="bf16" if half else "fp32",
        optimizer="adamw_8bit" if setup.four_bits else "adamw",
        rank=RANK,
        targets=lora_targets(shape),
        checkpointing=setup.checkpointing,
        accumulation=EFFECTIVE_BATCH // setup.batch,
    )
    if not setup.four_bits:
        return memory
    # `prepare_model_for_kbit_training` pasa a 32 bits las tablas, y de la salida se hace una copia.
    tables = 2 * (shape.embeddings + shape.head) + 2 * shape.vocabulary * shape.hidden
    return replace(memory, parts={**memory.parts, "pesos": memory.parts["pesos"] + tables})


def choose_setup(shape: Shape, gib: float, length: int = LENGTH) -> Setup:
    """La primera de `SETUPS` que cabe, con su margen, en `gib` GiB libres; si ninguna, dice cuánto
    pide la menor."""
    for setup in SETUPS:
        if fits(setup_memory(shape, setup, length), gib) == "cabe":
            return setup
    least = setup_memory(shape, SETUPS[-1], length).total / GIB
    raise ValueError(
        f"No cabe de ninguna manera: lo menos que pide son {number(least, 1)} GiB, más un margen, "
        f"y hay {number(gib, 1)}. Acorta los ejemplos (length, ahora {length}) o busca un modelo "
        "menor."
    )


def free_gib() -> float:
    """Los GiB libres en la GPU de NVIDIA o, si no la hay, toda la memoria del ordenador.

    En Windows no se sabe sin otra biblioteca, y se da por infinita.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / GIB
    if not hasattr(os, "sysconf"):
        return float("inf")
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB


def check_memory(config, gib: float, four_bits: bool, half: bool = True) -> None:
    """Comprueba, antes de descargar los pesos, que ajustar de la manera más ahorradora cabe.

    Si no, dice cuánto pide. De una arquitectura que `costs` no conoce no se dice nada.
    """
    try:
        shape = config_shape(config)
    except ValueError:
        return
    setup = SETUPS[-1] if four_bits else SETUPS[1]
    memory = setup_memory(shape, setup, half=half)
    if fits(memory, gib) == "no cabe":
        other = "busca un modelo menor" if four_bits else "usa QLoRA en una GPU de NVIDIA"
        raise ValueError(
            f"«{setup.name}» pide {number(memory.total / GIB, 1)} GiB y hay {number(gib, 1)}: "
            f"{other}, o sigue con el modelo en miniatura."
        )


def load_big(name: str = OPENCHAT, four_bits: bool = True):
    """El modelo y el tokenizador de `name`, en safetensors y sin código ajeno, listos para LoRA.

    En 4 bits (`nf4` con doble cuantización, como QLoRA), las cuentas se hacen en `bf16` o, si la
    GPU no lo tiene, como la T4, en `fp16`.

    Raises:
        ValueError: si falta GPU o `bitsandbytes` para los 4 bits, o si no cabe; dice qué se puede
            hacer. Se sabe antes de bajar los pesos.
    """
    import torch
    from transformers import AutoConfig, BitsAndBytesConfig

    cuda = torch.cuda.is_available()
    if four_bits:
        check_four_bits()
    with checked(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    check_memory(config, free_gib(), four_bits, half=cuda)
    tokenizer = load_tokenizer(name)
    half = torch.bfloat16 if half_precision().get("bf16") else torch.float16
    options = {"config": config, "dtype": half if cuda else torch.float32}
    if four_bits:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=half,
        )
        options |= {"quantization_config": quantization, "device_map": {"": 0}}
    model = load_causal_lm(name, **options)
    if four_bits:
        from peft import prepare_model_for_kbit_training

        # Congela y pasa a 32 bits lo que no está en 4; de rehacer activaciones se ocupa Trainer.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    # Puede ser el de fin: lo que es relleno lo dice la posición, y no el id.
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return model.eval(), tokenizer


def check_four_bits() -> None:
    """Comprueba que aquí se puede cargar en 4 bits (una GPU de NVIDIA y `bitsandbytes`), o dice qué
    falta y qué se puede hacer sin ello."""
    import torch
    from transformers.utils import is_bitsandbytes_available

    if not torch.cuda.is_available():
        raise ValueError(
            "Para cargar en 4 bits hace falta una GPU de NVIDIA, y aquí no la hay: en Colab, elige "
            "«Entorno de ejecución → Cambiar tipo de entorno de ejecución → T4». Sin ella puedes "
            "seguir con el modelo en miniatura o cargarlo sin cuantizar con load_big(nombre, "
            "four_bits=False), que comprueba antes si cabe."
        )
    mend = "instálalo con «pip install -U bitsandbytes» y reinicia el cuaderno."
    try:  # no es una dependencia del curso: solo hace falta aquí
        found = importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise ValueError(f"Falta bitsandbytes, que es quien cuantiza: {mend}") from error
    except Exception as error:  # al importarse busca las bibliotecas de CUDA y puede no hallarlas
        raise ValueError(f"bitsandbytes no arranca ({error}): {mend}") from error
    if not is_bitsandbytes_available():
        old = f"bitsandbytes {found.__version__} es demasiado viejo para este transformers"
        raise ValueError(f"{old}: {mend}")


def dress_as_openchat(tokenizer):
    """Pone a un tokenizador cualquiera el fin de turno y la plantilla de OpenChat 3.5.

    Para la miniatura: el de verdad ya los trae. Lo modifica en su sitio y lo devuelve.
    """
    tokenizer.add_special_tokens({"eos_token": "<|end_of_turn|>", "pad_token": "<|pad_0|>"})
    tokenizer.model_max_length = 8192
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def encode_all(
    tokenizer, conversations: Sequence[Sequence[dict[str, str]]], length: int = LENGTH
) -> list[Encoded]:
    """Codifica las conversaciones con la plantilla del modelo y deja fuera las que no caben."""
    encoded = [encode_conversation(tokenizer, messages) for messages in conversations]
    kept = [example for example in encoded if len(example.input_ids) <= length]
    if not kept:
        raise ValueError(f"Ninguna conversación cabe en {length} tokens: sube length o pártelas.")
    if len(kept) < len(encoded):
        left_out = f"{len(encoded) - len(kept)} de {len(encoded)}"
        print(f"{left_out} no caben en {length} tokens y se dejan fuera.")
    return kept


def small_gpu_arguments(folder: Path, setup: Setup, epochs: float = 3, rate: float = RATE):
    """Los `TrainingArguments` de `setup`: pocas filas cada vez, acumuladas, y 16 bits si los hay.

    Con los 4 bits va el AdamW paginado y en 8 bits de `bitsandbytes` (QLoRA, §3).
    """
    from transformers import TrainingArguments

    # Las versiones anteriores de transformers lo llaman `gradient_checkpointing`.
    known = TrainingArguments.__dataclass_fields__
    redo = f"{'activation' if 'activation_checkpointing' in known else 'gradient'}_checkpointing"
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=setup.batch,
        gradient_accumulation_steps=EFFECTIVE_BATCH // setup.batch,
        optim="paged_adamw_8bit" if setup.four_bits else "adamw_torch",
        learning_rate=rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=2,
        max_grad_norm=0.3,  # como la tasa constante: QLoRA, apéndice B.2
        logging_steps=1,
        save_strategy="no",
        seed=SEED,
        **{redo: setup.checkpointing, f"{redo}_kwargs": {"use_reentrant": False}},
        **half_precision(),
    )


def tune_big(model, tokenizer, examples: Sequence[Encoded], args) -> Run:
    """Pone LoRA a un modelo de `load_big` (o a una miniatura), lo ajusta y guarda el adaptador en
    el `output_dir` de `args`."""
    lora, pad = with_lora(model, tokenizer, RANK), tokenizer.pad_token_id
    run = fine_tune(lora, args, examples, lambda rows: collate(rows, pad))
    save_tuned(run.model.eval(), Path(args.output_dir))
    return run
