"""Lo que es un caso del banco: unos argumentos para `audit` y lo que debe salir de ellos."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SHARED = Path(__file__).resolve().parents[3] / "shared" / "datos"

# Las comprobaciones del contrato, en el orden del catálogo.
CHECKS = (
    "descuadre",
    "fin-tapado",
    "relleno-contado",
    "sin-fin",
    "usuario-supervisado",
    "plantilla-distinta",
    "marcadores-rotos",
    "ids-fuera",
    "nuevos-congelados",
    "doble-bos",
    "relleno-derecha",
    "sin-mascara",
    "respuesta-cortada",
    "fuga",
    "duplicados",
    "sin-evaluacion",
    "sobreajuste",
    "tasa-alta",
    "tasa-lora-baja",
    "lora-sin-efecto",
    "lora-sin-gradiente",
    "fp16-entrenable",
    "precision-imposible",
    "acumulacion",
    "max-length-generacion",
    "espacio-final",
    "nada-supervisado",
    "empaquetado",
    "olvido",
    "respuestas-sosas",
)
SEVERITIES = ("grave", "aviso", "nota")  # de peor a mejor


class Unavailable(Exception):
    """Al caso le falta algo que no viaja con el repositorio; el mensaje dice qué."""


@dataclass(frozen=True)
class Case:
    """Un caso: `build()` da los argumentos de `audit`; en un control, `check` es la cadena vacía.

    `severity` es la gravedad que pide el contrato para el fallo plantado.
    """

    check: str
    severity: str
    name: str
    build: Callable[[], dict]

    @property
    def planted(self) -> bool:
        """Si el caso lleva un fallo dentro."""
        return bool(self.check)


def planted(check: str, severity: str, name: str, build: Callable[[], dict]) -> Case:
    """Un caso con un fallo plantado.

    Raises:
        ValueError: si el contrato no tiene esa comprobación o esa gravedad.
    """
    if check not in CHECKS or severity not in SEVERITIES:
        raise ValueError(f"El contrato no tiene «{check}» con gravedad «{severity}»: revísalo.")
    return Case(check, severity, name, build)


def control(name: str, build: Callable[[], dict]) -> Case:
    """Un caso limpio: cualquier «grave» o «aviso» es una falsa alarma."""
    return Case("", "", name, build)


@cache
def scratch() -> Path:
    """Una carpeta temporal para todo el banco, que se borra al salir."""
    folder = Path(tempfile.mkdtemp(prefix="banco-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def shared(*parts: str) -> Path:
    """Una ruta de la muestra real.

    Raises:
        Unavailable: si la muestra no está al lado del repositorio.
    """
    path = SHARED.joinpath(*parts)
    if not path.exists():
        raise Unavailable(f"no está «shared/datos/{'/'.join(parts)}»")
    return path
