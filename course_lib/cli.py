"""La orden `curso`: ejecuta las lecciones, te da tu copia y audita tus diálogos."""

import argparse
import codecs
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from course_lib import __version__, lessons, os_reason, output_path, read_toml, shorten
from course_lib.tables import format_scoreboard, number

# Lo que no cabe en la codificación de la consola, como lo escribe JSON: nada se pierde.
codecs.register_error("escapa", lambda e: (json.dumps(e.object[e.start : e.end])[1:-1], e.end))


def main(argv: Sequence[str] | None = None) -> int:
    """La orden `curso`.

    Returns:
        0 si todo fue bien, 1 si una lección falló, 2 si el error es de quien llama, 130 si se
        interrumpió.
    """
    return run_safely(lambda: (given := _parser().parse_args(argv)).run(given))


def run_safely(command: Callable[[], int | None]) -> int:
    """Ejecuta `command`: sus errores y Ctrl-C, en una frase y sin traza, en cualquier consola."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="escapa")
    last, code, said = -math.inf, 2, ""

    def interrupt(*_) -> None:
        nonlocal last  # quien pulsa varias veces seguidas no corta lo que se está recogiendo
        if time.monotonic() - last > 2:
            last = time.monotonic()
            raise KeyboardInterrupt

    before = {name: signal.signal(name, interrupt) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = command() or 0
        print(end="", flush=True)
    except KeyboardInterrupt as stop:
        code, said = 130, str(stop) or "Interrumpido."
        before = dict.fromkeys(before, signal.SIG_IGN)  # el proceso ya se acaba
        exec("")  # si se cortó otro `exec`, Python lo recuerda y no saldría con 130
    except BrokenPipeError:  # quien leía (head, less) se fue antes de acabar
        code = 1
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("CURSO_DEPURAR"):
            raise
        file, reason = getattr(error, "filename", None), os_reason(error)
        where = f"«{shorten(file, 300)}»" if file else "No se puede seguir"
        said = reason if reason == str(error) else f"{where}: {reason}."
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    try:
        print(said, end="\n" if said else "", file=sys.stderr)
        print(end="", flush=True)
    except OSError:  # ya no hay dónde escribir, y al salir Python lo intentaría otra vez
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("curso", "Ejecuta las lecciones del curso y audita tus diálogos.")
    commands = parser.add_subparsers(title="órdenes", required=True, metavar="ORDEN")

    run = add_command(commands, "ejecutar", _run_lessons, "ejecuta las lecciones")
    run.add_argument("lecciones", nargs="*", help="números o nombres; por omisión, todas")
    run.add_argument("--salida", type=Path, metavar="CARPETA", help="por omisión, salida/")
    update = "actualiza además los cuadernos de notebooks/ con sus salidas"
    run.add_argument("--guardar", action="store_true", help=update)

    mine = "pone al día tu copia de las lecciones, en mis_cuadernos/, sin tocar lo que escribiste"
    add_command(commands, "cuadernos", _copy_notebooks, mine)

    summary = "busca los errores corrientes en un archivo de diálogos"
    check = add_command(commands, "auditar", _audit, summary)
    check.add_argument("datos", type=Path, help="un .jsonl o .json de diálogos")
    source = "carpeta o nombre en el Hub; solo se usa su tokenizador"
    check.add_argument("--modelo", required=True, metavar="MODELO", help=source)
    length = "tokens por ejemplo; 128"
    check.add_argument("--longitud", type=int, default=128, metavar="N", help=length)
    split = check.add_mutually_exclusive_group()
    pairs = "supone que se reparten parejas sueltas (es lo que se hace por omisión)"
    split.add_argument("--parejas", action="store_true", help=pairs)
    dialogues = "supone que se reparten diálogos enteros"
    split.add_argument("--dialogos", action="store_true", help=dialogues)
    check.add_argument("--json", action="store_true", help="escribe el informe en JSON")
    return parser


def _run_lessons(arguments) -> int:
    paths = lessons.find_notebooks(arguments.lecciones)
    output_dir = (arguments.salida or output_path()).resolve()
    start = time.time()
    runs = lessons.run_notebooks(paths, output_dir, save_in_place=arguments.guardar)

    width = max(len(run.name) for run in runs)
    print()
    for run in runs:
        seconds = number(run.seconds, 1)
        print(f"{run.name:<{width}}  {seconds:>6} s  {'falló' if run.error else 'bien'}")
    memory = lessons.peak_memory_gib()
    total = f"{'total':<{width}}  {number(sum(run.seconds for run in runs), 1):>6} s"
    print(total if memory is None else f"{total}  memoria máxima: {number(memory, 1)} GiB")

    rows = lessons.read_scoreboard(output_dir, since=start)
    if rows:
        print(f"\n{format_scoreboard(rows)}")
    print(f"\nLos cuadernos ejecutados y sus páginas HTML están en {output_dir}")
    print(f"Empieza por {runs[0].html}")
    if runs[-1].error:
        pending = len(paths) - len(runs)
        print(f"\n{runs[-1].error}", file=sys.stderr)
        if pending:
            print(f"Lecciones que quedan sin ejecutar: {pending}.", file=sys.stderr)
        return 1
    return 0


def _copy_notebooks(arguments) -> int:
    print(f"Tu copia de las lecciones está en {lessons.student_copies()}")
    return 0


def _audit(arguments) -> int:
    from course_lib.audit.naive import audit_file
    from course_lib.tracks import load_tokenizer

    found = audit_file(
        arguments.datos,
        load_tokenizer(arguments.modelo),
        max_length=arguments.longitud,
        by_pairs=not arguments.dialogos,
        report=lambda text: print(text, file=sys.stderr),
    )
    if arguments.json:
        print(found.report.to_json())
    else:
        print(f"{found.assumed}\n\n{found.report}")
    return 3 if found.report.failed else int(found.report.grave)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        super().error(shorten(message, 300))


def new_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Un intérprete de órdenes en español, con `--version` y todavía sin órdenes."""
    # argparse habla inglés y pide sus frases a `argparse._`.
    argparse._ = lambda text: read_toml("ordenes", "argparse_es.toml").get(text, text)
    epilog = "Con CURSO_DEPURAR=1 los errores enseñan también dónde se produjeron."
    parser = _Parser(prog=name, description=description, epilog=epilog)
    shown = {"version": f"curso {__version__}", "help": "muestra la versión y termina"}
    parser.add_argument("--version", action="version", **shown)
    return parser


def add_command(
    commands, name: str, function: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    """Añade una orden: su nombre, la función que la ejecuta y lo que hace, en una frase."""
    description = f"{summary[0].upper()}{summary[1:]}."
    parser = commands.add_parser(name, help=summary, description=description)
    parser.set_defaults(run=function)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
