"""La ablación: la receta original con un arreglo cada vez, y con todos, medida con intervalos.

`CONDITIONS` es el experimento entero; cada hipótesis se escribió antes de la primera corrida y no
se ha tocado después, se cumpliera o no. `curso ablacion` lo ejecuta y guarda cada corrida en cuanto
acaba: si se interrumpe, la siguiente vez sigue donde estaba.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from course_lib import experiments, output_path
from course_lib.autopsy import Condition, data_fingerprint, prepare, train
from course_lib.autopsy_measures import build_exam, measure
from course_lib.original import total_steps, training_pairs
from course_lib.tracks import get_track

CONDITIONS = (
    Condition(
        "original",
        "nada: la receta original",
        "Olvidará, no dirá ningún hecho en el chat y a todo contestará «sí».",
    ),
    Condition(
        "relleno",
        "no contar el relleno",
        "Es el defecto más feo de la pérdida, pero solo de la pérdida: conversará algo mejor y "
        "olvidará lo mismo. Y no sabrá callarse: el relleno era el único fin que veía.",
        padding_counts=False,
    ),
    Condition(
        "fin",
        "añadir el fin a la respuesta",
        "No cambiará nada, porque el relleno ya es el token de fin y ya cuenta.",
        end=True,
        reuses="original",  # los mismos ids: lo comprueba una prueba
    ),
    Condition(
        "relleno_fin",
        "no contar el relleno y añadir el fin",
        "Volverá a callarse a tiempo; lo demás, como sin contar el relleno.",
        padding_counts=False,
        end=True,
    ),
    Condition(
        "usuario",
        "no contar al usuario ni los marcadores",
        "Con menos que aprender se moverá menos: olvidará algo menos.",
        user_counts=False,
    ),
    Condition(
        "marcadores",
        "marcadores de un solo token",
        "Peticiones más cortas y nada más: los aciertos no se moverán.",
        special_markers=True,
    ),
    Condition(
        "plantilla",
        "preguntar con historia como se entrenó",
        "Sin hechos que decir, la plantilla no hará que los diga: un 0% de las dos maneras.",
        reuses="original",
        view="igual",
    ),
    Condition(
        "reparto",
        "apartar el 10% de las parejas al azar",
        "El modelo será el mismo; la pérdida de las parejas apartadas saldrá mejor que la de "
        "diálogos no vistos, y será mentira.",
        held_out_pairs=0.1,
    ),
    Condition(
        "tasa",
        "una tasa diez veces menor",
        "Olvidará mucho menos y conversará peor; en el chat seguirá sin decir hechos.",
        rate=0.1,
    ),
    Condition(
        "epocas",
        "una época en lugar de tres",
        "Olvidará algo menos y conversará algo peor.",
        budget=1 / 3,
    ),
    Condition(
        "azar",
        "sortear los tokens al contestar",
        "Dirá «sí» menos veces, pero sin acertar más: el azar no sabe nada.",
        reuses="original",
        view="azar",
    ),
    Condition(
        "codigo",
        "todo el código; solo charlas",
        "Conversará mejor y seguirá igual de mal en lo demás: las charlas no contienen hechos.",
        course_code=True,
    ),
    Condition(
        "codigo_tasa",
        "todo el código y la tasa; solo charlas",
        "Lo mejor que dan las charlas solas: olvidará poco y en el chat no dirá hechos.",
        course_code=True,
        rate=0.1,
    ),
    Condition(
        "datos",
        "los datos; el código, con sus defectos",
        "Dirá en el chat la mayoría de los hechos de países que no ha visto ajustar, a pesar del "
        "código.",
        data=("charla", "tarea"),
    ),
    Condition(
        "datos_plantilla",
        "los datos y la plantilla al preguntar",
        "Ahora que hay hechos que decir, con historia dirá más que con la plantilla equivocada.",
        data=("charla", "tarea"),
        reuses="datos",
        view="igual",
    ),
    Condition(
        "codigo_datos",
        "todo el código y los datos",
        "Algo mejor que los datos solos en el chat; seguirá olvidando cómo leer.",
        course_code=True,
        data=("charla", "tarea"),
    ),
    Condition(
        "codigo_datos_repaso",
        "todo el código, los datos y un repaso",
        "Lo mismo en el chat y, con el repaso, casi sin olvido.",
        course_code=True,
        data=("charla", "tarea", "repaso"),
    ),
)


# --- Ejecutar ------------------------------------------------------------------------------------


def run_ablation(
    path: Path,
    seeds: int = 3,
    steps: int | None = None,
    questions: int = 200,
    conditions: Sequence[Condition] = CONDITIONS,
) -> dict:
    """Hace las corridas que falten y guarda la tabla en `path`.

    Van por semillas: acabada la primera, ya hay una de cada condición. Lo que se guarda a medias
    (en `salida/ablacion/`) no vale para otros datos ni para otras versiones.

    Args:
        steps: pasos de un presupuesto entero; por omisión, los de la receta original.
        questions: preguntas por materia.

    Returns:
        Lo guardado.

    Raises:
        ValueError: si no se pide ninguna semilla.
    """
    if seeds < 1:
        raise ValueError(f"Con {seeds} semillas no hay nada que medir: pide al menos una.")
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
    jobs = {"base": (track.name, asdict(CONDITIONS[0]), None, 0, questions)} | {
        f"{c.name}-{seed}": (track.name, asdict(c), seed, budget["pasos"], questions)
        for seed in range(seeds)
        for c in conditions
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
    """Una corrida entera, en números que caben en JSON; sin semilla, el modelo de partida."""
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
        "vistas": {view: {k: vars(m) for k, m in ms.items()} for view, ms in views.items()},
    }


def condition(name: str) -> Condition:
    """La condición de ese nombre."""
    return next(c for c in CONDITIONS if c.name == name)
