"""La copia en que escribe el estudiante: se pone al día y nada suyo se pierde."""

import re

import nbformat
import pytest

from course_lib.lessons import find_notebooks, read_notebook, student_copies

ANSWER = "respuesta = 42  # lo mío"


def write(path, *cells: tuple[str, str]) -> None:
    made = [nbformat.v4.new_code_cell(source, id=name) for name, source in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)


def cells(path) -> list[tuple[str, str]]:
    return [(cell.id, cell.source) for cell in read_notebook(path).cells]


@pytest.fixture
def course(tmp_path):
    """Un curso de una lección, y la copia que ya hizo un estudiante."""
    (tmp_path / "notebooks").mkdir()
    lesson = tmp_path / "notebooks" / "01_una.ipynb"
    write(lesson, ("a", "1"), ("b", "respuesta = ..."), ("c", "3"))
    return lesson, student_copies(tmp_path) / lesson.name


def test_the_first_copy_is_the_lesson_and_the_style_to_project_it_goes_along(course, tmp_path):
    lesson, copy = course
    assert copy.parent.name == "mis_cuadernos" and cells(copy) == cells(lesson)
    lesson.with_name("rise.css").write_text("body {}")
    assert (student_copies(tmp_path) / "rise.css").read_text() == "body {}"


def test_without_news_the_copy_is_not_even_opened(course, tmp_path):
    _, copy = course
    copy.write_text("a medias")
    student_copies(tmp_path)
    assert copy.read_text() == "a medias"


def test_news_arrive_and_answers_and_own_cells_stay_in_their_place(course, tmp_path):
    lesson, copy = course
    write(
        copy, ("mia0", "0"), ("a", "1"), ("b", ANSWER), ("mia", "2 + 2"), ("mia2", "x"), ("c", "3")
    )
    write(
        lesson, ("a", "1, mejor"), ("nueva", "n"), ("b", "respuesta = None"), ("c", "3"), ("d", "4")
    )
    for _ in range(2):  # la segunda vez no hay nada que hacer
        student_copies(tmp_path)
        assert cells(copy) == [
            ("mia0", "0"), ("a", "1, mejor"), ("nueva", "n"), ("b", ANSWER), ("mia", "2 + 2"),
            ("mia2", "x"), ("c", "3"), ("d", "4"),
        ]  # fmt: skip


def test_an_answer_to_a_cell_that_the_course_no_longer_has_is_kept(course, tmp_path):
    lesson, copy = course
    write(copy, ("a", "1"), ("b", ANSWER), ("c", "3"))
    write(lesson, ("a", "1"), ("c", "3"))
    student_copies(tmp_path)
    assert cells(copy) == [("a", "1"), ("b", ANSWER), ("c", "3")]


def test_an_answer_to_an_exercise_that_changed_is_kept_and_is_not_taken_for_another(tmp_path):
    (tmp_path / "notebooks").mkdir()
    lesson = tmp_path / "notebooks" / "01_una.ipynb"
    first, moved = "x = ...\ncheck('1.1', x)", "y = ...\ncheck('1.2', y)"
    write(lesson, ("a", "1"), ("b", first), ("title", "t"), ("c", moved), ("d", "4"))
    copy = student_copies(tmp_path) / lesson.name
    mine = [source.replace("...", "42") for source in (first, moved)]
    write(copy, ("a", "1"), ("b", mine[0]), ("title", "t"), ("c", mine[1]), ("d", "4"))
    for number in (1, 3):  # la primera se quita, y la segunda cambia de número dos veces
        write(lesson, ("a", "1"), ("c", moved.replace("1.2", f"1.{number}")), ("d", "4"))
        for _ in range(2):
            student_copies(tmp_path)
            kept = dict(cells(copy))
            assert [*kept] == ["a", "b-antes", "c-antes", "c", "d"]
            for name, answer in zip(("b-antes", "c-antes"), mine):
                note, written, call = kept[name].splitlines()
                assert "ha cambiado" in note and f"{written}\n{call[2:]}" == answer
                assert call.startswith("# check(")
            assert kept["c"] == moved.replace("1.2", f"1.{number}")
    write(lesson, ("a", "1"), ("c", moved), ("d", "4"))
    answered = [(name, text.replace("...", "7")) for name, text in cells(copy)]
    write(copy, *answered)
    student_copies(tmp_path)  # la nueva también cambia, con la vieja aún ahí
    assert len(cells(copy)) == 6 and any("y = 7" in text for _, text in cells(copy))


def test_a_lost_record_of_the_course_loses_no_answer(course, tmp_path):
    _, copy = course
    write(copy, ("a", "1"), ("b", ANSWER), ("c", "3"))
    (copy.parent / ".curso" / copy.name).unlink()
    write(course[0], ("a", "1"), ("b", "respuesta = ..."), ("c", "3"), ("d", "4"))
    student_copies(tmp_path)
    assert ("b", ANSWER) in cells(copy) and ("d", "4") in cells(copy)


def test_what_the_student_removed_stays_removed(course, tmp_path):
    lesson, copy = course
    write(copy, ("a", "1"), ("c", "3"))
    write(lesson, ("a", "1"), ("b", "otra"), ("c", "3, mejor"), ("d", "4"))
    for _ in range(2):
        student_copies(tmp_path)
        assert cells(copy) == [("a", "1"), ("c", "3, mejor"), ("d", "4")]


def test_a_broken_copy_is_said_and_left_as_it_is(course, tmp_path):
    lesson, copy = course
    copy.write_text("a medias")
    write(lesson, ("a", "otra"))
    with pytest.raises(ValueError, match=r"mis_cuadernos.01_una.ipynb no es un cuaderno"):
        student_copies(tmp_path)
    assert copy.read_text() == "a medias"


def test_an_answered_lesson_of_the_course_takes_an_update(tmp_path):
    lesson = find_notebooks(["5"])[0]
    (tmp_path / "notebooks").mkdir()
    there = tmp_path / "notebooks" / lesson.name
    there.write_bytes(lesson.read_bytes())
    copy = student_copies(tmp_path) / lesson.name
    mine = read_notebook(copy)
    answers = [cell for cell in mine.cells if re.search(r"^check\(", cell.source, re.MULTILINE)]
    for cell in answers:
        cell.source = ANSWER
    nbformat.write(mine, copy)
    newer = read_notebook(there)
    newer.cells[0].source += " (segunda edición)"
    nbformat.write(newer, there)
    student_copies(tmp_path)
    found = [source for _, source in cells(copy)]
    assert found[0].endswith("(segunda edición)") and found.count(ANSWER) == len(answers) > 0
