"""Buscar y leer: encontrar el pasaje que viene al caso y ponerlo delante de la pregunta (RAG).

Un buscador es cualquier función que reciba una pregunta y un número k, y devuelva como mucho k
pasajes, el mejor primero. El de este módulo es BM25, que cuenta palabras en común; uno denso, que
compara vectores, cabe en el mismo hueco.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from course_lib import replace_file, world
from course_lib.evaluation import Answerer, ask_with
from course_lib.tables import Measure, from_json, proportion, to_json
from course_lib.world import Question

STEMMERS = {"es": "spanish", "en": "english"}
TEXTS_FILE = "textos.json"


# Un pasaje encontrado; la nota solo sirve para comparar notas del mismo buscador.
Hit = namedtuple("Hit", "id text score")
Retriever = Callable[[str, int], list[Hit]]


def words(text: str, language: str | None = "es") -> list[str]:
    """Las palabras con que se busca: en minúsculas, sin las vacías y reducidas a su raíz.

    Args:
        language: «es» o «en», o `None` para dejar las palabras como están.

    >>> words("¿Dónde viven las tortugas?")
    ['dond', 'viv', 'tortug']
    """
    import bm25s
    import snowballstemmer

    if language is not None and language not in STEMMERS:
        raise ValueError(
            f"No hay raíces para el idioma «{language}»: elige «es», «en» o None (sin raíces)."
        )
    (found,) = bm25s.tokenize(
        [text],
        stopwords=language or [],
        stemmer=snowballstemmer.stemmer(STEMMERS[language]).stemWords if language else None,
        return_ids=False,
        show_progress=False,
    )
    return found


@dataclass(frozen=True)
class Index:
    """Un índice BM25 (Robertson y Zaragoza, 2009) y los textos que guarda, por su identificador."""

    texts: dict[str, str]
    language: str | None
    bm25: Any

    def search(self, question: str, k: int = 3) -> list[Hit]:
        """Los `k` textos con mejor nota; menos, si no hay tantos con alguna palabra en común."""
        if not isinstance(question, str) or not question.strip():
            raise ValueError("La pregunta está vacía: escribe qué quieres buscar.")
        if k < 1:
            raise ValueError(f"k={k} no vale: pide al menos un pasaje (k=1).")
        asked = words(question, self.language)
        scores = self.bm25.get_scores(asked).tolist() if asked else [0.0] * len(self.texts)
        hits = (Hit(id, self.texts[id], s) for id, s in zip(self.texts, scores, strict=True))
        # Con la misma nota, va antes el que se indexó antes: el orden no depende de la máquina.
        return sorted((hit for hit in hits if hit.score > 0), key=lambda hit: -hit.score)[:k]


def build_index(texts: Mapping[str, str], language: str | None = "es") -> Index:
    """Indexa unos textos, cada uno por su identificador.

    Args:
        language: el idioma de las raíces y de las palabras vacías, como en `words`.

    >>> index = build_index({"a": "El museo abre a las diez.", "b": "La piscina está cerrada."})
    >>> [hit.id for hit in index.search("¿A qué hora abren los museos?")]
    ['a']
    """
    import bm25s

    if not isinstance(texts, Mapping) or not texts:
        raise ValueError("No hay textos que indexar: pasa un diccionario {identificador: texto}.")
    found = {id: words(text, language) for id, text in texts.items()}
    for id, terms in found.items():
        if not terms:
            raise ValueError(f"En el texto «{id}» no hay palabras que buscar: quítalo del índice.")
    # Numeradas por orden alfabético, para que guardar dos veces dé los mismos archivos.
    vocabulary = {term: i for i, term in enumerate(sorted(set().union(*found.values())))}
    bm25 = bm25s.BM25()
    ids = [[vocabulary[term] for term in terms] for terms in found.values()]
    bm25.index((ids, vocabulary), show_progress=False)
    return Index(dict(texts), language, bm25)


def save_index(index: Index, folder: Path | str) -> Path:
    """Guarda un índice en una carpeta, que devuelve: NumPy y JSON, nada que se ejecute."""
    folder = Path(folder)
    index.bm25.save(folder, allow_pickle=False)
    content = to_json({"language": index.language, "texts": index.texts})
    replace_file(folder / TEXTS_FILE, content)
    return folder


def load_index(folder: Path | str) -> Index:
    """Abre un índice guardado con `save_index`; si falta o está dañado, es un error que lo dice."""
    import bm25s

    folder = Path(folder)
    try:
        content = from_json((folder / TEXTS_FILE).read_text(encoding="utf-8"))
        bm25 = bm25s.BM25.load(folder, allow_pickle=False)
        index = Index(dict(content["texts"]), content["language"], bm25)
        index.search(next(iter(index.texts.values())))  # una búsqueda cruza todos los archivos
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"En «{folder}» no hay un índice completo: créalo con build_index y save_index."
        ) from error
    except Exception as error:  # un archivo dañado puede fallar de cualquier manera
        raise ValueError(
            f"El índice de «{folder}» está dañado: vuelve a crearlo con build_index y save_index."
        ) from error
    return index


def recall_at_k(
    retriever: Retriever, questions: Sequence[str], right: Sequence[str], k: int
) -> Measure:
    """La proporción de preguntas con su pasaje bueno (su identificador) entre los `k` primeros."""
    found = [{hit.id for hit in retriever(question, k)} for question in questions]
    return proportion([id in ids for id, ids in zip(right, found, strict=True)])


def retrieval_prompt(
    retriever: Retriever, k: int = 1, min_score: float = 0.0
) -> Callable[[Question], str]:
    """La función que de cada pregunta hace su petición: «Contexto: … Pregunta: … Respuesta:».

    Van `k` pasajes seguidos, el mejor primero, sin los que no llegan a `min_score`; si no queda
    ninguno, la pregunta va sola. El contexto que la pregunta ya traiga no se usa.
    """

    def prompt(question: Question) -> str:
        hits = [hit for hit in retriever(question.text, k) if hit.score >= min_score]
        return world.question_prompt(
            replace(question, context=" ".join(hit.text for hit in hits) or None)
        )

    return prompt


def ask_with_retrieval(
    model, tokenizer, retriever: Retriever, k: int = 1, min_score: float = 0.0
) -> Answerer:
    """Contestador que busca, lee y contesta, con las peticiones de `retrieval_prompt`."""
    return ask_with(model, tokenizer, retrieval_prompt(retriever, k, min_score))
