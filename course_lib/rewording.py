"""Los documentos nuevos dichos de más maneras: el material para intentar inyectarlos ajustando.

Cada frase de un documento sigue una relación de las plantillas de su idioma (en español,
`data/mundo/plantillas.toml`); con ella se puede volver a decir, y a preguntar, con otras palabras.
Las preguntas del examen no aparecen nunca tal cual.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from course_lib import world
from course_lib.world import Document, Question


def plain_texts(documents: Sequence[Document]) -> list[str]:
    """Los documentos tal cual: una sola redacción de cada hecho."""
    return [document.text for document in documents]


def reworded_texts(documents: Sequence[Document], copies: int = 6, seed: int = 0) -> list[str]:
    """Cada documento `copies` veces, con las frases en otro orden y en otra redacción al azar."""
    rng = random.Random(seed)
    texts = []
    for document in documents:
        for _ in range(copies):
            lines = [rng.choice(wordings) for wordings, _ in _facts(document)]
            rng.shuffle(lines)
            texts.append(" ".join(lines))
    return texts


def reworded_questions(documents: Sequence[Document]) -> list[str]:
    """Los hechos como pregunta y respuesta, con las redacciones que el examen no usa."""
    return [
        f"{world.question_prompt(replace(question, text=text, context=None))} {question.answer}."
        for document in documents
        for (_, asked), question in zip(_facts(document), document.questions, strict=True)
        for text in asked
    ]


def _facts(document: Document) -> list[tuple[list[str], list[str]]]:
    """De cada frase, sus redacciones (ella incluida) y las otras maneras de preguntarla."""
    lines = re.split(r"(?<=\.) ", document.text)
    return [
        _rewordings(line, question)
        for line, question in zip(lines, document.questions, strict=True)
    ]


def _rewordings(line: str, question: Question) -> tuple[list[str], list[str]]:
    for relation in world.load_templates(question.lang)["lectura"]:
        for asked in relation["preguntas"]:
            before, after = asked.split("{a}")
            pattern = re.escape(before) + "(?P<a>.+)" + re.escape(after)
            for text in (question.text, question.text.replace(" del ", " de el ", 1)):
                match = re.fullmatch(pattern, text, flags=re.IGNORECASE)
                if not match:
                    continue
                a, b = match["a"], question.answer
                said = [world.render(phrase, a=a, b=b) for phrase in relation["frases"]]
                if line in said:
                    others = [world.render(q, a=a) for q in relation["preguntas"]]
                    return said, [q for q in others if q != question.text]
    return [line], []  # tres frases son de otro molde: se quedan como están
