"""Cómo describe el Hub lo que guarda: fichas, listas de archivos y las huellas de cada uno."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

LARGE = (".safetensors", ".parquet", ".bin", ".pt")  # lo que git-lfs guarda aparte


@dataclass(frozen=True)
class File:
    """Un archivo publicado: dónde está, cuánto ocupa y sus dos huellas."""

    path: Path
    size: int
    sha1: str  # la de git: identifica los pequeños
    sha256: str  # la de git-lfs: identifica los grandes

    @property
    def large(self) -> bool:
        return self.path.suffix in LARGE

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.sha1

    def entry(self, name: str) -> dict:
        """Cómo aparece en las listas de archivos del Hub."""
        lfs = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 134}}
        own = {"type": "file", "oid": self.sha1, "size": self.size, "path": name}
        return own | (lfs if self.large else {})


def fingerprint(path: Path) -> File:
    """Tamaño y huellas de un archivo: las de git y git-lfs."""
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return File(path, len(content), blob, hashlib.sha256(content).hexdigest())


def every_entry(files: dict[str, File]) -> list[dict]:
    """Las carpetas y los archivos de una revisión, como los lista el Hub."""
    folders = {parent.as_posix() for name in files for parent in Path(name).parents} - {"."}
    fake = {f: hashlib.sha1(f.encode()).hexdigest() for f in folders}
    return [
        {"type": "directory", "oid": fake[f], "size": 0, "path": f} for f in sorted(folders)
    ] + [file.entry(name) for name, file in files.items()]


def describe(name: str, commit: str, files: dict[str, File]) -> dict:
    """La ficha de un repositorio."""
    when = "2024-02-19T10:57:45.000Z"
    state = {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0}
    return state | {
        "_id": commit[:24],
        "id": name,
        "sha": commit,
        "lastModified": when,
        "createdAt": when,
        "tags": [],
        "siblings": [{"rfilename": path} for path in files],
    }


def list_branches(branches: dict[str, str]) -> dict:
    """Las ramas de un repositorio; las que el Hub hace al convertir van aparte."""
    listed = {"branches": [], "converts": [], "tags": []}
    for name, commit in branches.items():
        convert = name.startswith("refs/convert/")
        ref = name if convert else f"refs/heads/{name}"
        entry = {"name": name.removeprefix("refs/convert/"), "ref": ref, "targetCommit": commit}
        listed["converts" if convert else "branches"].append(entry)
    return listed
