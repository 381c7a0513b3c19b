"""Ejercicios de la lección 02: medir un buscador, saber callar y gastar tokens con cabeza."""

from functools import cache

from course_lib import world
from course_lib.exercises import Exercise
from course_lib.reading import reading_questions
from course_lib.tracks import get_track

RANKINGS = [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"], []]
RIGHT = ["a", "a", "a", "a"]


def _review_recall(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `recall(rankings, right, k)`, sin llamarla."
    cases = [
        (1, 0.25, "con k=1 solo cuenta el primero de cada lista"),
        (2, 0.5, "con k=2 cuentan los dos primeros"),
        (3, 0.75, "con k=3 la pregunta sin resultados sigue contando como fallo"),
    ]
    for k, expected, reason in cases:
        said = answer(RANKINGS, RIGHT, k)
        if not isinstance(said, int | float):
            return f"debe devolver un número, y devuelve {said!r}."
        if abs(said - expected) > 1e-9:
            return (
                f"con {RANKINGS} y el bueno siempre «a», con k={k} debe dar {expected:g} "
                f"y da {said:g}: {reason}."
            )
    if answer([["a", "b"], ["a", "b"]], ["b", "a"], 1) != 0.5:
        return "cada pregunta tiene su documento bueno: el primero de `right` va con la primera."
    return None


FAR = {"es": 0.9, "en": 0.85}  # qué parte de las lejanas hay que rechazar, según el idioma


@cache
def _refusal_exam(language: str) -> tuple[list[str], list[str]]:
    """Preguntas que un documento contesta, y preguntas de nombres que no salen en ninguno."""
    documents = world.load_documents(language)
    answered = [q.text for document in documents for q in document.questions]
    return answered, [q.text for q in reading_questions(100, language=language)]


def _review_refusal(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `refuse(question)`, sin llamarla."
    language = get_track(report=lambda text: None).language
    answered, far = _refusal_exam(language)
    verdicts = [answer(text) for text in answered + far]
    if not all(v in (True, False) for v in verdicts):
        return "debe devolver True (decir «no lo sé») o False (contestar)."
    wrong = sum(verdicts[: len(answered)])
    right = sum(verdicts[len(answered) :])
    counts = (
        f"rechaza {right} de {len(far)} lejanas y, en falso, {wrong} de {len(answered)} con "
        "respuesta"
    )
    if wrong > 0.05 * len(answered):
        return f"{counts}: calla de más. ¿Es demasiado alto el umbral?"
    if right < FAR[language] * len(far):
        return f"{counts}: calla de menos. ¿Es demasiado bajo el umbral?"
    return None


WAYS = [("ejemplos", 0.6, 74), ("forma", 0.6, 18), ("tres", 0.8, 140), ("uno", 0.9, 62)]


def _review_choice(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `choose(ways, budget)`, sin llamarla."
    cases = [
        (200, "uno", "caben todas, y esa es la que más acierta"),
        (62, "uno", "lo que cuesta justo el presupuesto también cabe"),
        (61, "forma", "la que más acierta ya no cabe"),
        (10, None, "no cabe ninguna"),
    ]
    for budget, expected, reason in cases:
        said = answer(list(WAYS), budget)
        if said != expected:
            return f"con {WAYS} y {budget} tokens debe dar {expected!r} y da {said!r}: {reason}."
    tied = [way for way in WAYS if way[1] == 0.6]
    if {answer(tied, 100), answer(tied[::-1], 100)} != {"forma"}:
        return "«ejemplos» y «forma» aciertan igual: debe ganar la más barata, en cualquier orden."
    return None


def _review_room(answer) -> str | None:
    reasons = {
        3: "tres pasajes ocupan 210, y aún faltan la pregunta y la respuesta.",
        4: "cuatro pasajes ocupan 280: más que todo el modelo.",
        1: "con uno sobra sitio para otro.",
    }
    if not isinstance(answer, int | float):
        return "se espera un número."
    if answer == 2:
        return None
    return reasons.get(answer, "resta a 256 lo que no son pasajes y mira cuántos enteros caben.")


EXERCISES = (
    Exercise(
        id="2.1",
        review=_review_recall,
        praise="Y la pregunta a la que no se le encontró nada cuenta como fallo, como debe.",
        hints=(
            "Por cada pregunta, ¿está su bueno en `ranking[:k]`?",
            "Divide por el número de preguntas, no por el de listas con resultados.",
            "`zip(rankings, right)` las recorre a la par; sumar booleanos los cuenta.",
        ),
        solution="""
def recall(rankings, right, k):
    hits = [good in ranking[:k] for ranking, good in zip(rankings, right)]
    return sum(hits) / len(hits)

respuesta = recall
""",
    ),
    Exercise(
        id="2.2",
        review=_review_refusal,
        praise="Callar tiene un precio, y ahora sabes cuál es: los rechazos en falso.",
        hints=(
            "Sin resultados no hay nota: eso también es no saber.",
            "Mira en la figura de las notas entre qué dos valores separa mejor un umbral.",
            "Prueba varios: cuenta con cada uno cuántas lejanas y cuántas buenas quedan debajo.",
        ),
        solution="""
from course_lib import retrieval, world
from course_lib.tracks import get_track

language = get_track().language
texts = {d.id: d.text for d in world.load_documents(language)}
index = retrieval.build_index(texts, language)
threshold = {"es": 2.8, "en": 3.0}[language]

def refuse(question):
    hits = index.search(question, 1)
    return not hits or hits[0].score < threshold

respuesta = refuse
""",
    ),
    Exercise(
        id="2.3",
        review=_review_choice,
        praise="Es la pregunta con la que acaba casi todo proyecto: ¿qué compro con esto?",
        hints=(
            "Primero, quédate con las que caben; después, elige entre ellas.",
            "`max` admite `key` y `default`.",
            "Para desempatar, ordena por la pareja (aciertos, -tokens).",
        ),
        solution="""
def choose(ways, budget):
    affordable = [way for way in ways if way[2] <= budget]
    best = max(affordable, key=lambda way: (way[1], -way[2]), default=(None,))
    return best[0]

respuesta = choose
""",
    ),
    Exercise(
        id="2.4",
        review=_review_room,
        praise="Y se hace con el peor caso: con el caso medio, un día se saldrá.",
        hints=(
            "La respuesta también ocupa posiciones, y la pregunta.",
            "256 − 24 − 23 es el sitio que queda para pasajes.",
        ),
        solution="""
respuesta = (256 - 24 - 23) // 70
""",
    ),
)
