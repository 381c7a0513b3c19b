"""Los textos, comparados: fugas entre entrenamiento y prueba, repeticiones y respuestas iguales."""

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from course_lib.audit.case import Case
from course_lib.audit.engine import Seen, check
from course_lib.audit.prompts import source_messages
from course_lib.audit.rows import all_ids, as_list, collate_sample, real_span
from course_lib.dialogues import (
    Dialogue,
    Pair,
    normalize,
    read_dialogues,
    split_dialogues,
    to_pairs,
)

SAME_NUMBERS = 0.30  # de los números comunes con turnos comunes, para creer que numeran lo mismo
CHAINED = 0.20  # de los ejemplos encadenados a otro, para creer que se repartieron parejas
RARE_TURN = 12  # letras: un turno más corto se repite en cualquier charla
SHARED_TURNS = 0.50  # de los pares de turnos seguidos de un diálogo de prueba
COMMONPLACE = 3  # veces que sale al entrenar; desde ahí, un saludo y su respuesta son frases hechas
OFTEN, LONG_STEP = 8, 40  # veces que salen los trozos de varias ventanas; letras de dos turnos
SHARED_PIECES = 0.70  # de los trozos de un ejemplo
MIN_TRAIN, MIN_PIECES = 30, 12  # ejemplos y trozos que ha de haber para juzgar
PARTS = {"train": ("train",), "test": ("test", "validation", "valid", "eval", "dev")}
DECODED = 20_000  # filas que se leen como texto, y no como ids
READ_ROWS = 1500  # filas de las que se leen los turnos, que es lento
MIN_ANSWERS = 20
UNIQUE_SHARE, COMMON_SHARE = 0.30, 0.50

Texts = list[tuple[str, str]]


def split_for_audit(
    dialogues: Sequence[Dialogue], by_pairs: bool, test_fraction: float = 0.1, seed: int = 0
) -> tuple[list[Pair], list[Pair]]:
    """Reparte como lo haría quien sortea parejas o como quien sortea diálogos, para comparar.

    Args:
        by_pairs: si se sortean las parejas una a una, sin mirar de qué diálogo son.

    Returns:
        `(entrenamiento, prueba)`, parejas con el número de su diálogo en `dialogues`.
    """
    pairs = to_pairs(dialogues)
    if not by_pairs:
        own = {id(dialogues[i]): [*some] for i, some in groupby(pairs, lambda pair: pair.dialogue)}
        parts = split_dialogues(dialogues, test_fraction, seed)
        train, test = ([pair for d in part for pair in own.get(id(d), [])] for part in parts)
        return train, test
    order = list(range(len(pairs)))
    random.Random(seed).shuffle(order)
    cut = round(len(pairs) * test_fraction)
    return [pairs[i] for i in sorted(order[cut:])], [pairs[i] for i in sorted(order[:cut])]


@check("fuga", grave=0.20, aviso=0.02, nota=0)
def leak(case: Case):
    """Ejemplos de prueba que se vieron, o casi, al entrenar."""
    train, test = _part(case.train_dialogues, "train"), _part(case.test_dialogues, "test")
    test = test or (isinstance(case.train_dialogues, dict) and _part(case.train_dialogues, "test"))
    if train and test:
        return (pair_leak if isinstance(train[0], Pair) else dialogue_leak)(train, test)
    if case.eval_dataset is not None and case.has_rows and (held := all_ids(case.eval_dataset)):
        return row_leak(case, held)
    return "las dos partes: train_dialogues y test_dialogues, o train_dataset y eval_dataset"


def _part(given: Any, part: str) -> Sequence | None:
    """Los diálogos, las parejas o los textos que se dieron; de un `DatasetDict`, su parte."""
    if isinstance(given, dict):
        given = next((given[name] for name in PARTS[part] if name in given), None)
    if isinstance(given, str | Path):
        return read_dialogues(given, report=lambda _: None)
    if given is None or not len(given) or isinstance(given[0], Pair | Dialogue):
        return given
    if all(isinstance(text, str) for text in given):
        return [Dialogue((text,)) for text in given]
    return read_dialogues(given, report=lambda _: None)


def near(train: Iterable[Sequence[Hashable]], test: Iterable[Sequence[Hashable]]) -> set[int]:
    """Los ejemplos de prueba que están casi enteros en uno de entrenamiento.

    Se comparan de tres en tres palabras (o ids), y lo que se dice en muchos sitios no cuenta.
    Es exacto y con menos cuentas que las de minhash: solo se apunta lo que sale en la prueba.
    """

    own = [set(zip(said, said[1:], said[2:])) for said in test]
    where: dict[tuple, list[int]] = {piece: [] for some in own for piece in some}
    found, number = set(), 0
    for number, said in enumerate(train, 1):
        for piece in where.keys() & set(zip(said, said[1:], said[2:])):
            if len(where[piece]) <= OFTEN:
                where[piece].append(number)
    if number < MIN_TRAIN:  # con tan pocos no se sabe qué es molde
        return found
    for i, some in enumerate(own):
        rare = [where[piece] for piece in some if len(where[piece]) <= OFTEN]
        hits = Counter(number for numbers in rare for number in numbers)
        alike = sum(n >= SHARED_PIECES * len(rare) for n in hits.values())
        # Si se parece a muchos, es que se escriben con molde.
        if len(rare) >= MIN_PIECES and 0 < alike <= COMMONPLACE:
            found.add(i)
    return found


