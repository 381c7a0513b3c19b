"""Sumas SHA-256: que el modelo que se carga sea, byte a byte, el que se publicó."""

import hashlib
from pathlib import Path

MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)


def sha256(path: Path) -> str:
    """La suma SHA-256 de un archivo, en hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_checksums(directory: Path) -> None:
    """Escribe `SHA256SUMS`, en el formato de `sha256sum`, con los archivos del modelo."""
    lines = [
        f"{sha256(directory / name)}  {name}\n"
        for name in MODEL_FILES
        if (directory / name).exists()
    ]
    (directory / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def verify_checksums(directory: Path) -> None:
    """Comprueba que los archivos del modelo son los publicados.

    Raises:
        FileNotFoundError: si falta alguno, o la lista de sumas.
        ValueError: si alguno no coincide con su suma, o a la lista le falta una.
    """
    way_out = "Vuelve a descargar el curso o restaura el archivo con git."
    sums = directory / "SHA256SUMS"
    if not sums.exists():
        raise FileNotFoundError(f"Falta «{sums}». {way_out}")
    lines = sums.read_text(encoding="utf-8", errors="replace").splitlines()
    expected = {line[66:]: line[:64] for line in lines}
    if not expected.keys() >= set(MODEL_FILES):
        raise ValueError(f"«{sums}» está dañado: no tiene la suma de cada archivo. {way_out}")
    for name, digest in expected.items():
        path = directory / name
        if not path.exists():
            raise FileNotFoundError(f"Falta «{path}». {way_out}")
        if sha256(path) != digest:
            raise ValueError(f"«{path}» está dañado: su SHA-256 no es el de «{sums}». {way_out}")
