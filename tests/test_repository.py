"""Lo que hace de este repositorio algo instalable, ligero de importar y sin sorpresas."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_lib import data_path

ROOT = Path(__file__).parents[1]
MODULES = sorted(path.stem for path in (ROOT / "course_lib").glob("*.py"))
HEAVY = {"torch", "transformers", "datasets", "accelerate", "matplotlib", "pandas", "numpy"}
PACKAGE_HOSTS = re.compile(
    r"(?:pypi|pythonhosted|anaconda|npmjs|jsdelivr|unpkg|download\.pytorch)\.(?:org|com|net)[\w/-]*"
)
# La dirección pública y documentada de torch para CPU es la única que hace falta nombrar.
CPU_INDEX = "download." + "pytorch.org/whl/cpu"
MAY_NAME_CPU_INDEX = {"README.md", ".github/workflows/ci.yml"}
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root)/\w")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements() -> list[Requirement]:
    extras = project()["optional-dependencies"].values()
    lines = [*project()["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in lines]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def repository_files() -> list[str]:
    """Los archivos que git guarda o guardaría."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("no es un repositorio de git")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in names.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_module_loads_nothing_heavy(module):
    name = "course_lib" if module == "__init__" else f"course_lib.{module}"
    code = f"import sys, {name}; print(*{HEAVY} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not result.stdout.strip()


def test_every_imported_package_is_declared():
    distributions = importlib.metadata.packages_distributions()
    declared = {canonicalize_name(Requirement(line).name) for line in project()["dependencies"]}
    undeclared = {}
    for path in (ROOT / "course_lib").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in (full.split(".")[0] for full in names):
                owners = {canonicalize_name(owner) for owner in distributions.get(name, [])}
                if name not in sys.stdlib_module_names | {"course_lib", "IPython"}:
                    if not owners & declared:
                        undeclared[name] = path.name
    assert not undeclared  # IPython llega con ipykernel, que lo exige


def test_constraints_are_exact_plain_versions_within_the_declared_bounds():
    pins = constraints()
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins.values())
    for requirement in requirements():
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} frente a {version}"


def test_no_file_names_a_package_host_or_a_path_of_one_machine():
    found = []
    for name in repository_files():
        text = (ROOT / name).read_bytes().decode("utf-8", errors="replace")
        hosts = set(PACKAGE_HOSTS.findall(text))
        if name in MAY_NAME_CPU_INDEX:
            hosts -= {CPU_INDEX}
        found += [f"{name}: {what}" for what in hosts | set(MACHINE_PATHS.findall(text))]
    assert not found


def test_own_words_are_sorted_and_not_repeated():
    words = (ROOT / "palabras.txt").read_text(encoding="utf-8").split()
    lower = [word.lower() for word in words]
    assert lower == sorted(set(lower))


def test_missing_data_is_explained():
    with pytest.raises(FileNotFoundError, match=r"no-existe\.json.* reinstala el paquete"):
        data_path("no-existe.json")


def test_the_wheel_works_away_from_the_repository(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling construye la rueda sin red")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("curso_ajuste_fino-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "instalado")
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"course_lib"}
    assert {f"course_lib/{f}" for f in repository_files() if f.startswith("data/")} <= set(names)

    environment = os.environ | {"PYTHONPATH": str(tmp_path / "instalado")}
    code = "import course_lib; print(course_lib.data_path('mundo', 'paises.csv'))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(result.stdout.strip()).is_relative_to(tmp_path / "instalado")
