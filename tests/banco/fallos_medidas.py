"""Fallos que se ven en las medidas: olvido y respuestas sosas."""

from functools import partial

from course_lib.tables import Measure, wilson
from tests.banco.caso import Case, planted
from tests.banco.textos import talks


def cases() -> list[Case]:
    """Los casos de estas dos comprobaciones."""
    return [*_forgetting(), *_bland()]


# --- 27: olvido ----------------------------------------------------------------------------------


def measured(hits: int, n: int) -> Measure:
    """Una proporción con su intervalo."""
    return Measure(hits / n, n, *wilson(hits, n))


def _forgetting() -> list[Case]:
    def fell(before, after, n, plain=False, other=()):
        """Aciertos antes y después de `n`; `other`, materias que no caen."""
        kind = (lambda h, n: (h, n)) if plain else measured
        names = ("hechos", *other)
        return {
            "before": {name: kind(before, n) for name in names},
            "after": {name: kind(after if name == "hechos" else before, n) for name in names},
        }

    made = [
        ("grave", "del 98% al 2%, 200 preguntas", partial(fell, 196, 4, 200)),
        (
            "grave",
            "del 90% al 60%, una de tres materias",
            partial(fell, 180, 120, 200, other=("sí o no", "lectura")),
        ),
        ("grave", "pares (aciertos, n)", partial(fell, 450, 300, 500, True)),
        ("grave", "justo diez puntos", partial(fell, 4500, 4000, 5000)),
        ("grave", "justo diez puntos, en pares", partial(fell, 1400, 1200, 2000, True)),
        ("aviso", "casi diez puntos: 9,8", partial(fell, 4500, 4010, 5000)),
        ("grave", "examen corto y caída total", partial(fell, 20, 2, 20)),
        ("aviso", "cinco puntos", partial(fell, 9000, 8500, 10000)),
        ("aviso", "apenas más de tres puntos", partial(fell, 9000, 8680, 10000)),
        (
            "aviso",
            "cuatro puntos, una de dos, en pares",
            partial(fell, 7000, 6600, 10000, True, ("lectura",)),
        ),
        ("grave", "materia difícil: del 30% al 15%", partial(fell, 300, 150, 1000)),
    ]
    return [planted("olvido", *case) for case in made]


# --- 28: respuestas-sosas ------------------------------------------------------------------------


def mixture(n: int, same: int, line: str, language: str = "es") -> list[str]:
    """`n` respuestas: `same` veces la misma y el resto todas distintas y variadas."""
    own = [d.turns[1] for d in talks(3 * n, language, 2)]
    # Una de cada tres escenas empieza igual: se varía la primera palabra con su número.
    varied = [f"{1000 + i}: {text}" for i, text in enumerate(own)][: n - same]
    answers = [line] * same + varied
    return [answers[(7 * i) % n] if n % 7 else answers[i] for i in range(n)]


def _bland() -> list[Case]:
    def same(n, times, line="No lo sé.", language="es"):
        return {"answers": mixture(n, times, line, language)}

    def few_distinct(n, distinct):
        lines = [f"{k} es la respuesta" for k in range(distinct)]
        return {"answers": [lines[i % distinct] for i in range(n)]}

    def same_word(n, times, word="Sí"):
        starts = mixture(n, 0, "")
        return {"answers": [f"{word}, {a}" if i < times else a for i, a in enumerate(starts)]}

    def restyled(n):
        forms = ("Yes , it is .", "yes, it is.", "Yes, it is!")
        return {"answers": [forms[i % 3] for i in range(n)]}

    made = [
        ("siempre lo mismo, veinte", partial(same, 20, 20)),
        ("siempre lo mismo, 500, inglés", partial(same, 500, 500, "I don't know.", "en")),
        ("tres cuartas partes lo mismo", partial(same, 100, 75)),
        ("justo la mitad lo mismo", partial(same, 100, 50)),
        ("29 distintas de cien", partial(few_distinct, 100, 29)),
        ("cinco distintas de mil", partial(few_distinct, 1000, 5)),
        ("seis distintas de treinta", partial(few_distinct, 30, 6)),
        ("la mitad empieza por «Sí»", partial(same_word, 100, 50)),
        ("casi todas empiezan por «Yes»", partial(same_word, 60, 55, "Yes")),
        ("lo mismo con otros signos", partial(restyled, 40)),
        ("respuestas vacías", partial(same, 50, 40, "")),
    ]
    return [planted("respuestas-sosas", "aviso", name, build) for name, build in made]
