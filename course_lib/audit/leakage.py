"""Fugas: qué ejemplos de la prueba tienen un hermano o una copia en el entrenamiento."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from course_lib.audit.case import Case
from course_lib.audit.collating import collate_sample
from course_lib.audit.fold import fold
from course_lib.audit.raw import all_ids
from course_lib.audit.rows import real_span
from course_lib.audit.turns import source_messages
from course_lib.dialogues import Dialogue, Pair

SAME_NUMBERS = 0.30  # de los números comunes con turnos comunes, para creer que numeran lo mismo
CHAINED = 0.20  # de los ejemplos encadenados a otro, para creer que se repartieron parejas
RARE_TURN = 12  # letras: un turno más corto se repite en cualquier charla
SHARED_TURNS = 0.50  # de los pares de turnos seguidos de un diálogo de prueba
COMMONPLACE = 3  # veces que sale al entrenar; desde ahí, un saludo y su respuesta son frases hechas


READ_ROWS = 1500


@dataclass(frozen=True)
class Leak:
    """Las filas de prueba con hermano o copia, y cuántas respuestas se dicen en otro sitio."""

    total: int
    rows: list[int]
    siblings: int
    copies: int
    replies: float | None

    @property
    def share(self) -> float:
        """Qué parte de la prueba está vista."""
        return len(self.rows) / self.total if self.total else 0.0


def pair_leak(train: Sequence[Pair], test: Sequence[Pair]) -> Leak:
    """La fuga entre dos listas de parejas; los hermanos, por número de diálogo si es el mismo."""
    texts_train = [(fold(p.user), fold(p.reply)) for p in train]
    texts_test = [(fold(p.user), fold(p.reply)) for p in test]
    if _same_numbering(train, test, texts_train, texts_test):
        numbers = {pair.dialogue for pair in train}
        siblings = {i for i, pair in enumerate(test) if pair.dialogue in numbers}
    else:
        siblings = _chained(texts_train, texts_test)
    times = Counter(texts_train)
    copies = {i for i, texts in enumerate(texts_test) if 0 < times[texts] < COMMONPLACE}
    said = {turn.strip() for pair in train for turn in (pair.user, pair.reply)}
    replies = sum(pair.reply.strip() in said for pair in test) / len(test)
    return Leak(len(test), sorted(siblings | copies), len(siblings), len(copies), replies)


def dialogue_leak(train: Sequence[Dialogue], test: Sequence[Dialogue]) -> Leak:
    """La fuga entre dos listas de diálogos: copias, y diálogos que comparten sus turnos."""
    turns_train = [tuple(map(fold, d.turns)) for d in train]
    turns_test = [tuple(map(fold, d.turns)) for d in test]
    known = set(turns_train)
    copies = {i for i, turns in enumerate(turns_test) if turns in known}
    steps = Counter(step for turns in turns_train for step in set(pairwise(turns)))
    siblings = set()
    for i, turns in enumerate(turns_test):
        own = [step for step in pairwise(turns) if steps[step] < COMMONPLACE]
        if i not in copies and own:
            if sum(steps[step] > 0 for step in own) >= SHARED_TURNS * len(own):
                siblings.add(i)
    edges_train = [(turns[0], turns[-1]) for turns in turns_train if len(turns) > 1]
    edges_test = [(turns[0], turns[-1]) for turns in turns_test if len(turns) > 1]
    if len(edges_test) == len(turns_test):
        siblings |= _chained(edges_train, edges_test) - copies
    said = {turn for turns in turns_train for turn in turns}
    replies = [turn for turns in turns_test for turn in turns[1:]]
    share = sum(turn in said for turn in replies) / len(replies) if replies else None
    return Leak(len(test), sorted(siblings | copies), len(siblings), len(copies), share)


def row_leak(case: Case) -> Leak | None:
    """La fuga entre dos conjuntos ya tokenizados, o `None` si falta alguno.

    Las copias se buscan en todas las filas; los hermanos, leyendo los turnos de cada una, solo si
    son pocas, porque es lento.
    """
    if case.eval_dataset is None or isinstance(case.rows, str):
        return None
    known = {_bare(ids, case.pad) for _, ids in all_ids(case.train_dataset)}
    held = list(all_ids(case.eval_dataset))
    if not held:
        return None
    copies = {i for i, (_, ids) in enumerate(held) if _bare(ids, case.pad) in known}
    siblings: set[int] = set()
    if case.roles is not None and len(case.train_dataset) + len(held) <= READ_ROWS:
        train = _edges(case, case.train_dataset)
        test = [edge or ("", "") for edge in _edges(case, case.eval_dataset)]
        if len(test) == len(held):
            siblings = _chained([edge for edge in train if edge], test) - copies
    rows = sorted(held[i][0] for i in siblings | copies)
    return Leak(len(held), rows, len(siblings), len(copies), None)


def _bare(ids, pad: int | None) -> tuple[int, ...]:
    """Los ids sin el relleno de los extremos."""
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    return tuple(ids[slice(*real_span(ids, None, pad, pad))])


def _edges(case: Case, dataset) -> list[tuple[str, str] | None]:
    """El primer y el último turno de cada fila."""
    found = collate_sample(dataset, None, pad=case.pad, eos=case.eos, limit=READ_ROWS)
    out: list[tuple[str, str] | None] = []
    for row in found.rows if not isinstance(found, str) else []:
        messages = source_messages(case, row)
        texts = [fold(message["content"]) for message in messages]
        out.append((texts[0], texts[-1]) if len(texts) > 1 else None)
    return out


def _same_numbering(train, test, texts_train, texts_test) -> bool:
    """Si el número de diálogo dice lo mismo en las dos listas.

    Quien llama dos veces a `to_pairs` numera cada parte desde cero, y entonces coincidir no
    significa nada. Se nota en que la prueba ocupa justo los primeros números sin compartir turnos.
    """
    turns = defaultdict(set)
    for pair, texts in zip(train, texts_train, strict=True):
        turns[pair.dialogue].update(texts)
    shared = [i for i, pair in enumerate(test) if pair.dialogue in turns]
    if not shared:
        return True
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


def _chained(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> set[int]:
    """Los ejemplos que empiezan donde otro acaba, o al revés: se repartieron parejas.

    Solo cuentan turnos que en el entrenamiento salgan una vez: los demás son frases hechas. Y si
    son pocos, es casualidad.
    """
    ends = Counter(last for _, last in train)
    starts = Counter(first for first, _ in train)
    chained = {
        i
        for i, (first, last) in enumerate(test)
        if (ends[first] == 1 and len(first) >= RARE_TURN)
        or (starts[last] == 1 and len(last) >= RARE_TURN)
    }
    return chained if len(chained) >= CHAINED * len(test) else set()
