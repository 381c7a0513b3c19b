"""La orden `curso` y la ejecución de las lecciones, con cuadernos de juguete."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib import __version__, lessons
from course_lib.cli import main, run_safely
from course_lib.lessons import clean_notebook, read_notebook
from course_lib.pages import to_html
from taller.__main__ import main as workshop

ROOT = Path(__file__).parents[1]
FIGURE = """import matplotlib.pyplot as plt
from IPython.display import display
figure, axes = plt.subplots(figsize=(1, 1))
plt.close(figure)
display(figure, metadata={"image/png": {"alt": "Unos «ejes» vacíos"}})"""


def write_lesson(folder, name, *code):
    cells = [new_markdown_cell("# Lección"), *map(new_code_cell, code)]
    for number, cell in enumerate(cells):
        cell.id = f"c{number}"
    nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """Un curso de tres lecciones, la segunda rota, en una carpeta con espacio y acento."""
    monkeypatch.delenv("CURSO_SALIDA")  # aquí se prueba la carpeta de salida por omisión
    folder = tmp_path / "mi curso de español" / "notebooks"
    folder.mkdir(parents=True)
    write_lesson(folder, "01_bien", "print('hola')", FIGURE)
    broken = write_lesson(folder, "03_falla", "x = 1", "# división\nx / 0", "print('nunca')")
    old = nbformat.read(broken, as_version=4)
    for cell in old.cells[1:]:  # lo que imprimió otro día
        cell.execution_count, cell.outputs = 7, [new_output("stream", text="viejo\n")]
    nbformat.write(old, broken)
    write_lesson(folder, "04_despues", "print('fin')")
    monkeypatch.chdir(folder.parent)
    return folder.parent


def test_a_lesson_leaves_its_notebook_and_a_page_without_network_that_describes_its_figures(
    course, capsys
):
    assert main(["ejecutar", "1"]) == 0
    executed = nbformat.read(course / "salida" / "01_bien.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].text == "hola\n"
    assert [cell.execution_count for cell in executed.cells[1:]] == [1, 2]
    page = (course / "salida" / "01_bien.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["']?https?:|import\(["']http|url\(["']?http""", page)
    assert 'alt="Unos «ejes» vacíos"' in page
    assert '<html lang="es">' in page
    assert re.search(r"01_bien +\d+,\d s +bien", capsys.readouterr().out)


def test_sources_change_only_when_asked_and_then_always_the_same(course):
    path = course / "notebooks" / "01_bien.ipynb"
    original = path.read_bytes()
    main(["ejecutar", "01"])
    assert path.read_bytes() == original
    main(["ejecutar", "01_bien", "--guardar"])
    first = path.read_bytes()
    main(["ejecutar", "notebooks/01_bien.ipynb", "--guardar"])
    assert first != original
    assert path.read_bytes() == first


def test_a_failing_cell_is_named_and_what_ran_is_kept(course, capsys):
    before = (course / "notebooks" / "03_falla.ipynb").read_bytes()
    assert main(["ejecutar", "--guardar"]) == 1
    message = capsys.readouterr().err
    assert "03_falla" in message
    assert "celda de código 2 de 3" in message
    assert "ZeroDivisionError: division by zero" in message
    assert "sin ejecutar: 1" in message
    assert (course / "salida" / "03_falla.html").is_file()
    executed = nbformat.read(course / "salida" / "03_falla.ipynb", as_version=4)
    assert [cell.execution_count for cell in executed.cells[1:]] == [1, 2, None]
    assert "viejo" not in str(executed)
    assert not (course / "salida" / "04_despues.html").exists()
    assert (course / "notebooks" / "03_falla.ipynb").read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="En Windows las señales son otras")
