"""Archivos de diálogos: se mutan unos buenos, de cada esquema, y se busca lo que se pierda.

Cada turno lleva una palabra que no se repite. Si el archivo se lee, cada fila está en el resultado
o la cuenta un aviso, y no falta ninguna de esas palabras en más filas que las que se avisan.
"""

import gzip
import io
import json
import random
import re
import shutil
from pathlib import Path

from course_lib.dialogues import read_dialogues
from taller.asedio import Broken, refusals

WORDS = ("hola", "¿qué tal?", "muy bien", "ñandú", "adiós", "sí", "no", "«cita»", "😀", "1,5")
ODD = (
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    " ",
    "\u2028",
    "\x00",
    "\ud800",
    [],
    {},
    [[]],
    {"a": 1},
    ["x", 1],
    "x" * 5_000,
    float("nan"),
    "<|user|>",
    [{"type": "text", "text": "a"}],
)
KEYS = (
    "dialog",
    "messages",
    "conversations",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "act",
    "emotion",
    "text",
    "id",
    "role",
    "content",
    "from",
    "value",
    "system",
    "tools",
    "chosen",
    "question",
    "answer",
    "response",
    "Dialog",
    "utterances",
)
TURNS = ("dialog", "messages", "conversations")  # las que llevan turnos: al lado de otra, se avisa
FREE = ("input", "system", "prompt", "instruction")  # con otro nombre serían una columna cualquiera
MESSAGE = ("role", "content", "from", "value", "type", "text", "tool_calls", "function", "name")
ROLES = ("system", "user", "assistant", "tool", "human", "gpt", "bot", "User", "", "developer")
SCHEMAS = ("dialog", "messages", "list", "sharegpt", "alpaca", "completion", "chat_completion")
MARK = re.compile(r"zq\d+k\d+z")


def prepare(folder: Path) -> None:
    """Importa lo que tarda, que no es de ningún caso."""
    import datasets
    import pyarrow.parquet  # noqa: F401

    datasets.disable_progress_bars()


def case(rng: random.Random, folder: Path) -> None:
    """Escribe un archivo mutado y lo lee."""
    path = write(rng, folder)
    notices: list[str] = []
    try:
        with refusals():
            found = read_dialogues(path, notices.append)
            check(path, found, notices)
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def check(path: Path, found: list, notices: list[str]) -> None:
    """Que nada se haya perdido sin que lo cuente un aviso."""
    counts = [int(re.sub(r"\D", "", n)) for n in re.findall(r": ([\d.]+) \(", "\n".join(notices))]
    skipped = [
        int(re.sub(r"\D", "", n))
        for notice in notices
        if "saltad" in notice
        for n in re.findall(r": ([\d.]+) \(", notice)
    ]
    if (rows := raw_rows(path)) is None:
        return
    if len(found) + sum(skipped) != len(rows):
        raise Broken(
            "pérdida", f"{len(rows)} filas, {len(found)} diálogos, {notices}: {shown(path)}"
        )
    kept = {mark for dialogue in found for turn in dialogue.turns for mark in MARK.findall(turn)}
    lacking = sum(bool(set(MARK.findall(row)) - kept) for row in rows)
    if lacking > sum(counts):
        raise Broken("pérdida", f"{lacking} filas con algo que falta, {notices}: {shown(path)}")


def raw_rows(path: Path) -> list[str] | None:
    """El texto de cada fila, leído aparte; `None` si aquí no se sabe."""
    name = path.name.lower().removesuffix(".gz")
    try:
        if path.is_dir() or name.endswith((".parquet", ".arrow")):
            return [_said(_pairs(json.dumps(row, default=str))) for row in _table(path)]
        data = (
            gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
        )
        text = data.decode("utf-8-sig")
        if name.endswith(".jsonl"):
            return [_said(_pairs(line)) for line in text.split("\n") if line.strip()]
        rows = _pairs(text)
        return [_said(row) for row in rows] if isinstance(rows, list) else None
    except Exception:
        pass  # lo que aquí no se entiende no se puede contar
    return None


