"""El curso, fuera de aquí: su dirección en los cuadernos, en un zip o en el zip de una clase.

Publicar es sustituir unas pocas frases en el texto de los archivos, sin releerlos como JSON: así
`git diff` enseña solo esas líneas y retirarlas devuelve los mismos bytes.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

from course_lib import __version__, replace_file, shorten
from course_lib.lessons import find_notebooks, read_notebook
from taller import soluciones

SETUP_CELL = "preparar-curso"  # el `id` de la celda que instala el curso, igual en cada cuaderno
FOOT_CELL = "pie"  # la que lleva a la lección anterior, al índice y a la siguiente
BADGE = "[![Abrir en Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
# Los cuadernos y el paquete, de una misma versión con su etiqueta: la rama principal se mueve.
COLAB = f"https://colab.research.google.com/github/{{repository}}/blob/v{__version__}/notebooks/{{name}}"
ARCHIVE = (
    f"https://github.com/{{repository}}/releases/download/v{__version__}/"
    f"curso_ajuste_fino-{__version__}-py3-none-any.whl"
)

# Lo que dice un archivo antes de publicar y después; `{link}` es el distintivo con su enlace.
_NOTEBOOK_SENTENCES = (
    "En Colab, la celda siguiente instala el curso desde su paquete (`.whl`): arrastra antes "
    "`curso_ajuste_fino-….whl` al panel «Archivos», o activa ahí el Drive donde lo tengas.",
    "{link} La celda siguiente instala el curso si hace falta.",
)
_README_SENTENCES = (
    "Esta copia no tiene todavía un repositorio desde el que instalarse.",
    "Esta copia se instala en cualquier parte con `pip install {archive}`.",
)
_BADGE_LINK = re.escape(BADGE) + r"\([^)]*\)"
_README_ROW = re.compile(r"\]\(notebooks/([^)/]+\.ipynb)\)(?: " + _BADGE_LINK + ")?")
# En la celda que instala el curso, tras buscar el paquete: quejarse si no está, o bajarlo. En el
# JSON de un cuaderno, las comillas del código llevan barra.
_CELL_LINES = (
    'assert found, \\"Falta el curso: sube su paquete, curso_ajuste_fino-….whl, al panel '
    '«Archivos».\\"',
    'found += [\\"{archive}\\"]',
)
_REPOSITORY = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/(?!\.{1,2}$)(?!.*\.git$)[\w.-]{1,100}", re.ASCII
)

READ_ME = """¿Cuándo conviene el ajuste fino?: el curso, en una carpeta

Contiene los cuadernos y el paquete ({wheel}), de donde se instala la biblioteca del
curso con sus datos y su minimodelo. No hace falta nada más.

En Colab, con Drive
1. Descomprime el zip en tu equipo y sube a tu Drive la carpeta «curso-ajuste-fino».
2. En Drive, abre un cuaderno con Google Colaboratory.
3. A la izquierda, en el panel «Archivos», pulsa «Activar Drive».
4. Ejecuta las celdas en orden. La primera instala el curso.

En Colab, sin Drive
Colab da a cada cuaderno una máquina distinta: habría que subir el paquete a cada una, y el modelo
de una lección no llegaría a la siguiente. Abre solo «curso_completo.ipynb», que tiene todas las
lecciones, y arrastra el paquete al panel «Archivos» una vez. Antes de cerrar, descarga el cuaderno:
al acabar la sesión se pierde lo que haya en esa máquina.

En tu equipo
Hace falta Python 3.11 o posterior. En esta carpeta, en Linux o macOS:
    python3 -m venv .venv
    .venv/bin/pip install {wheel} jupyterlab
    .venv/bin/jupyter lab
"""
_LEFT_OUT = shutil.ignore_patterns(".ipynb_checkpoints", ".doctrees", ".buildinfo*")
CLASS_READ_ME = """¿Cuándo conviene el ajuste fino?: todo para una clase, sin red

    paquetes/      lo que hay que instalar, para {platform} y Python {python}
    notebooks/     las lecciones
    sitio/         las lecciones como páginas, con los tres modelos: abre index.html
    diapositivas/  para proyectar: abre la de cada lección
    docencia/      para quien da la clase, con las soluciones; quítala de lo que repartas

