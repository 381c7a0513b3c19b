"""El mundo cerrado: todo lo que el minimodelo leyó y todo lo que se le puede preguntar.

Conocemos cada hecho que el modelo vio, y por eso podemos medir qué sabe, qué lee y qué olvida.
Este módulo no sabe nada de redes neuronales: hechos y frases entran, textos y preguntas salen.
"""

import csv
import json
import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from course_lib import data_path

ATTRIBUTES = ("capital", "currency", "language", "continent")
YES, NO = "sí", "no"


@dataclass(frozen=True)
class Country:
    """Un país y sus cuatro atributos, en un solo idioma y tal como van dentro de una frase.

    `also_official` son los demás idiomas oficiales: nadie debe preguntar por ellos como falsos.
    """

    code: str
    name: str
    capital: str
    currency: str
    language: str
    continent: str
    also_official: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """Una pregunta con su única respuesta; `context` es el texto donde leerla, si lo hay."""

    kind: str
    text: str
    answer: str
    context: str | None = None


@dataclass(frozen=True)
class Document:
    """Un documento nuevo, que el minimodelo nunca leyó, con las preguntas que contesta."""

    id: str
    title: str
    text: str
    questions: tuple[Question, ...]


@cache
def load_countries(language: str = "es") -> tuple[Country, ...]:
    """Lee `data/mundo/paises.csv` y devuelve los países con sus nombres en `language`.

    Args:
        language: «es» o «en». En español, moneda e idioma llevan artículo («el euro»).

    Raises:
        ValueError: si el idioma no es ninguno de los dos.
    """
    if language not in ("es", "en"):
        raise ValueError(f"No hay países en el idioma «{language}»: elige «es» o «en».")
    with data_path("mundo", "paises.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    spanish = language == "es"
    return tuple(
        Country(
            code=row["code"],
            name=row[f"country_{language}"],
            capital=row[f"capital_{language}"],
            currency=f"{row['currency_article_es']} {row['currency_es']}"
            if spanish
            else row["currency_en"],
            language=f"el {row['language_es']}" if spanish else row["language_en"],
            continent=row[f"continent_{language}"],
            also_official=tuple(
                f"el {name}" for name in (row.get("also_official_es") or "").split(";") if name
            )
            if spanish
            else (),
        )
        for row in rows
    )


@cache
def load_templates() -> dict:
    """Lee `data/mundo/plantillas.toml`: las frases del mundo y las relaciones de lectura."""
    return tomllib.loads(data_path("mundo", "plantillas.toml").read_text(encoding="utf-8"))


def load_documents() -> tuple[Document, ...]:
    """Lee los documentos nuevos de `data/documentos/documentos.jsonl`, con sus preguntas."""
    lines = data_path("documentos", "documentos.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(
        Document(
            id=row["id"],
            title=row["title"],
            text=row["text"],
            questions=tuple(
                Question("documento", q["question"], q["answer"], row["text"])
                for q in row["questions"]
            ),
        )
        for row in map(json.loads, lines)
    )


def render(template: str, **values: str) -> str:
    """Rellena una plantilla, contrae «de el» y «a el», y pone en mayúscula la primera letra.

    >>> render("¿{x} es la moneda de {pais}?", x="la libra", pais="el Reino Unido")
    '¿La libra es la moneda del Reino Unido?'
    """
    text = template.format(**values).replace(" de el ", " del ").replace(" a el ", " al ")
    first = 1 if text[0] in "¿«" else 0
    return text[:first] + text[first].upper() + text[first + 1 :]


# --- Preguntas -----------------------------------------------------------------------------------


def fact_question(country: Country, attribute: str, form: int = 0) -> Question:
    """Pregunta por un atributo de un país: `form=0` es la redacción canónica.

    >>> fact_question(load_countries()[0], "capital").text.startswith("¿Cuál es la capital de")
    True
    """
    template = load_templates()["hechos"][attribute]["preguntas"][form]
    return Question(attribute, render(template, pais=country.name), getattr(country, attribute))


def fact_questions(countries: Sequence[Country], attributes=ATTRIBUTES) -> list[Question]:
    """Todas las preguntas canónicas: una por país y atributo."""
    return [fact_question(c, attribute) for attribute in attributes for c in countries]


def completion_questions(countries: Sequence[Country], attributes=ATTRIBUTES) -> list[Question]:
    """Los mismos hechos como frase a medias («La capital de Francia es»), para completar."""
    facts = load_templates()["hechos"]
    return [
        Question(
            attribute,
            render(facts[attribute]["frases"][0], pais=c.name, x="").removesuffix(" ."),
            getattr(c, attribute),
        )
        for attribute in attributes
        for c in countries
    ]


def yes_no_question(
    country: Country, attribute: str, truth: bool, rng: random.Random, form: int | None = 0
) -> Question:
    """Pregunta de sí o no sobre un atributo; la falsa toma prestado el valor de otro país.

    El valor falso se sortea entre países, y no entre valores, para que cada uno salga en las
    preguntas falsas casi tanto como en las verdaderas: adivinar por el valor apenas ayuda.
    """
    value = right = getattr(country, attribute)
    if not truth:
        valid = [
            other
            for c in load_countries()
            if (other := getattr(c, attribute)) != right and other not in country.also_official
        ]
        value = rng.choice(valid)
    templates = load_templates()["hechos"][attribute]["si_no"]
    template = rng.choice(templates) if form is None else templates[form]
    return Question("sí/no", render(template, pais=country.name, x=value), YES if truth else NO)


def yes_no_questions(countries: Sequence[Country], seed: int = 0) -> list[Question]:
    """Una pregunta verdadera y una falsa por país y atributo: exactamente la mitad de cada."""
    rng = random.Random(seed)
    return [
        yes_no_question(c, attribute, truth, rng)
        for attribute in ATTRIBUTES
        for c in countries
        for truth in (True, False)
    ]


def question_prompt(question: Question, examples: Sequence[Question] = ()) -> str:
    """El texto que pide la respuesta en la forma en que el minimodelo la aprendió.

    Args:
        question: lo que se pregunta; si lleva contexto, va delante.
        examples: preguntas ya contestadas que van antes (*few-shot*).

    >>> question_prompt(Question("capital", "¿Cuál es la capital de Perú?", "Lima"))
    'Pregunta: ¿Cuál es la capital de Perú?\\nRespuesta:'
    """
    solved = "".join(f"{question_prompt(e)} {e.answer}.\n" for e in examples)
    context = f"Contexto: {question.context}\n" if question.context else ""
    return f"{solved}{context}Pregunta: {question.text}\nRespuesta:"