def _words(turns: Iterable[str]) -> list[str]:
    return " ".join(turns).split()


def _seen(total: int, siblings: set[int], copies: set[int], replies: float | None = None) -> Seen:
    """Los ejemplos con hermano o copia, y qué parte de las respuestas se dicen en otro sitio."""
    rows = sorted(siblings | copies)
    return Seen(
        {"prueba": total, "con_fuga": len(rows), "proporcion": len(rows) / total,
         "hermanos": len(siblings), "copias": len(copies), "respuestas_vistas": replies},
        rows,
        say=["prueba", replies is not None and "respuestas"],
    )  # fmt: skip


def pair_leak(train: Sequence[Pair], test: Sequence[Pair]) -> Seen:
    """La fuga entre dos listas de parejas; los hermanos, por número de diálogo si es el mismo."""
    texts_train = [(normalize(p.user), normalize(p.reply)) for p in train]
    texts_test = [(normalize(p.user), normalize(p.reply)) for p in test]
    if _same_numbering(train, test, texts_train, texts_test):
        numbers = {pair.dialogue for pair in train}
        siblings = {i for i, pair in enumerate(test) if pair.dialogue in numbers}
    else:
        siblings = _chained(texts_train, texts_test)
    times = Counter(texts_train)
    copies = {i for i, texts in enumerate(texts_test) if 0 < times[texts] < COMMONPLACE}
    copies |= near(map(_words, texts_train), map(_words, texts_test)) - siblings
    said = {turn.strip() for pair in train for turn in (pair.user, pair.reply)}
    replies = sum(pair.reply.strip() in said for pair in test) / len(test)
    return _seen(len(test), siblings, copies, replies)


def dialogue_leak(train: Sequence[Dialogue], test: Sequence[Dialogue]) -> Seen:
    """La fuga entre dos listas de diálogos: copias, y diálogos que comparten sus turnos."""
    turns_train, turns_test = ([_said(d) for d in part] for part in (train, test))
    known = set(turns_train)
    copies = {i for i, turns in enumerate(turns_test) if turns in known}
    copies |= near(map(_words, turns_train), map(_words, turns_test))
    steps = Counter(step for turns in turns_train for step in set(pairwise(turns)))

    def common(step: tuple[str, str]) -> bool:  # las ventanas de una charla la repiten
        return steps[step] >= (OFTEN if len("".join(step)) >= LONG_STEP else COMMONPLACE)

    rare = [[steps[s] > 0 for s in pairwise(t) if not common(s)] for t in turns_test]
    siblings = {i for i, own in enumerate(rare) if own and sum(own) >= SHARED_TURNS * len(own)}
    siblings = (siblings | _chained(_edges(turns_train), _edges(turns_test))) - copies
    said = {turn for turns in turns_train for turn in turns}
    replies = [turn in said for turns in turns_test for turn in turns[1:]]
    share = sum(replies) / len(replies) if replies else None
    return _seen(len(test), siblings, copies, share)


def _said(dialogue: Dialogue) -> tuple[str, ...]:
    """Los turnos, comparables y sin el mensaje de sistema, que es de todos."""
    roles = dialogue.roles or [""] * len(dialogue.turns)
    return tuple(normalize(t) for t, r in zip(dialogue.turns, roles, strict=True) if r != "system")


def row_leak(case: Case, held: list[tuple[int, Sequence[int]]]) -> Seen:
    """La fuga entre dos conjuntos ya tokenizados; `held` es el de prueba."""

    def bare(ids: Sequence[int]) -> tuple[int, ...]:
        ids = as_list(ids)
        return tuple(ids[slice(*real_span(ids, None, case.pad, case.pad))])

    rows, tests = ([bare(ids) for _, ids in part] for part in (all_ids(case.train_dataset), held))
    if case.tokenizer is not None and len(rows) <= DECODED:  # en texto se ven otras mayúsculas
        rows, tests = ([tuple(_words([normalize(case.decode(ids))])) for ids in part]
                       for part in (rows, tests))  # fmt: skip
    known, alike = set(rows), near(rows, tests)
    copies = {held[i][0] for i, ids in enumerate(tests) if i in alike or ids in known}
    siblings: set[int] = set()
    if case.roles is not None and len(case.train_dataset) + len(held) <= READ_ROWS:
        train, test = (_edges_read(case, d) for d in (case.train_dataset, case.eval_dataset))
        if len(test) == len(held):
            siblings = {held[i][0] for i in _chained(train, test)} - copies
    return _seen(len(held), siblings, copies)


