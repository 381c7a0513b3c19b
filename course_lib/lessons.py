"""Los cuadernos: la copia en que escribe cada estudiante, y ejecutarlos y dejarlos para leer."""

import asyncio
import json
import os
import re
import sys
import textwrap
import time
from collections import namedtuple
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from course_lib import replace_file, shorten
from course_lib.pages import to_html
from course_lib.tables import from_json

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
# Una barra quedaría grabada a medias en el cuaderno ejecutado.
NO_BARS = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")
# Quien ejecuta un cuaderno entero con `curso ejecutar` no ha hecho sus ejercicios.
NO_PROGRESS = "CURSO_SIN_PROGRESO"
DEAD_KERNEL = "se cerró de golpe, quizá por falta de memoria; al repetir, un ajuste a medias sigue"
SCOREBOARD_FILE = "resultados.json"
MAX_BYTES = 100_000_000  # de un cuaderno, con sus salidas
_CHECK = re.compile(r"^check\(.*", re.MULTILINE | re.DOTALL)  # hasta el final de la celda
SET_ASIDE = "# Tu respuesta a un ejercicio que ha cambiado de número o ya no está en el curso."
DRIVE = "/content/drive/MyDrive"  # donde Colab pone tu Drive, si lo activas


def prepare(track: str = "", examples: str | int = "") -> None:
    """Lo que hace la primera celda de cada lección, una vez instalado el curso.

    En Colab, con Drive activado, lo que se entrene se guarda en él y sobrevive a la sesión.

    Args:
        track: la ruta, «mini» o «gpt2»; vacía, la de `CURSO_RUTA`.
        examples: cuántos ejemplos de cada cosa como mucho; vacío, lo que diga `CURSO_EJEMPLOS`.
    """
    os.environ.update({"CURSO_RUTA": track} if track else {})
    os.environ.update({"CURSO_EJEMPLOS": str(examples)} if examples != "" else {})
    # Con otro programa en marcha, los hilos que esperan girando alargan varias veces cada celda.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if Path(DRIVE).is_dir():
        os.environ.setdefault("CURSO_SALIDA", f"{DRIVE}/curso-ajuste-fino/salida")


# Lo que dio de sí un cuaderno; sin error, `None`.
LessonRun = namedtuple("LessonRun", "name seconds html error")


def find_notebooks(selectors: Sequence[str] = (), folder: Path | None = None) -> list[Path]:
    """Encuentra las lecciones pedidas, en el orden del curso; todas, si no se pide ninguna.

    Args:
        selectors: números («3», «03»), nombres («03_construir_el_dataset») o rutas de cuadernos.
        folder: la carpeta de las lecciones; por omisión, `notebooks/` del repositorio.
    """
    folder = folder or course_root() / "notebooks"
    lessons = sorted(folder.glob("[0-9]*.ipynb"))
    found = {Path(text).resolve() for text in selectors if Path(text).is_file()}
    named = [text for text in selectors if not Path(text).is_file()]
    if not lessons and (named or not selectors):
        raise FileNotFoundError(
            f"No hay lecciones en {folder}: ejecuta la orden desde la carpeta del repositorio."
        )
    for text in named:
        known = {path: (path.stem, path.name, path.stem.split("_")[0]) for path in lessons}
        matching = {path for path, names in known.items() if text.zfill(2) in names}
        if not matching:
            names = ", ".join(path.stem for path in lessons)
            raise ValueError(f"No hay ninguna lección «{shorten(text)}»: las que hay son {names}.")
        found |= matching
    return sorted(found, key=lambda path: path.name) if selectors else lessons


def course_root() -> Path:
    """La carpeta del repositorio: la actual, si contiene las lecciones, o la de este código."""
    here = Path.cwd()
    return here if (here / "notebooks").is_dir() else Path(__file__).resolve().parents[1]


def student_copies(root: Path | None = None) -> Path:
    """Pone al día la copia de las lecciones en que escribe el estudiante, sin perder nada suyo.

    Está en `mis_cuadernos/`, que git no mira: así se puede actualizar el curso. Lo que decía el
    curso la última vez se guarda en su carpeta `.curso`, para saber qué ha cambiado quién.

    Returns: la carpeta de las copias.

    Raises:
        ValueError: si una copia ya no es un cuaderno; se queda como está.
    """
    import nbformat

    root = root or course_root()
    copies = root / "mis_cuadernos"
    (copies / ".curso").mkdir(parents=True, exist_ok=True)
    for path in find_notebooks(folder=root / "notebooks"):
        mine, before = copies / path.name, copies / ".curso" / path.name
        if mine.exists() and before.exists() and before.read_bytes() == path.read_bytes():
            continue
        notebook = read_notebook(path)
        if mine.exists():
            old = read_notebook(before) if before.exists() else None
            notebook = with_answers(notebook, read_notebook(mine), old)
        replace_file(mine, nbformat.writes(notebook) + "\n")
        replace_file(before, path.read_bytes())
    for style in (root / "notebooks").glob("*.css"):  # el de proyectarlas
        replace_file(copies / style.name, style.read_bytes())
    return copies


