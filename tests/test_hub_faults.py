"""Lo que le puede pasar a quien carga del Hub: qué frase lee, qué conserva y cómo sigue.

Cada fallo lo provoca el servidor; el curso carga, en otro proceso, con las bibliotecas sin tocar.
Lo único cambiado es el reloj: las esperas entre reintentos se apuntan y no se esperan. Arrancar ese
proceso es lo que tarda, así que casi todas las pruebas comparten uno, que antes de cada una olvida
lo descargado.
"""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from hub_content import DAILY_DIALOG, DAILY_DIALOG_COPY, GPT2, PARQUET_BRANCH

SIZES = {"tokenizer": 50257, "model": 5_035_008, "dialogues": 1000}
WHO_LOADS = """
import json, os, shutil, subprocess, sys, time
from pathlib import Path

waits = []
time.sleep = waits.append
from course_lib import hub
from course_lib.tracks import get_track

track = get_track("gpt2", report=lambda text: None)
snapshots = Path(os.environ["HF_HOME"], "hub")
for line in sys.stdin:
    if line.startswith("!"):
        subprocess.run(line[1:], shell=True, check=True)
        continue
    if line.strip() == "olvida":
        shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)
        hub._loaded.clear()
        continue
    waits.clear()
    result = {"kind": None, "sentence": None, "size": None}
    try:
        loaded = getattr(track, "load_" + line.strip())()
        size = loaded.num_parameters() if "model" in line else len(loaded)
        result["size"] = size
    except Exception as error:
        result |= {"kind": type(error).__name__, "sentence": str(error)}
    kept = [p.name for p in snapshots.glob("*/snapshots/**/*") if p.is_file()]
    print("RESULTADO", json.dumps(result | {"waits": waits, "kept": kept}), flush=True)
"""


class Loader:
    """Un proceso que carga partes de la ruta `gpt2`, las veces que se le pida."""

    def __init__(self, user, prefix: tuple = (), **env):
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", WHO_LOADS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=user.env | {"CURSO_EJEMPLOS": "2", "HF_HUB_DOWNLOAD_TIMEOUT": "1"} | env,
            cwd=Path(__file__).parents[1],
        )
        self.errors: list[str] = []
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr)).start()
        self.watchdog = threading.Timer(300, self.process.kill)
        self.watchdog.start()

    def __enter__(self):
        return self

    def __exit__(self, *problem) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.watchdog.cancel()

    def order(self, line: str) -> None:
        print(line, file=self.process.stdin, flush=True)

    def anew(self) -> "Loader":
        """El mismo proceso, que olvida lo descargado y lo dicho."""
        self.order("olvida")
        self.errors.clear()
        return self

    def load(self, what: str) -> dict:
        """Qué pasó al cargar `what`; en `said`, lo que se imprimió mientras tanto."""
        self.order(what)
        said = []
        for line in self.process.stdout:
            if line.startswith("RESULTADO "):
                return json.loads(line.removeprefix("RESULTADO ")) | {"said": "".join(said)}
            said.append(line)
        raise AssertionError("El proceso acabó sin responder:\n" + "".join(self.errors))


@dataclass(frozen=True)
class Row:
    """Un fallo: qué se cargaba, qué pasó en el servidor, qué se lee y qué archivos se conservan."""

    what: str
    pattern: str
    fault: dict
    kind: str
    says: tuple[str, ...]
    kept: frozenset[str] = frozenset()


def row(what: str, pattern: str, kind: str, *says: str, kept: str = "", **fault) -> Row:
    return Row(what, pattern, {"times": None} | fault, kind, says, frozenset(kept.split()))


