"""Los ejercicios de la lección 03: las soluciones pasan y los errores corrientes se explican."""

import json
import random
from pathlib import Path

import pytest

from course_lib.dialogues import describe_dialogues
from course_lib.dialogues import (
    Dialogue,
    read_dialogues,
    shipped_dialogues,
    split_dialogues,
    to_pairs,
)
from course_lib.encoding import IGNORED, Kind, original_text
from course_lib.exercises import check, get
from course_lib.exercises.lesson_03 import EXERCISES
from course_lib.tracks import get_track

ROOT = Path(__file__).resolve().parents[1]
LESSON = ROOT / "notebooks" / "03_construir_el_dataset.ipynb"
REAL_SAMPLE = ROOT.parent / "shared" / "datos" / "dailydialog" / "train_1k.jsonl"
IDS = [exercise.id for exercise in EXERCISES]

needs_model = pytest.mark.skipif(
    not (ROOT / "data" / "mini" / "tokenizer.json").is_file(),
    reason="falta el minimodelo en data/mini",
)


def complaint(id: str, answer, capsys) -> str:
    """Lo que se lee al comprobar una respuesta; nunca lanza nada."""
    check(id, answer)
    return capsys.readouterr().out


def solved(id: str):
    names: dict = {}
    exec(get(id).solution, names)
    return names["respuesta"]


def refused(id: str, answer, words: str, capsys) -> None:
    text = complaint(id, answer, capsys)
    assert "todavía no" in text
    assert words in text


SOLVABLE = [pytest.param(id, marks=needs_model) if id == "3.3" else id for id in IDS]


@pytest.mark.parametrize("id", SOLVABLE)
def test_every_solution_is_accepted(id, capsys):
    assert "correcto" in complaint(id, solved(id), capsys)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("answer", [..., None])
def test_an_unanswered_exercise_only_says_so(id, answer, capsys):
    assert "sin responder" in complaint(id, answer, capsys)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("answer", ["", [], -1, 3.5, {}, int, lambda *_: None, lambda *_: 1 / 0])
def test_nonsense_is_refused_without_a_traceback(id, answer, capsys):
    assert "todavía no" in complaint(id, answer, capsys)


def test_the_hints_grow_and_none_is_empty():
    for exercise in EXERCISES:
        assert len(exercise.hints) >= 2
        assert all(hint.strip() for hint in exercise.hints)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (16, "turnos"),
        (15, "del siguiente"),
        (7, "dos parejas"),
        (4, "diálogos"),
        (13, "no son 13"),
        ("12", "entero"),
    ],
)
def test_3_1_explains_each_way_of_miscounting(answer, words, capsys):
    refused("3.1", answer, words, capsys)


def by_row(lengths, max_length):  # la parte de ejemplos que llevan relleno
    return sum(n < max_length for n in lengths) / len(lengths)


def negative(lengths, max_length):  # sin cortar antes lo que no cabe
    return sum(max_length - n for n in lengths) / (max_length * len(lengths))


def percent(lengths, max_length):
    return 100 * sum(max(0, max_length - n) for n in lengths) / (max_length * len(lengths))


def text_share(lengths, max_length):
    return sum(min(n, max_length) for n in lengths) / (max_length * len(lengths))


def over_text(lengths, max_length):  # relleno dividido por texto, no por posiciones
    return sum(max(0, max_length - n) for n in lengths) / sum(lengths)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (by_row, "ejemplos que llevan relleno"),
        (negative, "se corta"),
        (percent, "porcentaje"),
        (text_share, "parte de texto"),
        (over_text, "posiciones"),
        (0.5, "la función misma"),
        (lambda lengths, max_length: None, "return"),
    ],
)
def test_3_2_explains_each_wrong_share(answer, words, capsys):
    refused("3.2", answer, words, capsys)


def by_pad_id(ids, kinds):  # el defecto clásico: el fin se va con el relleno
    return [t if t != 0 and k in (Kind.REPLY, Kind.END) else IGNORED for t, k in zip(ids, kinds)]


def padding_only(ids, kinds):
    return [IGNORED if k == Kind.PADDING else t for t, k in zip(ids, kinds)]


def with_zeros(ids, kinds):
    return [t if k in (Kind.REPLY, Kind.END) else 0 for t, k in zip(ids, kinds)]


def without_markers(ids, kinds):
    return [IGNORED if k in (Kind.USER, Kind.PADDING) else t for t, k in zip(ids, kinds)]


