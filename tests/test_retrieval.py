"""El buscador: qué encuentra, qué guarda, qué rechaza, y cómo llega el pasaje al modelo."""

import json
import math
from pathlib import Path

import pytest
from checks import each

from course_lib import world
from course_lib.evaluation import ask_directly, ask_with
from course_lib.retrieval import (
    Hit,
    ask_with_retrieval,
    build_index,
    load_index,
    recall_at_k,
    retrieval_prompt,
    save_index,
    words,
)

# Cinco textos sin palabras vacías y con las raíces a la vista, para poder puntuar a mano.
TOY = {
    "a": "gato rojo",
    "b": "gato azul",
    "c": "perro verde",
    "d": "perro negro grande manso",
    "e": "loro blanco",
}


@pytest.fixture(scope="module")
def documents():
    return world.load_documents()


@pytest.fixture(scope="module")
def index(documents):
    return build_index({d.id: d.text for d in documents})


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


# --- Palabras ------------------------------------------------------------------------------------


def test_spanish_words_lose_accents_endings_and_stop_words():
    assert words("Los museos de la ciudad") == ["muse", "ciud"]
    assert words("Fundación") == words("fundación") == ["fundacion"]


def test_without_a_language_the_words_stay_as_they_are():
    assert words("Los museos de Valdún", language=None) == ["los", "museos", "de", "valdún"]


def test_english_has_its_own_stems_and_stop_words():
    assert words("the museums are opening", language="en") == ["museum", "open"]


def test_an_unknown_language_is_refused_in_spanish():
    with pytest.raises(ValueError, match="idioma «fr»"):
        words("bonjour", language="fr")


# --- Buscar --------------------------------------------------------------------------------------


def test_scores_are_the_ones_of_the_formula():
    # Robertson y Zaragoza (2009), con la idf de Lucene: ln(1 + (N - n + 0,5) / (n + 0,5)) y
    # tf / (tf + k1 (1 - b + b |d| / media)), con k1 = 1,5 y b = 0,75. Aquí N = 5, «gato» está en
    # dos textos de dos palabras, y la media es 12 / 5.
    idf = math.log(1 + (5 - 2 + 0.5) / (2 + 0.5))
    expected = idf / (1 + 1.5 * (0.25 + 0.75 * 2 / (12 / 5)))
    hits = build_index(TOY).search("gato", 5)
    assert [hit.score for hit in hits] == pytest.approx([expected, expected], rel=1e-5)


def test_ties_go_in_the_order_of_the_index_and_the_shorter_text_wins():
    index = build_index(TOY)
    assert ids(index.search("gato", 5)) == ["a", "b"]
    assert ids(index.search("perro", 5)) == ["c", "d"]
    assert ids(build_index(dict(reversed(TOY.items()))).search("gato", 5)) == ["b", "a"]


def test_a_text_that_shares_no_word_is_never_found():
    index = build_index(TOY)
    assert ids(index.search("un gato y un loro", 5)) == ["e", "a", "b"]
    assert index.search("¿Dónde está la luna?", 5) == []
    assert index.search("¿¡!?", 5) == []


def test_k_only_cuts_the_list(index):
    question = "¿A qué hora abre el museo de Zubera?"
    ten = index.search(question, 10)
    assert len(ten) == 10
    assert index.search(question, 3) == ten[:3]


def test_every_document_is_found_by_its_own_text(index, documents):
    assert all(ids(index.search(d.text, 1)) == [d.id] for d in documents)


@each(
    ("question", "k", "message"),
    [("", 1, "vacía"), ("  \n", 1, "vacía"), (None, 1, "vacía"), ("gato", 0, "k=0")],
)
def test_a_bad_search_is_refused_in_spanish(question, k, message):
    with pytest.raises(ValueError, match=message):
        build_index(TOY).search(question, k)


@each(
    ("texts", "message"),
    [
        ({}, "No hay textos"),
        (["gato", "perro"], "diccionario"),
        ({"a": "gato", "b": "de la"}, "«b» no hay palabras"),
        ({"a": "", "b": "gato"}, "«a» no hay palabras"),
    ],
)
def test_texts_that_cannot_be_indexed_are_refused_in_spanish(texts, message):
    with pytest.raises(ValueError, match=message):
        build_index(texts)


# --- Guardar y cargar ----------------------------------------------------------------------------


def test_a_loaded_index_searches_like_the_saved_one(index, documents, tmp_path):
    loaded = load_index(save_index(index, tmp_path / "indice"))
    assert (loaded.texts, loaded.language) == (index.texts, "es")
    for document in documents[::10]:
        for question in document.questions:
            assert loaded.search(question.text, 5) == index.search(question.text, 5)


def test_the_language_travels_with_the_index(tmp_path):
    index = build_index({"a": "the museums", "b": "a dog"}, language="en")
    loaded = load_index(save_index(index, tmp_path))
    assert ids(loaded.search("museum")) == ["a"]


def test_the_files_do_not_depend_on_the_order_of_a_set(index, documents, tmp_path):
    one = save_index(index, tmp_path / "uno")
    two = save_index(build_index({d.id: d.text for d in documents}), tmp_path / "dos")
    assert all((two / path.name).read_bytes() == path.read_bytes() for path in one.iterdir())
    # En un mismo proceso un conjunto se recorre siempre igual; entre procesos, no.
    vocabulary = json.loads((one / "vocab.index.json").read_text(encoding="utf-8"))
    terms = sorted(term for term in vocabulary if term)
    assert [vocabulary[term] for term in terms] == list(range(len(terms)))


