"""Ayudas para comprobar muchas cosas en una prueba y decir juntas todas las que fallan."""

import inspect
from collections.abc import Callable, Iterable

import pytest


def complaint(function: Callable, *args, **kwargs) -> str:
    """La frase del `ValueError` u `OSError` con que se queja `function`; vacía si no hay queja."""
    try:
        function(*args, **kwargs)
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def each(names: str | tuple[str, ...], cases: Iterable) -> Callable:
    """Como `pytest.mark.parametrize`, pero en una prueba, que dice juntos los casos que fallan.

    Es para rejillas de casos iguales y rápidos. Los casos comparten los accesorios (*fixtures*).
    """
    names = names.split(", ") if isinstance(names, str) else list(names)
    cases = list(cases)

    def decorate(check: Callable) -> Callable:
        def test(**fixtures):
            wrong = []
            for case in cases:
                values = [case] if len(names) == 1 else case
                try:
                    check(**dict(zip(names, values, strict=True)), **fixtures)
                except (Exception, pytest.fail.Exception) as error:
                    wrong.append(f"{case!r:.200}: {type(error).__name__}: {error}")
            assert not wrong, f"{len(wrong)} de {len(cases)} casos:\n" + "\n".join(wrong)

        signature = inspect.signature(check)
        others = [p for name, p in signature.parameters.items() if name not in names]
        test.__signature__ = signature.replace(parameters=others)
        test.__name__, test.__doc__ = check.__name__, check.__doc__
        test.__module__, test.__qualname__ = check.__module__, check.__qualname__
        return test

    return decorate
