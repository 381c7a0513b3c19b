"""La clave con que se comparan textos: la de `evaluation.normalize`, para muchos de una vez."""

import re
import unicodedata
from functools import lru_cache

_WORDS = re.compile(r"[^\W_]+")
_MARKS = re.compile(r"[\u0300-\u036f]")


@lru_cache(maxsize=200_000)
def fold(text: str) -> str:
    """Minúsculas, sin tildes ni signos.

    >>> fold("  ¡Sí, es París! ")
    'si es paris'
    """
    text = text.lower()
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFD", text))
    return " ".join(_WORDS.findall(text))
