"""Lectura: contextos con nombres inventados, que ningún modelo pudo aprender de memoria.

Quien contesta bien sobre ellos lee: la respuesta está en el contexto y en ningún otro sitio.
"""

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from course_lib import world
from course_lib.world import ATTRIBUTES, Country, Question

_CONSONANTS = "b c d f g l m n p r s t v z b c d f l m n p r s t v".split()
_ONSETS = {
    "es": [*_CONSONANTS, *"br dr tr gr pl ch h j ñ".split()],
    "en": [*_CONSONANTS, *"br dr tr gr pl ch h j k".split()],
}
_CODAS = ["", "", "", "", "", "n", "r", "s", "l"]
_ENDINGS = {
    "es": "a o e ia al en ar ín ora ino ela ira ún eda ona is era ol ío án".split(),
    "en": "a o eth ia al en ar in ora ino ela ira un eda ona is era ol io an".split(),
}


@cache
def _real_words(language: str) -> frozenset[str]:
    """Las palabras de los países y capitales de verdad, en minúsculas."""
    words = (f"{c.name} {c.capital}".lower().split() for c in world.load_countries(language))
    return frozenset(word for name in words for word in name)


def invent_name(rng: random.Random, reserved: bool = False, language: str = "es") -> str:
    """Inventa un nombre sílaba a sílaba («Tarvela»), que no es ningún nombre del mundo.

    Uno de cada diez nombres queda reservado para los exámenes (`reserved=True`): el
    preentrenamiento no los usa nunca, así que leerlos de un contexto no puede ser memoria.
    """
    while True:
        syllables = [
            rng.choice(_ONSETS[language]) + rng.choice("aeiou") + rng.choice(_CODAS)
            for _ in range(rng.choice((1, 1, 1, 2)))
        ]
        name = "".join(syllables) + rng.choice(_CONSONANTS) + rng.choice(_ENDINGS[language])
        is_reserved = zlib.crc32(name.encode()) % 10 == 0
        if is_reserved == reserved and name not in _real_words(language):
            return name.capitalize()


def _invent_value(kind: str, rng: random.Random, reserved: bool, language: str) -> str:
    """Un valor de la clase `kind` de las plantillas, con sus huecos rellenos."""

    def name() -> str:
        return invent_name(rng, reserved, language)

    if kind in ("lugar", "pais_inventado"):
        return name()
    if kind == "persona":
        return f"{name()} {name()}"
    common = kind.endswith(("inventado", "inventada"))
    return rng.choice(world.load_templates(language)["valores"][kind]).format(
        lugar=name(),
        persona=f"{name()} {name()}",
        palabra=name().lower() if common else name(),
        anio=rng.randint(1500, 2020),
        decenas=rng.randint(2, 99),
        centenas=rng.randint(100, 999),
        millares=rng.randint(1000, 9999),
    )


def reading_example(
    rng: random.Random, sentences: int, reserved: bool = False, language: str = "es"
) -> tuple[str, list[Question]]:
    """Un contexto de `sentences` frases inventadas y una pregunta por cada una, en su orden.

    La mitad de las veces varias frases dicen la misma relación de sujetos distintos: para acertar
    hay que leer el sujeto, no solo el tipo de respuesta.
    """
    chosen = rng.sample(world.load_templates(language)["lectura"], sentences)
    if rng.random() < 0.5:
        chosen = [rng.choice(chosen[:2]) for _ in chosen]
    subject = {}  # a veces el mismo sujeto sigue en la frase siguiente, como al hablar de alguien
    lines, asked, seen, used = [], [], set(), set()
    for relation in chosen:
        keep = rng.random() < 0.4 and relation["preguntas"][0] not in seen
        a = subject.get(relation["a"]) if keep else None
        while a is None or (not keep and a in used):
            a = _invent_value(relation["a"], rng, reserved, language)
        subject[relation["a"]] = a
        used.add(a)
        seen.add(relation["preguntas"][0])
        b = _invent_value(relation["b"], rng, reserved, language)
        lines.append(world.render(rng.choice(relation["frases"]), a=a, b=b))
        asked.append((world.render(rng.choice(relation["preguntas"]), a=a), b))
    context = " ".join(lines)
    return context, [Question("lectura", q, b, context, language) for q, b in asked]


