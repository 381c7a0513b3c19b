"""Las órdenes del taller: `python -m taller ORDEN`, y `python -m taller ORDEN --help`."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from course_lib import data_path, output_path, shorten
from course_lib.cli import add_command, new_parser, run_safely
from course_lib.lessons import course_root
from course_lib.tables import number


def main(argv: Sequence[str] | None = None) -> int:
    """Ejecuta la orden que pidan; devuelve lo mismo que `course_lib.cli.main`."""
    parser = new_parser("python -m taller", "Rehace, mide y publica el curso.")
    commands = parser.add_subparsers(title="órdenes", required=True, metavar="ORDEN")

    def command(name: str, function, summary: str):
        return add_command(commands, name, function, summary)

    def folder(parser, default: str) -> None:
        parser.add_argument(
            "--salida", type=Path, metavar="CARPETA", help=f"por omisión, {default}"
        )

    train = command("preentrenar", _pretrain, "preentrena el minimodelo desde cero")
    folder(train, "salida/minimodelo")
    steps = {"type": whole_number(1, 10**6), "help": "por omisión, los de la receta"}
    train.add_argument("--pasos", metavar="N", **steps)
    seed = {"type": whole_number(0, 2**32 - 1), "help": "por omisión, 0"}
    train.add_argument("--semilla", default=0, metavar="N", **seed)
    train.add_argument(
        "--desde-cero", action="store_true", help="no continúa un entrenamiento interrumpido"
    )
    command("ficha", _card, "mide el minimodelo y escribe su ficha")
    folder(command("dialogos", _dialogues, "rehace los diálogos de CharlaDiaria"),
           "data/charladiaria")  # fmt: skip

    for name, function, summary in (
        ("factores", _factors, "mide cuánto pesan el código, los datos, el repaso y la tasa"),
        ("asistente", _assistant, "mide el asistente de la lección 07 y sus rivales"),
        ("inyeccion", _injection, "mide cuántos hechos nuevos se quedan al ajustar con ellos"),
    ):
        command(name, function, summary).add_argument(
            "--salida",
            type=Path,
            metavar="ARCHIVO",
            default=data_path("experimentos") / f"{name}.json",
            help=f"por omisión, data/experimentos/{name}.json",
        )

    publish = command("publicar", _publish, "pone en los cuadernos y el README dónde está el curso")
    home = publish.add_mutually_exclusive_group(required=True)
    home.add_argument(
        "repositorio", nargs="?", metavar="DUEÑO/REPOSITORIO", help="el de GitHub, como ana/curso"
    )
    home.add_argument("--retirar", action="store_true", help="deja los archivos como estaban")
    bundle = command("empaquetar", _pack, "reúne el paquete y los cuadernos en un zip para Colab")
    folder(bundle, "salida/")
    bundle.add_argument(
        "--clase",
        action="store_true",
        help="el de una clase sin red, con todo lo que hay que instalar",
    )
    answers = command("soluciones", _answers, "escribe las soluciones, para quien da clase")
    answers.add_argument(
        "--salida", type=Path, metavar="ARCHIVO", help="por omisión, salida/soluciones.md"
    )
    return run_safely(lambda: (given := parser.parse_args(argv)).run(given))


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Para el `type` de un argumento: un entero entre esos dos."""

    def read(text: str) -> int:
        if re.fullmatch("[0-9]{1,18}", text) and low <= int(text) <= high:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"«{shorten(text)}» no vale: pon un entero del {number(low)} al {number(high)}"
        )

    return read


def _pretrain(arguments) -> int:
    from taller import pretraining

    directory = arguments.salida or output_path("minimodelo")
    options = {} if arguments.pasos is None else {"steps": arguments.pasos}
    pretraining.pretrain(
        directory, seed=arguments.semilla, resume=not arguments.desde_cero, **options
    )
    print(f"El minimodelo está en {directory}")
    return 0


def _card(arguments) -> int:
    from taller import card

    print(f"La ficha está en {card.write_model_card()}")
    return 0


def _dialogues(arguments) -> int:
    from taller import scenes

    directory = arguments.salida or data_path("charladiaria")
    scenes.write_charladiaria(directory)
    print(f"Los diálogos están en {directory}")
    return 0


def _factors(arguments) -> int:
    from taller import factores

    factores.run_factors(arguments.salida)
    print(f"La tabla está en {arguments.salida}")
    return 0


def _assistant(arguments) -> int:
    from taller import asistente

    asistente.run_assistant(arguments.salida)
    print(f"La tabla está en {arguments.salida}")
    return 0


def _injection(arguments) -> int:
    from taller import inyeccion

    inyeccion.run_injection(arguments.salida)
    print(f"La tabla está en {arguments.salida}")
    return 0


def _publish(arguments) -> int:
    from taller import publishing

    changed = publishing.publish(course_root(), arguments.repositorio)
    for path in changed:
        print(path)
    print(f"Archivos cambiados: {len(changed)}.")
    return 0


def _pack(arguments) -> int:
    from taller import publishing

    directory = arguments.salida or output_path()
    pack = publishing.pack_class if arguments.clase else publishing.pack
    print(f"El curso está en {pack(course_root(), directory)}")
    return 0


def _answers(arguments) -> int:
    from taller import soluciones

    path = soluciones.write(arguments.salida or output_path("soluciones.md"))
    print(f"Las soluciones están en {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
