"""El curso fuera de aquí: publicarlo y retirarlo, el zip, y la celda que lo instala."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import nbformat
import pytest
from checks import complaint
from nbformat.v4 import new_markdown_cell, new_notebook

from course_lib import __version__, lessons
from course_lib.lessons import read_notebook
from course_lib.pages import to_html
from taller import publishing
from taller.__main__ import main
from taller.publishing import pack, pack_class, publish

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TAG = f"v{__version__}"
WHEEL = f"curso_ajuste_fino-{__version__}-py3-none-any.whl"
ARCHIVE = f"https://github.com/ana/curso/releases/download/{TAG}/{WHEEL}"
SETUP_CELL = "preparar-curso"  # la que instala el curso


@pytest.fixture
def course(tmp_path) -> Path:
    """Una copia de los cuadernos y del README, sin publicar."""
    (tmp_path / "notebooks").mkdir()
    for path in LESSONS:
        shutil.copy(path, tmp_path / "notebooks")
    shutil.copy(ROOT / "README.md", tmp_path)
    publish(tmp_path, None)
    return tmp_path


def contents(course: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in course.rglob("*") if path.is_file()}


def setup_cell(path: Path = LESSONS[0]) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "".join(next(cell["source"] for cell in cells if cell["id"] == SETUP_CELL))


# --- publicar ---


def test_publishing_puts_badge_and_address_in_every_lesson_and_the_readme(course):
    changed = publish(course, "ana/curso")
    assert len(changed) == len(LESSONS) + 1
    readme = (course / "README.md").read_text(encoding="utf-8")
    for path in LESSONS:
        home = "https://colab.research.google.com/github/ana/curso"
        link = f"{home}/blob/{TAG}/notebooks/{path.name}"
        text = (course / "notebooks" / path.name).read_text(encoding="utf-8")
        assert text.count("[![Abrir en Colab](") == text.count(f"]({link})") == 1
        assert readme.count(f"](notebooks/{path.name}) [![Abrir en Colab](") == 1
        assert readme.count(f"]({link})") == 1
        assert f'found += ["{ARCHIVE}"]' in setup_cell(course / "notebooks" / path.name)
    assert f"`pip install {ARCHIVE}`" in readme


def test_publishing_changes_two_lines_of_a_notebook_and_it_is_still_one(course):
    before = contents(course)
    publish(course, "ana/curso")
    for path in LESSONS:
        old = before[path.name].decode().split("\n")
        new = (course / "notebooks" / path.name).read_text(encoding="utf-8").split("\n")
        assert len(old) == len(new)
        assert sum(a != b for a, b in zip(old, new)) == 2
        nbformat.validate(nbformat.read(course / "notebooks" / path.name, as_version=4))


def test_publishing_twice_is_publishing_once_and_another_address_replaces_it(course):
    publish(course, "ana/curso")
    once = contents(course)
    assert publish(course, "ana/curso") == []
    publish(course, "Otra-Persona/mi.curso_2")
    assert b"ana/curso" not in b"".join(contents(course).values()).replace(
        b"publicar ana/curso", b""
    )
    publish(course, "ana/curso")
    assert contents(course) == once


def test_withdrawing_gives_back_the_same_bytes(course):
    before = contents(course)
    publish(course, "ana/curso")
    assert contents(course) != before
    publish(course, None)
    assert contents(course) == before


def test_what_is_not_a_repository_is_rejected_and_nothing_changes(course):
    before = contents(course)
    names = [
        *["", "curso", "ana/", "/curso", "ana/curso/mas", "ana curso", "-ana/curso", "ana/.."],
        *["ana/ñ", "https://github.com/ana/curso", 'ana/cur"so', "ana/curso\n"],
    ]
    taken = {
        name: said
        for name in names
        if "no es un repositorio de GitHub: escribe DUEÑO/REPO"
        not in (said := complaint(publish, course, name))
    }
    assert not taken
    assert contents(course) == before


def test_a_lesson_without_its_place_is_named_and_none_is_left_half_done(course):
    path = course / "notebooks" / LESSONS[-1].name
    path.write_text(path.read_text(encoding="utf-8").replace("Falta el curso", "No está"))
    before = contents(course)
    with pytest.raises(ValueError, match=rf"{path.name} tiene que decir una vez.*Falta el curso"):
        publish(course, "ana/curso")
    assert contents(course) == before


def test_the_command_publishes_and_withdraws(course, monkeypatch, capsys):
    monkeypatch.chdir(course)
    before = contents(course)
    assert main(["publicar", "ana/curso"]) == 0
    assert f"Archivos cambiados: {len(LESSONS) + 1}." in capsys.readouterr().out
    assert main(["publicar", "--retirar"]) == 0
    assert contents(course) == before
    assert main(["publicar", "ana"]) == 2
    assert "«ana» no es un repositorio" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["publicar"])
    assert "falta una de estas: DUEÑO/REPOSITORIO --retirar" in capsys.readouterr().err


def test_the_page_of_a_published_lesson_fetches_no_image(course):
    publish(course, "ana/curso")
    path = course / "notebooks" / LESSONS[0].name
    page = to_html(read_notebook(path), path)
    assert not re.search(r"<img[^>]*src=[\"']?https?:", page)
    assert re.search(r'<a href="https://colab[^"]*"[^>]*>Abrir en Colab</a>', page)


# --- la celda que instala el curso ---


@pytest.fixture
def away(tmp_path, monkeypatch) -> Path:
    """Una carpeta vacía y un Python que no encuentra el curso ni sabe nada de él."""
    for name in ("CURSO_RUTA", "CURSO_EJEMPLOS", "CURSO_SALIDA", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # así, al acabar, vuelven a su valor
        monkeypatch.delenv(name)
    monkeypatch.setattr(lessons, "DRIVE", "/no/hay")
    monkeypatch.setitem(sys.modules, "course_lib.lessons", None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_setup(source: str | None = None, **variables: str) -> list[str]:
    """Ejecuta la celda, con valores en sus variables, y devuelve lo que pidió a `%pip`.

    Nada se instala: tras pedirlo, el curso ya se encuentra.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    source, asked = source or setup_cell(), []
    for name, value in variables.items():
        source = re.sub(rf'^{name} = "[^"]*"', f'{name} = "{value}"', source, flags=re.MULTILINE)

    class Shell:
        def run_line_magic(self, magic: str, line: str) -> None:
            asked.append(f"{magic} {line.format(**names)}")
            sys.modules["course_lib.lessons"] = lessons

    names = {"get_ipython": Shell}
    exec(compile(TransformerManager().transform_cell(source), "celda", "exec"), names)
    return asked


