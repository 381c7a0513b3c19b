"""Los documentos nuevos son legibles, coherentes y buscables, en español y en inglés."""

import csv
import json
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

DATA = Path(__file__).parents[1] / "data"

NAME = r"[^\W\d_]+"
HOLES = {"lugar": NAME, "persona": f"{NAME} {NAME}", "palabra": NAME, "anio": r"\d{4}"} | {
    hole: r"\d+" for hole in ("decenas", "centenas", "millares")
}


def _plain(text: str) -> str:
    """El texto en minúsculas y sin contracciones, como antes de rellenar la plantilla."""
    return text.lower().replace(" del ", " de el ").replace(" al ", " a el ")


def _pattern(template: str, holes: dict[str, str]) -> re.Pattern:
    """La plantilla como expresión regular; cada hueco es un grupo con su nombre."""
    parts = re.split(r"\{(\w+)\}", _plain(template))
    return re.compile(
        "".join(
            f"(?P<{part}>{holes[part]})" if i % 2 else re.escape(part)
            for i, part in enumerate(parts)
        )
    )


def _value_pattern(values: dict, kind: str) -> str:
    """Qué forma tienen los valores de la clase `kind` («hora», «precio», «persona»…)."""
    forms = values.get(kind, [f"{{{kind}}}"])
    return "|".join(
        re.sub(r"\\\{(\w+)\\\}", lambda hole: HOLES[hole[1]], re.escape(_plain(form)))
        for form in forms
    )


@cache
def _corpus(language: str) -> SimpleNamespace:
    """Los documentos de un idioma y los moldes de sus frases, leídos aparte del paquete."""
    tail = "" if language == "es" else f"_{language}"
    lines = (DATA / "documentos" / f"documentos{tail}.jsonl").read_text("utf-8").splitlines()
    templates = tomllib.loads((DATA / "mundo" / f"plantillas{tail}.toml").read_text("utf-8"))
    return SimpleNamespace(
        language=language,
        documents=[json.loads(line) for line in lines],
        asking=[
            (i, _pattern(frame, {"a": ".+"}))
            for i, relation in enumerate(templates["lectura"])
            for frame in relation["preguntas"]
        ],
        stating=[
            (i, _pattern(frame, {"a": ".+", "b": _value_pattern(templates["valores"], r["b"])}))
            for i, r in enumerate(templates["lectura"])
            for frame in r["frases"]
        ],
    )


@pytest.fixture(params=["es", "en"])
def corpus(request):
    return _corpus(request.param)


def _asked(corpus, question: str) -> set[tuple[int, str]]:
    """Las lecturas posibles de una pregunta: (relación, sujeto)."""
    return {
        (i, match["a"])
        for i, frame in corpus.asking
        if (match := frame.fullmatch(_plain(question)))
    }


def _stated(corpus, sentence: str) -> set[tuple[int, str, str]]:
    """Las lecturas posibles de una frase: (relación, sujeto, respuesta)."""
    return {
        (i, match["a"], match["b"])
        for i, frame in corpus.stating
        if (match := frame.fullmatch(_plain(sentence)))
    }


def _sentences(document: dict) -> list[str]:
    return re.findall(r"[^.]+\.", document["text"].replace(". ", "."))


def _answers(corpus, question: dict, sentence: str) -> bool:
    """Si la frase dice justo lo que se pregunta, del mismo sujeto y con esa respuesta."""
    answer = _plain(question["answer"])
    wanted = {(i, a, answer) for i, a in _asked(corpus, question["question"])}
    return bool(wanted & _stated(corpus, sentence))


def _questions(corpus) -> list[tuple[dict, dict]]:
    return [(d, question) for d in corpus.documents for question in d["questions"]]


def _says(text: str, span: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(_plain(span))}(?!\w)", _plain(text)) is not None


def test_the_patterns_accept_the_world_and_reject_the_rest():
    spanish, english = _corpus("es"), _corpus("en")
    museum = "la entrada del museo de Lupora"
    assert any(a == "el museo de lupora" for _, a in _asked(spanish, f"¿Cuánto cuesta {museum}?"))
    assert any(b == "20 monedas" for *_, b in _stated(spanish, f"{museum} cuesta 20 monedas."))
    assert not _asked(spanish, "¿Por qué cierra el museo de Lupora?")
    assert not _stated(spanish, "El museo de Lupora abre cuando quiere.")
    hours = "What time does the Lupora Museum open?"
    assert any(a == "the lupora museum" for _, a in _asked(english, hours))
    assert any(b == "20 coins" for *_, b in _stated(english, "Admission to it costs 20 coins."))
    assert not _stated(english, "The Lupora Museum opens whenever it likes.")


