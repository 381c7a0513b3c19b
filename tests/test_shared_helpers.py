"""Lo que comparten los módulos: escribir de una vez, decir por qué no y citar un texto ajeno."""

import errno
import os
import re
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from course_lib import os_reason, output_path, read_toml, replace_file, shorten
from course_lib.exercises import progress
from course_lib.lessons import student_copies
from taller import card, publishing, scenes, soluciones

ROOT = Path(__file__).parents[1]


def test_a_file_is_replaced_whole_through_its_link_and_with_its_permissions(tmp_path):
    file, link = tmp_path / "a.txt", tmp_path / "enlace.txt"
    file.write_text("viejo")
    file.chmod(0o640)
    link.symlink_to(file)
    replace_file(link, "ñ \ud800\n")
    assert link.is_symlink() and file.read_bytes() == "ñ \\ud800\n".encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "enlace.txt"}


@pytest.mark.parametrize("fails", ["write_bytes", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, fails):
    file = tmp_path / "a.txt"
    file.write_text("viejo")

    def full(draft, data):
        Path.open(draft, "wb").write(b"medio")
        raise OSError(errno.ENOSPC, "No space left on device")

    if fails == "replace":
        monkeypatch.setattr(os, "replace", full)
    else:
        monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError) as error:
        replace_file(file, "nuevo")
    assert error.value.filename == str(file) and "sitio en el disco" in os_reason(error.value)
    assert file.read_text() == "viejo" and list(tmp_path.iterdir()) == [file]


def test_twelve_at_once_leave_one_of_the_twelve(tmp_path):
    file = tmp_path / "a.txt"
    contents = [f"{n}" * 100_000 for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda content: replace_file(file, content), contents * 5))
    assert file.read_text() in contents and list(tmp_path.iterdir()) == [file]


def test_what_is_no_file_is_not_replaced(tmp_path):
    fifo = tmp_path / "tuberia"
    os.mkfifo(fifo)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(fifo.read_text)
        replace_file(fifo, "hola")
        assert read.result() == "hola" and fifo.is_fifo()
    for place in (tmp_path, fifo / "dentro", tmp_path / "no" / "hay"):
        with pytest.raises(OSError) as error:
            replace_file(place, "hola")
        assert error.value.filename == str(place)


def test_the_system_speaks_spanish_whatever_fails():
    table = read_toml("ordenes", "errno.toml")
    assert not [name for name in table if name[0] == "E" and not hasattr(errno, name)]
    for code in errno.errorcode:
        assert os.strerror(code) not in os_reason(OSError(code, os.strerror(code)))
    assert os_reason(OSError(errno.ENOTTY, "")) == "el sistema da el error ENOTTY"
    with pytest.raises(UnicodeDecodeError) as error:
        b"\xff".decode()
    assert "UTF-8" in os_reason(error.value)
    assert os_reason(OSError("No cabe, ya lo dijo otro.")) == "No cabe, ya lo dijo otro."


def test_a_foreign_text_is_quoted_in_one_short_line():
    assert shorten("hola\nBot: \x1b[31madiós\u2028") == "hola Bot: [31madiós"
    assert shorten("á" * 80) == "á" * 80
    assert re.fullmatch("á{79}…", shorten("á" * 5_000_000))
    assert len(shorten(["a\n"] * 1000, 20)) == 20


def test_the_output_folder_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("CURSO_SALIDA", "~/x")
    assert output_path("a") == tmp_path / "x" / "a"


@pytest.fixture
def course(tmp_path):
    """Un curso pequeño, ya con copias del estudiante, diálogos, ficha, soluciones y progreso."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "05_demo_del_fracaso.ipynb", tmp_path / "notebooks")
    shutil.copy(ROOT / "README.md", tmp_path)
    student_copies(tmp_path)
    lesson = next((tmp_path / "notebooks").iterdir())
    lesson.write_text(lesson.read_text("utf-8").replace("{", "{ ", 1), "utf-8")
    for name in ("train.jsonl", "soluciones.md"):
        (tmp_path / name).write_text("lo de antes\n")
    (tmp_path / "ficha.md").write_text(f"# Ficha\n{card.START}\nantes\n{card.STOP}\n")
    (tmp_path / "progreso.json").write_text(
        "{" + ",".join(f'"{n}": {{"empezado": "2020-01-01"}}' for n in range(200)) + "}"
    )
    return tmp_path


@pytest.mark.parametrize(
    "order", ["publicar", "retirar", "cuadernos", "dialogos", "ficha", "soluciones", "progreso"]
)
def test_no_order_cuts_a_file_that_does_not_fit(course, monkeypatch, order):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(card, "measure_model", lambda: "medida\n" * 1000)
    talk = {"train": [{"dialog": ["hola" * 1000, "adiós"]}]}
    monkeypatch.setattr(scenes, "generate_dialogues", lambda seed: talk)
    monkeypatch.setenv("CURSO_SALIDA", str(course))
    monkeypatch.delenv("CURSO_SIN_PROGRESO")
    if order == "retirar":
        publishing.publish(course, "ana/curso")
    write = {
        "publicar": lambda: publishing.publish(course, "ana/curso"),
        "retirar": lambda: publishing.publish(course, None),
        "cuadernos": lambda: student_copies(course),
        "dialogos": lambda: scenes.write_charladiaria(course),
        "ficha": lambda: card.write_model_card(course / "ficha.md"),
        "soluciones": lambda: soluciones.write(course / "soluciones.md"),
        "progreso": lambda: progress.record("1.1", True),
    }[order]
    before = {path: path.read_bytes() for path in course.rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))  # como si el disco se llenara
    try:
        said = write()
    except OSError as error:
        said = os_reason(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "es más grande de lo que admite el disco" in said
    assert {path: path.read_bytes() for path in course.rglob("*") if path.is_file()} == before
