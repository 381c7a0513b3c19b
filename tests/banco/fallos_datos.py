"""Fallos del reparto: lo que la prueba ya vio al entrenar, y charlas repetidas."""

import random
from functools import partial

from course_lib.dialogues import Dialogue, read_dialogues, split_dialogues, to_pairs
from tests.banco.caso import Case, planted, shared
from tests.banco.textos import export, talks


def cases() -> list[Case]:
    """Los casos de estas dos comprobaciones."""
    return [*_leaks(), *_repeated()]


def restyled(dialogue: Dialogue, way: int) -> Dialogue:
    """La misma charla con otras mayúsculas u otros espacios."""
    change = (str.upper, lambda t: t.replace(" ", "  "), lambda t: f" {t.lower()} ")[way % 3]
    return Dialogue(tuple(change(t) for t in dialogue.turns), roles=dialogue.roles)


# --- 13: fuga ------------------------------------------------------------------------------------


def _leaks() -> list[Case]:
    def pair_split(n, language="es", turns=6, roles=False):
        pairs = to_pairs(talks(n, language, turns, roles))
        random.Random(0).shuffle(pairs)
        cut = len(pairs) // 10
        return {"train_dialogues": pairs[cut:], "test_dialogues": pairs[:cut]}

    def copied(train, test, share, language="es", turns=4, roles=False, restyle=False):
        known = talks(train, language, turns, roles)
        fresh = talks(test, language, turns, roles, start=train)
        chosen = round(test * share)
        copies = [restyled(d, i) if restyle else d for i, d in enumerate(known[:chosen])]
        return {"train_dialogues": known, "test_dialogues": copies + fresh[chosen:]}

    def copied_pairs(train, test, share, language="es"):
        known = talks(train, language, 2)
        fresh = talks(test, language, 2, start=train)
        chosen = round(test * share)
        mixed = fresh[chosen:] + known[-chosen:]
        return {"train_dialogues": to_pairs(known), "test_dialogues": to_pairs(mixed)}

    def windows(train, test, share):
        known = talks(train, turns=6)
        cut = [Dialogue(d.turns[2:]) for d in known[: round(test * share)]]
        fresh = talks(test - len(cut), turns=4, start=train)
        return {"train_dialogues": known, "test_dialogues": cut + fresh}

    def rows(share, n=200):
        """La evaluación repite filas del entrenamiento."""
        from tests.banco.filas import chat_rows, dataset
        from tests.banco.tokenizadores import make

        tokenizer = make("curso")
        train = dataset(chat_rows(tokenizer, talks(n)))
        chosen = round(50 * share)
        held_out = chat_rows(tokenizer, talks(chosen) + talks(50 - chosen, start=n))
        return {"tokenizer": tokenizer, "train_dataset": train, "eval_dataset": dataset(held_out)}

    def sample():
        path = shared("dailydialog", "train_1k.jsonl")
        pairs = to_pairs(read_dialogues(path, report=lambda text: None))
        random.Random(0).shuffle(pairs)
        cut = len(pairs) // 10
        return {"train_dialogues": pairs[cut:], "test_dialogues": pairs[:cut]}

    made = [
        ("grave", "parejas barajadas, seis turnos", partial(pair_split, 200)),
        ("grave", "parejas barajadas, inglés, 1500 charlas", partial(pair_split, 1500, "en", 4)),
        ("grave", "parejas barajadas con papeles", partial(pair_split, 120, "es", 6, True)),
        ("grave", "todas las de prueba, copiadas", partial(copied, 40, 5, 1.0)),
        ("grave", "justo la quinta parte", partial(copied, 500, 100, 0.20)),
        ("aviso", "casi la quinta parte: 19%", partial(copied, 500, 100, 0.19)),
        (
            "grave",
            "copias con otras mayúsculas y espacios",
            partial(copied, 300, 60, 0.5, restyle=True),
        ),
        ("grave", "parejas idénticas", partial(copied_pairs, 400, 80, 0.4, "en")),
        ("aviso", "parejas idénticas, 5%", partial(copied_pairs, 800, 200, 0.05)),
        ("grave", "trozos finales de charlas entrenadas", partial(windows, 200, 50, 0.6)),
        ("aviso", "10%, con papeles, inglés", partial(copied, 300, 100, 0.10, "en", 4, True)),
        ("aviso", "justo el 2%", partial(copied, 600, 100, 0.02, "es", 2)),
        ("aviso", "2% de 1000, inglés", partial(copied, 3000, 1000, 0.02, "en", 2)),
        ("grave", "la evaluación es un trozo del entrenamiento", partial(rows, 1.0)),
        ("aviso", "la décima parte de las filas de evaluación", partial(rows, 0.1)),
        ("grave", "muestra de DailyDialog por parejas", sample),
    ]
    return [planted("fuga", *case) for case in made]


# --- 13b: duplicados -----------------------------------------------------------------------------


def _repeated() -> list[Case]:
    def repeated(n, share, language="es", turns=4, roles=False, restyle=False, file=None, form=""):
        """`n` charlas de las que esa parte repite a la primera."""
        again = round(n * share)
        known = talks(n - again, language, turns, roles)
        copies = [restyled(known[0], i) if restyle else known[0] for i in range(again)]
        everything = [*known, *copies]
        random.Random(1).shuffle(everything)
        if file:
            return {"dialogues": export(everything, f"repes-{n}-{again}.{file}", form)}
        return {"dialogues": everything}

    def pairwise(n, doubled):
        known = talks(n - doubled, "en", 6)
        return {"dialogues": known + known[:doubled]}

    def sample():
        return {"dialogues": shared("dailydialog", "train_1k.jsonl")}

    made = [
        ("grave", "cuatro charlas, una dos veces", partial(repeated, 4, 0.25)),
        (
            "grave",
            "la mitad, .jsonl de DailyDialog",
            partial(repeated, 60, 0.5, file="jsonl", form="dialog"),
        ),
        (
            "grave",
            "un tercio, .json de mensajes",
            partial(repeated, 90, 1 / 3, "en", 4, True, file="json", form="messages"),
        ),
        ("grave", "un poco más de la quinta parte", partial(repeated, 1000, 0.202)),
        ("aviso", "un poco menos de la quinta parte", partial(repeated, 1000, 0.197)),
        (
            "grave",
            "copias con otras mayúsculas y espacios",
            partial(repeated, 200, 0.4, restyle=True),
        ),
        ("aviso", "muchas parejas de copias, 10%", partial(pairwise, 2000, 200)),
        (
            "aviso",
            "5%, .jsonl de mensajes",
            partial(repeated, 200, 0.05, roles=True, file="jsonl", form="messages"),
        ),
        ("aviso", "3%, otras mayúsculas, inglés", partial(repeated, 500, 0.03, "en", restyle=True)),
        ("aviso", "un poco más del 1%", partial(repeated, 1000, 0.012)),
        ("nota", "un poco menos del 1%", partial(repeated, 1000, 0.008)),
        ("nota", "una entre 3000", partial(repeated, 3000, 1 / 3000, "en", 2)),
        ("aviso", "muestra de DailyDialog", sample),
    ]
    return [planted("duplicados", *case) for case in made]


def clean_split(language: str, n: int, pairs: bool) -> dict:
    """Un reparto por charlas enteras, sin fuga.

    Hechas las parejas después, las dos partes numeran sus charlas desde cero.
    """
    train, test = split_dialogues(talks(n, language, 4), 0.2)
    if pairs:
        return {"train_dialogues": to_pairs(train), "test_dialogues": to_pairs(test)}
    return {"train_dialogues": train, "test_dialogues": test}
