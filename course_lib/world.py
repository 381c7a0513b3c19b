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


@dataclass(frozen=True)
class Words:
    """Las palabras fijas con que se pregunta y se contesta en un idioma."""

    question: str
    answer: str
    context: str
    yes: str
    no: str


WORDS = {
    "es": Words("Pregunta", "Respuesta", "Contexto", "sí", "no"),
    "en": Words("Question", "Answer", "Context", "yes", "no"),
}
YES, NO = WORDS["es"].yes, WORDS["es"].no


@dataclass(frozen=True)
class Country:
    """Un país y sus cuatro atributos, en el idioma `lang` y tal como van dentro de una frase.

    `also_official` son los demás idiomas oficiales: nadie debe preguntar por ellos como falsos.
    """

    code: str
    name: str
    capital: str
    currency: str
    language: str
    continent: str
    also_official: tuple[str, ...] = ()
    lang: str = "es"


@dataclass(frozen=True)
class Question:
    """Una pregunta con su única respuesta; `context` es el texto donde leerla, si lo hay."""

    kind: str
    text: str
    answer: str
    context: str | None = None
    lang: str = "es"


@dataclass(frozen=True)
class Document:
    """Un documento nuevo, que el minimodelo nunca leyó, con las preguntas que contesta."""

    id: str
    title: str
    text: str
    questions: tuple[Question, ...]
    lang: str = "es"


def _check_language(language: str, what: str) -> None:
    if language not in WORDS:
        raise ValueError(f"No hay {what} en el idioma «{language}»: elige «es» o «en».")


def _data_file(folder: str, name: str, language: str) -> str:
    """El texto de un archivo de datos; el de otro idioma lleva su código: `plantillas_en.toml`."""
    stem, suffix = name.split(".")
    name = name if language == "es" else f"{stem}_{language}.{suffix}"
    return data_path(folder, name).read_text(encoding="utf-8")


@cache
def load_countries(language: str = "es") -> tuple[Country, ...]:
    """Lee `data/mundo/paises.csv` y devuelve los países con sus nombres en `language`.

    Args:
        language: «es» o «en». En español, moneda e idioma llevan artículo («el euro»).

    Raises:
        ValueError: si el idioma no es ninguno de los dos.
    """
    _check_language(language, "países")
    with data_path("mundo", "paises.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    the = "el " if language == "es" else ""
    return tuple(
        Country(
            code=row["code"],
            name=row[f"country_{language}"],
            capital=row[f"capital_{language}"],
            currency=f"{row['currency_article_es']} {row['currency_es']}"
            if language == "es"
            else row["currency_en"],
            language=the + row[f"language_{language}"],
            continent=row[f"continent_{language}"],
            also_official=tuple(
                the + name for name in row[f"also_official_{language}"].split(";") if name
            ),
            lang=language,
        )
        for row in rows
    )


@cache
def load_templates(language: str = "es") -> dict:
    """Lee `data/mundo/plantillas.toml`: las frases del mundo y las relaciones de lectura.

    Raises:
        ValueError: si el idioma no es «es» ni «en».
    """
    _check_language(language, "plantillas")
    return tomllib.loads(_data_file("mundo", "plantillas.toml", language))


def load_documents(language: str = "es") -> tuple[Document, ...]:
    """Lee los documentos nuevos de `data/documentos/documentos.jsonl`, con sus preguntas.

    Raises:
        ValueError: si el idioma no es «es» ni «en».
    """
    _check_language(language, "documentos")
    lines = _data_file("documentos", "documentos.jsonl", language).splitlines()
    return tuple(
        Document(
            id=row["id"],
            title=row["title"],
            text=row["text"],
            questions=tuple(
                Question("documento", q["question"], q["answer"], row["text"], language)
                for q in row["questions"]
            ),
            lang=language,
        )
        for row in map(json.loads, lines)
    )


@cache
def _translations(language: str) -> dict[str, str]:
    return tomllib.loads(_data_file("mundo", "frases.toml", language))


def text(sentence: str, language: str = "es") -> str:
    """Una frase de una lección, escrita en español, en otro idioma del curso.

    Las traducciones están en `data/mundo/frases_en.toml`, cada una con su frase por clave.

    Raises:
        ValueError: si no está traducida.

    >>> text("Hola, ¿qué tal?", "en")
    'Hello, how are you?'
    """
    if language == "es":
        return sentence
    found = _translations(language).get(sentence)
    if found is None:
        raise ValueError(
            f"«{sentence}» no está traducida: añádela a data/mundo/frases_{language}.toml."
        )
    return found


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
    template = load_templates(country.lang)["hechos"][attribute]["preguntas"][form]
    text, answer = render(template, pais=country.name), getattr(country, attribute)
    return Question(attribute, text, answer, lang=country.lang)


def fact_questions(countries: Sequence[Country], attributes=ATTRIBUTES) -> list[Question]:
    """Todas las preguntas canónicas: una por país y atributo."""
    return [fact_question(c, attribute) for attribute in attributes for c in countries]


def completion_questions(countries: Sequence[Country], attributes=ATTRIBUTES) -> list[Question]:
    """Los mismos hechos como frase a medias («La capital de Francia es»), para completar."""

    def begun(country: Country, attribute: str) -> str:
        template = load_templates(country.lang)["hechos"][attribute]["frases"][0]
        return render(template, pais=country.name, x="").removesuffix(" .")

    return [
        Question(attribute, begun(c, attribute), getattr(c, attribute), lang=c.lang)
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
            for c in load_countries(country.lang)
            if (other := getattr(c, attribute)) != right and other not in country.also_official
        ]
        value = rng.choice(valid)
    templates = load_templates(country.lang)["hechos"][attribute]["si_no"]
    template = rng.choice(templates) if form is None else templates[form]
    answer = WORDS[country.lang].yes if truth else WORDS[country.lang].no
    text = render(template, pais=country.name, x=value)
    return Question("sí/no", text, answer, lang=country.lang)


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

    Los rótulos van en el idioma de cada pregunta.

    Args:
        question: lo que se pregunta; si lleva contexto, va delante.
        examples: preguntas ya contestadas que van antes (*few-shot*).

    >>> question_prompt(Question("capital", "¿Cuál es la capital de Perú?", "Lima"))
    'Pregunta: ¿Cuál es la capital de Perú?\\nRespuesta:'
    """
    solved = "".join(f"{question_prompt(e)} {e.answer}.\n" for e in examples)
    words = WORDS[question.lang]
    context = f"{words.context}: {question.context}\n" if question.context else ""
    return f"{solved}{context}{words.question}: {question.text}\n{words.answer}:"
