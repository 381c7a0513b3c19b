"""De un archivo a parejas: ni un diálogo se pierde en silencio, ni un error se queda sin sitio."""

import gzip
import json
import os
import tracemalloc
from collections import Counter

import pytest
from checks import complaint, each

from course_lib import records
from course_lib.dialogues import (
    Dialogue,
    describe_dialogues,
    normalize,
    read_dialogues,
    sample_dialogues,
    split_dialogues,
    to_pairs,
)

GOOD = {"dialog": ["Hola.", "¿Qué tal?"]}
BOMB = "[" * 200_000


def write(path, *records):
    """Escribe un .jsonl: cada registro es un objeto, o ya el texto de la línea."""
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mis.jsonl"


@pytest.fixture
def notices():
    return []


def messages(*roles):
    return {"messages": [{"role": r, "content": f"Frase {i}."} for i, r in enumerate(roles)]}


# --- La muestra real -----------------------------------------------------------------------------


def test_the_real_sample_gives_exactly_6386_pairs_and_reports_its_six_uneven_rows(
    shared_data, notices
):
    path = shared_data / "dailydialog" / "train_1k.jsonl"
    dialogues = read_dialogues(path, notices.append)
    assert len(dialogues) == 1000
    assert len(to_pairs(dialogues)) == 6386
    assert len(notices) == 1
    assert "el diálogo se queda" in notices[0] and ": 6 (líneas " in notices[0]
    assert sum(d.acts is None for d in dialogues) == 6


# --- Errores: qué, dónde y cómo arreglarlo -------------------------------------------------------

BROKEN_LINES = {
    "broken JSON": (
        '{"dialog": ["a", }',
        r"línea 3, columna 18: el JSON está roto \(falta un valor",
    ),
    "no comma": ('{"dialog": ["a" "b"]}', r"el JSON está roto \(falta una coma\)"),
    "text behind": ('{"dialog": ["a", "b"]} x', r"el JSON está roto \(sobra texto detrás\)"),
    "cut short": ('{"dialog":', "línea 3, columna 11: el JSON está roto"),
    "nested without end": (BOMB, "línea 3: el JSON está anidado"),
    "a number too long to read": ('{"n": ' + "1" * 5000 + "}", "línea 3: hay un número"),
    "not an object": ("3.5", "línea 3: se esperaba un objeto JSON, y hay un número"),
    "NaN": ("NaN", "línea 3: se esperaba un objeto JSON, y hay un número"),
    "no dialog field": ({"texto": ["a", "b"]}, "línea 3: falta el campo «dialog».*hay «texto»"),
    "empty object": ({}, "línea 3: falta el campo «dialog».*hay nada"),
    "dialog is text": ({"dialog": "Hola. Adiós."}, "línea 3: «dialog» debe ser una lista"),
    "a turn is a number": ({"dialog": ["a", 5]}, "línea 3: «dialog» debe ser una lista de textos"),
    "messages is null": ({"messages": None}, "línea 3: «messages» debe ser una lista, y es null"),
    "message without content": ([{"role": "user"}], "línea 3, mensaje 1: debe llevar"),
    "message is text": ({"messages": ["hola"]}, "línea 3, mensaje 1: debe llevar"),
    "a role of many lines": ([{"role": "us\ner" * 9999, "content": "a"}], "el papel «us er.*…» no"),
    "a field of 5 MB": ({"x" * 5_000_000: 1}, "hay «x+…"),
    "history of numbers": ({"instruction": "a", "output": "b", "history": [5]}, "debe ser texto"),
    "unknown role": (messages("user", "bot"), "línea 3, mensaje 2: el papel «bot» no existe"),
    "role of a wrong type": ([{"role": ["user"], "content": "a"}], "línea 3, mensaje 1: el papel"),
    "content is a number": ([{"role": "user", "content": 5}], "mensaje 1: «content».*un número"),
}


@each("case", BROKEN_LINES)
def test_a_line_that_cannot_be_understood_is_an_error_with_file_and_line(file, case):
    line, sentence = BROKEN_LINES[case]
    with pytest.raises(ValueError, match=rf"mis\.jsonl, .*{sentence}") as error:
        read_dialogues(write(file, GOOD, "", line, GOOD))
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_that_is_not_utf8_says_in_which_line(tmp_path, encoding):
    path = tmp_path / "mis.jsonl"
    path.write_bytes(b'{"dialog": ["a", "b"]}\n' + '{"dialog": ["ñ", "b"]}'.encode(encoding))
    with pytest.raises(ValueError, match=r"mis\.jsonl, línea 2: no está en UTF-8: guarda"):
        read_dialogues(path)


