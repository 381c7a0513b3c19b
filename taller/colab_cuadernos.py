"""Ejecuta los cuadernos de una carpeta con el Python que llama, y cuenta una línea de cada uno.

    python taller/colab_cuadernos.py CARPETA

No usa el curso, que instala la primera celda de cada cuaderno: solo lo que Colab trae.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError

WIDGET = "application/vnd.jupyter.widget-view+json"
# Lo que cambiaría el curso o dejaría ver el del repositorio; en Colab no está.
NOT_IN_COLAB = ("PYTHONPATH", "VIRTUAL_ENV")


def run(path: Path) -> bool:
    """Ejecuta un cuaderno en su carpeta y dice cómo fue; devuelve si llegó al final."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_IN_COLAB and not name.startswith("CURSO_")
    }
    # Como en Colab, `python` es el de aquí, también para lo que lance una celda.
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    start = time.perf_counter()
    error = ""
    try:
        client.execute(env=kept)
    except (CellControlSignal, DeadKernelError) as failure:
        name = getattr(failure, "ename", type(failure).__name__)
        error = f"\n  {name}: {getattr(failure, 'evalue', failure)}"
    seconds = time.perf_counter() - start
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    done = sum(1 for cell in cells if cell.execution_count)
    widgets = [
        output.data for cell in cells for output in cell.outputs if WIDGET in output.get("data", {})
    ]
    mute = sum("text/plain" not in data for data in widgets)
    if mute and not error:
        error = f"\n{mute} controles no tienen texto que los sustituya."
    print(
        f"{path.stem:<28}{seconds:6.1f} s  {done:>3} de {len(cells):>3} celdas  "
        f"{len(widgets):>2} controles  {'falló' if error else 'bien'}{error}",
        flush=True,
    )
    return not error


if __name__ == "__main__":
    # Todos, aunque uno falle: la lista de lo que falla es lo que se viene a buscar.
    results = [run(path) for path in sorted(Path(sys.argv[1]).glob("[0-9]*.ipynb"))]
    raise SystemExit(not (results and all(results)))
