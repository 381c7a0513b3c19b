"""Los ejercicios de la lección 06: las soluciones pasan y lo verosímil pero malo, no."""

import pytest


def mask_every_end(ids, eos):
    return [-100 if i == eos else i for i in ids]


def mask_in_place(ids, eos):
    for i in range(len(ids)):
        if i > 0 and ids[i - 1] in (eos, -100):
            ids[i] = -100
    return ids


def split_in_order(pairs, test_dialogues):
    cut = len(pairs) - 6
    return pairs[:cut], pairs[cut:]


def split_backwards(pairs, test_dialogues):
    inside = [p for p in pairs if p.dialogue in test_dialogues]
    return inside, [p for p in pairs if p.dialogue not in test_dialogues]


def split_losing_some(pairs, test_dialogues):
    return [], [p for p in pairs if p.dialogue in test_dialogues]


def compare_centers(before, after):
    return "sube" if sum(after) > sum(before) else "baja"


WRONG = [
    ("6.1", 0.697),
    ("6.1", 1.394),
    ("6.1", 2.45),
    ("6.1", "0,35"),
    ("6.1", True),
    ("6.2", mask_every_end),
    ("6.2", mask_in_place),
    ("6.2", lambda ids, eos: list(ids)),
    ("6.2", [5, 6]),
    ("6.3", split_in_order),
    ("6.3", split_backwards),
    ("6.3", split_losing_some),
    ("6.3", "por diálogos"),
    ("6.4", compare_centers),
    ("6.4", lambda before, after: "no se sabe"),
    ("6.4", "sube"),
]


@pytest.mark.parametrize(("id", "answer"), WRONG)
def test_a_plausible_wrong_answer_is_refused_with_a_reason(id, answer, refusal):
    assert len(refusal(id, answer)) > 60
