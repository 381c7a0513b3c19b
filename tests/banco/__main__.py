"""La tabla del banco, en la terminal.

    python -m tests.banco [--sin-velocidad] [comprobación ...]

Con nombres de comprobaciones, mide solo sus casos (y ningún control). Acaba con estado 1 si falta
un fallo, su gravedad no es la debida o hay una falsa alarma.
"""

import argparse
import os
import sys
import time
from importlib.metadata import version

from tests.banco.caso import CHECKS
from tests.banco.medir import Outcome, all_cases, run, scores, speed

PACKAGES = ("transformers", "trl", "peft", "torch")


def main(arguments: list[str] | None = None) -> int:
    """Mide, imprime la tabla y devuelve el estado de salida."""
    parser = argparse.ArgumentParser(description="El banco de la auditoría.", add_help=True)
    parser.add_argument("checks", nargs="*", metavar="comprobación", help="solo estas")
    parser.add_argument("--sin-velocidad", action="store_true", help="no mide las 10 000 charlas")
    options = parser.parse_args(arguments)
    if unknown := set(options.checks) - set(CHECKS):
        parser.error(f"no existe: {', '.join(sorted(unknown))}; hay {', '.join(CHECKS)}")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    torch.set_num_threads(1)
    cases = [c for c in all_cases() if not options.checks or c.check in options.checks]
    start = time.perf_counter()
    outcomes = run(cases)
    seconds = time.perf_counter() - start
    print(table(outcomes, options.checks))
    print(
        f"\n{len(cases)} casos en {comma(seconds)} s; en la auditoría, "
        f"{comma(sum(o.seconds for o in outcomes))} s."
    )
    print("Versiones: " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".")
    if not options.sin_velocidad and not options.checks:
        with_rows, alone = speed()
        print(
            f"Velocidad, 10 000 charlas de seis turnos: {comma(alone)} s con el archivo y "
            f"{comma(with_rows)} s con sus filas codificadas además."
        )
    return int(any(o.problem for o in outcomes))


def table(outcomes: list[Outcome], only: list[str] | None = None) -> str:
    """La tabla por comprobación y, debajo, cada caso que no sale como debe."""
    head = ("comprobación", "casos", "vistos", "justos", "abst.", "controles", "falsas")
    lines = ["{:<24}{:>7}{:>8}{:>8}{:>7}{:>11}{:>8}".format(*head)]
    rows = [s for s in scores(outcomes) if not only or s.check in only]
    for s in rows:
        numbers = (s.cases, s.found, s.exact, s.abstained, s.exercised, s.alarms)
        lines.append("{:<24}{:>7}{:>8}{:>8}{:>7}{:>11}{:>8}".format(s.check, *numbers))
    sums = [sum(getattr(s, name) for s in rows) for name in ("cases", "found", "exact")]
    sums += [sum(s.abstained for s in rows), sum(s.exercised for s in rows)]
    sums += [sum(s.alarms for s in rows)]
    lines.append("{:<24}{:>7}{:>8}{:>8}{:>7}{:>11}{:>8}".format("total", *sums))
    controls = [o for o in outcomes if not o.case.planted and not o.skipped]
    noisy = sum(bool(o.problem) for o in controls)
    lines.append(
        f"\nControles limpios: {len(controls)}, con alguna falsa alarma {noisy}. «Controles» son "
        "aquellos en que la\ncomprobación se pudo hacer: donde se abstiene no cuenta."
    )
    if missing := [o for o in outcomes if o.skipped]:
        reasons = sorted({o.skipped for o in missing})
        lines.append(f"Casos sin medir: {len(missing)} ({'; '.join(reasons)}).")
    for o in outcomes:
        if o.problem:
            lines.append(f"- {o.case.check or 'control'} · {o.case.name}: {o.problem}")
    return "\n".join(lines)


def comma(number: float) -> str:
    """Un número con un decimal y coma."""
    return f"{number:.1f}".replace(".", ",")


if __name__ == "__main__":
    sys.exit(main())