def _pairs(text: str) -> object:
    """Un JSON con cada objeto como lista de parejas: así se ven las claves repetidas."""
    return json.loads(text.strip(), object_pairs_hook=lambda pairs: {"": pairs})


def _said(row: object) -> str:
    """De una fila, lo que es de su diálogo: un campo que nadie conoce no es nada perdido."""
    if isinstance(row, dict):
        names = {key for key, _ in row[""]}
        kept = TURNS if names & {*TURNS} else (*FREE, "completion", "output")
        row = [value for key, value in row[""] if key in kept]
    return json.dumps(_known(row))


def _known(value: object) -> object:
    """Un valor sin los campos que un mensaje no tiene."""
    if isinstance(value, dict):
        return [_known(item) for key, item in value[""] if key in MESSAGE]
    return [_known(item) for item in value] if isinstance(value, list) else value


def _table(path: Path) -> list[dict]:
    import datasets
    import pyarrow.parquet

    if not path.is_dir():
        return pyarrow.parquet.read_table(path).to_pylist()
    table = datasets.load_from_disk(path)
    parts = table.values() if isinstance(table, dict) else [table]
    return [row for part in parts for row in part]


def shown(path: Path) -> str:
    """Lo que hay en un archivo, para enseñarlo."""
    return path.name if path.is_dir() else f"{path.name} {path.read_bytes()[:900]!r}"


def write(rng: random.Random, folder: Path) -> Path:
    """Un archivo bueno de un esquema y un formato, con alguna mutación o ninguna."""
    rows = records(rng)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        if rows:
            i = rng.randrange(len(rows))
            rows[i] = mutate(rng, rows[i])
    kind = rng.choices(
        ("jsonl", "json", "jsonl.gz", "json.gz", "parquet", "arrow", "otro"),
        (10, 6, 3, 1, 2, 0.3, 1),
    )[0]
    path = folder / f"datos.{kind}"
    if kind == "otro":
        path = folder / rng.choice(
            ("datos.csv", "datos.txt", "datos", "datos.JSONL", "d.jsonl.zip")
        )
    if kind in ("parquet", "arrow") and _write_table(path, rows):
        if kind == "parquet" and rng.random() < 0.4:
            path.write_bytes(damage(rng, path.read_bytes()))
        return path
    lines = [_dump(rng, row) for row in rows]
    text = "\n".join(lines) + "\n" if "jsonl" in path.name.lower() else f"[{', '.join(lines)}]"
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.4:
        data = damage(rng, data)
    if path.suffix == ".gz":
        data = gzip.compress(data, 1)
        if rng.random() < 0.3:
            data = damage(rng, data)
    path.write_bytes(data)
    return path


def _write_table(path: Path, rows: list) -> bool:
    """Lo mismo en una tabla, si las filas caben en una."""
    import datasets

    datasets.disable_progress_bars()
    try:
        table = datasets.Dataset.from_list(rows)
        if path.suffix == ".parquet":
            buffer = io.BytesIO()
            table.to_parquet(buffer)
            path.write_bytes(buffer.getvalue())
        else:
            table.save_to_disk(path)
    except Exception:
        return False
    return True


def _dump(rng: random.Random, row: object) -> str:
    try:
        text = json.dumps(row, ensure_ascii=rng.random() < 0.3)
    except ValueError:
        return "null"
    if isinstance(row, dict) and row and rng.random() < 0.06:  # una clave repetida
        key = rng.choice(list(row))
        return (
            text[:-1] + f", {json.dumps(key)}: {json.dumps(rng.choice([row[key], ['zq9k9z']]))}}}"
        )
    return text


def records(rng: random.Random) -> list:
    """Unas filas buenas, de un esquema o, a veces, de varios."""
    schema, mixed = rng.choice(SCHEMAS), rng.random() < 0.05
    return [
        record(rng, rng.choice(SCHEMAS) if mixed else schema, row)
        for row in range(rng.randint(0, 9))
    ]


