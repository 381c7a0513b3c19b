"""Ejercicios de la lección 03: de diálogos a ejemplos de entrenamiento."""

import random
from functools import cache

from course_lib.dialogues import Dialogue, to_pairs
from course_lib.encoding import IGNORED, Kind
from course_lib.exercises import Exercise
from course_lib.exercises.review import EMPTY, function, is_number, number, prediction, shown, told
from course_lib.tracks import get_track

# La fila del 3.3, en la que el fin y el relleno son el mismo token.
IDS, KINDS = [7, 21, 22, 8, 31, 32, 0, 0, 0], [Kind(n) for n in (0, 1, 1, 0, 2, 2, 3, 4, 4)]
LABELS = [IGNORED] * 4 + [31, 32, 0] + [IGNORED] * 2
DIALOGUES = [Dialogue((f"¿Qué tal el día {i}?", "Bien.", "Me alegro.")) for i in range(100)]
DIALOGUES += DIALOGUES[:60]  # los del 3.4: 60 salen dos veces

SHARE_SLIPS = (
    (700 / 12, "Parece un porcentaje: devuelve una parte de 0 a 1."),
    (1, "Cuentas ejemplos que llevan relleno; se pide qué parte de las posiciones lo es."),
    (5 / 12, "Esa es la parte de texto: se pide la de relleno."),
    (7 / 5, "Divides por los tokens de texto; se pide la parte de todas las posiciones."),
)