def _edges_read(case: Case, dataset) -> Texts:
    """El primer y el último turno de cada fila de unos datos."""
    found = collate_sample(dataset, pad=case.pad, eos=case.eos, limit=READ_ROWS)
    rows = [] if isinstance(found, str) else found.rows
    return _edges([normalize(m["content"]) for m in source_messages(case, row)] for row in rows)


def _edges(talks: Iterable[Sequence[str]]) -> Texts:
    """El primer y el último turno de cada charla, o nada si no tiene más de uno."""
    return [(turns[0], turns[-1]) if len(turns) > 1 else ("", "") for turns in talks]


def _same_numbering(train, test, texts_train: Texts, texts_test: Texts) -> bool:
    """Si el número de diálogo dice lo mismo en las dos listas.

    Quien llama dos veces a `to_pairs` numera cada parte desde cero, y entonces coincidir no
    significa nada. Se nota en que la prueba ocupa justo los primeros números sin compartir turnos.
    """
    turns = defaultdict(set)
    for pair, texts in zip(train, texts_train, strict=True):
        turns[pair.dialogue].update(texts)
    shared = [i for i, pair in enumerate(test) if pair.dialogue in turns]
    overlap = sum(bool(turns[test[i].dialogue] & set(texts_test[i])) for i in shared)
    if overlap >= SAME_NUMBERS * len(shared):
        return True
    # Con papeles, las parejas de un diálogo no comparten turnos: manda que la prueba no numere
    # desde cero y que un mismo número tenga varias parejas.
    numbers = {pair.dialogue for pair in test}
    from_zero = numbers == set(range(len(numbers)))
    steps = zip(train, train[1:], texts_train, texts_train[1:])
    chained = any(a.dialogue == b.dialogue and one[1] == two[0] for a, b, one, two in steps)
    return not from_zero and not chained and 1 < len(turns) < len(train)


def _chained(train: Texts, test: Texts) -> set[int]:
    """Los ejemplos que empiezan donde otro acaba, o al revés: si no son pocos, no es casualidad."""
    ends = Counter(last for _, last in train)
    starts = Counter(first for first, _ in train)

    def rare(turn: str, times: Counter) -> bool:  # las frases hechas no dicen nada
        return times[turn] == 1 and len(turn) >= RARE_TURN

    chained = {i for i, (first, last) in enumerate(test) if rare(first, ends) or rare(last, starts)}
    return chained if len(chained) >= CHAINED * len(test) else set()


@check("duplicados", grave=0.20, aviso=0.01, nota=0)
def repeats(case: Case):
    """Diálogos que repiten otro anterior, sin contar mayúsculas, tildes ni signos."""
    words = {"que": "diálogos"}
    if case.conversations is not None:
        keys: list[Hashable] = [tuple(map(normalize, d.turns)) for d in case.conversations]
    elif case.has_rows:
        # De filas ya tokenizadas no se sabe si son diálogos, ni si se repiten adrede.
        keys = [tuple(row.real) for row in case.rows]
        words = {"que": "filas", "title": "titulo_filas", "at_most": "nota"}
    else:
        return "los diálogos (dialogues) o filas tokenizadas"
    first: dict[Hashable, int] = {}
    again = [i for i, key in enumerate(keys) if first.setdefault(key, i) != i]
    if not again:
        return None
    numbers = {"total": len(keys), "repetidos": len(again), "proporcion": len(again) / len(keys)}
    return Seen(numbers, again, original=first[keys[again[0]]], **words)


@check("respuestas-sosas", severity="aviso")
def bland(case: Case):
    """Respuestas del modelo que apenas varían."""
    if not case.answers or len(case.answers) < MIN_ANSWERS:
        return f"al menos {MIN_ANSWERS} respuestas del modelo a preguntas variadas (answers)"
    answers = [normalize(answer) for answer in case.answers]
    n, distinct = len(answers), len(set(answers))
    common, times = Counter(answers).most_common(1)[0]
    openers = [answer.split()[0] if answer else "" for answer in answers]
    (word, openings) = Counter(openers).most_common(1)[0]
    if distinct / n >= UNIQUE_SHARE and max(times, openings) < COMMON_SHARE * n:
        return None
    same = [i for i, answer in enumerate(answers) if answer == common]
    numbers = {"respuestas": n, "distintas": distinct, "mas_frecuente": times,
               "primera_palabra": openings}  # fmt: skip
    words = {"variedad": distinct / n, "muestra": case.answers[same[0]].strip(), "palabra": word}
    return Seen(numbers, same, **words)
