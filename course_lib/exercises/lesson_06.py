"""Ejercicios de la lección 06: pérdidas que engañan, etiquetas, una autopsia y comparaciones."""

import random
from copy import deepcopy
from typing import Any

from course_lib.encoding import IGNORED
from course_lib.exercises import Exercise
from course_lib.exercises.review import EMPTY, function, number, prediction, shown, told
from course_lib.original import original_record
from course_lib.tables import wilson

NO_END = ([5, 6, IGNORED, IGNORED], "Tapa también el primer fin, y así nadie enseña a callarse.")
MEAN = original_record()["perdida_media"]

# --- Ajustes con defectos plantados: dos filas de nueve tokens, con la respuesta desde «reply» ----

IDS, REPLY = [[1, 5, 6, 2, 8, 9, 0, 0, 0], [1, 7, 2, 4, 3, 9, 6, 0, 0]], [4, 3]
GOOD = [[IGNORED] * 4 + [8, 9, 0, IGNORED, IGNORED], [IGNORED] * 3 + [4, 3, 9, 6, 0, IGNORED]]
TRAIN = ("¿Cuál es la capital de Perú? Lima.", "¿Cómo estás? Muy bien.")
EXAM = ("¿Cuál es la moneda de Perú? El sol.", "¿Qué tal el viaje? Largo.")
WHY = {
    "relleno": "detrás del primer fin de una respuesta todo es relleno, y alguna fila lo cuenta",
    "usuario": "alguna posición anterior a la respuesta no lleva −100",
    "sin fin": "en alguna fila, el primer fin de la respuesta lleva −100",
    "fuga": "un texto del examen está entre los de ajustar, con otras tildes, signos o mayúsculas",
}


