"""Las diapositivas: qué se proyecta de cada celda, y que lo exportado no pida nada a la red."""

import re
from pathlib import Path

import pytest

from course_lib.lessons import clean_notebook, find_notebooks, read_notebook
from taller import diapositivas

TYPES = {"slide", "subslide", "fragment", "-", "skip", "notes"}
LESSONS = {path.stem: read_notebook(path) for path in find_notebooks()}


def test_every_cell_says_what_it_is_when_projected_and_cleaning_keeps_it():
    missing = {}
    for name, notebook in LESSONS.items():
        said = [cell.metadata.get("slideshow", {}) for cell in notebook.cells]
        wrong = [
            cell.id
            for cell, slideshow in zip(notebook.cells, said)
            if slideshow.get("slide_type") not in TYPES
            or slideshow.get("show", "both") not in ("both", "input", "output")
        ]
        if wrong:
            missing[name] = wrong
        clean_notebook(notebook)
        assert said == [cell.metadata.get("slideshow", {}) for cell in notebook.cells]
    assert not missing


def test_a_lesson_is_a_talk_that_begins_with_its_title_and_leaves_exercises_out():
    spoken = {name: notebook for name, notebook in LESSONS.items() if "01" <= name[:2] <= "09"}
    for name, notebook in spoken.items():  # ni el índice ni el proyecto se proyectan
        assert 12 <= diapositivas.count_slides(notebook) <= 26, name
        first = next(c for c in notebook.cells if diapositivas.slide_type(c) != "skip")
        assert first.source.startswith("# ") and diapositivas.slide_type(first) == "slide"
        projected = [
            cell.id
            for cell in notebook.cells
            if diapositivas.slide_type(cell) not in ("skip", "notes")
            and re.search(r"^respuesta = |^#+ (?:Ejercicio|Referencias)", cell.source, re.M)
        ]
        assert not projected, name


def test_an_exported_lesson_asks_nothing_of_the_network_and_keeps_its_notes_and_figures():
    path = find_notebooks(["4"])[0]
    page = diapositivas.to_slides(path)
    asked = re.findall(r"""<(?:script|link|img|iframe)[^>]*?(?:src|href)=["']([^"']+)""", page)
    assert {address for address in asked if not address.startswith("data:")} == {
        f"reveal/{name}" for name in ("reveal.css", "diapositivas.css", "reveal.js", "notes.js")
    }
    assert not re.search(r"@import|url\(", page)
    assert '<html lang="es">' in page and "<title>04 · ¿Cómo se entrena?</title>" in page
    inner = len(re.findall(r"<section *>", page)) - len(re.findall(r"<section *>\s*<section", page))
    assert inner == diapositivas.count_slides(read_notebook(path))
    assert page.count('<aside class="notes">') > 10
    assert re.findall(r"<img[^>]*>", page) and not re.findall(r"<img(?![^>]*alt=\".{20})", page)
    assert "check(" not in page  # los ejercicios se quedan en el cuaderno


def test_reveal_is_copied_in_spanish_and_its_style_names_no_address(tmp_path):
    pytest.importorskip("sphinx_revealjs")
    diapositivas.copy_reveal(tmp_path)
    for name, words in diapositivas.SPANISH.items():
        text = (tmp_path / Path(name).name).read_text(encoding="utf-8")
        assert not [english for english in words if english in text]
        assert not [spanish for spanish in words.values() if spanish not in text]
    style = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.css"))
    assert "@import" not in style
    fonts = re.findall(r"url\(\"?(?!data:)([^)\"]+)\"?\)", style)
    assert fonts and all((tmp_path / font).is_file() for font in fonts)