def record(rng: random.Random, schema: str, row: int) -> object:
    """Una fila buena."""
    turns = [
        f"{rng.choice(WORDS)} zq{row}k{n}z {rng.choice(WORDS)}" for n in range(rng.randint(2, 6))
    ]
    if schema == "dialog":
        notes = {"act": [1] * len(turns), "emotion": [0] * len(turns)}
        return {"dialog": turns} | (notes if rng.random() < 0.5 else {})
    if schema == "alpaca":
        return {"instruction": turns[0], "input": rng.choice(("", turns[1])), "output": turns[-1]}
    if schema == "completion":
        return {"prompt": turns[0], "completion": turns[1]}
    roles = ["user", "assistant"] * 3
    said = [{"role": role, "content": turn} for role, turn in zip(roles, turns)]
    if rng.random() < 0.2:
        said.insert(0, {"role": "system", "content": f"zq{row}k99z"})
    for message in said:
        if rng.random() < 0.08:
            message["content"] = [{"type": "text", "text": message["content"]}]
        if rng.random() < 0.04:
            message["tool_calls"] = [{"function": {"name": f"zq{row}k77z", "arguments": "{}"}}]
    if schema == "chat_completion":
        return {"prompt": said[:-1], "completion": said[-1:]}
    if schema == "sharegpt":
        names = {"user": "human", "assistant": "gpt"}
        return {
            "conversations": [
                {"from": names.get(m["role"], m["role"]), "value": m["content"]} for m in said
            ]
        }
    return said if schema == "list" else {"messages": said}


def mutate(rng: random.Random, value: object, depth: int = 0) -> object:
    """El valor, con un cambio en algún sitio."""
    if isinstance(value, dict | list) and value and (depth == 0 or rng.random() < 0.75):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, copy = rng.choice(keys), value.copy()
        way = rng.randrange(7)
        if way <= 2:
            copy[key] = mutate(rng, copy[key], depth + 1)
        elif way == 3:
            del copy[key]
        elif isinstance(copy, list):
            copy.insert(key, rng.choice((copy[key], rng.choice(ODD))))
        elif way == 4 and key not in FREE and sum(name in copy for name in TURNS) < 2:
            copy[rng.choice(KEYS)] = copy.pop(key)
        elif way == 5:
            copy[rng.choice(TURNS)] = rng.choice((copy[key], ["zq8k8z", "zq8k9z"]))
        else:
            copy[rng.choice(KEYS)] = rng.choice(ODD)
        return copy
    way = rng.randrange(6)
    if way == 0 and isinstance(value, str):
        return rng.choice((value + "<|bot|>", value + "\ud800", "", "   ", value * 50, value[::-1]))
    if way == 1:
        return rng.choice(ROLES)
    if way == 2:
        return [value]
    if way == 3:
        return {rng.choice(KEYS): value}
    return rng.choice(ODD)


def damage(rng: random.Random, data: bytes) -> bytes:
    """Los bytes, con un daño."""
    at, size = rng.randrange(len(data) + 1), rng.randint(1, 40)
    way = rng.randrange(13)
    if way == 0:
        return data[:at]
    if way == 1:
        return data[:at] + data[at + size :]
    if way == 2:
        return data[:at] + data[at : at + size] * 2 + data[at + size :]
    if way == 3:
        return data[:at] + rng.randbytes(size) + data[at:]
    if way in (4, 5):
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if way == 6:
        return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n \n", b"\xc2\x85", b"")))
    if way == 7:
        text = data.decode("utf-8", "replace")
        codec = rng.choice(("utf-16", "utf-8-sig", "latin-1", "cp1252", "utf-32"))
        return text.encode(codec, "replace")
    if way == 8:
        return data[:at] + rng.choice((b"\x00", b"\xff", b"{", b"}", b"]", b'"', b",", b"\\"))
    if way == 9:
        return data.replace(b'"', b"'")
    if way == 10:
        return rng.choice(
            (b"[" * 5_000, b'{"dialog":' * 5_000, b"", b"\n\n", b"NaN", b"a,b\n1,2\n")
        )
    if way == 11:
        return rng.choice((b'{"data": ', b"\xef\xbb\xbf", b"// comentario\n")) + data
    return data + data