STRANGERS = {
    "utf-16": (json.dumps(GOOD).encode("utf-16"), "está en UTF-16: guarda"),
    "utf-16 without its mark": (json.dumps(GOOD).encode("utf-16-le"), "está en UTF-16: guarda"),
    "csv": (b"user,reply\nhola,adios\n", "línea 1: no es JSON, y parece CSV"),
    "quoted csv": (b'"user";"reply"\n"hola";"adios"\n', "línea 1: no es JSON, y parece CSV"),
    "parquet": (b"PAR1....PAR1", "es Parquet: haz que su nombre acabe en .parquet"),
    "a spreadsheet": (b"PK\3\4....", "es un zip, o una hoja de cálculo"),
    "cut gzip": (gzip.compress(json.dumps(GOOD).encode())[:-9], "está comprimido y dañado"),
}


@pytest.mark.parametrize("name", ["mis.jsonl", "mis.json"])
@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_not_json_is_called_by_its_name(tmp_path, name, kind):
    data, sentence = STRANGERS[kind]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        read_dialogues(path)


def test_a_json_list_is_read_whole_and_too_large_a_one_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "mis.json"
    talks = [["año 😀", f'"{i}"\n\\'] for i in range(40)]
    for indent, ascii_only in [(None, True), (1, False)]:
        path.write_text(json.dumps(talks, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
        assert [list(r) for _, r, _ in records.file_records(path)] == talks
    for broken in ('[["a", "b"],]', '[["a", "b"]', '[["a", "b"]] x', "[,]", "["):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"línea 1, columna \d+: el JSON está roto"):
            read_dialogues(path, lambda _: None)
    monkeypatch.setattr(records, "MAX_LIST", 1_000)
    for name, pack in [("a.json", bytes), ("a.json.gz", gzip.compress)]:
        (tmp_path / name).write_bytes(pack(b" " * 2_000))
        with pytest.raises(ValueError, match=r"demasiado para un \.json.*guárdalo como \.jsonl"):
            read_dialogues(tmp_path / name)


def test_errors_in_a_json_file_give_the_line_of_the_file(tmp_path):
    path = tmp_path / "mis.json"
    path.write_text('[\n {"dialog": ["a", "b"]},\n {"dialog": ["a" "b"]}\n]')
    with pytest.raises(ValueError, match=r"mis\.json, línea 3, columna 18: el JSON está roto"):
        read_dialogues(path)
    path.write_bytes('[\n {"dialog": ["a", "b"]},\n {"dialog": ["ñ"]}\n]'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"mis\.json, línea 3: no está en UTF-8"):
        read_dialogues(path)


def test_a_json_file_must_be_a_list_and_its_errors_give_the_dialogue(tmp_path):
    path = tmp_path / "mis.json"
    path.write_text(json.dumps(GOOD))
    with pytest.raises(ValueError, match="debe ser una lista de diálogos, y es un objeto"):
        read_dialogues(path)
    path.write_text(json.dumps([GOOD, 5]))
    with pytest.raises(ValueError, match=r"mis\.json, diálogo 2: se esperaba un objeto JSON"):
        read_dialogues(path)


@pytest.mark.parametrize("name", ["mis.jsonl", "mis.json"])
@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_says_that_no_dialogue_is_left(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match="no deja ningún diálogo que usar"):
        read_dialogues(path)


def test_a_line_of_100_megabytes_is_refused_without_taking_memory(file):
    write(file, GOOD)
    os.truncate(file, 100_000_000)  # un archivo disperso: no ocupa disco
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"mis\.jsonl, línea 2: pasa de 10 MB"):
        read_dialogues(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


@each("name", ["mis.txt", "mis.csv", "mis"])
def test_a_suffix_that_is_not_json_is_refused_with_the_way_out(tmp_path, name):
    with pytest.raises(ValueError, match=r"no acaba en \.jsonl ni en \.json .*: cambia"):
        read_dialogues(write(tmp_path / name, GOOD))


def test_a_missing_file_and_a_folder_are_told_by_name(tmp_path):
    missing = tmp_path / "no.jsonl"
    with pytest.raises(FileNotFoundError, match=f"«{missing}»: revisa la ruta"):
        read_dialogues(missing)
    with pytest.raises(ValueError, match=f"«{tmp_path}» es una carpeta: da el archivo"):
        read_dialogues(tmp_path)


# --- Saltos: contados y dichos -------------------------------------------------------------------

SKIPPED = {
    "one turn": ({"dialog": ["Hola."]}, "menos de dos turnos"),
    "one turn and uneven acts": ({"dialog": ["Hola."], "act": [1, 2]}, "menos de dos turnos"),
    "no turns": ({"dialog": []}, "menos de dos turnos"),
    "an empty turn": ({"dialog": ["Hola.", " \t", "Adiós."]}, "turno vacío"),
    "content is null": (
        [{"role": "user", "content": None}, {"role": "assistant", "content": "a"}],
        "turno vacío",
    ),
    "a marker inside a turn": ({"dialog": ["a<|bot|>b", "c"]}, "marcador"),
    "a marker of another model": ({"dialog": ["a", "<|IM_start2|>c"]}, "marcador"),
    "half a character": ('{"dialog": ["a", "b\\ud83d"]}', "medio carácter Unicode"),
    "nobody answers the user": (messages("system", "user"), "ningún mensaje «user»"),
    "only the assistant": (messages("assistant", "assistant"), "ningún mensaje «user»"),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_a_dialogue_that_is_no_use_is_skipped_and_reported_once(file, notices, case):
    line, reason = SKIPPED[case]
    dialogues = read_dialogues(write(file, GOOD, line, line, GOOD), notices.append)
    assert [d.turns for d in dialogues] == [("Hola.", "¿Qué tal?")] * 2
    assert len(notices) == 1
    assert reason in notices[0] and notices[0].endswith(": 2 (líneas 2, 3).")


def test_a_long_list_of_skipped_lines_is_counted_whole_and_shown_in_part(file, notices):
    read_dialogues(write(file, GOOD, *[{"dialog": ["a"]}] * 20), notices.append)
    assert notices[0].endswith(": 20 (líneas 2, 3, 4, 5, 6, 7, 8, 9 y más).")


def test_notices_are_printed_when_nobody_else_takes_them(file, capsys):
    read_dialogues(write(file, GOOD, {"dialog": ["a"]}))
    assert "mis.jsonl: saltados por tener menos de dos turnos" in capsys.readouterr().out


@pytest.mark.parametrize("act", [[1], [1, "2"], [True, False], 7, {"0": 1}])
def test_annotations_that_do_not_fit_are_dropped_reported_and_the_dialogue_kept(file, notices, act):
    (dialogue,) = read_dialogues(
        write(file, GOOD | {"act": act, "emotion": [0, 1]}), notices.append
    )
    assert (dialogue.acts, dialogue.emotions) == (None, None)
    assert len(notices) == 1 and "el diálogo se queda" in notices[0]


def test_a_clean_file_gives_no_notice_and_keeps_its_annotations(file, notices):
    record = GOOD | {"act": [1, 2], "emotion": [0, 4]}
    (dialogue,) = read_dialogues(write(file, record), notices.append)
    assert (dialogue.acts, dialogue.emotions) == ((1, 2), (0, 4))
    assert notices == []


def test_a_byte_order_mark_blank_lines_and_windows_ends_do_no_harm(file, notices):
    line = json.dumps(GOOD, ensure_ascii=False)
    file.write_bytes(f"\ufeff{line}\r\n\r\n  \r\n{line}".encode())
    assert len(read_dialogues(file, notices.append)) == 2
    assert notices == []
    assert read_dialogues(file)[1].source.endswith("mis.jsonl, línea 4")


@each("line", [
    '{"dialog": ["a", "b"], "dialog": ["c", "d"]}',
    '{"messages": [{"role": "user", "content": "x", "content": "c"},'
    ' {"role": "assistant", "content": "d"}]}',
])  # fmt: skip
def test_a_repeated_field_is_said(tmp_path, line):
    for name, text in [("mis.jsonl", line), ("mis.json", f"[{line}]")]:
        notices = []
        (tmp_path / name).write_text(text)
        (dialogue,) = read_dialogues(tmp_path / name, notices.append)
        assert dialogue.turns == ("c", "d")
        assert len(notices) == 1 and "con un campo repetido" in notices[0]


# --- Los esquemas y los formatos de otros ---------------------------------------------------------

SCHEMAS = {
    "ShareGPT": {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    "Alpaca": {"instruction": "a", "input": "", "output": "b"},
    "prompt y completion": {"prompt": "a", "completion": "b"},
    "prompt y completion, mensajes": {
        "prompt": [{"role": "user", "content": "a"}],
        "completion": [{"role": "assistant", "content": "b"}],
    },
    "contenido en partes": [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
    ],
    "una tabla con huecos": {
        "messages": None,
        "conversations": [
            {"role": None, "from": "human", "value": "a"},
            {"role": "assistant", "from": None, "value": None, "content": "b", "tool_calls": None},
        ],
    },
}


@each("name", SCHEMAS)
def test_the_usual_schemas_give_the_same_dialogue(file, notices, name):
    for source in (write(file, SCHEMAS[name]), [SCHEMAS[name]]):
        (dialogue,) = read_dialogues(source, notices.append)
        assert (dialogue.turns, dialogue.roles) == (("a", "b"), ("user", "assistant"))
    assert notices == []


def test_what_a_schema_carries_besides_is_read_too():
    alpaca = SCHEMAS["Alpaca"] | {"input": "x", "history": [["c", "d"]], "system": "s"}
    (dialogue,) = read_dialogues([alpaca], lambda _: None)
    assert dialogue.turns == ("s", "c", "d", "a\n\nx", "b")


KEPT_IN_PART = {
    "dialog y messages": (GOOD | messages("user", "assistant"), "dos esquemas a la vez"),
    "una imagen": (
        [{"role": "user", "content": ["a", {"type": "image"}]}, {"role": "gpt", "content": "b"}],
        "con partes que no son texto",
    ),
    "herramientas": (
        [
            {"role": "user", "content": "¿Llueve?"},
            {"role": "assistant", "content": None, "tool_calls": [{"name": "tiempo"}]},
            {"role": "tool", "content": "sol"},
            {"role": "assistant", "content": "No."},
        ],
        "con llamadas a herramientas",
    ),
}


@pytest.mark.parametrize("case", KEPT_IN_PART)
def test_what_is_not_used_of_a_dialogue_is_said(file, notices, case):
    record, sentence = KEPT_IN_PART[case]
    (dialogue,) = read_dialogues(write(file, record), notices.append)
    assert len(notices) == 1 and sentence in notices[0]
    if case == "herramientas":
        assert dialogue.turns[1:3] == ('[{"name": "tiempo"}]', "sol")
        assert dialogue.roles == ("user", "assistant") * 2


def test_every_format_gives_the_same_dialogues(tmp_path):
    from datasets import Dataset, DatasetDict

    talks = [messages("user", "assistant") for _ in range(3)]
    data = Dataset.from_list(talks)
    lines = "\n".join(map(json.dumps, talks)).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(talks).encode()))
    data.to_parquet(tmp_path / "a.parquet")
    data.save_to_disk(tmp_path / "uno")
    DatasetDict({"train": data}).save_to_disk(tmp_path / "partes")
    sources = [*sorted(tmp_path.iterdir()), data, DatasetDict({"train": data}), talks,
               data.to_iterable_dataset(), [talk["messages"] for talk in talks]]  # fmt: skip
    assert len(sources) == 10
    for source in sources:
        assert [d.turns for d in read_dialogues(source)] == [("Frase 0.", "Frase 1.")] * 3, source


def test_damaged_tables_are_told_in_a_sentence(tmp_path):
    from datasets import Dataset

    Dataset.from_list([GOOD] * 5).to_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for at in range(0, len(whole), 41):
        (tmp_path / "b.parquet").write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        said = complaint(read_dialogues, tmp_path / "b.parquet", lambda _: None)
        assert not said or (said.startswith("ValueError") and "\n" not in said)
    Dataset.from_list([GOOD]).save_to_disk(tmp_path / "uno")
    next((tmp_path / "uno").glob("*.arrow")).unlink()
    with pytest.raises(ValueError, match="de save_to_disk, está incompleta o dañada"):
        read_dialogues(tmp_path / "uno")


# --- Papeles y parejas ---------------------------------------------------------------------------


def test_pairs_with_roles_go_from_user_to_assistant_and_the_rest_is_reported(file, notices):
    roles = ("system", "user", "assistant", "assistant", "user", "user", "assistant", "user")
    dialogues = read_dialogues(write(file, messages(*roles)), notices.append)
    assert [(p.user, p.reply) for p in to_pairs(dialogues)] == [
        ("Frase 1.", "Frase 2."),
        ("Frase 5.", "Frase 6."),
    ]
    assert len(notices) == 1 and "mensajes que no dan pareja" in notices[0]


def test_alternating_roles_give_no_notice_in_either_format(tmp_path, notices):
    talk = messages("user", "assistant", "user", "assistant")
    path = tmp_path / "mis.json"
    path.write_text(json.dumps([talk, talk["messages"], GOOD]))
    assert len(to_pairs(read_dialogues(path, notices.append))) == 2 + 2 + 1
    assert notices == []


def test_pairs_are_adjacent_turns_numbered_by_dialogue():
    pairs = to_pairs([Dialogue(("a", "b", "c")), Dialogue(("d", "e"))])
    assert [(p.user, p.reply, p.dialogue) for p in pairs] == [
        ("a", "b", 0),
        ("b", "c", 0),
        ("d", "e", 1),
    ]


def test_the_split_keeps_every_dialogue_once_and_twins_on_one_side():
    dialogues = [Dialogue((f"{i % 30}", "x"), source=str(i)) for i in range(90)]
    train, test = split_dialogues(dialogues, 0.2, seed=1)
    assert sorted(d.source for d in train + test) == sorted(d.source for d in dialogues)
    assert not {d.turns for d in train} & {d.turns for d in test}
    assert len(test) == 6 * 3  # un quinto de los 30 distintos, con sus tres copias
    assert (train, test) == split_dialogues(dialogues, 0.2, seed=1)
    assert (train, test) != split_dialogues(dialogues, 0.2, seed=2)


@each("fraction", [0, 1, 0.01, -0.5, 2])
def test_a_split_that_leaves_a_side_empty_is_refused(fraction):
    with pytest.raises(ValueError, match="Con 1 diálogo distinto y"):
        split_dialogues([Dialogue(("a", "b"))] * 3, fraction)
    with pytest.raises(ValueError, match="una de las partes queda vacía"):
        split_dialogues([Dialogue(("a", str(i))) for i in range(9)], fraction)


# --- Muchos ---------------------------------------------------------------------------------------


def many(n: int):
    """Diálogos en que de cada diez uno repite el anterior, con otra puntuación."""
    for i in range(n):
        said = f"¿Qué hay, {i}?" if i % 10 else f"qué hay {i + 1}"
        yield Dialogue((said, "Nada nuevo."), source=f"línea {i + 1}")


def test_a_sample_keeps_copies_together_and_as_many_as_there_are():
    sample, total = sample_dialogues(many(20_000), 4_000)
    assert total == 20_000 and 2_000 < len(sample) <= 4_000
    texts = Counter(normalize(d.turns[0]) for d in sample)
    assert {*texts.values()} == {1, 2}
    # Repite uno de cada diez, y la muestra lo dice con su margen (tres errores típicos).
    repeated = sum(n - 1 for n in texts.values()) / len(sample)
    assert repeated == pytest.approx(0.1, abs=3 * (0.1 * 0.9 / len(sample)) ** 0.5)


def test_few_are_kept_whole_in_their_order_and_one_text_alone_does_not_empty_the_sample():
    few = [*many(50)]
    assert sample_dialogues(few, 50) == (few, 50)
    same = [Dialogue(("Hola.", "Hola."))] * 30
    assert sample_dialogues(same, 10) == (same[:10], 30)
    assert len(sample_dialogues([*same, *many(50)], 10)[0]) <= 10


def test_the_share_of_distinct_replies_is_exact_with_few_and_close_with_many(monkeypatch):
    talks = [("Di algo.", f"Digo {i % 3_000}.") for i in range(6_000)]
    assert describe_dialogues(talks).unique_reply_share == 0.5
    monkeypatch.setattr("course_lib.dialogues.DISTINCT", 1_000)
    assert describe_dialogues(talks).unique_reply_share == pytest.approx(0.5, rel=0.15)


def test_a_deep_field_is_read_and_what_it_repeats_is_told(tmp_path):
    path, deep = tmp_path / "hondo.jsonl", "[" * 700 + '{"b": 1, "b": 2}' + "]" * 700
    path.write_text(f'{{"dialog": ["Hola.", "¿Qué tal?"], "a": {deep}}}', encoding="utf-8")
    told = []
    assert len(read_dialogues(path, told.append)) == 1
    assert any("campo repetido" in text for text in told)
