"""Qué manera de ajustar un modelo grande con LoRA cabe en una GPU, calculado antes de descargarlo.

Las cuentas son las de `costs`; aquí solo están las maneras, de la más rápida a la más ahorradora, y
la decisión.
"""

import os
from dataclasses import dataclass, replace

from course_lib.costs import GIB, Memory, fits, training_memory
from course_lib.shapes import Shape, config_shape

RANK, LENGTH = 16, 512
EFFECTIVE_BATCH = 16  # como en QLoRA (arXiv:2305.14314, apéndice B.2)


@dataclass(frozen=True)
class Setup:
    """Una manera de ajustar con LoRA, siempre con 16 filas por paso.

    `batch` son las que van juntas; el resto se acumula. `checkpointing` rehace al volver lo que no
    guardó al ir.
    """

    name: str
    four_bits: bool
    batch: int
    checkpointing: bool


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

    return MistralConfig(
        vocab_size=32002,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        sliding_window=4096,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=32000,
    )


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
    """La primera de `SETUPS` que cabe, con su margen, en `gib` GiB libres.

    Raises:
        ValueError: si no cabe ninguna; dice cuánto pide la menor y cuánto hay.
    """
    for setup in SETUPS:
        if fits(setup_memory(shape, setup, length), gib) == "cabe":
            return setup
    least = setup_memory(shape, SETUPS[-1], length).total / GIB
    raise ValueError(
        f"No cabe de ninguna manera: lo menos que pide son {_spanish(least)} GiB, más un margen, "
        f"y hay {_spanish(gib)}. Acorta los ejemplos (length, ahora {length}) o busca un modelo "
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

    De una arquitectura que `costs` no conoce no se dice nada.

    Args:
        config: la configuración de transformers.
        half: como en `setup_memory`.

    Raises:
        ValueError: si no cabe en `gib` GiB; dice cuánto pide.
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
            f"«{setup.name}» pide {_spanish(memory.total / GIB)} GiB y hay {_spanish(gib)}: "
            f"{other}, o sigue con el modelo en miniatura."
        )


def _spanish(number: float) -> str:
    return f"{number:.1f}".replace(".", ",")
