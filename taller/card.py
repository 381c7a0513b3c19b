"""La ficha del minimodelo: qué sabe hacer, medido con los archivos publicados."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from course_lib import data_path, replace_file, world
from course_lib.chat import first_turn, generate
from course_lib.dialogues import Pair
from course_lib.encoding import original_prompt, pair_messages
from course_lib.evaluation import (
    accuracy,
    ask_directly,
    ask_in_chat,
    known_words,
    normalize,
    speaks,
)
from course_lib.hub import sha256
from course_lib.reading import reading_questions
from course_lib.tables import Measure, proportion
from course_lib.tracks import get_track
from taller import factores
from taller.asistente import talk_pairs

START, STOP = "<!-- medidas: inicio -->", "<!-- medidas: fin -->"


def write_model_card(path: Path | None = None) -> Path:
    """Mide el minimodelo y renueva las medidas de su ficha, sin tocar el resto del texto.

    Args:
        path: la ficha; por omisión, `data/mini/README.md`.

    Returns:
        La ruta de la ficha.
    """
    path = path or data_path("mini", "README.md")
    text = path.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, stop, after = rest.partition(STOP)
    if not (start and stop):
        raise ValueError(f"A {path} le falta «{START}» o «{STOP}»: restáuralo con git.")
    replace_file(path, f"{before}{START}\n\n{measure_model()}\n{STOP}{after}")
    return path


def measure_model() -> str:
    """Las medidas del minimodelo, en Markdown: una tabla y lo que dice a través del chat."""
    track = get_track("mini")
    model, tokenizer = track.load_model(), track.load_tokenizer()
    directly = ask_directly(model, tokenizer)
    in_chat = ask_in_chat(model, tokenizer, original_prompt)
    countries = world.load_countries()

    facts = world.fact_questions(countries)
    yes_no = world.yes_no_questions(countries)
    reading = reading_questions(900)
    on_documents = [q for document in world.load_documents() for q in document.questions]
    blind = [replace(q, context=None) for q in on_documents]
    said, talk, words = in_chat(facts), talk_pairs(track), known_words(track)

    rows = {
        "hechos, en forma de pregunta y respuesta": accuracy(directly(facts), facts),
        "hechos, completando la frase": completion(model, tokenizer, countries),
        "hechos, tras tres ejemplos (*few-shot*)": few_shot(model, tokenizer, facts),
        "sí o no, mitad verdaderas": accuracy(directly(yes_no), yes_no),
        "lectura de un contexto nunca visto": accuracy(directly(reading), reading),
    }
    for sentences in (1, 2, 3):
        some = [q for q in reading if q.context.count(". ") == sentences - 1]
        rows[f"— con {sentences} frase{'s' * (sentences > 1)}"] = accuracy(directly(some), some)
    rows |= {
        "lectura de los documentos nuevos": accuracy(directly(on_documents), on_documents),
        "los documentos nuevos, sin darlos": accuracy(directly(blind), blind),
        "hechos, a través de los marcadores de chat": accuracy(said, facts),
        "habla, en prosa, a charlas no vistas": speaks(in_prose(model, tokenizer, talk), words),
        "habla, en el chat, tras la receta original": speaks(after_the_original(talk), words),
    }
    training = json.loads(data_path("mini", "entrenamiento.json").read_text(encoding="utf-8"))
    millions = training["steps"] * training["rows"] * training["context"] / 1e6
    lines = [
        f"{_thousands(model.num_parameters())} pesos. Entrenado con "
        f"{_thousands(training['steps'])} pasos, {_decimal(millions)} millones de tokens, "
        f"en {training['seconds'] / 60:.0f} minutos.",
        f"SHA-256 de `model.safetensors`: `{sha256(data_path('mini', 'model.safetensors'))}`.",
        "",
        "| Qué se le pide | Aciertos | Intervalo del 95% | n |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {_row(measure)} |" for name, measure in rows.items()),
        "",
        "Lo que contesta cuando se le pregunta a través de los marcadores de chat, que nunca vio "
        "(las respuestas más repetidas de las "
        f"{len(said)}, hasta el primer cambio de línea):",
        "",
        *(
            f"- {times} {'vez' if times == 1 else 'veces'}: «{text}»"
            for text, times in Counter(_short(s) for s in said).most_common(5)
        ),
    ]
    return "\n".join(lines) + "\n"


def in_prose(model, tokenizer, talk: Sequence[Pair]) -> list[str]:
    """Lo que sigue a la raya con que contestaría el otro, como en los libros que leyó."""
    prompts = [tokenizer.encode(f"—{pair.user}\n—") for pair in talk]
    return generate(model, tokenizer, prompts, 40, stop="\n")


def after_the_original(talk: Sequence[Pair]) -> list[str]:
    """Lo que contesta en el chat, ajustado con la receta de la lección 04."""
    run, tokenizer, _ = factores.train(get_track("mini"), factores.Condition("original"), seed=0)
    prompts = [original_prompt(tokenizer, pair_messages(p.user, "")[:1]) for p in talk]
    return [first_turn(text) for text in generate(run.model.eval(), tokenizer, prompts, 40)]


def completion(model, tokenizer, countries: Sequence[world.Country]) -> Measure:
    """Los hechos de esos países, completando la frase canónica: debe empezar por lo esperado."""
    questions = world.completion_questions(countries)
    texts = generate(model, tokenizer, [tokenizer.encode(q.text) for q in questions], 16)
    return proportion(
        [
            f"{normalize(text)} ".startswith(f"{normalize(q.answer)} ")
            for text, q in zip(texts, questions, strict=True)
        ]
    )


def few_shot(model, tokenizer, facts: Sequence[world.Question]) -> Measure:
    """Cada hecho, tras otros tres de su mismo atributo ya contestados."""
    rng = random.Random(0)
    prompts = []
    for question in facts:
        same = [q for q in facts if q.kind == question.kind and q != question]
        prompts.append(tokenizer.encode(world.question_prompt(question, rng.sample(same, 3))))
    texts = generate(model, tokenizer, prompts, stop="\n")
    return accuracy(texts, facts)


def _row(measure: Measure) -> str:
    value, low, high = (_decimal(100 * x) for x in (measure.value, measure.low, measure.high))
    return f"{value}% | {low}–{high} | {measure.n}"


def _decimal(number: float) -> str:
    return f"{number:.1f}".replace(".", ",")


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", ".")


def _short(text: str) -> str:
    line = text.split("\n")[0]
    return line if len(line) <= 60 else line[:60] + "…"
