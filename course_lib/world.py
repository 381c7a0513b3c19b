"""El mundo cerrado: todo lo que el minimodelo leyó y todo lo que se le puede preguntar.

Conocemos cada hecho que el modelo vio, y por eso podemos medir qué sabe, qué lee y qué olvida.
Este módulo no sabe nada de redes neuronales: hechos y frases entran, textos y preguntas salen.
"""

import csv
import itertools
import json
import random
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from course_lib import data_path, read_toml

ATTRIBUTES = ("capital", "currency", "language", "continent")


# Las palabras fijas con que se pregunta y se contesta en un idioma.
Words = namedtuple("Words", "question answer context yes no unknown")
WORDS = {
    "es": Words("Pregunta", "Respuesta", "Contexto", "sí", "no", "no lo sé"),
    "en": Words("Question", "Answer", "Context", "yes", "no", "I don't know"),
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
    """Una pregunta con su única respuesta.

    `context` es el texto donde leerla, si lo hay; `history`, las preguntas ya contestadas que la
    preceden en una conversación, y `about`, el país del que trata.
    """

    kind: str
    text: str
    answer: str
    context: str | None = None
    lang: str = "es"
    history: tuple["Question", ...] = ()
    about: str = ""


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


def _data_file(name: str, language: str) -> str:
    """El archivo de datos de un idioma; el de otro lleva su código: `plantillas_en.toml`."""
    stem, suffix = name.split(".")
    return name if language == "es" else f"{stem}_{language}.{suffix}"


@cache
def load_countries(language: str = "es") -> tuple[Country, ...]:
    """Lee `data/mundo/paises.csv` y devuelve los países con sus nombres en «es» o «en».

    En español, moneda e idioma llevan artículo («el euro»).
    """
    _check_language(language, "países")
    the = "el " if language == "es" else ""

    def country(row: dict[str, str]) -> Country:
        def said(name: str) -> str:
            return row[f"{name}_{language}"]

        return Country(
            code=row["code"],
            name=said("country"),
            capital=said("capital"),
            currency=(row["currency_article_es"] + " " if the else "") + said("currency"),
            language=the + said("language"),
            continent=said("continent"),
            also_official=tuple(the + name for name in said("also_official").split(";") if name),
            lang=language,
        )

    with data_path("mundo", "paises.csv").open(encoding="utf-8", newline="") as file:
        return tuple(map(country, csv.DictReader(file)))


def load_templates(language: str = "es") -> dict:
    """Lee `data/mundo/plantillas.toml`, las frases del mundo y las relaciones de lectura, en «es» o
    «en»."""
    _check_language(language, "plantillas")
    return read_toml("mundo", _data_file("plantillas.toml", language))


def wordings(attribute: str, kind: str, source: str = "hechos", language: str = "es") -> list[str]:
    """Las plantillas con que se pregunta por un atributo.

    Args:
        kind: «preguntas» enteras; «si_no»; «seguir», otra cosa del país del que se hablaba, o
            «cambio», lo mismo de otro país.
        source: «hechos», las de `plantillas.toml`, con las que se preentrena; o, de las de
            `redacciones.toml`, «libres», con las que se ajusta, y «ajenas», las de quien hizo un
            examen sin ver ninguna otra. En un idioma que no las tenga, valen las primeras.
    """
    templates = load_templates(language)
    if source != "hechos" and language == "es":
        templates = read_toml("mundo", "redacciones.toml")
    return templates.get(source, templates.get("hechos"))[attribute][kind]


def load_documents(language: str = "es") -> tuple[Document, ...]:
    """Lee los documentos nuevos de `data/documentos/documentos.jsonl`, en «es» o «en»."""
    _check_language(language, "documentos")
    documents, path = [], data_path("documentos", _data_file("documentos.jsonl", language))
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text, asked = row["text"], [(q["question"], q["answer"]) for q in row["questions"]]
        questions = tuple(Question("documento", *pair, text, language) for pair in asked)
        documents.append(Document(row["id"], row["title"], text, questions, language))
    return tuple(documents)


def text(sentence: str, language: str = "es") -> str:
    """Una frase de una lección, escrita en español, en otro idioma del curso.

    Las traducciones están en `data/mundo/frases_en.toml`, cada una con su frase por clave.

    >>> text("Hola, ¿qué tal?", "en")
    'Hello, how are you?'
    """
    if language == "es":
        return sentence
    try:
        return read_toml("mundo", _data_file("frases.toml", language))[sentence]
    except KeyError:
        raise ValueError(
            f"«{sentence}» no está traducida: añádela a data/mundo/frases_{language}.toml."
        ) from None


def render(template: str, **values: str) -> str:
    """Rellena una plantilla, contrae «de el» y «a el», y pone en mayúscula la primera letra.

    >>> render("¿{x} es la moneda de {pais}?", x="la libra", pais="el Reino Unido")
    '¿La libra es la moneda del Reino Unido?'
    """
    text = template.format(**values).replace(" de el ", " del ").replace(" a el ", " al ")
    first = 1 if text[0] in "¿«" else 0
    return text[:first] + text[first].upper() + text[first + 1 :]


def fact_question(
    country: Country, attribute: str, form: int = 0, source: str = "hechos"
) -> Question:
    """Pregunta por un atributo de un país: `form=0` es la redacción canónica."""
    template = wordings(attribute, "preguntas", source, country.lang)[form]
    text, answer = render(template, pais=country.name), getattr(country, attribute)
    return Question(attribute, text, answer, lang=country.lang, about=country.name)


def fact_questions(countries: Sequence[Country], attributes=ATTRIBUTES) -> list[Question]:
    """Todas las preguntas canónicas: una por país y atributo."""
    return [fact_question(c, attribute) for attribute in attributes for c in countries]


def completion_questions(countries: Sequence[Country], attributes=ATTRIBUTES) -> list[Question]:
    """Los mismos hechos como frase a medias («La capital de Francia es»), para completar."""
    questions = []
    for attribute, c in itertools.product(attributes, countries):
        template = load_templates(c.lang)["hechos"][attribute]["frases"][0]
        begun = render(template, pais=c.name, x="").removesuffix(" .")
        told = getattr(c, attribute)
        questions.append(Question(attribute, begun, told, lang=c.lang, about=c.name))
    return questions


def yes_no_question(
    country: Country,
    attribute: str,
    truth: bool,
    rng: random.Random,
    form: int | None = 0,
    among: Sequence[Country] = (),
    source: str = "hechos",
) -> Question:
    """Pregunta de sí o no sobre un atributo; la falsa toma prestado el valor de otro país.

    El valor falso se sortea entre países (los de `among`; si no se dan, todos), y no entre valores,
    para que cada uno salga en las preguntas falsas casi tanto como en las verdaderas: adivinar por
    el valor apenas ayuda.
    """
    words, templates = WORDS[country.lang], wordings(attribute, "si_no", source, country.lang)
    value = right = getattr(country, attribute)
    if not truth:
        others = [getattr(c, attribute) for c in among or load_countries(country.lang)]
        value = rng.choice([x for x in others if x != right and x not in country.also_official])
    template = rng.choice(templates) if form is None else templates[form]
    text = render(template, pais=country.name, x=value)
    answer = words.yes if truth else words.no
    return Question("sí/no", text, answer, lang=country.lang, about=country.name)


def yes_no_questions(countries: Sequence[Country], seed: int = 0) -> list[Question]:
    """Una pregunta verdadera y una falsa por país y atributo: exactamente la mitad de cada."""
    rng = random.Random(seed)
    cases = itertools.product(ATTRIBUTES, countries, (True, False))
    return [yes_no_question(c, attribute, truth, rng) for attribute, c, truth in cases]


def chain(
    countries: Sequence[Country],
    turns: int,
    rng: random.Random,
    sources: Sequence[str] = ("hechos",),
    **last,
) -> Question:
    """Una conversación: una pregunta entera y otras que solo se entienden por las de antes.

    Cada turno cambia de atributo («¿Y su moneda?») o de país («¿Y la de Perú?»).

    Args:
        turns: cuántas preguntas son; se devuelve la última, con las demás en su historia.
        sources: de dónde salen las redacciones de cada turno, como en `wordings`.
        last: el `country` y el `attribute` de la última, si no han de ser al azar.

    >>> peru = [c for c in load_countries() if c.name == "Perú"]
    >>> q = chain(peru, 2, random.Random(0), attribute="currency")
    >>> q.history[0].text, q.text, q.answer
    ('¿Qué idioma es oficial en Perú?', '¿Y su moneda?', 'el sol')
    """
    # De atrás adelante: la última pregunta dice de qué hubo que hablar antes.
    country = last.get("country") or rng.choice(countries)
    attribute = last.get("attribute") or rng.choice(ATTRIBUTES)
    source, others = rng.choice(sources), [c for c in countries if c != country]
    if turns == 1:
        forms = len(wordings(attribute, "preguntas", source, country.lang))
        return fact_question(country, attribute, rng.randrange(forms), source)
    moves = others and rng.random() < 0.5
    said = wordings(attribute, "cambio" if moves else "seguir", source, country.lang)
    text = render(rng.choice(said), pais=country.name)
    if moves:
        before = {"country": rng.choice(others), "attribute": attribute}
    else:
        rest = [other for other in ATTRIBUTES if other != attribute]
        before = {"country": country, "attribute": rng.choice(rest)}
    asked = chain(countries, turns - 1, rng, sources, **before)
    history = (*asked.history, replace(asked, history=()))
    answer, lang = getattr(country, attribute), country.lang
    return Question("encadenada", text, answer, None, lang, history, country.name)


def chain_questions(
    countries: Sequence[Country], turns: int = 2, seed: int = 0, source: str = "hechos"
) -> list[Question]:
    """Una pregunta encadenada por país y atributo, tras otras `turns` − 1."""
    rng = random.Random(seed)
    return [
        chain(countries, turns, rng, (source,), country=country, attribute=attribute)
        for country, attribute in itertools.product(countries, ATTRIBUTES)
    ]


def question_prompt(question: Question, examples: Sequence[Question] = ()) -> str:
    """El texto que pide la respuesta en la forma en que el minimodelo la aprendió.

    Args:
        question: lo que se pregunta; si lleva contexto o historia, van delante.
        examples: preguntas ya contestadas que van antes (*few-shot*).

    >>> question_prompt(Question("capital", "¿Cuál es la capital de Perú?", "Lima"))
    'Pregunta: ¿Cuál es la capital de Perú?\\nRespuesta:'
    """
    solved = "".join(f"{question_prompt(e)} {e.answer}.\n" for e in [*examples, *question.history])
    words = WORDS[question.lang]
    context = f"{words.context}: {question.context}\n" if question.context else ""
    return f"{solved}{context}{words.question}: {question.text}\n{words.answer}:"
