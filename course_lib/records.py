"""Los registros de un archivo o de unos datos, de uno en uno, sin guardar más que un trozo.

Cada uno va con su número, que es el de su línea o su orden, y con lo que se perdió al leerlo. Qué
diálogo hay en él lo dice `dialogues`.
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from course_lib import read_toml

MAX_RECORD = 10_000_000  # bytes de un diálogo
MAX_LIST = 100_000_000  # bytes de un .json, que se lee entero
CHUNK = 1 << 20  # los que se leen de una vez de un Parquet
BATCH = 200  # filas de una tabla que se leen de una vez
_REPEATED = (
    "con un campo repetido en un mismo objeto JSON; el diálogo se queda, con el último valor"
)
_UTF16 = "está en UTF-16: guarda el archivo como UTF-8"
# Cómo empieza lo que no es texto en UTF-8, se llame como se llame.
_STARTS = {
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    b"PAR1": "es Parquet: haz que su nombre acabe en .parquet",
    b"PK": "es un zip, o una hoja de cálculo: saca de él los diálogos, en .jsonl",
}

Records = Iterator[tuple[int, object, list[str]]]


def file_records(path: Path) -> Records:
    """Los de un `.jsonl` o `.json`, comprimido o no, un `.parquet` o lo que dejó `save_to_disk`.

    Raises:
        FileNotFoundError: si no existe.
        ValueError: si no es de un formato que se lea, o está roto; dice dónde.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"No existe el archivo «{path}»: revisa la ruta y el nombre.")
    name = path.name.lower().removesuffix(".gz")
    if path.name.lower().endswith(".parquet"):
        return _parquet(path)
    if not name.endswith((".jsonl", ".json")):
        raise ValueError(
            f"«{path}» no acaba en .jsonl ni en .json (o el .gz de uno de ellos, o .parquet): "
            "cambia el formato o el nombre."
        )
    return _text(path, _lines if name.endswith(".jsonl") else _items)


def memory_records(data: object) -> Records:
    """Los de una lista, un `Dataset` o, seguidas, las partes de un `DatasetDict`; desde el cero."""
    if isinstance(data, Mapping):
        data = chain.from_iterable(map(_rows, data.values()))
    return ((number, row, []) for number, row in enumerate(_rows(data)))


def _rows(data) -> Iterable:
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        kind = type(data).__name__
        raise ValueError(f"Los diálogos deben ser una ruta, una lista o un Dataset, y hay {kind}.")
    return data.with_format(None) if hasattr(data, "with_format") else data


def _text(path: Path, reader: Callable) -> Records:
    """Los de un archivo de JSON, comprimido o no."""
    with path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
        try:
            start = file.peek(4)[:4]
            wrong = next((said for sign, said in _STARTS.items() if start.startswith(sign)), None)
            if wrong or b"\0" in start:  # UTF-16 sin su marca: uno de cada dos bytes es cero
                raise ValueError(f"«{path}» {wrong or _UTF16}.")
            decoder = json.JSONDecoder(object_pairs_hook=_object)
            for number, record in reader(file, path, decoder):
                yield number, record, [_REPEATED] if _repeats(record) else []
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"«{path}» está comprimido y dañado: vuelve a copiarlo.") from error


class _Repeated(dict):
    """Un objeto JSON que repetía algún campo: se queda el último valor."""


def _object(pairs: list[tuple[str, object]]) -> dict:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _Repeated(fields)


def _repeats(record: object) -> bool:
    """Si algún objeto de un registro repetía un campo, por hondo que esté."""
    pending = [record]
    while pending:
        value = pending.pop()
        if isinstance(value, _Repeated):
            return True
        pending += value.values() if isinstance(value, dict) else ()
        pending += value if isinstance(value, list) else ()
    return False


def _lines(file, path: Path, decoder: json.JSONDecoder) -> Iterator[tuple[int, object]]:
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


def _items(file, path: Path, decoder: json.JSONDecoder) -> Iterator[tuple[int, object]]:
    """De un `.json`, los elementos de su lista: se lee entera, y por eso tiene un tope."""
    data = file.read(MAX_LIST + 1)
    if len(data) > MAX_LIST:
        raise ValueError(
            f"«{path}» pasa de {MAX_LIST // 1_000_000} MB, demasiado para un .json, que se lee "
            "entero: guárdalo como .jsonl, con un diálogo por línea."
        )
    try:
        text = data.decode("utf-8-sig").rstrip()
        records = decoder.decode(text) if text else []
    except (ValueError, RecursionError) as error:
        raise _broken(error, path, 1) from error
    if not isinstance(records, list):
        raise ValueError(
            f"{path}: un .json debe ser una lista de diálogos, y es {json_type(records)}: "
            "enciérralo entre corchetes o usa .jsonl, con un diálogo por línea."
        )
    yield from enumerate(records, 1)


def _broken(error: Exception, path: Path, line: int) -> ValueError:
    """Qué le pasa a un texto que empieza en esa línea y no se puede leer, y dónde."""
    if isinstance(error, UnicodeDecodeError):
        line += error.object.count(b"\n", 0, error.start)
        problem = ": no está en UTF-8: guarda el archivo como UTF-8."
    elif isinstance(error, json.JSONDecodeError):
        line += error.lineno - 1
        what = read_toml("dialogos", "json_es.toml").get(error.msg, "no se entiende")
        problem = (
            f", columna {error.colno}: el JSON está roto ({what}): revisa comas, comillas y llaves."
        )
        if line == 1 and re.match(r'"?\w[^{\[\n]*[,;\t]', error.doc):
            problem = ": no es JSON, y parece CSV: conviértelo a .jsonl, con un diálogo por línea."
    elif isinstance(error, RecursionError):
        problem = ": el JSON está anidado sin fin: un diálogo es una lista."
    else:  # el único que queda: json no lee enteros de miles de cifras
        problem = ": hay un número de miles de cifras: quítalo."
    return ValueError(f"{path}, línea {line}{problem}")


def _parquet(path: Path) -> Records:
    """Las filas de una tabla de Parquet."""
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, buffer_size=CHUNK) as file:
            rows = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(BATCH))
            yield from ((number, row, []) for number, row in enumerate(rows, 1))
    except Exception as error:  # según lo que esté dañado, uno u otro
        if getattr(error, "errno", None):
            raise
        raise ValueError(f"«{path}» no es Parquet, o está dañado: vuelve a exportarlo.") from error


def _folder(path: Path) -> Records:
    """Las filas de lo que guardó `save_to_disk`."""
    if not any(path.joinpath(name).is_file() for name in ("state.json", "dataset_dict.json")):
        raise ValueError(f"«{path}» es una carpeta: da el archivo .jsonl o .json que haya dentro.")
    from datasets import load_from_disk

    try:
        return memory_records(load_from_disk(str(path)))
    except Exception as error:  # cada versión se queja a su manera
        raise ValueError(
            f"La carpeta «{path}», de save_to_disk, está incompleta o dañada: vuelve a guardarla."
        ) from error


def json_type(value: object) -> str:
    """El tipo JSON de un valor, en español."""
    names = {dict: "un objeto", list: "una lista", str: "un texto", bool: "un booleano"}
    return "null" if value is None else names.get(type(value), "un número")
