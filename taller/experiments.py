"""Experimentos largos: muchos ajustes en dos procesos, que se reanudan y quedan fechados.

Cada resultado se guarda en cuanto llega; una segunda vez solo se hace lo que falta. Lo que se
esperaba está en `data/experimentos/hipotesis.toml`, que ha de estar en un *commit* antes de
ejecutar nada: lo guardado dice en cuál.
"""

import ast
import gzip
import hashlib
import json
import os
import platform
import re
import signal
import subprocess
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from io import BytesIO
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

from course_lib import __version__, data_path, output_path, replace_file
from course_lib.dialogues import shipped_dialogues
from course_lib.evaluation import Exam, leaks
from course_lib.hub import sha256
from course_lib.lessons import course_root
from course_lib.tables import from_json, to_json

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "numpy", "bm25s")
HYPOTHESES = data_path("experimentos", "hipotesis.toml")
# Lo que decide un resultado: si algo de esto cambia, lo guardado ya no vale.
DATA = ("charladiaria", "mini", "mundo", "documentos")
MODULES = ("autopsy", "beyond", "chat", "dialogues", "encoding", "evaluation", "original",
           "reading", "resume", "retrieval", "tables", "tracks", "training", "tuning",
           "world")  # fmt: skip


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
        folder: un archivo por trabajo; lo guardado con otros argumentos, otro código, otros datos,
            otras hipótesis u otras versiones no vale y se repite.
        report: recibe una línea por trabajo acabado.

    Returns:
        Los resultados, en el orden de `jobs`; cada corrida, con su fecha y el *commit* que había.

    Raises:
        ValueError: si las hipótesis, el código o los datos no están registrados, o los datos
            están recortados.
        KeyboardInterrupt: si se interrumpe; los trabajos a medias se dejan, los acabados quedan.
    """
    hypotheses_commit()
    check_committed()
    if os.environ.get("CURSO_EJEMPLOS", "0") not in ("", "0"):
        raise ValueError("Quita CURSO_EJEMPLOS: un experimento no se hace con datos recortados.")
    folder.mkdir(parents=True, exist_ok=True)
    stamp = {k: v for k, v in provenance().items() if k != "fecha"}
    stamp |= {"codigo": code_hash(function), "hipótesis": sha256(HYPOTHESES)}
    recipes = {name: {"argumentos": list(args)} | stamp for name, args in jobs.items()}
    done = {name: _read(folder / f"{name}.json", recipe) for name, recipe in recipes.items()}
    missing = [name for name, result in done.items() if result is None]
    if len(missing) < len(jobs):
        report(f"Ya hechos: {len(jobs) - len(missing)} de {len(jobs)}.")
    if missing:
        context, commit = get_context("spawn"), git("rev-parse", "HEAD")
        with ProcessPoolExecutor(workers, context, initializer=_one_quiet_thread) as pool:
            with _deaf_to_interrupts():
                futures = {pool.submit(function, *jobs[name]): name for name in missing}
            try:
                for future in as_completed(futures):
                    name = futures[future]
                    done[name] = future.result()
                    for run in done[name].get("corridas", [done[name]]):
                        run |= {
                            "fecha": date.today().isoformat(),
                            "commit": commit,
                        }
                    replace_file(
                        folder / f"{name}.json", to_json(recipes[name] | {"resultado": done[name]})
                    )
                    count = sum(result is not None for result in done.values())
                    report(f"{name}: hecho ({count} de {len(jobs)})")
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                if isinstance(error, KeyboardInterrupt):
                    for child in active_children():  # si no, se esperaría a lo que están haciendo
                        child.kill()
                raise
    return done


@contextmanager
def _deaf_to_interrupts():
    """Los procesos que nacen aquí no oyen Ctrl-C, que llega a todos: los para quien reparte."""
    if not hasattr(signal, "pthread_sigmask"):  # en Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def provenance() -> dict[str, str]:
    """La fecha, las versiones y las huellas del minimodelo y de los datos: de dónde sale un
    resultado guardado."""
    found = [f for folder in DATA for f in sorted(data_path(folder).glob("*.*"))]
    files = [file for file in found if file.suffix != ".md"]  # lo que solo explica no decide
    data = hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
    return {
        "fecha": date.today().isoformat(),
        "curso": __version__,
        "python": platform.python_version(),
        "minimodelo": sha256(data_path("mini", "model.safetensors")),
        "datos": data,
    } | {package: version(package) for package in PACKAGES}


def code_hash(function: Callable) -> str:
    """La huella del código que decide un resultado, sin comentarios ni textos de ayuda."""
    root = course_root()
    files = [root / "course_lib" / f"{name}.py" for name in MODULES]
    names = ["experiments", "factores", "pretraining", "reglas", "rivales", "scenes"]
    names.append(function.__module__.split(".")[-1])
    files += [root / "taller" / f"{name}.py" for name in names]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    for node in (node for tree in trees for node in ast.walk(tree)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and isinstance(body[0], ast.Expr) and len(body) > 1:
            if isinstance(body[0].value, ast.Constant):
                body.pop(0)  # un docstring
    return hashlib.sha256("".join(map(ast.dump, trees)).encode()).hexdigest()


def hypotheses_commit() -> str:
    """El *commit* que dejó las hipótesis como están.

    Raises:
        ValueError: si tienen cambios sin registrar, o no hay historia que lo diga.
    """
    name = ("--", HYPOTHESES.name)
    try:
        changed = git("status", "--porcelain", *name)
        commit = git("log", "-1", "--format=%H", *name)
    except (OSError, subprocess.CalledProcessError):
        changed, commit = "", ""
    if changed or not commit:
        raise ValueError(
            "Las predicciones van antes que las medidas: registra data/experimentos/hipotesis.toml "
            "en un commit y vuelve a ejecutar la orden."
        )
    return commit


def check_committed() -> None:
    """Lo que decide un resultado ha de estar en el *commit* que se guarda con él.

    Raises:
        ValueError: si hay cambios sin registrar en el código o en los datos.
    """
    root = course_root()
    places = [root / "course_lib", root / "taller", *(data_path(name) for name in DATA)]
    changed = git("status", "--porcelain", "--", *map(str, places))
    if changed:
        raise ValueError(
            f"Hay cambios sin registrar ({changed.splitlines()[0].strip()}…): haz un commit antes, "
            "para que lo guardado diga con qué código se hizo."
        )


def model_of(commit: str) -> Path:
    """La carpeta con el minimodelo que había en `data/mini` en un *commit* de este repositorio."""
    folder = output_path("minimodelos", commit)
    if not (folder / "data" / "mini" / "model.safetensors").exists():
        command = ["git", "-C", str(course_root()), "archive", commit, "data/mini"]
        try:
            packed = subprocess.run(command, capture_output=True, check=True).stdout
        except subprocess.CalledProcessError as error:
            raise ValueError(
                f"El commit {commit} no está en esta copia del repositorio: tráelo con git fetch."
            ) from error
        tarfile.open(fileobj=BytesIO(packed)).extractall(folder, filter="data")
    return folder / "data" / "mini"


def git(*args: str) -> str:
    """Lo que contesta git, en la carpeta de los experimentos."""
    command = ["git", "-C", str(HYPOTHESES.parent), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def leaked(run, tokenizer, exam: Exam, names: Sequence[str] = ()) -> int:
    """Cuántas cosas del examen, o de las charlas de prueba, hay en lo que un ajuste ha visto.

    Args:
        run: el ajuste; se mira lo que recibió su `Trainer`, descodificado.
        names: otros nombres que tampoco debe traer.
    """
    rows = [*run.trainer.train_dataset, *(run.trainer.eval_dataset or ())]
    texts = [tokenizer.decode(row["input_ids"]) for row in rows]
    asked = [*exam.facts, *exam.yes_no, *exam.reading, *exam.chained, *exam.unknown]
    turns = [turn for d in shipped_dialogues("test") for turn in d.turns]
    named = sum(any(re.search(rf"\b{name}\b", text) for text in texts) for name in names)
    return len(leaks(asked + turns, texts)) + named


def store(
    path: Path, result: dict, answers: Mapping[str, dict] | None = None, code: str = ""
) -> None:
    """Guarda un resultado, con su procedencia, donde las lecciones lo leen; y las respuestas de
    cada corrida, tal cual, al lado, en `.jsonl.gz`, para quien quiera volver a corregirlas.

    Args:
        result: con sus «corridas»; las medidas de cada una, como en `tables.Tally`.
        code: la huella del código con que se hicieron, de `code_hash`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    where = {"hipótesis": hypotheses_commit(), "codigo": code}
    table = {"procedencia": provenance() | where} | result
    groups: list[list[str]] = []  # los conglomerados se repiten: cada lista, una sola vez
    for measures in (run["medidas"] for run in result["corridas"]):
        for name, (ids, *counted) in measures.items():
            if ids not in groups:
                groups.append(ids)
            measures[name] = [groups.index(ids), *counted]
    replace_file(path, _one_line_each(table | {"grupos": groups}))
    if answers:
        rows = [json.dumps({"corrida": n} | a, ensure_ascii=False) for n, a in answers.items()]
        packed = gzip.compress("\n".join(rows).encode(), mtime=0)  # sin hora: siempre igual
        replace_file(path.with_suffix(".jsonl.gz"), packed)


def _read(path: Path, recipe: dict) -> dict | None:
    if not path.exists():
        return None
    saved = from_json(path.read_text(encoding="utf-8"))
    result = saved.pop("resultado")
    return result if saved == json.loads(json.dumps(recipe)) else None


def _one_line_each(table: dict) -> str:
    """El JSON de una tabla, con cada corrida en su renglón: ocupa poco y `git diff` se lee."""

    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    parts = []
    for key, value in table.items():
        rows = ",\n".join(map(dump, value)) if isinstance(value, list) else None
        parts.append(f"{dump(key)}: " + (dump(value) if rows is None else f"[\n{rows}\n]"))
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _one_quiet_thread() -> None:
    import torch

    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Si matan al proceso que reparte, este no se queda trabajando para nadie."""
    parent_process().join()
    os._exit(1)
