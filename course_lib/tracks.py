"""Rutas: con qué modelo, qué diálogos y qué hiperparámetros corre el curso.

Los cuadernos son los mismos en todas; la ruta se elige con la variable de entorno `CURSO_RUTA`, con
la de la primera celda o con el argumento de `get_track`. `CURSO_EJEMPLOS=N` la recorta: como mucho
N ejemplos de cada cosa, para quien no tiene GPU.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from course_lib import data_path, shorten, world
from course_lib.dialogues import Dialogue, read_dialogues, shipped_dialogues, split_dialogues

PRETRAINING_RATE = 2e-3  # la máxima con que se preentrenó el minimodelo
CPU_EXAMPLES = 24  # sin GPU, los ejemplos de cada cosa con que una ruta grande tarda minutos


@dataclass(frozen=True)
class Track:
    """Una ruta: modelo, diálogos, idioma, longitudes e hiperparámetros.

    `model` es una carpeta o un nombre del Hub; `max_length`, los tokens de cada ejemplo con la
    longitud fija de la lección original; `train_dialogues`, cuántos diálogos usa la demostración.
    Las tasas son las de AdamW: `learning_rate`, la de la receta original; `tuning_rate` y
    `lora_rate`, las de la lección 07. `instruct` es un modelo del Hub ya ajustado a seguir
    instrucciones, y `limit`, el recorte de `CURSO_EJEMPLOS`.
    """

    name: str
    language: str
    model: str
    dialogues: Callable[[str], list[Dialogue]]
    train_dialogues: int
    batch_size: int
    learning_rate: float
    tuning_rate: float
    lora_rate: float
    max_length: int = 128
    epochs: int = 3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    questions: int = 200
    instruct: str | None = None
    limit: int | None = None

    def load_model(self):
        """El modelo de la ruta, en modo de evaluación, comprobado y en `device()`.

        Raises:
            FileNotFoundError, ValueError, ConnectionError: si falta, está dañado, no le cabe
                `max_length` o no se puede descargar; la frase dice qué pasó.
        """
        from course_lib.hub import verify_checksums

        if self.name == "mini":
            verify_checksums(Path(self.model))
        model = load_causal_lm(self.model)
        room = getattr(model.config, "max_position_embeddings", self.max_length)
        if room < self.max_length:
            raise ValueError(
                f"La ruta pide ejemplos de {self.max_length} tokens y en «{self.model}» caben "
                f"{room}: baja max_length."
            )
        return model

    def load_tokenizer(self):
        """El tokenizador de la ruta; el de GPT-2, como el del minimodelo, viene sin relleno."""
        return load_tokenizer(self.model)

    def load_dialogues(self, part: str = "train") -> list[Dialogue]:
        """Los diálogos de la ruta: «train», «validation» o «test»."""
        return self.dialogues(part)

    def instructs(self, report: Callable[[str], None] = print) -> list[tuple]:
        """El modelo ya ajustado de la ruta y su tokenizador, en una lista; vacía, si no lo tiene.

        Así una celda la recorre con un `for` y vale para todas las rutas.
        """
        if self.instruct is None:
            report(f"En la ruta «{self.name}» no hay un modelo ya ajustado: se sigue sin él.")
            return []
        return [(load_causal_lm(self.instruct), load_tokenizer(self.instruct))]

    def cut(self, n: int) -> int:
        """`n`, o el recorte de la ruta si es menor."""
        return n if self.limit is None else min(n, self.limit)

    def expect(self, claim: str, holds: bool) -> None:
        """Comprueba una afirmación sobre lo que acaba de medirse, y dice si se cumple.

        Las lecciones se escribieron con `mini`, y ahí, entera, tiene que cumplirse: si no, es un
        error. En las demás rutas es un resultado.
        """
        if self.name == "mini" and self.limit is None:
            assert holds, f"No se cumple: {claim}."
        print(f"{'Se cumple' if holds else 'AQUÍ NO se cumple'}: {claim}.")

    def text(self, *sentences: str) -> str | list[str]:
        """Frases de una lección en el idioma de la ruta: una, o una lista si se dan varias."""
        texts = [world.text(sentence, self.language) for sentence in sentences]
        return texts[0] if len(texts) == 1 else texts


def mini() -> Track:
    """La ruta por omisión: el minimodelo y CharlaDiaria, en español y sin red."""
    return Track(
        name="mini",
        language="es",
        model=str(data_path("mini")),
        dialogues=shipped_dialogues,
        train_dialogues=100,
        batch_size=4,
        learning_rate=PRETRAINING_RATE / 12,  # la proporción de la original (véase gpt2)
        tuning_rate=1e-4,
        lora_rate=2e-3,
    )


def gpt2() -> Track:
    """La de la lección original: GPT-2 (124M) y DailyDialog, del Hub, con sus hiperparámetros."""
    from course_lib.hub import daily_dialog

    return Track(
        name="gpt2",
        language="en",
        model="openai-community/gpt2",
        dialogues=daily_dialog,
        train_dialogues=11_118,
        batch_size=32,
        # La que Trainer pone si no se dice otra, como en la original: una doceava parte de los 6e-4
        # con que se preentrena GPT-2 124M en nanoGPT y llm.c (Karpathy, 2023 y 2024).
        learning_rate=5e-5,
        tuning_rate=5e-5,
        lora_rate=5e-4,
        instruct="HuggingFaceTB/SmolLM2-135M-Instruct",
    )


TRACKS = {"mini": mini, "gpt2": gpt2}


def get_track(name: str | None = None, report: Callable[[str], None] = print) -> Track:
    """La ruta pedida, o la de `CURSO_RUTA`, o `mini`; con el recorte de `CURSO_EJEMPLOS`.

    `report` recibe lo que se usa y lo que se recorta; en `mini` entera no hay nada que decir.
    """
    name = name or os.environ.get("CURSO_RUTA") or "mini"
    if name not in TRACKS:
        raise ValueError(
            f"No hay ninguna ruta «{name}»: elige {' o '.join(TRACKS)} en la primera celda o con "
            "la variable CURSO_RUTA."
        )
    return _announced(TRACKS[name](), report)


def own_track(
    model: str,
    dialogues: str | Path,
    language: str = "es",
    report: Callable[[str], None] = print,
    **changes,
) -> Track:
    """Tu propia ruta: cualquier modelo causal y tus diálogos.

    Los hiperparámetros son los de `gpt2`; los diálogos se reparten, enteros, en ocho partes de
    entrenamiento, una de validación y una de prueba.

    Args:
        model: un nombre del Hub o una carpeta con un modelo causal en safetensors.
        dialogues: un archivo o unos datos, como los que lee `read_dialogues`.
        language: en qué idioma se hacen las preguntas, «es» o «en».
        changes: los campos de `Track` que quieras cambiar (`max_length=256`…).
    """
    if language not in ("es", "en"):
        raise ValueError(f"No hay preguntas en el idioma «{language}»: elige «es» o «en».")
    if unknown := sorted(changes.keys() - {field.name for field in fields(Track)}):
        raise ValueError(
            f"Una ruta no tiene {', '.join(unknown)}: sus campos son los de Track, en "
            "course_lib/tracks.py."
        )
    read = read_dialogues(dialogues, report)
    if len({dialogue.turns for dialogue in read}) < 10:
        raise ValueError(
            f"«{shorten(dialogues, 4096)}» no llega a diez diálogos distintos, y hay que "
            "repartirlos en tres partes: reúne más."
        )
    train, rest = split_dialogues(read, test_fraction=0.2)
    validation, test = split_dialogues(rest, test_fraction=0.5)
    parts = {"train": train, "validation": validation, "test": test}
    mine = {"name": "propia", "language": language, "model": str(model), "dialogues": parts.get}
    own = mine | {"instruct": None, "train_dialogues": len(train)} | changes
    return _announced(replace(gpt2(), **own), report)


def device() -> str:
    """Dónde corren los modelos: la GPU que haya (CUDA o MPS) o, si no, la CPU."""
    import torch

    available = torch.accelerator.is_available()
    return str(torch.accelerator.current_accelerator()) if available else "cpu"


def _announced(track: Track, report: Callable[[str], None]) -> Track:
    """La ruta recortada, si toca, y dicho lo que se usa y lo que se deja."""
    asked = os.environ.get("CURSO_EJEMPLOS", "").strip()
    if asked and not asked.isdecimal():
        raise ValueError(
            f"CURSO_EJEMPLOS={asked} no es un número: pon cuántos ejemplos de cada cosa quieres "
            "como mucho, o 0 para usarlos todos."
        )
    if track.name != "mini":
        where = device()
        report(
            f"Ruta «{track.name}»: {track.model}, en {where}. El texto de las lecciones y los "
            "títulos de las figuras comentan los números de la ruta «mini»; los tuyos son los que "
            "salgan en las celdas."
        )
        if where == "cpu" and not asked:
            asked = str(CPU_EXAMPLES)
    limit = int(asked or 0)
    if not limit:
        return track
    train = min(track.train_dialogues, limit)
    short = replace(
        track,
        limit=limit,
        train_dialogues=train,
        questions=min(track.questions, limit + limit % 2),  # la mitad, de respuesta «sí»
        warmup_steps=max(1, round(train / track.train_dialogues * track.warmup_steps)),
    )
    report(
        f"Recortada a {limit} ejemplos de cada cosa: {train} de {track.train_dialogues} diálogos, "
        f"{short.questions} de {track.questions} preguntas por examen y {short.warmup_steps} de "
        f"{track.warmup_steps} pasos de subida de la tasa. Los intervalos serán anchos. Para "
        "usarlos todos: CURSO_EJEMPLOS=0."
    )
    return short


def load_causal_lm(name: str, **options):
    """Un modelo causal, de una carpeta o del Hub, en modo de evaluación y en `device()`.

    Solo de safetensors, y sin ejecutar el código que traiga. Los errores son los de `hub.checked`.

    Args:
        options: otras de `from_pretrained`; con `device_map`, el modelo se queda donde este diga.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    from course_lib.hub import checked, no_pickles

    disable_progress_bar()  # la de «Loading weights», que aquí dura un instante
    with checked(name), no_pickles():
        if (Path(name) / "config.json").is_file():
            _check_size(name, AutoConfig.from_pretrained(name, trust_remote_code=False))
        options = {"dtype": torch.float32, "use_safetensors": True} | options
        model, read = AutoModelForCausalLM.from_pretrained(
            name, trust_remote_code=False, output_loading_info=True, **options
        )
        # Una carpeta puede tener un `config.json` con menos capas que sus pesos: las de más no se
        # usarían. En el Hub no pasa, y lo que sobra allí no hace daño.
        layers = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
        spare = read["unexpected_keys"] if Path(name).is_dir() else ()
        lost = [key for key in spare if (k := re.search(r"\.(\d+)\.", key)) and int(k[1]) >= layers]
        if missing := sorted({*read["missing_keys"], *lost}):
            raise ValueError(f"missing keys: {missing[0]}")
    # GPT-2 no lee de su configuración qué pérdida le toca, y al entrenar lo avisaría.
    model.loss_type = "ForCausalLM"
    if model.config.tie_word_embeddings:
        # Salida y entrada comparten tabla y se guarda una vez: al volver al mejor punto, Trainer
        # avisaría de que falta la otra.
        model._keys_to_ignore_on_save = ["lm_head.weight"]
    return (model if "device_map" in options else model.to(device())).eval()


def _check_size(name: str, config) -> None:
    """Que no se construya un modelo enorme porque el `config.json` de una carpeta sea de otro."""
    import torch
    from transformers import AutoModelForCausalLM

    most = 2 * sum(file.stat().st_size for file in Path(name).glob("*.safetensors"))  # de 4 bits
    sizes = config.get_text_config()
    least = getattr(sizes, "num_hidden_layers", 0) * getattr(sizes, "hidden_size", 0)
    if least <= most:
        with torch.device("meta"):  # sin gastar memoria
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        least = model.num_parameters()
    if least > most > 0:
        raise ValueError("missing keys: config.json")


def load_tokenizer(name: str):
    """El tokenizador de una carpeta o del Hub; los errores, los de `load_causal_lm`."""
    from transformers import AutoTokenizer, GPT2Tokenizer

    from course_lib.hub import checked

    # Del de GPT-2 bastan vocab.json y merges.txt.
    bare = (Path(name) / "merges.txt").is_file() and not list(Path(name).glob("*config.json"))
    with checked(name):
        loader = GPT2Tokenizer if bare else AutoTokenizer
        return loader.from_pretrained(name, trust_remote_code=False)
