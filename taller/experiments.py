"""Experimentos largos: muchos ajustes en dos procesos, que se reanudan y quedan fechados.

Cada resultado se guarda en cuanto llega; una segunda vez solo se hace lo que falta.
"""

import json
import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from course_lib import __version__, data_path
from course_lib.hub import sha256
from course_lib.tables import from_json, to_json

PACKAGES = ("torch", "transformers", "datasets", "peft")


def run_jobs(
    function: Callable[..., dict],
    jobs: Mapping[str, Sequence[Any]],
    folder: Path,
    workers: int = 2,
    report: Callable[[str], None] = print,
) -> dict[str, dict]:
    """Llama a `function(*argumentos)` por cada trabajo, y guarda cada resultado en `folder`.

    Dos procesos de un hilo rinden más que uno de dos hilos: con modelos pequeños, repartir cada
    operación entre núcleos cuesta más de lo que ahorra.

    Args:
        function: de un módulo, para que otro proceso pueda importarla; devuelve lo que cabe en
            JSON, y medidas (`Measure`).
        jobs: de cada trabajo, su nombre y sus argumentos, que también deben caber en JSON.
        folder: un archivo por trabajo; lo guardado con otros argumentos, otro modelo u otras
            versiones no vale y se repite. Del código no se sabe: si lo cambias, bórrala.
        report: recibe una línea por trabajo acabado.

    Returns:
        Los resultados, en el orden de `jobs`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = {k: v for k, v in provenance().items() if k != "fecha"}
    recipes = {name: {"argumentos": list(args)} | stamp for name, args in jobs.items()}
    done = {name: _read(folder / f"{name}.json", recipe) for name, recipe in recipes.items()}
    missing = [name for name, result in done.items() if result is None]
    if len(missing) < len(jobs):
        report(f"Ya hechos: {len(jobs) - len(missing)} de {len(jobs)}.")
    if missing:
        context = get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_one_quiet_thread) as pool:
            futures = {pool.submit(function, *jobs[name]): name for name in missing}
            try:
                for future in as_completed(futures):
                    name = futures[future]
                    done[name] = future.result()
                    _write(folder / f"{name}.json", recipes[name] | {"resultado": done[name]})
                    count = sum(result is not None for result in done.values())
                    report(f"{name}: hecho ({count} de {len(jobs)})")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return done


def provenance() -> dict[str, str]:
    """La fecha, las versiones y la huella del minimodelo: de dónde sale un resultado guardado."""
    return {
        "fecha": date.today().isoformat(),
        "curso": __version__,
        "python": platform.python_version(),
        "minimodelo": sha256(data_path("mini", "model.safetensors")),
    } | {package: version(package) for package in PACKAGES}


def store(path: Path, result: dict) -> None:
    """Guarda un resultado, con su procedencia, donde las lecciones lo leen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, {"procedencia": provenance()} | result)


def _read(path: Path, recipe: dict) -> dict | None:
    if not path.exists():
        return None
    saved = from_json(path.read_text(encoding="utf-8"))
    result = saved.pop("resultado")
    return result if saved == json.loads(json.dumps(recipe)) else None


def _write(path: Path, data: dict) -> None:
    # Primero a un lado: si se corta la luz a mitad, queda el archivo anterior o ninguno.
    aside = path.with_suffix(".tmp")
    aside.write_text(to_json(data), encoding="utf-8")
    aside.replace(path)


def _one_quiet_thread() -> None:
    import torch

    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Si matan al proceso que reparte, este no se queda trabajando para nadie."""
    parent_process().join()
    os._exit(1)
