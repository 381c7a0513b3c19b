"""Condiciones de toda prueba, también de los cuadernos: ni red ni progreso, de cero y un hilo."""

import atexit
import os
import runpy
import shutil
import tempfile
from pathlib import Path

import pytest

from course_lib.lessons import NO_BARS, NO_PROGRESS, OFFLINE

_GUARD = Path(__file__).parent / "tests" / "no_network"

# El núcleo (kernel) de cada cuaderno es otro proceso: hereda estas variables, y Python carga en él
# la guardia de red porque importa `sitecustomize` al arrancar. En este proceso se carga a mano.
os.environ.update(dict.fromkeys((*OFFLINE, *NO_BARS, NO_PROGRESS), "1"))
# Con modelos pequeños, dos procesos de un hilo rinden más que uno de dos; y los números de una
# lección no dependen así de cuántos núcleos haya.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Lo que dejen los cuadernos, en una carpeta nueva: un modelo de otro día no debe aprobar el examen.
os.environ["CURSO_SALIDA"] = tempfile.mkdtemp(prefix="curso-")
atexit.register(shutil.rmtree, os.environ["CURSO_SALIDA"], ignore_errors=True)
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(_GUARD), os.environ.get("PYTHONPATH")) if part
)
runpy.run_path(str(_GUARD / "sitecustomize.py"))

# La 04 ajusta y guarda el modelo que miran las demás de la lista: las cinco, en un proceso, que es
# el que más tarda y por eso empieza antes.
_ONE_AFTER_ANOTHER = (
    "04_entrenar",
    "05_demo_del_fracaso",
    "06_autopsia",
    "07_hacerlo_bien",
    "09_mas_alla",
)


def _chained(file: str) -> bool:
    return Path(file).stem in _ONE_AFTER_ANOTHER


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not _chained(item.nodeid.split("::", 1)[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Con `-n`, cada archivo va entero a un proceso, y las lecciones que se siguen, al mismo."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "las que se siguen" if _chained(file) else file

    return ByFile(config, log)
