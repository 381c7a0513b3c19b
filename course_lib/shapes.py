"""Las medidas de un modelo, tomadas de su configuración.

Los pesos se cuentan en el modelo de verdad, construido sin memoria (dispositivo `meta`): la cuenta
es exacta y no hay nada que descargar. De ellas salen los costes de `course_lib.costs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_FAMILIES = {"gpt2": "gpt2", "llama": "llama", "mistral": "llama", "qwen2": "llama"}
# De dónde lee cada matriz de un bloque: si se entrena, hay que guardar lo que leyó.
READS = {
    "gpt2": {"c_attn": "norm1", "attn.c_proj": "attn", "c_fc": "norm2", "mlp.c_proj": "mlp"},
    "llama": {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "norm1"),
        "o_proj": "attn",
        **dict.fromkeys(("gate_proj", "up_proj"), "norm2"),
        "down_proj": "mlp",
    },
}
_LORA_TARGETS = {"gpt2": ("c_attn",), "llama": ("q_proj", "v_proj")}  # los que pone peft


@dataclass(frozen=True)
class Shape:
    """Las medidas de un modelo que deciden lo que cuesta.

    Args:
        hidden, queries, keys, mlp: anchura del bloque, de las consultas, de las claves (que es la
            de los valores) y de la capa interna.
        inner: tensores de anchura `mlp` que guarda la activación, sin contar lo que sale de ella.
        weights, embeddings, head: pesos en total, en las tablas de vectores de la entrada, y en la
            capa de salida si no comparte la tabla.
        matrices: nombre, entrada y salida de cada matriz de los bloques.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    queries: int
    keys: int
    mlp: int
    inner: int
    vocabulary: int
    dropout: bool
    weights: int
    embeddings: int
    head: int
    matrices: tuple[tuple[str, int, int], ...]

    @property
    def blocks(self) -> int:
        """Los pesos que no son de las tablas ni de la salida: los que cuentan Kaplan et al."""
        return self.weights - self.embeddings - self.head


def config_shape(config: Any) -> Shape:
    """Mide un modelo por su configuración de transformers, sin descargar ni reservar pesos.

    Raises:
        ValueError: si su arquitectura no es de las que estas fórmulas conocen.

    >>> from transformers import GPT2Config
    >>> config_shape(GPT2Config()).weights
    124439808
    """
    family = _FAMILIES.get(config.model_type)
    if family is None:
        raise ValueError(
            f"No hay fórmulas de coste para la arquitectura «{config.model_type}», solo para "
            f"{', '.join(_FAMILIES)}: usa la configuración de un modelo de tamaño parecido."
        )
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    gpt2 = family == "gpt2"
    table, output = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    positions = model.transformer.wpe.weight.numel() if gpt2 else 0
    named = ((name.removesuffix(".weight"), weight) for name, weight in model.named_parameters())
    matrices = tuple(  # Conv1D, la de GPT-2, es de entrada × salida; Linear, al revés
        (name, *(weight.shape if gpt2 else weight.shape[::-1]))
        for name, weight in named
        if name.endswith(tuple(READS[family])) and weight.ndim == 2
    )
    width = {name.split(".")[-1]: (i, o) for name, i, o in matrices if ".0." in name}
    activation = config.activation_function if gpt2 else ""
    return Shape(
        family=family,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        queries=config.hidden_size if gpt2 else width["q_proj"][1],
        keys=config.hidden_size if gpt2 else width["k_proj"][1],
        mlp=width["c_fc" if gpt2 else "up_proj"][1],
        # `gelu_new` se calcula en cuatro pasos; las demás, de una vez; la de Llama lleva puerta.
        inner={"gelu_new": 4, "": 3}.get(activation, 1),
        vocabulary=config.vocab_size,
        dropout=bool(getattr(config, "attn_pdrop", 0) or getattr(config, "attention_dropout", 0)),
        weights=model.num_parameters(),
        embeddings=table.numel() + positions,
        head=0 if output is table else output.numel(),
        matrices=matrices,
    )


def lora_weights(shape: Shape, rank: int = 8, targets: Sequence[str] = ()) -> int:
    """Los pesos que añade LoRA: rango × (entrada + salida) por matriz (Hu et al., 2021,
    arXiv:2106.09685).

    Args:
        targets: finales de los nombres de las matrices; si no se dan, las que elige `peft`.

    >>> from transformers import GPT2Config
    >>> lora_weights(config_shape(GPT2Config()))
    294912
    """
    return sum(rank * (i + o) for _, i, o in adapted_matrices(shape, targets))


def adapted_matrices(shape: Shape, targets: Sequence[str]) -> list[tuple[str, int, int]]:
    """Las matrices que llevan LoRA: ternas (nombre, entrada, salida).

    Raises:
        ValueError: si ninguna matriz acaba como dice `targets`.
    """
    targets = tuple(targets) or _LORA_TARGETS[shape.family]
    found = [matrix for matrix in shape.matrices if matrix[0].endswith(targets)]
    if not found:
        known = sorted({name.split(".")[-1] for name, _, _ in shape.matrices})
        raise ValueError(
            f"Ninguna matriz acaba en {', '.join(targets)}: elige targets entre {', '.join(known)}."
        )
    return found
