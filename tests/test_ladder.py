"""La escalera: se sube en orden, se para en lo que basta y no se paga lo que no hace falta."""

import pytest
from checks import each

from course_lib.ladder import (
    ASSISTANT,
    KEPT,
    Strategy,
    chat_question,
    cheapest_rung,
    format_ladder,
    ladder_figure,
    model_strategy,
)
from course_lib.tracks import get_track
from course_lib.tuning import load_for_chat
from course_lib.world import Question, chain_questions, load_countries

QUESTIONS = [
    Question("capital", f"¿Cuál es la capital del país {i}?", f"ciudad{i}") for i in range(10)
]


def knows(count: int) -> Strategy:
    """Un peldaño que acierta las `count` primeras."""
    return Strategy(
        f"sabe {count}",
        lambda: (
            lambda questions: [q.answer if i < count else "no sé" for i, q in enumerate(questions)]
        ),
        tokens=lambda question, answer: 7,
    )


def never() -> Strategy:
    def build():
        raise AssertionError("este peldaño no debía prepararse")

    return Strategy("caro", build)


def test_stops_at_the_first_rung_that_meets_the_target():
    climb = cheapest_rung(QUESTIONS, [knows(3), knows(9), never()], target=0.9)
    assert climb.chosen == "sabe 9"
    assert [(t.name, t.right.value, t.tokens) for t in climb.tried] == [
        ("sabe 3", 0.3, 7),
        ("sabe 9", 0.9, 7),
    ]


def test_says_so_when_no_rung_is_enough():
    climb = cheapest_rung(QUESTIONS, [knows(3), knows(4)], target=0.5)
    assert climb.chosen is None
    assert "Ninguno llega al 50%" in climb._repr_markdown_()


def test_warns_when_there_are_too_few_questions_to_be_sure():
    # Con 9 de 10 el intervalo de Wilson va de 0,596 a 0,982.
    text = cheapest_rung(QUESTIONS, [knows(9)], target=0.9)._repr_markdown_()
    assert "| sabe 9 | 90% [60, 98] | 7 |" in text
    assert "pregunta más antes de fiarte" in text


def test_a_rung_of_one_s_own_can_be_graded_in_one_s_own_way():
    climb = cheapest_rung(
        QUESTIONS, [knows(0)], target=1.0, grade=lambda answer, question: answer == "no sé"
    )
    assert climb.chosen == "sabe 0"


@each("target", [0, -1, 90])
def test_a_target_that_is_not_a_proportion_is_refused(target):
    with pytest.raises(ValueError, match="entre 0 y 1"):
        cheapest_rung(QUESTIONS, [knows(1)], target)


def test_without_questions_or_rungs_there_is_nothing_to_climb():
    with pytest.raises(ValueError, match="al menos una pregunta"):
        cheapest_rung([], [knows(1)])
    with pytest.raises(ValueError, match="al menos una pregunta"):
        cheapest_rung(QUESTIONS, [])


def test_a_model_is_loaded_once_and_its_tokens_are_counted(make_model, tokenizer):
    loads = []

    def load():
        loads.append(1)
        return make_model(), tokenizer

    strategy = model_strategy("modelo", load, lambda tokenizer, q: tokenizer.encode("sí no"))
    answers = strategy.build()(QUESTIONS[:2])
    strategy.build()
    assert loads == [1]
    asked = len(tokenizer.encode("sí no"))
    assert strategy.tokens(QUESTIONS[0], answers[0]) == asked + len(tokenizer.encode(answers[0]))


def test_a_chained_question_is_asked_in_the_chat_with_the_ones_before():
    _, tokenizer = load_for_chat(get_track("mini"))
    asked = chain_questions(load_countries()[:1])[0]
    said = tokenizer.decode(chat_question(tokenizer, asked))
    assert asked.history[0].text in said and asked.text in said and asked.answer not in said


# --- La escalera guardada ------------------------------------------------------------------------


def run(name: str, right: int, **costs) -> dict:
    """Una corrida inventada: de cada materia, `right` de cuatro preguntas por país; son 25."""
    measures = {m: [0, [right] * 25, [4] * 25] for m in [*ASSISTANT, *KEPT] if m != "conversa"}
    return {"condicion": name, "reparto": 0, "medidas": measures} | costs


STORE = {
    "corridas": [
        run("Reglas", 4, tokens=20.4),
        run("LoRA", 1, tokens=30.0, segundos=100),
        run("LoRA", 3, tokens=31.0, segundos=105)
        | {"medidas": {"conversa": [1, [50.0, 70.0], [20, 40]], "chat": [0, [3] * 25, [4] * 25]}},
    ],
    "grupos": [[f"país {i}" for i in range(25)], ["un día", "otro"]],
}


def test_each_rung_has_its_line_with_its_measures_and_its_mean_costs():
    header, _, rules, lora = format_ladder(STORE, ["Reglas", "LoRA"]).splitlines()
    assert header.startswith("| Peldaño | Hechos | Encadenadas |")
    right = "100% [87, 100]"  # Wilson, con 25 países de 25
    assert rules == f"| Reglas |{f' {right} |' * 6} — | 20 | — |"
    assert lora.startswith("| LoRA | 50% [25, 75] | 25% [25, 25] |")
    assert lora.endswith("| 2,00 [1,75, 2,50] | 30 | 102 |")
    kept = format_ladder(STORE, ["Reglas"], KEPT).splitlines()[-1]
    assert kept == f"| Reglas |{f' {right} |' * 3} 20 | — |"


def test_the_figure_has_a_panel_per_subject_and_a_row_per_rung():
    panels = ladder_figure(STORE, ["Reglas", "LoRA"], "Título").axes
    assert [axes.get_title() for axes in panels] == [*ASSISTANT.values()][:4]
    assert [t.get_text() for t in panels[0].get_yticklabels()] == ["Reglas", "LoRA"]
    assert [axes.lines[2].get_xdata()[0] for axes in panels] == [100] * 4  # el punto de «Reglas»
