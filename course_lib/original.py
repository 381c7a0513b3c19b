"""La receta de la lección original, entera y en un solo sitio, con sus defectos a propósito.

La lección 04 la escribe celda a celda; las siguientes la piden aquí hecha, para partir del mismo
modelo sin repetirla.
"""

import hashlib
import json
from pathlib import Path

from course_lib import __version__, data_path, output_path, replace_file
from course_lib.dialogues import Pair, to_pairs
from course_lib.encoding import Encoded, collate, encode_original
from course_lib.resume import fingerprint, read_json, resumable_fine_tune
from course_lib.tracks import Track, load_causal_lm, load_tokenizer
from course_lib.training import Run, set_seed

RECIPE = "receta.json"
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


def original_examples(track: Track, tokenizer) -> list[Encoded]:
    """Las parejas de la ruta con la codificación original, que rellena con el token de fin."""
    tokenizer.pad_token, length = tokenizer.eos_token, track.max_length
    return [encode_original(tokenizer, p.user, p.reply, length) for p in training_pairs(track)]


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

    Lo guardado solo vale si salió de esta misma ruta y de los mismos pesos de partida.

    Returns: `(modelo, tokenizador, segundos)`: los segundos son los que costó ajustarlo.
    """
    folder = folder or output_path("fracaso", track.name)
    args, model = original_arguments(track, folder), track.load_model()
    saved = read_json(folder / RECIPE) or {}
    if saved.get("receta") == recipe(track, args, fingerprint(model)):
        return load_causal_lm(str(folder)), load_tokenizer(str(folder)), saved["segundos"]
    set_seed(SEED)
    tokenizer = track.load_tokenizer()
    data = original_examples(track, tokenizer)
    run = resumable_fine_tune(model, args, data, lambda rows: collate(rows, tokenizer.pad_token_id))
    save_original(track, run, tokenizer, folder)
    return run.model.eval(), tokenizer, run.seconds


def original_log(track: Track, folder: Path | None = None) -> list[dict]:
    """El registro del ajuste que guardó `original_model`: pérdidas por clase, paso a paso."""
    path = (folder or output_path("fracaso", track.name)) / RECIPE
    if not path.exists():
        raise FileNotFoundError(
            f"No existe {path}: ejecuta antes la lección 04, o llama a original_model(track)."
        )
    return json.loads(path.read_text(encoding="utf-8"))["registro"]


def save_original(track: Track, run: Run, tokenizer, folder: Path) -> None:
    """Guarda modelo y tokenizador, y al lado la receta con la que se ajustó y su registro."""
    run.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    made = recipe(track, run.trainer.args, run.start)
    saved = {"receta": made, "segundos": run.seconds, "registro": run.log}
    replace_file(folder / RECIPE, json.dumps(saved, indent=1))


def recipe(track: Track, args, start: str) -> dict:
    """Lo que identifica un ajuste: los pesos de partida, las charlas y los argumentos.

    Args:
        start: los pesos de que partió de verdad, según `resume.fingerprint`, que no siempre son los
            de la ruta: alguien pudo pasar un modelo ya entrenado a medias.
    """
    names = (
        "num_train_epochs per_device_train_batch_size learning_rate warmup_steps weight_decay seed"
    )
    turns = [d.turns for d in track.load_dialogues("train")[: track.train_dialogues]]
    return {name: getattr(args, name) for name in names.split()} | {
        "version": __version__,
        "ruta": track.name,
        "longitud": track.max_length,
        "modelo": start,
        "charlas": hashlib.sha256(repr(turns).encode()).hexdigest(),
    }
