"""El mundo cerrado: todo lo que el minimodelo leyó y todo lo que se le puede preguntar.

Conocemos cada hecho que el modelo vio, y por eso podemos medir qué sabe, qué lee y qué olvida.
Este módulo no sabe nada de redes neuronales: hechos y frases entran, textos y preguntas salen.
"""

import csv
import json
import random
import tomllib
import zlib
from collections.abc import Iterator, Sequence
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

    Al sortear el valor falso entre países (y no entre valores), cada valor aparece en las
    preguntas falsas tanto como en las verdaderas: adivinar por el valor no sirve de nada.
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


# --- Lectura: contextos con nombres inventados ---------------------------------------------------

_ONSETS = "b c d f g l m n p r s t v z b c d f l m n p r s t v br dr tr gr pl ch h j ñ".split()
_CODAS = ["", "", "", "", "", "n", "r", "s", "l"]
_ENDINGS = "a o e ia al en ar ín ora ino ela ira ún eda ona is era ol ío án".split()


@cache
def _real_words() -> frozenset[str]:
    """Las palabras de los países y capitales de verdad, en minúsculas."""
    words = (f"{c.name} {c.capital}".lower().split() for c in load_countries())
    return frozenset(word for name in words for word in name)


def invent_name(rng: random.Random, reserved: bool = False) -> str:
    """Inventa un nombre sílaba a sílaba («Tarvela»), que no es ningún nombre del mundo.

    Uno de cada diez nombres queda reservado para los exámenes (`reserved=True`): el
    preentrenamiento no los usa nunca, así que leerlos de un contexto no puede ser memoria.
    """
    while True:
        syllables = [
            rng.choice(_ONSETS) + rng.choice("aeiou") + rng.choice(_CODAS)
            for _ in range(rng.choice((1, 1, 1, 2)))
        ]
        name = "".join(syllables) + rng.choice(_ONSETS[:26]) + rng.choice(_ENDINGS)
        is_reserved = zlib.crc32(name.encode()) % 10 == 0
        if is_reserved == reserved and name not in _real_words():
            return name.capitalize()


def _invent_value(kind: str, rng: random.Random, reserved: bool) -> str:
    """Un valor de la clase `kind` de las plantillas, con sus huecos rellenos."""

    def name() -> str:
        return invent_name(rng, reserved)

    if kind in ("lugar", "pais_inventado"):
        return name()
    if kind == "persona":
        return f"{name()} {name()}"
    return rng.choice(load_templates()["valores"][kind]).format(
        lugar=name(),
        persona=f"{name()} {name()}",
        palabra=name().lower()
        if kind.endswith("inventado") or kind.endswith("inventada")
        else name(),
        anio=rng.randint(1500, 2020),
        decenas=rng.randint(2, 99),
        centenas=rng.randint(100, 999),
        millares=rng.randint(1000, 9999),
    )


def reading_example(
    rng: random.Random, sentences: int, reserved: bool = False
) -> tuple[str, list[Question]]:
    """Un contexto de `sentences` frases inventadas y una pregunta por cada una de ellas.

    La mitad de las veces varias frases dicen la misma relación de sujetos distintos: para acertar
    hay que leer el sujeto, no solo el tipo de respuesta.

    Returns:
        El contexto y sus preguntas, en el orden de las frases.
    """
    relations = load_templates()["lectura"]
    chosen = rng.sample(relations, sentences)
    if rng.random() < 0.5:
        chosen = [rng.choice(chosen[:2]) for _ in chosen]
    subject = {}  # a veces el mismo sujeto sigue en la frase siguiente, como al hablar de alguien
    lines, asked, seen, used = [], [], set(), set()
    for relation in chosen:
        keep = rng.random() < 0.4 and relation["preguntas"][0] not in seen
        a = subject.get(relation["a"]) if keep else None
        while a is None or (not keep and a in used):
            a = _invent_value(relation["a"], rng, reserved)
        subject[relation["a"]] = a
        used.add(a)
        seen.add(relation["preguntas"][0])
        b = _invent_value(relation["b"], rng, reserved)
        lines.append(render(rng.choice(relation["frases"]), a=a, b=b))
        asked.append((rng.choice(relation["preguntas"]), a, b))
    context = " ".join(lines)
    return context, [Question("lectura", render(q, a=a), b, context) for q, a, b in asked]


def reading_questions(n: int, seed: int = 0) -> list[Question]:
    """`n` preguntas sobre contextos nunca vistos, de una a tres frases, en cualquier lugar."""
    rng = random.Random(seed)
    return [rng.choice(reading_example(rng, rng.randint(1, 3), reserved=True)[1]) for _ in range(n)]


# --- Texto ---------------------------------------------------------------------------------------


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


def pretraining_documents(seed: int = 0) -> Iterator[str]:
    """Genera sin fin los textos con los que se preentrena el minimodelo.

    La mezcla (40% lectura, 36% sí o no, 12% preguntas y 12% frases, en textos) se eligió
    midiendo: con poca lectura el modelo no aprende a copiar, y con pocas preguntas de sí o no
    contesta al azar.
    """
    rng = random.Random(seed)
    countries = load_countries()
    facts = load_templates()["hechos"]

    def statement(country: Country, attribute: str) -> str:
        template = rng.choice(facts[attribute]["frases"])
        return render(template, pais=country.name, x=getattr(country, attribute))

    def run(make_question, length: int) -> str:
        return "\n".join(
            f"{question_prompt(q)} {q.answer}." for q in map(make_question, range(length))
        )

    while True:
        kind = rng.random()
        attribute = rng.choice(ATTRIBUTES)
        if kind < 0.40:
            _, questions = reading_example(rng, rng.choice((1, 2, 2, 3, 3, 4, 5)))
            first, *others = rng.sample(questions, min(2, len(questions)))
            more = "".join(f"\nPregunta: {q.text}\nRespuesta: {q.answer}." for q in others)
            yield f"{question_prompt(first)} {first.answer}.{more}"
        elif kind < 0.76:
            yield run(
                lambda _: yes_no_question(
                    rng.choice(countries), rng.choice(ATTRIBUTES), rng.random() < 0.5, rng, None
                ),
                rng.randint(1, 5),
            )
        elif kind < 0.88:
            same = rng.random() < 0.5
            yield run(
                lambda _, same=same, attribute=attribute: fact_question(
                    rng.choice(countries),
                    attribute if same else rng.choice(ATTRIBUTES),
                    rng.choice((0, 0, 1, 2)),
                ),
                rng.randint(1, 5),
            )
        elif kind < 0.94:
            country = rng.choice(countries)
            yield " ".join(statement(country, a) for a in rng.sample(ATTRIBUTES, rng.randint(1, 4)))
        else:
            yield " ".join(
                statement(c, rng.choice(ATTRIBUTES))
                for c in rng.sample(countries, rng.randint(1, 4))
            )
