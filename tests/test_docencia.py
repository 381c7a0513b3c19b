"""El material de quien da clase: sus guías hablan de lo que hay, y las soluciones salen solas."""

import re
from pathlib import Path

import nbformat
import pytest

from course_lib.exercises import all_exercises
from course_lib.lessons import find_notebooks, read_notebook
from taller import diapositivas, soluciones
from taller.__main__ import main

FOLDER = Path(__file__).parents[1] / "docencia"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
LESSONS = {path.stem[:2]: read_notebook(path).cells for path in find_notebooks()}
GUIDES = {name[:2]: text for name, text in PAGES.items() if re.fullmatch(r"\d\d\.md", name)}
SECTIONS = (
    "Qué consigue",
    "Minutos",
    "Antes de ejecutar, pregunta",
    "Respuestas equivocadas y qué revelan",
    "En el proyector",
    "Si se cae la red",
    "Si solo hay 45 minutos",
    "Cuestionario",
    "Ejercicios",
)


def test_every_exercise_is_in_the_sheet_with_its_statement_and_a_solution(tmp_path):
    path = tmp_path / "hoja" / "soluciones.md"
    assert main(["soluciones", "--salida", str(path)]) == 0
    parts = re.split(r"^### Ejercicio ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [part.split()[0] for part in parts] == [*all_exercises()]
    for part, exercise in zip(parts, all_exercises().values(), strict=True):
        statement = part.split("**Pistas**")[0]
        assert len(statement.split()) > 5 and "check(" not in statement, part
        assert exercise.solution in part
        assert all(hint in part for hint in exercise.hints)
        assert not isinstance(exercise.praise, str) or exercise.praise in part


def test_a_statement_goes_from_its_title_to_its_answer_and_one_missing_is_an_error():
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    title, answer = (
        "Antes.\n\n### Ejercicio 3.1 · Uno\n\nDi qué ves.",
        "respuesta = ...\ncheck('3.1', respuesta)",
    )
    cells = [markdown(title), code("rows = 3"), markdown("Y cuántas."), code(answer)]
    cells += [markdown("Si te atascas, pide una pista."), code("hint('3.1')")]
    cells += [markdown("## Paso 1 · El caso\n\nCuéntalo."), code('check("10.1", case)')]
    asked = soluciones.statements(cells)
    assert asked == {
        "3.1": "### Ejercicio 3.1 · Uno\n\nDi qué ves.\n\n```python\nrows = 3\n```\n\nY cuántas.",
        "10.1": "### Ejercicio 10.1 · Paso 1 · El caso\n\nCuéntalo.",
    }
    with pytest.raises(ValueError, match=r"Sin enunciado en los cuadernos: 1\.1, "):
        soluciones.sheet(all_exercises(), asked)


def titles(lesson: str) -> set[str]:
    text = "\n".join(cell.source for cell in LESSONS[lesson] if cell.cell_type == "markdown")
    return set(re.findall(r"^#{2,3} (.+)$", text, flags=re.MULTILINE))


def section(text: str, title: str) -> str:
    return re.split(r"^## ", text.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def tables(text: str) -> list[list[list[str]]]:
    """Las filas de cada tabla, sin su cabecera."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    cut = [[line.strip("| ").split(" | ") for line in block.splitlines()[2:]] for block in blocks]
    return [[[cell.strip(" |") for cell in row] for row in rows] for rows in cut]


def off_the_slides(lesson: str) -> list[str]:
    """Las secciones que una guía dice que no están en las diapositivas, o que están a medias."""
    line = re.search(r"\*\*Fuera de las diapositivas\.\*\* (.+)", GUIDES[lesson])[1]
    known = {title.replace("«", "“").replace("»", "”"): title for title in titles(lesson)}
    return [known.get(quoted, quoted) for quoted in re.findall(r"«([^»]+)»", line)]


def test_the_three_classes_say_which_slides_carry_their_sections():
    wrong, found = [], 0
    for block in PAGES["planes.md"].split("\n### Clase ")[1:4]:
        carried: dict[str, list[str]] = {}
        every: dict[str, list[str]] = {}
        line = re.search(r"^Diapositivas: (.+)", block, flags=re.MULTILINE)[1]
        for lesson, numbers in re.findall(r"(\d\d) \(([^)]+)\)", line):
            path = next(path for path in find_notebooks() if path.stem.startswith(lesson))
            slides = every[lesson] = diapositivas.slide_titles(read_notebook(path))
            for first, last in re.findall(r"(\d+)(?:–(\d+))?", numbers):
                span = range(int(first), int(last or first) + 1)
                wrong += [f"{lesson}: {number}" for number in span if number > len(slides)]
                carried.setdefault(lesson, []).extend(slides[span[0] - 1 : span[-1]])
        for row in [row for table in tables(block) for row in table]:
            if lesson := re.match(r"(\d\d): ", row[0]):
                known = carried[lesson[1]] + [
                    title for title in off_the_slides(lesson[1]) if title not in every[lesson[1]]
                ]
                shown = {title.replace("«", "“").replace("»", "”") for title in known}
                quoted = re.findall(r"«([^»]+)»", row[0])
                found += len(quoted)
                wrong += [f"{lesson[1]}: {title}" for title in quoted if title not in shown]
    assert not wrong and found > 20


def test_every_lesson_has_its_guide_with_the_agreed_sections():
    guided = {lesson for lesson in LESSONS if 0 < int(lesson) < 10}  # el proyecto va en los planes
    assert guided <= GUIDES.keys() <= LESSONS.keys()
    for text in GUIDES.values():
        assert tuple(re.findall(r"^## (.+)$", text, flags=re.MULTILINE)) == SECTIONS
        asked, answered = section(text, "Cuestionario").split("### Respuestas")
        for part in (asked, answered):
            assert re.findall(r"^(\d)\. \S", part, flags=re.MULTILINE) == [*"12345"]


def test_the_minutes_of_every_table_add_up():
    found = 0
    for name, text in PAGES.items():
        for rows in tables(text):
            if rows[-1][0] != "**Total**":
                continue
            found += 1
            minutes = [int(row[1].strip("*")) for row in rows]
            assert sum(minutes[:-1]) == minutes[-1], f"{name}: {rows[-1]}"
    assert found >= 2 * len(GUIDES)


def test_what_a_guide_quotes_is_in_its_lesson():
    wrong = []
    for lesson, text in GUIDES.items():
        cells = LESSONS[lesson]
        code = [cell.source for cell in cells if cell.cell_type == "code"]
        for quoted in re.findall(r"celda `([^`]+)`", text):
            if code.count(quoted) != 1 and sum(quoted in source for source in code) != 1:
                wrong.append(f"{lesson}, celda: {quoted}")
        rows = [row for table in tables(text) if table[-1][0] == "**Total**" for row in table[:-1]]
        named = [*(row[0] for row in rows), *off_the_slides(lesson)]
        wrong += [f"{lesson}, sección: {title}" for title in named if title not in titles(lesson)]
        said = "\n".join(cell.source for cell in cells) + str([c.get("outputs") for c in cells])
        said = re.sub(r"'image/png': '[^']*'", "", said)  # en sus letras hay cualquier cifra
        board = tables(section(text, "En el proyector"))  # lo que se copia en la pizarra
        copied = [" ".join(row) for rows in board for row in rows]
        for line in re.findall(r"\*\*Sale\.\*\* (.+)", text) + copied:
            figures = (figure.strip(".,") for figure in re.findall(r"\d[\d.,]*%?", line))
            wrong += [
                f"{lesson}, cifra: {figure}"
                for figure in figures
                if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d)", said)
            ]
    assert not wrong


def test_the_plans_name_sections_exercises_and_files_that_exist():
    wrong = []
    for row in [row for table in tables(PAGES["planes.md"]) for row in table]:
        if lesson := re.match(r"(\d\d)[:,] ", row[0]):
            quoted = re.findall(r"«([^»]+)»", row[0])
            known = {title.replace("«", "“").replace("»", "”") for title in titles(lesson[1])}
            wrong += [f"{row[0]}: {title}" for title in quoted if title not in known]
    for name, text in PAGES.items():
        guide = r"\b([1-9]\d?\.\d)\b(?![.,]?\d)"  # en una guía, un número así es un ejercicio
        named = re.findall(guide if name[:2] in GUIDES else r"jercicio (\d+\.\d+)", text)
        wrong += [f"{name}: ejercicio {id}" for id in named if id not in all_exercises()]
        links = re.findall(r"\]\(([^)#]+)", text)
        local = [link for link in links if not link.startswith("http")]
        wrong += [f"{name}: {link}" for link in local if not (FOLDER / link).exists()]
    assert not wrong


def test_every_source_is_one_that_a_lesson_cites():
    cited = "\n".join(cell.source for cells in LESSONS.values() for cell in cells)
    links = re.findall(r"\]\((http[^)\s]+)", PAGES["fuentes.md"])
    assert len(links) > 60 and not [link for link in links if link not in cited]
