"""Revisa la ortografía de la prosa: documentos, celdas de texto y docstrings.

Uso: `python -m taller.ortografia [archivo ...]`, con archivos de texto, cuadernos o Python.

Sin argumentos revisa los documentos, las lecciones y `course_lib/`. Consulta a hunspell con su
diccionario español (paquetes `hunspell` y `hunspell-es` de Debian y Ubuntu); las palabras propias
del curso están en `palabras.txt`. Lo que va entre acentos graves, las fórmulas, las direcciones y
el HTML no se revisan, ni tampoco la cursiva (préstamos y títulos) ni las referencias.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from course_lib.cli import run_safely

ROOT = Path(__file__).resolve().parents[1]
DICTIONARY = "es_ES"
DEFAULT_FILES = (
    "*.md",
    "docencia/*.md",
    "data/*/README.md",
    "taller/pagina/*.html",
    "taller/pagina/*.md",
    "notebooks/*.ipynb",
    "course_lib/**/*.py",
    "taller/*.py",
    "conftest.py",
)

NOT_PROSE = re.compile(
    r"```.*?```"  # bloques de código
    r"|``[^`]+``|`[^`]+`"  # código en la línea
    r"|\$\$.+?\$\$|\$[^$\n]+\$"  # fórmulas
    r"|(?<![*\w])\*(?![*\s])[^*]+?\*(?!\*)"  # cursiva: préstamos y títulos en otra lengua
    r"|<!--.*?-->|</?[a-zA-Z][^<>]*>"  # HTML
    r"|\]\([^)]*\)"  # destino de un enlace
    r"|https?://\S+|\S+@\S+"
    r"|\{+ ?\w+ ?\}+"  # lo que Sphinx sustituye
    r"|\S*[\w)][/\\_]\w\S*|\w+\.(?:py|md|toml|txt|json|jsonl|ipynb|cfg|safetensors|js)\b"  # rutas
    r"|^\s*>>>.*?(?=\n\s*\n|\Z)"  # ejemplos ejecutables de un docstring
    r"|\\[nt]",
    re.DOTALL | re.MULTILINE,
)
WORD = re.compile(r"[^\W\d_]+")


def prose(path: Path) -> Iterator[tuple[str, str]]:
    """Los fragmentos de prosa de un archivo: pares (lugar, texto)."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        for number, cell in enumerate(json.loads(text)["cells"], start=1):
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown" and not source.startswith("## Referencias"):
                yield f"celda {number}", source
    elif path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                docstring = ast.get_docstring(node)
                if docstring:
                    name = getattr(node, "name", "módulo")
                    yield f"línea {getattr(node, 'lineno', 1)}, {name}", _without_names(docstring)
    else:
        yield "texto", text


def _without_names(docstring: str) -> str:
    """Quita de un docstring los nombres en inglés: apartados y argumentos."""
    return re.sub(r"^\s*[\w, *]+:(?=\s|$)", "", docstring, flags=re.MULTILINE)


def words(text: str) -> set[str]:
    """Las palabras de la prosa de un texto, sin código, fórmulas, direcciones ni HTML.

    >>> sorted(words("El *token* `pad_id` **cuesta** $x^2$; véase https://example.org."))
    ['El', 'cuesta', 'véase']
    """
    return set(WORD.findall(NOT_PROSE.sub(" ", text)))


def unknown_words(candidates: set[str], own_words: set[str]) -> set[str]:
    """Las palabras que no están ni en el diccionario español ni entre las propias del curso."""
    result = subprocess.run(
        ["hunspell", "-d", DICTIONARY, "-i", "utf-8", "-l"],
        input="\n".join(sorted(candidates)),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return {word for word in result.stdout.split() if word.lower() not in own_words}


def main(arguments: list[str]) -> int:
    """Revisa los archivos pedidos; devuelve 1 si hay palabras desconocidas."""
    if shutil.which("hunspell") is None:
        print("Ortografía: sin revisar, porque no está hunspell (paquetes hunspell y hunspell-es).")
        return 0
    paths = [Path(name) for name in arguments] or [
        path for pattern in DEFAULT_FILES for path in sorted(ROOT.glob(pattern))
    ]
    fragments = [(path, *fragment) for path in paths for fragment in prose(path)]
    own_words = set((ROOT / "palabras.txt").read_text(encoding="utf-8").lower().split())
    found = set().union(*(words(text) for _, _, text in fragments)) if fragments else set()
    unknown = unknown_words(found, own_words)

    for path, place, text in fragments:
        doubtful = sorted(words(text) & unknown)
        if doubtful:
            name = path.resolve()
            name = name.relative_to(ROOT) if name.is_relative_to(ROOT) else name
            print(f"{name} ({place}): {', '.join(doubtful)}")
    if unknown:
        print(f"Ortografía: {len(unknown)} palabras desconocidas. Corrígelas o, si son correctas, ")
        print("añádelas en orden alfabético a palabras.txt.")
        return 1
    print(f"Ortografía: bien ({len(found)} palabras distintas en {len(paths)} archivos).")
    return 0


if __name__ == "__main__":
    sys.exit(run_safely(lambda: main(sys.argv[1:])))
