"""Leer un cuaderno, dejarlo limpio y convertirlo en una página HTML que se abre sin red."""

import copy
import json
import re
from html import escape
from pathlib import Path

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_PROGRESS_BAR = re.compile(r"\r|\d+%\|")
_REMOTE_IMAGE = re.compile(r"!\[([^\]]*)\]\(https?://[^)]*\)")
_VOLATILE_METADATA = ("ExecuteTime", "execution", "executionInfo", "id", "outputId")
_NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read_notebook(path: Path):
    """Lee un cuaderno y da a las celdas sin identificador uno que depende de su posición.

    Raises:
        ValueError: si el archivo no es un cuaderno de Jupyter en formato 4.
    """
    import nbformat

    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        for number, cell in enumerate(raw["cells"], start=1):
            cell.setdefault("id", f"celda-{number:03d}")
        raw["nbformat_minor"] = max(5, raw["nbformat_minor"])  # las celdas con id son del 4.5
        notebook = nbformat.reads(json.dumps(raw), as_version=4)
        nbformat.validate(notebook)
    except (ValueError, KeyError, TypeError, nbformat.ValidationError) as error:
        detail = str(error).split("\n")[0]
        raise ValueError(f"{path} no es un cuaderno de Jupyter en formato 4: {detail}.") from error
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


def to_html(notebook, path: Path) -> str:
    """Convierte un cuaderno en una página HTML que no pide nada a la red.

    Args:
        notebook: el cuaderno ejecutado.
        path: de dónde viene: da el título y la carpeta de sus imágenes.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        embed_images=True,
        language_code="es",
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        jupyter_widgets_base_url="",
        html_manager_semver_range="",
    )
    metadata = {"name": path.stem, "path": str(path.resolve().parent)}
    page = _with_described_images(notebook)
    body, _ = exporter.from_notebook_node(page, resources={"metadata": metadata})
    # Lo que la plantilla pediría a la red: guiones sin dirección y Mermaid, que no usamos.
    scripts = r'<script src="">\s*</script>|<script type="module">.*?mermaid.*?</script>'
    return re.sub(scripts, "", body, flags=re.DOTALL)


def _with_described_images(notebook):
    """Copia del cuaderno en la que cada figura lleva su texto alternativo, que nbconvert olvida.

    De una imagen remota, como el distintivo «Abrir en Colab», queda solo su texto, y de una celda
    plegada, su primera línea.
    """
    page = copy.deepcopy(notebook)
    for cell in page.cells:
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.source = cell.source.split("\n")[0]  # plegada: basta su título
        if cell.cell_type == "markdown":
            cell.source = _REMOTE_IMAGE.sub(r"\1", cell.source)
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            alt = image_alt(cell, output)
            if png and alt:
                image = f'<img src="data:image/png;base64,{png.strip()}" alt="{escape(alt)}">'
                output.data = {"text/html": image}
    return page


def image_alt(cell, output) -> str:
    """El texto alternativo de una figura: el de la salida o, si falta, el de la celda."""
    in_output = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    return in_output or cell.metadata.get("alt", "")