def reading_questions(n: int, seed: int = 0, language: str = "es") -> list[Question]:
    """`n` preguntas sobre contextos nunca vistos, de una a tres frases, en cualquier lugar."""
    rng = random.Random(seed)
    return [
        rng.choice(reading_example(rng, rng.randint(1, 3), True, language)[1]) for _ in range(n)
    ]


def unknown_country(rng: random.Random, reserved: bool = False, language: str = "es") -> Country:
    """Un país inventado: todo lo que se pregunte de él se contesta «no lo sé»."""
    unknown = world.WORDS[language].unknown
    values = dict.fromkeys(ATTRIBUTES, unknown)
    return Country("", invent_name(rng, reserved, language), lang=language, **values)


def unknown_questions(
    countries: Sequence[Country],
    n: int,
    seed: int = 0,
    reserved: bool = True,
    sources: Sequence[str] = ("hechos",),
) -> list[Question]:
    """`n` preguntas de países inventados, por turno: un hecho, un sí o no y dos encadenadas.

    Args:
        countries: los de verdad, de los que se habla antes en las encadenadas.
        reserved: con nombres que nadie usa para ajustar.
        sources: de dónde salen las redacciones, como en `world.wordings`.
    """
    rng, questions = random.Random(seed), []
    for i in range(n):
        country = unknown_country(rng, reserved, countries[0].lang)
        last = {"country": country, "attribute": rng.choice(ATTRIBUTES)}
        if i % 4 == 1:
            said = (False, rng, None, countries, rng.choice(sources))
            asked = world.yes_no_question(country, last["attribute"], *said)
            question = replace(asked, answer=country.capital)
        else:
            among = [country, *rng.sample(countries, min(3, len(countries)))]
            question = world.chain(among, 1 if i % 4 == 0 else 2, rng, sources, **last)
        questions.append(replace(question, kind="no lo sé"))
    return questions


def pretraining_documents(
    seed: int | str = 0, language: str = "es", countries: Sequence[Country] = ()
) -> Iterator[str]:
    """Genera sin fin los textos del mundo con los que se preentrena el minimodelo.

    De cada cien, unos 56 son de lectura, 24 de sí o no, 10 de preguntas y 10 de frases: copiar de
    un contexto y decidir si algo es verdad es lo que más tarda en aprenderse. La misma semilla da
    siempre los mismos textos.

    Args:
        language: «es» o «en».
        countries: los únicos países que se nombran, ni siquiera en las preguntas falsas; si no se
            dan, todos. Quien repase después de ajustar ha de dejar fuera los de su examen.
    """
    rng, countries = random.Random(seed), countries or world.load_countries(language)
    while True:
        kind = rng.random()
        attribute = rng.choice(ATTRIBUTES)
        if kind < 0.56:
            yield _reading(rng, language)
        elif kind < 0.80:
            yield _yes_no_run(rng, countries)
        elif kind < 0.90:
            yield _fact_run(rng, countries, attribute)
        elif kind < 0.95:
            yield _profile(rng, countries)
        else:
            yield _loose_facts(rng, countries)


def _reading(rng: random.Random, language: str) -> str:
    """Un contexto inventado y una o dos preguntas sobre él."""
    _, questions = reading_example(rng, rng.choice((1, 2, 2, 3, 3, 3, 4, 5)), language=language)
    first, *others = rng.sample(questions, min(2, len(questions)))
    return _solved([first, *(replace(q, context=None) for q in others)])


def _yes_no_run(rng: random.Random, countries: Sequence[Country]) -> str:
    """De una a cinco preguntas de sí o no, verdaderas o falsas al azar."""

    def asked() -> Question:
        country, attribute = rng.choice(countries), rng.choice(ATTRIBUTES)
        return world.yes_no_question(country, attribute, rng.random() < 0.5, rng, None, countries)

    return _solved([asked() for _ in range(rng.randint(1, 5))])


def _fact_run(rng: random.Random, countries: Sequence[Country], attribute: str) -> str:
    """De una a cinco preguntas, de un atributo o de varios: así funciona después el *few-shot*."""
    same = rng.random() < 0.5

    def asked() -> Question:
        country, other = rng.choice(countries), attribute if same else rng.choice(ATTRIBUTES)
        return world.fact_question(country, other, form=rng.choice((0, 0, 1, 2)))

    return _solved([asked() for _ in range(rng.randint(1, 5))])


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
