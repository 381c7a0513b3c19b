"""Lo que publica el Hub de las pruebas: los repositorios de la ruta `gpt2`, hechos aquí mismo.

Las configuraciones, los nombres de los archivos y los de los pesos son los de verdad, salvo que los
modelos tienen una sola capa y son estrechos, para que todo vaya deprisa; los pesos, al azar; los
textos, los de la muestra de DailyDialog y el tokenizador de GPT-2 de `shared_data`.
"""

import json
from pathlib import Path

from loopback_hub import LoopbackHub

GPT2 = "openai-community/gpt2"
DAILY_DIALOG = "li2017dailydialog/daily_dialog"
DAILY_DIALOG_COPY = "OpenRL/daily_dialog"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
PARQUET_BRANCH = "refs/convert/parquet"

GPT2_CONFIG = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 50256,
    "embd_pdrop": 0.1,
    "eos_token_id": 50256,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 50257,
}
GPT2_GENERATION = {
    "_from_model_config": True,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "transformers_version": "4.26.0.dev0",
}
SMOLLM2_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 576,
    "initializer_range": 0.041666666666666664,
    "intermediate_size": 1536,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "pad_token_id": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 49152,
}
SMOLLM2_GENERATION = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
SMOLLM2_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LOADING_SCRIPT = '''"""DailyDialog, como se cargaba antes: con un programa."""

raise RuntimeError("Nadie debe ejecutar el programa de un repositorio.")
'''


# Una capa en vez de 12 y 30, y un octavo y un cuarto del ancho: los pesos ocupan así unos 20 MB,
# bastante para que una descarga se corte después de su primer trozo de 10.
SMALL_GPT2 = {"n_layer": 1, "n_embd": 96}
SMALL_SMOLLM2 = {"num_hidden_layers": 1, "hidden_size": 144, "intermediate_size": 384}


def publish_course(
    hub: LoopbackHub, folder: Path, shared: Path, tokens: int = GPT2_CONFIG["vocab_size"]
) -> None:
    """Hace y publica los repositorios de la ruta `gpt2`, y los nombres antiguos que redirigen.

    Args:
        shared: la carpeta de la muestra real.
        tokens: cuántos de los suyos conoce GPT-2; con menos, todo es más rápido.
    """
    hub.publish("models", GPT2, write_gpt2(folder / "gpt2", shared, tokens))
    hub.publish("models", SMOLLM2, write_smollm2(folder / "smollm2", shared))
    branch, copy, main = folder / "rama", folder / "copia", folder / "principal"
    for part, rows in dialogue_parts(shared).items():
        write_parquet(rows, branch / "default" / part / "0000.parquet")
        # La copia de verdad lleva en el nombre un sufijo así: nadie puede escribirlo de memoria.
        suffix = "f151c79abb2c1fd5" if part == "train" else "0123456789abcdef"
        write_parquet(rows, copy / "data" / f"{part}-00000-of-00001-{suffix}.parquet")
    hub.publish("datasets", DAILY_DIALOG, branch, PARQUET_BRANCH)
    hub.publish("datasets", DAILY_DIALOG_COPY, copy)
    write_text(main / "README.md", "---\nlicense: cc-by-nc-sa-4.0\n---\n# DailyDialog\n")
    write_text(main / "daily_dialog.py", LOADING_SCRIPT)
    hub.publish("datasets", DAILY_DIALOG, main)
    hub.move("models", "gpt2", GPT2)
    hub.move("datasets", "daily_dialog", DAILY_DIALOG)