def shifted(ids, kinds):
    good = [t if k in (Kind.REPLY, Kind.END) else IGNORED for t, k in zip(ids, kinds)]
    return [*good[1:], IGNORED]


def only_counted(ids, kinds):
    return [t for t, k in zip(ids, kinds) if k in (Kind.REPLY, Kind.END)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda ids, kinds: ids, "copia de los ids"),
        (by_pad_id, "callarse"),
        (padding_only, "un marcador"),
        (with_zeros, "0 es un token"),
        (without_markers, "un marcador"),
        (shifted, "un marcador"),
        (only_counted, "una por token"),
        (lambda ids, kinds: [IGNORED] * len(ids), "debe contar"),
        (lambda ids, kinds: None, "return"),
    ],
)
def test_3_4_explains_each_wrong_label(answer, words, capsys):
    refused("3.4", answer, words, capsys)


@needs_model
def test_3_3_refuses_lengths_that_cut_too_much_or_pad_too_much(capsys):
    best, share = solved("3.3")
    refused("3.3", (best - 1, share), "se corta el", capsys)
    refused("3.3", (best + 1, share), "no es la menor", capsys)
    refused("3.3", (best, 1 - share), "no es", capsys)
    refused("3.3", (best, 100 * share), "de 0 a 1", capsys)
    refused("3.3", best, "dos números", capsys)
    refused("3.3", (best + 0.4, share), "entero", capsys)


@needs_model
def test_3_3_agrees_with_a_count_made_pair_by_pair():
    best, share = solved("3.3")
    tokenizer = get_track().load_tokenizer()
    pairs = to_pairs(shipped_dialogues("train"))
    lengths = [len(tokenizer.encode(original_text(tokenizer, p.user, p.reply))) for p in pairs]
    assert sorted(lengths)[-(len(lengths) // 100) - 1] <= best <= max(lengths)
    padding = [max(0, best - n) / best for n in lengths]
    assert sum(padding) / len(padding) == pytest.approx(share)


def cut_list(dialogues, fraction, seed):
    cut = round(len(dialogues) * fraction)
    return dialogues[cut:], dialogues[:cut]


def shuffle_all(dialogues, fraction, seed):  # las copias acaban a los dos lados
    return cut_list(random.Random(seed).sample(dialogues, len(dialogues)), fraction, seed)


def drop_copies(dialogues, fraction, seed):
    return shuffle_all(list(dict.fromkeys(dialogues)), fraction, seed)


def no_seed(dialogues, fraction, seed):
    return solved("3.5")(dialogues, fraction, random.random())


def no_shuffle(dialogues, fraction, seed):
    return solved("3.5")(dialogues, fraction, 0)


def split_pairs(dialogues, fraction, seed):
    return shuffle_all(to_pairs(dialogues), fraction, seed)


def swapped(dialogues, fraction, seed):
    return solved("3.5")(dialogues, fraction, seed)[::-1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (cut_list, "idénticos"),
        (shuffle_all, "idénticos"),
        (drop_copies, "perderse"),
        (no_seed, "misma semilla"),
        (no_shuffle, "otra semilla"),
        (split_pairs, "diálogos enteros"),
        (swapped, "20 %"),
        (lambda dialogues, fraction, seed: (dialogues, []), "vacía"),
    ],
)
def test_3_5_explains_each_wrong_split(answer, words, capsys):
    refused("3.5", answer, words, capsys)


def test_3_5_gets_whole_dialogues_back():
    train, test = solved("3.5")([Dialogue((f"{i}", "Sí.")) for i in range(10)], 0.2, 0)
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


def test_3_3_is_checked_on_the_dialogues_of_the_track_and_says_nothing_else(hub, gpt2_tokenizer):
    records = map(json.loads, REAL_SAMPLE.read_text(encoding="utf-8").splitlines())
    dialogues = [[turn.strip() for turn in record["dialog"]] for record in records]
    pairs = [pair for turns in dialogues for pair in zip(turns, turns[1:], strict=False)]
    lengths = [len(gpt2_tokenizer.encode(f"<|user|> {a} <|bot|> {b}")) for a, b in pairs]
    best = min(n for n in set(lengths) if sum(x > n for x in lengths) < 0.01 * len(lengths))
    share = 1 - sum(min(n, best) for n in lengths) / (best * len(lengths))
    code = f"from course_lib.exercises import check; check('3.3', ({best}, {share}))"
    run = hub.python(code, CURSO_RUTA="gpt2")
    assert run.stdout.startswith("Ejercicio 3.3: correcto."), run.stderr
    assert run.stdout.count("\n") == 1
