"""Lección 03: los errores corrientes se explican, y las cifras citadas son las de la muestra."""

import json
import random
from pathlib import Path

import pytest

from course_lib.dialogues import (
    Dialogue,
    describe_dialogues,
    read_dialogues,
    shipped_dialogues,
    split_dialogues,
    to_pairs,
)
from course_lib.encoding import IGNORED, Kind
from course_lib.exercises import get

ROOT = Path(__file__).resolve().parents[1]
LESSON = ROOT / "notebooks" / "03_construir_el_dataset.ipynb"
REAL_SAMPLE = ROOT.parent / "shared" / "datos" / "dailydialog" / "train_1k.jsonl"
TAUGHT = (Kind.REPLY, Kind.END)


def test_3_1_takes_any_prediction_and_only_the_measure_asked_for(solved, refusal):
    guess, share = solved("3.1")
    assert get("3.1").review((0.99, share)) is None
    for answer, words in [
        (share, "(prediccion, medida)"),
        ((81, share), "de 0 a 1"),
        ((guess, 100 * share), "de 0 a 1"),
        ((guess, 1), "hermanas"),
        ((guess, 0.315), "seen_before"),
    ]:
        assert words in refusal("3.1", answer)


def shares(amount, total=lambda lengths, max_length: max_length * len(lengths)):
    """Una función `padding_share` que suma `amount` y divide por `total`."""
    return lambda lengths, max_length: (
        sum(amount(n, max_length) for n in lengths) / total(lengths, max_length)
    )


def test_3_2_explains_each_wrong_share(refusal):
    for answer, words in [
        (shares(lambda n, top: n < top, lambda lengths, top: len(lengths)), "que llevan relleno"),
        (shares(lambda n, top: top - n), "se corta"),  # negativo, si no se corta antes
        (shares(lambda n, top: 100 * max(0, top - n)), "porcentaje"),
        (shares(lambda n, top: min(n, top)), "parte de texto"),
        (shares(lambda n, top: max(0, top - n), lambda lengths, top: sum(lengths)), "posiciones"),
        (0.5, "la función misma"),
        (lambda lengths, max_length: None, "return"),
    ]:
        assert words in refusal("3.2", answer)


def label(good, otherwise=IGNORED):
    """Una función `reply_labels` que cuenta los tokens que cumplen `good`."""
    return lambda ids, kinds: [t if good(t, k) else otherwise for t, k in zip(ids, kinds)]


def test_3_3_explains_each_wrong_label(solved, refusal):
    for answer, words in [
        (lambda ids, kinds: ids, "copia de los ids"),
        (label(lambda t, k: t != 0 and k in TAUGHT), "callarse"),  # el fin se va con el relleno
        (label(lambda t, k: k == Kind.REPLY), "callarse"),
        (label(lambda t, k: k >= Kind.REPLY), "míralo por su clase"),
        (label(lambda t, k: k in (*TAUGHT, Kind.USER)), "del usuario"),
        (label(lambda t, k: k in TAUGHT, otherwise=0), "0 es un token"),
        (label(lambda t, k: k != Kind.PADDING), "un marcador"),
        (label(lambda t, k: k not in (Kind.USER, Kind.PADDING)), "un marcador"),
        (lambda ids, kinds: [*solved("3.3")(ids, kinds)[1:], IGNORED], "Desplazar"),
        (lambda ids, kinds: [t for t, k in zip(ids, kinds) if k in TAUGHT], "una etiqueta por"),
        (label(lambda t, k: False), "debe contar"),
        (label(lambda t, k: k in TAUGHT and t != 5), "no te fíes de un id"),
        (lambda ids, kinds: None, "return"),
    ]:
        assert words in refusal("3.3", answer)


def cut_list(dialogues, fraction, seed):
    cut = round(len(dialogues) * fraction)
    return dialogues[cut:], dialogues[:cut]


def shuffle_all(dialogues, fraction, seed):  # las copias acaban a los dos lados
    return cut_list(random.Random(seed).sample(dialogues, len(dialogues)), fraction, seed)


def test_3_4_explains_each_wrong_split(solved, refusal):
    split = solved("3.4")
    for answer, words in [
        (cut_list, "idénticos"),
        (shuffle_all, "idénticos"),
        (lambda all_, part, seed: shuffle_all(list(dict.fromkeys(all_)), part, seed), "perderse"),
        (lambda all_, part, seed: split(all_, part, random.random()), "misma semilla"),
        (lambda all_, part, seed: split(all_, part, 0), "otra semilla"),
        (lambda all_, part, seed: shuffle_all(to_pairs(all_), part, seed), "diálogos enteros"),
        (lambda all_, part, seed: split(all_, part, seed)[::-1], "20%"),
        (lambda all_, part, seed: (all_, []), "vacía"),
        (lambda all_, part, seed: (all_, all_[:3]), "perderse ni duplicarse"),
        (lambda all_, part, seed: all_, "dos listas"),
        (lambda all_, part, seed: None, "return"),
    ]:
        assert words in refusal("3.4", answer)


def test_3_4_gets_whole_dialogues_back(solved):
    train, test = solved("3.4")([Dialogue((f"{i}", "Sí.")) for i in range(10)], 0.2, 0)
    assert (len(train), len(test)) == (8, 2)


# --- Las cifras de DailyDialog que la lección da con su fuente ------------------------------------


def lesson_dict(name: str) -> dict:
    """El diccionario `name` que define una celda de la lección."""
    for cell in json.loads(LESSON.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and source.startswith(f"{name} = "):
            names: dict = {}
            exec(source, names)
            return names[name]
    raise AssertionError(f"la lección no define «{name}»")


needs_sample = pytest.mark.skipif(
    not REAL_SAMPLE.is_file(), reason="no está la muestra de DailyDialog, que no viaja con el curso"
)


@needs_sample
@pytest.mark.skipif(not LESSON.is_file(), reason="no está la lección")
def test_the_figures_quoted_from_dailydialog_are_those_of_the_sample():
    stats = describe_dialogues((d.turns for d in read_dialogues(REAL_SAMPLE)), "en")
    quoted = lesson_dict("daily_dialog")
    assert quoted  # y cada cifra citada sale de la muestra
    for field, value in quoted.items():
        assert value == pytest.approx(getattr(stats, field), abs=0.0051), field


def seen_before(train, test) -> float:
    """Qué parte de las respuestas de prueba aparece igual en el entrenamiento."""
    texts = {text for pair in train for text in (pair.user, pair.reply)}
    return sum(pair.reply in texts for pair in test) / len(test)


@needs_sample
def test_the_leaks_quoted_from_dailydialog_are_those_of_the_sample():
    dialogues = read_dialogues(REAL_SAMPLE)
    pairs = to_pairs(dialogues)
    shuffled, cut = random.Random(0).sample(pairs, len(pairs)), len(pairs) // 10
    assert round(100 * seen_before(shuffled[cut:], shuffled[:cut])) == 81
    train, test = split_dialogues(dialogues)
    assert round(100 * seen_before(to_pairs(train), to_pairs(test))) == 9


def test_the_test_part_has_its_own_replies():
    # La lección enseña que CharlaDiaria reparte por escenas: nada de la prueba se vio al entrenar.
    train, test = (to_pairs(shipped_dialogues(part)) for part in ("train", "test"))
    assert seen_before(train, test) < 0.05
