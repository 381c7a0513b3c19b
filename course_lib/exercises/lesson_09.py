"""Ejercicios de la lección 09: un premio que no se deje engañar y a quién enseña."""

from course_lib.exercises import Exercise
from course_lib.exercises.review import function, shown
from course_lib.world import Question

LIMA = Question("capital", "¿Cuál es la capital de Perú?", "Lima")
TALA = Question("currency", "¿Cuál es la moneda de Samoa?", "el tala")
MOVES = {2, 4}


def _review_groups(answer) -> str | None:
    if not isinstance(answer, set | frozenset | list | tuple):
        return f"Se espera un conjunto como {{1, 2}}, y hay {shown(answer)}."
    said = set(answer)
    if odd := said - {1, 2, 3, 4, 5}:
        return f"Las preguntas van del 1 al 5, y hay {shown(sorted(odd, key=str)[0])}."
    if 1 in said:
        return "En la 1 todas fallan: la media es 0, y nadie queda por encima ni por debajo."
    if 3 in said:
        return "En la 3 todas aciertan: la media es 1, y nadie queda por encima ni por debajo."
    if 5 in said:
        return "En la 5 todas sacan lo mismo: que no sea cero ni uno da igual."
    if missing := MOVES - said:
        return f"Falta la {min(missing)}: unas aciertan y otras no, así que hay ventajas."
    return None


EXERCISES = {
    "9.1": Exercise(
        function(
            "reward(text, question)",
            (("Lima.", LIMA), 1.0, "es la respuesta, con su punto"),
            ((" lima", LIMA), 1.0, "una mayúscula o un espacio no cambian la respuesta"),
            (("El tala.", TALA), 1.0, "el artículo es parte de la respuesta"),
            (("Quito.", LIMA), 0.0, "no es la capital de Perú"),
            (("", LIMA), 0.0, "no contesta nada"),
            (("Quito, Lima, Bogotá.", LIMA), 0.0, "una lista no es una respuesta"),
            (("Lima. La ciudad de Lima es la capital de Perú.", LIMA), 0.0, "sigue y sigue"),
            (("Lima…", LIMA), 0.0, "el texto no acabó"),
            (("¿Cuál es la capital de Perú?", LIMA), 0.0, "repetir la pregunta no la contesta"),
        ),
        "`normalize`, de course_lib.dialogues, iguala mayúsculas, espacios y signos.",
        "Compara el texto entero, no busques la respuesta dentro.",
        "`normalize` también quita los puntos suspensivos: míralos antes.",
        praise="Cuanto menos perdona un premio, menos maneras hay de engañarlo.",
        solution="""from course_lib.dialogues import normalize

def reward(text, question):
    finished = not text.endswith("…")
    return float(finished and normalize(text) == normalize(question.answer))""",
    ),
    "9.2": Exercise(
        _review_groups,
        "Calcula la media de cada fila, y quién queda por encima y por debajo.",
        "Si en una fila todas las notas son iguales, todas las ventajas son cero.",
        praise="Por eso conviene preguntar lo que a veces sale: ni imposible ni sabido.",
        solution="respuesta = {2, 4}",
    ),
}
