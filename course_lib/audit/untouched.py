"""Mirar sin tocar: el azar y el estado del tokenizador quedan como estaban."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def untouched(tokenizer: Any) -> Iterator[None]:
    """Al salir, los generadores de azar y el recorte del tokenizador vuelven a como estaban.

    Un *collator* puede sortear, y cualquier llamada al tokenizador le cambia el recorte y el
    relleno que tenía puestos.
    """
    import numpy as np
    import torch

    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    backend = getattr(tokenizer, "_tokenizer", None)
    settings = (backend.truncation, backend.padding) if backend is not None else (None, None)
    try:
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])
        if backend is not None:
            _restore(backend, *settings)


def _restore(backend, truncation: dict | None, padding: dict | None) -> None:
    if truncation is None:
        backend.no_truncation()
    else:
        backend.enable_truncation(**truncation)
    if padding is None:
        backend.no_padding()
    else:
        backend.enable_padding(**padding)
