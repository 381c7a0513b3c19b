"""Qué ejercicios lleva hechos un estudiante, en un archivo pequeño que sobrevive al núcleo."""

import json
import os
from datetime import date
from pathlib import Path

from course_lib import os_reason, output_path, replace_file
from course_lib.lessons import NO_PROGRESS, prepare

NAME = "progreso.json"


def record(id: str, solved: bool) -> str | None:
    """Apunta un intento; devuelve `None` o, si no se ha podido, la frase que lo dice."""
    if os.environ.get(NO_PROGRESS):
        return None
    try:
        path = _file()
        notes, trouble = _read(path)
        field = "resuelto" if solved else "empezado"
        if field not in notes.setdefault(id, {}):
            notes[id][field] = date.today().isoformat()
            if trouble:
                os.replace(path, path.with_suffix(".roto.json"))
            replace_file(path, json.dumps(notes, indent=1) + "\n")
        return trouble
    except OSError as error:
        return f"(No se ha podido apuntar en «{NAME}»: {os_reason(error)}.)"


def read() -> tuple[dict[str, dict], str | None]:
    """Lo apuntado, por ejercicio, y la frase que dice qué fue mal, si algo fue mal."""
    if os.environ.get(NO_PROGRESS):
        return {}, None
    try:
        return _read(_file())
    except OSError as error:
        return {}, f"(No se ha podido leer «{NAME}»: {os_reason(error)}.)"


def _file() -> Path:
    prepare()  # en Colab, con el núcleo recién reiniciado, dice dónde está Drive
    return output_path(NAME)


def _read(path: Path) -> tuple[dict[str, dict], str | None]:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(notes, dict) and all(isinstance(note, dict) for note in notes.values()):
            return notes, None
    except FileNotFoundError:
        return {}, None
    except ValueError:
        pass
    return {}, f"(«{NAME}» está roto. Se aparta como «progreso.roto.json» y se empieza otro.)"