Instalar, en esta carpeta y sin conexión (en Windows, .venv\\Scripts en vez de .venv/bin):
    python3 -m venv .venv
    .venv/bin/pip install --no-index --find-links paquetes "curso-ajuste-fino[lab]"
    .venv/bin/jupyter lab notebooks

Quien vaya a proyectar un cuaderno en marcha, que instale "curso-ajuste-fino[lab,clase]".

En otro sistema u otro Python sirven el sitio y las diapositivas, que solo piden un navegador.
"""


def publish(root: Path, repository: str | None) -> list[Path]:
    """Pone en los cuadernos y en el README la dirección del repositorio, o la quita.

    Args:
        root: la carpeta del repositorio.
        repository: «DUEÑO/REPOSITORIO» de GitHub; `None` retira lo publicado.

    Returns:
        Los archivos que han cambiado.

    Raises:
        ValueError: si `repository` no lo es, o si un archivo no tiene dónde poner la dirección.
        FileNotFoundError: si faltan las lecciones o el README.
    """
    if repository is not None and not _REPOSITORY.fullmatch(repository):
        raise ValueError(
            f"«{shorten(repository)}» no es un repositorio de GitHub: escribe DUEÑO/REPOSITORIO, "
            "como en «ana/curso-ajuste-fino»."
        )
    notebooks = find_notebooks(folder=root / "notebooks")
    readme = root / "README.md"
    if not readme.is_file():
        raise FileNotFoundError(f"No está {readme}: ejecuta la orden desde la carpeta del curso.")

    # Primero se compone todo: si a un archivo le falta su sitio, no queda ninguno a medias.
    new = {path: _stamp_notebook(_read(path), path, repository) for path in notebooks}
    new[readme] = _stamp_readme(_read(readme), readme, repository)
    changed = [path for path, text in new.items() if text != _read(path)]
    for path in changed:
        replace_file(path, new[path])
    return changed


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # sin tocar los fines de línea
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} no está en UTF-8: restáuralo con git.") from error


def _stamp_notebook(text: str, path: Path, repository: str | None) -> str:
    text = _swap_sentence(text, path, repository, _NOTEBOOK_SENTENCES)
    return _swap_sentence(text, path, repository, _CELL_LINES)


def _stamp_readme(text: str, path: Path, repository: str | None) -> str:
    text = _swap_sentence(text, path, repository, _README_SENTENCES)

    def row(match: re.Match) -> str:
        link = f" {badge(repository, match[1])}" if repository else ""
        return f"](notebooks/{match[1]}){link}"

    return _README_ROW.sub(row, text)


def _swap_sentence(text: str, path: Path, repository: str | None, sentences) -> str:
    before, after = sentences
    published = re.escape(after).replace(r"\{link\}", _BADGE_LINK).replace(r"\{archive\}", r"\S+")
    sentence = before
    if repository:
        archive = ARCHIVE.format(repository=repository)
        sentence = after.format(link=badge(repository, path.name), archive=archive)
    text, found = re.subn(f"{re.escape(before)}|{published}", lambda _: sentence, text)
    if found != 1:
        raise ValueError(f"{path} tiene que decir una vez, y solo una: «{before}»")
    return text


def badge(repository: str, name: str) -> str:
    """El distintivo «Abrir en Colab» de un cuaderno, en Markdown."""
    return f"{BADGE}({COLAB.format(repository=repository, name=name)})"


def all_in_one(paths):
    """Todas las lecciones en un cuaderno, sin resultados: una sola máquina y un solo núcleo."""
    whole, cells = None, []
    for path in paths:
        lesson = read_notebook(path)
        for cell in lesson.cells:
            if (whole and cell.id == SETUP_CELL) or cell.id == FOOT_CELL:
                continue
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            elif whole:
                cell.source = re.sub(
                    r"^.*celda siguiente (la )?instala.*\n?", "", cell.source, flags=re.M
                )
            cell.id = f"{path.stem[:2]}-{cell.id}"
            cells.append(cell)
        whole = whole or lesson
    whole.cells = cells
    return whole


def pack(root: Path, output_dir: Path) -> Path:
    """Construye el paquete y lo reúne con los cuadernos en un zip que no necesita repositorio.

    Args:
        root: la carpeta del repositorio.
        output_dir: dónde dejar el zip; se crea si no existe.

    Returns:
        La ruta del zip.

    Raises:
        FileNotFoundError: si `root` no es el repositorio del curso.
        ValueError: si el paquete no se puede construir.
    """
    import nbformat

    if not (root / "pyproject.toml").is_file():
        raise FileNotFoundError(
            f"En {root} no está el repositorio del curso: el zip se hace desde su carpeta."
        )
    notebooks = find_notebooks(folder=root / "notebooks")
    output_dir.mkdir(parents=True, exist_ok=True)
    path = output_dir / f"curso-ajuste-fino-{__version__}.zip"
    with tempfile.TemporaryDirectory() as folder:
        wheel = _build_wheels(root, Path(folder), "--no-deps", str(root))
        # Con una carpeta dentro, se descomprime ordenado y la primera celda la encuentra en Drive.
        with zipfile.ZipFile(made := BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
            for file in [wheel, *notebooks]:
                archive.write(file, f"curso-ajuste-fino/{file.name}")
            whole = nbformat.writes(all_in_one(notebooks))
            archive.writestr("curso-ajuste-fino/curso_completo.ipynb", whole)
            archive.writestr("curso-ajuste-fino/LÉEME.txt", READ_ME.format(wheel=wheel.name))
    replace_file(path, made.getvalue())
    return path


def pack_class(root: Path, output_dir: Path) -> Path:
    """Reúne en un zip lo que pide una clase sin red: qué instalar, cuadernos, sitio y diapositivas.

    Lo que hay que instalar es para el sistema y el Python que lo ejecutan.

    Raises:
        FileNotFoundError: si faltan el sitio o las diapositivas, que se hacen antes.
        ValueError: si no se pueden reunir los paquetes.
    """
    made = {name: root / "salida" / name for name in ("sitio", "diapositivas")}
    for name, folder in made.items():
        if not folder.is_dir():
            raise FileNotFoundError(f"Falta {folder}: hazlo antes con «make {name}».")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "curso-clase")
        wheels = home / "paquetes"
        wheels.mkdir(parents=True)
        constraints = ["-c", str(root / "constraints.txt")]
        _build_wheels(root, wheels, *constraints, f"{root}[lab,clase]")
        for name, source in {**made, "docencia": root / "docencia"}.items():
            shutil.copytree(source, home / name, ignore=_LEFT_OUT)
        soluciones.write(home / "docencia" / "soluciones.md")
        # Con los nombres del repositorio, para que valgan los enlaces de la guía.
        shutil.copytree(root / "notebooks", home / "notebooks", ignore=_LEFT_OUT)
        for name in ("LICENSE-CONTENIDO.md", "CONTRIBUIR.md", "taller/pagina/citar.md"):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, home / name)
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        said = CLASS_READ_ME.format(platform=sysconfig.get_platform(), python=python)
        (home / "LÉEME.txt").write_text(said, encoding="utf-8")
        output_dir.mkdir(parents=True, exist_ok=True)
        path = output_dir / f"curso-clase-{__version__}.zip"
        with tempfile.TemporaryDirectory(dir=output_dir) as aside:  # del mismo disco, y de una vez
            whole = shutil.make_archive(str(Path(aside, path.stem)), "zip", folder, home.name)
            return Path(whole).replace(path)


def _build_wheels(root: Path, folder: Path, *what: str) -> Path:
    """Deja en `folder` los paquetes que se piden a `pip wheel`; devuelve el del curso."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    if importlib.util.find_spec("hatchling"):  # ya está aquí: no hay que descargarlo
        command.append("--no-build-isolation")
    run = subprocess.run(
        [*command, "--wheel-dir", str(folder), *what], capture_output=True, text=True
    )
    if run.returncode:
        detail = (run.stderr.strip() or "nada").splitlines()[-1]
        raise ValueError(
            "No se pudieron reunir los paquetes. Hace falta conexión o, si es solo el del curso, "
            f"hatchling («pip install hatchling»). Lo último que dijo pip: {detail}"
        )
    (wheel,) = folder.glob("curso_ajuste_fino-*.whl")
    return wheel
