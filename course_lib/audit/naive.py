"""Auditar un archivo de diálogos antes de tener nada más: se simula lo que haría un principiante.

Con un tokenizador como el de GPT-2, sin plantilla, se codifica como la lección original: parejas
sueltas, marcadores como texto y relleno fijo que cuenta en la pérdida. Con uno que la tenga se usa
su plantilla de chat.
"""

import multiprocessing
import random
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from course_lib import shorten
from course_lib.audit import audit
from course_lib.audit.case import DIALOGUES
from course_lib.audit.leakage import split_for_audit
from course_lib.audit.report import SEVERITIES, Finding, Report
from course_lib.dialogues import (
    Dialogue,
    Pair,
    fingerprint,
    iter_dialogues,
    sample_dialogues,
    to_pairs,
)
from course_lib.encoding import (
    Encoded,
    collate,
    encode_conversation,
    encode_original,
    marks_replies,
    pair_messages,
)
from course_lib.tables import number

ROWS = 300  # las que se codifican para mirarlas token a token
LONGEST = 131_072  # tokens de un ejemplo, aunque el tokenizador no ponga tope
SIMULATED = 4_000_000  # tokens de lo que se codifica, como mucho, relleno incluido
TEMPLATE_SECONDS, TEMPLATE_BYTES = 20, 1 << 30  # lo que puede tardar y ocupar una plantilla


def audit_file(
    path: str | Path, tokenizer=None, max_length: int = 128, by_pairs: bool = True
) -> Report:
    """Audita un archivo de diálogos y, si se da el tokenizador, el ajuste que se haría con ellos.

    Lo que se ve en el propio archivo se distingue de lo que se supone (`Finding.supposed`), que
    nunca es grave.

    Args:
        path: el archivo o la carpeta, como en `read_dialogues`.
        tokenizer: recién cargado; si no tiene relleno, se le asigna el de fin.
        max_length: tokens de cada ejemplo.
        by_pairs: si se supone un reparto de parejas; si no, de diálogos enteros.

    Raises:
        FileNotFoundError: si no existe el archivo.
        ValueError: si no se entiende, o la longitud o el tokenizador no valen.
    """
    longest = min(LONGEST, getattr(tokenizer, "model_max_length", LONGEST))
    if not 8 <= max_length <= longest:
        raise ValueError(
            f"Una longitud de {max_length} tokens no vale: usa de 8, que es lo menos que ocupa una "
            f"pareja, a {number(longest)}, que es lo más que admite ese tokenizador o este auditor."
        )
    notices: list[str] = []
    dialogues, total = sample_dialogues(iter_dialogues(path, notices.append), DIALOGUES)
    few = f" (se miran {number(len(dialogues))}, elegidos por su huella; de ellos se habla abajo)"
    read = f"{path}: leídos {_count(total, 'diálogo')}{few * (total > len(dialogues))}"
    measured = audit(dialogues)
    found = [_placed(finding, dialogues) for finding in measured.findings]
    assumed = f"{read}. Sin un tokenizador solo se mira el archivo."
    if tokenizer is not None:
        supposed, said = _simulate(dialogues, tokenizer, max_length, by_pairs, measured)
        found += [replace(f, supposed=True, severity=max(f.severity, "aviso", key=SEVERITIES.index))
                  for f in supposed.findings]  # fmt: skip
        measured = replace(supposed, passed=measured.passed + supposed.passed,
                           failed=measured.failed + supposed.failed)  # fmt: skip
        assumed = f"{read}{said}"
    return replace(measured, findings=tuple(found), notices=tuple(notices), assumed=assumed)


