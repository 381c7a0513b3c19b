"""Diálogos: de un archivo a parejas de entrenamiento, sin perder nada en silencio.

Acepta el esquema de DailyDialog (`dialog`, `act`, `emotion`) y listas de mensajes con papeles
(`messages`, con `role` y `content`), en `.jsonl` (un diálogo por línea) o en `.json` (una lista).
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
from itertools import pairwise
from pathlib import Path

from course_lib import data_path, read_toml

MAX_LINE_BYTES = 10_000_000
DISTINCT = 100_000  # respuestas distintas que se cuentan una a una
ROLES = ("system", "user", "assistant")
_MARKER = re.compile(r"<\|\w+\|>")  # <|user|>, <|bot|>, <|endoftext|>…


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


def read_dialogues(path: str | Path, report: Callable[[str], None] = print) -> list[Dialogue]:
    """Lee los diálogos de un archivo `.jsonl` o `.json`, en UTF-8, los tuyos o los de otro.

    Un archivo que no se entiende es un error. Un diálogo que se entiende pero no sirve (un solo
    turno, un turno vacío o con un marcador dentro) se salta, y `report` recibe una frase que dice
    cuántos son, dónde están y qué hacer.

    Raises:
        FileNotFoundError: si el archivo no existe.
        ValueError: si no es UTF-8 o JSON, le falta un campo, un tipo no es el debido, una línea es
            gigantesca o no queda ningún diálogo; el mensaje dice la línea y cómo arreglarla.
    """
    return list(iter_dialogues(path, report))


def iter_dialogues(path: str | Path, report: Callable[[str], None] = print) -> Iterator[Dialogue]:
    """Lo mismo que `read_dialogues`, de uno en uno: de un `.jsonl` no guarda más que el que da."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"«{path}» es una carpeta: da el archivo .jsonl o .json que haya dentro.")
    if not path.is_file():
        raise FileNotFoundError(f"No existe el archivo «{path}»: revisa la ruta y el nombre.")
    if path.suffix.lower() not in (".jsonl", ".json"):
        raise ValueError(f"«{path}» no acaba en .jsonl ni en .json: cambia el formato o el nombre.")
    unit = "línea" if path.suffix.lower() == ".jsonl" else "diálogo"
    yield from _dialogues(_records(path), str(path), unit, report)


def collect_dialogues(
    records: Iterable[tuple[int, object]],
    name: str,
    unit: str = "diálogo",
    report: Callable[[str], None] = print,
) -> list[Dialogue]:
    """Los diálogos de unos registros ya leídos, cada uno con su número; avisa de lo que se salta.

    Args:
        records: parejas de número y registro, con cualquiera de los dos esquemas.
        name, unit: de dónde vienen y qué cuenta el número («línea» o «diálogo»), para señalarlo.
    """
    return list(_dialogues(records, name, unit, report))


