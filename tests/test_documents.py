"""Los documentos nuevos son legibles para el minimodelo, coherentes y buscables."""

import csv
import json
import re
import tomllib
from collections import Counter
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
LINES = (DATA / "documentos" / "documentos.jsonl").read_text(encoding="utf-8").splitlines()
DOCUMENTS = [json.loads(line) for line in LINES]
TEMPLATES = tomllib.loads((DATA / "mundo" / "plantillas.toml").read_text(encoding="utf-8"))
RELATIONS = TEMPLATES["lectura"]

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


def _value_pattern(kind: str) -> str:
    """Qué forma tienen los valores de la clase `kind` («hora», «precio», «persona»…)."""
    forms = TEMPLATES["valores"].get(kind, [f"{{{kind}}}"])
    return "|".join(
        re.sub(r"\\\{(\w+)\\\}", lambda hole: HOLES[hole[1]], re.escape(_plain(form)))
        for form in forms
    )


QUESTION_FRAMES = [
    (i, _pattern(frame, {"a": ".+"})) for i, r in enumerate(RELATIONS) for frame in r["preguntas"]
]
STATEMENT_FRAMES = [
    [_pattern(frame, {"a": ".+", "b": _value_pattern(r["b"])}) for frame in r["frases"]]
    for r in RELATIONS
]


def _asked(question: str) -> set[tuple[int, str]]:
    """Las lecturas posibles de una pregunta: (relación, sujeto)."""
    return {
        (i, match["a"])
        for i, frame in QUESTION_FRAMES
        if (match := frame.fullmatch(_plain(question)))
    }


def _stated(sentence: str) -> set[tuple[int, str, str]]:
    """Las lecturas posibles de una frase: (relación, sujeto, respuesta)."""
    return {
        (i, match["a"], match["b"])
        for i, frames in enumerate(STATEMENT_FRAMES)
        for frame in frames
        if (match := frame.fullmatch(_plain(sentence)))
    }


def _sentences(document: dict) -> list[str]:
    return re.findall(r"[^.]+\.", document["text"].replace(". ", "."))


def _answers(question: dict, sentence: str) -> bool:
    """Si la frase dice justo lo que se pregunta, del mismo sujeto y con esa respuesta."""
    wanted = {(i, a, _plain(question["answer"])) for i, a in _asked(question["question"])}
    return bool(wanted & _stated(sentence))


def _questions() -> list[tuple[dict, dict]]:
    return [(document, question) for document in DOCUMENTS for question in document["questions"]]


def _says(text: str, span: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(_plain(span))}(?!\w)", _plain(text)) is not None


def test_the_patterns_accept_the_world_and_reject_the_rest():
    museum = "la entrada del museo de Lupora"
    assert any(a == "el museo de lupora" for _, a in _asked(f"¿Cuánto cuesta {museum}?"))
    assert any(b == "20 monedas" for *_, b in _stated(f"{museum} cuesta 20 monedas."))
    assert not _asked("¿Por qué cierra el museo de Lupora?")
    assert not _stated("El museo de Lupora abre cuando quiere.")


def test_there_are_at_least_sixty_documents_and_the_card_says_how_many():
    card = (DATA / "documentos" / "README.md").read_text(encoding="utf-8")
    assert len(DOCUMENTS) >= 60
    assert f"{len(DOCUMENTS)} documentos" in card
    assert f"{len(_questions())} preguntas" in card


def test_no_id_title_text_or_question_is_repeated():
    for field in ("id", "title", "text"):
        assert len({document[field] for document in DOCUMENTS}) == len(DOCUMENTS), field
    counts = Counter(_plain(question["question"]) for _, question in _questions())
    assert [text for text, n in counts.items() if n > 1] == []


def test_every_answer_is_a_short_span_that_occurs_once():
    for document, question in _questions():
        answer = question["answer"]
        assert document["text"].count(answer) == 1, (document["id"], answer)
        assert _says(document["text"], answer), (document["id"], answer)
        assert 1 <= len(answer.split()) <= 5 and not answer.endswith("."), answer


def test_every_question_follows_a_frame_the_model_can_read():
    odd = [q["question"] for _, q in _questions() if not _asked(q["question"])]
    assert odd == []


def test_each_sentence_states_what_its_question_asks():
    for document in DOCUMENTS:
        sentences = _sentences(document)
        assert 2 <= len(sentences) <= 3, document["id"]
        assert len(sentences) == len(document["questions"]), document["id"]
        for sentence, question in zip(sentences, document["questions"], strict=True):
            assert _answers(question, sentence), (document["id"], sentence, question)


def test_only_one_sentence_of_all_documents_speaks_of_what_is_asked():
    stated = Counter(
        (i, a)
        for document in DOCUMENTS
        for sentence in _sentences(document)
        for i, a in {(i, a) for i, a, _ in _stated(sentence)}
    )
    for document, question in _questions():
        readings = [stated[reading] for reading in _asked(question["question"])]
        assert max(readings) == 1, (document["id"], question["question"])


def test_subject_and_answer_meet_in_a_single_document():
    for document, question in _questions():
        sentence = _sentences(document)[document["questions"].index(question)]
        answer = _plain(question["answer"])
        subjects = {a for _, a, b in _stated(sentence) if b == answer}
        subject = min(subjects & {a for _, a in _asked(question["question"])}, key=len)
        where = [
            d["id"] for d in DOCUMENTS if all(_says(d["text"], span) for span in (subject, answer))
        ]
        assert where == [document["id"]], (question["question"], where)


def test_no_country_or_capital_of_the_world_appears():
    with (DATA / "mundo" / "paises.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = {row[column] for row in rows for column in ("country_es", "capital_es")}
    names = {name.removeprefix("el ").removeprefix("El ") for name in names}
    text = "\n".join(LINES)
    assert len(names) > 100
    assert [name for name in names if re.search(rf"\b{re.escape(name)}\b", text)] == []
