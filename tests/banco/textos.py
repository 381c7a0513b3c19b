"""Charlas y relatos de mentira, en español y en inglés, tantos como hagan falta y sin repetirse.

Cada uno lleva un número propio: dos charlas distintas no comparten ningún turno por casualidad.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from course_lib.dialogues import Dialogue
from tests.banco.caso import scratch

_SCENES = {
    "es": (
        (
            "¿A qué hora sale el tren {n} para {city}?",
            "El tren {n} sale a las {h} y cuarto, desde la vía {d}.",
            "¿Y cuánto cuesta el billete del {n}?",
            "El billete del tren {n} cuesta {p} euros, ida y vuelta.",
            "Deme dos para el {n}, por favor.",
            "Aquí los tiene: tren {n}, asientos {d} y {h}. ¡Buen viaje a {city}!",
        ),
        (
            "Hola, soy {name}. Quería saber de mi pedido {n}.",
            "Buenos días, {name}. El pedido {n} salió ayer de {city}.",
            "¿Llegará el {n} antes del viernes?",
            "Sí, el {n} llega en {d} días, antes de las {h}.",
            "Perfecto. ¿Puedo recoger el {n} yo?",
            "Claro: recoja el {n} en la calle Mayor {p}, de {city}.",
        ),
        (
            "Me duele la rodilla desde el partido {n}.",
            "¿Se dio un golpe en el partido {n}, {name}?",
            "No, tropecé en el minuto {h} del {n}.",
            "Póngase hielo {d} veces al día y vuelva con el informe {n}.",
            "¿Podré jugar el partido siguiente al {n}?",
            "Después del {n} descanse {p} horas y hablamos.",
        ),
        (
            "¿Has leído el libro número {n} de la lista de {name}?",
            "Sí: el {n} trata de una familia de {city} que lo pierde todo.",
            "¿Y te gustó el {n}?",
            "El {n} me gustó mucho; lo terminé en {d} noches.",
            "¿Me prestas el {n}?",
            "Te dejo el {n} el día {h}, pero devuélvemelo antes del {p}.",
        ),
    ),
    "en": (
        (
            "What time does train {n} to {city} leave?",
            "Train {n} leaves at {h} fifteen, from platform {d}.",
            "How much is a ticket for the {n}?",
            "A ticket for train {n} is {p} dollars, both ways.",
            "Two for the {n}, please.",
            "Here you are: train {n}, seats {d} and {h}. Enjoy {city}!",
        ),
        (
            "Hi, this is {name}. I'm calling about order {n}.",
            "Good morning, {name}. Order {n} left {city} yesterday.",
            "Will {n} be here before Friday?",
            "Yes, {n} will arrive in {d} days, before {h} o'clock.",
            "Great. Can I pick {n} up myself?",
            "Of course: pick {n} up at {p} Main Street, {city}.",
        ),
        (
            "Have you read book number {n} on {name}'s list?",
            "Yes, {n} is about a family from {city} who lose everything.",
            "And did you like {n}?",
            "I loved {n}; I finished it in {d} nights.",
            "Could you lend me {n}?",
            "I'll bring {n} on day {h}, but give it back before day {p}.",
        ),
    ),
}
_NAMES = ("Óscar", "Ángela", "Tom", "Lucía", "Marta", "Iñigo", "Emma", "Peter", "Noa", "Begoña")
_CITIES = ("París", "Lima", "Boston", "Cádiz", "Bogotá", "Leeds", "Vigo", "Quito", "Denver", "León")


def talks(
    n: int, language: str = "es", turns: int = 2, roles: bool = False, start: int = 0
) -> list[Dialogue]:
    """`n` charlas distintas de `turns` turnos (hasta seis), desde la número `start`.

    Args:
        language: «es» o «en».
        roles: si llevan papeles (usuario y asistente, por turno), como en el esquema `messages`.
    """
    made = []
    for i in range(start, start + n):
        rng = random.Random(i)
        scenes = _SCENES[language]
        slots = {
            "n": 1000 + i,
            "name": rng.choice(_NAMES),
            "city": rng.choice(_CITIES),
            "h": rng.randint(1, 23),
            "d": rng.randint(2, 30),
            "p": rng.randint(31, 99),
        }
        said = tuple(line.format(**slots) for line in scenes[i % len(scenes)][:turns])
        who = tuple("user" if t % 2 == 0 else "assistant" for t in range(turns)) if roles else None
        made.append(Dialogue(said, roles=who, source=f"charla {i}"))
    return made


def messages(dialogue: Dialogue) -> list[dict[str, str]]:
    """Los turnos como mensajes: habla primero el usuario."""
    return [
        {"role": ("user", "assistant")[t % 2], "content": turn}
        for t, turn in enumerate(dialogue.turns)
    ]


def stories(n: int, language: str = "es", sentences: int = 6, start: int = 0) -> list[str]:
    """`n` textos corridos, sin turnos ni papeles."""
    return [
        " ".join(
            turn.replace("¿", "").replace("?", ".")
            for talk in talks(-(-sentences // 6), language, 6, start=(start + i) * 7)
            for turn in talk.turns
        )
        for i in range(n)
    ]


def export(dialogues: Sequence[Dialogue], name: str, form: str = "dialog") -> Path:
    """Escribe las charlas en un archivo nuevo.

    Args:
        name: nombre del archivo; acaba en `.jsonl` (una por línea) o en `.json` (una lista).
        form: `dialog` (el esquema de DailyDialog) o `messages`.
    """
    records = [
        {"dialog": list(d.turns)} if form == "dialog" else {"messages": messages(d)}
        for d in dialogues
    ]
    path = scratch() / name
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    text = "\n".join(lines) if path.suffix == ".jsonl" else "[" + ",".join(lines) + "]"
    path.write_text(text + "\n", encoding="utf-8")
    return path
