"""Ejercicios de la lección 02: medir un buscador, saber callar, gastar con cabeza y trocear."""

from functools import cache

from course_lib import retrieval, world
from course_lib.exercises import Exercise
from course_lib.exercises.review import function, is_number, number, prediction, shown, told
from course_lib.reading import reading_questions
from course_lib.tracks import get_track

RANKINGS, RIGHT = [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"], []], ["a"] * 4
WAYS = [("ejemplos", 0.6, 74), ("forma", 0.6, 18), ("tres", 0.8, 140), ("uno", 0.9, 62)]


def _review_refusal(answer) -> str | None:
    language = get_track(report=lambda text: None).language
    answered = [q.text for d in world.load_documents(language) for q in d.questions]
    far = [q.text for q in reading_questions(100, language=language)]
    verdicts = [answer(text) for text in answered + far]
    if not all(v in (True, False) for v in verdicts):
        return "Debe devolver True (decir «no lo sé») o False (contestar)."
    n = len(answered)
    wrong, right = sum(verdicts[:n]), sum(verdicts[n:])
    counts = f"Rechaza {right} de {len(far)} lejanas y, en falso, {wrong} de {n} con respuesta"
    if wrong > 0.05 * n:
        return f"{counts}: calla de más. ¿Es demasiado alto el umbral?"
    if right < {"es": 0.9, "en": 0.85}[language] * len(far):
        return f"{counts}: calla de menos. ¿Es demasiado bajo el umbral?"
    return None


@cache
def _answered() -> tuple[float, float, float]:
    """De las preguntas, las que contesta el mejor documento o frase, o una de su documento."""
    language = get_track(report=lambda text: None).language
    documents = world.load_documents(language)
    pieces = {
        f"{d.id}·{i}": sentence + "."
        for d in documents
        for i, sentence in enumerate(d.text.removesuffix(".").split(". "))
    }
    whole = retrieval.build_index({d.id: d.text for d in documents}, language)
    cut = retrieval.build_index(pieces, language)
    hits = [
        (q.answer in best.text, q.answer in piece.text, piece.id.split("·")[0] == d.id)
        for d in documents
        for q in d.questions
        for best, piece in zip(whole.search(q.text, 1), cut.search(q.text, 1))
    ]
    return tuple(sum(column) / len(hits) for column in zip(*hits))


def _review_sentences(measured) -> str | None:
    if not is_number(measured) or not 0 <= measured <= 1:
        return f"La medida es una parte, de 0 a 1, y hay {shown(measured)}."
    whole, right, same = _answered()
    slips = {
        whole: "Eso sale con los documentos enteros: falta partirlos e indexar las frases.",
        same: "Cuentas frases del documento bueno; se pide que la frase contenga la respuesta.",
    }
    otherwise = "La medida no es {}. Parte cada texto por «. » y cuenta todas."
    return number(right, slips, otherwise, tolerance=0.004)(measured)


EXERCISES = {
    "2.1": Exercise(
        function(
            "recall(rankings, right, k)",
            ((RANKINGS, RIGHT, 1), 0.25, "con k=1 solo cuenta el primero de cada lista"),
            ((RANKINGS, RIGHT, 2), 0.5, "con k=2 cuentan los dos primeros"),
            ((RANKINGS, RIGHT, 3), 0.75, "la pregunta sin resultados cuenta como fallo"),
            (([["a", "b"]] * 2, ["b", "a"], 1), 0.5, "cada pregunta tiene su documento bueno"),
        ),
        "Por cada pregunta, ¿está su documento bueno en `ranking[:k]`?",
        "Divide por el número de preguntas, no por el de listas con resultados.",
        "`zip(rankings, right)` las recorre a la par; sumar booleanos los cuenta.",
        praise="Y la pregunta a la que no se le encontró nada cuenta como fallo, como debe.",
    ),
    "2.2": Exercise(
        function("refuse(question)", then=_review_refusal),
        "Sin resultados no hay nota: eso también es no saber.",
        "Mira en la figura de las notas entre qué dos valores separa mejor un umbral.",
        "Prueba varios: cuenta con cada uno cuántas lejanas y cuántas buenas quedan debajo.",
        praise="Callar tiene un precio, y ahora sabes cuál es: los rechazos en falso.",
    ),
    "2.3": Exercise(
        function(
            "choose(ways, budget)",
            ((WAYS, 200), "uno", "caben todas, y esa es la que más acierta"),
            ((WAYS, 62), "uno", "lo que cuesta justo el presupuesto también cabe"),
            ((WAYS, 61), "forma", "la que más acierta ya no cabe"),
            ((WAYS, 10), None, "no cabe ninguna"),
            ((WAYS[:2], 100), "forma", "las dos aciertan igual, y debe ganar la más barata"),
            ((WAYS[1::-1], 100), "forma", "debe ganar la más barata, en cualquier orden"),
        ),
        "Primero, quédate con las que caben; después, elige entre ellas.",
        "`max` admite `key` y `default`.",
        "Para desempatar, ordena por la pareja (aciertos, -tokens).",
        praise="Es la pregunta con la que acaba casi todo proyecto: ¿qué compro con esto?",
    ),
    "2.4": Exercise(
        prediction(0, 1, _review_sentences),
        "La predicción es tuya y no puede estar mal. La medida sale de un índice de frases.",
        "`retrieval.build_index` recibe un diccionario: hazlo con una entrada por frase, cada una "
        "con su identificador.",
        "De cada pregunta, mira si `q.answer in indice.search(q.text, 1)[0].text`, y haz la media.",
        praise=lambda answer: (
            f"{told(*answer, 0.03)} Con documentos enteros, {shown(_answered()[0])}. Trocear no "
            "sale gratis: no basta con dar con el documento, hay que dar con la frase, y sus "
            "vecinas comparten las mismas palabras."
        ),
    ),
}
