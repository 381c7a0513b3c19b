"""El mundo cerrado: cada pregunta tiene la respuesta de la tabla, y solo esa."""

import csv
import itertools
import random
import re
import string
from collections import Counter

import pytest
from checks import each

from course_lib import data_path, reading, world
from course_lib.dialogues import normalize
from course_lib.world import ATTRIBUTES, NO, WORDS, YES

COUNTRIES = world.load_countries()
EXAMPLES = 2_000


def read_facts() -> dict[str, dict[str, str]]:
    """Lo que dice la tabla, leída aparte: código → atributo → valor dentro de una frase."""
    with data_path("mundo", "paises.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["code"]: {
                "name": row["country_es"],
                "capital": row["capital_es"],
                "currency": f"{row['currency_article_es']} {row['currency_es']}",
                "language": f"el {row['language_es']}",
                "continent": row["continent_es"],
                "also": {f"el {name}" for name in row["also_official_es"].split(";") if name},
            }
            for row in csv.DictReader(file)
        }


FACTS = read_facts()


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


# --- Hechos --------------------------------------------------------------------------------------


@each(
    ("template", "text"),
    [
        ("La capital de {a} es {b}.", "La capital del Reino Unido es Londres."),
        ("{b} es la capital de {a}.", "Londres es la capital del Reino Unido."),
        ("¿{a} es un país?", "¿El Reino Unido es un país?"),
        ("«{a}» no va a {a}.", "«El Reino Unido» no va al Reino Unido."),
    ],
)
def test_a_template_is_filled_contracted_and_capitalised(template, text):
    assert world.render(template, a="el Reino Unido", b="Londres") == text


def test_no_contraction_is_made_with_a_name_that_begins_with_a_capital():
    assert world.render("Voy a {a} y vengo de {a}.", a="El Salvador") == (
        "Voy a El Salvador y vengo de El Salvador."
    )


def test_every_fact_is_asked_once_and_answered_as_the_table_says():
    questions = world.fact_questions(COUNTRIES)
    assert len({q.text for q in questions}) == len(questions) == 4 * len(FACTS)
    for question, (attribute, facts) in zip(
        questions, itertools.product(ATTRIBUTES, FACTS.values()), strict=True
    ):
        assert question.answer == facts[attribute] and question.kind == attribute
        assert facts["name"].removeprefix("el ") in question.text


def test_a_half_said_fact_and_its_answer_make_a_sentence_of_pretraining():
    templates = world.load_templates()["hechos"]
    for question, country in zip(
        world.completion_questions(COUNTRIES, ["currency"]), COUNTRIES, strict=True
    ):
        whole = world.render(templates["currency"]["frases"][0], pais=country.name, x="@@")
        assert f"{question.text} {question.answer}." == whole.replace("@@", question.answer)


def test_countries_come_in_two_languages_and_no_other():
    peru = {c.code: c for c in world.load_countries("en")}["PE"]
    assert (peru.name, peru.capital, peru.continent) == ("Peru", "Lima", "America")
    with pytest.raises(ValueError, match="No hay países en el idioma «fr»: elige «es» o «en»"):
        world.load_countries("fr")


# --- Sí o no -------------------------------------------------------------------------------------


def truth_table(form: int) -> dict[str, bool | None]:
    """Cada pregunta posible y su verdad; `None` si el idioma es oficial sin ser el principal."""
    table = {}
    for attribute in ATTRIBUTES:
        template = world.load_templates()["hechos"][attribute]["si_no"][form]
        values = {facts[attribute] for facts in FACTS.values()}
        for facts, value in itertools.product(FACTS.values(), values):
            true = None if value in facts["also"] else value == facts[attribute]
            table[world.render(template, pais=facts["name"], x=value)] = true
    return table


@pytest.mark.parametrize("form", [0, 1])
def test_every_yes_no_question_has_the_answer_of_the_truth_table(form):
    table, rng = truth_table(form), random.Random(form)
    for country, attribute, truth in itertools.product(COUNTRIES, ATTRIBUTES, (True, False)):
        for _ in range(5):  # los idiomas cooficiales saldrían tarde o temprano
            question = world.yes_no_question(country, attribute, truth, rng, form)
            assert table[question.text] is (question.answer == YES) is truth


def test_yes_and_no_are_balanced_in_every_attribute_and_country():
    questions = iter(world.yes_no_questions(COUNTRIES, seed=3))
    for _ in ATTRIBUTES:
        for country in COUNTRIES:
            pair = [next(questions), next(questions)]
            assert Counter(q.answer for q in pair) == {YES: 1, NO: 1}
            assert all(country.name.removeprefix("el ") in q.text for q in pair)
    assert next(questions, None) is None


