"""Rutas: con qué modelo, qué diálogos y qué hiperparámetros corre el curso.

Los cuadernos son los mismos en todas; la ruta se elige con la variable de entorno `CURSO_RUTA` o
con el argumento de `get_track`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course_lib import data_path
from course_lib.dialogues import Dialogue, shipped_dialogues


@dataclass(frozen=True)
class Track:
    """Una ruta: modelo, diálogos, idioma, longitudes e hiperparámetros.

    `max_length` son los tokens de cada ejemplo con la longitud fija de la lección original;
    `train_dialogues`, cuántos diálogos usa la demostración; `learning_rate` es el de AdamW.
    """

    name: str
    language: str
    model_path: Callable[[], Path]
    dialogues: Callable[[str], list[Dialogue]]
    max_length: int
    train_dialogues: int
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float

    def load_model(self):
        """El modelo de la ruta, en modo de evaluación, comprobado y en `device()`.

        Raises:
            FileNotFoundError: si falta un archivo del modelo.
            ValueError: si alguno está dañado.
        """
        from transformers import AutoModelForCausalLM
        from transformers.utils.logging import disable_progress_bar

        from course_lib.checksums import verify_checksums

        disable_progress_bar()  # la de «Loading weights», que aquí dura un instante
        verify_checksums(self.model_path())
        model = AutoModelForCausalLM.from_pretrained(self.model_path(), use_safetensors=True)
        # GPT-2 no lee de su configuración qué pérdida le toca, y al entrenar lo avisaría.
        model.loss_type = "ForCausalLM"
        # Salida y entrada comparten tabla y se guarda una vez: al volver al mejor punto, Trainer
        # avisaría de que falta la otra.
        model._keys_to_ignore_on_save = ["lm_head.weight"]
        return model.to(device()).eval()

    def load_tokenizer(self):
        """El tokenizador de la ruta: como el de GPT-2, sin token de relleno."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.model_path())

    def load_dialogues(self, part: str = "train") -> list[Dialogue]:
        """Los diálogos de la ruta: «train», «validation» o «test»."""
        return self.dialogues(part)


TRACKS = {
    "mini": Track(
        name="mini",
        language="es",
        model_path=lambda: data_path("mini"),
        dialogues=shipped_dialogues,
        max_length=128,
        train_dialogues=150,
        epochs=3,
        batch_size=8,
        learning_rate=1e-3,
        warmup_steps=100,
        weight_decay=0.01,
    ),
}


def device() -> str:
    """Dónde corren los modelos: la GPU que haya (CUDA o MPS) o, si no, la CPU."""
    import torch

    available = torch.accelerator.is_available()
    return str(torch.accelerator.current_accelerator()) if available else "cpu"


def get_track(name: str | None = None) -> Track:
    """La ruta pedida, o la de `CURSO_RUTA`, o `mini`.

    Raises:
        ValueError: si no existe; el mensaje dice cuáles hay.
    """
    name = name or os.environ.get("CURSO_RUTA") or "mini"
    if name not in TRACKS:
        raise ValueError(
            f"No hay ninguna ruta «{name}»: las hay {', '.join(TRACKS)}. "
            "Elígela en la primera celda o con la variable CURSO_RUTA."
        )
    return TRACKS[name]