@pytest.mark.parametrize("names", [["SIGINT"], ["SIGTERM", "SIGINT", "SIGINT"]])
def test_an_interrupted_lesson_keeps_what_ran_and_leaves_no_process(course, names):
    wait = "import os, subprocess\nprint(os.getpid(), flush=True)\nopen('listo', 'w').close()\n"
    path = write_lesson(course / "notebooks", "06_larga", "print('hecho')", "")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].source = f"{wait}subprocess.run(['sleep', '600'])"
    notebook.cells.append(new_code_cell("1", id="otra", outputs=[new_output("stream", text="a")]))
    nbformat.write(notebook, path)
    (course / "salida").mkdir()
    (course / "salida" / "06_larga.html").write_text("la de otra vez")
    command = [sys.executable, "-m", "course_lib.cli", "ejecutar", "6"]
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as running:
        while not (path.parent / "listo").exists() and running.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)  # lo impreso llega por otro camino
        for name in names:
            running.send_signal(getattr(signal, name))
        said = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert said.endswith("Interrumpido.\n") and "Traceback" not in said
    cells = nbformat.read(course / "salida" / "06_larga.ipynb", as_version=4).cells
    assert cells[1].outputs[0].text == "hecho\n" and not cells[3].outputs
    with pytest.raises(ProcessLookupError):
        os.kill(int(cells[2].outputs[0].text), 0)
    assert [file.name for file in (course / "salida").iterdir()] == ["06_larga.ipynb"]


def test_a_line_of_a_megabyte_does_not_hang_and_a_bar_shows_its_last_state(course):
    path = write_lesson(
        course / "notebooks", "06_mega", "print('x' * 1_000_000)", "print('uno\\rdos\\r\\ntres\\r')"
    )
    lessons.run_notebooks([path], course / "salida")
    cells = nbformat.read(course / "salida" / path.name, as_version=4).cells
    assert len(cells[1].outputs[0].text) == 1_000_001
    assert cells[2].outputs[0].text == "dos\r\ntres\r\n"


def test_a_dead_kernel_is_reported_like_any_failure(course, capsys):
    write_lesson(course / "notebooks", "05_muere", "import os", "os._exit(1)")
    assert main(["ejecutar", "5"]) == 1
    assert "05_muere se detuvo en la celda de código 2 de 2" in capsys.readouterr().err


