"""Ejercicios de la lección 06: pérdidas que engañan, etiquetas y tablas con intervalos."""

from course_lib.encoding import IGNORED
from course_lib.exercises import Exercise
from course_lib.exercises.review import function, number
from course_lib.original import original_record

NO_END = ([5, 6, IGNORED, IGNORED], "Tapa también el primer fin, y así nadie enseña a callarse.")
MEAN = original_record()["perdida_media"]

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
        solution="respuesta = 0.697 * 128 / 256",
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
        solution="""def labels(ids, eos):
    end = ids.index(eos) + 1 if eos in ids else len(ids)
    return ids[:end] + [-100] * (len(ids) - end)""",
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
        solution="""def compare(before, after):
    won = sum(now and not then for then, now in zip(before, after))
    lost = sum(then and not now for then, now in zip(before, after))
    return won, lost
""",
    ),
}
