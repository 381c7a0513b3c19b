"""Las soluciones, en una hoja para quien da clase: `python -m taller soluciones`.

No se guarda ninguna copia. Los enunciados se leen de los cuadernos y lo demás, de los mismos
ejercicios con que se corrige a los estudiantes.
"""

import re
from itertools import groupby
from pathlib import Path

from course_lib import replace_file
from course_lib.exercises import Exercise, all_exercises
from course_lib.lessons import find_notebooks, read_notebook

INTRO = (
    "# Soluciones\n\nPara quien da clase. La hace `python -m taller soluciones`: no la corrijas a "
    "mano. En el cuaderno, cada estudiante puede ver cualquiera de ellas con `solution(…)`."
)


def statements(cells) -> dict[str, str]:
    """El enunciado de cada ejercicio de esas celdas, por su identificador: desde su título hasta
    donde se responde, con el código que haya por medio. Donde se comprueba uno que no lleva título,
    como en el proyecto, su enunciado es el texto de la sección."""
    found, id, title, section = {}, None, "", []
    for cell in cells:
        if cell.cell_type == "code":
            checked = re.findall(r"""check\(["'](\d+\.\d+)""", cell.source)
            for other in checked:
                found.setdefault(other, [f"### Ejercicio {other} · {title}", *section])
            if id and id not in checked:
                found[id].append(f"```python\n{cell.source}\n```")
            id = None if id in checked else id
            continue
        for part in re.split(r"^(?=#{1,3} )", cell.source, flags=re.MULTILINE):
            if part.startswith("#"):
                title, _, part = part.lstrip("# ").partition("\n")
                section, named = [], re.match(r"Ejercicio (\d+\.\d+)", title)
                if id := named and named[1]:
                    found[id] = [f"### {title}"]
            section.append(part.strip())
            if id:
                found[id].append(part.strip())
    return {id: "\n\n".join(filter(None, parts)) for id, parts in found.items()}


def sheet(exercises: dict[str, Exercise], asked: dict[str, str]) -> str:
    """La hoja, en Markdown; falla si un ejercicio no tiene su enunciado en ningún cuaderno."""
    if lost := exercises.keys() - asked.keys():
        raise ValueError(f"Sin enunciado en los cuadernos: {', '.join(sorted(lost))}.")
    parts = [INTRO]
    for lesson, ids in groupby(exercises, lambda id: id.split(".")[0]):
        parts.append(f"## Lección {lesson.zfill(2)}")
        for id, exercise in ((id, exercises[id]) for id in ids):
            hints = "\n".join(f"{n}. {hint}" for n, hint in enumerate(exercise.hints, 1))
            solution = f"```python\n{exercise.solution}\n```"
            parts += [asked[id], f"**Pistas**\n\n{hints}", f"**Una solución**\n\n{solution}"]
            if isinstance(exercise.praise, str):  # la de una predicción depende de cuál sea
                parts.append(f"**Lo que se lee al acertar.** {exercise.praise}")
    return "\n\n".join(parts) + "\n"


def write(path: Path) -> Path:
    """Escribe la hoja en `path` y lo devuelve."""
    path.parent.mkdir(parents=True, exist_ok=True)
    asked = statements(cell for lesson in find_notebooks() for cell in read_notebook(lesson).cells)
    replace_file(path, sheet(all_exercises(), asked))
    return path
