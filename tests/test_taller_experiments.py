"""Los experimentos largos se reanudan, y lo guardado con otra receta no se da por bueno."""

import gzip
import json
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from types import SimpleNamespace

import pytest
from checks import each

from course_lib import world
from course_lib.dialogues import shipped_dialogues
from course_lib.evaluation import build_exam
from taller import experiments
from taller.experiments import code_hash, hypotheses_commit, leaked, provenance, run_jobs, store


def double(number: int) -> dict:
    """Un trabajo que otro proceso puede importar."""
    if number < 0:
        raise ValueError("negativo")
    return {"doble": 2 * number}


def nap(seconds: int) -> dict:
    """Un trabajo que tarda, y que dice si no oye Ctrl-C."""
    time.sleep(seconds)
    return {"sordo": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())}


@pytest.fixture
def code(monkeypatch):
    """Una función que pone la huella del código de los trabajos, que aquí no son del paquete; la
    historia de git, también de mentira."""

    def put(text: str) -> None:
        monkeypatch.setattr(experiments, "code_hash", lambda function: text)

    monkeypatch.setattr(experiments, "hypotheses_commit", lambda: "abc")
    monkeypatch.setattr(experiments, "check_committed", lambda: None)
    monkeypatch.setattr(experiments, "git", lambda *args: "def")
    put("uno")
    return put


@pytest.fixture
def no_processes(monkeypatch):
    """Los trabajos, en hilos de este proceso: arrancar otros es lo que tarda."""

    class Here(ThreadPoolExecutor):
        def __init__(self, workers, context, initializer):
            super().__init__(workers)

    monkeypatch.setattr("taller.experiments.ProcessPoolExecutor", Here)


