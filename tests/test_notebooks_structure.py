"""Lo que se promete de todo cuaderno, sin ejecutarlo: orden, limpieza, tamaño y accesibilidad.

Cada prueba mira todos los cuadernos y dice juntos los que no cumplen.
"""

import ast
import json
import math
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest

from taller import factores

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.ipynb")}
SETUP_CELL = "preparar-curso"  # la que instala el curso, plegada
MAX_BYTES = 1_500_000
NBVAL_TAG = "nbval-ignore-output"
MACHINE_DETAIL = re.compile(
    r"(?:/(?:home|root|tmp|work|Users|opt|usr|content|mnt|private)/\w"  # rutas absolutas
    r"|[A-Z]:\\\w|site-packages"
    r"|\b0x[0-9a-f]{6,})"  # direcciones de objetos
)
# Lo que solo serviría para que la celda valga en otra ruta o en esta máquina.
SCAFFOLDING = ('["es"', '"es":', "track.language]", "../shared", "plots.finding")

pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason="todavía no hay cuadernos en notebooks/")


def source(cell) -> str:
    return "".join(cell["source"])


def code_cells(notebook) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def markdown(notebook) -> list[str]:
    return [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def outputs(notebook) -> list[tuple[dict, dict]]:
    return [(cell, output) for cell in code_cells(notebook) for output in cell["outputs"]]


def output_text(output) -> str:
    """El texto de una salida, sin los bytes de las imágenes."""
    data = output.get("data", {})
    texts = [value for kind, value in data.items() if not kind.startswith("image/")]
    return "\n".join("".join(text) for text in [output.get("text", ""), *texts] if text)


def python(cell) -> ast.Module:
    """El código de una celda, con `pass` en el sitio de las órdenes de IPython."""
    return ast.parse(re.sub(r"^([ \t]*)%.*$", r"\1pass", source(cell), flags=re.MULTILINE))


def faults(find: Callable) -> dict:
    """De cada cuaderno que los tenga, los fallos que encuentra `find`."""
    return {name: found for name, notebook in NOTEBOOKS.items() if (found := find(notebook))}


# --- Orden ---------------------------------------------------------------------------------------


def test_has_exactly_one_title():
    def titles(notebook):
        prose = [re.sub(r"```.*?```", "", text, flags=re.DOTALL) for text in markdown(notebook)]
        found = [li for text in prose for li in text.splitlines() if re.match(r"# |<h1", li)]
        return found if len(found) != 1 else None

    assert not faults(titles)


def test_every_code_cell_was_executed_in_order():
    # nbval se salta en silencio las celdas sin número de ejecución.
    def counts(notebook):
        found = [cell["execution_count"] for cell in code_cells(notebook) if source(cell).strip()]
        return found if found != list(range(1, len(found) + 1)) else None

    assert not faults(counts)


def test_has_no_empty_cells():
    assert not faults(lambda nb: [c["id"] for c in nb["cells"] if not source(c).strip()])


def test_no_output_is_an_error():
    assert not faults(
        lambda nb: [out["ename"] for _, out in outputs(nb) if out["output_type"] == "error"]
    )


def test_is_valid_and_holds_only_what_github_and_nbviewer_draw():
    drawn = {"text/plain", "text/html", "text/markdown", "image/png", "image/svg+xml"}
    assert not faults(
        lambda nb: {kind for _, out in outputs(nb) for kind in out.get("data", {})} - drawn
    )
    for path in FOLDER.glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, as_version=4))


def test_keeps_no_widget_state_and_is_small_enough_to_open_and_review():
    assert not faults(lambda notebook: "widgets" in notebook["metadata"])
    assert not [p.name for p in FOLDER.glob("*.ipynb") if p.stat().st_size >= MAX_BYTES]


def test_every_lesson_leads_to_the_one_before_to_the_index_and_to_the_one_after():
    names = sorted(NOTEBOOKS)
    for before, name, after in zip(names, names[1:], [*names[2:], None]):
        foot = source(NOTEBOOKS[name]["cells"][-1])
        linked = re.findall(r"\]\((\w+)\.ipynb\)", foot)
        assert linked == list(dict.fromkeys(filter(None, [before, names[0], after]))), name


