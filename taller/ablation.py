"""La ablación: la receta original con un arreglo cada vez, y con todos, medida con intervalos.

`python -m taller ablacion` la ejecuta y guarda cada corrida en cuanto acaba: si se interrumpe, la
siguiente vez sigue donde estaba. Las condiciones y sus hipótesis están en
`data/experimentos/condiciones.toml`.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from course_lib import output_path
from course_lib.autopsy import (
    Condition,
    build_exam,
    conditions,
    measure,
    prepare,
    task_pairs,
    train,
)
from course_lib.original import total_steps, training_pairs
from course_lib.tracks import Track, get_track
from course_lib.tuning import replay_texts
from taller import experiments


def data_fingerprint(track: Track) -> str:
    """La huella de todo lo que entra en algún ajuste: si cambia, lo guardado ya no vale."""
    talk = [(pair.user, pair.reply) for pair in training_pairs(track)]
    new = [(pair.user, pair.reply) for pair in task_pairs(track.language)]
    replay = replay_texts(100, language=track.language)
    return hashlib.sha256(repr((talk, new, replay)).encode()).hexdigest()


# --- Ejecutar ------------------------------------------------------------------------------------


def run_ablation(
    path: Path,
    seeds: int = 3,
    steps: int | None = None,
    questions: int = 200,
    chosen: Sequence[Condition] | None = None,
) -> dict:
    """Hace las corridas que falten y guarda la tabla en `path`.

    Van por semillas: acabada la primera, ya hay una de cada condición. Lo que se guarda a medias
    (en `salida/ablacion/`) no vale para otros datos ni para otras versiones.

    Args:
        steps: pasos de un presupuesto entero; por omisión, los de la receta original.
        questions: preguntas por materia.
        chosen: las condiciones; por omisión, todas.

    Returns:
        Lo guardado.

    Raises:
        ValueError: si no se pide ninguna semilla.
    """
    if seeds < 1:
        raise ValueError(f"Con {seeds} semillas no hay nada que medir: pide al menos una.")
    chosen = chosen or list(conditions().values())
    track = get_track()
    budget = {
        "ruta": track.name,
        "charlas": track.train_dialogues,
        "pasos": steps or total_steps(track),
        "lote": track.batch_size,
        "tasa": track.learning_rate,
        "preguntas": questions,
        "datos": data_fingerprint(track),
    }
    jobs = {"base": (track.name, asdict(conditions()["original"]), None, 0, questions)} | {
        f"{c.name}-{seed}": (track.name, asdict(c), seed, budget["pasos"], questions)
        for seed in range(seeds)
        for c in chosen
        if not c.reuses
    }
    results = experiments.run_jobs(
        measure_once, jobs, output_path("ablacion", budget["datos"][:12])
    )
    base = results.pop("base")["vistas"]["habitual"]
    table = {"presupuesto": budget, "base": base, "corridas": list(results.values())}
    experiments.store(path, table)
    return table


def measure_once(
    track_name: str, settings: dict, seed: int | None, steps: int, questions: int
) -> dict:
    """Una corrida entera; sin semilla, el modelo de partida."""
    track, condition = get_track(track_name), Condition(**settings)
    exam = build_exam(questions, track.language)
    start = time.perf_counter()
    if seed is None:
        model, tokenizer = prepare(track, condition)
        held = training_pairs(track)  # él no ha visto ninguna
    else:
        run, tokenizer, held = train(track, condition, seed, steps)
        model = run.model.eval()
    trained = time.perf_counter()
    views = measure(track, condition, model, tokenizer, exam, held)
    return {
        "condicion": condition.name,
        "semilla": seed,
        "segundos_ajuste": round(trained - start, 1),
        "segundos_medida": round(time.perf_counter() - trained, 1),
        "vistas": views,
    }
