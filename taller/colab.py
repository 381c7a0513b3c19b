"""Comprueba que el curso corre en Colab sin cambiarle nada, con las versiones que Colab instala.

    python -m taller.colab entorno    # monta el entorno y ejecuta en él las lecciones
    python -m taller.colab resolver   # resuelve las dependencias para el Python de Colab

La lista de lo que Colab trae instalado está en `../shared/datos/colab` y no viaja con el
repositorio: donde falte, o donde no haya red, no se comprueba nada y se dice. El entorno queda en
`.venv-colab/` y se reutiliza mientras la lista no cambie. Su Python es el de quien llama, no el
3.13 de Colab, y su torch, el del curso para CPU; todo lo demás, letra por letra.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from course_lib.cli import run_safely

ROOT = Path(__file__).resolve().parents[1]
FREEZE = ROOT.parent / "shared" / "datos" / "colab" / "cpu_2026-08.txt"
HOME = ROOT / ".venv-colab"
UV = HOME / "uv" / "bin" / "uv"  # aparte, para que el entorno tenga solo lo que tiene Colab
PYTHON = HOME / "entorno" / "bin" / "python"
BASE = HOME / "instalado.txt"
TORCH = "2.13.0"  # el de constraints.txt

# De la lista, lo que no se instala aquí y por qué. Nada de esto lo usa el curso.
LEFT_OUT = {
    "torch 2.13 exige una posterior": ("setuptools",),
    "piden Python 3.12 o 3.13, y aquí es el 3.11": (
        *("audioop-lts", "geemap", "giddy", "rasterio", "shap", "spint", "tifffile", "tobler"),
        *("xarray-einstats", "xgboost"),
    ),
    "se compilan contra bibliotecas del sistema": (
        *("cyipopt", "dbus-python", "dlib", "gdal", "psycopg2", "pycairo", "pygobject"),
        *("python-apt", "rpy2"),
    ),
    "se construye desde su fuente, que ocupa cientos de megas": ("pyspark",),
}

# El torch de la lista es la versión para CPU, que no pide los paquetes de CUDA que sí pide el del
# índice general: se resuelve con sus demás requisitos, los que declara torch 2.11.
COLAB_PYTHON = "3.13"
COLAB_TORCH = {
    "name": "torch",
    "version": "2.11.0",
    "requires-dist": [
        *("filelock", "typing-extensions>=4.10.0", "setuptools<82", "sympy>=1.13.3"),
        *("networkx>=2.5.1", "jinja2", "fsspec>=0.8.5"),
    ],
}


class NotHere(Exception):
    """Aquí no se puede comprobar; el texto dice por qué."""


def frozen() -> dict[str, str]:
    """Lo que Colab trae instalado: nombre normalizado → versión.

    Raises:
        NotHere: si la lista no está.
    """
    if not FREEZE.is_file():
        raise NotHere(f"no está {FREEZE}, la lista de lo que Colab trae instalado.")
    return _pins(FREEZE.read_text(encoding="utf-8"))


def _pins(text: str) -> dict[str, str]:
    # Ni lo instalado desde una dirección ni torch, que va aparte, con su etiqueta de CPU o de CUDA.
    pins = re.findall(r"^([\w.-]+)==([\w.!]+)$", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name.lower()): version for name, version in pins}


def prepare_uv() -> None:
    """Instala uv, que resuelve con solo los metadatos, donde no estorbe al entorno.

    Raises:
        NotHere: si no hay red.
    """
    if UV.exists():
        return
    subprocess.run([sys.executable, "-m", "venv", HOME / "uv"], check=True)
    run = _run([HOME / "uv" / "bin" / "python", "-m", "pip", "install", "--quiet", "uv>=0.9"])
    if run.returncode:
        raise NotHere(f"no se pudo descargar uv: {_last_line(run)}")


def resolve() -> tuple[dict[str, str], dict[str, str]]:
    """Resuelve lo que pide el curso para el Python de Colab, atado a lo que Colab trae.

    Returns:
        (todo lo que hace falta, lo que Colab no trae), nombre → versión.

    Raises:
        NotHere: si falta la lista o la red.
        ValueError: si habría que cambiarle algo a Colab; el mensaje es el de uv.
    """
    here = frozen() | {COLAB_TORCH["name"]: COLAB_TORCH["version"]}
    prepare_uv()
    with tempfile.TemporaryDirectory() as folder:
        pins, config = Path(folder, "colab.txt"), Path(folder, "uv.toml")
        pins.write_text("".join(f"{name}=={version}\n" for name, version in here.items()))
        lines = [f"{key} = {value!r}\n" for key, value in COLAB_TORCH.items()]
        config.write_text("[[dependency-metadata]]\n" + "".join(lines))
        run = _run([
            *(UV, "pip", "compile", "--quiet", "--no-python-downloads", "--config-file", config),
            *("--python-version", COLAB_PYTHON, "--python-platform", "x86_64-manylinux_2_28"),
            *("--only-binary", ":all:", "--constraint", pins, "--no-header", "--no-annotate"),
            ROOT / "pyproject.toml",
        ])  # fmt: skip
    if run.returncode:
        raise ValueError(f"Colab tendría que cambiar algo para instalar el curso:\n{run.stderr}")
    found = _pins(run.stdout)
    changed = sorted(name for name in found.keys() & here.keys() if found[name] != here[name])
    if changed:
        raise ValueError(f"Colab tendría que cambiar de versión: {', '.join(changed)}.")
    return found, {name: version for name, version in found.items() if name not in here}


def build() -> list[str]:
    """Monta el entorno con lo que Colab trae, si no está ya montado.

    Returns:
        Lo que hay instalado en él, una línea `nombre==versión` por paquete.
    """
    left_out = {name for names in LEFT_OUT.values() for name in names}
    pins = {name: version for name, version in frozen().items() if name not in left_out}
    wanted = f"# torch=={TORCH}\n" + "".join(f"{name}=={pins[name]}\n" for name in pins)
    requirements = HOME / "pedido.txt"
    prepare_uv()
    if not (BASE.exists() and requirements.read_text() == wanted):
        shutil.rmtree(HOME / "entorno", ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", HOME / "entorno"], check=True)
        # torch, con pip, que sabe de dónde lo toma esta máquina; y lo demás encima, tal cual.
        _must([PYTHON, "-m", "pip", "install", "--quiet", f"torch=={TORCH}"])
        requirements.write_text(wanted)
        exactly = ("--quiet", "--no-deps", "--python", PYTHON, "--requirements", requirements)
        _must([UV, "pip", "install", *exactly])
        BASE.write_text("\n".join(installed()))
    base = BASE.read_text().splitlines()
    added = [line.split("==")[0] for line in installed() if line not in base]
    if added:  # lo que dejó la comprobación anterior
        _must([PYTHON, "-m", "pip", "uninstall", "--quiet", "--yes", *added])
    return base


def installed() -> list[str]:
    """Lo instalado en el entorno, una línea `nombre==versión` por paquete."""
    run = _must([PYTHON, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"])
    return sorted(run.stdout.split())


def check_environment() -> int:
    """Instala el curso como lo hace la primera celda y ejecuta las lecciones donde lo instaló."""
    from taller.publishing import pack

    start = time.perf_counter()
    before = build()
    print(f"El entorno de Colab: {len(before)} paquetes ({time.perf_counter() - start:.0f} s).")
    for reason, names in LEFT_OUT.items():
        print(f"  fuera, porque {reason}: {', '.join(names)}")
    with tempfile.TemporaryDirectory(prefix="colab-") as folder:
        with zipfile.ZipFile(pack(ROOT, Path(folder))) as archive:
            archive.extractall(folder)
        runner = ROOT / "taller" / "colab_cuadernos.py"
        # El depurador que trae Colab avisa de que en Python 3.11 podría saltarse una pausa.
        quiet = os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        command = [PYTHON, runner, Path(folder, "curso-ajuste-fino")]
        status = subprocess.run(command, env=quiet).returncode
    after = installed()
    replaced, added = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    print(f"Cambiado o quitado de lo instalado: {', '.join(replaced) or 'nada'}.")
    print(f"Añadido: {', '.join(added) or 'nada'}.")
    print(f"En total, {time.perf_counter() - start:.0f} s.")
    return 1 if status or replaced else 0


def check_resolution() -> int:
    """Cuenta qué instalaría Colab para el curso, y que nada sea cambiar lo que trae."""
    found, new = resolve()
    kept = len(found) - len(new)
    print(f"El curso, en Python {COLAB_PYTHON}, necesita {len(found)} paquetes.")
    print(f"Colab trae, y no hay que cambiarlos, {kept}.")
    print(f"Añadido: {', '.join(map('=='.join, new.items())) or 'nada'}.")
    return 0


def _run(command) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def _must(command) -> subprocess.CompletedProcess:
    run = _run(command)
    if run.returncode:
        raise ValueError(f"Falló «{' '.join(map(str, command[:6]))} …»:\n{run.stderr}")
    return run


def _last_line(run: subprocess.CompletedProcess) -> str:
    return (run.stderr.strip() or "sin más explicación").splitlines()[-1]


def main() -> int:
    """Ejecuta lo pedido; si aquí no se puede comprobar, lo dice y no es un error."""
    checks = {"entorno": check_environment, "resolver": check_resolution}
    if len(sys.argv) != 2 or sys.argv[1] not in checks:
        print(f"uso: python -m taller.colab {'|'.join(checks)}", file=sys.stderr)
        return 2
    try:
        return checks[sys.argv[1]]()
    except NotHere as reason:
        print(f"Colab, sin comprobar: {reason}")
        return 0
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(run_safely(main))