def _dialogues(
    records: Iterable[tuple[int, object]], name: str, unit: str, report: Callable[[str], None]
) -> Iterator[Dialogue]:
    """Los diálogos que valen, de uno en uno; al acabar, las frases sobre los que se saltan."""
    good, times, first = 0, Counter(), defaultdict(list)

    def notice(problem: str, number: int) -> None:
        times[problem] += 1
        if times[problem] <= 8:
            first[problem].append(str(number))

    for number, record in records:
        dialogue, annotated = _parse(record, f"{name}, {unit} {number}")
        if problem := _problem(dialogue):
            notice(problem, number)
            continue
        if not annotated:
            notice(_UNEVEN, number)
        if dialogue.roles and 2 * len(to_pairs([dialogue])) < len(dialogue.turns):
            notice(_UNPAIRED, number)
        good += 1
        yield dialogue
    for problem, count in times.items():
        shown = ", ".join(first[problem]) + " y más" * (count > 8)
        report(f"{Path(name).name}: {problem}: {count} ({unit}{'s' * (count > 1)} {shown}).")
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
        mark = _mark("\n".join(map(normalize, dialogue.turns)))
        if mark < top and copies[mark] < limit:
            kept.append((mark, dialogue))
            copies[mark] += 1
        while len(kept) > limit:
            top //= 2
            kept = [pair for pair in kept if pair[0] < top] or kept[:limit]  # o no quedaría nada
            copies = Counter(mark for mark, _ in kept)
    return [dialogue for _, dialogue in kept], total


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
        raise ValueError(
            f"Con {len(order)} diálogos distintos y test_fraction={test_fraction} una de las "
            "partes queda vacía: reúne más diálogos o cambia la fracción."
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
_UNPAIRED = (
    "con mensajes que no dan pareja (de sistema, dos seguidos del mismo papel o sin contestar); "
    "el diálogo se queda, y ellos no se usan"
)


def _records(path: Path) -> Iterator[tuple[int, object]]:
    """Los objetos JSON del archivo, cada uno con su número (de línea, o de orden en un .json)."""
    if path.suffix.lower() == ".json":
        data = path.read_bytes()
        records = _loads(data, path) if data.strip() else []
        if not isinstance(records, list):
            raise ValueError(
                f"{path}: un .json debe ser una lista de diálogos, y es {_type(records)}: "
                "enciérralo entre corchetes o usa .jsonl, con un diálogo por línea."
            )
        yield from enumerate(records, 1)
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(
                    f"{path}, línea {number}: pasa de {MAX_LINE_BYTES // 1_000_000} MB, demasiado "
                    "para un diálogo: ¿falta el salto de línea entre uno y otro?"
                )
            if line.strip():
                yield number, _loads(line, path, number)


def _loads(data: bytes, path: Path, first_line: int = 1) -> object:
    """Descifra JSON en UTF-8, que empieza en esa línea del archivo, o dice por qué no puede."""
    line = first_line
    try:
        return json.loads(data.decode("utf-8-sig").rstrip())
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        cause, problem = error, ": no está en UTF-8: guarda el archivo como UTF-8."
    except json.JSONDecodeError as error:
        line += error.lineno - 1
        cause, problem = error, f", columna {error.colno}: el JSON está roto ({error.msg}): "
        problem += "revisa comas, comillas y llaves."
    except RecursionError as error:
        cause, problem = error, ": el JSON está anidado sin fin: un diálogo es una lista."
    except ValueError as error:  # el único que queda: json no lee enteros de miles de cifras
        cause, problem = error, ": hay un número de miles de cifras: quítalo."
    raise ValueError(f"{path}, línea {line}{problem}") from cause


def _parse(record: object, where: str) -> tuple[Dialogue, bool]:
    """Convierte un objeto JSON en `Dialogue`; el booleano dice si sus anotaciones casan."""
    if isinstance(record, list):
        record = {"messages": record}
    if not isinstance(record, dict):
        raise ValueError(f"{where}: se esperaba un objeto JSON, y hay {_type(record)}.")
    if "messages" in record:
        return _parse_messages(record["messages"], where), True
    if "dialog" not in record:
        fields = ", ".join(f"«{key}»" for key in record) or "nada"
        raise ValueError(
            f"{where}: falta el campo «dialog» (lista de turnos) o «messages» (lista de mensajes "
            f"con «role» y «content»); hay {fields}."
        )
    turns = record["dialog"]
    if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
        raise ValueError(f"{where}: «dialog» debe ser una lista de textos, y no lo es: revísala.")
    notes = {key: record.get(key) for key in ("act", "emotion")}
    fits = all(
        isinstance(values, list) and list(map(type, values)) == [int] * len(turns)
        for values in notes.values()
        if values is not None
    )
    acts, emotions = (tuple(v) if fits and v is not None else None for v in notes.values())
    return Dialogue(tuple(turn.strip() for turn in turns), acts, emotions, source=where), fits


def _parse_messages(messages: object, where: str) -> Dialogue:
    """Convierte una lista de mensajes con papeles en `Dialogue`."""
    if not isinstance(messages, list):
        raise ValueError(f"{where}: «messages» debe ser una lista, y es {_type(messages)}.")
    for i, message in enumerate(messages, 1):
        here = f"{where}, mensaje {i}"
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise ValueError(f"{here}: debe llevar «role» y «content».")
        role, content = message["role"], message["content"]
        if role not in ROLES:
            raise ValueError(f"{here}: el papel «{role}» no existe: usa «{'», «'.join(ROLES)}».")
        if not isinstance(content, str):
            raise ValueError(f"{here}: «content» debe ser texto, y es {_type(content)}.")
    turns = tuple(message["content"].strip() for message in messages)
    return Dialogue(turns, roles=tuple(message["role"] for message in messages), source=where)


def _problem(dialogue: Dialogue) -> str | None:
    """Por qué un diálogo bien formado no sirve para entrenar, o `None` si sirve."""
    turns = dialogue.turns
    if len(turns) < 2:
        return "saltados por tener menos de dos turnos (sin respuesta no hay pareja)"
    if not all(turns):
        return "saltados por tener un turno vacío (complétalo o quita el diálogo)"
    if any(_MARKER.search(turn) for turn in turns):
        return "saltados por llevar un marcador como «<|user|>» en un turno (deja solo el texto)"
    if any("\ud800" <= c <= "\udfff" for turn in turns for c in turn):
        return "saltados por llevar medio carácter Unicode suelto (vuelve a exportar el texto)"
    if not to_pairs([dialogue]):
        return "saltados porque ningún mensaje «user» va seguido de uno «assistant»"
    return None


def _type(value: object) -> str:
    """El tipo JSON de un valor, en español."""
    names = {dict: "un objeto", list: "una lista", str: "un texto", bool: "un booleano"}
    return "null" if value is None else names.get(type(value), "un número")