def test_there_are_at_least_sixty_documents_and_the_card_says_how_many(corpus):
    card = (DATA / "documentos" / "README.md").read_text(encoding="utf-8")
    assert len(corpus.documents) >= 60
    assert f"{len(corpus.documents)} documentos" in card
    assert f"{len(_questions(corpus))} preguntas" in card


def test_both_languages_have_the_same_documents_with_as_many_questions():
    spanish, english = (
        [(d["id"], len(d["questions"])) for d in _corpus(code).documents] for code in ("es", "en")
    )
    assert spanish == english


def test_both_languages_say_the_same_relations_and_the_same_numbers():
    for spanish, english in zip(_corpus("es").documents, _corpus("en").documents, strict=True):
        for one, other in zip(spanish["questions"], english["questions"], strict=True):
            relations = [
                {i for i, _ in _asked(_corpus(code), q["question"])}
                for code, q in (("es", one), ("en", other))
            ]
            assert relations[0] & relations[1], (one, other)
            assert re.findall(r"\d+", one["answer"]) == re.findall(r"\d+", other["answer"])


def test_no_id_title_text_or_question_is_repeated(corpus):
    for field in ("id", "title", "text"):
        assert len({d[field] for d in corpus.documents}) == len(corpus.documents), field
    counts = Counter(_plain(question["question"]) for _, question in _questions(corpus))
    assert [text for text, n in counts.items() if n > 1] == []


def test_every_answer_is_a_short_span_that_occurs_once(corpus):
    for document, question in _questions(corpus):
        answer = question["answer"]
        assert document["text"].count(answer) == 1, (document["id"], answer)
        assert _says(document["text"], answer), (document["id"], answer)
        assert 1 <= len(answer.split()) <= 5 and not answer.endswith("."), answer


def test_every_question_follows_a_frame_the_model_can_read(corpus):
    odd = [q["question"] for _, q in _questions(corpus) if not _asked(corpus, q["question"])]
    assert odd == []


def test_each_sentence_states_what_its_question_asks(corpus):
    for document in corpus.documents:
        sentences = _sentences(document)
        assert 2 <= len(sentences) <= 3, document["id"]
        assert len(sentences) == len(document["questions"]), document["id"]
        for sentence, question in zip(sentences, document["questions"], strict=True):
            assert _answers(corpus, question, sentence), (document["id"], sentence, question)


def test_only_one_sentence_of_all_documents_speaks_of_what_is_asked(corpus):
    stated = Counter(
        (i, a)
        for document in corpus.documents
        for sentence in _sentences(document)
        for i, a in {(i, a) for i, a, _ in _stated(corpus, sentence)}
    )
    for document, question in _questions(corpus):
        readings = [stated[reading] for reading in _asked(corpus, question["question"])]
        assert max(readings) == 1, (document["id"], question["question"])


def test_subject_and_answer_meet_in_a_single_document(corpus):
    for document, question in _questions(corpus):
        sentence = _sentences(document)[document["questions"].index(question)]
        answer = _plain(question["answer"])
        subjects = {a for _, a, b in _stated(corpus, sentence) if b == answer}
        subject = min(subjects & {a for _, a in _asked(corpus, question["question"])}, key=len)
        where = [
            d["id"]
            for d in corpus.documents
            if all(_says(d["text"], span) for span in (subject, answer))
        ]
        assert where == [document["id"]], (question["question"], where)


def test_no_country_or_capital_of_the_world_appears(corpus):
    with (DATA / "mundo" / "paises.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = (f"country_{corpus.language}", f"capital_{corpus.language}")
    names = {row[column] for row in rows for column in columns}
    names = {re.sub("^([Ee]l|the) ", "", name) for name in names}
    text = json.dumps(corpus.documents, ensure_ascii=False)
    assert len(names) > 100
    assert [name for name in names if re.search(rf"\b{re.escape(name)}\b", text)] == []
