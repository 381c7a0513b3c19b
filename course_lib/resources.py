"""Lo que se acaba a mitad de un ajuste, la memoria y el disco: cómo se reconoce y qué hacer."""

import copy
import errno
import gc
import math
import shutil
from pathlib import Path

# Cómo lo dicen CUDA y MPS, la CPU (dos versiones de torch) y cuBLAS.
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
# Cómo lo dicen safetensors y torch, que no siempre pasan el número del sistema.
NO_DISK = ("no space left", "file write failed", "os error 28", "disk quota", "unexpected pos")


def is_out_of_memory(error: BaseException) -> bool:
    """Si un error dice que se acabó la memoria, de la GPU o de la máquina.

    >>> is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"))
    True
    """
    if isinstance(error, MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in NO_MEMORY)


def is_disk_full(error: BaseException) -> bool:
    """Si un error dice que no se pudo escribir porque el disco se llenó.

    >>> is_disk_full(OSError(28, "No space left on device"))
    True
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    return any(words in str(error).lower() for words in NO_DISK)


def with_smaller_batch(args, training: bool):
    """Los mismos argumentos con el lote partido, y la frase que lo cuenta.

    El lote efectivo, ejemplos por paso del optimizador, queda igual: se divide entre el menor
    número que lo parte sin resto (casi siempre 2) y se acumulan otras tantas veces más gradientes.

    Args:
        training: si la memoria se acabó al entrenar; si no, al medir, y se parte ese otro lote.

    Raises:
        MemoryError: si el lote ya era de un ejemplo.
    """
    name = "per_device_train_batch_size" if training else "per_device_eval_batch_size"
    size = getattr(args, name)
    if size == 1:
        raise MemoryError(
            "No cabe en memoria ni un lote de un ejemplo: acorta los ejemplos (max_length), pon "
            "gradient_checkpointing=True, ajusta con LoRA o elige un modelo más pequeño."
        )
    parts = next(k for k in range(2, size + 1) if size % k == 0)
    args = copy.copy(args)
    setattr(args, name, size // parts)
    if not training:
        # La pérdida apartada es una media de medias de lote: puede variar en los decimales.
        less = size // parts
        return args, f"No cabe en memoria medir de {size} en {size}: mido de {less} en {less}."
    args.gradient_accumulation_steps *= parts
    return args, (
        f"No cabe en memoria un lote de {size}: hago cada paso en "
        f"{args.gradient_accumulation_steps} trozos de {size // parts}, y sigue viendo los mismos "
        f"{args.gradient_accumulation_steps * size // parts} ejemplos."
    )


def initial_weights(model) -> dict:
    """Una copia en la CPU de los pesos que se entrenarán."""
    named = model.named_parameters()
    return {name: p.detach().to("cpu", copy=True) for name, p in named if p.requires_grad}


def restore(model, weights: dict) -> None:
    """Devuelve al modelo unos pesos copiados con `initial_weights`."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in weights:
                weight.copy_(weights[name])


def free_memory() -> None:
    """Suelta lo que ya nadie usa, también en la GPU."""
    import torch

    gc.collect()
    if torch.accelerator.is_available():
        getattr(torch, torch.accelerator.current_accelerator().type).empty_cache()


def check_disk(model, args, examples: int, reusable: int = 0) -> None:
    """Comprueba antes de empezar que los puntos de control cabrán en el disco.

    Un punto son los pesos que se guardan y las dos medias que Adam lleva de cada peso entrenado:
    unas tres veces el modelo, o tres veces los adaptadores con LoRA. El nuevo se escribe antes de
    borrar el que sobra.

    Args:
        examples: los de entrenamiento.
        reusable: bytes que ocupan los puntos que ya hay, y que se borrarán.

    Raises:
        OSError: si no cabrán.
    """
    if args.save_strategy == "no":
        return
    per_epoch = math.ceil(
        examples / (args.per_device_train_batch_size * args.gradient_accumulation_steps)
    )
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch)
    every = per_epoch
    if args.save_strategy == "steps":  # save_steps puede ser una fracción del total
        every = args.save_steps if args.save_steps >= 1 else args.save_steps * steps
    saves = math.ceil(steps / every)  # también se guarda al final
    if args.save_total_limit:
        kept = max(args.save_total_limit, 1 + bool(args.load_best_model_at_end))
        saves = min(saves, kept + 1)
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    lora = hasattr(model, "peft_config")
    weights = trained if lora else sum(p.nbytes for p in model.parameters())
    needed = saves * (weights + 2 * trained)
    folder = Path(args.output_dir).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free + reusable
    if needed > free:
        raise OSError(
            f"No cabe en el disco: los puntos de control de este ajuste, hasta {saves} a la vez, "
            f"ocuparán {gigabytes(needed)} GB en {folder}, y quedan {gigabytes(free)} libres; "
            "libera sitio, baja save_total_limit o elige otro output_dir."
        )


def gigabytes(size: float) -> str:
    """Unos bytes en GB, con coma.

    >>> gigabytes(1_536_000_000)
    '1,54'
    """
    return f"{size / 1e9:.2f}".replace(".", ",")
