"""Cargar del Hub de Hugging Face: qué se baja, de dónde, y qué hacer cuando no se puede.

Lo que baja y guarda son los cargadores de transformers y datasets, sin tocar. Aquí se comprueba
que lo bajado es lo publicado, y cada fallo se cuenta con una frase (`explain`).
"""

import errno
import hashlib
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import mock

from course_lib import read_toml
from course_lib.dialogues import Dialogue, read_dialogues

# DailyDialog tal como lo convirtió el propio Hub y, si falla, una copia: el original se reparte con
# un guion de carga, y datasets 4 ya no los ejecuta. Van el nombre y la revisión. Se cargan enteros,
# que son pocos megas: sin red, datasets solo encuentra en su caché lo que se pidió así.
DAILY_DIALOG = (
    ("li2017dailydialog/daily_dialog", "refs/convert/parquet"),
    ("OpenRL/daily_dialog", "main"),
)
PROBE_SECONDS = 5

_loaded: dict[str, list[Dialogue]] = {}  # cada parte, una vez por proceso; las copias, no


def daily_dialog(part: str = "train", report: Callable[[str], None] = print) -> list[Dialogue]:
    """Los diálogos de DailyDialog (Li et al., 2017, arXiv:1710.03957): «train», «validation» o
    «test». Si no se usa la primera fuente, lo avisa; si no hay ninguna, la frase dice por qué."""
    from datasets import load_dataset

    if part in _loaded:
        return _loaded[part]
    problems = []
    for name, revision in DAILY_DIALOG:
        try:
            with checked(name):
                table = load_dataset(name, revision=revision, split=part, trust_remote_code=False)
        except (ConnectionError, FileNotFoundError, ValueError) as error:
            problems.append(str(error))
            continue
        dialogues = read_dialogues(table, report, name=f"{name} ({part})")
        if not problems:
            return _loaded.setdefault(part, dialogues)
        report(f"{problems[0]} Se usa la copia «{name}».")
        return dialogues
    raise ConnectionError(problems[0])


@contextmanager
def checked(name: str) -> Iterator[None]:
    """Envuelve una carga: sus fallos, en una frase, y lo bajado, comprobado.

    Sin red, la carga se conforma con lo ya descargado. De una carpeta solo se explican los fallos.

    Raises:
        FileNotFoundError, ValueError, ConnectionError, OSError: si no existe, está dañado, no se
            puede descargar o no cabe en el disco.
    """
    local = Path(name).is_dir()
    if not local and _is_a_path(name):
        raise FileNotFoundError(f"No existe la carpeta «{name}»: revisa la ruta.")
    # Sin safetensors no se carga, ni se pide a un servicio ajeno que los haga, como transformers.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    with _offline_if(not local and not reachable()):
        try:
            yield
        except Exception as error:  # cada biblioteca falla a su manera: se mira la cadena entera
            if not local:
                refuse_damaged(name, error)
            kind, sentence = explain(_cause(error, name), name, local)
            if kind is None:
                raise
            raise kind(sentence) from error
    if not local:
        refuse_damaged(name)


@contextmanager
def no_pickles() -> Iterator[None]:
    """Que nada de lo que se cargue se lea como *pickle*, lo nombre quien lo nombre."""

    def refuse(*_, **__):
        raise ValueError("pickle")

    with mock.patch("torch.load", refuse):
        yield


@contextmanager
def _offline_if(unreachable: bool) -> Iterator[None]:
    """Sin red, apaga la de las bibliotecas: si no, reintentarían cada archivo medio minuto."""
    from huggingface_hub import constants

    switches = [constants]
    if "datasets" in sys.modules:
        switches.append(sys.modules["datasets"].config)
    before = [module.HF_HUB_OFFLINE for module in switches]
    for module in switches:
        module.HF_HUB_OFFLINE = module.HF_HUB_OFFLINE or unreachable
    try:
        yield
    finally:
        for module, value in zip(switches, before, strict=True):
            module.HF_HUB_OFFLINE = value


def reachable() -> bool:
    """Si el Hub contesta algo en unos segundos: sin red, ahorra los reintentos de cada archivo."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return False
    try:
        request = urllib.request.Request(ENDPOINT, method="HEAD")
        urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # contesta, aunque sea para quejarse
    except OSError:
        return False
    return True


def refuse_damaged(name: str, error: Exception | None = None) -> None:
    """Borra de la caché los archivos de `name` que no son los que publicó el Hub, y lo dice.

    En la caché cada archivo se llama como su suma: SHA-256 los grandes y SHA-1 de git los demás.
    (En Windows, sin enlaces simbólicos, los nombres no llevan la suma y no se puede comprobar).
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    damaged = []
    for kind in ("models", "datasets"):
        folder = Path(HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}"
        for link in folder.glob("snapshots/*/**/*"):
            blob = link.resolve()
            if link.is_symlink() and blob.is_file():
                stat = blob.stat()
                if not _is_as_published(blob, stat.st_size, stat.st_mtime_ns):
                    link.unlink()
                    blob.unlink()
                    damaged.append(link.name)
    if not damaged:
        return
    if "datasets" in sys.modules:  # también la tabla que datasets hizo con ellos
        tables = Path(sys.modules["datasets"].config.HF_DATASETS_CACHE)
        shutil.rmtree(tables / name.replace("/", "___"), ignore_errors=True)
    raise ValueError(
        f"De «{name}» llegó dañado {', '.join(damaged)} (no es lo que publica el Hub) y se ha "
        "borrado: repite la celda para bajarlo de nuevo."
    ) from error


