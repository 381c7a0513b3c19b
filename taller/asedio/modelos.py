"""Modelos dañados: o se rechazan con una frase, o los pesos cargados son los de los archivos."""

import contextlib
import io
import json
import pickle
import random
import shutil
from pathlib import Path

from course_lib.tracks import load_causal_lm, load_tokenizer
from taller.asedio import Broken, refusals

ODD = (None, "16", -1, 0, 1.5, [], {}, True, "../..", 7, "\x00", 3_000)


def saved(folder: Path) -> Path:
    """Un GPT-2 diminuto con pesos al azar, y su tokenizador, en su carpeta."""
    path = folder / "bueno"
    if path.is_dir():
        return path
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        ["hola qué tal"] * 9, vocab_size=270, special_tokens=["<|endoftext|>"], show_progress=False
    )
    state = json.loads(bpe.to_str())["model"]
    tokenizer = GPT2Tokenizer(vocab=state["vocab"], merges=[tuple(m) for m in state["merges"]])
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def prepare(folder: Path) -> None:
    """Guarda el modelo bueno y carga lo que hace falta para cargarlo, que no es de ningún caso."""
    if not (folder / "bueno").is_dir():
        load_causal_lm(str(saved(folder)))


def case(rng: random.Random, folder: Path) -> None:
    """Daña una copia y la carga."""
    path = folder / "copia"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(saved(folder), path)
    trap = folder / "trampa"
    done = [rng.choice(WAYS)(rng, path, trap) for _ in range(rng.choice((1, 1, 1, 2)))]
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        with refusals():
            tokenizer = load_tokenizer(str(path))
            tokenizer("Hola, ¿qué tal?")
        with refusals():
            _same(load_causal_lm(str(path)), path, done)
    if trap.exists():
        trap.unlink()
        raise Broken("falsa", f"ha ejecutado código ajeno: {done}")


def _same(model, path: Path, done: list[str]) -> None:
    """Que los pesos sean los de los archivos, todos y ninguno más."""
    import torch
    from safetensors.torch import load_file

    files: dict = {}
    for file in path.glob("*.safetensors"):
        files |= load_file(file)
    if index := next(path.glob("*.safetensors.index.json"), None):
        if not (path / "model.safetensors").exists():
            names = json.loads(index.read_text("utf-8"))["weight_map"]
            files = {name: value for name, value in files.items() if name in names}
    bare = {name.removeprefix("transformer."): value for name, value in files.items()}
    weights = {
        n.removeprefix("transformer."): p.detach().cpu() for n, p in model.named_parameters()
    }
    for name, value in weights.items():
        if name not in bare or bare[name].shape != value.shape:
            raise Broken("falsa", f"{done}: «{name}» no sale de los archivos")
        if not torch.equal(bare[name].to(value.dtype).nan_to_num(), value.nan_to_num()):
            raise Broken("falsa", f"{done}: «{name}» no es el de los archivos")
    extra = {name for name in bare if name.endswith(("lora_A", "_"))}  # no son de ningún modelo
    if lost := sorted(bare.keys() - weights.keys() - extra - {"lm_head.weight"}):
        raise Broken("pérdida", f"{done}: se ignoran {lost[:5]}")


def _bytes(rng: random.Random, path: Path, trap: Path) -> str:
    file = rng.choice([*path.iterdir()])
    data, at = file.read_bytes(), 0
    if not data:
        return "nada"
    at = rng.randrange(min(len(data), rng.choice((60, 4_000, len(data)))))
    way = rng.randrange(4)
    cut = (
        data[:at],
        data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
        data[:at] + data[at + 9 :],
        b"",
    )[way]
    file.write_bytes(cut)
    return f"{file.name}, manera {way}, byte {at}"


def _gone(rng: random.Random, path: Path, trap: Path) -> str:
    files = sorted(path.iterdir())
    if len(files) < 2:
        return "nada"
    file = rng.choice(files)
    file.rename(path / "otro.dat") if rng.random() < 0.3 else file.unlink()
    return f"sin {file.name}"


def _tensors(rng: random.Random, path: Path, trap: Path) -> str:
    from safetensors.torch import load_file, save_file

    file = path / "model.safetensors"
    try:
        state = load_file(file)
        name = rng.choice(sorted(state))
    except Exception:
        return "nada"
    value, way = state.pop(name), rng.randrange(6)
    if way == 1:
        state[f"{name}_"] = value
    elif way == 2:
        state[name] = value.reshape(-1)
    elif way == 3:
        state[name] = value.half() if rng.random() < 0.5 else value.double()
    elif way == 4:
        state[name] = value[:-1].clone()
    elif way == 5:
        state |= {name: value, f"{name}.lora_A": value.clone()}
    save_file(state, file, metadata={"format": "pt"} if rng.random() < 0.8 else None)
    return f"tensor {name}, manera {way}"


