"""Un millón de diálogos: lo que tardan y ocupan leerlos, contarlos y auditarlos.

`python -m taller.millon` lo mide con diez mil, cien mil y un millón, cada uno en un proceso nuevo,
con diálogos hechos al azar de turnos de CharlaDiaria (uno de cada diez repite otro). Hacen falta
unos 450 MB de disco, que se borran al acabar.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from course_lib.audit.naive import audit_file
from course_lib.cli import run_safely
from course_lib.dialogues import describe_dialogues, iter_dialogues, shipped_dialogues
from course_lib.tables import markdown, number
from course_lib.tracks import get_track

SIZES = (10_000, 100_000, 1_000_000)


def write_dialogues(path: Path, n: int) -> None:
    """Escribe `n` diálogos inventados, de cuatro a once turnos."""
    rng = random.Random(0)
    turns = [turn for dialogue in shipped_dialogues("train") for turn in dialogue.turns]
    first: list[list[str]] = []
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            if first and rng.random() < 0.1:
                talk = rng.choice(first)
            else:
                talk = [f"{rng.choice(turns)} {i}", *rng.choices(turns, k=rng.randrange(3, 11))]
                first += [talk] * (len(first) < 1_000)
            file.write(json.dumps({"dialog": talk}, ensure_ascii=False) + "\n")


def measure(path: Path) -> list[float]:
    """Los segundos de contar y de auditar un archivo, y el pico de memoria, en MiB."""
    start = time.perf_counter()
    describe_dialogues(dialogue.turns for dialogue in iter_dialogues(path))
    counted = time.perf_counter()
    audit_file(path, get_track("mini").load_tokenizer())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [counted - start, time.perf_counter() - counted, peak]


def main() -> None:
    """Mide cada tamaño en un proceso nuevo y escribe la tabla."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n in SIZES:
            path = Path(folder, f"{n}.jsonl")
            write_dialogues(path, n)
            command = [sys.executable, "-m", "taller.millon", str(path)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            rows.append([number(n), *(number(x, d) for x, d in zip(found, (1, 1, 0), strict=True))])
    print(markdown(["diálogos", "contar (s)", "auditar (s)", "memoria (MiB)"], rows))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]))))
    else:
        sys.exit(run_safely(main))