def test_nothing_in_the_folder_can_run_when_opened(index, tmp_path):
    for path in save_index(index, tmp_path).iterdir():
        if path.suffix == ".npy":
            assert b"'descr': '<" in path.read_bytes()[:64]  # números, y no objetos («|O»)
        else:
            json.loads(path.read_text(encoding="utf-8"))


class Trap:
    """Un objeto que, al sacarlo de un pickle, crea un archivo."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_put_in_its_place_is_not_opened(index, tmp_path):
    import numpy as np

    folder = save_index(index, tmp_path / "indice")
    trap = np.array([Trap(tmp_path / "abierto")], dtype=object)
    np.save(folder / "data.csc.index.npy", trap, allow_pickle=True)
    with pytest.raises(ValueError, match="dañado"):
        load_index(folder)
    assert not (tmp_path / "abierto").exists()


def test_an_absent_or_half_saved_index_says_how_to_make_it(index, tmp_path):
    with pytest.raises(FileNotFoundError, match="build_index"):
        load_index(tmp_path / "nada")
    (save_index(index, tmp_path) / "indptr.csc.index.npy").unlink()
    with pytest.raises(FileNotFoundError, match="build_index"):
        load_index(tmp_path)


@pytest.mark.parametrize("name", ["textos.json", "vocab.index.json", "data.csc.index.npy"])
def test_a_damaged_index_is_refused_in_spanish(index, tmp_path, name):
    folder = save_index(index, tmp_path)
    (folder / name).write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="dañado"):
        load_index(folder)


def test_texts_of_another_index_are_refused(index, tmp_path):
    folder = save_index(index, tmp_path / "uno")
    other = save_index(build_index(TOY), tmp_path / "otro")
    (folder / "textos.json").write_bytes((other / "textos.json").read_bytes())
    with pytest.raises(ValueError, match="dañado"):
        load_index(folder)


# --- Medir ---------------------------------------------------------------------------------------


def test_recall_counts_the_questions_whose_text_is_among_the_first_k():
    index = build_index(TOY)
    questions, right = ["gato rojo", "gato", "perro", "luna"], ["a", "b", "d", "e"]
    values = [recall_at_k(index.search, questions, right, k).value for k in (1, 2, 5)]
    assert values == [0.25, 0.75, 0.75]
    assert recall_at_k(index.search, questions, right, 1).n == 4


def test_recall_never_falls_with_k_on_the_course_documents(index, documents):
    pairs = [(q.text, d.id) for d in documents for q in d.questions]
    values = [recall_at_k(index.search, *zip(*pairs, strict=True), k).value for k in (1, 3, 5)]
    assert values == sorted(values)
    assert values[0] > 0.85


def test_any_function_can_be_the_retriever():
    def by_length(question: str, k: int) -> list[Hit]:
        """Un buscador que no es BM25: los textos de longitud más parecida."""
        near = sorted(TOY, key=lambda id: abs(len(TOY[id]) - len(question)))
        return [Hit(id, TOY[id], 1.0) for id in near[:k]]

    assert recall_at_k(by_length, ["x" * 24, "x"], ["d", "b"], 1).value == 0.5
    question = world.Question("x", "x" * 24, "manso")
    assert retrieval_prompt(by_length)(question).startswith(f"Contexto: {TOY['d']}\n")


# --- La petición y la respuesta ------------------------------------------------------------------


def test_the_passages_go_in_the_form_that_the_model_reads():
    question = world.Question("x", "¿De qué color es el gato?", "rojo", context="otro texto")
    assert retrieval_prompt(build_index(TOY).search, k=2)(question) == (
        "Contexto: gato rojo gato azul\nPregunta: ¿De qué color es el gato?\nRespuesta:"
    )


def test_with_nothing_found_or_below_the_score_the_question_goes_alone():
    index = build_index(TOY)
    moon = world.Question("x", "¿Dónde está la luna?", "lejos", context="otro texto")
    alone = "Pregunta: ¿Dónde está la luna?\nRespuesta:"
    assert retrieval_prompt(index.search)(moon) == alone
    cat = world.Question("x", "¿Y el gato?", "azul")
    score = index.search(cat.text, 1)[0].score
    assert "Contexto" in retrieval_prompt(index.search, min_score=score)(cat)
    assert "Contexto" not in retrieval_prompt(index.search, min_score=score + 1e-6)(cat)


def test_asking_with_retrieval_is_asking_directly_with_the_passage(make_model, tokenizer):
    index = build_index(TOY)
    model = make_model(positions=128)
    bare = world.Question("x", "¿Y el gato?", "azul")
    read = world.Question("x", "¿Y el gato?", "azul", context="gato rojo")
    given = ask_with_retrieval(model, tokenizer, index.search)([bare])
    assert given == ask_directly(model, tokenizer)([read])
    assert given != ask_directly(model, tokenizer)([bare])


@pytest.fixture(scope="module")
def mini():
    from course_lib.tracks import get_track

    return get_track("mini").load_model(), get_track("mini").load_tokenizer()


def test_asking_with_stops_at_the_end_of_the_line_unless_told_otherwise(mini):
    peru = [world.Question("capital", "¿Cuál es la capital de Perú?", "Lima")]
    answered = [f"{world.question_prompt(q)} {q.answer}." for q in peru]
    assert ask_with(*mini, lambda q: answered[0], stop=None)(peru)[0].startswith("Pregunta:")
    assert ask_with(*mini, lambda q: answered[0])(peru) == [""]  # lo primero es un salto


def test_the_shipped_model_reads_what_it_could_not_know(mini, index, documents):
    from course_lib.evaluation import accuracy

    questions = [q for d in documents[::4] for q in d.questions]
    answers = ask_with_retrieval(*mini, index.search)(questions)
    assert accuracy(answers, questions).value > 0.75
