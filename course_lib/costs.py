"""Qué memoria, qué tiempo y qué dinero pide un modelo, antes de descargarlo.

Lo que guarda cada bloque para la vuelta atrás se cuenta como Korthikanti et al. (2022,
arXiv:2205.05198, §4.1), pero con las operaciones de `transformers` 5. Y no todo vive a la vez: los
gradientes crecen mientras las activaciones se liberan, así que se mira cada momento del paso y se
da el peor. `taller/memoria.py` compara estas predicciones con picos medidos.
"""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.tables import markdown, number

_FAMILIES = {"gpt2": "gpt2", "llama": "llama", "mistral": "llama", "qwen2": "llama"}
# De dónde lee cada matriz de un bloque: si se entrena, hay que guardar lo que leyó.
READS = {
    "gpt2": {"c_attn": "norm1", "attn.c_proj": "attn", "c_fc": "norm2", "mlp.c_proj": "mlp"},
    "llama": {"q_proj": "norm1", "k_proj": "norm1", "v_proj": "norm1", "o_proj": "attn"}
    | {"gate_proj": "norm2", "up_proj": "norm2", "down_proj": "mlp"},
}
_LORA_TARGETS = {"gpt2": ("c_attn",), "llama": ("q_proj", "v_proj")}  # los que pone peft


