"""Ejercicios de la lección 07: contar los pesos de LoRA y elegir peldaño."""

from course_lib.exercises import Exercise
from course_lib.exercises.review import function

RUNGS = [
    {"nombre": "completo", "aciertos": 0.99, "tokens": 12},
    {"nombre": "tal cual", "aciertos": 0.20, "tokens": 9},
    {"nombre": "con ejemplos", "aciertos": 0.96, "tokens": 80},
    {"nombre": "con forma", "aciertos": 0.90, "tokens": 20},
]
LORA_SLIPS = (
    (64 * 2304, "Esos son los pesos de la matriz entera; LoRA entrena dos más finas."),
    (2 * 64 * 4, "La segunda matriz sale a `d_out`, que no es `d_in`."),
)

EXERCISES = {
    "7.1": Exercise(
        function(
            "lora_weights(d_in, d_out, rank)",
            ((64, 2304, 4), 9_472, "se suman los pesos de las dos matrices finas", *LORA_SLIPS),
            ((768, 64, 8), 6_656, "se suman los pesos de las dos matrices finas"),
        ),
        "LoRA pone al lado de la matriz dos finas: una de d_in × rank y otra de rank × d_out.",
        "Suma los pesos de las dos.",
        praise="Con rango 8, en las doce `c_attn` de GPT-2 son 294.912, de 124 millones.",
        solution="""def lora_weights(d_in, d_out, rank):
    return d_in * rank + rank * d_out""",
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
