"""Lo que la auditoría ve en los textos: repeticiones, fugas, respuestas iguales y archivos."""

import json
import random

import pytest

from course_lib.audit import audit, split_for_audit
from course_lib.audit.naive import audit_file
from course_lib.dialogues import Dialogue, Pair, read_dialogues, to_pairs
from course_lib.tables import Measure


def severity(report, check):
    return next((f.severity for f in report.findings if f.check == check), None)


def numbers(report, check):
    return next(f.numbers for f in report.findings if f.check == check)


def talk(k, turns=4):
    """Un diálogo en el que cada turno es distinto de todos los demás."""
    return Dialogue(
        tuple(f"El turno {i} de la charla {k} es bastante largo." for i in range(turns))
    )


def test_repeats_ignore_case_accents_and_punctuation():
    dialogues = [talk(k) for k in range(9)] + [
        Dialogue(tuple(turn.upper().replace(".", "!") for turn in talk(3).turns))
    ]
    report = audit(dialogues=dialogues)
    assert severity(report, "duplicados") == "aviso"
    assert report.findings[0].rows == (9,)
    assert numbers(report, "duplicados")["proporcion"] == pytest.approx(0.1)
    assert "duplicados" in audit(dialogues=dialogues[:9]).passed


def test_pairs_of_one_dialogue_on_both_sides_leak():
    dialogues = [talk(k) for k in range(50)]
    train, test = split_for_audit(dialogues, by_pairs=True)
    shared = {p.dialogue for p in train} & {p.dialogue for p in test}
    expected = sum(p.dialogue in shared for p in test)
    report = audit(train_dialogues=train, test_dialogues=test)
    assert severity(report, "fuga") == "grave"
    assert numbers(report, "fuga")["hermanos"] == expected
    train, test = split_for_audit(dialogues, by_pairs=False)
    assert "fuga" in audit(train_dialogues=train, test_dialogues=test).passed


def test_numbers_that_start_again_on_each_side_are_not_siblings():
    train = to_pairs([talk(k) for k in range(40)])
    test = to_pairs([talk(k) for k in range(40, 50)])
    assert "fuga" in audit(train_dialogues=train, test_dialogues=test).passed


def test_copies_between_dialogues_count_one_by_one():
    train = [talk(k) for k in range(40)]
    test = [talk(k) for k in range(39, 49)]
    report = audit(train_dialogues=train, test_dialogues=test)
    assert severity(report, "fuga") == "aviso"  # 1 de 10
    assert report.findings[0].rows == (0,)


def test_pairs_passed_off_as_dialogues_are_found_by_their_turns():
    pairs = to_pairs([talk(k) for k in range(30)])
    as_dialogues = [Dialogue((pair.user, pair.reply)) for pair in pairs]
    report = audit(train_dialogues=as_dialogues[::2], test_dialogues=as_dialogues[1::2])
    assert severity(report, "fuga") == "grave"


def test_bland_answers():
    answers = {
        "la misma": ["Sí."] * 12 + [f"Respuesta {i}" for i in range(8)],
        "la misma primera palabra": [f"Sí, número {i}." for i in range(20)],
        "variadas": [f"{letter} es la letra" for letter in "abcdefghijklmnopqrst"],
    }
    found = {name: severity(audit(answers=a), "respuestas-sosas") for name, a in answers.items()}
    assert found == {"la misma": "aviso", "la misma primera palabra": "aviso", "variadas": None}


def test_few_answers_are_an_abstention():
    lacks = {a.check: a.lacks for a in audit(answers=["Sí."] * 19).abstained}
    assert "20 respuestas" in lacks["respuestas-sosas"]


def test_forgetting_needs_intervals_that_do_not_touch():
    before = {"lee": (98, 100), "sabe": (190, 200), "conversa": Measure(2.1, 900, 2.0, 2.2)}
    assert severity(audit(before=before, after={"lee": (62, 100)}), "olvido") == "grave"
    assert "olvido" in audit(before=before, after={"lee": (94, 100)}).passed
    old = {"lee": Measure(0.90, 200, 0.85, 0.94)}
    for high, found in ((0.86, None), (0.84, "grave")):  # diez puntos: se tocan por poco, y no
        new = {"lee": Measure(0.80, 200, 0.74, high)}
        assert severity(audit(before=old, after=new), "olvido") == found
    after = {"sabe": Measure(0.86, 200, 0.80, 0.90)}
    assert severity(audit(before=before, after=after), "olvido") == "aviso"


