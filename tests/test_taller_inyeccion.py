"""Meter hechos: lo que se mete es lo que se pregunta, y el azar y el recuerdo se cuentan bien."""

import itertools
import random
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from checks import each, graded_again, stored_runs

from course_lib import evaluation, tables, world
from course_lib.retrieval import build_index
from course_lib.tuning import replay_texts
from course_lib.world import Question
from taller import inyeccion
from taller.inyeccion import dummies, facts_to_inject, recall, texts_to_inject

MATERIALS = ("documentos", "países inventados")


# --- El material ---------------------------------------------------------------------------------


def test_a_document_is_split_in_its_sentences_with_what_each_one_answers():
    for document, facts in zip(
        world.load_documents(), facts_to_inject("documentos", 0), strict=True
    ):
        assert " ".join(said[0] for said, _, _ in facts) == document.text
        assert [(q.text, q.answer, q.context) for _, _, q in facts] == [
            (q.text, q.answer, None) for q in document.questions
        ]


def test_an_invented_country_is_none_of_the_world_and_another_in_each_seed():
    first, second = (facts_to_inject("países inventados", seed) for seed in (0, 1))
    names = [{facts[0][2].about for facts in some} for some in (first, second)]
    assert [*map(len, names)] == [inyeccion.INVENTED] * 2 and not names[0] & names[1]
    assert not names[0] & {c.name for c in world.load_countries()}
    said, asked, question = first[0][1]
    name, money = question.about, question.answer
    assert said == [
        f"La moneda de {name} es {money}.", f"{money.capitalize()} es la moneda de {name}.",
        f"En {name} se paga con {money}.",
    ]  # fmt: skip
    assert question.text == f"¿Cuál es la moneda de {name}?"
    assert asked == []  # solo de la capital hay otras preguntas, como de la mitad de los documentos
    _, asked, _ = first[0][0]
    assert asked == [
        f"¿Qué ciudad es la capital de {name}?",
        f"¿Cómo se llama la capital de {name}?",
    ]
    read = " ".join(q.context for q in evaluation.build_exam().reading)
    assert not any(name in read for some in names for name in some)


@each("material", MATERIALS)
def test_every_wording_says_the_fact_and_none_asks_it_as_the_exam(material):
    facts = facts_to_inject(material, 1)
    exam = {q.text for document in facts for _, _, q in document}
    for said, asked, q in itertools.chain.from_iterable(facts):
        assert all(q.answer.lower() in sentence.lower() for sentence in said)
        assert len({*said}) == len(said) and not exam & {*asked}
    texts = {w: texts_to_inject(facts, w, random.Random(0)) for w in inyeccion.WORDINGS}
    assert set(texts["una"]) == {" ".join(said[0] for said, _, _ in doc) for doc in facts}
    assert len(texts["una"]) == len(texts["varias"]) == len(facts)
    assert not {*texts["una"]} >= {*texts["varias"]}
    with_questions = sum(bool(asked) for document in facts for _, asked, _ in document)
    assert len(texts["varias y preguntas"]) == len(facts) + with_questions >= 2 * len(facts)
    read = "\n".join(itertools.chain(*texts.values()))
    assert not any(question in read for question in exam)


@each("language, share", [("es", 0.4), ("en", 0.9)])
def test_every_sentence_of_a_document_and_many_questions_have_other_words(language, share):
    documents = world.load_documents(language)
    wordings = [both for document in documents for both in inyeccion.wordings_of(document)]
    assert all(len(said) > 1 for said, _ in wordings)
    assert sum(bool(asked) for _, asked in wordings) > share * len(wordings)


@pytest.fixture
def without_tuning(monkeypatch):
    """`inject` no ajusta ni mide: solo mira lo que iba a leer el modelo."""

    def seen(model, args, rows, collate, callbacks):
        trainer = SimpleNamespace(train_dataset=[vars(row) for row in rows], eval_dataset=None)
        for step in inyeccion.STEPS:
            state = SimpleNamespace(global_step=step)
            callbacks[0].on_step_end(args, state, None, model=model)
        return SimpleNamespace(model=model, trainer=trainer, seconds=0)

    monkeypatch.setattr(inyeccion, "fine_tune", seen)
    monkeypatch.setattr(inyeccion, "measure", lambda *args: {})


@each("material, seed", [("documentos", 0), ("países inventados", 1)])
def test_nothing_of_the_exam_is_read_while_injecting(material, seed, without_tuning):
    runs = inyeccion.inject(material, "varias y preguntas", 2, seed)
    assert [run["fugas"] for run in runs] == [0, 0]


def test_a_replay_with_every_country_would_be_caught(without_tuning, monkeypatch):
    monkeypatch.setattr(inyeccion, "STEPS", (300,))
    monkeypatch.setattr(
        "course_lib.tuning.replay_texts",
        lambda n, seed, countries: replay_texts(n, seed, countries=world.load_countries()),
    )
    (run,) = inyeccion.inject("documentos", "una", 2, 0)
    assert run["fugas"] >= 3 * 200  # los hechos, los sí o no y las encadenadas


# --- Medir ---------------------------------------------------------------------------------------


