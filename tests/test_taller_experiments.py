"""Los experimentos largos se reanudan, y lo guardado con otra receta no se da por bueno."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from taller.experiments import provenance, run_jobs, store


def double(number: int) -> dict:
    """Un trabajo que otro proceso puede importar."""
    if number < 0:
        raise ValueError("negativo")
    return {"doble": 2 * number}


@pytest.fixture
def no_processes(monkeypatch):
    """Los trabajos, en hilos de este proceso: arrancar otros es lo que tarda."""

    class Here(ThreadPoolExecutor):
        def __init__(self, workers, context, initializer):
            super().__init__(workers)

    monkeypatch.setattr("taller.experiments.ProcessPoolExecutor", Here)


def test_a_failed_job_of_another_process_keeps_what_was_done(tmp_path):
    with pytest.raises(ValueError, match="negativo"):
        run_jobs(double, {"a": [1], "mal": [-1]}, tmp_path, workers=1, report=lambda line: None)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["resultado"] == {
        "doble": 2
    }


def test_each_result_is_saved_and_not_computed_twice(tmp_path, no_processes):
    said = []
    jobs = {"a": [1], "b": [2]}
    assert run_jobs(double, jobs, tmp_path, report=said.append) == {
        "a": {"doble": 2},
        "b": {"doble": 4},
    }
    assert sorted(line.split(":")[0] for line in said) == ["a", "b"]
    said.clear()
    assert run_jobs(double, jobs, tmp_path, report=said.append)["b"] == {"doble": 4}
    assert said == ["Ya hechos: 2 de 2."]


def test_a_result_of_other_arguments_or_versions_is_computed_again(tmp_path, no_processes):
    run_jobs(double, {"a": [1], "b": [2]}, tmp_path, report=lambda line: None)
    saved = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    (tmp_path / "b.json").write_text(json.dumps(saved | {"torch": "0.0"}), encoding="utf-8")
    said = []
    assert run_jobs(double, {"a": [5], "b": [2]}, tmp_path, report=said.append) == {
        "a": {"doble": 10},
        "b": {"doble": 4},
    }
    assert len(said) == 2


def test_what_is_stored_says_where_it_comes_from(tmp_path):
    store(tmp_path / "carpeta" / "x.json", {"tabla": [1]})
    stored = json.loads((tmp_path / "carpeta" / "x.json").read_text(encoding="utf-8"))
    assert stored["tabla"] == [1]
    assert stored["procedencia"] == provenance()
    assert {"fecha", "torch", "transformers", "minimodelo"} <= stored["procedencia"].keys()