def _simulate(
    dialogues: list[Dialogue], tokenizer, max_length: int, by_pairs: bool, measured: Report
) -> tuple[Report, str]:
    """Lo que se vería en el ajuste que se supone, y en qué consiste."""
    pairs, many = to_pairs(dialogues), max(1, min(ROWS, SIMULATED // max_length))
    sample = pairs if len(pairs) <= many else random.Random(0).sample(pairs, many)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    how = (
        f"la codificación de la lección 04: marcadores como texto, relleno fijo a {max_length} con "
        "el token de fin, y todo cuenta (si vas a usar la plantilla de chat, da la carpeta de un "
        "tokenizador preparado con prepare_for_chat)"
    )
    if _usable_template(tokenizer, sample):
        how = "la plantilla de chat del tokenizador y relleno hasta el más largo de cada lote"
    try:
        rows = [_encode(tokenizer, pair, max_length) for pair in sample]
    except Exception as error:  # cada tokenizador falla a su manera
        raise ValueError(
            f"Ese tokenizador no puede codificar un diálogo ({shorten(error)}): revisa su carpeta."
        ) from error
    parts: dict = {}
    with suppress(ValueError):  # de un solo diálogo no hay reparto que mirar
        train, test = split_for_audit(dialogues, by_pairs)
        parts = {"train_dialogues": train, "test_dialogues": test}
    result = audit(
        dialogues,
        tokenizer,
        rows,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id or 0),
        checks=[abstention.check for abstention in measured.abstained],
        **parts,
    )
    return result, (
        f", que dan {_count(len(pairs), 'pareja')}. Como del ajuste no hay nada más, se supone "
        f"{how}; y un reparto al azar de {'parejas' if by_pairs else 'diálogos enteros'}, un 10% "
        "para la prueba."
    )


def _count(n: int, what: str) -> str:
    return f"{number(n)} {what}{'s' * (n != 1)}"


def _placed(finding: Finding, dialogues: list[Dialogue]) -> Finding:
    """El hallazgo, con el sitio de cada fila en su archivo y la huella de su texto."""
    seen = [dialogues[row] for row in finding.rows]
    places = tuple(int(dialogue.source.rpartition(" ")[2]) for dialogue in seen)
    where = seen[0].source.rpartition(" ")[0].rpartition(", ")[2] if seen else ""
    shown = ", ".join(map(str, places[:8])) + " y más" * (len(places) > 8)
    said = f" En el archivo, {where}{'s' * (len(seen) > 1)} {shown}." if seen else ""
    marks = tuple(f"{fingerprint(dialogue):016x}" for dialogue in seen)
    return replace(finding, evidence=finding.evidence + said, places=places, marks=marks)


def _usable_template(tokenizer, pairs: list[Pair]) -> bool:
    """Si hay plantilla de chat; se prueba aparte, que podría estar rota o no acabar nunca."""
    if isinstance(tokenizer.chat_template, dict):
        if "default" not in tokenizer.chat_template:
            names = "», «".join(map(shorten, tokenizer.chat_template))
            raise ValueError(
                f"Ese tokenizador tiene varias plantillas de chat («{names}») y ninguna se llama "
                "«default»: deja en él la que vayas a usar."
            )
        tokenizer.chat_template = tokenizer.chat_template["default"]
    if not tokenizer.chat_template:
        return False
    talks = [pair_messages(pair.user, pair.reply) for pair in pairs]
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    try:
        with context.Pool(1, _fenced) as pool:
            render = pool.apply_async(tokenizer.apply_chat_template, (talks,), {"tokenize": False})
            render.get(TEMPLATE_SECONDS)
    except Exception as error:
        endless = isinstance(error, multiprocessing.TimeoutError)
        problem = "no acaba nunca" if endless else shorten(f"{type(error).__name__}: {error}")
        raise ValueError(
            f"La plantilla de chat de ese tokenizador no puede escribir un diálogo ({problem}): "
            "corrígela, o bórrala para auditar sin ella."
        ) from error
    return True


def _fenced() -> None:
    """Que este proceso se deje matar y no ocupe mucho más de lo que ya ocupa."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # quien lo creó puede atender la suya
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + TEMPLATE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _encode(tokenizer, pair: Pair, max_length: int) -> dict:
    """Una pareja, con la plantilla (si no marca las respuestas, cuenta todo) o como en la 04."""
    if not tokenizer.chat_template:
        return vars(encode_original(tokenizer, pair.user, pair.reply, max_length))
    messages = pair_messages(pair.user, pair.reply)
    if marks_replies(tokenizer.chat_template):
        encoded = encode_conversation(tokenizer, messages)
    else:
        ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        encoded = Encoded(ids, [1] * len(ids), ids, [0] * len(ids))
    return {name: values[:max_length] for name, values in vars(encoded).items()}