@pytest.fixture
def small_file(tmp_path):
    path = tmp_path / "charlas.jsonl"
    lines = [{"dialog": list(talk(k % 20).turns)} for k in range(25)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_a_file_is_audited_as_a_beginner_would_encode_it(small_file, tokenizer):
    report = audit_file(small_file, tokenizer, max_length=128)
    texts = [f"<|user|> {p.user} <|bot|> {p.reply}" for p in to_pairs(read_dialogues(small_file))]
    real = sum(len(tokenizer.encode(text)) for text in texts)
    assert numbers(report, "relleno-contado")["relleno"] == 75 * 128 - real
    assert "75 parejas" in report.assumed
    # Lo del archivo se mide; lo demás se supone, y nunca es grave.
    assert severity(report, "duplicados") == "grave"  # 5 de 25
    assert [f.check for f in report.findings if not f.supposed] == ["duplicados"]
    assert severity(report, "fuga") == severity(report, "relleno-contado") == "aviso"
    assert report.findings[0].places == (21, 22, 23, 24, 25)
    assert "En el archivo, líneas 21, 22" in report.findings[0].evidence


def test_a_prepared_tokenizer_is_audited_with_its_template(small_file, chat_tokenizer):
    report = audit_file(small_file, chat_tokenizer, by_pairs=False)
    assert {f.check for f in report.findings} == {"duplicados"}


def test_the_real_sample_gives_the_known_numbers(shared_data, gpt2_tokenizer):
    path = shared_data / "dailydialog" / "train_1k.jsonl"
    report = audit_file(path, gpt2_tokenizer)
    padding = numbers(report, "relleno-contado")
    assert "6.386 parejas" in report.assumed
    assert padding["proporcion"] == pytest.approx(0.7156, abs=0.02)  # en una muestra
    assert numbers(report, "marcadores-rotos")["piezas"] == {"<|bot|>": 5, "<|user|>": 5}
    leak = numbers(report, "fuga")
    assert leak["hermanos"] / leak["prueba"] == pytest.approx(0.98, abs=0.02)
    assert leak["respuestas_vistas"] == pytest.approx(0.81, abs=0.02)
    exact = {d.turns for d in read_dialogues(path, report=lambda _: None)}
    assert numbers(report, "duplicados")["repetidos"] >= 1000 - len(exact) > 0


def test_a_wrong_kind_of_dialogues_is_explained():
    with pytest.raises(
        ValueError, match="dialogues, diálogo 0: se esperaba un objeto JSON, y hay un número"
    ):
        audit(dialogues=[3])


def test_what_is_skipped_when_reading_is_in_the_report(tmp_path):
    path = tmp_path / "charlas.jsonl"
    path.write_text('{"dialog": ["a", "b"]}\n{"dialog": ["sola"]}', encoding="utf-8")
    report = audit(dialogues=path)
    assert "menos de dos turnos" in report.notices[0]
    assert report.notices[0] in str(report) and "menos de dos turnos" in report._repr_html_()


def test_a_pair_has_no_sibling_with_another_number():
    train = [Pair("Hola, buenos días.", "Buenos días.", 0)]
    test = [Pair("Adiós, hasta la vista.", "Hasta luego.", 7)]
    assert "fuga" in audit(train_dialogues=train, test_dialogues=test).passed


def test_a_greeting_that_everyone_repeats_is_not_a_leak():
    greeting = ("Hola.", "Hola, dígame.")
    train = [Dialogue((*greeting, f"pregunta {i}", f"respuesta {i}")) for i in range(30)]
    test = [Dialogue((*greeting, f"duda {i}", f"solución {i}")) for i in range(10)]
    report = audit(train_dialogues=train, test_dialogues=test)
    assert "fuga" in report.passed
    pairs = audit(
        train_dialogues=to_pairs(train),
        test_dialogues=[Pair(p.user, p.reply, p.dialogue + 100) for p in to_pairs(test)],
    )
    assert "fuga" in pairs.passed


def words(seed: int, n: int = 25) -> str:
    """`n` palabras al azar, que no se parecen a las de otra semilla."""
    rng = random.Random(seed)
    return " ".join(rng.choice("abcdefgh") + str(rng.randint(0, 99)) for _ in range(n))


TALKS = [[words(i), words(1000 + i)] for i in range(80)]


def spoken(talk, change=str):
    roles = ("user", "assistant") * 3
    return [{"role": r, "content": change(t)} for r, t in zip(roles, talk, strict=False)]


def almost(text: str) -> str:
    first, *rest = text.split()
    return " ".join([first, "por", "favor", *rest[:-1]])


@pytest.mark.parametrize("change", [str.upper, lambda text: text.replace(" ", "  "), almost])
def test_a_leak_is_seen_through_case_spaces_and_small_changes(change):
    train = [spoken(talk) for talk in TALKS[:60]]
    test = [spoken(talk) for talk in TALKS[60:]]
    assert severity(audit(train_dialogues=train, test_dialogues=test), "fuga") is None
    test += [spoken(talk, change) for talk in TALKS[:6]]
    assert severity(audit(train_dialogues=train, test_dialogues=test), "fuga") == "grave"


def test_windows_of_one_conversation_leak():
    long = [[words(100 * i + t, 9) for t in range(6)] for i in range(30)]
    windows = [spoken(talk[i : i + 4]) for talk in long for i in range(3)]
    random.Random(0).shuffle(windows)
    report = audit(train_dialogues=windows[:70], test_dialogues=windows[70:])
    assert severity(report, "fuga") == "grave"


def test_the_parts_come_as_they_are_kept():
    from datasets import Dataset, DatasetDict

    rows = [{"messages": spoken(talk)} for talk in TALKS]
    both = DatasetDict(train=Dataset.from_list(rows[:60]), test=Dataset.from_list(rows[50:]))
    alpaca = [{"instruction": ask, "output": reply} for ask, reply in TALKS]
    texts = [" ".join(talk) for talk in TALKS]
    given = [
        {"train_dialogues": both},
        {"train_dialogues": both["train"], "test_dialogues": both["test"]},
        {"train_dialogues": alpaca[:60], "test_dialogues": alpaca[50:]},
        {"train_dialogues": texts[:60], "test_dialogues": texts[50:]},
    ]
    assert [severity(audit(**parts), "fuga") for parts in given] == ["grave"] * 4


def test_what_everyone_says_is_not_a_leak():
    system, order = "Eres un asistente útil y breve. " * 3, "Clasifica este texto en una palabra: "
    talks = [[order + words(i, 15), words(500 + i, 3)] for i in range(80)]
    made = [[{"role": "system", "content": system}, *spoken(talk)] for talk in talks]
    report = audit(train_dialogues=made[:60], test_dialogues=made[60:])
    assert "fuga" in report.passed
