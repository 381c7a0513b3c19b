"""Lo que comparten las pruebas: un GPT-2 diminuto con su BPE, y la muestra real si está al lado.

La guardia de red y las variables que apagan la red y las barras están en el `conftest.py` de la
raíz, que vale también para los cuadernos.
"""

import copy
import json
from pathlib import Path

import pytest

TOY_TEXTS = [
    "Hola, ¿qué tal estás? Muy bien, gracias, ¿y tú?",
    "¿Cuál es la capital de Francia? París. Pregunta: Respuesta: Contexto: sí no",
    "La niña comió piña en el jardín; mañana iremos al cine con Óscar y Ángela.",
] * 40


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Con modelos de juguete, repartir el trabajo entre núcleos cuesta más que hacerlo."""
    import torch

    torch.set_num_threads(1)


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
        said = capsys.readouterr().out
        assert "todavía no" in said
        return said

    return refuse