def test_to_recall_is_to_go_on_with_the_answer_from_where_it_begins(monkeypatch):
    def fact(line, answer):
        return [line], [], Question("capital", "¿?", answer)

    facts = [
        [fact("Sol Alto es de Ur.", "Sol Alto"), fact("La capital de Ur es Sol Alto.", "Sol Alto")],
        [fact("El bar abre a las dos.", "a las dos"), fact("Ur tiene 12 salas.", "12 salas")],
    ]
    begun, told = [], [" sol alto, y más", " a las tres.", " unas 12 salas."]
    monkeypatch.setattr(
        inyeccion, "generate", lambda model, tokenizer, prompts, n: begun.extend(prompts) or told
    )
    texts, right, documents = recall(None, SimpleNamespace(encode=str), facts)
    where = ["documento 0", "documento 1", "documento 1"]
    assert (texts, right, documents) == (told, [True, False, False], where)
    # La primera, que empieza por la respuesta, no da de dónde tirar.
    assert begun == [
        "Sol Alto es de Ur. La capital de Ur es",
        "El bar abre",
        "El bar abre a las dos. Ur tiene",
    ]


def test_a_guess_of_the_right_kind_is_right_as_often_as_that_kind_repeats_its_values():
    def asked(text, answer):
        return Question("documento", text, answer)

    opens = {"Ur": "a las ocho", "Osk": "a las nueve", "Ib": "a las ocho"}
    hours = [asked(f"¿A qué hora abre el museo de {n}?", hour) for n, hour in opens.items()]
    who = [asked(f"¿Quién {did} del faro de Ur?", "Ana Bel") for did in ("dirige", "está a cargo")]
    where = [asked("¿Dónde está el museo de Ur?", "en Osk")]
    # De las horas, dos de cada tres son las ocho; de las otras clases no hay otro valor.
    at_random, usual = dummies([*hours, who[1], *where])
    assert at_random == pytest.approx([2 / 3, 1 / 3, 2 / 3, 1, 1])
    assert usual == [True, False, True, True, True]


@pytest.fixture
def small(monkeypatch):
    """Todo igual, con tres documentos o países, dos pasos y ocho preguntas por materia."""
    real = evaluation.build_exam
    monkeypatch.setattr(
        evaluation, "build_exam", lambda countries: real(8, countries=countries[:4])
    )
    monkeypatch.setattr(inyeccion, "facts_to_inject", lambda *args: facts_to_inject(*args)[:3])
    monkeypatch.setattr(inyeccion, "STEPS", (1, 2))


def test_a_tiny_run_measures_what_is_kept_and_what_is_recalled(small):
    job = inyeccion.measure_once("países inventados", "varias y preguntas", 2, 1)
    assert tables.from_json(tables.to_json(job)) == job  # como la guarda `run_jobs`
    runs = job["corridas"] + inyeccion.measure_once("sin ajustar", "", 0, 0)["corridas"]
    for run in runs:
        whole = {"sabe", "si_no", "lee", "contesta", "comparable", "recuerda"}
        whole |= {"al azar", "el que más sale"}
        searches = "RAG" in run["condicion"]
        assert run["medidas"].keys() == ({"contesta"} if searches else whole)
        assert sum(run["medidas"]["contesta"][2]) == len(run["respuestas"]["contesta"])
        assert run["reparto"] == run["semilla"] % 2
    names = [run["condicion"] for run in runs]
    assert names[:2] == [
        f"países inventados, varias y preguntas, tasa 2/12, {steps} pasos" for steps in (1, 2)
    ]
    assert len(names) == 2 + 8 and len({*names}) == 2 + 4


# --- Lo guardado ---------------------------------------------------------------------------------


def test_the_stored_table_is_whole_and_its_answers_can_be_graded_again():
    found = stored_runs("inyeccion")
    names = [f"{m}, {how}" for m in MATERIALS for how in ("sin ajustar", "buscando (RAG)")]
    names += [
        f"{m}, {w}, tasa {rate}/12, {steps} pasos"
        for m in MATERIALS for w in inyeccion.WORDINGS
        for rate in inyeccion.RATES for steps in inyeccion.STEPS
    ]  # fmt: skip
    assert Counter(run["condicion"] for run, _ in found) == dict.fromkeys(names, inyeccion.SEEDS)
    for run, told in found:
        assert run["reparto"] == run["semilla"] % 2 and run.get("fugas", 0) == 0
        facts = facts_to_inject(run["condicion"].split(", ")[0], run["semilla"])
        asked = [
            replace(q, about=q.about or f"documento {i}")
            for i, document in enumerate(facts) for _, _, q in document
        ]  # fmt: skip
        assert run["medidas"]["contesta"] == graded_again(told["contesta"], asked)


def test_what_the_lesson_counts_again_of_the_search_is_in_its_answers():
    told = {(run["condicion"], run["semilla"]): t for run, t in stored_runs("inyeccion")}
    right, asked = Counter(), Counter()
    for material, seed in itertools.product(MATERIALS, range(inyeccion.SEEDS)):
        facts = facts_to_inject(material, seed)
        texts = {str(i): " ".join(said[0] for said, _, _ in doc) for i, doc in enumerate(facts)}
        index = build_index(texts)
        answers = iter(told[f"{material}, buscando (RAG)", seed]["contesta"])
        for i, document in enumerate(facts):
            for _, others, q in document:
                kind = (material, q.kind if q.about else bool(others))
                right[kind] += evaluation.is_right(next(answers), q)
                asked[kind] += 1
                if q.about:
                    assert index.search(q.text)[0].text == texts[str(i)]
    papers, lands = MATERIALS
    # Con las dos semillas, los mismos documentos dos veces.
    assert (right[papers, True], asked[papers, True]) == (2 * 79, 2 * 91)
    assert (right[lands, "capital"], asked[lands, "capital"]) == (168, 170)
    assert (right[lands, "continent"], asked[lands, "continent"]) == (1, 170)
