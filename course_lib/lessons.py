"""Ejecuta los cuadernos de principio a fin y deja cada uno, ya ejecutado, listo para leer."""

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.notebook_files import clean_notebook, read_notebook, to_html

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
NO_PROGRESS_BARS = {  # que en un cuaderno ejecutado quedarían grabadas a medias
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
}
DEAD_KERNEL = (
    "se cerró de golpe, quizá por falta de memoria; un entrenamiento a medias sigue al repetir "
    "la orden"
)
SCOREBOARD_FILE = "marcador.json"


@dataclass(frozen=True)
class LessonRun:
    """Lo que dio de sí la ejecución de un cuaderno."""

    name: str
    seconds: float
    html: Path
    error: str | None = None


def find_notebooks(selectors: Sequence[str] = (), folder: Path | None = None) -> list[Path]:
    """Encuentra las lecciones pedidas, en el orden del curso.

    Args:
        selectors: números («3», «03»), nombres («03_construir_el_dataset») o rutas de cuadernos;
            vacío, todas las lecciones.
        folder: la carpeta de las lecciones; por omisión, `notebooks/` del repositorio.

    Raises:
        FileNotFoundError: si no está la carpeta, o si está vacía.
        ValueError: si algo de lo pedido no corresponde a una lección.
    """
    folder = folder or course_root() / "notebooks"
    lessons = sorted(folder.glob("[0-9]*.ipynb"))
    by_name = [text for text in selectors if not Path(text).is_file()]
    if not lessons and (by_name or not selectors):
        raise FileNotFoundError(
            f"No hay lecciones en {folder}: ejecuta la orden desde la carpeta del repositorio."
        )
    if not selectors:
        return lessons
    return sorted({_find_notebook(text, lessons) for text in selectors}, key=lambda p: p.name)


def _find_notebook(selector: str, lessons: list[Path]) -> Path:
    if Path(selector).is_file():
        return Path(selector).resolve()
    for path in lessons:
        number = path.stem.split("_")[0]
        same_number = selector.isdigit() and int(selector) == int(number)
        if same_number or selector in (path.stem, path.name):
            return path
    names = ", ".join(path.stem for path in lessons)
    raise ValueError(f"No hay ninguna lección «{selector}»: las que hay son {names}.")


def course_root() -> Path:
    """La carpeta del repositorio: la actual, si contiene las lecciones, o la de este código."""
    here = Path.cwd()
    return here if (here / "notebooks").is_dir() else Path(__file__).resolve().parents[1]


def run_notebooks(
    paths: Sequence[Path], output_dir: Path, save_in_place: bool = False
) -> list[LessonRun]:
    """Ejecuta cuadernos, uno tras otro, cada uno en su propio núcleo (*kernel*) y en su carpeta.

    De cada uno escribe en `output_dir` el cuaderno ejecutado y su página HTML, que se lee sin red;
    también del que falla, hasta donde llegó. Con el primero que falla, se detiene.

    Args:
        paths: los cuadernos, en orden.
        output_dir: carpeta de resultados; se crea si no existe.
        save_in_place: además, actualiza con sus salidas los cuadernos de origen que no fallan.

    Returns:
        Un resultado por cuaderno ejecutado; solo el último puede llevar error.
    """
    import nbformat

    output_dir.mkdir(parents=True, exist_ok=True)
    runs: list[LessonRun] = []
    for path in paths:
        notebook = read_notebook(path)
        start = time.perf_counter()
        try:
            error = _execute(notebook, path, output_dir)
        finally:  # también si se interrumpe: lo ejecutado hasta aquí no se pierde
            clean_notebook(notebook)
            nbformat.write(notebook, output_dir / path.name)
            html = (output_dir / path.name).with_suffix(".html")
            html.write_text(to_html(notebook, path), encoding="utf-8")
        runs.append(LessonRun(path.stem, time.perf_counter() - start, html, error))
        if error:
            break
        if save_in_place:
            nbformat.write(notebook, path)
    return runs


def _execute(notebook, path: Path, output_dir: Path) -> str | None:
    """Ejecuta el cuaderno en su sitio; devuelve una frase en español si una celda falla."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError
    from tqdm import tqdm

    code_cells = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    current = 0
    offline = _track_name(notebook) == "mini"  # las demás rutas descargan su modelo

    with tqdm(total=len(code_cells), desc=path.stem, unit="celda", file=sys.stderr) as bar:

        def start_cell(cell, cell_index):
            nonlocal current
            if cell.cell_type == "code":
                current = code_cells.index(cell_index)
                bar.update(current - bar.n)

        client = NotebookClient(
            notebook,
            timeout=None,
            kernel_name="python3",
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
            extra_arguments=["--log-level=40"],  # del núcleo, solo sus errores
            resources={"metadata": {"path": str(path.resolve().parent)}},
            on_cell_start=start_cell,
        )
        try:
            own = {"CURSO_SALIDA": str(output_dir.resolve())} | NO_PROGRESS_BARS
            client.execute(env=os.environ | own | (OFFLINE if offline else {}))
        except (CellControlSignal, DeadKernelError) as error:
            name = getattr(error, "ename", "el núcleo")
            detail = getattr(error, "evalue", DEAD_KERNEL).strip() or "sin más explicación"
            first_line = notebook.cells[code_cells[current]].source.strip().split("\n")[0]
            return (
                f"La lección {path.stem} se detuvo en la celda de código {current + 1} de "
                f"{len(code_cells)}, la que empieza «{first_line}»: {name}: {detail}"
            )
        bar.update(len(code_cells) - bar.n)
    return None


def _track_name(notebook) -> str:
    """La ruta con que correrá: la escrita en la primera celda o, si no, la de `CURSO_RUTA`."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    if "own_track(" in code:
        return "propia"
    written = re.search(r'^RUTA = "(\w+)"', code, re.MULTILINE)
    return written[1] if written else os.environ.get("CURSO_RUTA") or "mini"


def peak_memory_gib() -> float | None:
    """El máximo de memoria residente de un proceso hijo ya terminado, en GiB; None en Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # macOS cuenta en bytes


def read_scoreboard(output_dir: Path, since: float) -> list[dict]:
    """Lee el marcador que deja la lección 05 en la carpeta de resultados, si es de esta ejecución.

    Args:
        output_dir: la carpeta de resultados.
        since: hora de comienzo (`time.time()`); un marcador anterior no se enseña como nuevo.

    Returns:
        Las filas del marcador, o una lista vacía si no lo hay.
    """
    path = output_dir / SCOREBOARD_FILE
    if not path.is_file() or path.stat().st_mtime < since:
        return []
    return json.loads(path.read_text(encoding="utf-8"))
