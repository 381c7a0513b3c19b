"""Lo que comparten las pruebas: un GPT-2 diminuto con su BPE, y la muestra real si está al lado.

La guardia de red y las variables que apagan la red y las barras están en el `conftest.py` de la
raíz, que vale también para los cuadernos.
"""

import copy
import functools
import gc
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# El Python de Debian y de Ubuntu trae otro `sitecustomize`, y pytest los confundiría al recogerlo.
collect_ignore = ["no_network"]

TOY_TEXTS = [
    "Hola, ¿qué tal estás? Muy bien, gracias, ¿y tú?",
    "¿Cuál es la capital de Francia? París. Pregunta: Respuesta: Contexto: sí no",
    "La niña comió piña en el jardín; mañana iremos al cine con Óscar y Ángela.",
] * 40


def pytest_collection_finish():
    """Lo ya importado no es basura: que quien la recoja no lo repase, que es lo que más tarda."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Con modelos de juguete, repartir el trabajo entre núcleos cuesta más que hacerlo."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def light_collections():
    """Lo mismo con lo que importa `Trainer`, que recoge la basura en cada ajuste."""
    from transformers import Trainer  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _toy_tokenizer():
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Tokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        TOY_TEXTS, vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False
    )
    state = json.loads(bpe.to_str())["model"]
    return GPT2Tokenizer(vocab=state["vocab"], merges=[tuple(m) for m in state["merges"]])


@pytest.fixture
def tokenizer(_toy_tokenizer):
    """Un BPE de bytes recién hecho, como el de GPT-2: sin relleno ni plantilla de chat."""
    return copy.deepcopy(_toy_tokenizer)


@pytest.fixture
def chat_tokenizer(tokenizer):
    """El mismo, ya con marcadores de un token, relleno y plantilla."""
    from course_lib.encoding import prepare_for_chat

    return prepare_for_chat(tokenizer)


@pytest.fixture
def make_model(_toy_tokenizer):
    """Una función que da siempre el mismo GPT-2 diminuto, con pesos al azar y sin *dropout*."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    def make(positions: int = 64, vocabulary: int = len(_toy_tokenizer) + 3):
        torch.manual_seed(3)
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary,
                n_positions=positions,
                n_embd=32,
                n_layer=2,
                n_head=2,
                initializer_range=0.3,  # grande, para que dos logits no empaten
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=_toy_tokenizer.eos_token_id,
                eos_token_id=_toy_tokenizer.eos_token_id,
            )
        ).eval()

    return make


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """La carpeta con la muestra real de DailyDialog y el tokenizador de GPT-2."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "datos"
    if not folder.is_dir():
        pytest.skip(f"La muestra real no está en «{folder}»: no viaja con el repositorio.")
    return folder


@pytest.fixture(scope="session")
def gpt2_tokenizer(shared_data):
    from transformers import GPT2Tokenizer

    folder = shared_data / "gpt2_tokenizer"
    return GPT2Tokenizer.from_pretrained(folder)


@pytest.fixture
def refusal(capsys):
    """Una función que comprueba una respuesta mala y devuelve con qué palabras se rechaza."""
    from course_lib.exercises import check

    def refuse(id: str, answer) -> str:
        check(id, answer)
        said = " ".join(capsys.readouterr().out.split())  # en un renglón
        assert f"Ejercicio {id}: todavía no. " in said, said
        prose = re.sub(r"`[^`]*`|«[^»]*»", "", said)  # sin el código ni las citas
        assert not re.search(r": [^.?!(]*: ", prose), f"dos puntos encadenados: {said}"
        return said

    return refuse


@pytest.fixture(scope="session")
def solved():
    """Una función que ejecuta la solución de un ejercicio, una vez, y devuelve su respuesta."""
    from course_lib.exercises import get

    @functools.cache
    def solve(id: str):
        names: dict = {}
        exec(get(id).solution, names)
        return names["respuesta"]

    return solve


@dataclass
class HubUser:
    """Quien carga del Hub de las pruebas: otro proceso, con su caché vacía.

    `server` es el `LoopbackHub`; `cache`, la carpeta de su `HF_HOME`; `env`, su entorno.
    """

    server: "LoopbackHub"  # noqa: F821
    cache: Path
    env: dict[str, str]

    def python(self, code: str, timeout: float = 240, **env) -> subprocess.CompletedProcess:
        """Ejecuta `code` en otro proceso, con `env` además de su entorno."""
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.env | env,
            cwd=Path(__file__).parents[1],
        )


@pytest.fixture(scope="session")
def _hub_server(tmp_path_factory, shared_data):
    from hub_content import publish_course
    from loopback_hub import LoopbackHub

    folder = tmp_path_factory.mktemp("hub")
    server = LoopbackHub()
    publish_course(server, folder, shared_data)
    yield server
    server.close()
    shutil.rmtree(folder)  # son decenas de megas, y pytest guarda las de tres días


@pytest.fixture(scope="session")
def hub_env() -> Callable[[str, Path], dict[str, str]]:
    """Una función que da el entorno de un proceso que carga de ese Hub con esa caché."""

    def make(url: str, cache: Path) -> dict[str, str]:
        foreign = ("HF_", "HUGGING", "TRANSFORMERS_", "http_", "https_", "all_", "no_")
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().startswith(tuple(prefix.lower() for prefix in foreign))
        }
        return own | {
            "HF_ENDPOINT": url,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # así se baja por HTTP, como hace este Hub
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "NO_PROXY": "*",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    return make


@pytest.fixture(scope="module")
def hub_home(_hub_server, hub_env, tmp_path_factory) -> Iterator[HubUser]:
    """Un usuario del Hub que dura todo un módulo de pruebas."""
    cache = tmp_path_factory.mktemp("usuario") / "hf"
    yield HubUser(_hub_server, cache, hub_env(_hub_server.url, cache))
    shutil.rmtree(cache, ignore_errors=True)


@pytest.fixture
def hub(_hub_server, hub_env, tmp_path) -> Iterator[HubUser]:
    """El Hub de las pruebas, sin fallos, y un usuario suyo con la caché vacía."""
    _hub_server.clear()
    cache = tmp_path / "hf"
    yield HubUser(_hub_server, cache, hub_env(_hub_server.url, cache))
    _hub_server.clear()
    shutil.rmtree(cache, ignore_errors=True)
