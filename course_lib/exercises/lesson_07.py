"""Ejercicios de la lección 07: apartar sin fugas, etiquetar, contar LoRA y elegir peldaño."""

import itertools

from course_lib.encoding import IGNORED, Kind
from course_lib.exercises import Exercise

_CLIENTS = [(client, f"pregunta {i}") for i, client in enumerate("abacbdaceb" * 3)]


def _review_split(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `split(examples)`, sin llamarla."
    for examples in (_CLIENTS, [(f"cliente {i % 7}", f"duda {i}") for i in range(70)]):
        got = answer(list(examples))
        if not isinstance(got, tuple | list) or len(got) != 2:
            return "debe devolver dos listas: la de ajustar y la de puntuar."
        train, test = map(list, got)
        if not train or not test:
            return "ninguna de las dos listas puede quedar vacía."
        if sorted(train + test) != sorted(examples):
            return "entre las dos listas deben estar todos los ejemplos, una vez cada uno."
        shared = {client for client, _ in train} & {client for client, _ in test}
        if shared:
            return f"hay clientes en las dos listas ({', '.join(sorted(shared)[:3])}): eso es fuga."
    return None


def _review_labels(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `labels(input_ids, kinds)`, sin llamarla."
    marker, user, reply, end, padding = Kind
    ids = [50, 7, 8, 51, 9, 10, 0, 0]
    kinds = [marker, user, user, marker, reply, reply, end, padding]
    right = [IGNORED] * 4 + [9, 10, 0, IGNORED]
    given = answer(list(ids), list(kinds))
    if not isinstance(given, list) or len(given) != len(ids):
        return "debe devolver una lista tan larga como los ids."
    if given == [IGNORED if i == 0 else x for i, x in zip(ids, right, strict=True)]:
        return "el fin de la respuesta también se enseña: si no, el modelo no sabrá callar."
    if given == ids:
        return "así se cuenta todo, como en la lección original."
    if given[-1] != IGNORED:
        return "el relleno se cuenta, porque su id es el mismo que el del fin: míralo por su clase."
    if given != right:
        return "solo deben contar las respuestas y su fin; lo demás, -100."
    return None


def _review_lora(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `lora_weights(d_in, d_out, rank)`, sin llamarla."
    for d_in, d_out, rank in itertools.product((64, 768), (64, 2304), (4, 8)):
        given = answer(d_in, d_out, rank)
        if given == d_in * d_out:
            return "esos son los pesos de la matriz entera; LoRA entrena dos más finas."
        if given == 2 * d_in * rank != rank * (d_in + d_out):
            return "la segunda matriz sale a `d_out`, que no es `d_in`."
        if given != rank * (d_in + d_out):
            return f"con d_in={d_in}, d_out={d_out} y rank={rank} da {given}."
    return None


def _review_choice(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `choose(rungs, target)`, sin llamarla."
    rungs = [
        {"nombre": "completo", "aciertos": 0.99, "tokens": 12},
        {"nombre": "tal cual", "aciertos": 0.20, "tokens": 9},
        {"nombre": "con ejemplos", "aciertos": 0.96, "tokens": 80},
        {"nombre": "con forma", "aciertos": 0.90, "tokens": 20},
    ]
    cases = ((0.9, "completo"), (0.1, "tal cual"), (0.995, None))
    for target, right in cases:
        given = answer([dict(r) for r in rungs], target)
        if given != right:
            return f"con una meta de {target} se espera {right!r}, y da {given!r}."
    if answer([dict(r) for r in rungs[2:]], 0.9) != "con forma":
        return "llegar justo a la meta también vale."
    return None


EXERCISES = (
    Exercise(
        id="7.1",
        review=_review_split,
        praise="Nadie está en los dos lados: lo que puntúes será de verdad nuevo.",
        hints=(
            "¿Qué comparten los ejemplos de un mismo cliente? Reparte clientes, no ejemplos.",
            "Haz primero la lista de clientes distintos, córtala y filtra los ejemplos con ella.",
        ),
        solution="""
def split(examples):
    clients = sorted({client for client, _ in examples})
    chosen = set(clients[: len(clients) // 2])
    train = [e for e in examples if e[0] in chosen]
    test = [e for e in examples if e[0] not in chosen]
    return train, test

respuesta = split
""",
    ),
    Exercise(
        id="7.2",
        review=_review_labels,
        praise="Con esas etiquetas el modelo aprende a contestar y a callarse, y nada más.",
        hints=(
            "Recorre a la vez los ids y sus clases con `zip`.",
            "El fin y el relleno tienen aquí el mismo id: solo la clase los distingue.",
        ),
        solution="""
from course_lib.encoding import Kind

def labels(input_ids, kinds):
    taught = (Kind.REPLY, Kind.END)
    return [token if kind in taught else -100 for token, kind in zip(input_ids, kinds)]

respuesta = labels
""",
    ),
    Exercise(
        id="7.3",
        review=_review_lora,
        praise="Con rango 8, en las doce `c_attn` de GPT-2 son 294.912, de 124 millones.",
        hints=(
            "LoRA pone al lado de la matriz dos finas: una de d_in × rank y otra de rank × d_out.",
            "Suma los pesos de las dos.",
        ),
        solution="""
def lora_weights(d_in, d_out, rank):
    return d_in * rank + rank * d_out

respuesta = lora_weights
""",
    ),
    Exercise(
        id="7.4",
        review=_review_choice,
        praise="La meta se fija antes de mirar; después, gana el que menos cuesta.",
        hints=(
            "Quédate primero con los que llegan a la meta.",
            "De esos, el de menos tokens: `min(lista, key=...)`. Si no queda ninguno, `None`.",
        ),
        solution="""
def choose(rungs, target):
    enough = [r for r in rungs if r["aciertos"] >= target]
    return min(enough, key=lambda r: r["tokens"])["nombre"] if enough else None

respuesta = choose
""",
    ),
)
