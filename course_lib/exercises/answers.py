"""Lo que un estudiante entrega: sus valores en Python corriente, y sus funciones vigiladas."""

import ctypes
import io
import linecache
import math
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from copy import copy
from dataclasses import is_dataclass
from decimal import Decimal
from functools import update_wrapper
from itertools import islice
from numbers import Integral, Real
from typing import Any

LIMIT, WHOLE = 10.0, 120.0  # segundos que se espera a una llamada, y a la comprobación entera
INSIST = 0.2  # segundos hasta volver a pedírselo
MOST = 100_000  # elementos que puede dar, de uno en uno
SHOWN_LINES, KEPT_CHARACTERS = 3, 1_000  # de lo que imprima
LONGEST = 300  # caracteres de un valor que caben en una frase


class TooLong(BaseException):
    """No acaba en lo que dice. No es una `Exception`, para que nadie la atrape sin querer."""


class NotANumber(BaseException):
    """Hay un `nan` o un infinito, con los que no sale cuenta ninguna: se dice antes de revisar."""


def plain(value: Any) -> Any:
    """El mismo valor sin NumPy, pandas ni torch, también dentro de listas, diccionarios y medidas.

    >>> plain(([range(2), Decimal("3")], {"a": True}))
    ([range(0, 2), 3.0], {'a': True})
    """
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, Real | Decimal) and not isinstance(value, Integral):
        if not math.isfinite(value):
            raise NotANumber(value)
        return float(value)
    # Un entero de NumPy, una matriz, una `Series` y un tensor tienen todos este método.
    if hasattr(value, "tolist") and not isinstance(value, type):
        return plain(value.tolist())
    if is_dataclass(value) and hasattr(value, "__dict__") and not isinstance(value, type):
        value = copy(value)
        vars(value).update(plain(vars(value)))
    return value


def is_missing(answer: Any) -> bool:
    """Si aún no se ha respondido, o falta por rellenar una parte de la pareja o de la lista."""
    parts = answer if isinstance(answer, tuple | list) else [answer]
    return answer is None or any(part is ... for part in parts)


def written(value: Any, how: Callable[[Any], str] = repr) -> str:
    """Un valor como texto, si se deja escribir, y solo lo que cabe en una frase."""
    try:
        text = how(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


class Printed(io.StringIO):
    """Guarda el comienzo de lo que se imprime y olvida el resto."""

    def write(self, text: str) -> int:
        if self.tell() < KEPT_CHARACTERS:
            super().write(text)
        return len(text)

    def close(self) -> None:
        """Aunque la función lo cierre, aún hay que leerlo."""

    def told(self) -> str:
        """Las primeras líneas, listas para enseñarlas, o nada."""
        lines = self.getvalue().splitlines()
        if not lines:
            return ""
        more = ["…"] if len(lines) > SHOWN_LINES else []
        return "\n  ".join(["\nAl probarla imprime:", *lines[:SHOWN_LINES], *more])


class Watched:
    """La función de un estudiante: da valores corrientes, calla lo que imprime y se detiene."""

    def __init__(self, function: Callable):
        update_wrapper(self, function, updated=())
        self.function, self.printed = function, Printed()

    def __repr__(self) -> str:
        return repr(self.function)

    def __call__(self, *args, **kwargs) -> Any:
        with redirect_stdout(self.printed), limited(LIMIT):
            said = self.function(*args, **kwargs)
            return plain(taken(said) if isinstance(said, Iterator) else said)


def taken(values: Iterable) -> list:
    """Lo que da un iterable, si se acaba."""
    values = list(islice(values, MOST + 1))
    if len(values) > MOST:
        raise TooLong("cien mil elementos")
    return values


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Detiene con `TooLong` lo que no acabe a tiempo, e insiste por si lo atrapan.

    En Windows o fuera del hilo principal no hay alarma: otro hilo lanza la excepción en este, que
    la nota en su instrucción siguiente (si espera dentro de una biblioteca en C, al volver).
    """
    done, start, me = threading.Event(), time.monotonic(), ctypes.c_ulong(threading.get_ident())
    has_alarm = hasattr(signal, "setitimer") and me.value == threading.main_thread().ident
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def ring(*_):
        if not done.is_set():
            raise TooLong(f"{seconds:.0f} segundos")

    def watch(pause=seconds):
        while not done.wait(pause):
            throw(me, ctypes.py_object(TooLong))
            pause = INSIST

    watcher = threading.Thread(target=watch, daemon=True)
    if has_alarm:
        handler = signal.signal(signal.SIGALRM, ring)
        left, every = signal.setitimer(signal.ITIMER_REAL, seconds, INSIST)
    else:
        watcher.start()
    try:
        yield
    finally:
        done.set()
        if has_alarm:  # vuelve la que hubiera, que ha seguido contando
            left = max(left - time.monotonic() + start, INSIST) if left else 0.0
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, left, every)
        else:
            watcher.join()
            throw(me, None)  # por si llegó tarde y aún no ha saltado


def broken(error: BaseException, code: Any) -> str:
    """Qué se le dice a quien entregó una respuesta, o una función con ese código, si salta eso."""
    if isinstance(error, NotANumber):
        return f"Hay un `{error}`, que no es un número. ¿De qué división o de qué dato sale?"
    own, place = getattr(code, "co_filename", None), "Al probarla"
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        file = frame.f_code.co_filename
        text = linecache.getline(file, line).strip()
        # El código de una celda se puede leer, pero no está en ningún archivo.
        if file == own or (text and not os.path.exists(file)):
            place += f", en la línea {line} de tu celda{f' (`{text}`)' if text else ''},"
            break
    if isinstance(error, TooLong):
        said = f"{place} no termina en {str(error) or f'{LIMIT:.0f} segundos'} y se ha detenido."
        return f"{said} ¿Hay un bucle que no acaba?"
    said = " ".join(written(error, str).split())
    message = f", con este mensaje: «{said}»" if said else ""
    return f"{place} salta {type(error).__name__}{message}."
