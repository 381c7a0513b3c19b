"""Ejercicios de la lección 07: buscar fugas y elegir peldaño."""

from course_lib.exercises import Exercise
from course_lib.exercises.review import function

RUNGS = [
    {"nombre": "completo", "aciertos": 0.99, "tokens": 12},
    {"nombre": "tal cual", "aciertos": 0.20, "tokens": 9},
    {"nombre": "con ejemplos", "aciertos": 0.96, "tokens": 80},
    {"nombre": "con forma", "aciertos": 0.90, "tokens": 20},
]
TEXTS = ["¿Y la de Chad?", "Mi vecino, el señor Chadal, es de aquí.", "En Perú se paga con el sol."]
PARTS = (TEXTS, "Compara palabras enteras: «Chadal» no nombra a ningún país.")

EXERCISES = {
    "7.1": Exercise(
        function(
            "leaks_in(texts, countries)",
            ((TEXTS, ["Chad", "Perú"]), [TEXTS[0], TEXTS[2]], "dos textos los nombran", PARTS),
            ((TEXTS, ["Cuba"]), [], "ninguno nombra a Cuba"),
            (([], ["Chad"]), [], "sin textos no hay fugas"),
        ),
        "Quédate con los textos en que sale alguno de los países, como palabra entera.",
        '`re.search(rf"\\b{pais}\\b", texto)` busca una palabra entera.',
        praise="Así delata `leaks` un texto: con que nombre a un país, diga lo que diga.",
        solution="""import re
def leaks_in(texts, countries):
    names = re.compile(r"\\b(" + "|".join(countries) + r")\\b")
    return [text for text in texts if names.search(text)]""",
    ),
    "7.2": Exercise(
        function(
            "choose(rungs, target)",
            ((RUNGS, 0.9), "completo", "de los que llegan a la meta, es el que menos gasta"),
            ((RUNGS, 0.1), "tal cual", "llegan todos, y es el que menos gasta"),
            ((RUNGS, 0.995), None, "no llega ninguno"),
            ((RUNGS[2:], 0.9), "con forma", "llegar justo a la meta también vale"),
        ),
        "Quédate primero con los que llegan a la meta.",
        "De esos, el de menos tokens: `min(lista, key=...)`. Si no queda ninguno, `None`.",
        praise="La meta se fija antes de mirar; después, gana el que menos cuesta.",
        solution="""def choose(rungs, target):
    enough = [r for r in rungs if r["aciertos"] >= target]
    return min(enough, key=lambda r: r["tokens"])["nombre"] if enough else None""",
    ),
}