@cache
def _leak() -> tuple[float, float]:
    """De barajar parejas: qué parte de las de prueba tiene hermanas y cuál se ha leído ya."""
    pairs = to_pairs(get_track(report=lambda text: None).load_dialogues())
    shuffled = random.Random(0).sample(pairs, len(pairs))
    test, train = shuffled[: len(pairs) // 10], shuffled[len(pairs) // 10 :]
    known = {pair.dialogue for pair in train}
    texts = {text for pair in train for text in (pair.user, pair.reply)}
    seen = sum(pair.reply in texts for pair in test)
    return sum(pair.dialogue in known for pair in test) / len(test), seen / len(test)


def _review_leak(measured) -> str | None:
    if not is_number(measured) or not 0 <= measured <= 1:
        return f"La medida es una parte, de 0 a 1, y hay {shown(measured)}."
    siblings, seen = _leak()
    slips = {siblings: "Esa es la parte que tiene hermanas; se pide la de respuestas ya leídas."}
    otherwise = "La medida no es {}. Sale de `seen_before`, con las parejas recién barajadas."
    return number(seen, slips, otherwise, tolerance=0.005)(measured)


def _wrong(kind: Kind):
    """La función que dice si, en la fila del 3.3, falla la etiqueta de algún token de `kind`."""
    return lambda labels: any(a != b for a, b, k in zip(labels, LABELS, KINDS) if k == kind)


LABEL_SLIPS = (
    (lambda labels: len(labels) != len(IDS), "Hace falta una etiqueta por token."),
    (IDS, "Las etiquetas siguen siendo una copia de los ids: la pérdida lo cuenta todo."),
    ([*LABELS[1:], IGNORED], "Desplazar una posición es cosa del modelo: cada etiqueta es su id."),
    (lambda labels: 0 in labels[:6], "0 es un token más: para que uno no cuente se pone -100."),
    (_wrong(Kind.MARKER), "Un token que es un marcador sigue contando: le toca -100."),
    (_wrong(Kind.USER), "Un token del usuario sigue contando: le toca -100."),
    (_wrong(Kind.REPLY), "Todo token de la respuesta debe contar, y su etiqueta es su mismo id."),
    (_wrong(Kind.END), "Sin contar el fin no aprende a callarse: mira la clase y no el id."),
    (_wrong(Kind.PADDING), "El relleno cuenta, porque su id es el del fin: míralo por su clase."),
)


def _review_split(answer) -> str | None:
    if (parts := answer(list(DIALOGUES), 0.2, 0)) is None:
        return EMPTY
    if not isinstance(parts, tuple | list) or len(parts) != 2:
        return "Debe devolver dos listas: la de entrenar y la de probar."
    train, test = map(list, parts)
    if not all(isinstance(item, Dialogue) for item in train + test):
        return "Cada parte debe ser una lista de diálogos enteros, como los que recibe."
    if sorted(d.turns for d in train + test) != sorted(d.turns for d in DIALOGUES):
        counts = f"Entran {len(DIALOGUES)} diálogos y salen {len(train)} + {len(test)}"
        return f"{counts}: no debe perderse ni duplicarse ninguno."
    if not train or not test:
        return "Una de las dos partes queda vacía."
    if leaked := {d.turns for d in train} & {d.turns for d in test}:
        return f"Hay {len(leaked)} diálogos idénticos a los dos lados: las copias deben ir juntas."
    if not 0.1 <= (share := len(test) / len(DIALOGUES)) <= 0.3:
        return f"Se pide probar con el 20%, y va el {share:.0%}."
    if list(map(list, answer(list(DIALOGUES), 0.2, 0))) != [train, test]:
        return "Con la misma semilla da otro reparto: baraja con `random.Random(seed)`."
    if list(answer(list(DIALOGUES), 0.2, 1)[1]) == test:
        return "Con otra semilla el reparto es igual: falta barajar antes, o usar la semilla."
    return None


EXERCISES = {
    "3.1": Exercise(
        prediction(0, 1, _review_leak),
        "La predicción es tuya y no puede estar mal. La medida la imprime la celda de en medio.",
        "Se pide la segunda de las dos, la de las respuestas ya leídas, de 0 a 1.",
        "seen_before(train_pairs, test_pairs)",
        praise=lambda answer: (
            f"{told(*answer, 0.05)} Con esa prueba, quien se aprenda de memoria lo que leyó "
            "parecerá que sabe contestar."
        ),
    ),
    "3.2": Exercise(
        function(
            "padding_share(lengths, max_length)",
            (([2, 3], 6), 7 / 12, "hay 7 posiciones de relleno entre 12", *SHARE_SLIPS),
            (([10], 5), 0, "lo que no cabe se corta, y no queda relleno"),
            (([2, 20], 10), 0.4, "hay 8 posiciones de relleno entre 20, y lo que no cabe se corta"),
        ),
        "Cada ejemplo ocupa `max_length` posiciones. ¿Cuántas de ellas son relleno?",
        "Un ejemplo de n tokens lleva `max_length - n` de relleno, o ninguno si no cabía.",
        "Suma `max(0, max_length - n)` y divide por `max_length * len(lengths)`.",
        praise="Lo que pasa de la longitud fija se corta: su relleno es cero, nunca negativo.",
    ),
    "3.3": Exercise(
        function(
            "reply_labels(input_ids, kinds)",
            ((IDS, KINDS), LABELS, "solo cuentan la respuesta y su fin", *LABEL_SLIPS),
            (([5, 0], [Kind.REPLY] * 2), [5, 0], "aquí todo es respuesta; no te fíes de un id"),
        ),
        "Recorre a la vez ids y clases con `zip`: unas etiquetas son el id y las demás, −100.",
        "Cuentan dos clases: `Kind.REPLY` y `Kind.END`.",
        "[token if kind in (Kind.REPLY, Kind.END) else -100 for token, kind in zip(...)]",
        praise="Se decide por lo que el token es, no por su id, que el fin y el relleno comparten.",
    ),
    "3.4": Exercise(
        function("split(dialogues, test_fraction, seed)", then=_review_split),
        "Baraja y corta diálogos, no parejas, con `random.Random(seed)`.",
        "Dos diálogos son el mismo si lo son sus `turns`: reparte los `turns` distintos.",
        "Los distintos, en orden y sin repetir: `list(dict.fromkeys(d.turns for d in dialogues))`. "
        "Barájalos, corta, y manda cada diálogo al lado de sus turnos.",
        praise="Se reparten los diálogos distintos, y cada uno se lleva a sus copias.",
    ),
}
