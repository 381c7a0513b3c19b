"""Examinar: las mismas preguntas en todas las lecciones, cómo se hacen y cómo se corrigen."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from course_lib import world
from course_lib.chat import first_turn, generate
from course_lib.dialogues import normalize
from course_lib.encoding import Encoded, Kind, collate
from course_lib.reading import reading_questions
from course_lib.tables import Measure, mean, proportion
from course_lib.world import Question

Answerer = Callable[[Sequence[Question]], list[str]]


@dataclass(frozen=True)
class Exam:
    """Las preguntas: siempre las mismas, para que las filas de la tabla se puedan comparar."""

    facts: list[Question]
    yes_no: list[Question]
    reading: list[Question]


def build_exam(n: int = 200, seed: int = 0, language: str = "es") -> Exam:
    """Sortea un examen de `n` preguntas por materia (`n` es par: de sí o no, la mitad, ciertas)."""
    countries = world.load_countries(language)
    most = len(countries) * len(world.ATTRIBUTES)
    if n % 2 or not 2 <= n <= most:
        raise ValueError(f"n={n} debe ser par y estar entre 2 y {most}.")
    facts, yes_no = sample_questions(countries, n, seed)
    return Exam(facts, yes_no, reading_questions(n, seed, language))


def sample_questions(
    countries: Sequence[world.Country], n: int, seed: int = 0
) -> tuple[list[Question], list[Question]]:
    """`n` preguntas sobre hechos de esos países y `n` de sí o no, la mitad de cada respuesta."""
    rng, words = random.Random(seed), world.WORDS[countries[0].lang]
    facts = rng.sample(world.fact_questions(countries), n)
    asked = world.yes_no_questions(countries, seed)
    sides = [[q for q in asked if q.answer == side] for side in (words.yes, words.no)]
    return facts, [q for side in sides for q in rng.sample(side, n // 2)]


def ask(
    model,
    tokenizer,
    encode: Callable[..., list[int]],
    stop: str | None = None,
    read: Callable[[str], str] = first_turn,
) -> Answerer:
    """Contestador que pregunta a un modelo: las demás maneras de preguntarle salen de esta.

    Args:
        encode: `(tokenizador, pregunta)` → los ids de la petición.
        stop: dónde acaba la respuesta, como en `generate`.
        read: saca la respuesta de lo que el modelo escribe.
    """

    def answer(questions: Sequence[Question]) -> list[str]:
        prompts = [encode(tokenizer, question) for question in questions]
        return [read(text) for text in generate(model, tokenizer, prompts, stop=stop)]

    return answer


def ask_with(
    model, tokenizer, prompt: Callable[[Question], str], stop: str | None = "\n"
) -> Answerer:
    """Contestador que da a continuar al modelo el texto que `prompt` hace de cada pregunta."""
    return ask(model, tokenizer, lambda tokenizer, q: tokenizer.encode(prompt(q)), stop, str.strip)


def ask_directly(model, tokenizer) -> Answerer:
    """Contestador que pregunta en la forma en que el modelo aprendió: «Pregunta: … Respuesta:»."""
    return ask_with(model, tokenizer, world.question_prompt)


def ask_in_chat(model, tokenizer, prompt) -> Answerer:
    """Contestador que pregunta como un usuario en el chat, con la plantilla `prompt`.

    Si la pregunta lleva contexto, va en el mismo mensaje, delante.
    """

    def encode(tokenizer, q: Question) -> list[int]:
        text = f"{q.context} {q.text}" if q.context else q.text
        return prompt(tokenizer, [{"role": "user", "content": text}])

    return ask(model, tokenizer, encode)


def always_yes(questions: Sequence[Question]) -> list[str]:
    """El contestador tonto con el que todo modelo se compara: a todo dice «Sí.» (o «Yes.»)."""
    return [f"{world.WORDS[question.lang].yes.capitalize()}." for question in questions]


def is_right(answer: str, question: Question) -> bool:
    """Si la respuesta dice lo esperado, con esas palabras, en cualquier lugar de su primera línea.

    Es generoso a propósito: «Es París, creo.» vale. En las de sí o no solo cuenta la primera
    palabra, porque «sí» y «no» caben en cualquier frase, y con su tilde: «si» es otra palabra. En
    inglés el artículo del principio no se exige: `Lamp.` vale por `a lamp`.

    >>> is_right("Es París, creo.", Question("capital", "¿Cuál es la capital de Francia?", "París"))
    True
    """
    if question.kind == "sí/no":
        return first_word(answer) == question.answer
    line = normalize(answer.strip().split("\n")[0]).split()
    expected = normalize(question.answer).split()
    if question.lang == "en" and expected[:1] in (["a"], ["an"], ["the"]):
        expected = expected[1:]
    return any(line[i : i + len(expected)] == expected for i in range(len(line)))


def accuracy(answers: Sequence[str], questions: Sequence[Question]) -> Measure:
    """Proporción de respuestas buenas."""
    return proportion([is_right(a, q) for a, q in zip(answers, questions, strict=True)])


def yes_share(answers: Sequence[str]) -> Measure:
    """Proporción de respuestas que empiezan por «sí», en cualquiera de los idiomas del curso."""
    yes = {words.yes for words in world.WORDS.values()}
    return proportion([first_word(answer) in yes for answer in answers])


def first_word(text: str) -> str:
    """La primera palabra, en minúsculas y con sus tildes; la cadena vacía si no hay ninguna."""
    words = re.findall(r"\w+", text.lower())
    return words[0] if words else ""


def talk_loss(
    model,
    encoded: Sequence[Encoded],
    groups: Sequence[int],
    pad_token_id: int,
    batch_size: int = 64,
    kinds: Sequence[Kind] = (Kind.USER, Kind.REPLY),
) -> Measure:
    """Pérdida por token real (texto del usuario y respuesta) de diálogos apartados, en nats.

    Ni los marcadores ni el relleno entran; `n` cuenta los tokens. El intervalo es el de una razón
    de sumas por conglomerados (Cochran, 1977, cap. 6): las parejas de un mismo diálogo comparten
    turnos, así que cuentan como una sola observación.

    Args:
        encoded: las parejas codificadas; ninguna más larga que lo que admite el modelo.
        groups: el diálogo del que sale cada una.
        kinds: qué clases de token cuentan; si al ajustar solo cuentan las respuestas, compara con
            `(Kind.REPLY,)`.
    """
    import torch

    if not encoded:
        raise ValueError("No hay parejas con las que medir: pasa al menos una.")
    sums, counts = Counter(), Counter()  # de cada diálogo
    model.eval()
    for start in range(0, len(encoded), batch_size):
        batch = collate(encoded[start : start + batch_size], pad_token_id)
        batch = {name: values.to(model.device) for name, values in batch.items()}
        with torch.inference_mode():
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2).float(), batch["input_ids"][:, 1:], reduction="none"
        )
        real = torch.isin(batch["kinds"][:, 1:], torch.tensor(kinds, device=losses.device))
        totals = (losses * real).sum(1).tolist(), real.sum(1).tolist()
        for group, loss, count in zip(groups[start:], *totals):
            sums[group] += loss
            counts[group] += count
    tokens = counts.total()
    loss = sums.total() / tokens
    spread = sum((sums[g] - loss * counts[g]) ** 2 for g in sums)
    half = 1.96 * math.sqrt(spread) / tokens
    return Measure(loss, tokens, loss - half, loss + half)


def tokens_per_answer(tokenizer, questions: Sequence[Question], answers, prompt) -> float:
    """Los tokens que cuesta, de media, contestar en el chat: los de la petición y la respuesta."""
    asked = [prompt(tokenizer, [{"role": "user", "content": q.text}]) for q in questions]
    return mean(len(i) + len(tokenizer.encode(a)) for i, a in zip(asked, answers, strict=True))


def score_row(
    name: str,
    directly: Answerer,
    in_chat: Answerer,
    exam: Exam,
    talk: Measure | None = None,
    seconds: float | None = None,
    tokens: float | None = None,
) -> dict:
    """Una fila de la tabla de resultados: quién y cada medida, o `None` si no procede.

    Args:
        directly, in_chat: cómo contesta en la forma «Pregunta: … Respuesta:» y en el chat.
        talk: su pérdida conversando, de `talk_loss`.
        seconds: lo que costó ajustarlo.
        tokens: lo que cuesta cada respuesta, de `tokens_per_answer`.
    """
    chat_yes_no = in_chat(exam.yes_no)
    measures = {
        "sabe": accuracy(directly(exam.facts), exam.facts),
        "chat": accuracy(in_chat(exam.facts), exam.facts),
        "si_no": accuracy(directly(exam.yes_no), exam.yes_no),
        "si_no_chat": accuracy(chat_yes_no, exam.yes_no),
        "dice_si": yes_share(chat_yes_no),
        "lee": accuracy(directly(exam.reading), exam.reading),
        "conversa": talk,
    }
    return {"quien": name, "segundos": seconds, "tokens": tokens} | measures
