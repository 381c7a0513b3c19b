"""Los registros de un archivo o de unos datos, de uno en uno, sin guardar más que un trozo.

Lee `.jsonl` y `.json`, también comprimidos (`.gz`), `.parquet`, las carpetas que deja
`save_to_disk` y lo que ya está en memoria. Qué diálogo hay en cada registro lo dice `dialogues`.
"""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from course_lib import read_toml

MAX_RECORD = 10_000_000  # bytes de un diálogo
CHUNK = 1 << 20  # los que se leen de una vez
BATCH = 200  # filas de una tabla que se leen de una vez
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")
_SPACE = re.compile(r"[ \t\n\r]*")
_REPEATED = (
    "con un campo repetido en un mismo objeto JSON; el diálogo se queda, con el último valor"
)
# Cómo empieza lo que no es texto en UTF-8, se llame como se llame.
_STARTS = {
    b"\xff\xfe": "está en UTF-16: guarda el archivo como UTF-8",
    b"\xfe\xff": "está en UTF-16: guarda el archivo como UTF-8",
    b"PAR1": "es Parquet: haz que su nombre acabe en .parquet",
    b"PK": "es un zip, o una hoja de cálculo: saca de él los diálogos, en .jsonl",
}

Notice = Callable[[str, int], None]  # qué pasa, y en qué registro


def file_records(path: Path, notice: Notice) -> Iterator[tuple[int, object]]:
    """Los registros de un archivo o carpeta, cada uno con su número: el de su línea o su orden.

    Args:
        notice: recibe lo que se pierde al leer, si algo se pierde.

    Raises:
        FileNotFoundError: si no existe.
        ValueError: si no es de un formato que se lea, o está roto; dice dónde.
    """
    name = path.name.lower()
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"No existe el archivo «{path}»: revisa la ruta y el nombre.")
    if not name.endswith(SUFFIXES):
        raise ValueError(
            f"«{path}» no acaba en .jsonl ni en .json (o el .gz de uno de ellos, o .parquet): "
            "cambia el formato o el nombre."
        )
    if name.endswith(".parquet"):
        return _parquet(path)
    return _text(path, _lines if ".jsonl" in name[-9:] else _items, notice)


def memory_records(data: Any, name: str) -> Iterator[tuple[int, object]]:
    """Los de una lista, un `Dataset` o, seguidas, las partes de un `DatasetDict`; desde el cero."""
    if isinstance(data, Mapping):
        parts = (memory_records(part, name) for part in data.values())
        return enumerate(row for _, row in chain.from_iterable(parts))
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise ValueError(
            f"{name} debe ser una ruta, una lista de diálogos o un Dataset, y es "
            f"{type(data).__name__}."
        )
    return enumerate(data.with_format(None) if hasattr(data, "with_format") else data)


def _text(path: Path, reader: Callable, notice: Notice) -> Iterator[tuple[int, object]]:
    """Los de un archivo de JSON, comprimido o no."""
    with path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
        try:
            start = file.peek(4)[:4]
            wrong = next((said for sign, said in _STARTS.items() if start.startswith(sign)), None)
            if b"\0" in start:  # UTF-16 sin su marca: uno de cada dos bytes es cero
                wrong = _STARTS[b"\xff\xfe"]
            if wrong:
                raise ValueError(f"«{path}» {wrong}.")
            decoder = _Decoder()
            for number, record in reader(file, path, decoder):
                if decoder.repeated:
                    decoder.repeated = False
                    notice(_REPEATED, number)
                yield number, record
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"«{path}» está comprimido y dañado: vuelve a copiarlo.") from error


class _Decoder(json.JSONDecoder):
    """Como el de siempre, y apunta si algún objeto repite un campo."""

    def __init__(self):
        super().__init__(object_pairs_hook=self._fields)
        self.repeated = False

    def _fields(self, pairs: list[tuple[str, object]]) -> dict:
        fields = dict(pairs)
        self.repeated |= len(fields) < len(pairs)
        return fields


def _lines(file, path: Path, decoder: _Decoder) -> Iterator[tuple[int, object]]:
    """De un `.jsonl`, uno por línea."""
    number = 0
    while line := file.readline(MAX_RECORD + 1):
        number += 1
        if len(line) > MAX_RECORD:
            raise ValueError(
                f"{path}, línea {number}: pasa de {MAX_RECORD // 1_000_000} MB, demasiado "
                "para un diálogo: ¿falta el salto de línea entre uno y otro?"
            )
        if line.strip():
            try:
                record = decoder.decode(line.decode("utf-8-sig").rstrip())
            except (ValueError, RecursionError) as error:
                raise _broken(error, path, number) from error
            yield number, record


