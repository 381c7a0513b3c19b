"""Los datos como textos: repeticiones, fugas entre entrenamiento y prueba, respuestas iguales."""

import random
from collections import Counter
from collections.abc import Hashable, Sequence

from course_lib.audit.case import Case
from course_lib.audit.findings import Finding, finding, grade, listing, percent
from course_lib.audit.fold import fold
from course_lib.audit.leakage import Leak, dialogue_leak, pair_leak, row_leak
from course_lib.dialogues import Dialogue, Pair, split_dialogues, to_pairs

LEAK_GRAVE, LEAK_WARNING = 0.20, 0.02
REPEAT_GRAVE, REPEAT_WARNING = 0.20, 0.01
MIN_ANSWERS = 20
UNIQUE_SHARE, COMMON_SHARE = 0.30, 0.50


def split_for_audit(
    dialogues: Sequence[Dialogue], by_pairs: bool, test_fraction: float = 0.1, seed: int = 0
) -> tuple[list[Pair], list[Pair]]:
    """Reparte como lo haría quien sortea parejas o como quien sortea diálogos, para comparar.

    Args:
        by_pairs: si se sortean las parejas una a una, sin mirar de qué diálogo son.

    Returns:
        `(entrenamiento, prueba)`, parejas con el número de su diálogo en `dialogues`.
    """
    if not by_pairs:
        train, test = split_dialogues(dialogues, test_fraction, seed)
        place = {id(dialogue): i for i, dialogue in enumerate(dialogues)}

        def numbered(part):
            return [
                Pair(pair.user, pair.reply, place[id(dialogue)])
                for dialogue in part
                for pair in to_pairs([dialogue])
            ]

        return numbered(train), numbered(test)
    pairs = to_pairs(dialogues)
    order = list(range(len(pairs)))
    random.Random(seed).shuffle(order)
    cut = round(len(pairs) * test_fraction)
    return [pairs[i] for i in sorted(order[cut:])], [pairs[i] for i in sorted(order[:cut])]


def check_leak(case: Case) -> Finding | str | None:
    """Ejemplos de prueba que se vieron, o casi, al entrenar."""
    leak = _leak(case)
    if leak is None:
        return "las dos partes: train_dialogues y test_dialogues, o train_dataset y eval_dataset"
    severity = grade(leak.share, LEAK_GRAVE, LEAK_WARNING, 0)
    if severity is None:
        return None
    said = (
        f" Además, el {percent(leak.replies)} de las respuestas de prueba se dicen tal cual en el "
        "entrenamiento; frases hechas como «Gracias» se repiten sin que nadie haga trampa."
        if leak.replies is not None
        else ""
    )
    return finding(
        "fuga",
        severity,
        f"De {leak.total} ejemplos de prueba, {len(leak.rows)} ({percent(leak.share)}) tienen en "
        f"el entrenamiento un hermano del mismo diálogo o una copia: {leak.siblings} hermanos y "
        f"{leak.copies} copias exactas. Filas de prueba {listing(leak.rows)}.{said}",
        {"prueba": leak.total, "con_fuga": len(leak.rows), "proporcion": leak.share,
         "hermanos": leak.siblings, "copias": leak.copies, "respuestas_vistas": leak.replies},
        leak.rows,
    )  # fmt: skip


def check_repeats(case: Case) -> Finding | str | None:
    """Diálogos que repiten otro anterior, sin contar mayúsculas, tildes ni signos."""
    if case.conversations is not None:
        keys: list[Hashable] = [tuple(map(fold, d.turns)) for d in case.conversations]
        what = "diálogos"
    elif isinstance(case.rows, list):
        # De filas ya tokenizadas no se sabe si son diálogos, ni si se repiten adrede.
        keys, what = [tuple(row.real) for row in case.rows], "filas"
    else:
        return "los diálogos (dialogues) o filas tokenizadas"
    first: dict[Hashable, int] = {}
    repeats = [i for i, key in enumerate(keys) if first.setdefault(key, i) != i]
    share = len(repeats) / len(keys) if keys else 0.0
    severity = grade(share, REPEAT_GRAVE, REPEAT_WARNING, 0)
    if severity is None:
        return None
    i = repeats[0]
    return finding(
        "duplicados",
        severity if what == "diálogos" else "nota",
        f"{len(repeats)} de {len(keys)} {what} ({percent(share)}) ya habían salido antes: "
        f"{listing(repeats)}. Por ejemplo, el número {i} es igual que el {first[keys[i]]}.",
        {"total": len(keys), "repetidos": len(repeats), "proporcion": share},
        repeats,
        title=None if what == "diálogos" else "Hay filas repetidas",
    )


def check_bland(case: Case) -> Finding | str | None:
    """Respuestas del modelo que apenas varían."""
    if not case.answers or len(case.answers) < MIN_ANSWERS:
        return f"al menos {MIN_ANSWERS} respuestas del modelo a preguntas variadas (answers)"
    answers = [fold(answer) for answer in case.answers]
    (common, times) = Counter(answers).most_common(1)[0]
    openers = [answer.split()[0] if answer else "" for answer in answers]
    (word, openings) = Counter(openers).most_common(1)[0]
    n = len(answers)
    unique = len(set(answers)) / n
    if unique >= UNIQUE_SHARE and times < COMMON_SHARE * n and openings < COMMON_SHARE * n:
        return None
    sample = next(a for a, key in zip(case.answers, answers, strict=True) if key == common)
    return finding(
        "respuestas-sosas",
        "aviso",
        f"De {n} respuestas, solo {len(set(answers))} son distintas ({percent(unique)}). La más "
        f"frecuente, «{sample.strip()}», sale {times} veces; empiezan por «{word}» {openings}.",
        {"respuestas": n, "distintas": len(set(answers)), "mas_frecuente": times,
         "primera_palabra": openings},
        [i for i, answer in enumerate(answers) if answer == common],
    )  # fmt: skip


def _leak(case: Case) -> Leak | None:
    train, test = case.train_dialogues, case.test_dialogues
    if train and test:
        if isinstance(train[0], Pair):
            return pair_leak(train, test)
        return dialogue_leak(train, test)
    return row_leak(case)