def with_answers(course, mine, before=None):
    """El cuaderno del curso, con las celdas que el estudiante cambió o añadió a su copia, y sin las
    que quitó.

    La respuesta a un ejercicio que ha cambiado de número o ya no está se guarda aparte, sin su
    `check`, que hablaría de otro.

    Args:
        before: el cuaderno del curso del que salió esa copia; si no se sabe, es el de ahora.
    """
    was = {cell.id: cell.source for cell in (before or course).cells}
    now = {cell.id: cell.source for cell in course.cells}
    taken = {cell.id for cell in mine.cells}
    gone = was.keys() - taken if before else ()
    for cell in mine.cells:
        asked = _CHECK.findall(was.get(cell.id, ""))
        if asked and cell.source != was[cell.id] and asked != _CHECK.findall(now.get(cell.id, "")):
            kept = _CHECK.sub(lambda found: textwrap.indent(found[0], "# "), cell.source)
            cell.source = f"{SET_ASIDE}\n{kept}"
            while cell.id in taken:
                cell.id += "-antes"
            taken.add(cell.id)
    own = {cell.id: cell for cell in mine.cells if cell.source != was.get(cell.id)}
    course.cells = [own.pop(cell.id, cell) for cell in course.cells if cell.id not in gone]
    previous = None
    for cell in mine.cells:  # las que quedan en `own`, detrás de la que tenían delante y sigue
        ids = [None, *(other.id for other in course.cells)]
        if cell.id in own:
            course.cells.insert(ids.index(previous), cell)
        if cell.id in own or cell.id in ids:
            previous = cell.id
    return course


def run_notebooks(
    paths: Sequence[Path], output_dir: Path, save_in_place: bool = False
) -> list[LessonRun]:
    """Ejecuta cuadernos, uno tras otro, cada uno en su propio núcleo (*kernel*) y en su carpeta.

    De cada uno escribe en `output_dir` el cuaderno ejecutado y su página HTML, que se lee sin red;
    también del que falla, hasta donde llegó; del que se interrumpe, solo el cuaderno. Con el
    primero que falla, se detiene: solo el último resultado puede llevar error.

    Args:
        save_in_place: además, actualiza con sus salidas los cuadernos de origen que no fallan.
    """
    import nbformat

    homes = {course_root() / "notebooks", course_root() / "mis_cuadernos"}
    homes |= {path.resolve().parent for path in paths}
    same = output_dir.is_dir() and any(map(output_dir.samefile, filter(Path.is_dir, homes)))
    if same or len({path.stem.lower() for path in paths}) < len(paths):
        raise ValueError(
            f"Lo ejecutado pisaría un cuaderno: en {output_dir} están los originales, o dos se "
            "llaman igual. Elige otra carpeta con --salida, o ejecútalos por separado."
        )
    output_dir.mkdir(parents=True, exist_ok=True)
    runs: list[LessonRun] = []
    for path in paths:
        notebook = read_notebook(path)
        start = time.perf_counter()
        try:
            error = _execute(notebook, path, output_dir)
        finally:  # también si se interrumpe: lo ejecutado hasta aquí no se pierde
            clean_notebook(notebook)
            content = nbformat.writes(notebook) + "\n"
            replace_file(output_dir / path.name, content)
            html = (output_dir / path.name).with_suffix(".html")
            html.unlink(missing_ok=True)  # sería la de otra vez, y hacerla tarda segundos
        replace_file(html, to_html(notebook, path))
        runs.append(LessonRun(path.stem, time.perf_counter() - start, html, error))
        if error:
            break
        if save_in_place:
            replace_file(path, content)
    return runs


