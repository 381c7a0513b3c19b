"""Ejercicios de la lección 08: las cuentas de LoRA y la pérdida repartida."""

from course_lib.exercises import Exercise
from course_lib.exercises.review import function, number

INPUT, OUTPUT = 16 * (1_024 + 3_072), 16 * (1_024 + 1_024)  # por bloque, los de cada matriz

EXERCISES = {
    "8.1": Exercise(
        number(
            24 * (INPUT + OUTPUT),
            {
                INPUT + OUTPUT: "Esos son los pesos de un solo bloque: el modelo tiene 24.",
                24 * INPUT: "Falta la otra matriz, la de la salida de la atención.",
                24 * OUTPUT: "Falta la otra matriz, la de entrada de la atención.",
                12 * (INPUT + OUTPUT): "Con ese número r sería 8, y aquí vale 16.",
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
        solution="respuesta = 24 * (16 * (1_024 + 3 * 1_024) + 16 * (1_024 + 1_024))",
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
        "La media de las partes las divide además entre cuántos son: multiplica por ello antes.",
        praise="Es la línea que le faltaba a `compute_loss`.",
        solution="""def process_loss(mine, tokens, processes):
    return processes * mine / tokens""",
    ),
}
