"""Diálogos: de un archivo a parejas de entrenamiento, sin perder nada en silencio.

Acepta el esquema de DailyDialog (`dialog`, `act`, `emotion`), listas de mensajes con papeles
(`messages`, con `role` y `content`) y los de ShareGPT, Alpaca y `prompt`/`completion`, en los
formatos que abre `records`.
"""

import hashlib
import json
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, cycle, pairwise
from pathlib import Path

from course_lib import data_path, read_toml, shorten
from course_lib.records import file_records, json_type, memory_records

DISTINCT = 100_000  # respuestas distintas que se cuentan una a una
ROLES = ("system", "user", "assistant")
_MARKER = re.compile(r"<\|\w+\|>")  # <|user|>, <|bot|>, <|endoftext|>…
_HALF = re.compile("[\ud800-\udfff]")  # medio carácter


@dataclass(frozen=True)
class Dialogue:
    """Un diálogo: sus turnos en orden y, si el archivo los trae, actos, emociones y papeles.

    `acts` y `emotions` siguen la numeración de DailyDialog (Li et al., 2017, arXiv:1710.03957);
    `source` es «archivo, línea N», para poder señalarlo.
    """

    turns: tuple[str, ...]
    acts: tuple[int, ...] | None = None
    emotions: tuple[int, ...] | None = None
    roles: tuple[str, ...] | None = None
    source: str = ""


@dataclass(frozen=True)
class Pair:
    """Lo que alguien dijo y lo que le respondieron; `dialogue` es el número de su diálogo."""

    user: str
    reply: str
    dialogue: int


def read_dialogues(
    source: object, report: Callable[[str], None] = print, limit: int | None = None, name: str = ""
) -> list[Dialogue]:
    """Lee los diálogos de un archivo, los tuyos o los de otro, o de unos datos en memoria.

    Un archivo que no se entiende es un error. Un diálogo que se entiende pero no sirve (un solo
    turno, un turno vacío o con un marcador dentro) se salta, y `report` recibe una frase que dice
    cuántos son, dónde están y qué hacer. También si de uno que se queda hay algo que no se usa.

    Args:
        source: un `.jsonl` o `.json` (de hasta 100 MB) en UTF-8, o su `.gz`, un `.parquet`, la
            carpeta de un `save_to_disk`; o un `Dataset`, un `DatasetDict` o una lista de diálogos.
        limit: los que guardar como mucho, como `sample_dialogues`; se dice.
        name: cómo se llaman unos datos en memoria, para señalarlos.

    Raises:
        FileNotFoundError: si el archivo no existe.
        ValueError: si no es UTF-8 o JSON, le falta un campo, un tipo no es el debido, una línea es
            gigantesca o no queda ningún diálogo; el mensaje dice la línea y cómo arreglarla.
    """
    found = iter_dialogues(source, report, name)
    if limit is None:
        return list(found)
    sample, total = sample_dialogues(found, limit)
    if total > limit:
        report(f"Se miran {len(sample)} diálogos de {total}, elegidos por su huella.")
    return sample


def iter_dialogues(
    source: object, report: Callable[[str], None] = print, name: str = ""
) -> Iterator[Dialogue]:
    """Lo mismo que `read_dialogues`, de uno en uno: no guarda más que el que da."""
    in_file = isinstance(source, str | Path)
    records = file_records(Path(source)) if in_file else memory_records(source)
    name = shorten(source, 4096) if in_file else name or "dialogues"
    unit = "línea" if ".jsonl" in name[-9:].lower() else "diálogo"
    good, times, first = 0, Counter(), defaultdict(list)
    for number, record, lost in records:
        if isinstance(record, Dialogue):  # ya se leyó, y se dijo lo que hubiera
            dialogue, problem, lost = record, None, []
        else:
            dialogue, more = _parse(record, f"{name}, {unit} {number}")
            problem, lost = _problem(dialogue), [*lost, *more]
        for said in [problem] if problem else lost:
            times[said] += 1
            if times[said] <= 8:
                first[said].append(str(number))
        if not problem:
            good += 1
            yield dialogue
    for said, count in times.items():
        shown = ", ".join(first[said]) + " y más" * (count > 8)
        report(f"{Path(name).name}: {said}: {count} ({unit}{'s' * (count > 1)} {shown}).")
    if not good:
        raise ValueError(
            f"«{name}» no deja ningún diálogo que usar: hacen falta diálogos de dos turnos o más."
        )


