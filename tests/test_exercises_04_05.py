"""Los ejercicios de las lecciones 04 y 05: las soluciones pasan y lo verosímil pero malo, no."""

import pytest

from course_lib.exercises import check, get

CONTROL = [
    ("¿Es Lima la capital de Perú?", "sí"),
    ("¿Es Quito la capital de Perú?", "no"),
    ("¿Es Roma la capital de Italia?", "sí"),
]

WRONG = [
    ("4.1", lambda pairs, batch_size, epochs: pairs // batch_size * epochs),
    ("4.1", lambda pairs, batch_size, epochs: -(-pairs * epochs // batch_size)),
    ("4.1", lambda pairs, batch_size, epochs: -(-pairs // batch_size)),
    ("4.1", 7131),
    ("4.2", 0.21),
    ("4.2", 1.0),
    ("4.2", 0.7),
    ("4.2", "2,33"),
    ("4.3", {"eval_strategy": "no", "eval_steps": 100}),
    ("4.3", {"evaluation_strategy": "steps", "eval_steps": 100}),
    ("4.3", {"logging_steps": 10, "save_steps": 10}),
    ("4.3", {"eval_strategy": "steps", "logging_steps": 10}),
    ("4.3", {"eval_strategy": "epoch"}),
    ("4.4", 1537.4 / 60),
    ("4.4", 1537.4 * 10 / 3),
    ("4.4", 1537.4 / 60 * 10),
    ("5.1", [*CONTROL, ("¿Es Oslo la capital de Noruega?", "sí")]),
    ("5.1", [*CONTROL, ("¿Es Oslo la capital de Noruega?", "no")]),
    ("5.1", [*CONTROL, ("¿Es bonita Italia?", "no")]),
    ("5.1", CONTROL),
    ("5.1", [*CONTROL[:2], *CONTROL[:2]]),
    ("5.2", (0.65, 0.65)),
    ("5.2", (55.3, 73.6)),
    ("5.2", (0.5525, 0.7364)),
    ("5.3", lambda answers, truths: sum(a == t for a, t in zip(answers, truths)) / len(truths)),
    ("5.3", lambda answers, truths: 0.5),
    ("5.4", lambda text: "No lo sé."),
    ("5.4", lambda text: "París."),
    ("5.4", "París"),
]


@pytest.mark.parametrize(("id", "answer"), WRONG)
def test_a_plausible_wrong_answer_is_refused_with_a_reason(id, answer, refusal):
    assert len(refusal(id, answer)) > 60


def test_an_answer_that_breaks_does_not_break_the_notebook(capsys):
    check("4.1", lambda: None)
    assert "TypeError" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("language", "asked", "yes"),
    [
        ("es", "¿Es {x} la capital de {pais}?", "sí"),
        ("en", "Is {x} the capital of {pais}?", "Yes"),
    ],
)
def test_every_capital_can_be_used_in_the_control_exercise(language, asked, yes):
    from course_lib import world

    countries = world.load_countries(language)
    review = get("5.1").review
    for one, two in zip(countries, [*countries[1:], countries[0]], strict=True):
        questions = [
            (
                world.render(asked, pais=c.name, x=x.capital),
                yes if c is x else "no",
            )
            for c in (one, two)
            for x in (one, two)
        ]
        assert review(questions) is None, questions
