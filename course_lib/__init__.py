"""Biblioteca del curso «¿Cuándo conviene el ajuste fino?».

Importar este paquete es instantáneo: torch y transformers se cargan solo dentro de las funciones
que los necesitan. Qué módulos usa cada lección, además de `tracks` (la ruta), `evaluation`, `plots`
y `tables`, que salen en casi todas:

- 01, decidir: `decision`, `ladder`, `world`, `chat`, `encoding`, `training`.
- 02, preguntar y buscar: `retrieval`, `reading`, `world`, `encoding`.
- 03, el dataset: `dialogues`, `encoding`, `training`, `world`.
- 04, entrenar: `training`, `resume`, `original`, `encoding`.
- 05, la demo del fracaso: `chat`, `original`, `encoding`, `dialogues`, `world`.
- 06, la autopsia: `autopsy`, `audit`, `original`, `encoding`, `dialogues`, `training`, `tuning`,
  `ladder`.
- 07, hacerlo bien: `tuning`, `encoding`, `resume`, `training`, `audit`, `ladder`, `chat`,
  `dialogues`, `original`, `world`.
- 08, escalar: `costs`, `big_model`, `training`, `encoding`, `tuning`, `chat`, `dialogues`,
  `original`.
- 09, más allá: `beyond`, `tuning`, `training`, `encoding`, `chat`, `dialogues`, `original`,
  `world`.
- 10, el proyecto: `decision`, `audit`, `retrieval`, `tuning`, `training`, `encoding`, `dialogues`,
  `world`.

`exercises` son los ejercicios de todas y lo que llevas hecho; `records` abre archivos de diálogos;
`hub` carga de Hugging Face; `lessons`, `pages` y `cli` son la orden `curso`.
"""

import errno
import os
import shutil
import tomllib
import uuid
from functools import cache
from pathlib import Path

__all__ = [
    "__version__", "data_path", "os_reason", "output_path", "read_toml", "replace_file", "shorten",
]  # fmt: skip

__version__ = "0.1.0"

_PACKAGE = Path(__file__).resolve().parent
# Instalado desde el paquete (.whl), los datos viajan dentro; en el repositorio están al lado.
# El orden importa: junto a un paquete instalado puede haber una carpeta `data` que no es nuestra.
_DATA_FOLDERS = (_PACKAGE / "data", _PACKAGE.parent / "data")


def data_path(*parts: str) -> Path:
    """La ruta absoluta de un archivo o carpeta de los datos del curso; si no existe, es un error.

    >>> data_path("mundo", "paises.csv").name
    'paises.csv'
    """
    root = next((folder for folder in _DATA_FOLDERS if folder.is_dir()), _DATA_FOLDERS[-1])
    path = root.joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(
            f"No se encuentra {path}, que forma parte de los datos del curso: "
            "descarga de nuevo el repositorio o reinstala el paquete «curso-ajuste-fino»."
        )
    return path


@cache
def read_toml(*parts: str) -> dict:
    """Un archivo TOML de los datos del curso, que se lee una sola vez."""
    return tomllib.loads(data_path(*parts).read_text(encoding="utf-8"))


def output_path(*parts: str) -> Path:
    """La ruta de un archivo de los que producen las lecciones, en una carpeta que ya existe.

    Es `salida/`, al lado de `notebooks/` y de `mis_cuadernos/`, o la que diga la variable de
    entorno `CURSO_SALIDA`.
    """
    here = Path.cwd()
    default = (here.parent if here.name in ("notebooks", "mis_cuadernos") else here) / "salida"
    path = Path(os.environ.get("CURSO_SALIDA") or default).expanduser().joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def replace_file(path: Path | str, content: str | bytes) -> None:
    """Escribe un archivo de una vez: si algo falla, queda el que había, y nunca medio."""
    # A un lado, con un nombre que nadie más usa, y a su sitio. De un enlace, lo que hay detrás.
    target = Path(path).resolve()
    draft = target.with_name(f".{uuid.uuid4().hex}.tmp")
    # Medio carácter suelto no cabe en UTF-8; escrito «\\ud800», JSON lo lee igual.
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        if target.exists():
            with target.open("ab") as file:  # si está protegido, falla ya
                if not target.is_file():  # /dev/stdout: no hay nada que conservar
                    file.write(data)
                    return
        draft.write_bytes(data)
        if target.exists():
            shutil.copymode(target, draft)
        os.replace(draft, target)
    except OSError as error:  # un disco lleno no dice de qué archivo
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if os.path.exists(draft):
            draft.unlink()


def os_reason(error: Exception) -> str:
    """Por qué no se pudo leer o escribir, para acabar una frase: el sistema lo dice en inglés."""
    number = getattr(error, "errno", None)
    code = errno.errorcode.get(number, type(error).__name__)
    other = f"el sistema da el error {code}" if number else str(error)  # una frase nuestra
    return read_toml("ordenes", "errno.toml").get(code, other)


def shorten(text: object, limit: int = 80) -> str:
    """Un texto ajeno, para citarlo en una frase: en un renglón y no muy largo."""
    text = str(text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * limit]).split())
    return line if max(len(line), len(text) / 2) <= limit else f"{line[: limit - 1]}…"
