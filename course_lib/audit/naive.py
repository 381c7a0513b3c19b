"""Auditar un archivo de diálogos antes de tener nada más: se simula lo que haría un principiante.

Con un tokenizador como el de GPT-2, sin plantilla ni relleno propio, se codifica como la lección
original: parejas sueltas, marcadores como texto y relleno fijo que cuenta en la pérdida. Con uno ya
preparado se usa su plantilla de chat.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from course_lib.audit.findings import Report, finding, grade, percent
from course_lib.audit.leakage import pair_leak
from course_lib.audit.supervision import PADDING_GRAVE, PADDING_WARNING
from course_lib.dialogues import Dialogue, Pair, read_dialogues, to_pairs
from course_lib.encoding import (
    IGNORED,
    collate,
    encode_conversation,
    encode_original,
    original_text,
    pair_messages,
)
from course_lib.own_template import marks_replies

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
    from course_lib.audit import audit, split_for_audit

    if max_length < 8:
        raise ValueError(f"Una longitud de {max_length} tokens no da para una pareja: usa 8 o más.")
    dialogues = read_dialogues(path, report)
    train, test = split_for_audit(dialogues, by_pairs)
    prepared = tokenizer.chat_template and tokenizer.pad_token_id not in (
        None,
        tokenizer.eos_token_id,
    )
    pairs = to_pairs(dialogues)
    sample = pairs if len(pairs) <= ROWS else random.Random(0).sample(pairs, ROWS)
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
        dialogues=dialogues,
        tokenizer=tokenizer,
        train_dataset=rows,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        train_dialogues=train,
        test_dialogues=test,
    )
    if not prepared:
        result = _with_finding(result, _fixed_padding(tokenizer, pairs, max_length, result))
    result = _with_comparison(result, dialogues, by_pairs)
    assumed = (
        f"Leídos {len(dialogues)} diálogos, que dan {len(pairs)} parejas. Como del ajuste no hay "
        f"nada más, se supone {how}; y un reparto al azar de "
        f"{'parejas' if by_pairs else 'diálogos enteros'}, un 10% para la prueba."
    )
    return FileAudit(result, assumed)


def load_tokenizer(name: str | Path):
    """El tokenizador de una carpeta o del Hub; de GPT-2 bastan `vocab.json` y `merges.txt`.

    Raises:
        FileNotFoundError, ValueError, ConnectionError, OSError: los de `hub.checked`.
    """
    from transformers import AutoTokenizer, GPT2Tokenizer
    from transformers.utils.logging import set_verbosity_error

    from course_lib.hub import checked

    set_verbosity_error()
    folder = Path(name)
    with checked(str(name)):
        if (folder / "merges.txt").is_file() and not (folder / "tokenizer_config.json").is_file():
            return GPT2Tokenizer.from_pretrained(folder)
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)


def _with_template(tokenizer, pair: Pair, max_length: int) -> dict:
    """Una pareja con la plantilla; si no marca las respuestas, cuenta todo."""
    messages = pair_messages(pair.user, pair.reply)
    if marks_replies(tokenizer.chat_template):
        row = vars(encode_conversation(tokenizer, messages))
    else:
        ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        row = {
            "input_ids": ids,
            "attention_mask": [1] * len(ids),
            "labels": list(ids),
            "kinds": [0] * len(ids),
        }
    row = {key: values[:max_length] for key, values in row.items()}
    row["labels"] = [IGNORED, *row["labels"][1:]]
    return row


def _fixed_padding(tokenizer, pairs: list[Pair], max_length: int, report: Report):
    """Cuánto relleno habría, contado en todas las parejas y no en una muestra de filas."""
    counted = pairs
    if len(pairs) > COUNTED_PAIRS:
        counted = random.Random(0).sample(pairs, COUNTED_PAIRS)
    texts = [original_text(tokenizer, pair.user, pair.reply) for pair in counted]
    lengths = [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]
    positions = len(lengths) * max_length
    padding = sum(max(0, max_length - length) for length in lengths)
    share = padding / positions
    severity = grade(share, PADDING_GRAVE, PADDING_WARNING)
    if severity is None:
        return None
    mean = sum(lengths) / len(lengths)
    text = f"{mean:.2f}".replace(".", ",")
    return finding(
        "relleno-contado",
        severity,
        f"Una pareja ocupa {text} tokens de media. Con {max_length} fijos, {padding} de las "
        f"{positions} posiciones de {len(counted)} parejas son relleno: el {percent(share)}, y la "
        "pérdida lo cuenta si las etiquetas son una copia de los ids.",
        {"parejas": len(counted), "posiciones": positions, "relleno": padding,
         "proporcion": share, "tokens_por_pareja": mean},
        example=next((f.example for f in report.findings if f.example), None),
        title=f"Con longitud fija de {max_length}, el {percent(share)} de la pérdida sería relleno",
    )  # fmt: skip


def _with_finding(report: Report, exact) -> Report:
    """El informe con el relleno contado del todo en lugar del de la muestra."""
    rest = tuple(f for f in report.findings if f.check != "relleno-contado")
    if exact is None:
        return replace(report, findings=rest)
    passed = tuple(name for name in report.passed if name != "relleno-contado")
    return replace(report, findings=_worst_first((exact, *rest)), passed=passed)


def _with_comparison(report: Report, dialogues: list[Dialogue], by_pairs: bool) -> Report:
    """Añade a la fuga lo que saldría con el otro reparto."""
    from course_lib.audit import split_for_audit

    try:
        other = pair_leak(*split_for_audit(dialogues, not by_pairs))
    except ValueError:  # demasiado pocos diálogos distintos
        return report
    name = "diálogos enteros" if by_pairs else "parejas"
    said = (
        f" Con un reparto de {name} serían el {percent(other.share)}, y de las respuestas de "
        f"prueba se dirían tal cual al entrenar el {percent(other.replies)}."
    )
    numbers = {"otro_reparto": name, "otra_proporcion": other.share,
               "otras_respuestas_vistas": other.replies}  # fmt: skip
    found = tuple(
        replace(f, evidence=f.evidence + said, numbers=f.numbers | numbers)
        if f.check == "fuga"
        else f
        for f in report.findings
    )
    return replace(report, findings=found)


def _worst_first(findings):
    from course_lib.audit.findings import SEVERITIES

    return tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity)))