@dataclass(frozen=True)
class Shape:
    """Las medidas de un modelo que deciden lo que cuesta.

    Args:
        hidden, queries, keys, mlp: anchura del bloque, de las consultas, de las claves (que es la
            de los valores) y de la capa interna.
        inner: tensores de anchura `mlp` que guarda la activación, sin contar lo que sale de ella.
        weights, embeddings, head: pesos en total, en las tablas de la entrada y en la salida.
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
    ends = tuple(f"{end}.weight" for end in READS[family])
    matrices = tuple(  # Conv1D, la de GPT-2, es de entrada × salida; Linear, al revés
        (name.removesuffix(".weight"), *(weight.shape if gpt2 else weight.shape[::-1]))
        for name, weight in model.named_parameters()
        if name.endswith(ends)
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
    """Los pesos que añade LoRA (Hu et al., 2021, arXiv:2106.09685): rango × (entrada + salida).

    Args:
        targets: finales de los nombres de las matrices; si no se dan, las que elige `peft`.

    >>> from transformers import GPT2Config
    >>> lora_weights(config_shape(GPT2Config()))
    294912
    """
    return sum(rank * (i + o) for _, i, o in adapted_matrices(shape, targets))


def adapted_matrices(shape: Shape, targets: Sequence[str]) -> list[tuple[str, int, int]]:
    """Las matrices que llevan LoRA: ternas (nombre, entrada, salida)."""
    targets = tuple(targets) or _LORA_TARGETS[shape.family]
    found = [matrix for matrix in shape.matrices if matrix[0].endswith(targets)]
    if not found:
        known = sorted({name.split(".")[-1] for name, _, _ in shape.matrices})
        raise ValueError(
            f"Ninguna matriz acaba en {', '.join(targets)}: elige targets entre {', '.join(known)}."
        )
    return found


GIB = 2**30
BYTES = {"fp32": 4, "mixta": 2, "bf16": 2}  # de cada número en las cuentas de un bloque
# NF4 con doble cuantización: 4 bits por peso y 8/64 + 32/(64·256) = 0,127 de constantes
# (QLoRA: Dettmers et al., 2023, arXiv:2305.14314, §3).
NF4 = (4 + 0.127) / 8
_PARTS = ("pesos", "gradientes", "optimizador", "caché", "activaciones", "logits")


@dataclass(frozen=True)
class Memory:
    """Bytes de cada parte en el peor momento, y cuál es ese momento."""

    parts: Mapping[str, float]
    moment: str

    @property
    def total(self) -> float:
        """La suma de las partes, en bytes."""
        return sum(self.parts.values())


# Lo que cuesta una hora de máquina, con la fuente y la fecha del dato.
Price = namedtuple("Price", "per_hour currency source date")


def training_memory(
    shape: Shape,
    *,
    batch: int,
    length: int,
    method: str = "full",
    precision: str = "fp32",
    optimizer: str = "adamw",
    rank: int = 8,
    targets: Sequence[str] = (),
    checkpointing: bool = False,
    accumulation: int = 1,
    fused_attention: bool = True,
) -> Memory:
    """La memoria del peor momento de un paso de entrenamiento.

    Args:
        batch, length: filas del lote y tokens de cada fila, con su relleno.
        method: `full`, `lora` o `qlora` (LoRA, con las matrices congeladas en 4 bits).
        precision: `fp32`; `mixta`, pesos en 32 bits y cuentas en 16 (*autocast*); o `bf16`, todo
            en 16 bits menos lo que añade LoRA, que `peft` deja en 32.
        checkpointing: guarda solo la entrada de cada bloque y rehace lo demás al volver.
        accumulation: con más de 1, los gradientes del lote anterior esperan a los nuevos.
        fused_attention: si es falso, guarda también las matrices de atención.
    """
    _check("method", method, ("full", "lora", "qlora"))
    _check("precision", precision, tuple(BYTES))
    _check("optimizer", optimizer, ("adamw", "adamw_8bit", "sgd"))
    tokens, stored, full = batch * length, 2 if precision == "bf16" else 4, method == "full"
    adapted = [] if full else adapted_matrices(shape, targets)
    moving = shape.weights if full else lora_weights(shape, rank, targets)
    each = stored if full else 4
    weights = _stored(shape, stored, method == "qlora") + (0 if full else each * moving)
    moments = moving * {"adamw": 2 * each, "adamw_8bit": 2, "sgd": 0}[optimizer]
    gradients, table = moving * each, full * shape.vocabulary * shape.hidden * each
    block = tokens * _saved(shape, precision, adapted, 0 if fused_attention else length)
    saved = shape.layers * (tokens * shape.hidden * BYTES[precision] if checkpointing else block)
    # En fp32 y a la vez: log-probabilidades, su gradiente y el de los logits, ya liberados estos.
    logits = 3 * 4 * tokens * shape.vocabulary
    before = gradients if accumulation > 1 else 0
    # *Autocast* copia cada matriz en 16 bits, y desde 4 bits se descomprimen de una en una.
    copies = 2 * (shape.blocks + shape.vocabulary * shape.hidden) if precision == "mixta" else 0
    copies += (method == "qlora") * 2 * max(i * o for _, i, o in shape.matrices)
    tied = 0 if shape.head else table  # con la tabla compartida, llegan dos gradientes que sumar
    # Al volver por un bloque, los gradientes de lo que hay dentro ocupan casi lo que él guardó.
    inside = saved + (1.75 if checkpointing else 0.75) * block
    return _worst(
        ("pesos", "gradientes", "optimizador", "activaciones", "logits"),
        ("al calcular la pérdida", weights + copies, before, moments, saved, logits),
        ("al volver por un bloque", weights + copies, max(before, table), moments, inside, 0),
        ("al acabar la vuelta atrás", weights, gradients + tied, moments, block, 0),
    )


def inference_memory(
    shape: Shape,
    *,
    batch: int = 1,
    prompt: int,
    new_tokens: int = 0,
    precision: str = "bf16",
    four_bits: bool = False,
) -> Memory:
    """La memoria del peor momento al contestar.

    La caché guarda una clave y un valor por token y bloque. Al generar, solo se calculan los logits
    de la última posición.

    Args:
        batch, prompt: peticiones a la vez y tokens de cada una.
        new_tokens: los que se generan; con 0, una pasada que da los logits de todas las posiciones,
            como al evaluar.
    """
    _check("precision", precision, ("fp32", "bf16"))
    size = BYTES[precision]
    weights = _stored(shape, size, four_bits)
    per_token = 2 * shape.layers * shape.keys * size * batch  # lo que crece la caché
    # En el peor bloque: lo que entró al modelo y al bloque, el residuo, lo normalizado y la MLP.
    inside = batch * prompt * size * (4 * shape.hidden + max(2, shape.inner) * shape.mlp)
    rows = batch * (1 if new_tokens else prompt)
    logits = rows * shape.vocabulary * (size + (4 if new_tokens else 0))
    full_cache = per_token * (prompt + new_tokens)
    return _worst(
        ("pesos", "caché", "activaciones", "logits"),
        ("al leer la petición", weights, per_token * prompt, inside, 0),
        ("al dar el último token", weights, full_cache, full_cache / shape.layers, logits),
    )


def training_flops(shape: Shape, tokens: float, *, method: str = "full") -> float:
    """Operaciones de un entrenamiento: 6 por peso y token (Kaplan et al., 2020, arXiv:2001.08361).

    Son 2 al ir y 4 al volver: 2 para el gradiente de lo que entra en cada matriz, que hace falta
    siempre, y 2 para el de la matriz, que se ahorra si está congelada. Por eso LoRA cuesta 4 por
    peso congelado y 6 por peso añadido: dos tercios, y no un uno por ciento. Como en `Trainer`,
    quedan fuera la capa de salida y el producto de la atención.

    Args:
        tokens: los que se leen en total, con su relleno y todas las épocas.
    """
    if method == "full":
        return tokens * 6 * shape.blocks
    return tokens * (4 * shape.blocks + 6 * lora_weights(shape))


def training_time(flops: float, speed: float) -> float:
    """Los segundos, a partir de las operaciones por segundo medidas en unos veinte pasos tuyos."""
    if speed <= 0:
        raise ValueError(f"La velocidad ha de ser positiva, y es {speed}: mídela en unos pasos.")
    return flops / speed


def bill(seconds: float, price: Price) -> str:
    """La factura en una frase, con la fuente y la fecha del precio.

    >>> bill(7200, Price(0.5, "€", "tarifa de ejemplo", "2026-01"))
    '2,0 h × 0,50 €/h = 1,00 € (tarifa de ejemplo, 2026-01)'
    """
    hours, coin, each = seconds / 3600, price.currency, price.per_hour
    sums = f"{number(hours, 1)} h × {number(each, 2)} {coin}/h = {number(hours * each, 2)} {coin}"
    return f"{sums} ({price.source}, {price.date})"


def fits(memory: Memory, gib: float) -> str:
    """`cabe`, `justo` o `no cabe` en una máquina con `gib` GiB libres: «justo», si no queda un 10%
    para el contexto de la GPU y los huecos que deja el reparto."""
    if memory.total > gib * GIB:
        return "no cabe"
    return "cabe" if memory.total <= 0.9 * gib * GIB else "justo"


def memory_table(rows: Mapping[str, Memory], devices: Mapping[str, float] | None = None) -> str:
    """Una tabla en Markdown con una fila por caso, en GiB: qué ocupa cada parte o, si se dan
    máquinas con sus GiB libres, dónde cabe."""
    parts = () if devices else [p for p in _PARTS if any(p in row.parts for row in rows.values())]
    lines = []
    for name, row in rows.items():
        sizes = [row.parts[p] / GIB if p in row.parts else None for p in parts]
        cells = [size if size is None else number(size, 2) for size in sizes]
        verdicts = [fits(row, gib) for gib in devices.values()] if devices else [row.moment]
        lines.append([name, *cells, f"**{number(row.total / GIB, 2)}**", *verdicts])
    return markdown(["GiB", *parts, "total", *(devices or ("cuándo",))], lines)


def _saved(shape: Shape, precision: str, adapted: Sequence[tuple], materialized: int) -> float:
    """Bytes por token que un bloque guarda para la vuelta atrás. Sin matrices con LoRA (`adapted`)
    se mueve todo; `materialized` es la longitud, si se guardan las matrices de atención, o 0."""
    size, full, h, mixed = BYTES[precision], not adapted, shape.hidden, precision == "mixta"
    kept = 2 * shape.queries + 2 * shape.keys + shape.inner * shape.mlp  # q, salida, k y v
    norms = 2 * h * (4 if mixed else size)  # lo que entra en las dos normas
    if shape.family == "llama":  # RMSNorm pasa a fp32 y, si su peso se mueve, guarda otra cosa
        norms = 2 * h * (4 + full * (4 if mixed else size))
    masks = shape.dropout * (2 * h + shape.heads * materialized * (1 + size))
    total = size * (kept + shape.heads * materialized) + norms + masks
    if full or precision == "fp32":
        moved = tuple(name for name, _, _ in adapted or shape.matrices)
        reads = READS[shape.family].items()
        read = [kind for end, kind in reads if any(name.endswith(end) for name in moved)]
        read = read if mixed else set(read)  # *autocast* hace una copia para cada matriz
        width = {"norm1": h, "norm2": h, "mlp": shape.mlp, "attn": 0}  # «attn» ya está en `kept`
        return total + size * sum(width[kind] for kind in read)
    # De lo que lee cada matriz adaptada peft hace una copia en fp32, y *autocast* otra en 16 bits.
    return total + (2 if mixed else 4) * sum(i for _, i, _ in adapted) / shape.layers


def _stored(shape: Shape, size: int, four_bits: bool) -> float:
    """Bytes de los pesos: en 4 bits van las matrices de los bloques, y nada más."""
    quantized = sum(i * o for _, i, o in shape.matrices) if four_bits else 0
    return quantized * NF4 + (shape.weights - quantized) * size


def _worst(names: Sequence[str], *moments: tuple) -> Memory:
    moment, *sizes = max(moments, key=lambda row: sum(row[1:]))
    return Memory(dict(zip(names, sizes, strict=True)), moment)


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}={value!r} no existe: elige entre {', '.join(known)}.")
