"""Lo que el curso pide y lo que Colab trae, sin montar el entorno: eso lo hace `make colab`."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from taller import colab

ROOT = Path(__file__).parents[1]


@pytest.fixture
def frozen(shared_data) -> dict[str, str]:
    return colab.frozen()


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in project["dependencies"]]


def test_the_list_is_read_whole_and_torch_apart(frozen):
    assert len(frozen) == 634  # contadas con wc
    assert frozen["jinja2"] == "3.1.6"
    assert "torch" not in frozen


def test_what_colab_has_satisfies_every_bound_of_the_course(frozen):
    needed = {canonicalize_name(line.name): line.specifier for line in requirements()}
    assert needed.keys() - frozen.keys() == {
        *("torch", "bm25s", "onnx", "onnxruntime", "onnxscript"),
    }
    wrong = {
        name: frozen[name]
        for name, bound in needed.items()
        if name in frozen and not bound.contains(frozen[name])
    }
    assert not wrong
    assert needed["torch"].contains(colab.COLAB_TORCH["version"])


def test_the_short_list_of_constraints_is_part_of_what_colab_has(frozen):
    lines = (ROOT / "constraints-colab.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert {canonicalize_name(name): version for name, version in pins}.items() <= frozen.items()


def test_what_is_left_out_is_in_the_list_and_is_not_needed_by_the_course(frozen):
    left_out = {name for names in colab.LEFT_OUT.values() for name in names}
    assert left_out <= frozen.keys()
    assert not left_out & {canonicalize_name(line.name) for line in requirements()}


def test_a_line_with_an_address_or_a_build_label_is_not_a_version_to_install():
    text = "Jinja2==3.1.6\ntorch==2.11.0+cpu\ngoogle-colab @ file:///colab\njaraco.text==4.0.0\n"
    assert colab._pins(text) == {"jinja2": "3.1.6", "jaraco-text": "4.0.0"}


def test_without_the_list_it_says_so_and_does_not_fail(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(colab, "FREEZE", tmp_path / "no-esta.txt")
    for check in ("entorno", "resolver"):
        monkeypatch.setattr("sys.argv", ["colab.py", check])
        assert colab.main() == 0
        assert "Colab, sin comprobar: no está" in capsys.readouterr().out
