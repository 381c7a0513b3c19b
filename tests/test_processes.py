"""Dos procesos han de dar lo que da uno: las mismas pérdidas, paso a paso, y los mismos pesos."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_tuning
from safetensors.torch import load_file
from transformers import TrainingArguments

from course_lib.training import fine_tune

SCRIPT = Path(small_tuning.__file__)


def launch(folder: Path, jobs: dict, cut: bool = False) -> str:
    """Hace los ajustes de juguete con `torchrun`, en dos procesos, y devuelve lo que dijeron."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(SCRIPT), str(folder), json.dumps(jobs)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    said = ended.stdout + ended.stderr
    assert (ended.returncode != 0) == cut, said
    return said


def assert_equal(one: Path, two: Path) -> None:
    losses, others = (json.loads((f / "perdidas.json").read_text("utf-8")) for f in (one, two))
    assert len(losses) == len(others)
    for mine, other in zip(losses, others, strict=True):
        assert mine == pytest.approx(other, abs=1e-4)
    weights, other_weights = (load_file(f / "pesos.safetensors") for f in (one, two))
    for name in weights:
        assert (weights[name] - other_weights[name]).abs().max() < 1e-5


def test_two_processes_tune_as_one_and_go_on_after_a_cut(tmp_path):
    # Con 24 filas y lotes de 8 no sobra ninguna; con 21 o 19, la última ronda de dos procesos se
    # completa con filas repetidas; con 17, a uno de los dos no le queda ninguna suya.
    jobs = {
        "exacto": {"rows": 24},
        "resto": {"rows": 21},
        "acumulando": {"rows": 19, "pieces": 2},
        "sin ninguna": {"rows": 17},
    }
    launch(tmp_path / "dos", jobs)
    for name, options in jobs.items():
        small_tuning.main(tmp_path / "uno" / name, **options)
        assert_equal(tmp_path / "uno" / name, tmp_path / "dos" / name)

    launch(tmp_path / "cortado", {"resto": {"rows": 21, "dies": 5}}, cut=True)
    said = launch(tmp_path / "cortado", {"resto": {"rows": 21}})
    assert said.count("Sigo desde el paso 4 de 6") == 1  # lo dice uno, no los dos
    assert_equal(tmp_path / "dos" / "resto", tmp_path / "cortado" / "resto")


def test_each_process_reads_its_files_of_a_stream_and_a_cut_one_goes_on(tmp_path):
    rows = {tuple(row.input_ids) for row in small_tuning.invented_rows(64)}
    # Con menos archivos que procesos, los dos leen el mismo, y cada uno se queda con sus filas.
    launch(tmp_path, {f"{n} archivos": {"rows": 64, "shards": n} for n in (1, 2)})
    for name in ("1 archivos", "2 archivos"):
        seen = [json.loads(p.read_text("utf-8")) for p in (tmp_path / name).glob("*/vistas.json")]
        read = [tuple(row) for part in seen for row in part]
        assert len(seen) == 2 and len(read) == len(rows) and {*read} == rows

    options = {"rows": 64, "shards": 2}
    small_tuning.main(tmp_path / "seguido", **options)
    command = [sys.executable, SCRIPT, tmp_path, json.dumps({"cortado": options | {"dies": 5}})]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 9
    small_tuning.main(tmp_path / "cortado", **options)
    assert_equal(tmp_path / "seguido", tmp_path / "cortado")


def test_a_stream_needs_to_be_told_how_many_steps(tmp_path, make_model):
    stream = small_tuning.as_stream(small_tuning.invented_rows(8), tmp_path, 1)
    args = TrainingArguments(output_dir=tmp_path, use_cpu=True)
    with pytest.raises(ValueError, match="di cuántos pasos dar, con max_steps"):
        fine_tune(make_model(), args, stream, small_tuning.collate)
