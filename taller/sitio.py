"""El sitio del curso: las lecciones, como páginas que se leen y se buscan sin red.

    python -m taller.sitio [--salida CARPETA]

Los cuadernos llevan sus resultados, así que no se ejecutan: se preparan y se los lee Sphinx, con
las páginas de `taller/pagina`. Los tres modelos con los que se juega en la portada los pone
`taller.navegador`. Lo hecho cabe en una carpeta y se abre también con doble clic.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from course_lib.cli import new_parser, run_safely
from course_lib.lessons import course_root, find_notebooks, read_notebook
from course_lib.pages import REMOTE_IMAGE
from taller import navegador
from taller.publishing import pack

PAGES = Path(__file__).with_name("pagina")
NOT_SERVED = shutil.ignore_patterns(navegador.STAMP)


def prepared(notebook):
    """El cuaderno, listo para la página: plegadas las celdas que lo están en Jupyter, cada figura
    con su texto alternativo y sin imágenes de fuera. Es también el que se descarga: ni el código
    ni las salidas cambian."""
    for cell in notebook.cells:
        if cell.cell_type != "code":  # el distintivo «Abrir en Colab» se pediría a la red
            cell.source = REMOTE_IMAGE.sub(r"\1", cell.source)
            continue
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        said = [o.get("metadata", {}).get("image/png", {}).get("alt") for o in cell.outputs]
        if alt := next(filter(None, said), cell.metadata.get("alt")):
            cell.metadata["mystnb"] = {"image": {"alt": alt}}
    return notebook


def glossary(text: str) -> dict[str, dict[str, str]]:
    """De cada palabra de `glosario.md`, en minúsculas, lo que dice y su ancla en la página.

    >>> glossary("lote (*batch*)\\n  Lo que va junto.\\n")
    {'lote': {'dice': 'Lo que va junto.', 'ancla': 'lote-batch'}}
    """
    found = {}
    for term, said in re.findall(r"^(\w.*|\*\w.*)\n {2}(.+)$", text, re.MULTILINE):
        name = re.sub(r" \(.*\)|\*", "", term).lower()
        plain = unicodedata.normalize("NFKD", term).encode("ascii", "ignore").decode()
        anchor = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")  # como las hace Sphinx
        found[name] = {"dice": said.replace("*", ""), "ancla": anchor}
    return found


def write_source(folder: Path, notebooks: Sequence[Path]) -> None:
    """Escribe en `folder` lo que lee Sphinx: las páginas, el glosario y los cuadernos."""
    import nbformat

    shutil.copytree(PAGES, folder, dirs_exist_ok=True)
    terms = glossary((folder / "glosario.md").read_text(encoding="utf-8"))
    script = f"window.GLOSARIO = {json.dumps(terms, ensure_ascii=False)};\n"
    (folder / "_static" / "palabras.js").write_text(script, encoding="utf-8")
    for path in notebooks:
        nbformat.write(prepared(read_notebook(path)), folder / path.name)


def build(root: Path, output: Path) -> None:
    """Hace en `output` el sitio del curso que hay en `root`; un aviso de Sphinx es un error."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "fuente")
        write_source(source, find_notebooks(folder=root / "notebooks"))
        shutil.copytree(navegador.write(), source / "_static" / "modelos", ignore=NOT_SERVED)
        pack(root, source).rename(source / "curso-ajuste-fino.zip")
        sphinx = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--builder=html"]
        subprocess.run([*sphinx, str(source), str(output)], check=True)


def main() -> None:
    """Hace el sitio y dice dónde está."""
    parser = new_parser("python -m taller.sitio", __doc__.split("\n")[0])
    parser.add_argument("--salida", type=Path, default=course_root() / "salida" / "sitio")
    output = parser.parse_args().salida
    build(course_root(), output)
    print(f"El sitio está en {output / 'index.html'}")


if __name__ == "__main__":
    sys.exit(run_safely(main))
