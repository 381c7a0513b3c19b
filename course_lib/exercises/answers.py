"""Lo que un estudiante entrega: sus valores en Python corriente, y sus funciones vigiladas."""

import ctypes
import io
import linecache
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import update_wrapper
from typing import Any

LIMIT = 10.0  # segundos que se espera a cada llamada a una función
SHOWN_LINES, KEPT_CHARACTERS = 3, 1_000  # de lo que imprima


class TooLong(BaseException):
    """La función no acaba. No es una `Exception`, para que nadie la atrape sin querer."""


def plain(value: Any) -> Any:
    """El mismo valor sin NumPy, pandas ni torch, también dentro de listas y diccionarios.

    >>> plain(([range(2), 3.0], {"a": True}))
    ([range(0, 2), 3.0], {'a': True})
    """
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    # Un escalar de NumPy, una matriz, una `Series` y un tensor tienen todos este método.
    if hasattr(value, "tolist") and not isinstance(value, type):
        return plain(value.tolist())
    return value


def is_missing(answer: Any) -> bool:
    """Si aún no se ha respondido, o falta por rellenar una parte de la pareja o de la lista."""
    parts = answer if isinstance(answer, tuple | list) else [answer]
    return answer is None or any(part is ... for part in parts)


class Printed(io.StringIO):
    """Guarda el comienzo de lo que se imprime y olvida el resto."""

    def write(self, text: str) -> int:
        if self.tell() < KEPT_CHARACTERS:
            super().write(text)
        return len(text)

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
        # Otro hilo lanza `TooLong` en este: vale en cualquier sistema, y un bucle de Python lo nota
        # en la instrucción siguiente. (Lo que espere dentro de una biblioteca en C, al volver).
        me, done = ctypes.c_ulong(threading.get_ident()), threading.Event()
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc

        def watch():
            while not done.wait(LIMIT):
                throw(me, ctypes.py_object(TooLong))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            with redirect_stdout(self.printed):
                said = self.function(*args, **kwargs)
                return plain(list(said) if isinstance(said, Iterator) else said)
        finally:
            done.set()
            watcher.join()
            throw(me, None)  # por si llegó tarde y aún no ha saltado


def broken(error: BaseException, answer: Any) -> str:
    """Qué se le dice a quien entregó una respuesta con la que salta `error`."""
    own = getattr(getattr(answer, "__wrapped__", None), "__code__", None)
    place = "Al probarla"
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        file = frame.f_code.co_filename
        text = linecache.getline(file, line).strip()
        # El código de una celda se puede leer, pero no está en ningún archivo.
        if (own and file == own.co_filename) or (text and not os.path.exists(file)):
            place += f", en la línea {line} de tu celda{f' (`{text}`)' if text else ''},"
            break
    if isinstance(error, TooLong):
        said = f"{place} no termina en {LIMIT:.0f} segundos y se ha detenido."
        return f"{said} ¿Hay un bucle que no acaba?"
    message = f", con este mensaje: «{error}»" if str(error) else ""
    return f"{place} salta {type(error).__name__}{message}."
