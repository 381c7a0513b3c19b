"""Condiciones de toda prueba, también de los cuadernos que ejecuta nbval: sin red y sin barras."""

import os
import runpy
from pathlib import Path

from course_lib.lessons import NO_PROGRESS_BARS, OFFLINE

_GUARD = Path(__file__).parent / "tests" / "no_network"

# El núcleo (kernel) de cada cuaderno es otro proceso: hereda estas variables, y Python carga en él
# la guardia de red porque importa `sitecustomize` al arrancar. En este proceso se carga a mano.
os.environ.update(OFFLINE | NO_PROGRESS_BARS)
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(_GUARD), os.environ.get("PYTHONPATH")) if part
)
runpy.run_path(str(_GUARD / "sitecustomize.py"))