def test_where_the_course_is_installed_the_cell_says_nothing_and_only_calms_the_threads(
    away, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "course_lib.lessons", lessons)
    before = dict(os.environ)
    assert run_setup() == []
    assert dict(os.environ) == before | {"OMP_WAIT_POLICY": "PASSIVE"}
    assert capsys.readouterr().out == ""


def test_a_variable_of_the_cell_wins_and_an_empty_one_leaves_the_environment(away, monkeypatch):
    monkeypatch.setitem(sys.modules, "course_lib.lessons", lessons)
    monkeypatch.setenv("CURSO_RUTA", "mini")
    run_setup(EJEMPLOS="50")
    assert (os.environ["CURSO_RUTA"], os.environ["CURSO_EJEMPLOS"]) == ("mini", "50")
    run_setup(RUTA="gpt2", EJEMPLOS="0")
    assert (os.environ["CURSO_RUTA"], os.environ["CURSO_EJEMPLOS"]) == ("gpt2", "0")


def test_with_drive_at_hand_results_go_there_unless_another_place_was_chosen(away, monkeypatch):
    lessons.prepare()
    assert "CURSO_SALIDA" not in os.environ
    drive = away / "drive" / "MyDrive"
    drive.mkdir(parents=True)
    monkeypatch.setattr(lessons, "DRIVE", str(drive))
    lessons.prepare()
    assert os.environ["CURSO_SALIDA"] == f"{drive}/curso-ajuste-fino/salida"
    monkeypatch.setenv("CURSO_SALIDA", "otra")
    lessons.prepare()
    assert os.environ["CURSO_SALIDA"] == "otra"


def test_the_cell_asks_for_no_permission_and_no_token():
    asks = r"drive\.mount|userdata|input\(|getpass|login|HF_TOKEN"
    assert not re.search(asks, setup_cell())


def test_without_a_wheel_one_sentence_says_how_to_bring_it(away):
    with pytest.raises(
        AssertionError, match=r"^Falta el curso: sube su paquete, curso_.*«Archivos"
    ):
        run_setup()


@pytest.mark.parametrize("place", [".", "drive/MyDrive", "drive/MyDrive/clases"])
def test_a_wheel_is_found_beside_the_notebook_in_the_session_or_in_drive(away, place):
    (away / place).mkdir(parents=True, exist_ok=True)
    wheel = away / place / "curso_ajuste_fino-0.1.0-py3-none-any.whl"
    wheel.touch()
    (asked,) = run_setup(EJEMPLOS="7")
    assert asked.startswith("pip install --quiet ")
    assert wheel.samefile(asked.split()[-1])
    assert os.environ["CURSO_EJEMPLOS"] == "7"  # instalado, se prepara como los demás


def test_a_published_course_comes_from_its_repository_with_no_wheel_at_hand(course, away):
    publish(course, "ana/curso")
    assert run_setup(setup_cell(course / "notebooks" / LESSONS[0].name)) == [
        f"pip install --quiet {ARCHIVE}"
    ]