def _config(rng: random.Random, path: Path, trap: Path) -> str:
    return _json(
        rng,
        path / "config.json",
        (
            (
                "model_type",
                ("bert", "llama", "gpt_neo", "inventado", "encoder-decoder", "t5", None, 3),
            ),
            (
                "architectures",
                (["BertModel"], [], None, "x", ["GPT2Model"], ["T5ForConditionalGeneration"]),
            ),
            (
                "auto_map",
                ({"AutoModelForCausalLM": "ajeno.Modelo", "AutoConfig": "ajeno.Config"}, 3),
            ),
            (
                "quantization_config",
                ({"quant_method": "bitsandbytes", "load_in_4bit": True}, {}, 3),
            ),
            *(
                (key, (*ODD, 1, 3, 17, 64))
                for key in (
                    "n_embd",
                    "n_layer",
                    "n_head",
                    "vocab_size",
                    "n_positions",
                    "torch_dtype",
                    "dtype",
                    "activation_function",
                    "tie_word_embeddings",
                    "layer_norm_epsilon",
                    "eos_token_id",
                    "n_inner",
                    "transformers_version",
                    "is_encoder_decoder",
                    "attn_implementation",
                )
            ),
        ),
    )


def _tokenizer(rng: random.Random, path: Path, trap: Path) -> str:
    name = rng.choice(("tokenizer_config.json", "tokenizer.json"))
    return _json(
        rng,
        path / name,
        (
            (
                "chat_template",
                ("{% for", "{{ 1/0 }}", 3, [], [{"name": "a", "template": "b"}], None),
            ),
            ("tokenizer_class", ("Inventado", None, "BertTokenizer", "LlamaTokenizer", 3)),
            ("auto_map", ({"AutoTokenizer": ["ajeno.Tokenizador", None]}, 3)),
            (
                "added_tokens",
                ([{"id": 9, "content": "a"}], [{"id": -1, "content": "b", "special": True}], 3),
            ),
            ("model", ({}, {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}, None)),
            ("model_max_length", ODD),
            ("eos_token", ODD),
            ("pad_token", ODD),
            ("extra_special_tokens", ODD),
            ("normalizer", ({"type": "Inventado"}, None)),
            ("pre_tokenizer", (None, 3)),
            ("added_tokens_decoder", ({"0": {"content": "x"}}, {"a": {}}, 3)),
        ),
    )


def _json(rng: random.Random, file: Path, options) -> str:
    try:
        data = json.loads(file.read_text("utf-8"))
        key, values = rng.choice(options)
        value = data[key] = rng.choice(values)
        if rng.random() < 0.15:
            del data[key]
        file.write_text(json.dumps(data), "utf-8")
    except Exception:
        return "nada"
    return f"{file.name}: {key}={value!r}"


class _Bomb:
    """Al cargarlo, deja una señal: nadie debe cargarlo."""

    def __init__(self, trap: Path):
        self.trap = trap

    def __reduce__(self):
        return Path.touch, (self.trap,)


def _index(rng: random.Random, path: Path, trap: Path) -> str:
    """Un índice que reparte los pesos en archivos, alguno de los cuales no está o no es de fiar."""
    from safetensors.torch import load_file

    file = path / "model.safetensors"
    try:
        names = sorted(load_file(file))
    except Exception:
        return "nada"
    to = rng.choice(("pytorch_model.bin", "a.safetensors", "c.safetensors", "/dev/null", 3))
    weight_map = {name: "b.safetensors" if rng.random() < 0.5 else to for name in names}
    (path / "pytorch_model.bin").write_bytes(pickle.dumps({name: _Bomb(trap) for name in names}))
    (path / "ajeno.py").write_text(f"open({str(trap)!r}, 'w')\n", "utf-8")
    file.rename(path / "b.safetensors") if rng.random() < 0.8 else None
    shape = rng.choice(
        ({"metadata": {}, "weight_map": weight_map}, {"weight_map": weight_map}, [], {})
    )
    (path / "model.safetensors.index.json").write_text(json.dumps(shape), "utf-8")
    return f"índice hacia {to}: {str(shape)[:40]}"


WAYS = (_bytes, _bytes, _gone, _tensors, _tensors, _config, _config, _tokenizer, _tokenizer, _index)