@cache  # cada versión de un archivo se comprueba una sola vez
def _is_as_published(blob: Path, size: int, changed_ns: int) -> bool:
    sums = {64: hashlib.sha256, 40: lambda: hashlib.sha1(f"blob {size}\0".encode())}
    if len(blob.name) not in sums:
        return True  # no es una suma: no hay con qué comparar
    with blob.open("rb") as file:
        return hashlib.file_digest(file, sums[len(blob.name)]).hexdigest() == blob.name


def _cause(error: Exception, name: str) -> Exception:
    """Por qué faltan los pesos: si no pudo bajarlos, transformers lo calla y dice que no están."""
    if "does not appear to have a file named" not in str(error):
        return error
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(name, "model.safetensors"), timeout=PROBE_SECONDS)
    except Exception as cause:
        return cause
    return error


def _is_a_path(name: str) -> bool:
    """Si `name` solo puede ser una ruta: en el Hub son `nombre` o `dueño/nombre`."""
    parent = Path(name).parent
    return (
        Path(name).is_absolute()
        or name.startswith((".", "~"))
        or "\\" in name
        or name.count("/") > 1
        or (parent != Path(".") and parent.is_dir())
    )


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


def verify_checksums(directory: Path) -> None:
    """Comprueba que los archivos del modelo están y son los publicados; si no, dice cuál no."""
    way_out = "Vuelve a descargar el curso o restaura el archivo con git."
    sums = directory / "SHA256SUMS"
    if not sums.exists():
        raise FileNotFoundError(f"Falta «{sums}». {way_out}")
    lines = sums.read_text(encoding="utf-8", errors="replace").splitlines()
    expected = {line[66:]: line[:64] for line in lines}
    if not expected.keys() >= set(MODEL_FILES):
        raise ValueError(f"«{sums}» está dañado: no tiene la suma de cada archivo. {way_out}")
    for name, digest in expected.items():
        if not (path := directory / name).exists():
            raise FileNotFoundError(f"Falta «{path}». {way_out}")
        if sha256(path) != digest:
            raise ValueError(f"«{path}» está dañado: su SHA-256 no es el de «{sums}». {way_out}")


def explain(error: Exception, name: str, local: bool = False) -> tuple[type[Exception] | None, str]:
    """De un fallo al cargar `name`, la clase de error y la frase de `data/hub/fallos.toml`.

    Returns:
        `(None, "")` si no es un fallo de carga, y debe seguir su camino tal cual.
    """
    chain = list(_chain(error))
    names = {cls.__name__ for e in chain for cls in type(e).__mro__}
    said = " ".join(map(str, chain))
    responses = [r for e in chain if (r := getattr(e, "response", None)) is not None]
    status = next((s for r in responses if (s := getattr(r, "status_code", None))), 0)
    waits = [getattr(r, "headers", {}).get("retry-after", "") for r in responses]
    wait = next((f"{seconds} segundos" for seconds in waits if seconds.isdecimal()), None)

    full = any(getattr(e, "errno", None) == errno.ENOSPC for e in chain)
    bad = names & {"SafetensorError", "ArrowInvalid", "DatasetGenerationError", "JSONDecodeError"}
    missing = names & {"DatasetNotFoundError", "DataFilesNotFoundError"}
    off = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")
    unreached = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "TransportError"}
    unreached |= {"ConnectionError", "TimeoutError"}
    told = isinstance(error, OSError | ValueError)
    cases = (  # se cuenta el primero que se cumpla
        ("codigo_ajeno", ValueError, "trust_remote_code" in said),
        ("disco_lleno", OSError, full or "No space left" in said),
        ("a_medias", ConnectionError, "Consistency check" in said),
        ("pickle", ValueError, "pickle" in said),
        ("otros_pesos", ValueError, "missing keys" in said or "mismatched_sizes" in said),
        ("copia_danada", ValueError, bad and local),
        ("danado", ValueError, bad),
        ("carpeta_incompleta", FileNotFoundError, local),
        ("sin_permiso", ConnectionError, "GatedRepoError" in names or status in (401, 403)),
        ("demasiadas", ConnectionError, status == 429),
        ("hub_caido", ConnectionError, status >= 500),
        ("no_esta", FileNotFoundError, status == 404 or missing),
        ("red_apagada", ConnectionError, off),
        ("sin_red", ConnectionError, names & unreached or "couldn't connect" in said),
        ("otro", FileNotFoundError, told),
    )
    key, kind = next(((key, kind) for key, kind, applies in cases if applies), ("", None))
    if kind is None:
        return None, ""
    sentences = read_toml("hub", "fallos.toml")
    return kind, sentences[key].format(
        name=name,
        status=status,
        wait=wait or "unos minutos",
        error=str(error).strip().split("\n")[0],
        again=sentences["again"],
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """El error y los que lo causaron, del último al primero."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