def _run(*faults: str, rows: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    """Un ajuste con esos defectos, los de las etiquetas solo en esas filas."""
    labels = deepcopy(GOOD)
    for i in rows:
        ids, row, start = IDS[i], labels[i], REPLY[i]
        end = ids.index(0, start)
        if "usuario" in faults:
            row[:start] = ids[:start]
        if "relleno" in faults:
            row[end + 1 :] = ids[end + 1 :]
        if "sin fin" in faults:
            row[end] = IGNORED
    leaked = ("¿que tal EL viaje? largo",) if "fuga" in faults else ()
    texts = {"train": [*TRAIN, *leaked], "exam": [*EXAM]}
    return deepcopy({"ids": IDS, "labels": labels, "reply": REPLY, "end": 0} | texts)


PLANTED = {
    "A": (),
    "B": ("relleno", "usuario"),
    "C": ("sin fin",),
    "D": ("fuga",),
    "E": ("usuario",),
}
RUNS = {name: _run(*faults) for name, faults in PLANTED.items()}
HIDDEN = [
    (("relleno",), (1,)),
    (("sin fin", "fuga"), (1,)),
    (("usuario",), (1,)),
    (tuple(WHY), (0, 1)),
]


def _review_autopsy(answer: Any) -> str | None:
    if not callable(answer):
        return "Se espera la función misma, sin llamarla: `defects(run)`."
    cases = [(f"el «{name}»", RUNS[name], faults) for name, faults in PLANTED.items()]
    cases += [("uno que no has visto", _run(*f, rows=rows), f) for f, rows in HIDDEN]
    for name, run, faults in cases:
        given = deepcopy(run)
        said = answer(given)
        if said is None:
            return EMPTY
        if given != run:
            return "Tu función cambia lo que recibe. Déjalo como está y devuelve algo nuevo."
        if not isinstance(said, set | frozenset | list | tuple) or set(said) - WHY.keys():
            known = "», «".join(WHY)
            return f"Devuelve un conjunto con lo que halles de «{known}», y no {shown(said)}."
        for fault in WHY:
            if fault in faults and fault not in said:
                return f"En {name} no ves «{fault}», y lo tiene: {WHY[fault]}."
            if fault in said and fault not in faults:
                return f"En {name} ves «{fault}» y no lo tiene. Solo lo tendría si {WHY[fault]}."
    return None


def apart(questions=50, times=1000):
    draw, seen = random.Random(0), 0
    for _ in range(times):
        one, two = (sum(draw.random() < p for _ in range(questions)) for p in (0.7, 0.8))
        seen += wilson(one, questions)[1] < wilson(two, questions)[0]
    return 100 * seen / times


def _review_share(measured: Any) -> str | None:
    slips = {apart(200): "Eso es con 200 preguntas, y se piden 50."}
    otherwise = "La medida es lo que da `apart()`, con 50 preguntas, y no es {}."
    return number(apart(), slips, otherwise, "lo que da `apart()`, sin comillas", 1e-6)(measured)


EXERCISES = {
    "6.1": Exercise(
        number(
            MEAN * 128 / 256,
            {
                MEAN: "Esa es la del registro; con filas más largas hay más relleno en la media.",
                MEAN * 2: "El relleno se predice casi gratis: si hay más, ¿la media sube o baja?",
            },
            "El total de nats de una fila no cambia; lo que cambia es entre cuántos se reparte.",
            expects="la pérdida media, un número de nats",
            tolerance=0.03,
        ),
        "¿Cuántos nats suman las 128 posiciones de una fila? El relleno de más casi no añade.",
        "Los mismos nats, repartidos entre 256 posiciones en lugar de 128.",
        praise="La mitad de pérdida sin aprender nada: basta con rellenar más.",
    ),
    "6.2": Exercise(
        function(
            "labels(ids, eos)",
            (([5, 6, 0, 0], 0), [5, 6, 0, IGNORED], "cuenta hasta el primer fin", NO_END),
            (([5, 6, 7], 0), [5, 6, 7], "sin fin no hay relleno que tapar"),
            (([9, 9], 9), [9, IGNORED], "el primer fin cuenta, y el segundo es relleno"),
            (([3, 8, 9], 9), [3, 8, 9], "detrás del fin no hay nada que tapar"),
        ),
        "No mires el valor de cada id por separado: mira su posición. ¿Dónde está el primer fin?",
        "Copia los ids hasta el primer fin, él incluido; desde ahí, todo es -100.",
        "`ids.index(eos)` da la posición del primero; si no hay ninguno, no hay qué tapar.",
        praise="El primer fin cuenta y el relleno no: el modelo aprende a callarse y nada más.",
    ),
    "6.3": Exercise(
        function(
            "compare(before, after)",
            (([False, False, True], [True, True, True]), (2, 0), "se ganan las dos primeras"),
            (([True, True], [False, True]), (0, 1), "se pierde la primera"),
            (([True, False, False, True], [False, True, True, True]), (2, 1), "unas y otras"),
            (([True, False], [True, False]), (0, 0), "contestan lo mismo"),
        ),
        "Recorre las dos listas a la vez, con `zip`, y mira solo dónde no coinciden.",
        "Se gana si `after` acierta y `before` no; se pierde, al revés.",
        praise="Doce ganadas y ninguna perdida dicen más que dos márgenes que se pisan.",
    ),
    "6.4": Exercise(
        _review_autopsy,
        "Mira `RUNS['A']`, que está sano, fila a fila: qué ids hay y cuáles llevan −100.",
        "Recorre `ids`, `labels` y `reply` a la vez. El fin bueno es `ids.index(end, reply)`: "
        "lo de delante de `reply` es del usuario, y lo de detrás del fin, relleno.",
        "Para la fuga, compara los textos con `normalize`, de course_lib.dialogues.",
        praise="Eso es un auditor. El del curso hace lo mismo, con más defectos y con pruebas.",
    ),
    "6.5": Exercise(
        prediction(0, 100, _review_share),
        "Con 50 preguntas, ¿es un intervalo en torno al 70% más ancho que diez puntos?",
        "Cualquier número de 0 a 100 vale de predicción. La medida es `apart()`.",
        praise=lambda answer: (
            f"{told(*answer, 5)} Con cincuenta preguntas, diez puntos de verdad casi nunca se ven. "
            "Prueba con 200 y con 400, que el tamaño del examen se decide antes."
        ),
    ),
}
