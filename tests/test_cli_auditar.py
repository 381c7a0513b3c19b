"""La orden `curso auditar`: lo que imprime y cómo acaba."""

import json
import re
import shlex
from pathlib import Path

import pytest

from course_lib.audit import Abstention, Report
from course_lib.cli import main


@pytest.fixture
def folder(tmp_path, tokenizer):
    """Una carpeta con un tokenizador sin preparar."""
    tokenizer.save_pretrained(tmp_path / "modelo")
    return tmp_path / "modelo"


@pytest.fixture
def chat_folder(tmp_path, chat_tokenizer):
    chat_tokenizer.save_pretrained(tmp_path / "preparado")
    return tmp_path / "preparado"


@pytest.fixture
def talks(tmp_path):
    path = tmp_path / "charlas.jsonl"
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"¿Qué hay en la calle {k}?"},
                {"role": "assistant", "content": f"En la calle {k} hay un jardín."},
                {"role": "user", "content": f"¿Y en la plaza {k}?"},
                {"role": "assistant", "content": f"En la plaza {k}, un cine."},
            ]
        }
        for k in range(20)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.fixture
def repeated(tmp_path):
    """Un archivo en que la mitad de los diálogos se repiten."""
    path = tmp_path / "repes.jsonl"
    lines = [{"dialog": [f"¿Qué hay, {k % 10}?", "Nada nuevo."]} for k in range(20)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_something_grave_in_the_file_gives_one(repeated, capsys):
    assert main(["auditar", str(repeated)]) == 1
    out = capsys.readouterr().out
    assert "leídos 20 diálogos. Sin un tokenizador solo se mira el archivo." in out
    assert "[GRAVE] duplicados" in out and "En el archivo, líneas 11, 12" in out


def test_what_is_only_supposed_is_never_grave_nor_fails(talks, folder, capsys):
    supposed = ["auditar", str(talks), "--modelo", str(folder), "--longitud", "64"]
    assert main([*supposed, "--fail-on", "nota"]) == 0
    out = capsys.readouterr().out
    assert "leídos 20 diálogos, que dan 40 parejas" in out
    assert re.search(
        r"Auditoría: nada que objetar; si se ajustara como se supone, \d cosas que mirar\.", out
    )
    assert "[AVISO, SUPUESTO] relleno-contado" in out and "GRAVE" not in out
    assert "Sin comprobar" not in out  # solo se cuenta
    main([*supposed, "--todo"])
    whole = capsys.readouterr().out
    assert "Sin comprobar:" in whole and "<|user|> en " in whole
    main([*supposed, "--json"])
    data = json.loads(capsys.readouterr().out)
    assert data["grave"] is False and all(f["supposed"] for f in data["findings"])
    assert "20 diálogos" in data["assumed"]


def test_of_too_many_dialogues_a_sample_is_seen_and_said(talks, folder, capsys, monkeypatch):
    monkeypatch.setattr("course_lib.audit.naive.DIALOGUES", 12)
    main(["auditar", str(talks), "--modelo", str(folder), "--longitud", "64"])
    said = capsys.readouterr().out
    assert re.match(r".*: leídos 20 diálogos \(se miran \d+, elegidos por su huella", said)


def test_a_prepared_tokenizer_and_a_split_by_dialogue_give_zero(talks, chat_folder, capsys):
    assert main(["auditar", str(talks), "--modelo", str(chat_folder), "--dialogos"]) == 0
    assert "Auditoría: nada que objetar" in capsys.readouterr().out


def test_warnings_alone_give_zero(talks, chat_folder, capsys):
    text = talks.read_text(encoding="utf-8")
    talks.write_text(f"{text}\n{text.splitlines()[0]}", encoding="utf-8")  # uno de 21, repetido
    assert main(["auditar", str(talks), "--modelo", str(chat_folder), "--dialogos"]) == 0
    assert main(["auditar", str(talks), "--falla-con", "aviso"]) == 1
    out = capsys.readouterr().out
    assert "[AVISO] duplicados" in out and "[GRAVE]" not in out


def test_json_is_for_machines_and_has_an_end(repeated, capsys):
    line = repeated.read_text(encoding="utf-8").splitlines()[0]
    skipped = json.dumps({"dialog": ["¿Hay alguien?"]})
    repeated.write_text("\n".join([line] * 900 + [skipped]), encoding="utf-8")
    assert main(["auditar", str(repeated), "--json"]) == 1
    out = capsys.readouterr().out
    data = json.loads(out)
    assert data["grave"] is True and {"findings", "abstained", "passed"} <= data.keys()
    (found,) = data["findings"]
    assert (len(found["rows"]), found["rows_total"]) == (200, 899) and len(out) < 30_000
    assert "menos de dos turnos" in data["notices"][0]


def test_bad_input_gives_two_and_is_explained(talks, folder, tmp_path, capsys):
    complaints = [
        (["no-existe.jsonl", "--modelo", folder], "No existe el archivo"),
        ([talks, "--modelo", folder, "--longitud", "2"], "Una longitud de 2 tokens"),
        ([talks, "--modelo", folder, "--longitud", 10**6], "a 131.072, que es lo más"),
        ([talks, "--modelo", folder, "--longitud", 10**12], "a 131.072, que es lo más"),
        ([talks, "--anotar"], "en el archivo de --conocidos: di cuál"),
        ([talks, "--conocidos", talks], "no es de los que escribe --anotar"),
        ([talks, "--modelo", tmp_path / "nada"], "No existe la carpeta"),
        ([talks, "--modelo="], "--modelo está vacío: di una carpeta"),
        ([tmp_path, "--modelo", folder], "es una carpeta: da el archivo"),
    ]
    for arguments, message in complaints:
        assert main(["auditar", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


def test_a_template_that_does_not_mark_replies_counts_everything(
    talks, chat_tokenizer, tmp_path, capsys
):
    chat_tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    chat_tokenizer.save_pretrained(tmp_path / "suya")
    main(["auditar", str(talks), "--modelo", str(tmp_path / "suya"), "--dialogos"])
    out = capsys.readouterr().out
    assert "[GRAVE] nada-supervisado" not in out
    assert "usuario-supervisado" in out


def test_a_check_that_fails_inside_is_in_the_headline_and_in_the_exit_code(
    talks, capsys, monkeypatch
):
    report = Report(failed=(Abstention("sin-fin", "IndexError: list index out of range"),))
    assert "Auditoría: 1 comprobación falló por dentro." in str(report)
    assert "sin-fin: IndexError" in str(report) and "sin-fin: IndexError" in report._repr_html_()
    assert json.loads(report.to_json())["failed"][0]["check"] == "sin-fin"
    monkeypatch.setattr("course_lib.audit.naive.audit", lambda *_, **__: report)
    assert main(["auditar", str(talks)]) == 3
    assert "1 comprobación falló por dentro" in capsys.readouterr().out


def test_what_is_already_known_does_not_fail_even_when_lines_move(repeated, tmp_path, capsys):
    known = ["auditar", str(repeated), "--conocidos", str(tmp_path / "sabido.json")]
    assert main([*known, "--anotar"]) == 0
    assert main(known) == 0
    assert "Ya se sabían, y no cuentan: 1." in capsys.readouterr().out
    lines = repeated.read_text(encoding="utf-8").splitlines()
    new = json.dumps({"dialog": ["¿Algo más?", "No."]})
    repeated.write_text("\n".join([new, *reversed(lines)]), encoding="utf-8")
    assert main(known) == 0  # los mismos, en otras líneas
    repeated.write_text("\n".join([*lines, lines[0]]), encoding="utf-8")
    assert main(known) == 1  # otra copia


def test_several_files_fail_if_one_does_and_never_says_never(repeated, talks):
    assert main(["auditar", str(talks), str(repeated)]) == 1
    assert main(["auditar", str(talks), str(repeated), "--falla-con", "nunca"]) == 0


def test_github_gets_one_annotation_per_finding_well_escaped(tmp_path, capsys):
    path = tmp_path / "a,b.jsonl"
    lines = [json.dumps({"dialog": [f"¿{k % 5}?", "100%"]}) for k in range(10)]
    path.write_text("\n".join([*lines, '{"dialog": ["solo"]}']), encoding="utf-8")
    assert main(["auditar", str(path), "--github"]) == 1
    notice, error = capsys.readouterr().out.splitlines()
    place = f"file={path.as_posix()}".replace(",", "%2C")
    assert notice.startswith(f"::notice {place}::a,b.jsonl: saltados")
    assert error.startswith(f"::error {place},line=6::Hay diálogos repetidos (duplicados). ")
    assert "(50,0%25)" in error


BAD_TEMPLATES = {
    "complaining": ("{{ raise_exception('no quiero') }}", "TemplateError: no quiero"),
    "broken": ("{% for %}", "TemplateSyntaxError"),
    "of another type": ("{{ messages + 1 }}", "TypeError"),
    "endless": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "no acaba nunca",
    ),
    "swollen": (
        "{% set n = namespace(a='x') %}{% for i in range(99) %}{% set n.a = n.a + n.a %}"
        "{% endfor %}",
        "MemoryError|no acaba nunca",
    ),
    "several": ({"rag": "{{ messages }}", "tool_use": "{{ messages }}"}, "varias plantillas"),
}


@pytest.mark.parametrize("case", BAD_TEMPLATES)
def test_a_bad_template_is_told_in_a_sentence(talks, chat_tokenizer, monkeypatch, capfd, case):
    chat_tokenizer.chat_template, sentence = BAD_TEMPLATES[case]
    monkeypatch.setattr("course_lib.audit.naive.TEMPLATE_SECONDS", 2)
    monkeypatch.setattr("course_lib.tracks.load_tokenizer", lambda _: chat_tokenizer)
    assert main(["auditar", str(talks), "--modelo", "m"]) == 2
    said = capfd.readouterr().err  # también lo que diga el proceso aparte
    assert re.search(sentence, said) and said.count("\n") == 1


def test_of_several_templates_the_default_one_is_used(talks, chat_tokenizer, tmp_path, capsys):
    other = {"default": chat_tokenizer.chat_template, "tool_use": "{{ raise_exception('no') }}"}
    chat_tokenizer.chat_template = other
    chat_tokenizer.save_pretrained(tmp_path / "dos")
    assert main(["auditar", str(talks), "--modelo", str(tmp_path / "dos"), "--dialogos"]) == 0
    assert "nada que objetar" in capsys.readouterr().out


def test_a_tokenizer_with_bad_merges_is_told_in_a_sentence(talks, folder, tmp_path, capsys):
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    data["model"]["merges"] = [["no", "están"], 7]
    (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    assert main(["auditar", str(talks), "--modelo", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_hook_of_the_readme_works(talks, repeated):
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (entry,) = re.findall(r"^ +entry: curso (.+)$", readme, flags=re.M)
    (files,) = re.findall(r"^ +files: (.+)$", readme, flags=re.M)
    assert re.search(files, "datos/charlas.jsonl") and not re.search(files, "datos/notas.txt")
    assert main([*shlex.split(entry), str(talks)]) == 0
    assert main([*shlex.split(entry), str(talks), str(repeated)]) == 1
