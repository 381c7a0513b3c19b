"""La línea de órdenes en español: argparse, con las frases que ve quien se equivoca."""

import argparse
from collections.abc import Callable

from course_lib import __version__

# argparse habla inglés y pide sus frases a `argparse._`.
_SPANISH = {
    "usage: ": "uso: ",
    "options": "opciones",
    "positional arguments": "argumentos",
    "show this help message and exit": "muestra esta ayuda y termina",
    "%(prog)s: error: %(message)s\n": "%(prog)s: %(message)s\n",
    "unrecognized arguments: %s": "no se reconoce: %s",
    "the following arguments are required: %s": "falta: %s",
    "one of the arguments %s is required": "falta una de estas: %s",
    "not allowed with argument %s": "no puede ir con %s",
    "expected one argument": "falta su valor",
    "argument %(argument_name)s: %(message)s": "%(argument_name)s: %(message)s",
    "invalid %(type)s value: %(value)r": "%(value)r no es un número entero válido",
    "invalid choice: %(value)r (choose from %(choices)s)": "%(value)r no vale; hay %(choices)s",
}


def new_parser(description: str, epilog: str) -> argparse.ArgumentParser:
    """El intérprete de la orden `curso`, con `--version` y todavía sin órdenes."""
    argparse._ = lambda text: _SPANISH.get(text, text)
    parser = argparse.ArgumentParser(prog="curso", description=description, epilog=epilog)
    parser.add_argument(
        "--version",
        action="version",
        version=f"curso {__version__}",
        help="muestra la versión y termina",
    )
    return parser


def add_command(
    commands, name: str, function: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    """Añade una orden: su nombre, la función que la ejecuta y lo que hace, en una frase."""
    description = f"{summary[0].upper()}{summary[1:]}."
    parser = commands.add_parser(name, help=summary, description=description)
    parser.set_defaults(run=function)
    return parser
