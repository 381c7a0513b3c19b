"""El texto del preentrenamiento: lo único que el minimodelo ha leído en su vida.

En inglés sirve de repaso y de comparación para un modelo ajeno, que ha leído otras cosas.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from course_lib import world
from course_lib.reading import reading_example
from course_lib.world import ATTRIBUTES, Country, Question


def pretraining_documents(seed: int | str = 0, language: str = "es") -> Iterator[str]:
    """Genera sin fin los textos con los que se preentrena el minimodelo.

    De cada cien, unos 40 son de lectura, 36 de sí o no, 12 de preguntas y 12 de frases: copiar de
    un contexto y decidir si algo es verdad es lo que más tarda en aprenderse.

    Args:
        seed: la misma semilla da siempre los mismos textos.
        language: «es», el del minimodelo, o «en».
    """
    rng, countries = random.Random(seed), world.load_countries(language)
    while True:
        kind = rng.random()
        attribute = rng.choice(ATTRIBUTES)
        if kind < 0.40:
            yield _reading(rng, language)
        elif kind < 0.76:
            yield _yes_no_run(rng, countries)
        elif kind < 0.88:
            yield _fact_run(rng, countries, attribute)
        elif kind < 0.94:
            yield _profile(rng, countries)
        else:
            yield _loose_facts(rng, countries)


def _reading(rng: random.Random, language: str) -> str:
    """Un contexto inventado y una o dos preguntas sobre él."""
    _, questions = reading_example(rng, rng.choice((1, 2, 2, 3, 3, 4, 5)), language=language)
    first, *others = rng.sample(questions, min(2, len(questions)))
    return "\n".join([_solved([first]), *(_solved([replace(q, context=None)]) for q in others)])


def _yes_no_run(rng: random.Random, countries: Sequence[Country]) -> str:
    """De una a cinco preguntas de sí o no, verdaderas o falsas al azar."""
    return _solved(
        [
            world.yes_no_question(
                rng.choice(countries), rng.choice(ATTRIBUTES), rng.random() < 0.5, rng, form=None
            )
            for _ in range(rng.randint(1, 5))
        ]
    )


def _fact_run(rng: random.Random, countries: Sequence[Country], attribute: str) -> str:
    """De una a cinco preguntas, de un atributo o de varios: así funciona después el *few-shot*."""
    same = rng.random() < 0.5
    return _solved(
        [
            world.fact_question(
                rng.choice(countries),
                attribute if same else rng.choice(ATTRIBUTES),
                form=rng.choice((0, 0, 1, 2)),
            )
            for _ in range(rng.randint(1, 5))
        ]
    )


def _profile(rng: random.Random, countries: Sequence[Country]) -> str:
    """Varios hechos de un país."""
    country = rng.choice(countries)
    told = rng.sample(ATTRIBUTES, rng.randint(1, 4))
    return " ".join(_statement(rng, country, attribute) for attribute in told)


def _loose_facts(rng: random.Random, countries: Sequence[Country]) -> str:
    """Hechos sueltos de varios países."""
    told = rng.sample(countries, rng.randint(1, 4))
    return " ".join(_statement(rng, country, rng.choice(ATTRIBUTES)) for country in told)


def _statement(rng: random.Random, country: Country, attribute: str) -> str:
    template = rng.choice(world.load_templates(country.lang)["hechos"][attribute]["frases"])
    return world.render(template, pais=country.name, x=getattr(country, attribute))


def _solved(questions: Sequence[Question]) -> str:
    return "\n".join(f"{world.question_prompt(q)} {q.answer}." for q in questions)
