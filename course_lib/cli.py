"""La orden `curso`: ejecuta las lecciones y rehace lo que el repositorio trae hecho."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from course_lib import data_path, evaluation, lessons, output_path, publishing
from course_lib.arguments import add_command, new_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Punto de entrada de la orden `curso`.

    Args:
        argv: los argumentos sin el nombre del programa; por omisión, los de la línea de órdenes.

    Returns:
        0 si todo fue bien, 1 si una lección falló, 2 si el error es de quien llama, 130 si se
        interrumpió.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print("Interrumpido.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # quien leía (head, less) se fue antes de acabar
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        if os.environ.get("CURSO_DEPURAR"):
            raise
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        description="Ejecuta las lecciones del curso y rehace sus datos y su minimodelo.",
        epilog="Con CURSO_DEPURAR=1 los errores enseñan también dónde se produjeron.",
    )
    commands = parser.add_subparsers(title="órdenes", required=True, metavar="ORDEN")

    run = add_command(commands, "ejecutar", _run_lessons, "ejecuta las lecciones")
    run.add_argument("lecciones", nargs="*", help="números o nombres; por omisión, todas")
    run.add_argument("--salida", type=Path, metavar="CARPETA", help="por omisión, salida/")
    run.add_argument(
        "--guardar",
        action="store_true",
        help="actualiza además los cuadernos de notebooks/ con sus salidas",
    )

    train = add_command(commands, "preentrenar", _pretrain, "preentrena el minimodelo desde cero")
    train.add_argument(
        "--salida", type=Path, metavar="CARPETA", help="por omisión, salida/minimodelo"
    )
    train.add_argument("--pasos", type=int, metavar="N", help="por omisión, los de la receta")
    train.add_argument("--semilla", type=int, default=0, metavar="N", help="por omisión, 0")
    train.add_argument(
        "--desde-cero", action="store_true", help="no continúa un entrenamiento interrumpido"
    )

    add_command(commands, "ficha", _write_card, "mide el minimodelo y escribe su ficha")

    talk = add_command(
        commands, "dialogos", _write_dialogues, "rehace los diálogos de CharlaDiaria"
    )
    talk.add_argument(
        "--salida", type=Path, metavar="CARPETA", help="por omisión, data/charladiaria"
    )

    for name, function, summary in (
        ("ablacion", _run_ablation, "mide qué pesó cada defecto de la lección original"),
        ("escalera", _run_ladder, "mide todos los peldaños con las mismas preguntas"),
    ):
        experiment = add_command(commands, name, function, summary)
        experiment.add_argument(
            "--salida",
            type=Path,
            metavar="ARCHIVO",
            default=data_path("experimentos") / f"{name}.json",
            help=f"por omisión, data/experimentos/{name}.json",
        )
    commands.choices["ablacion"].add_argument(
        "--semillas", type=int, default=3, metavar="N", help="por omisión, 3"
    )

    check = add_command(
        commands, "auditar", _audit, "busca los errores corrientes en un archivo de diálogos"
    )
    check.add_argument("datos", type=Path, help="un .jsonl o .json de diálogos")
    check.add_argument(
        "--modelo",
        required=True,
        metavar="MODELO",
        help="carpeta o nombre en el Hub; solo se usa su tokenizador",
    )
    check.add_argument(
        "--longitud", type=int, default=128, metavar="N", help="tokens por ejemplo; 128"
    )
    split = check.add_mutually_exclusive_group()
    split.add_argument(
        "--parejas",
        action="store_true",
        help="supone que se reparten parejas sueltas (es lo que se hace por omisión)",
    )
    split.add_argument(
        "--dialogos", action="store_true", help="supone que se reparten diálogos enteros"
    )
    check.add_argument("--json", action="store_true", help="escribe el informe en JSON")

    publish = add_command(
        commands, "publicar", _publish, "pone en los cuadernos y el README dónde está el curso"
    )
    home = publish.add_mutually_exclusive_group(required=True)
    home.add_argument(
        "repositorio", nargs="?", metavar="DUEÑO/REPOSITORIO", help="el de GitHub, como ana/curso"
    )
    home.add_argument("--retirar", action="store_true", help="deja los archivos como estaban")

    pack = add_command(
        commands, "empaquetar", _pack, "reúne la rueda y los cuadernos en un zip para Colab"
    )
    pack.add_argument("--salida", type=Path, metavar="CARPETA", help="por omisión, salida/")
    return parser


def _run_lessons(arguments) -> int:
    paths = lessons.find_notebooks(arguments.lecciones)
    output_dir = (arguments.salida or output_path()).resolve()
    start = time.time()
    runs = lessons.run_notebooks(paths, output_dir, save_in_place=arguments.guardar)

    width = max(len(run.name) for run in runs)
    print()
    for run in runs:
        print(f"{run.name:<{width}}  {run.seconds:6.1f} s  {'falló' if run.error else 'bien'}")
    memory = lessons.peak_memory_gib()
    total = f"{'total':<{width}}  {sum(run.seconds for run in runs):6.1f} s"
    print(total if memory is None else f"{total}  memoria máxima: {memory:.1f} GiB")

    rows = lessons.read_scoreboard(output_dir, since=start)
    if rows:
        print(f"\n{evaluation.format_scoreboard(rows)}")
    print(f"\nLos cuadernos ejecutados y sus páginas HTML están en {output_dir}")
    print(f"Empieza por {runs[0].html}")
    if runs[-1].error:
        pending = len(paths) - len(runs)
        print(f"\n{runs[-1].error}", file=sys.stderr)
        if pending:
            print(f"Lecciones que quedan sin ejecutar: {pending}.", file=sys.stderr)
        return 1
    return 0


def _pretrain(arguments) -> int:
    from course_lib import pretraining

    directory = arguments.salida or output_path("minimodelo")
    options = {} if arguments.pasos is None else {"steps": arguments.pasos}
    pretraining.pretrain(
        directory, seed=arguments.semilla, resume=not arguments.desde_cero, **options
    )
    print(f"El minimodelo está en {directory}")
    return 0


def _write_card(arguments) -> int:
    from course_lib import card

    print(f"La ficha está en {card.write_model_card()}")
    return 0


def _write_dialogues(arguments) -> int:
    from course_lib import scenes

    directory = arguments.salida or data_path("charladiaria")
    scenes.write_charladiaria(directory)
    print(f"Los diálogos están en {directory}")
    return 0


def _run_ablation(arguments) -> int:
    from course_lib import ablation

    ablation.run_ablation(arguments.salida, seeds=arguments.semillas)
    print(f"La tabla está en {arguments.salida}")
    return 0


def _run_ladder(arguments) -> int:
    from course_lib import ladder_experiment

    ladder_experiment.measure_ladder(output_path("escalera"), arguments.salida)
    print(f"La tabla está en {arguments.salida}")
    return 0


def _audit(arguments) -> int:
    from course_lib.audit.naive import audit_file, load_tokenizer

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
    return 1 if found.report.grave else 0


def _publish(arguments) -> int:
    changed = publishing.publish(lessons.course_root(), arguments.repositorio)
    for path in changed:
        print(path)
    print(f"Archivos cambiados: {len(changed)}.")
    return 0


def _pack(arguments) -> int:
    directory = arguments.salida or output_path()
    print(f"El curso está en {publishing.pack(lessons.course_root(), directory)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
