"""La tarea por la que merece la pena ajustar: contestar en el chat lo que el modelo ya sabe.

De aquí salen los ejemplos: preguntas y respuestas de la mitad de los países, charlas corrientes y
un repaso de lo que el modelo leyó de pequeño, para que no lo olvide. La otra mitad de los países no
se toca: con ella se puntúa.
"""

import itertools
import random
from collections.abc import Sequence

from course_lib import world
from course_lib.corpus import pretraining_documents
from course_lib.encoding import Encoded, Kind, pair_messages
from course_lib.world import ATTRIBUTES, Country

Messages = list[dict[str, str]]  # mensajes con «role» y «content»


def split_countries(seed: int = 0, language: str = "es") -> tuple[list[Country], list[Country]]:
    """Los países de ajustar y los de puntuar, mitad y mitad, por sorteo; los mismos en todo idioma.

    >>> train, test = split_countries()
    >>> len(train), len(test), set(train) & set(test)
    (49, 50, set())
    """
    countries = list(world.load_countries(language))
    random.Random(seed).shuffle(countries)
    half = len(countries) // 2
    return countries[:half], countries[half:]


def task_conversations(
    countries: Sequence[Country], yes_no: int = 8, seed: int = 0
) -> list[Messages]:
    """Preguntas de chat sobre esos países, en orden de países y atributos.

    Args:
        yes_no: cuántas preguntas de sí o no por hecho, además de las tres redacciones en que se
            pregunta el hecho mismo; la mitad son verdaderas.

    >>> task_conversations(split_countries()[0])[0][1]["content"].endswith(".")
    True
    """
    rng = random.Random(seed)
    questions = []
    for country, attribute in itertools.product(countries, ATTRIBUTES):
        questions += [world.fact_question(country, attribute, form) for form in range(3)]
        questions += [
            world.yes_no_question(country, attribute, i % 2 == 0, rng, form=None)
            for i in range(yes_no)
        ]
    return [pair_messages(q.text, _sentence(q.answer)) for q in questions]


def replay_texts(n: int, seed: int = 0, language: str = "es") -> list[str]:
    """`n` textos como los del preentrenamiento, para repasar."""
    return list(itertools.islice(pretraining_documents(f"repaso {seed}", language), n))


def reading_texts(n: int, seed: int = 0, language: str = "es") -> list[str]:
    """`n` textos de lectura como los del preentrenamiento: un contexto y sus preguntas."""
    texts, label = pretraining_documents(f"lectura {seed}", language), world.WORDS[language].context
    return list(itertools.islice((t for t in texts if t.startswith(f"{label}:")), n))


def encode_text(tokenizer, text: str) -> Encoded:
    """Un texto corriente, sin papeles: la pérdida lo cuenta entero, con su fin."""
    ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    kinds = [Kind.REPLY] * (len(ids) - 1) + [Kind.END]
    return Encoded(ids, [1] * len(ids), list(ids), kinds)


def _sentence(answer: str) -> str:
    return f"{answer[0].upper()}{answer[1:]}."
