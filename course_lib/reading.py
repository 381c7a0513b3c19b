"""Lectura: contextos con nombres inventados, que ningún modelo pudo aprender de memoria.

Quien contesta bien sobre ellos tiene que leer: la respuesta está en el contexto y en ningún otro
sitio.
"""

import random
import zlib
from functools import cache

from course_lib import world
from course_lib.world import Question

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

    En inglés va sin tildes ni otras letras que las inglesas.

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
    return rng.choice(world.load_templates(language)["valores"][kind]).format(
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
    rng: random.Random, sentences: int, reserved: bool = False, language: str = "es"
) -> tuple[str, list[Question]]:
    """Un contexto de `sentences` frases inventadas y una pregunta por cada una de ellas.

    La mitad de las veces varias frases dicen la misma relación de sujetos distintos: para acertar
    hay que leer el sujeto, no solo el tipo de respuesta.

    Returns:
        El contexto y sus preguntas, en el orden de las frases.
    """
    relations = world.load_templates(language)["lectura"]
    chosen = rng.sample(relations, sentences)
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
        asked.append((rng.choice(relation["preguntas"]), a, b))
    context = " ".join(lines)
    return context, [
        Question("lectura", world.render(q, a=a), b, context, language) for q, a, b in asked
    ]


def reading_questions(n: int, seed: int = 0, language: str = "es") -> list[Question]:
    """`n` preguntas sobre contextos nunca vistos, de una a tres frases, en cualquier lugar."""
    rng = random.Random(seed)
    return [
        rng.choice(reading_example(rng, rng.randint(1, 3), True, language)[1]) for _ in range(n)
    ]
