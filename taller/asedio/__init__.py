"""Un asedio al curso: miles de entradas hostiles, para que ninguna lo rompa.

`python -m taller asedio --casos 50000` da el asedio largo; las pruebas, uno corto con los mismos
generadores. Cada caso sale de su superficie, una semilla y su número, y con los tres se repite:
`python -m taller asedio --solo papeles --semilla 7 --caso 1234`. Un generador de la biblioteca
estándar basta para eso; `hypothesis` además encoge el caso, pero guarda los suyos en una base de
ejemplos y pone su propio límite de tiempo, y aquí hay que medir los cuelgues y poder seguir un
asedio a medias.

De cada superficie se dice cuántos casos fueron, y cuántos acabaron mal, de estas maneras:

- traza: una excepción que no es ni `ValueError` ni `OSError`, o un código de salida desconocido.
- frase: un rechazo que no es una frase en español, corta y en un renglón.
- falsa: un texto que se hace pasar por otra cosa (un papel, un número, los pesos de un modelo).
- pérdida: algo de lo que se dio no está en el resultado, y ningún aviso lo cuenta.
- cuelgue: pasa de `LIMIT` segundos.
"""

import json
import random
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

KINDS = ("traza", "frase", "falsa", "pérdida", "cuelgue")
# Cada superficie, con la parte que le toca de los casos: las que tardan más llevan menos.
SURFACES = {"archivos": 0.6, "papeles": 0.27, "órdenes": 0.06, "modelos": 0.03, "ejercicios": 0.04}
LIMIT = 20.0  # segundos de un caso: muchos, para que una máquina cargada no parezca un cuelgue
LONGEST = 2_000  # caracteres de una frase
SAVE_EVERY = 10.0  # segundos entre dos apuntes de por dónde va
# Palabras que delatan una frase en inglés. Lo que va entre comillas es cita, y no se mira.
ENGLISH = re.compile(
    r"\b(expecting|expected|errno|codec|traceback|the|not|with|must|should|cannot|can't|unable|"
    r"failed|unexpected|invalid|missing|argument|such|found|unsupported|object|exceeds)\b",
    re.I,
)


class Broken(Exception):
    """Un caso que acaba mal: de qué manera, y qué pasó."""

    def __init__(self, kind: str, detail: object):
        super().__init__(kind, str(detail)[:LONGEST])


class Hung(BaseException):
    """Un caso que no acaba; no es una `Exception`, para que nadie la atrape sin querer."""


def unquoted(text: str) -> str:
    """Un texto sin lo que cita."""
    return re.sub(r"«[^»]*»|`[^`]*`|\"[^\"]*\"", "", text)


def refused(error: Exception) -> None:
    """Comprueba que un rechazo es una frase en español, corta y en un renglón."""
    said = str(error)
    prose = unquoted(said)
    problem = (
        ("está vacía" if not said.strip() else "")
        or ("ocupa más de un renglón" if len(said.splitlines()) > 1 else "")
        or (f"son {len(said)} caracteres" if len(said) > LONGEST else "")
        or (f"está en inglés: «{found[0]}»" if (found := ENGLISH.search(prose)) else "")
    )
    if problem:
        raise Broken("frase", f"{problem}: {type(error).__name__}: {said!r}")


@contextmanager
def refusals() -> Iterator[None]:
    """Deja pasar los rechazos que son una frase; todo lo demás es un caso que acaba mal."""
    try:
        yield
    except (Broken, Hung):
        raise
    except (ValueError, OSError) as error:
        if isinstance(error, UnicodeError) or type(error).__module__ not in ("builtins",):
            raise Broken("traza", f"{type(error).__name__}: {error}") from error
        refused(error)
    except Exception as error:
        raise Broken("traza", f"{type(error).__name__}: {error}") from error


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Interrumpe con `Hung` lo que no acabe a tiempo, e insiste cada segundo."""

    def ring(*_):
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attack(surface: str, seed: int, number: int, folder: Path) -> tuple[str, str] | None:
    """Un caso: `None` si acaba bien o, si no, de qué manera y qué pasó.

    Args:
        folder: una carpeta que la superficie puede usar, la misma en todos sus casos.
    """
    module = import_module(f"taller.asedio.{surface.replace('ó', 'o')}")
    module.prepare(folder)
    try:
        with limited(LIMIT):
            module.case(random.Random(f"{surface} {seed} {number}"), folder)
    except Broken as broken:
        return broken.args
    except Hung:
        return "cuelgue", f"más de {LIMIT:.0f} segundos"
    except Exception as error:
        return "traza", f"{type(error).__name__}: {error}"[:LONGEST]
    return None


def besiege(
    counts: dict[str, int],
    seed: int = 0,
    notes: Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, dict]:
    """Un asedio: los casos de cada superficie. Si se interrumpe, con sus apuntes sigue.

    Args:
        counts: cuántos casos de cada superficie.
        notes: dónde apuntar por dónde va; `None`, en ningún sitio.

    Returns: de cada superficie, `casos`, `segundos` y `malos`: los números de caso que acaban mal,
        con la manera y lo que pasó.
    """
    done = json.loads(notes.read_text("utf-8")) if notes and notes.is_file() else {}
    for surface, total in counts.items():
        state = done.setdefault(surface, {"casos": 0, "segundos": 0.0, "malos": {}})
        saved = start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="asedio-") as folder:
            while state["casos"] < total:
                number = state["casos"]
                if bad := attack(surface, seed, number, Path(folder)):
                    state["malos"][str(number)] = bad
                    report(f"  {surface}, semilla {seed}, caso {number}. {bad[0]}: {bad[1]}")
                state["casos"] += 1
                if (now := time.monotonic()) - saved > SAVE_EVERY or state["casos"] == total:
                    state["segundos"] += now - start
                    saved = start = now
                    report(f"{surface}: {state['casos']} de {total}")
                    if notes:
                        notes.parent.mkdir(parents=True, exist_ok=True)
                        notes.write_text(json.dumps(done, ensure_ascii=False), "utf-8")
    return done


def repeat(surface: str | None, seed: int, number: int) -> int:
    """Repite un caso y dice cómo acaba: 0, bien; 1, mal."""
    if surface not in SURFACES:
        raise ValueError("Di con --solo de qué superficie es el caso.")
    with tempfile.TemporaryDirectory(prefix="asedio-") as folder:
        bad = attack(surface, seed, number, Path(folder))
    print("bien" if bad is None else f"{bad[0]}: {bad[1]}")
    return int(bad is not None)


def table(done: dict[str, dict]) -> str:
    """El resultado de un asedio: una fila por superficie."""
    rows = [
        f"{'superficie':<12}{'casos':>8}" + "".join(f"{kind:>9}" for kind in KINDS) + "  segundos"
    ]
    for surface, state in done.items():
        kinds = Counter(kind for kind, _ in state["malos"].values())
        counts = "".join(f"{kinds[kind]:>9}" for kind in KINDS)
        rows.append(f"{surface:<12}{state['casos']:>8}{counts}  {state['segundos']:>8.0f}")
    return "\n".join(rows)


def share(cases: int, only: str | None = None) -> dict[str, int]:
    """Cuántos casos le tocan a cada superficie, o todos a una."""
    if only is not None and only not in SURFACES:
        raise ValueError(f"No hay superficie «{only}»: elige «{'», «'.join(SURFACES)}».")
    return {only: cases} if only else {s: max(1, round(cases * p)) for s, p in SURFACES.items()}
