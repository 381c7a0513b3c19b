"""Lo que se promete de todo cuaderno, sin ejecutarlo: orden, limpieza, tamaño y accesibilidad."""

import json
import math
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from taller.publishing import SETUP_CELL

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES = 1_500_000
MARKER = re.compile(r"NBVAL_[A-Z_]+|PYTEST_VALIDATE_[A-Z_]+")
MACHINE_DETAIL = re.compile(
    r"(?:/(?:home|root|tmp|work|Users|opt|usr|content|mnt|private)/\w"  # rutas absolutas
    r"|[A-Z]:\\\w|site-packages"
    r"|\b0x[0-9a-f]{6,})"  # direcciones de objetos
)

pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason="todavía no hay cuadernos en notebooks/")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell) -> str:
    return "".join(cell["source"])


def code_cells(notebook) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook) -> list[tuple[dict, dict]]:
    return [(cell, output) for cell in code_cells(notebook) for output in cell["outputs"]]


def output_text(output) -> str:
    """El texto de una salida, sin los bytes de las imágenes."""
    data = output.get("data", {})
    texts = [value for kind, value in data.items() if not kind.startswith("image/")]
    return "\n".join("".join(text) for text in [output.get("text", ""), *texts] if text)


def test_has_exactly_one_title(notebook):
    markdown = [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    prose = [re.sub(r"```.*?```", "", text, flags=re.DOTALL) for text in markdown]
    titles = [line for text in prose for line in text.splitlines() if re.match(r"# |<h1", line)]
    assert len(titles) == 1


def test_every_code_cell_was_executed_in_order(notebook):
    # nbval se salta en silencio las celdas sin número de ejecución.
    counts = [cell["execution_count"] for cell in code_cells(notebook) if source(cell).strip()]
    assert counts == list(range(1, len(counts) + 1))


def test_has_no_empty_cells(notebook):
    empty = [i for i, cell in enumerate(notebook["cells"], 1) if not source(cell).strip()]
    assert not empty


def test_no_output_is_an_error(notebook):
    errors = [
        output["ename"] for _, output in outputs(notebook) if output["output_type"] == "error"
    ]
    assert not errors


def test_keeps_no_widget_state(notebook):
    assert "widgets" not in notebook["metadata"]


def test_begins_its_code_with_the_folded_cell_that_prepares_the_course(notebook):
    first, *others = code_cells(notebook)
    assert first["id"] == SETUP_CELL
    assert first["metadata"] == {"cellView": "form", "jupyter": {"source_hidden": True}}
    assert first["outputs"] == []
    assert source(first).startswith("# @title ")
    assert 'RUTA = ""  # @param ["", "mini", "gpt2"]\n' in source(first)
    assert not [cell for cell in others if cell["id"] == SETUP_CELL]


def test_the_cell_that_prepares_the_course_is_the_same_in_all():
    sources = {source(code_cells(json.loads(path.read_text("utf-8")))[0]) for path in NOTEBOOKS}
    assert len(sources) == 1


def test_its_first_markdown_says_what_to_do_in_colab(notebook):
    # El sitio del distintivo, que `curso publicar` pone antes de la celda que instala.
    before = notebook["cells"][: notebook["cells"].index(code_cells(notebook)[0])]
    text = "".join(source(cell) for cell in before)
    assert len(re.findall(r"^.*Colab.*celda siguiente (?:la )?instala", text, re.MULTILINE)) == 1


def test_is_valid_and_holds_only_what_github_and_nbviewer_draw(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kinds = {kind for _, output in outputs(notebook) for kind in output.get("data", {})}
    assert kinds <= {"text/plain", "text/html", "text/markdown", "image/png", "image/svg+xml"}


def test_code_cells_are_short(notebook):
    # Sin contar la que prepara el curso, que va plegada y no es materia de ninguna lección.
    lengths = [len(source(cell).splitlines()) for cell in code_cells(notebook)[1:]]
    assert statistics.median(lengths) <= 6
    assert sorted(lengths)[math.ceil(0.9 * len(lengths)) - 1] <= 20


def test_nbval_markers_take_a_whole_comment_line(notebook):
    # Con cualquier otra palabra en la línea, nbval no reconoce la marca y no dice nada.
    lines = [line for cell in code_cells(notebook) for line in source(cell).splitlines()]
    broken = [
        line
        for line in lines
        if MARKER.search(line) and not re.fullmatch(r"# ?" + MARKER.pattern, line.rstrip())
    ]
    assert not broken


def test_is_small_enough_to_open_and_review(path):
    assert path.stat().st_size < MAX_BYTES


def test_outputs_tell_nothing_of_the_machine_that_ran_them(notebook):
    found = [
        match.group()
        for _, output in outputs(notebook)
        for match in MACHINE_DETAIL.finditer(output_text(output))
    ]
    assert not found


def test_outputs_hold_no_progress_bars(notebook):
    bars = [text for _, out in outputs(notebook) if re.search(r"\d%\|", text := output_text(out))]
    assert not bars


def test_every_figure_has_a_text_alternative(notebook):
    without = [
        source(cell).splitlines()[-1]
        for cell, output in outputs(notebook)
        if "image/png" in output.get("data", {})
        and not output.get("metadata", {}).get("image/png", {}).get("alt")
        and not cell["metadata"].get("alt")
    ]
    assert not without


def test_local_images_exist_and_have_a_text_alternative(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)", source(cell)):
                assert alt.strip(), f"falta el texto alternativo de {target}"
                remote = target.startswith("https://")  # el distintivo de Colab
                assert remote or (FOLDER / target).is_file(), f"no existe {target}"