MODEL_FILES = "config.json generation_config.json"
TOKENIZER_FILES = "config.json tokenizer_config.json vocab.json merges.txt tokenizer.json"
TABLE = {
    "el repositorio cambió de nombre": row(
        "tokenizer",
        "/openai-community/",
        "ConnectionError",
        "no existe en el Hub o pide permiso",
        "revisa el nombre",
        status=401,
        error_code="RepoNotFound",
    ),
    "pide permiso": row(
        "tokenizer",
        "/openai-community/",
        "ConnectionError",
        "pide permiso",
        "HF_TOKEN",
        status=403,
        error_code="GatedRepo",
    ),
    "falta un archivo": row(
        "model",
        "model.safetensors",
        "FileNotFoundError",
        "le falta algún archivo",
        "búscalo en huggingface.co",
        kept="config.json",
        status=404,
        error_code="EntryNotFound",
    ),
    "demasiadas peticiones": row(
        "tokenizer",
        "gpt2",
        "ConnectionError",
        "(error 429)",
        "espera 7 segundos",
        "HF_TOKEN",
        status=429,
        retry_after=7,
    ),
    "demasiadas peticiones, ya en los pesos": row(
        "model",
        "model.safetensors",
        "ConnectionError",
        "(error 429)",
        "espera 7 segundos",
        kept="config.json",
        status=429,
        retry_after=7,
    ),
    "el Hub, caído": row(
        "dialogues",
        ".",
        "ConnectionError",
        "(error 503)",
        "repite la celda en unos minutos",
        status=503,
    ),
    "el Hub falla al dar los pesos": row(
        "model",
        "GET /cdn",
        "ConnectionError",
        "(error 500)",
        "repite la celda en unos minutos",
        kept="config.json",
        status=500,
    ),
    "la conexión se corta una y otra vez": row(
        "model",
        "GET /cdn",
        "ConnectionError",
        "No se llega al Hub",
        "revisa la conexión y repite la celda",
        kept="config.json",
        cut_after=0,
    ),
    "el Hub tarda demasiado": row(
        "tokenizer",
        "GET .*/vocab.json",
        "ConnectionError",
        "No se llega al Hub",
        "revisa la conexión y repite la celda",
        kept="config.json tokenizer_config.json",
        delay=1.5,
    ),
    "los pesos llegan cambiados": row(
        "model",
        "GET /cdn",
        "ValueError",
        "llegó dañado model.safetensors",
        "repite la celda",
        kept=MODEL_FILES,
        corrupt=10_000_000,
    ),
    "la configuración llega ilegible": row(
        "model",
        "GET .*/config.json",
        "ValueError",
        "llegó dañado config.json",
        "repite la celda",
        corrupt=0,
    ),
    "el tokenizador llega ilegible": row(
        "tokenizer",
        "GET .*/tokenizer.json",
        "ValueError",
        "llegó dañado tokenizer.json",
        "repite la celda",
        kept=TOKENIZER_FILES.replace(" tokenizer.json", ""),
        corrupt=0,
    ),
}


@pytest.fixture(scope="module")
def shared_loader(hub_home):
    with Loader(hub_home) as loader:
        yield loader


@pytest.fixture
def loader(hub, shared_loader):
    """El proceso compartido, sin nada descargado, y el Hub, sin fallos."""
    return shared_loader.anew()


@pytest.mark.parametrize("name", TABLE)
def test_a_fault_is_told_in_a_sentence_and_once_mended_only_what_is_missing_is_fetched(
    hub, loader, name
):
    case = TABLE[name]
    hub.server.fail(case.pattern, **case.fault)
    failed = loader.load(case.what)
    hub.server.faults.clear()
    mended = loader.load(case.what)
    print(f"{name}: {failed['kind']}: {failed['sentence']} (se conserva: {failed['kept']})")
    check_sentence(failed, case.kind, case.says, DAILY_DIALOG if "dial" in case.what else GPT2)
    assert set(failed["kept"]) == case.kept
    assert (mended["sentence"], mended["size"]) == (None, SIZES[case.what])
    for file in case.kept:
        assert len(hub.server.asked(f"GET .*/{file}$")) == 1, file
    assert "Traceback" not in "".join(loader.errors)


def check_sentence(failed: dict, kind: str, says: tuple[str, ...], name: str) -> None:
    """Una frase de una línea, con el nombre de lo que se cargaba y cada cosa que debe decir."""
    assert failed["kind"] == kind
    sentence = failed["sentence"]
    assert "\n" not in sentence and sentence.endswith(".") and f"«{name}»" in sentence
    for part in says:
        assert part in sentence


