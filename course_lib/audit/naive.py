"""Auditar un archivo de diálogos antes de tener nada más: se simula lo que haría un principiante.

Con un tokenizador como el de GPT-2, sin plantilla ni relleno propio, se codifica como la lección
original: parejas sueltas, marcadores como texto y relleno fijo que cuenta en la pérdida. Con uno ya
preparado se usa su plantilla de chat.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from course_lib.audit import audit
from course_lib.audit.engine import Seen, grade
from course_lib.audit.leakage import pair_leak, split_for_audit
from course_lib.audit.report import Report, worst_first
from course_lib.audit.supervision import PADDING_LEVELS
from course_lib.dialogues import Pair, iter_dialogues, sample_dialogues, to_pairs
from course_lib.encoding import (
    Encoded,
    collate,
    encode_conversation,
    encode_original,
    marks_replies,
    original_text,
    pair_messages,
)
from course_lib.tables import mean, number

DIALOGUES = 50_000  # los que se guardan en memoria, como mucho
ROWS = 300  # las que se codifican para mirarlas token a token
COUNTED_PAIRS = 20_000  # las que se miden para saber cuánto se rellena


@dataclass(frozen=True)
class FileAudit:
    """El informe y, en una frase, lo que se simuló para hacerlo."""

    report: Report
    assumed: str


def audit_file(
    path: str | Path,
    tokenizer,
    max_length: int = 128,
    by_pairs: bool = True,
    report: Callable[[str], None] = print,
) -> FileAudit:
    """Audita un archivo de diálogos con el tokenizador con que se va a ajustar.

    Args:
        path: el archivo, como en `read_dialogues`.
        tokenizer: recién cargado; si no tiene relleno, se le asigna el de fin.
        max_length: tokens de cada ejemplo.
        by_pairs: si se supone un reparto de parejas; si no, de diálogos enteros.
        report: adónde van los avisos de la lectura.

    Raises:
        FileNotFoundError: si no existe el archivo.
        ValueError: si no se entiende o no da para repartirlo.
    """
    if max_length < 8:
        raise ValueError(f"Una longitud de {max_length} tokens no da para una pareja: usa 8 o más.")
    dialogues, total = sample_dialogues(iter_dialogues(path, report), DIALOGUES)
    train, test = split_for_audit(dialogues, by_pairs)
    own_padding = tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    prepared = tokenizer.chat_template and own_padding
    sample = _some(pairs := to_pairs(dialogues), ROWS)
    if prepared:
        rows = [_with_template(tokenizer, pair, max_length) for pair in sample]
        how = "la plantilla de chat del tokenizador y relleno hasta el más largo de cada lote"
    else:
        tokenizer.pad_token = tokenizer.eos_token
        rows = [vars(encode_original(tokenizer, p.user, p.reply, max_length)) for p in sample]
        how = (
            f"la codificación de la lección 04: marcadores como texto, relleno fijo a {max_length} "
            "con el token de fin, y todo cuenta (si vas a usar la plantilla de chat, da la carpeta "
            "de un tokenizador preparado con prepare_for_chat)"
        )
    result = audit(
        dialogues,
        tokenizer,
        rows,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        train_dialogues=train,
        test_dialogues=test,
    )
    if not prepared:
        result = _with_padding(result, tokenizer, pairs, max_length)
    split, other = ("parejas", "diálogos enteros")[:: 1 if by_pairs else -1]
    with suppress(ValueError):  # demasiado pocos diálogos distintos
        result = _with_other_split(result, split_for_audit(dialogues, not by_pairs), other)
    few = f" (se miran {number(len(dialogues))}, elegidos por su huella; de ellos se habla abajo)"
    read = f"{number(total)} diálogos{few * (total > len(dialogues))}"
    assumed = (
        f"Leídos {read}, que dan {number(len(pairs))} parejas. Como del ajuste no hay nada más, se "
        f"supone {how}; y un reparto al azar de {split}, un 10% para la prueba."
    )
    return FileAudit(result, assumed)


def _some(pairs: list[Pair], limit: int) -> list[Pair]:
    return pairs if len(pairs) <= limit else random.Random(0).sample(pairs, limit)


def _with_template(tokenizer, pair: Pair, max_length: int) -> dict:
    """Una pareja con la plantilla; si no marca las respuestas, cuenta todo."""
    messages = pair_messages(pair.user, pair.reply)
    if marks_replies(tokenizer.chat_template):
        encoded = encode_conversation(tokenizer, messages)
    else:
        ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        encoded = Encoded(ids, [1] * len(ids), ids, [0] * len(ids))
    return {name: values[:max_length] for name, values in vars(encoded).items()}


def _with_padding(report: Report, tokenizer, pairs: list[Pair], max_length: int) -> Report:
    """El informe con el relleno contado en todas las parejas, en lugar del de la muestra."""
    name, counted = "relleno-contado", _some(pairs, COUNTED_PAIRS)
    texts = [original_text(tokenizer, pair.user, pair.reply) for pair in counted]
    lengths = [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]
    positions = len(lengths) * max_length
    padding = sum(max(0, max_length - length) for length in lengths)
    numbers = {"parejas": len(counted), "posiciones": positions, "relleno": padding,
               "proporcion": padding / positions, "tokens_por_pareja": mean(lengths)}  # fmt: skip
    example = next((found.example for found in report.findings if found.example), None)
    words = {"say": ["fijo"], "title": "titulo_fijo", "longitud": max_length}
    findings = [found for found in report.findings if found.check != name]
    passed = report.passed
    if severity := grade(padding / positions, **PADDING_LEVELS):
        findings = [Seen(numbers, example=example, **words).finding(name, severity), *findings]
        passed = tuple(check for check in passed if check != name)
    return replace(report, findings=worst_first(findings), passed=passed)


def _with_other_split(report: Report, split: tuple[list[Pair], list[Pair]], name: str) -> Report:
    """Añade a la fuga lo que saldría con el otro reparto."""
    other = pair_leak(*split).numbers
    numbers = {"otro_reparto": name, "otra_proporcion": other["proporcion"],
               "otras_respuestas_vistas": other["respuestas_vistas"]}  # fmt: skip
    said = Seen(numbers, say=["otro"]).finding("fuga", "nota").evidence
    return replace(report, findings=tuple(
        replace(f, evidence=f"{f.evidence} {said}", numbers=f.numbers | numbers)
        if f.check == "fuga" else f for f in report.findings
    ))  # fmt: skip
