"""Condiciones de toda prueba, también de los cuadernos: sin red, sin barras y de cero."""

import atexit
import os
import runpy
import shutil
import tempfile
from pathlib import Path

from course_lib.lessons import NO_BARS, OFFLINE

_GUARD = Path(__file__).parent / "tests" / "no_network"

# El núcleo (kernel) de cada cuaderno es otro proceso: hereda estas variables, y Python carga en él
# la guardia de red porque importa `sitecustomize` al arrancar. En este proceso se carga a mano.
os.environ.update(dict.fromkeys((*OFFLINE, *NO_BARS), "1"))
# Lo que dejen los cuadernos, en una carpeta nueva: un modelo de otro día no debe aprobar el examen.
os.environ["CURSO_SALIDA"] = tempfile.mkdtemp(prefix="curso-")
atexit.register(shutil.rmtree, os.environ["CURSO_SALIDA"], ignore_errors=True)
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(_GUARD), os.environ.get("PYTHONPATH")) if part
)
runpy.run_path(str(_GUARD / "sitecustomize.py"))
