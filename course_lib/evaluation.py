"""Examinar: las mismas preguntas en todas las lecciones, cómo se hacen y cómo se corrigen."""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from course_lib import world
from course_lib.chat import first_turn, generate
from course_lib.dialogues import normalize, shipped_dialogues
from course_lib.encoding import Encoded, Kind, collate, pair_messages
from course_lib.reading import reading_questions, unknown_questions
from course_lib.tables import Measure, Tally, contrast, mean, proportion
from course_lib.world import Country, Question

Answerer = Callable[[Sequence[Question]], list[str]]


def leaks(exam: Sequence[Question | str], texts: Sequence[str]) -> list[tuple]:
    """Lo del examen que asoma en unos textos de entrenar, en cualquier redacción; vacía si nada.

    Un texto delata una pregunta sobre un país con solo nombrarlo: así no hay redacción que se
    escape. Las demás preguntas, si trae a la vez sus nombres propios y la respuesta; un turno de
    una charla (`str`), si uno de los suyos dice lo mismo.

    Args:
        texts: lo que ve el modelo al ajustarse; de un `Encoded`, `tokenizer.decode(ids)`.

    Returns:
        Parejas (lo del examen, el texto que lo delata), una por cosa delatada.

    >>> peru = world.Question("capital", "¿Cuál es su capital?", "Lima", about="Perú")
    >>> len(leaks([peru], ["En Chile se habla español.", "Lima, en Perú, es grande."]))
    1
    """
    countries = [c for language in world.WORDS for c in world.load_countries(language)]
    names = sorted({_proper(c.name) for c in countries}, key=len, reverse=True)
    country = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    seen: dict[str, list[str]] = {}  # de cada país, palabra o turno, los textos que lo traen
    for text in texts:
        said = re.split(r"<\|\w+\|>|\n|—", text)  # turno a turno
        marks = {*country.findall(text), *map(normalize, said), *normalize(text).split()}
        # Con sus mayúsculas, los demás nombres propios: los de países inventados.
        marks |= {*re.findall(r"\w+", country.sub(" ", text))}
        for mark in marks:
            seen.setdefault(mark, []).append(text)

    def told(item: Question | str) -> str | None:
        if isinstance(item, str) or item.about:
            mark = normalize(item) if isinstance(item, str) else _proper(item.about)
            return seen.get(mark, [None])[0]
        # Los nombres propios (las mayúsculas que no abren la frase) o, si no hay, lo más largo.
        proper = normalize(" ".join(re.findall(r"(?<=[^¿¡\s]\s)[^\W\d_a-z]\w*", item.text)))
        words = (proper or max(normalize(item.text).split(), key=len)).split()
        answer = f" {normalize(item.answer)} "
        for text in seen.get(words[-1], []):
            if all(text in seen.get(w, []) for w in words) and answer in f" {normalize(text)} ":
                return text
        return None

    return [(item, text) for item in exam if (text := told(item))]


def _proper(name: str) -> str:
    """Un nombre sin el artículo con que va en las frases: «los Países Bajos», «the Gambia»."""
    return re.sub(r"^\w+ (?=[A-Z])", "", name) if name[0].islower() else name


def known_words(track) -> set[str]:
    """Las palabras que existen para el curso: las de las charlas de la ruta y las del mundo; en
    español, también las de todo CharlaDiaria."""
    parts = ("train", "validation", "test")
    dialogues = [d for part in parts for d in track.load_dialogues(part)]
    if track.language == "es":
        dialogues += [d for part in ("pretrain", *parts) for d in shipped_dialogues(part)]
    told = (world.load_templates, world.load_countries, world.load_documents)
    texts = [str(load(track.language)) for load in told]
    return set(_words(" ".join(texts + [turn for d in dialogues for turn in d.turns])))


def speaks(replies: Sequence[str], words: set[str]) -> Measure:
    """Proporción de respuestas que dicen algo y lo dicen solo con palabras que existen."""
    return proportion([speaks_well(reply, words) for reply in replies])


def speaks_well(reply: str, words: set[str]) -> bool:
    """Si una respuesta dice algo, y solo con palabras de `words`, que son las de `known_words`.

    >>> speaks_well("Sí, por favor.", {"sí", "por", "favor"}), speaks_well("Sí, favín.", {"sí"})
    (True, False)
    """
    said = _words(reply)
    return bool(said) and words.issuperset(said)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


@dataclass(frozen=True)
class Exam:
    """Las preguntas: siempre las mismas, para que las filas de la tabla se puedan comparar."""

    facts: list[Question]
    yes_no: list[Question]
    reading: list[Question]
    chained: list[Question] = field(default_factory=list)
    unknown: list[Question] = field(default_factory=list)


