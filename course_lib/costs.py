"""Qué memoria, qué tiempo y qué dinero pide un modelo, antes de descargarlo.

Lo que guarda cada bloque para la vuelta atrás se cuenta como Korthikanti et al. (2022,
arXiv:2205.05198, §4.1), pero con las operaciones de `transformers` 5. Y no todo vive a la vez: los
gradientes crecen mientras las activaciones se liberan, así que se mira cada momento del paso y se
da el peor. `herramientas/memoria.py` compara estas predicciones con picos medidos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from course_lib.shapes import READS, Shape, adapted_matrices, lora_weights

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


@dataclass(frozen=True)
class Price:
    """Lo que cuesta una hora de máquina, con la fuente y la fecha del dato."""

    per_hour: float
    currency: str
    source: str
    date: str


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


def training_flops(
    shape: Shape,
    tokens: float,
    *,
    method: str = "full",
    rank: int = 8,
    targets: Sequence[str] = (),
    checkpointing: bool = False,
) -> float:
    """Operaciones de un entrenamiento: 6 por peso y token (Kaplan et al., 2020, arXiv:2001.08361).

    Son 2 al ir y 4 al volver: 2 para el gradiente de lo que entra en cada matriz, que hace falta
    siempre, y 2 para el de la matriz, que se ahorra si está congelada. Por eso LoRA cuesta 4 por
    peso congelado y 6 por peso añadido: dos tercios, y no un uno por ciento. `checkpointing` suma
    otra ida. Como en `Trainer`, quedan fuera la capa de salida y el producto de la atención.

    Args:
        tokens: los que se leen en total, con su relleno y todas las épocas.
    """
    forward = 2 * shape.blocks * (2 if checkpointing else 1)
    if method == "full":
        return tokens * (forward + 4 * shape.blocks)
    return tokens * (forward + 2 * shape.blocks + 6 * lora_weights(shape, rank, targets))


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
    hours, coin = seconds / 3600, price.currency
    sums = f"{hours:,.1f} h × {price.per_hour:.2f} {coin}/h = {hours * price.per_hour:,.2f} {coin}"
    return f"{_spanish(sums)} ({price.source}, {price.date})"


def fits(memory: Memory, gib: float, margin: float = 0.1) -> str:
    """`cabe`, `justo` o `no cabe` en una máquina con `gib` GiB libres.

    Args:
        margin: la parte que se deja para lo que no se cuenta: el contexto de la GPU y los huecos
            que deja el reparto. Si solo cabe sin ese margen, la respuesta es `justo`.
    """
    if memory.total > gib * GIB:
        return "no cabe"
    return "cabe" if memory.total <= (1 - margin) * gib * GIB else "justo"


def memory_table(rows: Mapping[str, Memory], devices: Mapping[str, float] | None = None) -> str:
    """Una tabla en Markdown con una fila por caso, en GiB.

    Args:
        devices: GiB libres de cada máquina. Si se dan, las columnas dicen dónde cabe; si no, qué
            ocupa cada parte.
    """
    parts = () if devices else [p for p in _PARTS if any(p in row.parts for row in rows.values())]
    lines = [["GiB", *parts, "total", *(devices or ("cuándo",))]]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    for name, row in rows.items():
        sizes = [row.parts.get(part) for part in parts]
        cells = ["—" if size is None else _spanish(f"{size / GIB:,.2f}") for size in sizes]
        verdicts = [fits(row, gib) for gib in devices.values()] if devices else [row.moment]
        lines.append([name, *cells, f"**{_spanish(f'{row.total / GIB:,.2f}')}**", *verdicts])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _saved(shape: Shape, precision: str, adapted: Sequence[tuple], materialized: int) -> float:
    """Bytes por token que un bloque guarda para la vuelta atrás.

    Args:
        adapted: las matrices con LoRA; vacío, se mueve todo.
        materialized: la longitud, si hay que guardar las matrices de atención; si no, 0.
    """
    size, full, h, mixed = BYTES[precision], not adapted, shape.hidden, precision == "mixta"
    kept = 2 * shape.queries + 2 * shape.keys + shape.inner * shape.mlp  # q, salida, k y v
    norms = 2 * h * (4 if mixed else size)  # lo que entra en las dos normas
    if shape.family == "llama":  # RMSNorm pasa a fp32 y, si su peso se mueve, guarda otra cosa
        norms = 2 * h * (4 + full * (4 if mixed else size))
    masks = shape.dropout * (2 * h + shape.heads * materialized * (1 + size))
    total = size * (kept + shape.heads * materialized) + norms + masks
    if full or precision == "fp32":
        moved = [name for name, _, _ in adapted or shape.matrices]
        read = [
            kind for end, kind in READS[shape.family].items() if any(m.endswith(end) for m in moved)
        ]
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


def _spanish(number: str) -> str:
    return number.translate(str.maketrans(",.", ".,"))