def test_each_lesson_runs_in_its_own_folder_offline_and_does_nobodys_exercises(course, monkeypatch):
    monkeypatch.delenv("CURSO_SIN_PROGRESO")
    code = "import os\nprint(os.path.basename(os.getcwd()), os.environ['HF_HUB_OFFLINE'])"
    solved = "from course_lib.exercises import check, progreso\ncheck('9.2', {2, 4})\nprogreso()"
    path = write_lesson(course / "notebooks", "06_donde", code, solved)
    notes = course / "salida" / "progreso.json"
    notes.parent.mkdir()
    notes.write_text(mine := '{"1.1": {"resuelto": "2020-01-01"}}')
    lessons.run_notebooks([path], course / "salida")
    executed = nbformat.read(course / "salida" / "06_donde.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].text == "notebooks 1\n"
    said = executed.cells[2].outputs[0].text
    assert "9.2: correcto" in said and "Llevas 0 de" in said and notes.read_text() == mine


def test_a_track_of_the_hub_has_network_chosen_in_the_first_cell_or_with_the_variable(
    course, monkeypatch
):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    path = course / "notebooks" / "06_red.ipynb"
    for chosen in ("celda", "variable"):
        monkeypatch.setenv("CURSO_RUTA", "gpt2" if chosen == "variable" else "")
        code = f'import os\nRUTA = "{"gpt2" if chosen == "celda" else ""}"'
        write_lesson(path.parent, path.stem, f'{code}\nprint(os.environ.get("HF_HUB_OFFLINE"))')
        lessons.run_notebooks([path], course / "salida")
        executed = nbformat.read(course / "salida" / path.name, as_version=4)
        assert executed.cells[1].outputs[0].text == "None\n", chosen


def test_peak_memory_is_that_of_the_kernels(course):
    path = write_lesson(course / "notebooks", "06_memoria", "block = bytearray(2**29)\nlen(block)")
    lessons.run_notebooks([path], course / "salida")
    assert 0.5 < lessons.peak_memory_gib() < 64


def test_the_scoreboard_is_shown_only_if_this_run_wrote_it(course):
    path = course / "salida" / lessons.SCOREBOARD_FILE
    path.parent.mkdir()
    path.write_text('[{"medida": "sabe"}]', encoding="utf-8")
    assert lessons.read_scoreboard(course / "salida", since=time.time() - 60) == [
        {"medida": "sabe"}
    ]
    assert lessons.read_scoreboard(course / "salida", since=time.time() + 60) == []


def test_cleaning_drops_what_changes_and_keeps_what_matters():
    bar = " 50%|█████     | 1/2 [00:00<00:00, 9.9it/s]"
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Button()"}
    cell = new_code_cell("x", metadata={"execution": {}, "alt": "Una figura", "tags": ["t"]})
    cell.outputs = [
        new_output("stream", name="stderr", text=f"\r{bar}"),
        new_output("display_data", data=view | {"text/plain": bar}),
        new_output("display_data", data=view),
        new_output("stream", name="stderr", text="Aviso que hay que leer\n"),
    ]
    notebook = new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    clean_notebook(notebook)
    assert cell.metadata == {"alt": "Una figura", "tags": ["t"]}
    assert [output.get("data") or output.text for output in cell.outputs] == [
        {"text/plain": "Button()"},
        "Aviso que hay que leer\n",
    ]
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_cells_without_identifier_get_one_that_does_not_change(tmp_path):
    path = write_lesson(tmp_path, "01_vieja", "1")
    path.write_text(
        re.sub(r'\s*"id": "c\d",', "", path.read_text()).replace('minor": 5', 'minor": 4')
    )
    assert [cell.id for cell in read_notebook(path).cells] == ["celda-001", "celda-002"]


def test_local_images_travel_inside_the_page(tmp_path):
    (tmp_path / "punto.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    notebook = new_notebook(cells=[new_markdown_cell("![Un punto](punto.svg)")])
    page = to_html(notebook, tmp_path / "01_prueba.ipynb")
    assert 'src="data:image/svg+xml;base64,' in page
    assert 'alt="Un punto"' in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ejecutar", "9"], "No hay ninguna lección «9»: las que hay son 01_bien"),
        (["ejecutar", "²"], "No hay ninguna lección «²»"),
        (["ejecutar", "ñ" * 5_000 + "\n"], "el nombre es demasiado largo: acórtalo"),
        (["ejecutar", "roto.ipynb"], "roto.ipynb no es un cuaderno"),
        (["ejecutar", "1", "--salida", "notebooks"], "pisaría un cuaderno"),
        (["ejecutar", "1", "--salida", "mis_cuadernos"], "pisaría un cuaderno"),
        (["ejecutar", "1", "otra/01_bien.ipynb"], "dos se llaman igual"),
        (["ejecutar", "1", "--salida", "roto.ipynb"], "roto.ipynb»: ya existe"),
    ],
)
def test_a_mistake_gets_one_sentence_and_no_traceback(course, capsys, arguments, message):
    (course / "roto.ipynb").write_text("{", encoding="utf-8")
    for folder in ("otra", "mis_cuadernos"):
        (course / folder).mkdir()
        write_lesson(course / folder, "01_bien", "1")
    before = {path: path.read_bytes() for path in course.rglob("*.ipynb")}
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and len(error) < 900
    assert "Traceback" not in error and "Errno" not in error
    assert {path: path.read_bytes() for path in course.rglob("*.ipynb")} == before


GOOD = nbformat.writes(new_notebook(cells=[new_code_cell("1")]))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe{\x00}\x00", b"[]", b"3", b'{"cells": [1], "nbformat_minor": 5}',
        b'{"cells": 3}', b"[" * 100_000, b'{"cells": [], "nbformat_minor": "5"}',
        b'{"cells": [], "nbformat_minor": ' + b"9" * 5_000 + b"}",
        GOOD.replace('"code"', '"otra"').encode(), GOOD.replace('[\n', '[\n"x"\n', 1).encode(),
    ],
)  # fmt: skip
def test_a_broken_notebook_is_explained_in_spanish(tmp_path, content):
    path = tmp_path / "roto.ipynb"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_notebook(path)
    said = str(error.value).removeprefix(f"{path} ")
    assert re.fullmatch(
        r"no es un cuaderno de Jupyter en formato 4(, o está roto en la línea \d+)?\.", said
    )