def test_the_index_says_the_title_and_the_minutes_that_each_lesson_says():
    index, *lessons = [NOTEBOOKS[name] for name in sorted(NOTEBOOKS)]
    rows = re.findall(
        r"^\| \[(.+)\]\((\w+)\.ipynb\) \| (\d+) min \| (.+) \|$", "\n".join(markdown(index)), re.M
    )
    said = []
    for name, notebook in zip(sorted(NOTEBOOKS)[1:], lessons):
        text = "\n".join(markdown(notebook))
        title = re.search(r"^# (.+)$", text, re.M)[1]
        time = r"\*\*Tiempo:\*\* (\d+) minutos de lectura, (?:(\d+) de ejercicios|de (2 a 4 horas))"
        reading, exercises, hours = re.search(time, text).groups()
        said.append((title, name, reading, hours or f"{exercises} min"))
    assert rows == said


# --- La celda que prepara el curso ---------------------------------------------------------------


def test_begins_its_code_with_the_folded_cell_that_prepares_the_course():
    def wrong(notebook):
        first, *others = code_cells(notebook)
        metadata = {key: said for key, said in first["metadata"].items() if key != "slideshow"}
        return (
            first["id"] != SETUP_CELL
            or metadata != {"cellView": "form", "jupyter": {"source_hidden": True}}
            or first["outputs"] != []
            or not source(first).startswith("# @title ")
            or 'RUTA = ""  # @param ["", "mini", "gpt2"]\n' not in source(first)
            or any(cell["id"] == SETUP_CELL for cell in others)
        )

    assert not faults(wrong)


def test_the_cell_that_prepares_the_course_is_short_and_the_same_in_all():
    (text,) = {source(code_cells(notebook)[0]) for notebook in NOTEBOOKS.values()}
    assert len([line for line in text.splitlines() if line.strip()]) <= 12


def test_its_first_markdown_says_what_to_do_in_colab():
    # El sitio del distintivo, que `python -m taller publicar` pone antes de la celda que instala.
    def wrong(notebook):
        before = notebook["cells"][: notebook["cells"].index(code_cells(notebook)[0])]
        text = "".join(source(cell) for cell in before)
        return len(re.findall(r"^.*Colab.*celda siguiente (?:la )?instala", text, re.M)) != 1

    assert not faults(wrong)


# --- El código -----------------------------------------------------------------------------------


def test_code_cells_are_short():
    # Sin contar la que prepara el curso, que va plegada y no es materia de ninguna lección.
    def too_long(notebook):
        lengths = [len(source(cell).splitlines()) for cell in code_cells(notebook)[1:]]
        median, p90 = statistics.median(lengths), sorted(lengths)[math.ceil(0.9 * len(lengths)) - 1]
        return (median, p90) if median > 6 or p90 > 20 else None

    assert not faults(too_long)


def test_the_cell_of_imports_is_short():
    assert not faults(lambda nb: max(0, len(source(code_cells(nb)[1]).splitlines()) - 8))


def test_no_cell_has_scaffolding():
    assert not faults(
        lambda nb: [(c["id"], what) for c in code_cells(nb) for what in SCAFFOLDING
                    if what in source(c)]
    )  # fmt: skip


def test_what_nbval_must_not_compare_is_said_with_its_tag_and_not_with_a_comment():
    # Una etiqueta mal escrita, nbval no la reconoce y no dice nada.
    assert not faults(lambda nb: [c["id"] for c in nb["cells"] if "NBVAL" in source(c)])
    assert not faults(
        lambda nb: {tag for c in nb["cells"] for tag in c["metadata"].get("tags", [])} - {NBVAL_TAG}
    )


