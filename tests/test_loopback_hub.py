"""El Hub de las pruebas responde como el de verdad, y los cargadores sin tocar se entienden con él.

Lo que se carga del Hub se carga en otro proceso: las bibliotecas leen su entorno al importarse.
"""

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request

import pytest
from checks import each
from hub_content import (
    DAILY_DIALOG,
    DAILY_DIALOG_COPY,
    GPT2,
    GPT2_CONFIG,
    PARQUET_BRANCH,
    SMOLLM2,
    gpt2_weights,
)
from loopback_hub import LoopbackHub

GET_WEIGHTS = f"""
from huggingface_hub import hf_hub_download
hf_hub_download({SMOLLM2!r}, "model.safetensors")
"""
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def small(tmp_path):
    """Un Hub con un repositorio de dos archivos: uno grande, para él, y uno pequeño."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "model.safetensors").write_bytes(CONTENT)
    (tmp_path / "sub" / "nota.txt").write_bytes(b"hola")
    server = LoopbackHub()
    server.publish("models", "yo/pequeno", tmp_path)
    yield server
    server.close()


def ask(server, path: str, method: str = "GET", **headers):
    """`(estado, cabeceras, contenido)`, sin seguir redirecciones ni fallar por el estado."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args):
            return None

    opener = urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
    request = urllib.request.Request(server.url + path, method=method, headers=headers)
    try:
        with opener.open(request, timeout=10) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_a_small_file_comes_with_its_git_hash_and_a_large_one_from_elsewhere_with_its_sha256(small):
    status, headers, content = ask(small, "/yo/pequeno/resolve/main/sub/nota.txt")
    assert (status, content) == (200, b"hola")
    # echo -n hola | git hash-object --stdin
    assert headers["ETag"] == '"b8b4a4e2a5db3ebed5f5e02beb3e2d27bca9fc9a"'
    status, headers, _ = ask(small, "/yo/pequeno/resolve/main/model.safetensors", "HEAD")
    assert status == 302
    assert headers["X-Linked-Size"] == "10240"
    assert headers["X-Linked-ETag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert headers["X-Repo-Commit"] in headers["Location"]
    assert headers["Location"].startswith("http://localhost:")


def test_a_range_gives_just_those_bytes(small):
    commit = small.revisions["models", "yo/pequeno"]["main"]
    path = f"/cdn/models/yo/pequeno/{commit}/model.safetensors"
    status, headers, content = ask(small, path, Range="bytes=10000-")
    assert (status, content) == (206, CONTENT[10000:])
    assert headers["Content-Range"] == "bytes 10000-10239/10240"
    assert ask(small, path, Range="bytes=3-5")[2] == CONTENT[3:6]
    assert ask(small, path, Range="bytes=20000-")[0] == 416


@each(
    "path, status, code",
    [
        ("/api/models/yo/otro", 401, "RepoNotFound"),
        ("/yo/otro/resolve/main/config.json", 401, "RepoNotFound"),
        ("/yo/pequeno/resolve/rama/sub/nota.txt", 404, "RevisionNotFound"),
        ("/yo/pequeno/resolve/main/falta.txt", 404, "EntryNotFound"),
        ("/api/models/yo/pequeno/tree/main/falta", 404, "EntryNotFound"),
    ],
)
def test_what_is_missing_is_refused_as_the_hub_does(small, path, status, code):
    got, headers, _ = ask(small, path)
    assert (got, headers["X-Error-Code"]) == (status, code)


def test_a_tree_lists_what_hangs_from_a_folder_at_one_level_or_at_all(small):
    def paths(query: str) -> list[str]:
        return [
            e["path"] for e in json.loads(ask(small, "/api/models/yo/pequeno/tree/" + query)[2])
        ]

    assert paths("main") == ["sub", "model.safetensors"]
    assert paths("main?recursive=True") == ["sub", "model.safetensors", "sub/nota.txt"]
    assert paths("main/sub") == ["sub/nota.txt"]


def test_a_fault_strikes_as_often_as_told_and_only_what_it_names(small):
    small.fail("GET .*nota", status=429, retry_after=7, times=2)
    statuses = [ask(small, "/yo/pequeno/resolve/main/sub/nota.txt") for _ in range(3)]
    assert [s for s, _, _ in statuses] == [429, 429, 200]
    assert statuses[0][1]["Retry-After"] == "7"
    small.fail("GET .*nota", status=500, times=None)
    assert ask(small, "/yo/pequeno/resolve/main/sub/nota.txt", "HEAD")[0] == 200
    assert {ask(small, "/yo/pequeno/resolve/main/sub/nota.txt")[0] for _ in range(5)} == {500}


def test_content_can_be_cut_short_or_changed_without_changing_its_size(small):
    small.fail("nota", corrupt=1)
    _, _, content = ask(small, "/yo/pequeno/resolve/main/sub/nota.txt")
    assert content == b"hnla"
    small.fail("nota", cut_after=2)
    with pytest.raises(http.client.IncompleteRead) as broken:
        ask(small, "/yo/pequeno/resolve/main/sub/nota.txt")
    assert broken.value.partial == b"ho"


def test_it_can_go_down_and_come_back_on_the_same_port(small):
    url = small.url
    small.down()
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(small, "/yo/pequeno/resolve/main/sub/nota.txt")
    small.up()
    assert small.url == url
    assert ask(small, "/yo/pequeno/resolve/main/sub/nota.txt")[0] == 200


# Todo en un proceso, porque arrancarlo es lo que tarda; cada prueba mira luego su parte.
LOAD_EVERYTHING = f"""
import json
from statistics import mean
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from course_lib.dialogues import Dialogue, to_pairs
from course_lib.encoding import original_text
from course_lib.tracks import get_track
from taller.muestra import sample_figures

# De `load_dataset` a las parejas y al tokenizador, y lo mismo por la ruta del curso.
table = load_dataset({DAILY_DIALOG!r}, revision={PARQUET_BRANCH!r}, split="train")
assert [str(f.feature.dtype) for f in table.features.values()] == ["string", "int64", "int64"]
tokenizer = AutoTokenizer.from_pretrained({GPT2!r})
assert (len(tokenizer), tokenizer.model_max_length) == (50257, 1024)
assert tokenizer.pad_token is None and tokenizer.chat_template is None
dialogues = [Dialogue(tuple(turns)) for turns in table["dialog"]]
texts = [original_text(tokenizer, p.user, p.reply) for p in to_pairs(dialogues)]
length = mean(len(ids) for ids in tokenizer(texts)["input_ids"])
track = get_track("gpt2", report=lambda text: None)
assert [d.turns for d in track.load_dialogues("train")] == [d.turns for d in dialogues]
assert track.load_tokenizer().get_vocab() == tokenizer.get_vocab()
figures = sample_figures(dialogues, tokenizer)
known = [len(dialogues), figures["parejas"], round(length, 2), figures["relleno"]]

# Los modelos: todos los pesos encajan, y el que trae plantilla de chat la aplica.
def load(name):
    return AutoModelForCausalLM.from_pretrained(
        name, use_safetensors=True, output_loading_info=True
    )

model, info = load("gpt2")
assert not any(info[k] for k in ("missing_keys", "mismatched_keys", "error_msgs")), info
assert (model.config.n_embd, model.config.vocab_size, model.config.n_layer) == (96, 50257, 1)
assert model.lm_head.weight is model.transformer.wte.weight
assert model.generation_config.eos_token_id == 50256

chatty, info = load({SMOLLM2!r})
assert not any(info[k] for k in ("missing_keys", "mismatched_keys", "error_msgs")), info
tokenizer = AutoTokenizer.from_pretrained({SMOLLM2!r})
assert len(tokenizer) == chatty.config.vocab_size == 49152
asked = [{{"role": "user", "content": "Hello, world"}}]
text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
assert text.endswith("<|im_start|>user\\nHello, world<|im_end|>\\n<|im_start|>assistant\\n"), text
ids = tokenizer(text, return_tensors="pt").input_ids
assert tokenizer.decode(ids[0]) == text and ids[0, 0] == 1
assert chatty(ids).logits.isfinite().all()
print(json.dumps(known))
"""


@pytest.fixture(scope="module")
def everything(hub_home):
    """Lo que escribe `LOAD_EVERYTHING`, y lo que el Hub oyó mientras tanto."""
    hub_home.server.clear()
    run = hub_home.python(LOAD_EVERYTHING)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1]), [str(r) for r in hub_home.server.requests]


