"""Las preguntas de la escalera medida y los peldaños que no entrenan nada."""

import random
from collections.abc import Callable
from dataclasses import replace

from course_lib import world
from course_lib.encoding import chat_prompt
from course_lib.evaluation import accuracy, always_yes
from course_lib.ladder import Strategy, model_strategy
from course_lib.task import split_countries
from course_lib.world import Question


def question_sets(language: str = "es") -> dict[str, list[Question]]:
    """Hechos y síes o noes de los países que no se ajustan, y los documentos nuevos, sin darlos."""
    _, countries = split_countries(language=language)
    documents = [q for document in world.load_documents(language) for q in document.questions]
    return {
        "hechos": world.fact_questions(countries),
        "si_no": world.yes_no_questions(countries),
        "documentos": [replace(q, context=None) for q in documents],
    }


def form_prompt(tokenizer, question: Question) -> list[int]:
    """La forma «Pregunta: … Respuesta:», que es la que el modelo aprendió."""
    return tokenizer.encode(world.question_prompt(question))


def raw_prompt(tokenizer, question: Question) -> list[int]:
    """La pregunta tal como la escribe un usuario, sin nada alrededor."""
    return tokenizer.encode(question.text)


def after_label(text: str) -> str:
    """La respuesta, sin el «Respuesta:» que el modelo escribe por su cuenta si nadie lo hizo."""
    text = text.strip()
    for words in world.WORDS.values():
        text = text.removeprefix(f"{words.answer}:")
    return text.strip()


def few_shot_prompt(tokenizer, question: Question) -> list[int]:
    """La misma forma, tras tres preguntas ya contestadas sobre países de ajustar."""
    train, _ = split_countries(language=question.lang)
    examples = random.Random(question.text).sample(world.fact_questions(train), 3)
    return tokenizer.encode(world.question_prompt(question, examples))


def chat_question(tokenizer, question: Question) -> list[int]:
    """La pregunta como mensaje de un usuario, con la plantilla de chat del tokenizador."""
    return chat_prompt(tokenizer, [{"role": "user", "content": question.text}])


def untuned_rungs(model, tokenizer, language: str = "es") -> list[Strategy]:
    """Los peldaños que no entrenan nada, del más barato al más caro.

    Args:
        language: el de los documentos en los que se busca, y el de las preguntas que se harán.
    """
    from course_lib.retrieval import build_index, retrieval_prompt

    documents = world.load_documents(language)
    index = build_index({document.id: document.text for document in documents}, language)

    def load():
        return model, tokenizer

    def searching(min_score: float) -> Callable[..., list[int]]:
        prompt = retrieval_prompt(index.search, min_score=min_score)
        return lambda tokenizer, question: tokenizer.encode(prompt(question))

    return [
        Strategy("Decir siempre «sí»", lambda: always_yes),
        model_strategy("La pregunta tal cual", load, raw_prompt, read=after_label),
        model_strategy("Con su forma (*prompting*)", load, form_prompt, "\n"),
        model_strategy("Con tres ejemplos (*few-shot*)", load, few_shot_prompt, "\n"),
        model_strategy("Con búsqueda (RAG)", load, searching(0.0), "\n"),
        model_strategy("Con búsqueda y puerta", load, searching(_gate(index)), "\n"),
    ]


def _gate(index) -> float:
    """La nota desde la que un pasaje viene al caso, elegida como en la lección 02.

    Con la mitad de las preguntas de los documentos y con hechos de países que no puntúan.
    """

    def best(question: Question) -> float:
        return max((hit.score for hit in index.search(question.text, 1)), default=0.0)

    questions, (train, _) = question_sets(index.language), split_countries(language=index.language)
    inside = min(map(best, questions["documentos"][::2]))
    return (inside + max(map(best, world.fact_questions(train)))) / 2


def score(strategy: Strategy, language: str = "es") -> dict:
    """Los aciertos de un peldaño en los tres exámenes, con su n, y sus tokens por respuesta."""
    answer, row, costs = strategy.build(), {}, []
    for name, questions in question_sets(language).items():
        answers = answer(questions)
        row[name] = vars(accuracy(answers, questions))
        if strategy.tokens:
            costs += [strategy.tokens(q, a) for q, a in zip(questions, answers, strict=True)]
    return row | {"tokens": sum(costs) / len(costs) if costs else None}