@each("attribute", ATTRIBUTES)
def test_the_value_asked_about_hardly_gives_the_answer_away(attribute):
    # Quien supiera de memoria, para cada valor, si se pregunta más veces en falso o en verdadero.
    table = truth_table(0)
    values = {facts[attribute] for facts in FACTS.values()}
    told = {
        world.render(
            world.load_templates()["hechos"][attribute]["si_no"][0], pais=c.name, x=value
        ): value
        for c in COUNTRIES
        for value in values
    }
    rng, seen = random.Random(0), Counter()
    for country, truth in itertools.product(COUNTRIES, (True, False) * 20):
        question = world.yes_no_question(country, attribute, truth, rng)
        seen[told[question.text], table[question.text]] += 1
    best = sum(max(seen[value, True], seen[value, False]) for value in values)
    assert best / sum(seen.values()) < 0.58


def test_a_false_question_takes_its_value_from_the_given_countries_alone():
    japan, peru = (c for c in COUNTRIES if c.name in ("Perú", "Japón"))
    for seed in range(20):
        asked = world.yes_no_question(
            peru, "capital", False, random.Random(seed), among=[peru, japan]
        )
        assert asked.text == "¿Es Tokio la capital de Perú?" and asked.answer == NO


# --- Encadenadas ---------------------------------------------------------------------------------


def understood(question, countries) -> list[tuple]:
    """Lo que se pregunta en cada turno de una charla, entendido por los turnos de antes."""
    facts, found, country, attribute = world.load_templates(question.lang)["hechos"], [], None, None
    for turn in (*question.history, question):
        for c, a in itertools.product(countries, ATTRIBUTES):
            if turn.text in [world.render(t, pais=c.name) for t in facts[a]["preguntas"]]:
                country, attribute = c, a
            elif turn.text in [world.render(t, pais=c.name) for t in facts[a]["cambio"]]:
                country = c
            elif turn.text in facts[a]["seguir"]:
                attribute = a
        found.append((country, attribute))
    return found


@each("language, turns", itertools.product(("es", "en"), (2, 4)))
def test_each_answer_of_a_chain_is_that_of_what_its_history_leads_to(language, turns):
    some = world.load_countries(language)[25:35]  # con el Reino Unido
    questions = world.chain_questions(some, turns)
    asked = [(c, a) for c in some for a in ATTRIBUTES]
    for question, (country, attribute) in zip(questions, asked, strict=True):
        meant = understood(question, some)
        assert meant[-1] == (country, attribute) and question.about == country.name
        said = [*question.history, question]
        assert [turn.answer for turn in said] == [getattr(c, a) for c, a in meant]
        assert len(said) == turns and not any(turn.history for turn in question.history)
        # Cada turno cambia de país o de atributo, y solo de uno.
        assert all((c == d) != (a == b) for (c, a), (d, b) in itertools.pairwise(meant))


def test_other_peoples_wordings_are_only_used_when_asked_for():
    some = world.load_countries()[:20]
    sources = ("hechos", "libres", "ajenas")

    def said(source: str, kind: str) -> set[str]:
        found = (world.wordings(a, kind, source) for a in ATTRIBUTES)
        return {t for some in found for t in some}

    for source in sources:
        for q in world.chain_questions(some, 3, source=source):
            forms = {world.render(t, pais=q.about) for t in said(source, "cambio")}
            assert q.text in forms | said(source, "seguir")
    kinds = ("preguntas", "seguir", "cambio", "si_no")
    theirs, *ours = (
        {normalize(t) for kind in kinds for t in said(source, kind)} for source in reversed(sources)
    )
    assert not theirs & set.union(*ours)  # con ninguna de examinar se ajusta, sea de lo que sea
    assert world.wordings("capital", "seguir", "ajenas", "en") == world.wordings(
        "capital", "seguir", "hechos", "en"
    )


@each("language", ["es", "en"])
def test_of_an_invented_country_nothing_is_known_and_only_given_ones_are_named(language):
    some = world.load_countries(language)[:8]
    real = {c.name for c in some}
    asked = {r: reading.unknown_questions(some, 400, reserved=r) for r in (True, False)}
    for questions in asked.values():
        assert {(q.kind, q.answer) for q in questions} == {("no lo sé", WORDS[language].unknown)}
        assert [len(q.history) for q in questions[:4]] == [0, 0, 1, 1]
        for q in questions:
            assert q.about not in real and q.about in " ".join(t.text for t in (*q.history, q))
            assert all(t.about in real | {q.about} for t in q.history)
    names = [{q.about for q in questions} for questions in asked.values()]
    assert not names[0] & names[1] and len(names[0]) > 390