def sample_dialogues(dialogues: Iterable[Dialogue], limit: int) -> tuple[list[Dialogue], int]:
    """Hasta `limit` diálogos de los que sean, y cuántos eran; en memoria, solo la muestra.

    Se elige por la huella del texto, sin mayúsculas ni signos: los que se repiten van todos o
    ninguno, y así las repeticiones se cuentan bien también en la muestra. De un mismo texto no van
    más de `limit`: si no, uno repetido sin fin llenaría la memoria.
    """
    kept, top, copies, total = [], _MARKS, Counter(), 0
    for dialogue in dialogues:
        total += 1
        mark = fingerprint(dialogue)
        if mark < top and copies[mark] < limit:
            kept.append((mark, dialogue))
            copies[mark] += 1
        while len(kept) > limit:
            top //= 2
            kept = [pair for pair in kept if pair[0] < top] or kept[:limit]  # o no quedaría nada
            copies = Counter(mark for mark, _ in kept)
    return [dialogue for _, dialogue in kept], total


def fingerprint(dialogue: Dialogue) -> int:
    """La huella de un diálogo: la misma con otras mayúsculas, tildes o signos."""
    return _mark("\n".join(map(normalize, dialogue.turns)))


_MARKS = 2**64  # huellas distintas


def _mark(text: str) -> int:
    """La huella de un texto, que reparte los textos por igual entre 0 y `_MARKS`."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def shipped_dialogues(part: str = "train") -> list[Dialogue]:
    """Los diálogos de CharlaDiaria, que vienen con el curso: «train», «validation», «test» o, los
    que leyó el minimodelo, «pretrain». Cada parte sale de otras escenas."""
    if part not in ("pretrain", "train", "validation", "test"):
        options = "«pretrain», «train», «validation» o «test»"
        raise ValueError(f"CharlaDiaria no tiene la parte «{part}»: elige {options}.")
    return read_dialogues(data_path("charladiaria", f"{part}.jsonl"))


def to_pairs(dialogues: Iterable[Dialogue]) -> list[Pair]:
    """Parejas de turnos seguidos: cada turno y su respuesta. Con papeles, de usuario a asistente.

    >>> to_pairs([Dialogue(("Hola.", "¡Hola!", "¿Qué tal?"))])[1]
    Pair(user='¡Hola!', reply='¿Qué tal?', dialogue=0)
    """
    return [
        Pair(dialogue.turns[i], dialogue.turns[i + 1], index)
        for index, dialogue in enumerate(dialogues)
        for i in range(len(dialogue.turns) - 1)
        if dialogue.roles is None or dialogue.roles[i : i + 2] == ("user", "assistant")
    ]


def split_dialogues(
    dialogues: Sequence[Dialogue], test_fraction: float = 0.1, seed: int = 0
) -> tuple[list[Dialogue], list[Dialogue]]:
    """Reparte diálogos enteros, nunca parejas, entre entrenamiento y prueba.

    Los diálogos idénticos van siempre al mismo lado: si no, la prueba los habría visto.
    """
    groups = defaultdict(list)
    for dialogue in dialogues:
        groups[dialogue.turns].append(dialogue)
    order = list(groups)
    random.Random(seed).shuffle(order)
    cut = round(len(order) * test_fraction)
    if not 0 < cut < len(order):
        some = "1 diálogo distinto" if len(order) == 1 else f"{len(order)} diálogos distintos"
        raise ValueError(
            f"Con {some} y test_fraction={test_fraction} una de las partes queda vacía: reúne más "
            "diálogos o cambia la fracción."
        )
    test, train = order[:cut], order[cut:]
    return [d for t in train for d in groups[t]], [d for t in test for d in groups[t]]


@dataclass(frozen=True)
class DialogueStats:
    """Resumen de un corpus; las cuotas (`*_share`) van de 0 a 1."""

    dialogues: int
    utterances: int
    pairs: int
    mean_turns: float
    question_share: float
    yes_share: float
    no_share: float
    unique_reply_share: float


@lru_cache(maxsize=200_000)  # el auditor compara corpus enteros
def normalize(text: str) -> str:
    """Minúsculas, sin tildes y con espacios en lugar de signos: lo que se compara al corregir.

    >>> normalize("  ¡Sí, es París! ")
    'si es paris'
    """
    letters = unicodedata.normalize("NFD", text.lower())
    bare = "".join(c for c in letters if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W_]+", bare))


def is_question(text: str) -> bool:
    """Dice si la intervención termina en pregunta."""
    return text.rstrip(" »\"'”").endswith("?")


def is_yes_no_question(text: str, language: str = "es") -> bool:
    """Dice si la última pregunta de la intervención se contesta con sí o no.

    En español, lo que sigue al último «¿» no empieza por un interrogativo; en inglés, la
    última oración empieza por un verbo auxiliar.
    """
    if language == "es":
        last = text.rsplit("¿", 1)[-1]
        return is_question(text) and not _begins(last, language, "nexos", "interrogativos")
    last = re.split(r"[.!?;]\s+(?=\S)", text.rstrip(" ?\"'”"))[-1]
    return _begins(last, language, "nexos", "auxiliares") and is_question(text)


def begins_with_no(text: str, language: str = "es") -> bool:
    """Dice si la intervención empieza negando («No…», «Qué va…», «Claro que no…»)."""
    return _begins(text, language, "muletillas", "noes")


def begins_with_yes(text: str, language: str = "es") -> bool:
    """Dice si la intervención empieza afirmando («Sí…», «Claro…»); «vale» y «bueno» no cuentan."""
    yes = _begins(text, language, "muletillas", "sies")
    return yes and not begins_with_no(text, language)


def _begins(text: str, language: str, skipped: str, words: str) -> bool:
    """Si un texto empieza por una palabra de una lista, tras las de otra que se pueden saltar."""
    table = _words(language)
    start = re.sub(r"\s*['’]\s*", "'", text.lower().lstrip(" ¡¿«»\"'“”—-…."))
    skip = rf"(?:(?:{'|'.join(table[skipped])})\b[\s,!¡.…]*)*"
    return bool(re.match(rf"{skip}(?:{'|'.join(table[words])})\b", start))


def _words(language: str) -> dict[str, list[str]]:
    """Las listas de `data/dialogos/palabras.toml` de una lengua."""
    tables = read_toml("dialogos", "palabras.toml")
    if language not in tables:
        raise ValueError(f"No hay tablas para la lengua «{language}»: usa «es» o «en».")
    return tables[language]


def describe_dialogues(dialogues: Iterable[Sequence[str]], language: str = "es") -> DialogueStats:
    """Cuenta lo que caracteriza a un corpus de diálogos.

    Un par es una intervención con la que la contesta; las cuotas de sí y de no se toman entre las
    respuestas a preguntas de sí o no; la de respuestas únicas es respuestas distintas entre
    respuestas (con más de cien mil distintas, estimadas por sus huellas). Una cuota sin casos vale
    0. Los diálogos se recorren una vez y no se guardan.

    Args:
        dialogues: cada diálogo, la sucesión de sus intervenciones.
        language: «es» o «en»; decide qué es un sí, un no y una pregunta de sí o no.
    """
    _words(language)
    n, marks, top = Counter(), set(), _MARKS
    for turns in dialogues:
        n["dialogues"] += 1
        n["utterances"] += len(turns)
        for user, reply in pairwise(turns):
            n["pairs"] += 1
            n["questions"] += is_question(user)
            if is_yes_no_question(user, language):
                n["yes_no"] += 1
                n["yes"] += begins_with_yes(reply, language)
                n["no"] += begins_with_no(reply, language)
            if (mark := _mark(reply)) < top:
                marks.add(mark)
            while len(marks) > DISTINCT:
                top //= 2
                marks = {mark for mark in marks if mark < top}

    def share(part: float, whole: str) -> float:
        return part / n[whole] if n[whole] else 0.0

    return DialogueStats(
        dialogues=n["dialogues"],
        utterances=n["utterances"],
        pairs=n["pairs"],
        mean_turns=share(n["utterances"], "dialogues"),
        question_share=share(n["questions"], "pairs"),
        yes_share=share(n["yes"], "yes_no"),
        no_share=share(n["no"], "yes_no"),
        unique_reply_share=share(len(marks) * (_MARKS / top), "pairs"),
    )


_UNEVEN = (
    "«act» o «emotion» no son listas de enteros tan largas como «dialog»; "
    "el diálogo se queda, sin esas anotaciones"
)
_BESIDE = "con dos esquemas a la vez («{}»); el diálogo se queda, leído por el primero"
_PARTS = "con partes que no son texto (imágenes, sonido…); el diálogo se queda, sin ellas"
_CALLS = (
    "con llamadas a herramientas; el diálogo se queda: las llamadas, como texto del asistente, y "
    "lo que contesta la herramienta, como mensaje del usuario"
)
_UNPAIRED = (
    "con mensajes que no dan pareja (de sistema, dos seguidos del mismo papel o sin contestar); "
    "el diálogo se queda, y ellos no se usan"
)


# Los campos que delatan cada esquema, del más al menos claro.
_SHAPES = (("messages",), ("conversations",), ("dialog",), ("instruction", "output"),
           ("prompt", "completion"))  # fmt: skip


def _parse(record: object, where: str) -> tuple[Dialogue, list[str]]:
    """El diálogo de un registro, con cualquiera de los esquemas, y lo que de él no se usa."""
    if isinstance(record, list | tuple):
        texts = record and all(isinstance(turn, str) for turn in record)
        record = {"dialog" if texts else "messages": record}
    if not isinstance(record, dict):
        raise ValueError(f"{where}: se esperaba un objeto JSON, y hay {json_type(record)}.")
    # En una tabla, lo que un registro no tiene está y es null.
    shapes = [s for s in _SHAPES if all(record.get(field) is not None for field in s)]
    shape = next(iter([*shapes, *(s for s in _SHAPES if record.keys() >= {*s})]), None)
    if shape is None:
        fields = shorten(", ".join(f"«{key}»" for key in record) or "nada", 200)
        raise ValueError(
            f"{where}: falta el campo «dialog» (lista de turnos), «messages» o «conversations» "
            "(lista de mensajes), o las parejas «instruction» y «output» o «prompt» y "
            f"«completion»; hay {fields}."
        )
    lost = [_BESIDE.format("» y «".join(s[0] for s in shapes))] if shapes[1:] else []
    if shape == ("dialog",):
        return _from_turns(record, where, lost), lost
    return _from_messages(_messages(record, shape), shape[0], where, lost), lost


def _messages(record: dict, shape: tuple[str, ...]) -> object:
    """Los mensajes de un registro, tal como vengan; los de unos textos sueltos, hechos aquí."""
    messages = record[shape[0]]
    if len(shape) == 2:
        asked = messages
        if shape[0] == "instruction" and record.get("input"):
            asked = f"{asked}\n\n{record['input']}"
        # En Alpaca, lo hablado antes: parejas. Lo que no sea una lista, que se queje quien lo lea.
        said, messages = [_listed(past) for past in _listed(record.get("history") or [])], []
        turns = [*chain.from_iterable(said), asked, record[shape[1]]]
        for role, side in zip(cycle(ROLES[:0:-1]), reversed(turns)):
            own = side if isinstance(side, list) else [{"role": role, "content": side}]
            messages = [*own, *messages]
    if isinstance(messages, list) and record.get("system"):
        messages = [{"role": "system", "content": record["system"]}, *messages]
    return messages


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _from_turns(record: dict, where: str, lost: list[str]) -> Dialogue:
    """El diálogo de una lista de turnos; en `lost`, si sus anotaciones no casan."""
    turns = record["dialog"]
    if not isinstance(turns, list | tuple) or not all(isinstance(turn, str) for turn in turns):
        raise ValueError(f"{where}: «dialog» debe ser una lista de textos, y no lo es: revísala.")
    notes = {key: record.get(key) for key in ("act", "emotion")}
    fits = all(
        isinstance(values, list) and list(map(type, values)) == [int] * len(turns)
        for values in notes.values()
        if values is not None
    )
    lost += [] if fits else [_UNEVEN]
    acts, emotions = (tuple(v) if fits and v is not None else None for v in notes.values())
    return Dialogue(tuple(turn.strip() for turn in turns), acts, emotions, source=where)


def _from_messages(messages: object, field: str, where: str, lost: list[str]) -> Dialogue:
    """El diálogo de una lista de mensajes con papeles; en `lost`, lo que no se usa."""
    if not isinstance(messages, list | tuple):
        raise ValueError(f"{where}: «{field}» debe ser una lista, y es {json_type(messages)}.")
    known, turns, roles, odd = read_toml("dialogos", "papeles.toml"), [], [], set()
    for i, message in enumerate(messages, 1):
        here, fields = f"{where}, mensaje {i}", message if isinstance(message, dict) else {}
        role = fields.get("role") or fields.get("from")
        content = fields.get("value") if fields.get("content") is None else fields["content"]
        calls = fields.get("tool_calls") or fields.get("function_call")
        if role is None or not (calls or fields.keys() & {"content", "value"}):
            raise ValueError(f"{here}: debe llevar «role» y «content» (o «from» y «value»).")
        tool = known["herramientas"].get(str(role).lower())
        if not (name := tool or known["papeles"].get(str(role).lower())):
            options = "», «".join(ROLES)
            raise ValueError(f"{here}: el papel «{shorten(role)}» no existe: usa «{options}».")
        if isinstance(content, list):
            texts = [part.get("text") if isinstance(part, dict) else part for part in content]
            content = "\n".join(text for text in texts if isinstance(text, str))
            odd |= set() if all(isinstance(text, str) for text in texts) else {_PARTS}
        if not isinstance(content, str | None):
            raise ValueError(f"{here}: «content» debe ser texto, y es {json_type(content)}.")
        odd |= {_CALLS} if calls or tool else set()
        said = json.dumps(calls, ensure_ascii=False, default=str) if calls else ""
        turns.append(f"{content or ''}\n{said}".strip())
        roles.append(name)
    dialogue = Dialogue(tuple(turns), roles=tuple(roles), source=where)
    if 2 * len(to_pairs([dialogue])) < len(turns):
        odd.add(_UNPAIRED)
    lost += sorted(odd)
    return dialogue


def _problem(dialogue: Dialogue) -> str | None:
    """Por qué un diálogo bien formado no sirve para entrenar, o `None` si sirve."""
    turns = dialogue.turns
    if len(turns) < 2:
        return "saltados por tener menos de dos turnos (sin respuesta no hay pareja)"
    if not all(turns):
        return "saltados por tener un turno vacío (complétalo o quita el diálogo)"
    text = "\n".join(turns)
    if _MARKER.search(text):
        return "saltados por llevar un marcador como «<|user|>» en un turno (deja solo el texto)"
    if _HALF.search(text):
        return "saltados por llevar medio carácter Unicode suelto (vuelve a exportar el texto)"
    if dialogue.roles and not to_pairs([dialogue]):
        return "saltados porque ningún mensaje «user» va seguido de uno «assistant»"
    return None