def dialogue_parts(shared: Path) -> dict[str, list[dict]]:
    """La muestra entera como «train»; las otras dos partes, que no tenemos, son trozos de ella."""
    lines = (shared / "dailydialog" / "train_1k.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {"train": rows, "validation": rows[100:150], "test": rows[200:260]}


def write_parquet(rows: list[dict], path: Path) -> None:
    """Con el esquema que hace el Hub al convertir: listas de textos y de enteros de 64 bits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = {"dialog": pa.string(), "act": pa.int64(), "emotion": pa.int64()}
    schema = pa.schema({name: pa.list_(kind) for name, kind in lists.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def write_gpt2(folder: Path, shared: Path, tokens: int) -> Path:
    """GPT-2 con su configuración de verdad, menos el tamaño, y pesos al azar."""
    import torch

    end = "<|endoftext|>"  # el último, como en el de verdad
    vocab = [*[token for token in gpt2_tokens(shared) if token != end][: tokens - 1], end]
    write_bpe(folder, shared, vocab, [end])
    write_json(folder / "tokenizer_config.json", {"model_max_length": 1024})
    ids = {"bos_token_id": tokens - 1, "eos_token_id": tokens - 1}
    config = GPT2_CONFIG | SMALL_GPT2 | ids | {"vocab_size": tokens}
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", GPT2_GENERATION | ids)
    torch.manual_seed(2019)
    save_weights(gpt2_weights(config), folder)
    return folder


def write_bpe(folder: Path, shared: Path, vocab: list[str], special: list[str]) -> None:
    """El tokenizador: esos tokens y, de las uniones de GPT-2, las que hacen falta para ellos."""
    from tokenizers import ByteLevelBPETokenizer

    write_json(folder / "vocab.json", {token: id for id, token in enumerate(vocab)})
    merges = (shared / "gpt2_tokenizer" / "merges.txt").read_text(encoding="utf-8").splitlines()
    known = merges[1 : 1 + len(vocab) - len(special) - 256]  # 256 tokens son bytes, no uniones
    write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *known]) + "\n")
    bpe = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    bpe.add_special_tokens(special)
    bpe.save(str(folder / "tokenizer.json"))


def gpt2_weights(config: dict) -> dict:
    """Los pesos de un GPT-2 al azar, como los lleva su archivo de verdad.

    Sin el prefijo «transformer.», con la máscara triangular de cada capa y sin la salida, que es la
    tabla de entrada.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    weights = GPT2LMHeadModel(GPT2Config(**config)).transformer.state_dict()
    for layer in range(config["n_layer"]):
        weights[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, 1024, 1024))
    return weights


def write_smollm2(folder: Path, shared: Path) -> Path:
    """SmolLM2 de una capa, estrecho y con pesos al azar, con un BPE que es el de GPT-2 recortado.

    Sus marcadores son los tres primeros, como en el de verdad; después van los 49 149 primeros
    tokens de GPT-2, para que el vocabulario sea del mismo tamaño.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab = [*special, *gpt2_tokens(shared)][: SMOLLM2_CONFIG["vocab_size"]]
    write_bpe(folder, shared, vocab, special)
    write_json(
        folder / "tokenizer_config.json",
        {
            "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
            "bos_token": "<|im_start|>",
            "chat_template": SMOLLM2_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "model_max_length": 8192,
            "pad_token": "<|im_end|>",
            "tokenizer_class": "GPT2Tokenizer",
            "unk_token": "<|endoftext|>",
        },
    )
    config = SMOLLM2_CONFIG | SMALL_SMOLLM2
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", SMOLLM2_GENERATION)
    torch.manual_seed(2024)
    weights = LlamaForCausalLM(LlamaConfig(**config)).to(torch.bfloat16).state_dict()
    del weights["lm_head.weight"]  # es la tabla de entrada
    save_weights(weights, folder)
    return folder


def gpt2_tokens(shared: Path) -> list[str]:
    """Los tokens de GPT-2 por orden, sin el de relleno que le añade la copia que hay aquí."""
    vocab = json.loads((shared / "gpt2_tokenizer" / "vocab.json").read_text(encoding="utf-8"))
    return [token for token in sorted(vocab, key=vocab.get) if token != "<|padding|>"]


def save_weights(weights: dict, folder: Path) -> None:
    from safetensors.torch import save_file

    whole = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})


def write_json(path: Path, value) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False))


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