def test_without_network_what_is_complete_is_used_and_what_is_not_says_so(hub, loader):
    before = {what: loader.load(what) for what in ("tokenizer", "dialogues")}
    hub.server.down()
    after = {what: loader.load(what) for what in ("tokenizer", "dialogues")}
    missing = loader.load("model")
    hub.server.up()
    mended = loader.load("model")
    for what in before:
        assert before[what]["size"] == after[what]["size"] == SIZES[what], after[what]
    check_sentence(missing, "ConnectionError", ("No se llega al Hub", "«mini»"), GPT2)
    assert missing["waits"] == []  # se sabe en el acto, sin reintentar archivo por archivo
    assert set(missing["kept"]) == set(after["dialogues"]["kept"])
    assert mended["size"] == SIZES["model"]


def test_passing_faults_go_unnoticed_and_a_cut_download_resumes_where_it_was(hub, loader):
    hub.server.fail("HEAD .*config.json", status=429, retry_after=7, times=2)
    hub.server.fail("HEAD .*/model.safetensors", status=500, times=2)
    hub.server.fail("GET /cdn", cut_after=12_000_000)
    loaded = loader.load("model")
    assert (loaded["sentence"], loaded["size"]) == (None, SIZES["model"])
    assert 8.0 in loaded["waits"]  # los 7 segundos que pidió el Hub, y uno más
    first, second = hub.server.asked("GET /cdn")
    assert "range" not in first.headers
    assert 0 < int(second.headers["range"].removeprefix("bytes=").rstrip("-")) <= 12_000_000


def test_dialogues_damaged_without_a_trace_are_replaced_by_the_copy_and_not_remembered(hub, loader):
    """Un texto con una letra cambiada se lee sin error: solo la suma lo delata."""
    commit = hub.server.revisions["datasets", DAILY_DIALOG][PARQUET_BRANCH]
    published = hub.server.commits["datasets", DAILY_DIALOG, commit]
    at = published["default/train/0000.parquet"].path.read_bytes().index(b"escrow papers")
    hub.server.fail(f"GET /cdn/datasets/{DAILY_DIALOG}/.*train", corrupt=at)
    first = loader.load("dialogues")
    again = loader.load("dialogues")
    assert first["size"] == again["size"] == SIZES["dialogues"]
    assert f"De «{DAILY_DIALOG}» llegó dañado 0000.parquet" in first["said"]
    assert f"Se usa la copia «{DAILY_DIALOG_COPY}»." in first["said"]
    assert "copia" not in again["said"]
    assert len(hub.server.asked(f"GET /cdn/datasets/{DAILY_DIALOG}/.*train")) == 2


def test_if_dailydialog_moves_the_copy_is_used_and_said(hub, loader):
    hub.server.fail(f"/{DAILY_DIALOG}", status=401, error_code="RepoNotFound", times=None)
    loaded = loader.load("dialogues")
    assert loaded["size"] == SIZES["dialogues"]
    assert f"«{DAILY_DIALOG}» no está en el Hub con ese nombre" in loaded["said"]
    assert f"Se usa la copia «{DAILY_DIALOG_COPY}»." in loaded["said"]


def test_with_the_network_switched_off_by_hand_the_sentence_names_the_switch(hub):
    with Loader(hub, HF_HUB_OFFLINE="1") as loader:
        failed = loader.load("tokenizer")
    check_sentence(failed, "ConnectionError", ("HF_HUB_OFFLINE", "quita esa variable"), GPT2)
    assert hub.server.requests == []


def test_a_full_disk_is_told_and_with_room_the_same_call_succeeds(hub):
    """Con un disco de verdad, de 15 MB, que se agranda después."""
    own_disk = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    mount = 'mount -t tmpfs -o size=15m none "$HF_HOME" && exec "$@"'
    hub.cache.mkdir()
    if subprocess.run([*own_disk, mount, "sh", "true"], env=hub.env, check=False).returncode:
        pytest.skip("Aquí no se puede montar un disco pequeño sin permisos.")
    with Loader(hub, prefix=(*own_disk, mount, "sh")) as loader:
        failed = loader.load("model")
        loader.order('!mount -o remount,size=100m "$HF_HOME"')
        mended = loader.load("model")
    check_sentence(failed, "OSError", ("No queda sitio en el disco", "HF_HOME"), GPT2)
    assert failed["kept"] == ["config.json"]
    assert mended["size"] == SIZES["model"]
    assert len(hub.server.asked("GET .*/config.json$")) == 1
