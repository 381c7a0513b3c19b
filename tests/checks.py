"""Ayudas para comprobar muchas cosas en una prueba y decir juntas todas las que fallan."""

from collections.abc import Callable


def complaint(function: Callable, *args, **kwargs) -> str:
    """La frase del `ValueError` o del `OSError` con que se queja `function`; vacía si no se queja."""
    try:
        function(*args, **kwargs)
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
