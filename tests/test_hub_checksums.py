"""Las sumas del minimodelo: un archivo dañado o que falta no se carga, y se dice cuál es."""

import hashlib
import re
import shutil

import pytest
from checks import complaint

from course_lib import data_path
from course_lib.hub import MODEL_FILES, verify_checksums
from taller.pretraining import write_checksums


@pytest.fixture
def model_folder(tmp_path):
    """Una carpeta con los nombres de un modelo y sus sumas; lo que hay dentro da igual."""
    for name in MODEL_FILES:
        (tmp_path / name).write_text(f"contenido de {name}")
    (tmp_path / "config.json").write_text("abc")
    write_checksums(tmp_path)
    return tmp_path


def test_checksums_are_those_of_sha256sum(model_folder):
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, «abc»
    assert f"{known}  config.json" in (model_folder / "SHA256SUMS").read_text().splitlines()
    assert len((model_folder / "SHA256SUMS").read_text().splitlines()) == 5
    verify_checksums(model_folder)


def test_a_damaged_or_missing_file_is_told_by_name_and_with_the_way_out(model_folder):
    unsaid = {}
    for name in ("SHA256SUMS", *MODEL_FILES):
        whole = (model_folder / name).read_bytes()
        (model_folder / name).unlink()
        said = complaint(verify_checksums, model_folder)
        if not re.search(rf"FileNotFound.*Falta «.*{name}»\. Vuelve a descargar el curso", said):
            unsaid[name, "falta"] = said
        if name in MODEL_FILES:
            (model_folder / name).write_bytes(bytes([whole[0] ^ 1]) + whole[1:])  # un solo bit
            said = complaint(verify_checksums, model_folder)
            if not re.search(rf"ValueError.*{name}» está dañado.*Vuelve a descargar el", said):
                unsaid[name, "dañado"] = said
        (model_folder / name).write_bytes(whole)
    assert not unsaid
    verify_checksums(model_folder)


def test_a_damaged_list_of_checksums_does_not_pass_for_a_verified_model(model_folder):
    sums = model_folder / "SHA256SUMS"
    cut = sums.read_bytes()[:150]
    for content in (b"", b"nada\n", b"\xff\xfe\x00", cut):
        sums.write_bytes(content)
        assert "SHA256SUMS» está dañado" in complaint(verify_checksums, model_folder), content


def test_the_shipped_model_is_the_one_that_its_checksums_say_and_stops_being_it_if_touched(
    tmp_path,
):
    shipped = data_path("mini")
    verify_checksums(shipped)
    digest = hashlib.sha256((shipped / "model.safetensors").read_bytes()).hexdigest()
    assert f"{digest}  model.safetensors" in (shipped / "SHA256SUMS").read_text()
    shutil.copytree(shipped, tmp_path / "mini")
    with (tmp_path / "mini" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"model\.safetensors» está dañado"):
        verify_checksums(tmp_path / "mini")