def test_a_notebook_has_a_limit(tmp_path, monkeypatch):
    path = write_lesson(tmp_path, "01_grande", "1")
    monkeypatch.setattr(lessons, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="borra las salidas"):
        read_notebook(path)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_nothing_is_lost_in_any_console(monkeypatch, encoding):
    screen = io.TextIOWrapper(io.BytesIO(), encoding, "strict")
    monkeypatch.setattr(sys, "stdout", screen)
    text = "«sí» ≥ 5 → 😀 \ud800"
    assert run_safely(lambda: print(json.dumps(text, ensure_ascii=False))) == 0
    assert json.loads(screen.buffer.getvalue().decode(encoding)) == text
    with pytest.raises(SystemExit):
        main(["auditar", "--help"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.EROFS, "Read-only file system", "a/b.txt"), 2,
         "«a/b.txt»: está en un disco de solo lectura: elige otro sitio.\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2,
         "No se puede seguir: no queda sitio en el disco: libera espacio y repite.\n"),
        (FileNotFoundError("Falta algo."), 2, "Falta algo.\n"),
        (MemoryError(), 2, "No se puede seguir: no queda memoria: cierra programas y repite.\n"),
        (KeyboardInterrupt(), 130, "Interrumpido.\n"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_said_in_spanish(capsys, error, code, said):
    def fail():
        raise error

    assert run_safely(fail) == code
    signal.signal(signal.SIGINT, signal.default_int_handler)  # si no, ya no se podría parar
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert capsys.readouterr().err == said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Solo en Linux")
@pytest.mark.parametrize("closed", [False, True])
def test_an_output_that_does_not_admit_more_is_no_traceback(closed):
    command = [sys.executable, "-m", "course_lib.cli", "--version"]
    with open("/dev/full", "w") as full:
        run = {
            "stdout": None if closed else full,
            "preexec_fn": (lambda: os.close(1)) if closed else None,
        }
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, **run)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_without_lessons_it_says_where_it_looked(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["ejecutar"]) == 2
    assert f"No hay lecciones en {tmp_path / 'notebooks'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "falta: ORDEN"),
        (["preentrenar"], "'preentrenar' no vale; hay 'ejecutar', 'cuadernos', 'auditar'"),
        (
            ["auditar", "mis.jsonl", "--modelo", "m", "--longitud", "x"],
            "'x' no es un número entero válido",
        ),
        (["ejecutar", "--guardar=x"], "no lleva valor"),
        (["ñ\n" * 1_000_000], "'ñ\\nñ"),
    ],
)
def test_usage_errors_are_in_spanish(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("uso: curso") and len(error) < 900
    assert message in error


@pytest.mark.parametrize("value", ["²", "0", "-1", "1e3", "1_000", "9" * 5_000, "1000001"])
def test_a_number_of_the_workshop_has_limits(capsys, value):
    with pytest.raises(SystemExit):
        workshop(["preentrenar", f"--pasos={value}"])
    error = capsys.readouterr().err
    assert f"«{value[:70]}" in error and "pon un entero del 1 al 1.000.000" in error


def test_version_is_the_package_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.split() == ["curso", __version__]


def test_the_page_shows_only_the_title_of_a_folded_cell(tmp_path):
    cell = new_code_cell(
        "# @title Prepara\nimport os", metadata={"jupyter": {"source_hidden": True}}
    )
    page = to_html(new_notebook(cells=[cell, new_code_cell("import sys")]), tmp_path / "x.ipynb")
    assert "Prepara" in page
    assert ">os<" not in page
    assert ">sys<" in page
