"""Ejercicios de la lección 03: de diálogos a ejemplos de entrenamiento."""

from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from course_lib.dialogues import Dialogue, to_pairs
from course_lib.encoding import IGNORED, Kind, original_text
from course_lib.exercises import Exercise
from course_lib.tracks import get_track

TURNS = (5, 2, 1, 8)  # los diálogos del ejercicio 3.1
TRUNCATED_LIMIT = 0.01  # la cota del 3.3, como parte de las parejas


def _not_a_function(answer: Any, name: str) -> str | None:
    if not callable(answer):
        return f"la respuesta debe ser la función misma, sin llamarla: «respuesta = {name}»."
    return None


_EMPTY = "tu función no devuelve nada: escribe su cuerpo y acábalo con un `return`."


# --- 3.1 -----------------------------------------------------------------------------------------


def review_pair_count(answer: Any) -> str | None:
    """Revisa el número de parejas de cuatro diálogos de 5, 2, 1 y 8 turnos."""
    if isinstance(answer, bool) or not isinstance(answer, int):
        return f"se espera un número entero, y hay {answer!r}."
    known = {
        sum(TURNS): "esos son los turnos; al último de cada diálogo no le contesta nadie.",
        sum(TURNS) - 1: "con esa cuenta, el último turno de un diálogo se empareja con el primero "
        "del siguiente, que no le contesta.",
        sum(n // 2 for n in TURNS): "así cada turno se usa una sola vez, pero el que contesta "
        "recibe a su vez respuesta, y entra en dos parejas.",
        len(TURNS): "esos son los diálogos; de casi todos sale más de una pareja.",
    }
    if answer == sum(n - 1 for n in TURNS):
        return None
    return known.get(answer, f"no son {answer}: cuenta primero las de cada diálogo y luego suma.")


# --- 3.2 -----------------------------------------------------------------------------------------


def review_padding_share(answer: Any) -> str | None:
    """Revisa una función `padding_share(lengths, max_length)`."""
    if problem := _not_a_function(answer, "padding_share"):
        return problem
    if (first := answer([2, 3], 5)) is None:
        return _EMPTY
    if _near(first, 50):
        return "parece un porcentaje: devuelve una parte de 0 a 1."
    if _near(first, 1):
        return "cuentas ejemplos que llevan relleno; se pide qué parte de las posiciones lo es."
    if _near(answer([1, 2], 4), 3 / 8):
        return "esa es la parte de texto: se pide la de relleno."
    for lengths, max_length, padding in (([2, 3], 5, 5), ([10], 5, 0), ([2, 20], 10, 8)):
        places = max_length * len(lengths)
        if not _near(share := answer(lengths, max_length), padding / places):
            return (
                f"con longitudes {lengths} y max_length={max_length} hay {padding} posiciones "
                f"de relleno entre {places}, y devuelves {share}. Lo que no cabe se corta."
            )
    return None


def _near(value: Any, expected: float) -> bool:
    return abs(float(value) - expected) < 1e-6


# --- 3.3 -----------------------------------------------------------------------------------------


def review_max_length(answer: Any) -> str | None:
    """Revisa una pareja (max_length, parte de relleno) sobre las parejas de la ruta."""
    try:
        max_length, share = answer
    except (TypeError, ValueError):
        return "se esperan dos números: «respuesta = (max_length, parte_de_relleno)»."
    if max_length != int(max_length):
        return f"max_length se cuenta en tokens, así que es un entero, y hay {max_length}."
    lengths = _pair_lengths()
    cut = _truncated(lengths, max_length)
    if cut >= TRUNCATED_LIMIT:
        return f"con {max_length} se corta el {cut:.2%} de las parejas, y se pide menos del 1%."
    if _truncated(lengths, max_length - 1) < TRUNCATED_LIMIT:
        return (
            f"{max_length} cumple, pero no es la menor: con {max_length - 1} también se corta "
            "menos del 1%, y se rellena menos."
        )
    expected = sum(max(0, max_length - n) for n in lengths) / (max_length * len(lengths))
    if abs(share - 100 * expected) < 0.5 < abs(share - expected):
        return "la longitud está bien; la parte de relleno va de 0 a 1, no en porcentaje."
    if abs(share - expected) > 0.005:
        return f"la longitud está bien, pero con ella la parte de relleno no es {share:.3f}."
    return None


def _truncated(lengths: list[int], max_length: int) -> float:
    return sum(n > max_length for n in lengths) / len(lengths)


def _pair_lengths() -> list[int]:
    """Tokens de cada pareja de entrenamiento de la ruta, con la codificación original."""
    with redirect_stdout(StringIO()):  # los avisos de la ruta ya los dio el cuaderno
        track = get_track()
        tokenizer, dialogues = track.load_tokenizer(), track.load_dialogues()
    texts = [original_text(tokenizer, p.user, p.reply) for p in to_pairs(dialogues)]
    return [len(ids) for ids in tokenizer(texts)["input_ids"]]


# --- 3.4 -----------------------------------------------------------------------------------------


def review_labels(answer: Any) -> str | None:
    """Revisa una función `reply_labels(input_ids, kinds)`, con un relleno que es también el fin."""
    if problem := _not_a_function(answer, "reply_labels"):
        return problem
    ids = [7, 21, 22, 8, 31, 32, 0, 0, 0]
    kinds = [Kind.MARKER, Kind.USER, Kind.USER, Kind.MARKER, Kind.REPLY, Kind.REPLY, Kind.END]
    kinds += [Kind.PADDING, Kind.PADDING]
    labels = answer(list(ids), list(kinds))
    if labels is None:
        return _EMPTY
    labels = list(labels)
    if len(labels) != len(ids):
        return f"salen {len(labels)} etiquetas para {len(ids)} tokens: hace falta una por token."
    if labels == ids:
        return "las etiquetas siguen siendo una copia de los ids: la pérdida lo cuenta todo."
    for label, token, kind in zip(labels, ids, kinds, strict=True):
        complaint = _label_complaint(label, token, kind)
        if complaint:
            return f"{complaint} (Devuelves {labels})."
    if answer([5, 0], [Kind.REPLY, Kind.REPLY]) != [5, 0]:
        return "con otra fila, toda de respuesta, se pierde algo: no te fíes de un id concreto."
    return None


def _label_complaint(label: int, token: int, kind: Kind) -> str | None:
    counts = kind in (Kind.REPLY, Kind.END)
    if counts and label == IGNORED:
        if kind == Kind.END:
            return (
                "el fin no cuenta, y sin él el modelo no aprende a callarse; mira la clase y no el "
                "id, que aquí es el mismo que el del relleno."
            )
        return f"el token {token} es de la respuesta y debe contar."
    if not counts and label == 0 != token:
        return f"0 es un token como otro cualquiera: para que uno no cuente se pone {IGNORED}."
    if not counts and label != IGNORED:
        names = {Kind.MARKER: "un marcador", Kind.USER: "del usuario", Kind.PADDING: "relleno"}
        return f"un token que es {names[kind]} sigue contando: le toca {IGNORED}."
    if counts and label != token:
        return (
            f"la etiqueta del token {token} debe ser el mismo id, y es {label}: desplazar una "
            "posición es cosa del modelo."
        )
    return None


# --- 3.5 -----------------------------------------------------------------------------------------

Split = Callable[[list[Dialogue], float, int], tuple[list[Dialogue], list[Dialogue]]]


def review_split(answer: Split) -> str | None:
    """Revisa una función `split(dialogues, test_fraction, seed)` con diálogos repetidos."""
    if problem := _not_a_function(answer, "split"):
        return problem
    unique = [Dialogue((f"¿Qué tal el día {i}?", "Bien.", "Me alegro.")) for i in range(100)]
    dialogues = unique + unique[:60]  # 60 salen dos veces
    result = answer(list(dialogues), 0.2, 0)
    if result is None:
        return _EMPTY
    train, test = result
    if not all(isinstance(item, Dialogue) for item in [*train, *test]):
        return "cada parte debe ser una lista de diálogos enteros, como los que recibe."
    if sorted(d.turns for d in [*train, *test]) != sorted(d.turns for d in dialogues):
        return (
            f"entran {len(dialogues)} diálogos y salen {len(train)} + {len(test)}: no debe "
            "perderse ni duplicarse ninguno."
        )
    if not train or not test:
        return "una de las dos partes queda vacía."
    if {d.turns for d in train} & {d.turns for d in test}:
        return (
            "hay diálogos idénticos a los dos lados: en este corpus algunos salen dos veces, y sus "
            "copias deben ir juntas."
        )
    if not 0.1 <= len(test) / len(dialogues) <= 0.3:
        return f"se pide probar con el 20 %, y va el {len(test) / len(dialogues):.0%}."
    if answer(list(dialogues), 0.2, 0) != (train, test):
        return "con la misma semilla da otro reparto: baraja con `random.Random(seed)`."
    if list(answer(list(dialogues), 0.2, 1)[1]) == list(test):
        return "con otra semilla el reparto es igual: falta barajar antes, o usar la semilla."
    return None


EXERCISES = (
    Exercise(
        id="3.1",
        review=review_pair_count,
        praise="Un diálogo de n turnos da n − 1 parejas; el de un solo turno, ninguna.",
        hints=(
            "¿Cuántas parejas salen de un diálogo de tres turnos? Están escritas más arriba.",
            "Cada turno menos el último recibe una respuesta: n turnos dan n − 1 parejas.",
        ),
        solution="respuesta = sum(turns - 1 for turns in (5, 2, 1, 8))",
    ),
    Exercise(
        id="3.2",
        review=review_padding_share,
        praise="Lo que pasa de la longitud fija se corta: su relleno es cero, nunca negativo.",
        hints=(
            "Cada ejemplo ocupa `max_length` posiciones. ¿Cuántas de ellas son relleno?",
            "Un ejemplo de n tokens lleva `max_length - n` de relleno, o ninguno si no cabía.",
            "Suma `max(0, max_length - n)` y divide por `max_length * len(lengths)`.",
        ),
        solution="""
def padding_share(lengths, max_length):
    padding = sum(max(0, max_length - n) for n in lengths)
    return padding / (max_length * len(lengths))

respuesta = padding_share
""",
    ),
    Exercise(
        id="3.3",
        review=review_max_length,
        praise="Que no se corte una pareja de cada cien se paga con relleno en todas las demás.",
        hints=(
            "Ya tienes `lengths`, y del ejercicio 3.2 la función `padding_share`.",
            "La parte que se corta con una longitud m es la media de `n > m`. Prueba con m = 1, "
            "2, 3… hasta que baje del 1%.",
            "next(m for m in range(1, max(lengths) + 1) if parte_cortada(m) < 0.01)",
        ),
        solution="""
from course_lib.dialogues import to_pairs
from course_lib.encoding import original_text
from course_lib.tracks import get_track

track = get_track()
tokenizer = track.load_tokenizer()
texts = [original_text(tokenizer, p.user, p.reply) for p in to_pairs(track.load_dialogues())]
lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]

def truncated(max_length):
    return sum(n > max_length for n in lengths) / len(lengths)

best = next(m for m in range(1, max(lengths) + 1) if truncated(m) < 0.01)
padding = sum(max(0, best - n) for n in lengths)
respuesta = (best, padding / (best * len(lengths)))
""",
    ),
    Exercise(
        id="3.4",
        review=review_labels,
        praise="Se decide por lo que el token es, no por su id: el fin y el relleno pueden ser el "
        "mismo.",
        hints=(
            "Recorre a la vez los ids y las clases con `zip`: unas posiciones guardan su id y las "
            "demás valen −100.",
            "Cuentan dos clases: `Kind.REPLY` y `Kind.END`.",
            "[token if kind in (Kind.REPLY, Kind.END) else -100 for token, kind in zip(...)]",
        ),
        solution="""
from course_lib.encoding import IGNORED, Kind

def reply_labels(input_ids, kinds):
    return [
        token if kind in (Kind.REPLY, Kind.END) else IGNORED
        for token, kind in zip(input_ids, kinds)
    ]

respuesta = reply_labels
""",
    ),
    Exercise(
        id="3.5",
        review=review_split,
        praise="Se reparten los diálogos distintos, y cada uno se lleva a sus copias.",
        hints=(
            "Baraja y corta diálogos, no parejas, con `random.Random(seed)`.",
            "Dos diálogos son el mismo si lo son sus `turns`: reparte los `turns` distintos.",
            "Los distintos, en orden y sin repetir: `list(dict.fromkeys(d.turns for d in "
            "dialogues))`. Barájalos, corta, y manda cada diálogo al lado de sus turnos.",
        ),
        solution="""
import random

def split(dialogues, test_fraction, seed):
    distinct = list(dict.fromkeys(d.turns for d in dialogues))
    random.Random(seed).shuffle(distinct)
    chosen = set(distinct[: round(len(distinct) * test_fraction)])
    train = [d for d in dialogues if d.turns not in chosen]
    test = [d for d in dialogues if d.turns in chosen]
    return train, test

respuesta = split
""",
    ),
)