def test_the_sample_and_its_known_figures_come_through_the_unmodified_loaders(everything):
    known, requests = everything
    assert known == [1000, 6386, 36.48, 0.7156]
    assert not [r for r in requests if re.search(r"GET .*\.py", r)]  # ni por error, un programa


def test_a_loading_script_is_refused_and_a_copy_in_parquet_is_found(hub):
    code = f"""
from datasets import load_dataset
try:
    load_dataset({DAILY_DIALOG!r})
except RuntimeError as error:
    print(error)
print({{part: len(rows) for part, rows in load_dataset({DAILY_DIALOG_COPY!r}).items()}})
"""
    run = hub.python(code)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "Dataset scripts are no longer supported, but found daily_dialog.py",
        "{'train': 1000, 'validation': 50, 'test': 60}",
    ]


def test_the_unmodified_loaders_get_the_models_under_their_names_of_today_and_before(everything):
    _, requests = everything
    assert "GET /api/models/gpt2" in " ".join(requests)  # y de ahí, redirigido
    assert [r for r in requests if re.match(f"GET /cdn/models/{GPT2}/.*/model.safetensors", r)]


def test_a_token_goes_to_the_hub_but_not_to_where_the_large_files_are(hub):
    run = hub.python(GET_WEIGHTS, HF_TOKEN="hf_prueba")
    assert run.returncode == 0, run.stderr
    tokens = [r.headers.get("authorization") for r in hub.server.asked("HEAD /Hugging")]
    assert tokens == ["Bearer hf_prueba"]
    assert ["authorization" in r.headers for r in hub.server.asked("GET /cdn")] == [False]


def test_a_download_cut_in_the_middle_is_resumed_where_it_was(hub):
    hub.server.fail("GET /cdn", cut_after=12_000_000)
    run = hub.python(GET_WEIGHTS)
    assert run.returncode == 0, run.stderr
    assert not any("authorization" in r.headers for r in hub.server.requests)
    first, second = hub.server.asked("GET /cdn")
    assert "range" not in first.headers
    start = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 12_000_000
    (blob,) = hub.cache.glob("hub/models--*/blobs/*")
    with blob.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == blob.name


def test_with_its_layers_and_its_width_gpt2_weighs_what_the_real_one_does():
    import torch

    with torch.device("meta"):  # las formas, sin los números
        sizes = {name: w.numel() for name, w in gpt2_weights(GPT2_CONFIG).items()}
    # El de verdad ocupa 548 105 171 bytes: 14 291 de encabezado, que varía con quien lo escribe, y
    # 4 por cada uno de sus 124 439 808 pesos y de las casillas de sus 12 máscaras.
    assert 4 * sum(sizes.values()) == 548_105_171 - 14_291
    assert sum(n for name, n in sizes.items() if ".attn.bias" not in name) == 124_439_808
