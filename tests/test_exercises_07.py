"""Los ejercicios de la lección 07: las soluciones pasan y lo verosímil pero malo, no."""

import pytest

from course_lib.encoding import Kind

WRONG = [
    ("7.1", lambda examples: (examples[: len(examples) // 2], examples[len(examples) // 2 :])),
    ("7.1", lambda examples: (examples, [])),
    ("7.1", lambda examples: (examples[:3], examples[:3])),
    ("7.1", lambda examples: [e for e in examples if e[0] == "a"]),
    ("7.2", lambda ids, kinds: ids),
    ("7.2", lambda ids, kinds: [i if k == Kind.REPLY else -100 for i, k in zip(ids, kinds)]),
    ("7.2", lambda ids, kinds: [i if i else -100 for i in ids]),
    ("7.2", lambda ids, kinds: [i if k >= Kind.REPLY else -100 for i, k in zip(ids, kinds)]),
    ("7.3", lambda d_in, d_out, rank: d_in * d_out),
    ("7.3", lambda d_in, d_out, rank: 2 * d_in * rank),
    ("7.3", 294_912),
    ("7.4", lambda rungs, target: max(rungs, key=lambda r: r["aciertos"])["nombre"]),
    ("7.4", lambda rungs, target: next(r["nombre"] for r in rungs if r["aciertos"] >= target)),
    ("7.4", lambda rungs, target: min(rungs, key=lambda r: r["tokens"])["nombre"]),
]


@pytest.mark.parametrize(("id", "answer"), WRONG)
def test_a_plausible_wrong_answer_is_refused_with_a_reason(id, answer, refusal):
    assert len(refusal(id, answer)) > 60
