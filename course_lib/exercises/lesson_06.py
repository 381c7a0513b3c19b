"""Ejercicios de la lección 06: pérdidas que engañan, etiquetas, fugas y tablas con intervalos."""

from course_lib.dialogues import Pair
from course_lib.encoding import IGNORED
from course_lib.exercises import Exercise
from course_lib.original import original_record


def _review_longer_rows(answer) -> str | None:
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return "se espera un número: la pérdida media, en nats."
    mean = original_record()["perdida_media"]
    right = mean * 128 / 256
    if abs(answer - right) <= 0.01:
        return None
    if abs(answer - mean) <= 0.01:
        return "esa es la del registro; con filas más largas hay más relleno en la media."
    if abs(answer - mean * 2) <= 0.02:
        return "el relleno se predice casi gratis: si hay más, ¿la media sube o baja?"
    return "el total de nats de una fila no cambia; lo que cambia es entre cuántos se reparte."


def _review_labels(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `labels(ids, eos)`, sin llamarla."
    cases = [
        ([5, 6, 7, 0, 0, 0], 0, [5, 6, 7, 0, IGNORED, IGNORED]),
        ([5, 6, 7], 0, [5, 6, 7]),
        ([9, 9], 9, [9, IGNORED]),
        ([3, 8, 9], 9, [3, 8, 9]),
    ]
    for ids, eos, expected in cases:
        given = list(ids)
        said = answer(given, eos)
        if given != ids:
            return "la función cambia la lista que recibe: devuelve otra."
        if list(said) == expected:
            continue
        if eos in ids and said[ids.index(eos)] == IGNORED:
            return (
                f"con {ids} tapa también el primer fin, y así nadie le enseña al modelo a callarse."
            )
        return f"con {ids} y fin {eos} debe salir {expected}, y sale {list(said)}."
    return None


def _review_split(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `split(pairs, test_dialogues)`, sin llamarla."
    pairs = [Pair(f"pregunta {d}.{i}", f"respuesta {d}.{i}", d) for d in range(6) for i in range(3)]
    pairs = pairs[::2] + pairs[1::2]  # desordenadas: las de un diálogo no van seguidas
    train, test = answer(pairs, {1, 4})
    if sorted(map(str, [*train, *test])) != sorted(map(str, pairs)):
        return "entre las dos listas deben estar todas las parejas, y cada una una sola vez."
    leaked = {p.dialogue for p in train} & {p.dialogue for p in test}
    if leaked:
        return f"hay parejas de los diálogos {sorted(leaked)} en los dos lados."
    if {p.dialogue for p in test} != {1, 4}:
        return "a la prueba van las parejas de los diálogos de `test_dialogues`, y nada más."
    return None


def _review_compare(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `compare(before, after)`, sin llamarla."
    cases = [
        ((0.20, 0.30), (0.40, 0.50), "sube"),
        ((0.40, 0.50), (0.20, 0.30), "baja"),
        ((0.20, 0.45), (0.40, 0.50), "no se sabe"),
        ((0.40, 0.50), (0.20, 0.45), "no se sabe"),
        ((0.10, 0.90), (0.40, 0.50), "no se sabe"),
    ]
    for before, after, expected in cases:
        said = answer(before, after)
        if said != expected:
            return f"con {before} antes y {after} después se espera «{expected}», y sale «{said}»."
    return None


EXERCISES = (
    Exercise(
        id="6.1",
        review=_review_longer_rows,
        praise="La mitad de pérdida sin aprender nada: basta con rellenar más.",
        hints=(
            "¿Cuántos nats suman las 128 posiciones de una fila? El relleno de más no añade casi "
            "ninguno.",
            "Los mismos nats, repartidos entre 256 posiciones en lugar de 128.",
        ),
        solution="""
respuesta = 0.697 * 128 / 256
""",
    ),
    Exercise(
        id="6.2",
        review=_review_labels,
        praise="El primer fin cuenta y el relleno no: el modelo aprende a callarse y nada más.",
        hints=(
            "No mires el valor de cada id por separado: mira su posición. ¿Dónde está el primer "
            "fin?",
            "Copia los ids hasta el primer fin, él incluido; desde ahí, todo es -100.",
            "`ids.index(eos)` da la posición del primero; si no hay ninguno, no hay qué tapar.",
        ),
        solution="""
def labels(ids, eos):
    end = ids.index(eos) + 1 if eos in ids else len(ids)
    return ids[:end] + [-100] * (len(ids) - end)

respuesta = labels
""",
    ),
    Exercise(
        id="6.3",
        review=_review_split,
        praise="Ninguna charla está en los dos lados: lo que midas ahí será de verdad.",
        hints=(
            "Cada pareja sabe de qué diálogo viene: `pair.dialogue`.",
            "Dos listas por comprensión: la condición de una es la contraria de la otra.",
        ),
        solution="""
def split(pairs, test_dialogues):
    train = [pair for pair in pairs if pair.dialogue not in test_dialogues]
    test = [pair for pair in pairs if pair.dialogue in test_dialogues]
    return train, test

respuesta = split
""",
    ),
    Exercise(
        id="6.4",
        review=_review_compare,
        praise="«No se sabe» es un resultado, y el más honrado cuando los intervalos se pisan.",
        hints=(
            "Sube si el intervalo de después empieza por encima de donde acaba el de antes.",
            "¿Y si se pisan, aunque sea por poco? Entonces no se sabe.",
        ),
        solution="""
def compare(before, after):
    if after[0] > before[1]:
        return "sube"
    if after[1] < before[0]:
        return "baja"
    return "no se sabe"

respuesta = compare
""",
    ),
)
