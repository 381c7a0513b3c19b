"""Ejercicios de la lección 08: las cuentas de LoRA, la pérdida repartida y un presupuesto."""

import math
from typing import Any

from course_lib.exercises import Exercise
from course_lib.exercises.review import function, is_number, number, prediction, shown, told, within

INPUT, OUTPUT = 16 * (1_024 + 3_072), 16 * (1_024 + 1_024)  # por bloque, los de cada matriz

# Lo que pide un presupuesto, con lo menos y lo más que tiene sentido, y qué es.
CASE = {
    "pesos": (1e5, 1e13, "los del modelo que se va a ajustar"),
    "tokens": (1e3, 1e13, "los de una época, con su relleno"),
    "epocas": (0.01, 100, "las vueltas a los datos"),
    "velocidad": (1e8, 2e15, "operaciones por segundo, medidas en unos pasos"),
    "precio": (0, 1_000, "lo que cuesta la hora"),
    "intentos": (2, 1_000, "ajustes hasta dar con el bueno; el primero casi nunca lo es"),
}


def _review_budget(answer: Any) -> str | None:
    names = [*CASE, "horas", "coste"]
    if not isinstance(answer, dict):
        return f"Se espera un diccionario con «{'», «'.join(names)}», y hay {shown(answer)}."
    for name in names:
        if not is_number(answer.get(name)):
            return f"Falta «{name}», o no es un número."
    for name, (least, most, what) in CASE.items():
        if not least <= answer[name] <= most:
            return f"«{name}» es {shown(answer[name])}, y eso no es creíble: son {what}."
    weights, tokens, epochs, speed, price, tries = (answer[name] for name in CASE)
    seconds = 6 * weights * tokens * epochs * tries / speed
    slips = {
        seconds: "Eso son segundos: divide entre 3.600.",
        seconds / 60: "Eso son minutos: divide otra vez entre 60.",
        seconds / tries / 3600: "Esas son las horas de un solo ajuste, y piensas hacer varios.",
        seconds / epochs / 3600: "Faltan las épocas: cada una vuelve a leerlo todo.",
        seconds / 3 / 3600: "Con 2 operaciones por peso y token solo se contesta: entrenar son 6.",
        seconds / 6 / 3600: "Faltan las 6 operaciones por peso y token.",
    }
    hours = answer["horas"]
    if not math.isclose(hours, seconds / 3600, rel_tol=0.02):
        for slip, why in slips.items():
            if math.isclose(hours, slip, rel_tol=0.02):
                return why
        return f"Con tus números no salen {shown(hours)} horas."
    if not math.isclose(answer["coste"], hours * price, rel_tol=0.02, abs_tol=0.01):
        return "El coste no es el de esas horas, a ese precio la hora."
    return None


EXERCISES = {
    "8.1": Exercise(
        number(
            24 * (INPUT + OUTPUT),
            {
                INPUT + OUTPUT: "Esos son los pesos de un solo bloque: el modelo tiene 24.",
                24 * INPUT: "Falta la otra matriz, la de la salida de la atención.",
                24 * OUTPUT: "Falta la otra matriz, la de entrada de la atención.",
                12 * (INPUT + OUTPUT): "Con ese número, r sería 8, y aquí vale 16.",
                24 * 4 * 1_024**2: "Esos son los pesos congelados: LoRA añade a cada matriz "
                "r × (entrada + salida), no entrada × salida.",
                16 * 24 * 4 * 1_024**2: "La entrada y la salida se suman, no se multiplican: LoRA "
                "pone dos matrices finas, de entrada × r y de r × salida.",
            },
            "Cuenta, por matriz y bloque, r × (entrada + salida).",
            expects="un número de pesos",
        ),
        "Es la cuenta de la lección con otra forma y dos matrices por bloque en vez de una.",
        "Cada matriz añade r × (entrada + salida): súmalas y multiplica por los bloques.",
        "La primera aporta 16 × (1.024 + 3.072) en cada bloque; la segunda, 16 × (1.024 + 1.024).",
        praise="Son unos pocos millones: menos del 1% de los pesos del modelo.",
    ),
    "8.2": Exercise(
        function(
            "process_loss(mine, tokens, processes)",
            ((12.0, 6, 1), 2.0, "con un proceso es la media de siempre"),
            ((6.0, 12, 2), 1.0, "al promediar con el otro, 6 / 12 quedaría en la mitad"),
            ((36.0, 12, 2), 6.0, "(1 + 6) / 2 = 3,5, que es (6 + 36) / 12"),
            ((0.0, 12, 3), 0.0, "un proceso sin tokens que cuenten no aporta nada"),
        ),
        "Divide lo tuyo entre los tokens de todos, no entre los tuyos.",
        "Promediar divide además entre el número de procesos: multiplica antes por él.",
        praise="Es la línea que le faltaba a `compute_loss`.",
    ),
    "8.3": Exercise(
        function(
            "plan(fixed, row, free, rows)",
            (
                (4.0, 2.5, 15.0, 16),
                (2, 8),
                "4 + 4 × 2,5 son 14 GiB, y con un 10% libre caben 13,5",
                ((4, 4), "Se queda sin margen: hay que dejar libre un 10%."),
            ),
            ((4.0, 2.0, 15.0, 16), (4, 4), "4 + 4 × 2 son 12 GiB"),
            (
                (4.0, 1.0, 40.0, 16),
                (16, 1),
                "caben todas, y no hace falta acumular",
                (lambda said: said[0] > 16, "No hacen falta más filas que las del paso."),
            ),
            ((4.0, 3.0, 15.0, 12), (3, 4), "4 + 3 × 3 son 13 GiB, y 12 se reparte en 4 de 3"),
            (
                (4.0, 2.0, 15.0, 9),
                (3, 3),
                "cabrían 4, pero 9 no se reparte en grupos de 4",
                (lambda said: said[0] == 4, "9 filas no se reparten en grupos de 4."),
            ),
            ((13.0, 2.0, 15.0, 16), None, "no cabe ni una fila"),
        ),
        "Prueba los lotes de mayor a menor y quédate con el primero que quepa.",
        "Caben los que cumplen `fixed + batch * row <= 0.9 * free`, y se reparten bien los que "
        "cumplen `rows % batch == 0`.",
        "Devuelve `(batch, rows // batch)`; si no cabe ninguno, `None`.",
        praise="El paso es el mismo, de 16 filas; lo que cambia es en cuántas veces se hace.",
    ),
    "8.4": Exercise(
        _review_budget,
        "Entrenar son 6 operaciones por peso y por token. ¿Cuántos tokens se leen en total?",
        "Operaciones, 6 × pesos × tokens × épocas × intentos. Entre la velocidad, segundos.",
        "Segundos entre 3.600 son horas; por el precio, el coste.",
        praise="Falta lo que no está en la cuenta: tu tiempo, los datos y contestar cada mes.",
    ),
    "8.5": Exercise(
        prediction(0, 100, within(0, 1_000, "gradient_gap()")),
        "Con una respuesta de dos tokens y otra de veinte, ¿cuánto pesa cada token de cada una?",
        "Cualquier número de 0 a 100 vale de predicción. La medida es `gradient_gap()`.",
        praise=lambda answer: (
            f"{told(*answer, 5)} La pérdida no lo delata, y el gradiente apunta a otro sitio. "
            "Por eso se suma todo y se divide una vez, entre los tokens de todos los trozos."
        ),
    ),
}
