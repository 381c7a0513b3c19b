"""Los ejercicios de la lección 02: las soluciones pasan y lo verosímil pero malo, no."""

import pytest

from course_lib import retrieval, world
from course_lib.exercises import check, get


def _refuse_below(threshold, language="es"):
    texts = {d.id: d.text for d in world.load_documents(language)}
    index = retrieval.build_index(texts, language)

    def refuse(question):
        hits = index.search(question, 1)
        return not hits or hits[0].score < threshold

    return refuse


WRONG = [
    ("2.1", lambda rankings, right, k: sum(r[0] in x for x, r in zip(rankings, right)) / 4),
    ("2.1", lambda rankings, right, k: sum(g in x for x, g in zip(rankings, right)) / 4),
    ("2.1", lambda rankings, right, k: sum(x[k - 1 : k] == [g] for x, g in zip(rankings, right))),
    (
        "2.1",
        lambda rankings, right, k: (
            sum(g in x[:k] for x, g in zip(rankings, right)) / sum(map(bool, rankings))
        ),
    ),
    ("2.1", lambda rankings, right, k: sum(right[0] in x[:k] for x in rankings) / len(rankings)),
    ("2.1", lambda rankings, right, k: "0,25"),
    ("2.1", 0.25),
    ("2.2", lambda question: True),
    ("2.2", lambda question: False),
    ("2.2", lambda question: "no lo sé"),
    ("2.2", _refuse_below(2.0)),
    ("2.2", _refuse_below(4.0)),
    ("2.2", 2.8),
    ("2.3", lambda ways, budget: max(ways, key=lambda w: w[1])[0]),
    ("2.3", lambda ways, budget: min(ways, key=lambda w: w[2])[0]),
    (
        "2.3",
        lambda ways, budget: max(
            (w for w in ways if w[2] < budget), key=lambda w: (w[1], -w[2]), default=(None,)
        )[0],
    ),
    (
        "2.3",
        lambda ways, budget: max(
            (w for w in ways if w[2] <= budget), key=lambda w: w[1], default=(None,)
        )[0],
    ),
    ("2.3", "uno"),
    ("2.4", 1),
    ("2.4", 3),
    ("2.4", 4),
    ("2.4", 209 / 70),
    ("2.4", "dos"),
]


@pytest.mark.parametrize(("id", "answer"), WRONG)
def test_a_plausible_wrong_answer_is_refused_with_a_reason(id, answer, refusal):
    assert len(refusal(id, answer)) > 60


def test_the_false_refusals_are_counted_in_the_complaint(capsys):
    check("2.2", lambda question: True)
    assert "222 de 222" in capsys.readouterr().out


def test_in_the_english_track_the_questions_of_2_2_are_in_english(monkeypatch, refusal, capsys):
    monkeypatch.setenv("CURSO_RUTA", "gpt2")
    names: dict = {}
    exec(get("2.2").solution, names)
    capsys.readouterr()
    check("2.2", names["respuesta"])
    assert capsys.readouterr().out.startswith("Ejercicio 2.2: correcto.")
    assert "calla de menos" in refusal("2.2", _refuse_below(2.0, "en"))
    assert "calla de más" in refusal("2.2", _refuse_below(4.0, "en"))
    # Con el índice en español, a una pregunta en inglés casi nunca se le encuentra nada.
    assert "calla de más" in refusal("2.2", _refuse_below(2.8, "es"))