def _items(file, path: Path, decoder: _Decoder) -> Iterator[tuple[int, object]]:
    """De un `.json`, los elementos de su lista, sin leerla entera."""
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    text, at, more = "", 0, True  # lo leído, por dónde se va y si queda por leer
    line, column, number = 1, 0, 0  # dónde empieza `text` en el archivo, y los elementos dados
    while True:
        try:
            item, at = _next_item(decoder, text, at, number)
        except json.JSONDecodeError as error:
            # ¿Está roto o falta por leer? Se sabe leyendo más, hasta lo que puede ocupar uno.
            if not more or len(text) - at > MAX_RECORD:
                if not (number or text.strip()):
                    return  # un archivo vacío
                raise _broken(error, path, line, column) from error
            done = text[:at]
            column = at - done.rfind("\n") - 1 + (0 if "\n" in done else column)
            line, text, at = line + done.count("\n"), text[at:], 0
            data = file.read(max(CHUNK, len(text)))
            more = bool(data)
            try:
                text += decode(data, not more)
            except UnicodeDecodeError as wrong:
                raise _broken(wrong, path, line + text.count("\n")) from wrong
        except (ValueError, RecursionError) as error:
            raise _broken(error, path, line + text.count("\n", 0, at)) from error
        else:
            if item is _END:
                rest = iter(lambda: file.read(CHUNK), b"")
                if text[at:].strip() or any(data.strip() for data in rest):
                    extra = json.JSONDecodeError("Extra data", text, _SPACE.match(text, at).end())
                    raise _broken(extra, path, line, column)
                return
            number += 1
            yield number, item


_END = object()


def _next_item(decoder: _Decoder, text: str, at: int, number: int) -> tuple[object, int]:
    """El elemento que sigue en la lista, y dónde acaba; `_END` si ya no hay más."""
    at = _SPACE.match(text, at).end()
    mark = text[at : at + 1]
    if number and mark == "]":
        return _END, at + 1
    if number and mark != ",":
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    if not number and mark != "[":
        value = {} if mark == "{" else decoder.raw_decode(text, at)[0]
        raise NotAList(
            f"un .json debe ser una lista de diálogos, y es {json_type(value)}: "
            "enciérralo entre corchetes o usa .jsonl, con un diálogo por línea."
        )
    at = _SPACE.match(text, at + 1).end()
    if not number and text[at : at + 1] == "]":
        return _END, at + 1
    return decoder.raw_decode(text, at)


class NotAList(ValueError):
    """Un `.json` que no es una lista."""


def _broken(error: Exception, path: Path, line: int, column: int = 0) -> ValueError:
    """Qué le pasa a un texto que empieza en esa línea y columna y no se puede leer, y dónde."""
    if isinstance(error, NotAList):
        return ValueError(f"{path}: {error}")
    if isinstance(error, UnicodeDecodeError):
        line += error.object.count(b"\n", 0, error.start)
        problem = ": no está en UTF-8: guarda el archivo como UTF-8."
    elif isinstance(error, json.JSONDecodeError):
        column = error.colno + (column if error.lineno == 1 else 0)
        line += error.lineno - 1
        what = read_toml("dialogos", "json_es.toml").get(error.msg, "no se entiende")
        problem = (
            f", columna {column}: el JSON está roto ({what}): revisa comas, comillas y llaves."
        )
        if line == column == 1 and re.match(r'"?\w[^{\[\n]*[,;\t]', error.doc):
            problem = ": no es JSON, y parece CSV: conviértelo a .jsonl, con un diálogo por línea."
    elif isinstance(error, RecursionError):
        problem = ": el JSON está anidado sin fin: un diálogo es una lista."
    else:  # el único que queda: json no lee enteros de miles de cifras
        problem = ": hay un número de miles de cifras: quítalo."
    return ValueError(f"{path}, línea {line}{problem}")


def _parquet(path: Path) -> Iterator[tuple[int, object]]:
    """Las filas de una tabla de Parquet."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, buffer_size=CHUNK) as file:
            batches = file.iter_batches(BATCH)
            yield from enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1)
    except (ArrowException, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise ValueError(f"«{path}» no es Parquet, o está dañado: vuelve a exportarlo.") from error


def _folder(path: Path) -> Iterator[tuple[int, object]]:
    """Las filas de lo que guardó `save_to_disk`."""
    if not any(path.joinpath(name).is_file() for name in ("state.json", "dataset_dict.json")):
        raise ValueError(f"«{path}» es una carpeta: da el archivo .jsonl o .json que haya dentro.")
    from datasets import load_from_disk

    try:
        return memory_records(load_from_disk(str(path)), str(path))
    except Exception as error:  # cada versión se queja a su manera
        raise ValueError(
            f"«{path}» parece de save_to_disk, y no se puede leer: está incompleta o dañada; "
            "vuelve a guardarla."
        ) from error


def json_type(value: object) -> str:
    """El tipo JSON de un valor, en español."""
    names = {dict: "un objeto", list: "una lista", str: "un texto", bool: "un booleano"}
    return "null" if value is None else names.get(type(value), "un número")
