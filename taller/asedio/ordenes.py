"""La línea de órdenes: argumentos de toda clase, en consolas que no saben escribirlo todo.

El código de salida es uno de los que se documentan, y lo que sale por la consola de errores acaba
en una frase en español, sin traza, también si la consola es `cp1252` o `ascii`.
"""

import contextlib
import io
import os
import random
import sys
from pathlib import Path
from unittest.mock import patch

import nbformat

from course_lib import cli
from taller import __main__ as taller
from taller.asedio import ENGLISH, Broken, archivos, modelos, unquoted

CODES = {0, 1, 2, 3, 130}
LONG = ("_pretrain", "_card", "_dialogues", "_factors", "_assistant", "_injection", "_siege")
COMMANDS = {
    cli: ("ejecutar", "cuadernos", "auditar"),
    taller: (
        "preentrenar",
        "ficha",
        "dialogos",
        "factores",
        "asistente",
        "inyeccion",
        "publicar",
        "empaquetar",
        "soluciones",
        "asedio",
    ),
}
FLAGS = (
    "--modelo",
    "--salida",
    "--guardar",
    "--longitud",
    "--parejas",
    "--dialogos",
    "--json",
    "--help",
    "--version",
    "--pasos",
    "--semilla",
    "--desde-cero",
    "--retirar",
    "--fail-on",
    "--lang",
    "--todo",
    "-h",
    "--casos",
    "--solo",
    "--no-existe",
    "--",
    "-1",
    "--longitud=1000000",
    "--modelo=",
    "--base",
)
WORDS = (
    "",
    " ",
    "0",
    "1",
    "²",
    "٣",
    "00",
    "-5",
    "10" * 20,
    "1e9",
    "nan",
    "~",
    "~/x",
    "/",
    "..",
    "/dev/null",
    "/proc/self/mem",
    "a/b",
    "ana/curso",
    "ana/cur so",
    "dueño/ñ",
    "\udcff",
    "a\nb",
    "ñandú",
    "😀",
    "*",
    "$(x)",
    "%s",
    "{}",
    "x" * 5_000,
    "notebooks",
    "--",
    "con\x07pitido",
    "es",
    "en",
    "grave",
    "http://a",
)


def home(folder: Path) -> Path:
    """Una carpeta con un curso mínimo: dos cuadernos que no hacen nada y un README."""
    path = folder / "curso"
    if not path.is_dir():
        (path / "notebooks").mkdir(parents=True)
        for name, code in (("00_nada.ipynb", "1 + 1"), ("01_falla.ipynb", "1 / 0")):
            book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code, id="a")])
            nbformat.write(book, path / "notebooks" / name)
        (path / "README.md").write_text("# Curso\n", "utf-8")
        (path / "datos.jsonl").write_text('{"dialog": ["Hola.", "¡Hola! 😀"]}\n' * 30, "utf-8")
    return path


def prepare(folder: Path) -> None:
    """Deja hecho lo que tarda, que no es de ningún caso."""
    home(folder)
    modelos.prepare(folder)


def case(rng: random.Random, folder: Path) -> None:
    """Una orden, con argumentos sacados al azar."""
    where, model = home(folder), modelos.saved(folder)
    program = rng.choices((cli, taller), (3, 1))[0]
    command = rng.choice(COMMANDS[program])
    argv = [command] if rng.random() < 0.95 else []
    words = [
        *WORDS,
        str(where),
        str(model),
        str(where / "datos.jsonl"),
        "00_nada",
        str(folder / "nueva"),
    ]
    if command == "auditar" and rng.random() < 0.8:
        data = archivos.write(rng, folder) if rng.random() < 0.5 else where / "datos.jsonl"
        argv += [str(data), "--modelo", str(model)]
        argv += rng.choices(FLAGS, k=rng.randint(0, 2)) if rng.random() < 0.6 else []
        argv += rng.choices(words, k=rng.randint(0, 1)) if rng.random() < 0.3 else []
    else:
        argv += [rng.choice(rng.choice((FLAGS, words))) for _ in range(rng.randint(0, 4))]
    if (
        command == "ejecutar"
        and not {"--help", "-h", "--no-existe"} & {*argv}
        and rng.random() < 0.9
    ):
        argv = [
            "ejecutar",
            rng.choice(("7", "²", "x", "", "-1", "--salida")),
        ]  # el núcleo, que tarda, poco
    codec = rng.choice(("utf-8", "cp1252", "ascii", "cp850"))
    code, out, err = called(program, argv, codec, where)
    told = f"{program.__name__} {argv!r} en {codec}: código {code!r}, {err[-500:]!r}"
    if code not in CODES:
        raise Broken("traza", told)
    last = err.strip().splitlines()[-1] if err.strip() else ""
    if "Traceback" in err + out:
        raise Broken("traza", told)
    if code == 2 and not last:
        raise Broken("frase", f"sin ninguna: {told}")
    if code == 2 and (len(last) > 2_500 or ENGLISH.search(unquoted(last))):
        raise Broken("frase", told)


def called(program, argv: list[str], codec: str, where: Path) -> tuple[object, str, str]:
    """El código con que acaba la orden, y lo que escribe en cada consola."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=codec, write_through=True) for _ in "ab")
    before = Path.cwd()
    stubs = {name: lambda arguments: 0 for name in LONG if hasattr(taller, name)}
    quiet = {"CURSO_SALIDA": str(where / "salida"), "COLUMNS": "100"}
    os.chdir(where)
    try:
        with (
            patch.multiple(taller, **stubs),
            patch.dict(os.environ, quiet),
            patch.object(sys, "stdout", out),
            patch.object(sys, "stderr", err),
        ):
            try:
                code = program.main(argv)
            except SystemExit as end:
                code = end.code
            except Exception as error:
                code = f"{type(error).__name__}: {error}"[:300]
            for console in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    console.flush()
    finally:
        os.chdir(before)
    return code, *(x.buffer.getvalue().decode(codec, "replace") for x in (out, err))