# --- empaquetar ---


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """El zip del curso, ya descomprimido: su carpeta."""
    pytest.importorskip("hatchling", reason="hatchling construye la rueda sin red")
    folder = tmp_path_factory.mktemp("zip")
    with zipfile.ZipFile(pack(ROOT, folder / "nueva")) as archive:
        archive.extractall(folder)
    return folder / "curso-ajuste-fino"


def test_the_zip_holds_the_wheel_the_lessons_and_how_to_use_them(packed):
    names = {path.name for path in packed.iterdir()}
    (wheel,) = packed.glob("curso_ajuste_fino-*-py3-none-any.whl")
    whole = {"LÉEME.txt", "curso_completo.ipynb"}
    assert names == {wheel.name} | whole | {path.name for path in LESSONS}
    assert wheel.name in (packed / "LÉEME.txt").read_text(encoding="utf-8")


def test_the_whole_course_in_one_notebook_is_prepared_once_and_says_all_its_code(packed):
    def code(path):
        return [c.source for c in read_notebook(path).cells if c.cell_type == "code"]

    whole = read_notebook(packed / "curso_completo.ipynb")
    nbformat.validate(whole)
    setup = code(LESSONS[0])[0]
    lessons_code = [source for path in LESSONS for source in code(path) if source != setup]
    assert code(packed / "curso_completo.ipynb") == [setup, *lessons_code]
    text = "\n".join(cell.source for cell in whole.cells if cell.cell_type == "markdown")
    assert len(re.findall("celda siguiente (?:la )?instala", text)) == 1
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == len(LESSONS)


def test_in_the_zip_of_a_class_every_link_of_the_guide_leads_somewhere(tmp_path, monkeypatch):
    # Reunir los paquetes es descargar medio giga: aquí, lo demás.
    monkeypatch.setattr(publishing, "_build_wheels", lambda root, folder, *what: folder)
    for name in ("notebooks", "docencia", "taller/pagina"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("LICENSE-CONTENIDO.md", "CONTRIBUIR.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("sitio", "diapositivas"):
        (tmp_path / "salida" / name).mkdir(parents=True)
    with zipfile.ZipFile(pack_class(tmp_path, tmp_path)) as archive:
        archive.extractall(tmp_path / "aula")
    guide = tmp_path / "aula" / "curso-clase" / "docencia"
    links = {
        (page.name, target)
        for page in guide.glob("*.md")
        for target in re.findall(r"\]\((?!http)([^)#\s]+)", page.read_text(encoding="utf-8"))
    }
    assert len(links) > 20
    assert not [(page, target) for page, target in links if not (guide / target).exists()]
    assert "respuesta = " in (guide / "soluciones.md").read_text(encoding="utf-8")


def test_the_zip_of_a_class_asks_first_for_what_it_carries(tmp_path):
    assert "hazlo antes con «make sitio»" in complaint(pack_class, tmp_path, tmp_path)


def test_the_wheel_holds_the_library_and_its_data_and_nothing_of_the_workshop(packed):
    (wheel,) = packed.glob("*.whl")
    names = [n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n]
    data = {p.relative_to(ROOT).as_posix() for p in (ROOT / "data").rglob("*") if p.is_file()}
    assert {name.split("/")[0] for name in names} == {"course_lib"}
    assert {
        n.removeprefix("course_lib/") for n in names if n.startswith("course_lib/data/")
    } == data


def test_from_the_zip_alone_a_lesson_installs_the_course_and_finds_its_data(packed, tmp_path):
    python = python_without_the_course(tmp_path / "entorno")
    where = "import course_lib\nprint(course_lib.data_path('mundo', 'paises.csv'))"
    # IPython instala el curso y lo importa en el mismo proceso, como en un cuaderno.
    script = packed / "celda.ipy"
    script.write_text("\n".join([setup_cell(), where]), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "no_network")}
    result = subprocess.run(
        [python, "-m", "IPython", "--no-banner", script.name],
        cwd=packed, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    script.unlink()
    assert result.returncode == 0, result.stdout + result.stderr
    assert Path(result.stdout.splitlines()[-1]).is_relative_to(tmp_path / "entorno")


def python_without_the_course(folder: Path) -> Path:
    """Un entorno con lo mismo que este, menos el curso, como Colab; nada se descarga."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / Path(sys.executable).relative_to(sys.prefix)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    run = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "curso_ajuste_fino" not in entry.name:
            Path(run.stdout.strip(), entry.name).symlink_to(entry)
    return python


def test_outside_the_repository_there_is_nothing_to_pack(tmp_path):
    with pytest.raises(FileNotFoundError, match="no está el repositorio del curso"):
        pack(tmp_path, tmp_path)


def test_a_failed_wheel_is_one_sentence(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[build-system", encoding="utf-8")
    (tmp_path / "notebooks").mkdir()
    cells = [new_markdown_cell("# Lección")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "01_una.ipynb")
    with pytest.raises(ValueError, match=r"No se pudieron reunir.*Lo último que dijo pip"):
        pack(tmp_path, tmp_path / "salida")