def test_every_name_is_defined_and_used():
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "F"]
    run = subprocess.run(
        [*command, "--output-format", "concise", str(FOLDER)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_lesson_imports_the_workshop_or_the_command():
    assert not faults(
        lambda nb: [c["id"] for c in code_cells(nb)
                    if re.search(r"\b(import|from)\s+(taller|tests|course_lib\.cli)\b|import cli\b",
                                 source(c))]
    )  # fmt: skip


# --- Idiomas -------------------------------------------------------------------------------------


def constants(node) -> Iterator[str]:
    return (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and n.value)


def test_every_sentence_of_a_lesson_is_translated_and_no_translation_is_left_over():
    translated = tomllib.loads((ROOT / "data/mundo/frases_en.toml").read_text("utf-8"))
    trees = [python(cell) for nb in NOTEBOOKS.values() for cell in code_cells(nb)]
    calls = [
        node for tree in trees for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "track.text"
    ]  # fmt: skip
    asked = {text for call in calls for arg in call.args for text in constants(arg)}
    asked = {text for text in asked if isinstance(text, str)} | set(factores.GREETING)
    assert len(asked) > 20  # si no, no se estaría mirando donde están
    assert not asked - translated.keys(), "sin traducir"
    written = {text for tree in trees for text in constants(tree)} | set(factores.GREETING)
    assert not translated.keys() - written, "sobran"


# --- Las salidas ---------------------------------------------------------------------------------

# Lo que no es un número: direcciones, versiones («2.13.0»), modelos («OpenChat 3.5»), ejercicios
# («Ejercicio 6.1»), máscaras («111000…») y, en NUMBER, lo que va pegado a letras, como las huellas.
OTHER = re.compile(
    r"https?://\S+|arXiv:[\d.]+|\b\d+(?:\.\d{1,2}){2,}\b|OpenChat [\d.]+|Ejercicio [\d.]+|'\d\.\d'"
    r"|\b[01]{8,}\b|(?:Hechos|Empezados|Por hacer): [\d., ]+"
)
NUMBER = re.compile(r"(?<![\w.,])\d[\d.,]*(?<![.,])(?![\w])")
# «1.234.567», «12,5», «1.234,5» y hasta cuatro cifras seguidas, que así van también los años.
SPANISH = re.compile(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d{1,4}(?:,\d+)?")
OBJECT = re.compile(r"\s*[\[({]|\s*array\(|torch\.")  # lo escribe Python, y se nota que es suyo


def english_numbers(text: str) -> list[str]:
    """Los números escritos a la inglesa (o sin el punto de los miles) de un texto.

    >>> english_numbers("5.785 nats, 0.785, 12.5, 83813; bien: 5,785, 1.234, 2026, 83.813")
    ['5.785', '0.785', '12.5', '83813']
    """
    text, found = OTHER.sub("", text), []
    for match in NUMBER.finditer(text):
        number, loss = match.group(), re.match(r" ?(?:nats|%)", text[match.end() :])
        if number.startswith("0.") or not SPANISH.fullmatch(number) or ("." in number and loss):
            found.append(number)
    return found


def test_numbers_are_written_as_in_spanish():
    def wrong(notebook):
        found = {}
        for cell, output in outputs(notebook):
            data = output.get("data", {})
            texts = [
                output.get("text", ""),
                data.get("text/markdown") or data.get("text/plain", ""),
            ]
            for text in map("".join, texts):
                if "image/png" in data or "tensor(" in text or OBJECT.match(text):
                    continue
                if numbers := english_numbers(text):
                    found.setdefault(cell["id"], []).extend(numbers)
        return found

    assert not faults(wrong)


def test_outputs_tell_nothing_of_the_machine_that_ran_them_nor_hold_progress_bars():
    def found(notebook):
        texts = [output_text(output) for _, output in outputs(notebook)]
        details = [m.group() for text in texts for m in MACHINE_DETAIL.finditer(text)]
        return details + [text for text in texts if re.search(r"\d%\|", text)]

    assert not faults(found)


def test_every_figure_has_a_text_alternative():
    assert not faults(
        lambda notebook: [
            source(cell).splitlines()[-1]
            for cell, output in outputs(notebook)
            if "image/png" in output.get("data", {})
            and not output.get("metadata", {}).get("image/png", {}).get("alt")
            and not cell["metadata"].get("alt")
        ]
    )


def test_local_images_exist_and_have_a_text_alternative():
    def wrong(notebook):
        images = re.findall(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)", "\n".join(markdown(notebook)))
        remote = "https://"  # el distintivo de Colab
        return [
            target
            for alt, target in images
            if not alt.strip() or not (target.startswith(remote) or (FOLDER / target).is_file())
        ]

    assert not faults(wrong)