def build_exam(
    n: int = 200, seed: int = 0, language: str = "es", countries: Sequence[Country] = ()
) -> Exam:
    """Sortea un examen de `n` preguntas por materia (`n` es par: de sí o no, la mitad, ciertas).

    Args:
        countries: los únicos de los que trata; si no se dan, todos los de ese idioma.
    """
    countries = countries or world.load_countries(language)
    most = len(countries) * len(world.ATTRIBUTES)
    if n % 2 or not 2 <= n <= most:
        raise ValueError(f"n={n} debe ser par y estar entre 2 y {most}.")
    rng, words = random.Random(seed), world.WORDS[countries[0].lang]
    facts = rng.sample(world.fact_questions(countries), n)
    asked = world.yes_no_questions(countries, seed)
    sides = [[q for q in asked if q.answer == side] for side in (words.yes, words.no)]
    return Exam(
        facts=facts,
        yes_no=[q for side in sides for q in rng.sample(side, n // 2)],
        reading=reading_questions(n, seed, countries[0].lang),
        chained=world.chain_questions(countries, seed=seed)[:n],
        unknown=unknown_questions(countries, n, seed),
    )


def mentions_unknown(answer: str, language: str = "es") -> bool:
    """Si una respuesta dice que no lo sabe."""
    return normalize(world.WORDS[language].unknown) in normalize(answer)


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

    Si la pregunta lleva historia, va delante, en otros turnos; si lleva contexto, en su mensaje.
    """

    def encode(tokenizer, q: Question) -> list[int]:
        return prompt(tokenizer, conversation(q)[:-1])

    return ask(model, tokenizer, encode)


def conversation(question: Question) -> list[dict[str, str]]:
    """Una pregunta y su historia como mensajes, con el contexto delante si lo llevan; cada
    respuesta, en una frase.

    >>> conversation(Question("capital", "¿Cuál es la capital de Perú?", "Lima"))[1]
    {'role': 'assistant', 'content': 'Lima.'}
    """
    messages = []
    for q in (*question.history, question):
        text = f"{q.context} {q.text}" if q.context else q.text
        messages += pair_messages(text, f"{q.answer[:1].upper()}{q.answer[1:]}.")
    return messages


def always_yes(questions: Sequence[Question]) -> list[str]:
    """El contestador tonto con el que todo modelo se compara: a todo dice «Sí.» (o «Yes.»)."""
    return [f"{world.WORDS[question.lang].yes.capitalize()}." for question in questions]


def is_right(answer: str, question: Question) -> bool:
    """Si la respuesta dice lo esperado, con esas palabras, en cualquier lugar de su primera línea.

    Es generoso a propósito: «Es París, creo.» vale. En las de sí o no solo cuenta la primera
    palabra, porque «sí» y «no» caben en cualquier frase, y con su tilde: «si» es otra palabra; y
    «No lo sé» no es un no. En inglés el artículo del principio no se exige: `Lamp.` vale por
    `a lamp`.

    >>> is_right("Es París, creo.", Question("capital", "¿Cuál es la capital de Francia?", "París"))
    True
    """
    if question.kind == "sí/no":
        said = first_word(answer) == question.answer
        return said and not mentions_unknown(answer, question.lang)
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
    return proportion([says_yes(answer) for answer in answers])


def says_yes(answer: str) -> bool:
    """Si una respuesta empieza por «sí», en cualquiera de los idiomas del curso."""
    return first_word(answer) in {words.yes for words in world.WORDS.values()}


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

    Ni los marcadores ni el relleno entran; `n` cuenta los tokens. Las parejas de un mismo diálogo
    comparten turnos, así que en el intervalo, el de `contrast`, cuentan como una sola observación.
    Los argumentos, los de `talk_sums`.
    """
    sums, counts = talk_sums(model, encoded, groups, pad_token_id, batch_size, kinds)
    spoken = Tally([*map(str, counts)], [sums[g] for g in counts], [*counts.values()])
    return replace(contrast({"": [spoken]}, {"": 1}), seeds=())


def talk_sums(
    model,
    encoded: Sequence[Encoded],
    groups: Sequence[int],
    pad_token_id: int,
    batch_size: int = 64,
    kinds: Sequence[Kind] = (Kind.USER, Kind.REPLY),
) -> tuple[Counter, Counter]:
    """De cada diálogo, la suma de las pérdidas de sus tokens y cuántos son.

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
    return sums, counts


def tokens_per_answer(tokenizer, questions: Sequence[Question], answers, prompt) -> float:
    """Los tokens que cuesta, de media, contestar en el chat: los de la petición y la respuesta."""
    asked = [prompt(tokenizer, [{"role": "user", "content": q.text}]) for q in questions]
    return mean(len(i) + len(tokenizer.encode(a)) for i, a in zip(asked, answers, strict=True))


def score_row(
    name: str,
    directly: Answerer,
    in_chat: Answerer,
    exam: Exam,
    talk: Measure | float | None = None,
    spoken: Measure | None = None,
    seconds: float | None = None,
    tokens: float | None = None,
) -> dict:
    """Una fila de la tabla de resultados: quién y cada medida, o `None` si no procede.

    Args:
        directly, in_chat: cómo contesta en la forma «Pregunta: … Respuesta:» y en el chat.
        talk: su pérdida conversando, de `talk_loss`.
        spoken: qué parte de sus respuestas a charlas habla bien, de `speaks`.
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
        "habla": spoken,
        "conversa": talk,
    }
    return {"quien": name, "segundos": seconds, "tokens": tokens} | measures
