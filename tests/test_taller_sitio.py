"""El sitio: lo que se le da a Sphinx, y lo que no debe cambiar por el camino."""

import json
import re

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from course_lib.lessons import find_notebooks, read_notebook
from taller import sitio


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuente") / "sitio"
    sitio.write_source(folder, find_notebooks())
    return folder


def test_every_lesson_is_listed_and_its_cells_are_those_of_the_notebook(source):
    listed = re.findall(r"^(\d\d_\w+)$", (source / "index.md").read_text(encoding="utf-8"), re.M)
    assert listed == [path.stem for path in find_notebooks()]
    for path in find_notebooks():
        made, original = read_notebook(source / path.name), read_notebook(path)
        for one, other in zip(made.cells, original.cells, strict=True):
            assert one.source == other.source
            assert one.get("outputs") == other.get("outputs")


def test_the_folded_cell_stays_folded_and_every_figure_is_told_in_words(source):
    figures = 0
    for path in find_notebooks():
        cells = [c for c in read_notebook(source / path.name).cells if c.cell_type == "code"]
        assert "hide-input" in cells[0].metadata["tags"]
        for cell in cells:
            if any("image/png" in output.get("data", {}) for output in cell.outputs):
                figures += 1
                assert len(cell.metadata["mystnb"]["image"]["alt"]) > 20
    assert figures > 10


def test_the_words_of_the_glossary_are_in_the_lessons_it_says(source):
    script = (source / "_static" / "palabras.js").read_text(encoding="utf-8")
    words = json.loads(script[script.index("{") : script.rindex("}") + 1])
    lessons = {path.stem[:2]: path.read_text(encoding="utf-8").lower() for path in find_notebooks()}
    missing = [
        f"{word}: {lesson}"
        for word, said in words.items()
        for lesson in re.findall(r"\d\d", said["dice"].split("(Lecci")[1])
        if word not in lessons[lesson]
    ]
    assert len(words) > 20 and not missing
    assert words["tasa de aprendizaje"]["ancla"] == "tasa-de-aprendizaje-learning-rate"


def test_the_button_of_a_published_lesson_asks_for_no_image(tmp_path):
    text = "[![Abrir en Colab](https://una.es/boton.svg)](https://otra.es)"
    assert sitio.prepared(new_notebook(cells=[new_markdown_cell(text)])).cells[0].source == (
        "[Abrir en Colab](https://otra.es)"
    )


def test_the_front_page_holds_the_game_and_every_part_its_script_asks_for(source):
    page = (source / "jugar.html").read_text(encoding="utf-8")
    assert ":file: jugar.html" in (source / "index.md").read_text(encoding="utf-8")
    scripts = re.findall(r'<script src="_static/(.+?)"', page)
    made = [name for name in scripts if name.startswith("modelos/")]  # los pone taller.navegador
    assert made == ["modelos/datos.js"]
    missing = [n for n in scripts if n not in made and not (source / "_static" / n).exists()]
    ids = re.findall(r'id="([\w-]+)"', page)
    game = (source / "_static" / "jugar.js").read_text(encoding="utf-8")
    asked = set(re.findall(r'byId\("([\w-]+)"\)', game))
    asked |= set(re.findall(r'aria-(?:controls|labelledby)="([\w-]+)"', page))
    assert len(asked) > 10 and not missing and not asked - set(ids)
    assert len(ids) == len(set(ids))
    links = set(re.findall(r'href="(\d\d_\w+)\.html"', page))
    assert links and links <= {path.stem for path in find_notebooks()}
