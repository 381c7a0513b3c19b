"""Los textos, comparados: fugas entre entrenamiento y prueba, repeticiones y respuestas iguales."""

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
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

Talk = tuple[str, ...]  # los turnos de un ejemplo, comparables, o su texto entero


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
        where = {id(dialogue): i for i, dialogue in enumerate(dialogues)}
        train, test = (
            [replace(pair, dialogue=where[id(part[pair.dialogue])]) for pair in to_pairs(part)]
            for part in split_dialogues(dialogues, test_fraction, seed)
        )
        return train, test
    pairs = to_pairs(dialogues)
    order = list(range(len(pairs)))
    random.Random(seed).shuffle(order)
    cut = round(len(pairs) * test_fraction)
    return [pairs[i] for i in sorted(order[cut:])], [pairs[i] for i in sorted(order[:cut])]


@check("fuga", grave=0.20, aviso=0.02, nota=0)
def leak(case: Case):
    """Ejemplos de prueba que se vieron, o casi, al entrenar."""
    train, test = _part(case.train_dialogues, "train"), _part(case.test_dialogues, "test")
    test = test or (isinstance(case.train_dialogues, dict) and _part(case.train_dialogues, "test"))
    numbered: set[int] = set()
    if train and test:
        if isinstance(train[0], Pair):
            numbered = _by_number(train, test)
        talks, asked = ([*map(_said, part)] for part in (train, test))
    elif case.has_rows and case.eval_dataset:
        many = len(case.train_dataset) + len(case.eval_dataset)
        rows, held = (_row_talks(case, d, many) for d in (case.train_dataset, case.eval_dataset))
        talks, asked = [*rows.values()], [*held.values()]
    else:
        return "las dos partes: train_dialogues y test_dialogues, o train_dataset y eval_dataset"
    siblings, copies = compare(talks, asked, numbered)
    found, said = sorted(siblings | copies), {turn for talk in talks for turn in talk}
    replies = [turn in said for talk in asked for turn in talk[1:]]
    numbers = {"prueba": len(asked), "con_fuga": len(found), "proporcion": len(found) / len(asked),
               "hermanos": len(siblings), "copias": len(copies),
               "respuestas_vistas": sum(replies) / len(replies) if replies else None}  # fmt: skip
    where = found if train and test else [[*held][i] for i in found]
    return Seen(numbers, where, ["prueba", replies and "respuestas"])


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


def _said(given: Dialogue | Pair) -> Talk:
    """Los turnos, comparables y sin el mensaje de sistema, que es de todos."""
    if isinstance(given, Pair):
        return normalize(given.user), normalize(given.reply)
    roles = given.roles or [""] * len(given.turns)
    return tuple(normalize(t) for t, r in zip(given.turns, roles, strict=True) if r != "system")


def _row_talks(case: Case, dataset: Any, many: int) -> dict[int, Talk]:
    """Lo que dice cada fila, por su número: sus turnos, si se ven y entre todas no son muchas."""
    talks: dict[int, Talk] = defaultdict(tuple)
    if case.roles is not None and many <= READ_ROWS:
        found = collate_sample(dataset, pad=case.pad, eos=case.eos, limit=READ_ROWS)
        for row in () if isinstance(found, str) else found.rows:
            talks[row.number] += tuple(normalize(m["content"]) for m in source_messages(case, row))
    for number, ids in all_ids(dataset):
        if not talks[number]:
            own = as_list(ids)
            own = own[slice(*real_span(own, None, case.pad, case.pad))]
            readable = case.tokenizer is not None and many <= DECODED
            talks[number] = (normalize(case.decode(own)) if readable else " ".join(map(str, own)),)
    return talks


def compare(
    train: Sequence[Talk], test: Sequence[Talk], numbered: set[int]
) -> tuple[set[int], set[int]]:
    """Los ejemplos de prueba con un hermano del mismo diálogo al entrenar, y los que son copia.

    Args:
        numbered: los que, por su número, son del diálogo de otro.
    """
    times, steps = Counter(train), Counter(s for talk in train for s in set(pairwise(talk)))

    def canned(step: Sequence[str]) -> bool:  # lo dice cualquiera
        return steps[tuple(step)] >= COMMONPLACE and len("".join(step)) < LONG_STEP

    exact = {i for i, t in enumerate(test) if times[t] and not (len(t) == 2 and canned(t))}
    rare = [[s for s in pairwise(t) if not canned(s) and steps[s] < OFTEN] for t in test]
    siblings = numbered | _chained(train, test)
    siblings |= {i for i, own in enumerate(rare)
                 if own and sum(s in steps for s in own) >= SHARED_TURNS * len(own)}  # fmt: skip
    words = ([" ".join(talk).split() for talk in part] for part in (train, test))
    siblings -= exact - numbered
    return siblings, (exact | near(*words)) - siblings


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


def _by_number(train: Sequence[Pair], test: Sequence[Pair]) -> set[int]:
    """Las parejas de prueba con el número de un diálogo de entrenamiento, si es de fiar.

    Quien llama dos veces a `to_pairs` numera cada parte desde cero, y entonces coincidir no
    significa nada. Se nota en que la prueba ocupa justo los primeros números sin compartir turnos.
    """
    turns = defaultdict(set)
    for pair in train:
        turns[pair.dialogue].update(_said(pair))
    shared = {i for i, pair in enumerate(test) if pair.dialogue in turns}
    overlap = sum(not turns[test[i].dialogue].isdisjoint(_said(test[i])) for i in shared)
    if overlap >= SAME_NUMBERS * len(shared):
        return shared
    # Con papeles, las parejas de un diálogo no comparten turnos: manda que la prueba no numere
    # desde cero y que un mismo número tenga varias parejas.
    numbers = {pair.dialogue for pair in test}
    restarts = numbers == set(range(len(numbers)))
    chained = any(a.dialogue == b.dialogue and a.reply == b.user for a, b in pairwise(train))
    return set() if restarts or chained or not 1 < len(turns) < len(train) else shared


def _chained(train: Sequence[Talk], test: Sequence[Talk]) -> set[int]:
    """Los ejemplos que empiezan donde otro acaba, o al revés: si no son pocos, no es casualidad."""
    ends, starts = (Counter(talk[i] for talk in train if len(talk) > 1) for i in (-1, 0))

    def rare(turn: str, times: Counter) -> bool:  # las frases hechas no dicen nada
        return times[turn] == 1 and len(turn) >= RARE_TURN

    chained = {i for i, talk in enumerate(test)
               if len(talk) > 1 and (rare(talk[0], ends) or rare(talk[-1], starts))}  # fmt: skip
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