def _execute(notebook, path: Path, output_dir: Path) -> str | None:
    """Ejecuta el cuaderno en su sitio; devuelve una frase en español si una celda falla."""
    from nbclient import NotebookClient, client, exceptions
    from tqdm import tqdm

    # La suya, sin «^», tarda el cuadrado de lo que mide cada renglón.
    client._RGX_CARRIAGERETURN = re.compile(r"^.*\r(?=[^\n])", re.MULTILINE)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in codes:  # si se queda a medias, que no parezca hecho lo que no se hizo
        cell.outputs, cell.execution_count = [], None
    started = []
    with tqdm(total=len(codes), desc=path.stem, unit="celda", file=sys.stderr) as bar:

        def start(cell, cell_index):
            bar.update(len(started) - bar.n)
            started.append(cell)

        runner = NotebookClient(
            notebook,
            timeout=None,
            kernel_name="python3",
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
            extra_arguments=["--log-level=40"],  # del núcleo, solo sus errores
            resources={"metadata": {"path": str(path.resolve().parent)}},
            on_cell_execute=start,
        )
        on = [*NO_BARS, NO_PROGRESS]
        on += OFFLINE if _track_name(notebook) == "mini" else ()  # las demás descargan
        own = {"CURSO_SALIDA": str(output_dir.resolve())} | dict.fromkeys(on, "1")
        try:
            _run_apart(runner, os.environ | own)
        except (exceptions.CellControlSignal, RuntimeError) as error:  # el núcleo, si no arranca
            name = getattr(error, "ename", "el núcleo")
            detail = shorten(getattr(error, "evalue", DEAD_KERNEL), 500) or "sin más explicación"
            first_line = shorten(started[-1].source.strip().split("\n")[0] if started else "")
            return (
                f"La lección {path.stem} se detuvo en la celda de código {len(started)} de "
                f"{len(codes)}, la que empieza «{first_line}»: {name}: {detail}"
            )
        bar.update(len(codes) - bar.n)
    return None


def _run_apart(client, env) -> None:
    """Ejecuta las celdas en otro hilo: en el principal, nbclient se quedaría con Ctrl-C."""
    running: Future = Future()

    async def execute() -> None:
        running.set_result(asyncio.current_task())
        try:
            await client.async_execute(env=env)
        finally:
            if client.km and client.km.has_kernel:  # se cortó mientras arrancaba
                await client.km.shutdown_kernel(now=True)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: asyncio.run(execute()))
        try:
            while not done.done():  # con plazo: en Windows no se puede interrumpir una espera
                wait([done], timeout=0.5)
        except KeyboardInterrupt:
            client.shutdown_kernel = "immediate"
            running.result().get_loop().call_soon_threadsafe(running.result().cancel)
            raise
    done.result()


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
    """Las filas de la tabla de resultados que deja la lección 05; ninguna, si no la hay o es
    anterior a la hora `since`."""
    path = output_dir / SCOREBOARD_FILE
    fresh = path.is_file() and path.stat().st_mtime >= since
    return from_json(path.read_text(encoding="utf-8")) if fresh else []


_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_PROGRESS_BAR = re.compile(r"\r|\d%\|")
_VOLATILE_METADATA = ("ExecuteTime", "execution", "executionInfo", "id", "outputId")
_NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read_notebook(path: Path):
    """Lee un cuaderno y da a las celdas sin identificador uno que depende de su posición."""
    import nbformat

    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} pasa de {MAX_BYTES // 10**6} MB: borra las salidas que sobren.")
    data = path.read_bytes()
    try:
        raw = json.loads(data.decode("utf-8-sig"))
        for number, cell in enumerate(raw["cells"], start=1):
            cell.setdefault("id", f"celda-{number:03d}")
        raw["nbformat_minor"] = max(5, raw["nbformat_minor"])  # las celdas con id son del 4.5
        notebook = nbformat.reads(json.dumps(raw), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # un archivo roto lo puede estar de cualquier manera
        where = f", o está roto en la línea {error.lineno}" if hasattr(error, "lineno") else ""
        raise ValueError(f"{path} no es un cuaderno de Jupyter en formato 4{where}.") from error
    return notebook


def clean_notebook(notebook) -> None:
    """Deja solo lo que no cambia entre ejecuciones, para que `git diff` enseñe lo que importa.

    Quita barras de progreso, marcas de tiempo y estado de los controles interactivos (*widgets*),
    que sin su núcleo no funcionan: de ellos queda su texto.
    """
    notebook.metadata.clear()
    notebook.metadata.update(_NOTEBOOK_METADATA)
    for cell in notebook.cells:
        for key in _VOLATILE_METADATA:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            for output in cell.outputs:
                output.get("data", {}).pop(_WIDGET_VIEW, None)
            cell.outputs = [output for output in cell.outputs if not _is_noise(output)]


def _is_noise(output) -> bool:
    if output.output_type == "stream":
        return output.name == "stderr" and bool(_PROGRESS_BAR.search(output.text))
    if output.output_type != "display_data":
        return False
    only_text = set(output.data) <= {"text/plain"}  # la barra de tqdm, ya sin su widget, o nada
    return only_text and bool(_PROGRESS_BAR.search(output.data.get("text/plain", "0%|")))
