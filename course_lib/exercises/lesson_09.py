"""Ejercicios de la lección 09: un premio, a quién enseña, una gramática y pocas etiquetas."""

from typing import Any

from course_lib.exercises import Exercise
from course_lib.exercises.review import EMPTY, function, prediction, shown, told, within
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


TIMES = {f"{hour:02}:{minute:02}" for hour in range(24) for minute in range(60)}


def _review_grammar(answer: Any) -> str | None:
    """Recorre todo lo que una gramática deja escribir y lo compara con las 1.440 horas que hay."""
    if not callable(answer):
        return "Se espera la función misma, sin llamarla: `allowed(written)`."
    whole, pending = set(), [""]
    while pending:
        written = pending.pop()
        follows = answer(written)
        if follows is None and written in TIMES:
            follows = ""  # «ninguno»
        if follows is None:
            return EMPTY if written == "" else f"Tras {shown(written)} no devuelve nada."
        if not isinstance(follows, set | frozenset | list | tuple | str):
            return f"Devuelve los caracteres que pueden seguir, y no {shown(follows)}."
        if odd := [c for c in follows if not isinstance(c, str) or len(c) != 1]:
            return f"Devuelve caracteres sueltos, y tras {shown(written)} hay {shown(odd[0])}."
        if not follows:
            if written not in TIMES:
                return f"Deja acabar en {shown(written)}, que no es una hora como «07:45»."
            whole.add(written)
        for character in sorted(set(follows)):
            longer = written + character
            if not any(time.startswith(longer) for time in TIMES):
                return f"Deja escribir {shown(longer)}, y ninguna hora empieza así."
            pending.append(longer)
    if missing := TIMES - whole:
        return f"No deja escribir {shown(min(missing))}, que es una hora."
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
    ),
    "9.2": Exercise(
        _review_groups,
        "Calcula la media de cada fila, y quién queda por encima y por debajo.",
        "Si en una fila todas las notas son iguales, todas las ventajas son cero.",
        praise="Por eso conviene preguntar lo que a veces sale: ni imposible ni sabido.",
    ),
    "9.3": Exercise(
        _review_grammar,
        "Son cinco casillas. ¿Qué puede ir en la primera? ¿Y en la última?",
        "La segunda depende de la primera, porque tras un 2 no va un 4. Con las cinco escritas no "
        "sigue nada.",
        "`len(written)` dice en qué casilla estás; en cada una, un texto con lo que cabe.",
        praise="Un modelo así limitado no puede escribir «25:71». Que la hora sea la buena es otra "
        "cosa, y se mide aparte.",
    ),
    "9.4": Exercise(
        prediction(0, 100, within(0, 100, "with_labels(50)")),
        "Decir siempre el acto más frecuente acierta el 60%, y con 500 etiquetas, el 91%.",
        "Cualquier número de 0 a 100 vale de predicción. La medida es `with_labels(50)`.",
        praise=lambda answer: (
            f"{told(*answer, 5)} Prueba ahora con 25, con 100 y con 500. Antes de pedir miles, "
            "dibuja esta curva con las que tengas y mira si aún sube."
        ),
    ),
}