def test_a_failed_job_of_another_process_keeps_what_was_done(tmp_path, code):
    with pytest.raises(ValueError, match="negativo"):
        run_jobs(double, {"a": [1], "mal": [-1]}, tmp_path, workers=1, report=lambda line: None)
    saved = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert saved["resultado"]["doble"] == 2


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="En Windows no hay")
def test_an_interruption_does_not_wait_for_the_jobs_and_keeps_what_was_done(tmp_path, code):
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(nap, {"a": [0], "larga": [100_000]}, tmp_path, report=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["resultado"]["sordo"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_each_result_is_saved_with_its_date_and_not_computed_twice(tmp_path, no_processes, code):
    said = []
    jobs = {"a": [1], "b": [2]}
    done = run_jobs(double, jobs, tmp_path, report=said.append)
    when = {"fecha": date.today().isoformat(), "commit": "def"}
    assert done == {"a": {"doble": 2} | when, "b": {"doble": 4} | when}
    assert sorted(line.split(":")[0] for line in said) == ["a", "b"]
    said.clear()
    assert run_jobs(double, jobs, tmp_path, report=said.append) == done
    assert said == ["Ya hechos: 2 de 2."]


def test_what_was_made_with_other_arguments_versions_or_code_is_made_again(
    tmp_path, no_processes, code
):
    run_jobs(double, {"a": [1], "b": [2]}, tmp_path, report=lambda line: None)
    saved = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    (tmp_path / "b.json").write_text(json.dumps(saved | {"torch": "0.0"}), encoding="utf-8")
    said = []
    done = run_jobs(double, {"a": [5], "b": [2]}, tmp_path, report=said.append)
    assert [run["doble"] for run in done.values()] == [10, 4]
    code("otro")
    run_jobs(double, {"a": [5], "b": [2]}, tmp_path, report=said.append)
    assert len(said) == 4  # ninguna vez estaba hecho nada


@each(
    "file, text, same",
    [
        (
            "taller/trabajo.py",
            '"""Otra."""\ndef f(x):\n    """No."""\n    return x + 1  # a\n',
            True,
        ),
        ("taller/trabajo.py", '"""Una."""\ndef f(x):\n    """Sí."""\n    return x + 2\n', False),
        ("course_lib/tuning.py", "RATE = 1  # la de siempre\n", True),
        ("course_lib/tuning.py", "RATE = 2\n", False),
        ("course_lib/plots.py", "COLOR = 2\n", True),  # no decide nada
    ],
)
def test_the_fingerprint_changes_with_the_code_and_not_with_what_explains_it(
    tmp_path, monkeypatch, file, text, same
):
    work = '"""Una."""\ndef f(x):\n    """Sí."""\n    return x + 1\n'
    modules = {f"course_lib/{name}.py": "RATE = 1\n" for name in [*experiments.MODULES, "plots"]}
    workshop = ("trabajo", "experiments", "factores", "pretraining", "reglas", "rivales", "scenes")
    modules |= {f"taller/{name}.py": work for name in workshop}
    for name, written in modules.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(written, encoding="utf-8")
    monkeypatch.setattr(experiments, "course_root", lambda: tmp_path)
    function = SimpleNamespace(__module__="taller.trabajo")
    before = code_hash(function)
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert (code_hash(function) == before) is same


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Una función que da órdenes a git en una carpeta con unas hipótesis; devuelve lo que dice."""
    if not shutil.which("git"):
        pytest.skip("No hay git.")
    monkeypatch.setattr(experiments, "HYPOTHESES", tmp_path / "hipotesis.toml")
    experiments.HYPOTHESES.write_text("meta = 1\n", encoding="utf-8")
    author = ["-c", "user.name=x", "-c", "user.email=x"]

    def run(*args: str) -> str:
        command = ["git", "-C", str(tmp_path), *author, *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return run


def test_hypotheses_that_are_not_in_a_commit_are_refused(git, tmp_path):
    def refused():
        with pytest.raises(ValueError, match="Las predicciones van antes que las medidas"):
            hypotheses_commit()

    refused()  # ni siquiera hay historia
    git("init")
    refused()
    git("add", ".")
    refused()
    git("commit", "-m", "meta")
    commit = git("rev-parse", "HEAD")
    assert hypotheses_commit() == commit
    (tmp_path / "otro.txt").write_text("x", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "otra cosa")
    assert hypotheses_commit() == commit != git("rev-parse", "HEAD")
    experiments.HYPOTHESES.write_text("meta = 2\n", encoding="utf-8")
    refused()


def test_code_or_data_that_are_not_in_a_commit_are_refused(git, tmp_path, monkeypatch):
    for name in ("course_lib", "taller", *experiments.DATA):
        (tmp_path / name).mkdir()
        (tmp_path / name / "algo.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr(experiments, "course_root", lambda: tmp_path)
    monkeypatch.setattr(experiments, "data_path", lambda *parts: tmp_path.joinpath(*parts))
    git("init")
    git("add", ".")
    git("commit", "-m", "todo")
    (tmp_path / "notas.md").write_text("x", encoding="utf-8")
    experiments.check_committed()
    (tmp_path / "taller" / "algo.py").write_text("x = 2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"taller/algo\.py"):
        experiments.check_committed()


def test_the_model_of_a_commit_comes_out_of_the_history(git, tmp_path, monkeypatch):
    (tmp_path / "data" / "mini").mkdir(parents=True)
    model = tmp_path / "data" / "mini" / "model.safetensors"
    model.write_text("viejo", encoding="utf-8")
    git("init")
    git("add", ".")
    git("commit", "-m", "viejo")
    old = git("rev-parse", "HEAD")
    model.write_text("nuevo", encoding="utf-8")
    monkeypatch.setattr(experiments, "course_root", lambda: tmp_path)
    monkeypatch.setenv("CURSO_SALIDA", str(tmp_path / "salida"))
    found = experiments.model_of(old)
    assert (found / model.name).read_text(encoding="utf-8") == "viejo"


def test_what_is_stored_says_where_it_comes_from_and_keeps_the_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "hypotheses_commit", lambda: "abc")
    path = tmp_path / "carpeta" / "x.json"
    run = {"condicion": "a", "medidas": {"sabe": [["Perú"], [1], [4]]}}
    store(
        path,
        {"tabla": {"x": 1}, "corridas": [run]},
        {"a-0": {"chat": ["sí"]}, "a-1": {"chat": ["ño"]}},
        "una huella",
    )
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored == {
        "procedencia": provenance() | {"hipótesis": "abc", "codigo": "una huella"},
        "tabla": {"x": 1},
        "corridas": [{"condicion": "a", "medidas": {"sabe": [0, [1], [4]]}}],
        "grupos": [["Perú"]],
    }
    assert {"fecha", "torch", "transformers", "minimodelo", "datos"} <= stored["procedencia"].keys()
    packed = path.with_suffix(".jsonl.gz").read_bytes()
    assert packed[4:8] == bytes(4)  # sin la hora: los mismos datos dan el mismo archivo
    assert [json.loads(line) for line in gzip.decompress(packed).decode().splitlines()] == [
        {"corrida": "a-0", "chat": ["sí"]},
        {"corrida": "a-1", "chat": ["ño"]},
    ]


def test_what_leaks_into_a_run_is_counted_in_what_its_trainer_received(chat_tokenizer):
    peru = [c for c in world.load_countries() if c.name == "Perú"]
    exam = build_exam(8, countries=[*peru, *world.load_countries()[:3]])
    about = [q for q in [*exam.facts, *exam.yes_no, *exam.chained] if q.about == "Perú"]
    turn = shipped_dialogues("test")[0].turns[1]

    def run(tuned, held):
        rows = [[{"input_ids": chat_tokenizer.encode(t)} for t in texts] for texts in (tuned, held)]
        trainer = SimpleNamespace(train_dataset=rows[0], eval_dataset=rows[1] or None)
        return SimpleNamespace(trainer=trainer)

    assert leaked(run(["Hola."], []), chat_tokenizer, exam) == 0
    assert leaked(run(["Hola.", "El Perú es alto."], []), chat_tokenizer, exam) == len(about) > 0
    assert leaked(run(["Hola."], [f"<|user|> {turn}<|bot|> Ya."]), chat_tokenizer, exam) == 1
    named = run(["¿Y la de Chad?", "Un malinés."], [])
    assert leaked(named, chat_tokenizer, exam, ["Chad", "Mali"]) == 1
