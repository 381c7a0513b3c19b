"""La orden `curso`: ejecuta las lecciones, te da tu copia y audita tus diálogos."""

import argparse
import codecs
import json
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from course_lib import (
    __version__,
    lessons,
    os_reason,
    output_path,
    read_toml,
    replace_file,
    shorten,
)
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
    files = "archivos de diálogos: .jsonl, .json, su .gz, .parquet o carpetas de save_to_disk"
    check.add_argument("datos", type=Path, nargs="+", help=files)
    source = "carpeta o nombre en el Hub: de él se usa el tokenizador, para simular un ajuste"
    check.add_argument("--modelo", metavar="MODELO", help=source)
    check.add_argument("--longitud", type=int, default=128, metavar="N", help="tokens; 128")
    split = check.add_mutually_exclusive_group()
    pairs = "supone que se reparten parejas sueltas (es lo que se hace por omisión)"
    split.add_argument("--parejas", action="store_true", help=pairs)
    dialogues = "supone que se reparten diálogos enteros"
    split.add_argument("--dialogos", action="store_true", help=dialogues)
    style = check.add_mutually_exclusive_group()
    whole = "enseña también lo que está bien y lo que no se pudo comprobar"
    style.add_argument("--todo", action="store_true", help=whole)
    style.add_argument("--json", action="store_true", help="escribe el informe en JSON")
    style.add_argument("--github", action="store_true", help="anotaciones de GitHub Actions")
    level = "desde qué gravedad se sale con 1: grave (por omisión), aviso, nota o nunca"
    levels = ("grave", "aviso", "nota", "nunca")
    check.add_argument("--falla-con", "--fail-on", choices=levels, default="grave", help=level)
    known = "archivo con lo que ya se sabe, que no hace fallar"
    check.add_argument("--conocidos", type=Path, metavar="ARCHIVO", help=known)
    renew = "escribe en el archivo de --conocidos lo que se vea ahora"
    check.add_argument("--anotar", action="store_true", help=renew)
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
    from course_lib.audit.report import SEVERITIES
    from course_lib.tracks import load_tokenizer

    if arguments.anotar and not arguments.conocidos:
        raise ValueError("--anotar escribe en el archivo de --conocidos: di cuál.")
    known = {} if arguments.anotar else _read_known(arguments.conocidos)
    failing = () if arguments.falla_con == "nunca" else SEVERITIES
    failing = failing[: failing.index(arguments.falla_con) + 1] if failing else ()
    if arguments.modelo == "":
        raise ValueError("--modelo está vacío: di una carpeta o un nombre del Hub, o quítalo.")
    tokenizer = load_tokenizer(arguments.modelo) if arguments.modelo else None
    seen, code = {}, 0
    for path in arguments.datos:
        report = audit_file(path, tokenizer, arguments.longitud, not arguments.dialogos)
        old = known.get(path.as_posix(), {})
        found = [f for f in report.findings if not f.supposed]
        new = [f for f in found if f.check not in old or Counter(f.marks) - Counter(old[f.check])]
        seen[path.as_posix()] = {f.check: f.marks for f in found}
        if arguments.json:
            print(report.to_json())
        elif arguments.github:
            print(*_annotations(path, report, new), sep="\n")
        else:
            print(repr(report) if arguments.todo else report.brief())
            if left := len(found) - len(new):
                print(f"\nYa se sabían, y no cuentan: {left}.")
        fails = not arguments.anotar and any(f.severity in failing for f in new)
        code = max(code, 3 if report.failed else int(fails))
    if arguments.anotar:
        replace_file(arguments.conocidos, json.dumps(seen, indent=1) + "\n")
    return code


def _read_known(path: Path | None) -> dict:
    """Lo que ya se sabía: de cada archivo y cada comprobación, las huellas de lo que se vio."""
    if path is None:
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {file: {c: [*marks] for c, marks in found.items()} for file, found in known.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"«{path}» no es de los que escribe --anotar: vuelve a hacerlo."
        ) from error


def _annotations(path: Path, report, new: Sequence) -> Iterator[str]:
    """Las anotaciones de GitHub Actions: solo lo que se ve en el archivo y no se sabía ya."""

    def escaped(text: object) -> str:
        codes = {"%": "%25", "\r": "%0D", "\n": "%0A"}
        return "".join(codes.get(c, c) for c in str(text))

    file = escaped(path.as_posix()).replace(":", "%3A").replace(",", "%2C")
    told = [("notice", "", notice) for notice in report.notices]
    told += [("error", "", f"{f.check}: {f.lacks}") for f in report.failed]
    for found in new:
        kind = {"grave": "error", "aviso": "warning"}.get(found.severity, "notice")
        line = f",line={found.places[0]}" if found.places and ".jsonl" in path.name else ""
        told.append((kind, line, f"{found.title} ({found.check}). {found.evidence} {found.mend}"))
    for kind, line, text in told:
        yield f"::{kind} file={file}{line}::{escaped(text)}"


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
