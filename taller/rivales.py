"""Lo que se puede hacer sin entrenar: los rivales del asistente de la lección 07.

Cada uno devuelve un contestador, como los de `course_lib.evaluation`; los de reglas dicen además si
una frase es para ellos o es charla.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from course_lib import evaluation, reading, world
from course_lib.encoding import original_prompt
from course_lib.evaluation import Answerer, conversation, is_right
from course_lib.tuning import split_countries
from course_lib.world import ATTRIBUTES, Question
from taller import reglas


def example_sets(seed: int, split: int, draws: int = 5) -> list[list[Question]]:
    """Varios juegos de ejemplos, de países de ajustar: dos preguntas encadenadas, una de sí o no y
    una que no se sabe, en un orden al azar."""
    tuned, _ = split_countries(split)
    rng, sets = random.Random(f"{seed} {split}"), []
    for draw in range(draws):
        some = [world.chain(tuned, 2, rng), world.chain(tuned, 2, rng)]
        attribute, truth = rng.choice(ATTRIBUTES), rng.random() < 0.5
        some.append(world.yes_no_question(rng.choice(tuned), attribute, truth, rng, 0, tuned))
        some.append(reading.unknown_questions(tuned, 4, seed + draw, reserved=False)[-1])
        sets.append(rng.sample(some, len(some)))
    return sets


def best_examples(
    make: Callable[..., Answerer], model, meter, tokenizer, seed: int, split: int
) -> Answerer:
    """El contestador de `make(modelo, tokenizador, ejemplos)` con los ejemplos que más aciertan.

    Se eligen entre cinco juegos, con preguntas sobre países de ajustar.

    Args:
        meter: el modelo con que se harán las preguntas del examen, el que cuenta lo que gasta.
    """
    (tuned, _), rng = split_countries(split), random.Random(split)
    asked = rng.sample(world.fact_questions(tuned), 15)
    asked += rng.sample(world.chain_questions(tuned, seed=1), 15)
    asked += rng.sample(world.yes_no_questions(tuned, 1), 15)
    asked += reading.unknown_questions(tuned, 15, 1, reserved=False)

    def hits(examples: Sequence[Question]) -> int:
        return sum(map(is_right, make(model, tokenizer, examples)(asked), asked))

    return make(meter, tokenizer, max(example_sets(seed, split), key=hits))


def in_form(model, tokenizer, examples: Sequence[Question] = (), history: bool = True) -> Answerer:
    """La forma de siempre; con historia, las preguntas de antes van delante, ya contestadas."""

    def prompt(q: Question) -> str:
        return world.question_prompt(q if history else replace(q, history=()), examples)

    return evaluation.ask_with(model, tokenizer, prompt)


def examples_in_chat(model, tokenizer, examples: Sequence[Question]) -> Answerer:
    """Preguntas ya contestadas, en el chat, delante de la que se hace: las dos últimas, que más no
    caben en el modelo."""
    before = [message for q in examples[-2:] for message in conversation(q)]
    return evaluation.ask_in_chat(
        model, tokenizer, lambda tokenizer, asked: original_prompt(tokenizer, before + asked)
    )


def search_the_facts(
    model, tokenizer, split: int, sheets: bool = False, examples: Sequence[Question] = ()
) -> Answerer:
    """BM25 en todos los hechos; si lo mejor que encuentra queda bajo el umbral, «No lo sé».

    El umbral se elige con países de ajustar: pierde el 2% de lo que sabe.

    Args:
        sheets: afinado: una ficha por país, el último turno pesa el doble en la consulta, y las
            preguntas de sí o no van sin contexto, que es como el modelo las aprendió. Si no, un
            hecho por ficha y la charla entera como consulta.
        examples: con fichas, delante va la primera encadenada de estas, resuelta con la suya, y la
            historia de la pregunta se queda.
    """
    from course_lib.retrieval import build_index

    def told(country: world.Country, attribute: str) -> str:
        template = world.wordings(attribute, "frases")[0]
        return world.render(template, pais=country.name, x=getattr(country, attribute))

    countries = world.load_countries()
    if sheets:
        texts = {c.name: " ".join(told(c, a) for a in ATTRIBUTES) for c in countries}
    else:
        texts = {f"{c.name}, {a}": told(c, a) for c in countries for a in ATTRIBUTES}
    index = build_index(texts)

    def best(q: Question):
        asked = [*(h.text for h in q.history), q.text, *[q.text] * sheets]
        return next(iter(index.search(" ".join(asked), 1)), None)

    tuned, _ = split_countries(split)
    known = world.fact_questions(tuned) + world.chain_questions(tuned)
    scores = sorted(hit.score if (hit := best(q)) else 0.0 for q in known)
    gate = scores[len(scores) // 50]
    solved = [replace(e, context=best(e).text) for e in examples if e.history and e.about][:1]
    directly = evaluation.ask_directly(model, tokenizer)
    if solved:
        directly = evaluation.ask_with(
            model, tokenizer, lambda q: world.question_prompt(q, solved if q.context else ())
        )

    def answer(questions: Sequence[Question]) -> list[str]:
        hits, asked = [best(q) for q in questions], []
        for q, hit in zip(questions, hits, strict=True):
            alone = sheets and re.match("¿(es|la|el) .* (es|la|el) ", q.text.lower())
            context, history = None if alone or not hit else hit.text, q.history if solved else ()
            asked.append(replace(q, context=context, history=history))
        return [
            said if hit and hit.score >= gate else "No lo sé."
            for said, hit in zip(directly(asked), hits, strict=True)
        ]

    return answer


def rewriting_rules(model, tokenizer) -> tuple[Answerer, Callable[[str], bool]]:
    """Reglas escritas a mano, con las redacciones del curso: entienden la pregunta, la reescriben
    entera y la hacen en la forma de siempre; de un país que no está en su lista, «No lo sé».

    Returns: el contestador y si una frase es para él o es charla.
    """
    known = {c.name.removeprefix("el "): c for c in world.load_countries()}
    facts = world.load_templates()["hechos"]
    whole, follow, move = [], [], []
    for attribute, said in facts.items():
        whole += [(attribute, _pattern(t)) for t in said["preguntas"] + said["si_no"]]
        follow += [(attribute, _pattern(t)) for t in said["seguir"]]
        move += said["cambio"]
    move = [_pattern(t) for t in sorted(move, key=len, reverse=True)]  # lo más concreto, antes
    form = evaluation.ask_directly(model, tokenizer)

    def subject(q: Question, last=(None, None)) -> tuple[str | None, str | None]:
        """El país y el atributo de los que se habla tras una pregunta."""
        for attribute, pattern in whole:
            if found := pattern.fullmatch(q.text):
                return found["pais"].removeprefix("el "), attribute
        for attribute, pattern in follow:
            if pattern.fullmatch(q.text):
                return last[0], attribute
        for pattern in move:
            if found := pattern.fullmatch(q.text):
                return found["pais"].removeprefix("el "), last[1]
        return last

    def rewrite(q: Question) -> Question | None:
        last = (None, None)
        for turn in (*q.history, q):
            last = subject(turn, last)
        name, attribute = last
        if name not in known:
            return None
        if any(pattern.fullmatch(q.text) for _, pattern in whole) or not attribute:
            return replace(q, history=())  # entera: tal cual, que así también vale el sí o no
        return world.fact_question(known[name], attribute)

    def handles(text: str) -> bool:
        patterns = [pattern for _, pattern in whole + follow] + move
        return any(pattern.fullmatch(text) for pattern in patterns)

    return rewritten(form, rewrite), handles


def _pattern(template: str) -> re.Pattern:
    """Una plantilla como expresión que reconoce lo que `world.render` hace de ella."""
    text = re.escape(world.render(template, pais="PAIS", x="VALOR")).replace("VALOR", ".+")
    # «de PAIS» puede haberse contraído: «del Reino Unido».
    text = text.replace(r"de\ PAIS", "de(?:l|\\ (?:el\\ )?)PAIS")
    return re.compile(text.replace("PAIS", r"\s*(?P<pais>\w.*)"), re.IGNORECASE)


# Con qué palabras se pregunta por cada atributo, mirando las redacciones con que se ajusta.
KEYWORDS = {
    "capital": "capital",
    "currency": "moneda|divisa|paga|dinero|billete|cobra",
    "language": "idioma|lengua|habla",
    "continent": "continente|parte del mundo|parte del planeta",
}


def keyword_rules(model, tokenizer) -> tuple[Answerer, Callable[[str], bool]]:
    """Reglas por palabras clave: el último país conocido que se nombró y el último atributo del que
    se habló, preguntados en la forma de siempre; si se nombra algo que no conoce, «No lo sé».

    Las escribió quien conoce las redacciones de ajustar, y no las del examen ajeno.

    Returns: el contestador y si una frase es para él o es charla.
    """
    known = {c.name.removeprefix("el "): c for c in world.load_countries()}
    country = re.compile("|".join(sorted(map(re.escape, known), key=len, reverse=True)))
    proper = re.compile(r"(?<=[^¿¡.?!\s]\s)[A-ZÁÉÍÓÚÑ]\w+")  # mayúscula que no abre la frase
    values = {a: {getattr(c, a) for c in known.values()} for a in ATTRIBUTES}
    directly = evaluation.ask_directly(model, tokenizer)

    def understand(q: Question) -> Question | None:
        name = attribute = None
        for turn in (*q.history, q):
            for kind, words in KEYWORDS.items():
                attribute = kind if re.search(words, turn.text, re.IGNORECASE) else attribute
            named = country.findall(turn.text)
            rest = country.sub("", turn.text)
            for value in sorted(values.get(attribute, ()), key=len, reverse=True):
                rest = rest.replace(value, "")
            name = named[-1] if named else None if proper.search(rest) else name
        if not name or not attribute:
            return None
        said = [v for v in values[attribute] if re.search(rf"\b{re.escape(v)}\b", q.text)]
        return plain_question(known[name], attribute, max(said, key=len, default=None))

    def handles(text: str) -> bool:
        words = "|".join(KEYWORDS.values())
        return bool(country.search(text) or re.search(words, text, re.IGNORECASE))

    return rewritten(directly, understand), handles


def careful_rules(model, tokenizer) -> tuple[Answerer, Callable[[str], bool]]:
    """Las reglas de `reglas`, que entienden la pregunta; se hace entera, en la forma de siempre.

    Returns: el contestador y si una frase es para él o es charla.
    """
    known = {c.name.removeprefix("el "): c for c in world.load_countries()}
    rows = [{"name": name} | {a: getattr(c, a) for a in ATTRIBUTES} for name, c in known.items()]

    def understand(q: Question) -> Question | None:
        found = reglas.understand([turn.text for turn in (*q.history, q)], rows)
        return plain_question(known[found[0]], *found[1:]) if found else None

    answer = rewritten(evaluation.ask_directly(model, tokenizer), understand)
    return answer, lambda text: reglas.is_question(text, rows)


def plain_question(country: world.Country, attribute: str, value: str | None) -> Question:
    """La pregunta en la redacción canónica; de sí o no, si se da un valor."""
    if value is None:
        return world.fact_question(country, attribute)
    asked = world.wordings(attribute, "si_no")[0]
    return Question("sí/no", world.render(asked, pais=country.name, x=value), "")


def rewritten(directly: Answerer, understand: Callable[[Question], Question | None]) -> Answerer:
    """Pregunta en la forma de siempre lo que `understand` entiende; si no es nada, «No lo sé»."""

    def answer(questions: Sequence[Question]) -> list[str]:
        asked = [understand(q) for q in questions]
        said = iter(directly([q for q in asked if q]))
        return [next(said) if q else "No lo sé." for q in asked]

    return answer