# --- Lectura -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["es", "en"])
def readings(request):
    rng = random.Random(11)
    return [
        reading.reading_example(rng, 1 + i % 5, i % 2 == 0, request.param) for i in range(EXAMPLES)
    ]


def test_there_is_one_question_per_sentence_and_its_answer_is_in_the_context(readings):
    for i, (context, questions) in enumerate(readings):
        assert len(questions) == 1 + i % 5
        for question in questions:
            # Solo cambia la mayúscula cuando la respuesta abre la frase.
            assert question.answer.lower() in context.lower()
            assert question.context == context
            assert not re.search(r"[{}]|\b(de|a) el\b|  ", f"{context} {question.text}")


def test_no_context_answers_the_same_question_in_two_ways(readings):
    # Dos redacciones de una misma relación son la misma pregunta.
    language = readings[0][1][0].lang
    patterns = {
        re.compile(re.escape(world.render(wording, a="@@")).replace("@@", "(.+)"), re.IGNORECASE): i
        for i, relation in enumerate(world.load_templates(language)["lectura"])
        for wording in relation["preguntas"]
    }
    for context, questions in readings:
        asked = [
            (relation, match[1].lower())
            for question in questions
            for pattern, relation in patterns.items()
            if (match := pattern.fullmatch(question.text.replace(" del ", " de el ")))
            or (match := pattern.fullmatch(question.text))
        ]
        assert len(asked) >= len(questions), questions
        assert len({q.text for q in questions}) == len(questions), context
        assert len(set(asked)) == len(asked), context


def test_names_of_the_exams_never_appear_in_the_text_of_pretraining():
    exam = reading.reading_questions(1_000, seed=0)
    made = itertools.islice(reading.pretraining_documents("prueba"), 6_000)
    templates = data_path("mundo", "plantillas.toml").read_text(encoding="utf-8")
    ordinary = words(templates) | words(str(FACTS)) | {"del", "al"} | set(string.digits)
    invented = {w for q in exam for w in words(q.context) - ordinary if not w.isdigit()}
    read = {w for text in made for w in words(text) - ordinary if not w.isdigit()}
    assert len(invented) > 1_000 and len(read) > 4_000  # si no, no se probaría nada
    assert not invented & read


# --- Texto ---------------------------------------------------------------------------------------


def test_a_prompt_puts_the_examples_first_and_the_context_just_before_its_question():
    solved = world.Question("capital", "¿A?", "a")
    asked = world.Question("lectura", "¿B?", "b", "Contexto de B.")
    assert world.question_prompt(asked, [solved]) == (
        "Pregunta: ¿A?\nRespuesta: a.\nContexto: Contexto de B.\nPregunta: ¿B?\nRespuesta:"
    )
    after = world.Question("encadenada", "¿C?", "c", history=(solved,))
    assert world.question_prompt(after, [after]) == (
        "Pregunta: ¿A?\nRespuesta: a.\nPregunta: ¿C?\nRespuesta: c.\n"
        "Pregunta: ¿A?\nRespuesta: a.\nPregunta: ¿C?\nRespuesta:"
    )


def test_the_same_seed_gives_the_same_text_and_another_gives_another():
    def some(seed):
        return list(itertools.islice(reading.pretraining_documents(seed), 50))

    assert some("a") == some("a") != some("b")


def test_the_text_of_pretraining_has_all_its_parts_and_no_chat_marker():
    made = list(itertools.islice(reading.pretraining_documents(1), EXAMPLES))
    share = Counter(
        "lee"
        if text.startswith("Contexto:")
        else "sí o no"
        if re.search(r"Respuesta: (sí|no)\.", text)
        else "pregunta"
        if text.startswith("Pregunta:")
        else "frase"
        for text in made
    )
    assert set(share) == {"lee", "sí o no", "pregunta", "frase"}
    assert min(share.values()) > 0.08 * EXAMPLES
    assert not [text for text in made if re.search(r"<\||\|>", text)]


def test_the_text_to_repeat_names_the_given_countries_and_no_other():
    made = list(itertools.islice(reading.pretraining_documents(2, "es", COUNTRIES[:9]), EXAMPLES))
    named = {c.name for c in COUNTRIES if re.search(rf"\b{c.name}\b", "\n".join(made))}
    assert named == {c.name for c in COUNTRIES[:9]}
