"""Un modelo grande en una GPU pequeña: cargar OpenChat 3.5, en 4 bits si hace falta, y ajustarlo.

Todo vale igual para un Mistral en miniatura, que es como se prueba sin GPU. Qué cabe y cómo lo dice
antes `course_lib.setups`.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

from course_lib.encoding import Encoded, collate
from course_lib.hub import checked
from course_lib.own_template import encode_with_own_template
from course_lib.setups import EFFECTIVE_BATCH, LENGTH, RANK, Setup, check_memory, free_gib
from course_lib.training import Run, fine_tune
from course_lib.tuning import SEED, half_precision, save_tuned, with_lora

# La revisión de enero de 2024. La primera, openchat/openchat_3.5, solo publica sus pesos como
# *pickle*, que al cargarse puede ejecutar código; esta, en safetensors.
OPENCHAT = "openchat/openchat-3.5-0106"
TEMPLATE = (  # la de su tokenizador: https://huggingface.co/openchat/openchat-3.5-0106
    "{{ bos_token }}{% for message in messages %}"
    "{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] }}"
    "{{ '<|end_of_turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"
)
RATE = 2e-4  # la de QLoRA para 7B (Dettmers et al., 2023, arXiv:2305.14314, apéndice B.2)


# --- Cargar --------------------------------------------------------------------------------------


def load_big(name: str = OPENCHAT, four_bits: bool = True):
    """El modelo y el tokenizador de `name`, en safetensors y sin código ajeno, listos para LoRA.

    En 4 bits (`nf4` con doble cuantización, como QLoRA), las cuentas se hacen en `bf16` o, si la
    GPU no lo tiene, como la T4, en `fp16`.

    Args:
        name: nombre en el Hub, o carpeta.

    Raises:
        ValueError: si falta GPU o `bitsandbytes` para los 4 bits, o si no cabe; dice qué se puede
            hacer. Se sabe antes de bajar los pesos.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    cuda = torch.cuda.is_available()
    if four_bits:
        check_four_bits()
    with checked(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    half = torch.bfloat16 if half_precision().get("bf16") else torch.float16
    options = {"dtype": half if cuda else torch.float32}
    if four_bits:
        options |= {"quantization_config": four_bit_config(half), "device_map": {"": 0}}
    check_memory(config, free_gib(), four_bits, half=cuda)
    with checked(name):
        model = AutoModelForCausalLM.from_pretrained(
            name, config=config, use_safetensors=True, trust_remote_code=False, **options
        )
    if four_bits:
        from peft import prepare_model_for_kbit_training

        # Congela y pasa a 32 bits lo que no está en 4; de rehacer activaciones se ocupa Trainer.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    elif cuda:
        model = model.to("cuda")
    # Puede ser el de fin: lo que es relleno lo dice la posición, y no el id.
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return model.eval(), tokenizer


def four_bit_config(half):
    """El `BitsAndBytesConfig` de QLoRA (Dettmers et al., 2023, arXiv:2305.14314).

    Args:
        half: el tipo de torch de las cuentas.
    """
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=half,
    )


def check_four_bits() -> None:
    """Comprueba que aquí se puede cargar en 4 bits: una GPU de NVIDIA y `bitsandbytes`.

    Raises:
        ValueError: si no; dice qué falta y qué se puede hacer sin ello.
    """
    import torch

    if not torch.cuda.is_available():
        raise ValueError(
            "Para cargar en 4 bits hace falta una GPU de NVIDIA, y aquí no la hay: en Colab, elige "
            "«Entorno de ejecución → Cambiar tipo de entorno de ejecución → T4». Sin ella puedes "
            "seguir con el modelo en miniatura o cargarlo sin cuantizar con load_big(nombre, "
            "four_bits=False), que comprueba antes si cabe."
        )
    problem = bitsandbytes_problem()
    if problem:
        raise ValueError(
            f"{problem}: instálalo con «pip install -U bitsandbytes» y reinicia el cuaderno."
        )


def bitsandbytes_problem() -> str | None:
    """Qué le pasa a `bitsandbytes`, o `None` si está y sirve."""
    from transformers.utils import is_bitsandbytes_available

    try:  # no es una dependencia del curso: solo hace falta aquí
        found = importlib.import_module("bitsandbytes")
    except ImportError:
        return "Falta bitsandbytes, que es quien cuantiza"
    except Exception as error:  # al importarse busca las bibliotecas de CUDA y puede no hallarlas
        return f"bitsandbytes no arranca ({error})"
    if not is_bitsandbytes_available():
        return f"bitsandbytes {found.__version__} es demasiado viejo para este transformers"
    return None


def dress_as_openchat(tokenizer):
    """Pone a un tokenizador cualquiera el fin de turno y la plantilla de OpenChat 3.5.

    Para la miniatura: el de verdad ya los trae. Lo modifica en su sitio y lo devuelve.
    """
    tokenizer.add_special_tokens({"eos_token": "<|end_of_turn|>", "pad_token": "<|pad_0|>"})
    tokenizer.model_max_length = 8192
    tokenizer.chat_template = TEMPLATE
    return tokenizer


# --- Ajustar -------------------------------------------------------------------------------------


def encode_all(
    tokenizer, conversations: Sequence[Sequence[dict[str, str]]], length: int = LENGTH
) -> list[Encoded]:
    """Codifica las conversaciones con la plantilla del modelo y deja fuera las que no caben.

    Raises:
        ValueError: si no cabe ninguna.
    """
    encoded = [encode_with_own_template(tokenizer, messages) for messages in conversations]
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
    """Pone LoRA a un modelo de `load_big` (o a una miniatura), lo ajusta y guarda el adaptador.

    Args:
        examples: los de `encode_all`.
        args: los de `small_gpu_arguments`; el adaptador queda en su `output_dir`.
    """
    from datasets import Dataset

    run = fine_tune(
        with_lora(model, tokenizer, RANK),
        args,
        Dataset.from_list([vars(example) for example in examples]),
        lambda rows: collate(rows, tokenizer.pad_token_id),
    )
    save_tuned(run.model.eval(), Path(args.output_dir))
    return run
