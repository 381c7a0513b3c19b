"""La receta de la lección original, entera y en un solo sitio, con sus defectos a propósito.

La lección 04 la escribe celda a celda; las siguientes la piden aquí hecha, para partir del mismo
modelo sin repetirla.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from course_lib import __version__, data_path, output_path
from course_lib.checksums import sha256
from course_lib.dialogue_stats import describe_dialogues
from course_lib.dialogues import Dialogue, Pair, to_pairs
from course_lib.encoding import Kind, collate, encode_original
from course_lib.tracks import Track, load_causal_lm
from course_lib.training import Run, fine_tune, set_seed

SEED = 7


def original_record() -> dict:
    """Lo que la lección original imprimió una vez en una T4: un registro, no una medida nuestra."""
    return json.loads(data_path("registro", "original.json").read_text(encoding="utf-8"))


def training_pairs(track: Track) -> list[Pair]:
    """Las parejas de las charlas con que entrena la receta original."""
    return to_pairs(track.load_dialogues("train")[: track.train_dialogues])


def total_steps(track: Track) -> int:
    """Los pasos de la receta original: cada uno, un lote; el último de la época, quizá menor."""
    return -(-len(training_pairs(track)) // track.batch_size) * track.epochs


def original_dataset(track: Track, tokenizer):
    """Las parejas de la ruta con la codificación original, en un `Dataset`.

    Args:
        tokenizer: sin relleno propio: se le asigna el token de fin, como hacía la original.
    """
    from datasets import Dataset

    tokenizer.pad_token = tokenizer.eos_token
    return Dataset.from_list(
        [
            vars(encode_original(tokenizer, pair.user, pair.reply, track.max_length))
            for pair in training_pairs(track)
        ]
    )


def original_arguments(track: Track, folder: Path):
    """Los `TrainingArguments` originales que aún existen, con los números de la ruta.

    Se anota unas veinte veces, o cada cien pasos, como la original, si el recorrido es largo; y se
    guarda cada cinco anotaciones.
    """
    import torch
    from transformers import TrainingArguments

    every = max(1, min(100, total_steps(track) // 18))
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=track.epochs,
        per_device_train_batch_size=track.batch_size,
        learning_rate=track.learning_rate,
        warmup_steps=track.warmup_steps,
        weight_decay=track.weight_decay,
        logging_steps=every,
        save_steps=5 * every,
        save_total_limit=2,
        fp16=torch.cuda.is_available(),
        seed=SEED,
    )


def original_model(track: Track, folder: Path | None = None):
    """El modelo que sale de la receta original: el ya guardado en `folder` o, si no, uno nuevo.

    Lo guardado solo vale si salió de esta misma ruta y de los mismos pesos de partida. Un
    ajuste que se cortó sigue desde su último punto de control.

    Returns:
        `(modelo, tokenizador, segundos)`: los segundos son los que costó ajustarlo.
    """
    from transformers import AutoTokenizer

    folder = folder or output_path("fracaso", track.name)
    args = original_arguments(track, folder)
    if (folder / "receta.json").exists():
        saved = json.loads((folder / "receta.json").read_text(encoding="utf-8"))
        if saved["receta"] == recipe(track, args) and "registro" in saved:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            return load_causal_lm(str(folder)), tokenizer, saved["segundos"]
    set_seed(SEED)
    model, tokenizer = track.load_model(), track.load_tokenizer()
    data = original_dataset(track, tokenizer)
    run = fine_tune(
        model, args, data, lambda rows: collate(rows, tokenizer.pad_token_id), resume=True
    )
    save_original(track, run, tokenizer, folder)
    return run.model.eval(), tokenizer, run.seconds


def original_log(track: Track, folder: Path | None = None) -> list[dict]:
    """El registro del ajuste que guardó `original_model`: pérdidas por clase, paso a paso.

    Raises:
        FileNotFoundError: si aún no se ha ajustado ni guardado ninguno.
    """
    path = (folder or output_path("fracaso", track.name)) / "receta.json"
    if not path.exists():
        raise FileNotFoundError(
            f"No existe {path}: ejecuta antes la lección 04, o llama a original_model(track)."
        )
    return json.loads(path.read_text(encoding="utf-8"))["registro"]


def save_original(track: Track, run: Run, tokenizer, folder: Path) -> None:
    """Guarda modelo y tokenizador, y al lado la receta con la que se ajustó y su registro."""
    run.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    saved = {
        "receta": recipe(track, run.trainer.args),
        "segundos": run.seconds,
        "registro": run.log,
    }
    (folder / "receta.json").write_text(json.dumps(saved, indent=1), encoding="utf-8")


def sample_figures(dialogues: Sequence[Dialogue], tokenizer, max_length: int = 128) -> dict:
    """De qué están hechas las filas de la lección original, contado en unas charlas.

    Con una muestra de DailyDialog y el tokenizador de GPT-2 salen las cifras con que se explica el
    registro; las guarda `data/experimentos/muestra_dailydialog.json`.

    Returns:
        Parejas, tokens por pareja (ya cortada a `max_length`), marcadores por pareja, la parte de
        relleno, cuántas respuestas son la del registro y con qué empiezan las contestaciones a
        preguntas de sí o no.
    """
    tokenizer.pad_token = tokenizer.eos_token
    pairs = to_pairs(dialogues)
    rows = [encode_original(tokenizer, p.user, p.reply, max_length) for p in pairs]
    stats = describe_dialogues((d.turns for d in dialogues), "en")
    answer = original_record()["respuestas"][0]
    return {
        "parejas": len(pairs),
        "tokens_por_pareja": round(sum(sum(r.attention_mask) for r in rows) / len(rows), 2),
        "marcadores_por_pareja": round(
            sum(r.kinds.count(Kind.MARKER) for r in rows) / len(rows), 2
        ),
        "relleno": round(
            sum(r.kinds.count(Kind.PADDING) for r in rows) / (max_length * len(rows)), 4
        ),
        "veces_la_respuesta_del_registro": sum(p.reply == answer for p in pairs),
        "si_tras_pregunta": round(stats.yes_share, 3),
        "no_tras_pregunta": round(stats.no_share, 3),
    }


def recipe(track: Track, args) -> dict:
    """Lo que identifica un ajuste: el modelo de partida, las charlas y los argumentos."""
    names = (
        "num_train_epochs",
        "per_device_train_batch_size",
        "learning_rate",
        "warmup_steps",
        "weight_decay",
        "seed",
    )
    turns = [d.turns for d in track.load_dialogues("train")[: track.train_dialogues]]
    return {name: getattr(args, name) for name in names} | {
        "version": __version__,
        "ruta": track.name,
        "longitud": track.max_length,
        "modelo": _weights_of(track.model),
        "charlas": hashlib.sha256(repr(turns).encode()).hexdigest(),
    }


def _weights_of(model: str) -> str:
    """Lo que identifica los pesos de partida: las sumas de una carpeta, o un nombre del Hub."""
    folder = Path(model)
    if (folder / "SHA256SUMS").exists():
        return (folder / "SHA256SUMS").read_text(encoding="utf-8")
    sums = [f"{sha256(file)}  {file.name}" for file in sorted(folder.glob("*.safetensors"))]
    return "\n".join(sums) or model
