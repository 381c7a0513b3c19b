"""Lo que la auditoría ve en las filas: fin, relleno, usuario, cortes, marcadores y empaquetado."""

import random
import re

import pytest

from course_lib.audit import audit
from course_lib.dialogues import Dialogue
from course_lib.encoding import (
    IGNORED,
    chat_prompt,
    collate,
    encode_conversation,
    encode_original,
    original_prompt,
    pair_messages,
)

TALK = [
    ("Hola, ¿qué tal estás?", "Muy bien, gracias."),
    ("¿Cuál es la capital de Francia?", "París."),
    ("¿Comió piña la niña?", "Sí, en el jardín."),
    ("¿Vas mañana al cine?", "Sí, con Óscar y Ángela."),
    ("¿Y tú?", "Muy bien."),
    ("Contexto: la niña.", "No."),
]


def severity(report, check):
    return next((f.severity for f in report.findings if f.check == check), None)


def numbers(report, check):
    return next(f.numbers for f in report.findings if f.check == check)


@pytest.fixture
def chat_rows(chat_tokenizer):
    return [vars(encode_conversation(chat_tokenizer, pair_messages(*pair))) for pair in TALK]


def right_collator(tokenizer):
    return lambda rows: collate(rows, tokenizer.pad_token_id)


def test_a_right_pipeline_raises_nothing(chat_tokenizer, chat_rows):
    report = audit(
        tokenizer=chat_tokenizer,
        train_dataset=chat_rows,
        data_collator=right_collator(chat_tokenizer),
        prompt=chat_prompt,
    )
    assert report.findings == ()
    assert {"fin-tapado", "relleno-contado", "sin-fin", "plantilla-distinta"} <= set(report.passed)
    assert not report.grave


def test_counted_padding_is_measured_by_hand(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    rows = [vars(encode_original(tokenizer, *pair, max_length=64)) for pair in TALK]
    real = sum(sum(row["attention_mask"]) for row in rows)
    report = audit(tokenizer=tokenizer, train_dataset=rows, data_collator=right_collator(tokenizer))
    assert severity(report, "relleno-contado") == "grave"
    found = numbers(report, "relleno-contado")
    assert found["etiquetas"] == 63 * len(TALK)  # el primero de cada fila no lo predice nadie
    assert found["relleno"] == 64 * len(TALK) - real
    assert severity(report, "usuario-supervisado") == "aviso"
    assert severity(report, "marcadores-rotos") == "aviso"
    # El primer relleno es el token de fin y cuenta: aprende a callarse.
    assert severity(report, "sin-fin") is None


def test_one_end_token_after_the_text_is_not_padding(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    rows = []
    for pair in TALK:
        row = vars(encode_original(tokenizer, *pair, max_length=64))
        end = sum(row["attention_mask"])
        labels = [*row["labels"][: end + 1], *[IGNORED] * (64 - end - 1)]
        rows.append({**row, "labels": labels})
    report = audit(tokenizer=tokenizer, train_dataset=rows, data_collator=right_collator(tokenizer))
    assert severity(report, "relleno-contado") is None
    assert severity(report, "sin-fin") is None


def test_the_masked_end_of_the_language_modeling_collator_is_grave(tokenizer):
    from transformers import DataCollatorForLanguageModeling

    tokenizer.pad_token = tokenizer.eos_token
    texts = [f"<|user|> {user} <|bot|> {reply}{tokenizer.eos_token}" for user, reply in TALK]
    rows = [{"input_ids": tokenizer.encode(text)} for text in texts]
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    report = audit(tokenizer=tokenizer, train_dataset=rows, data_collator=collator)
    assert severity(report, "fin-tapado") == "grave"
    assert severity(report, "sin-fin") is None  # el fin está: lo que falla es la etiqueta
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    mended = audit(tokenizer=tokenizer, train_dataset=rows, data_collator=collator)
    assert "fin-tapado" in mended.passed


def test_replies_without_end(chat_tokenizer, chat_rows):
    whole = chat_rows[:4]
    rows = whole + [{key: values[:-1] for key, values in row.items()} for row in chat_rows[4:]]
    report = audit(
        tokenizer=chat_tokenizer, train_dataset=rows, data_collator=right_collator(chat_tokenizer)
    )
    assert severity(report, "sin-fin") == "aviso"  # 2 de 6
    assert numbers(report, "sin-fin") == {"filas": 6, "sin_fin": 2, "proporcion": 2 / 6}


def test_rows_cut_at_the_cap(chat_tokenizer, chat_rows):
    rows = [{key: values[:12] for key, values in row.items()} for row in chat_rows * 2]
    report = audit(
        tokenizer=chat_tokenizer, train_dataset=rows, data_collator=right_collator(chat_tokenizer)
    )
    assert severity(report, "respuesta-cortada") == "grave"
    assert numbers(report, "respuesta-cortada")["tope"] == 12


def test_nothing_supervised(chat_tokenizer, chat_rows):
    rows = [{**row, "labels": [IGNORED] * len(row["labels"])} for row in chat_rows[:1]]
    rows += chat_rows[1:]
    report = audit(
        tokenizer=chat_tokenizer, train_dataset=rows, data_collator=right_collator(chat_tokenizer)
    )
    assert severity(report, "nada-supervisado") == "aviso"
    assert report.findings[0].rows == (0,)


def test_the_original_prompt_drifts_only_with_history(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    rows = [vars(encode_original(tokenizer, *pair, max_length=64)) for pair in TALK]
    report = audit(
        tokenizer=tokenizer,
        train_dataset=rows,
        data_collator=right_collator(tokenizer),
        prompt=original_prompt,
    )
    found = numbers(report, "plantilla-distinta")
    assert found["distintas"] == 0
    assert found["con_historia"] == found["filas"] == len(TALK)


def test_another_template_and_a_trailing_space_are_told_apart(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    rows = [vars(encode_original(tokenizer, *pair, max_length=64)) for pair in TALK]

    def ask(form):
        return audit(
            tokenizer=tokenizer,
            train_dataset=rows,
            prompt=lambda _, messages: form.format(messages[-1]["content"]),
        )

    assert severity(ask("Usuario: {}\nBot:"), "plantilla-distinta") == "grave"
    spaced = ask("<|user|> {} <|bot|> ")
    assert severity(spaced, "espacio-final") == "aviso"
    assert severity(spaced, "plantilla-distinta") is None
    assert ask("<|user|> {} <|bot|>").findings == ask("<|user|> {} <|bot|>").findings


def test_two_starts(chat_tokenizer, chat_rows):
    bos = chat_tokenizer.bos_token_id
    rows = [{"input_ids": [bos, bos, *row["input_ids"]]} for row in chat_rows]
    report = audit(tokenizer=chat_tokenizer, train_dataset=rows)
    assert severity(report, "doble-bos") == "aviso"
    rows = [{"input_ids": [bos, *row["input_ids"]]} for row in chat_rows]
    assert severity(audit(tokenizer=chat_tokenizer, train_dataset=rows), "doble-bos") is None


def test_flattening_is_clean_with_positions_and_grave_without(chat_tokenizer, chat_rows):
    from transformers import DataCollatorWithFlattening

    rows = [{key: row[key] for key in ("input_ids", "labels")} for row in chat_rows]
    for positions, expected in ((True, None), (False, "grave")):
        collator = DataCollatorWithFlattening(return_position_ids=positions)
        report = audit(tokenizer=chat_tokenizer, train_dataset=rows, data_collator=collator)
        assert severity(report, "empaquetado") == expected
        assert severity(report, "fin-tapado") is None


def test_a_long_conversation_is_not_taken_for_packed_ones(chat_tokenizer):
    topics = "jardín cine piña capital niña Óscar Ángela Francia tren barco".split()
    asks = ("¿Te gusta {}?", "¿Y cuándo vuelves a {}?", "¿Con quién hablas de {}?")

    def exchange(topic, k):
        return pair_messages(asks[k].format(topic), f"De {topic}, mucho.")

    def row(parts):
        messages = [message for part in parts for message in part]
        return vars(encode_conversation(chat_tokenizer, messages))

    whole = [[exchange(topic, k) for k in range(3)] for topic in topics]
    talks = [row(parts) for parts in whole]
    own = [Dialogue(tuple(m["content"] for part in parts for m in part)) for parts in whole]
    report = audit(tokenizer=chat_tokenizer, train_dataset=talks, dialogues=own)
    assert "empaquetado" in report.passed
    loose = [part for parts in whole for part in parts]
    random.Random(1).shuffle(loose)
    packed = [row(loose[i : i + 3]) for i in range(0, len(loose), 3)]
    report = audit(tokenizer=chat_tokenizer, train_dataset=packed, dialogues=own)
    assert severity(report, "empaquetado") == "grave"
    # Sin los diálogos, una charla larga y varias pegadas tienen la misma forma: no se pronuncia.
    report = audit(tokenizer=chat_tokenizer, train_dataset=packed)
    assert "empaquetado" in {abstention.check for abstention in report.abstained}


def test_nothing_that_is_given_changes(chat_tokenizer, chat_rows, make_model):
    import torch

    model = make_model(vocabulary=len(chat_tokenizer)).train()
    chat_tokenizer("hola", truncation=True, max_length=5)
    before = chat_tokenizer._tokenizer.truncation
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    random.seed(5)
    state = random.getstate()
    audit(tokenizer=chat_tokenizer, train_dataset=chat_rows, model=model, prompt=chat_prompt)
    assert torch.rand(1) == expected
    assert random.getstate() == state
    assert model.training
    assert chat_tokenizer._tokenizer.truncation == before


def test_a_collator_that_fails_is_an_abstention_that_says_why(chat_tokenizer, chat_rows):
    def broken(rows):
        raise KeyError("falta «precio»")

    report = audit(tokenizer=chat_tokenizer, train_dataset=chat_rows, data_collator=broken)
    lacks = {a.check: a.lacks for a in report.abstained}
    assert "falta «precio»" in lacks["relleno-contado"]


def test_untokenized_rows_are_an_abstention(chat_tokenizer):
    rows = [{"messages": pair_messages(*pair)} for pair in TALK]
    report = audit(tokenizer=chat_tokenizer, train_dataset=rows)
    assert "tokeníz" in {a.check: a.lacks for a in report.abstained}["sin-fin"]
    assert "duplicados" in report.passed  # los textos sí se pueden comparar


def test_a_chat_mixed_with_more_plain_text_is_still_judged_by_its_template(chat_tokenizer):
    from course_lib.encoding import encode_text

    chats = [vars(encode_conversation(chat_tokenizer, pair_messages(*pair))) for pair in TALK]
    plain = [
        vars(encode_text(chat_tokenizer, f"Pregunta: sí {i}\nRespuesta: no")) for i in range(60)
    ]
    report = audit(tokenizer=chat_tokenizer, train_dataset=chats + plain, prompt=chat_prompt)
    assert not report.grave
    assert {"plantilla-distinta", "usuario-supervisado"} <= set(report.passed)


@pytest.mark.parametrize(
    "shape, cut, expected", [("gpt2", 0, "grave"), ("gpt2", 60, None), ("llama", 0, "nota")]
)
def test_rows_longer_than_the_positions(chat_tokenizer, make_model, shape, cut, expected):
    from tests.banco import modelos

    long = vars(encode_conversation(chat_tokenizer, pair_messages("hola", "muy bien " * 60)))

    def collator(rows):
        kept = [{key: values[: cut or None] for key, values in row.items()} for row in rows]
        return collate(kept, chat_tokenizer.pad_token_id)

    model = make_model(positions=64)
    if shape == "llama":  # sin tabla de posiciones que se acabe
        model = modelos.llama(len(chat_tokenizer))
        model.config.max_position_embeddings = 64
    given = {"model": model, "tokenizer": chat_tokenizer, "data_collator": collator}
    report = audit(train_dataset=[long], **given)
    assert severity(report, "ids-fuera") == expected


def test_a_module_of_ones_own_is_audited_as_far_as_it_goes(chat_tokenizer, chat_rows):
    import torch

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(len(chat_tokenizer), 4)

        def forward(self, input_ids, labels=None):
            return self.table(input_ids)

    report = audit(model=Own(), tokenizer=chat_tokenizer, train_dataset=chat_rows)
    assert report.failed == ()
    lacks = {a.check: a.lacks for a in report.abstained}
    assert "get_input_embeddings" in lacks["ids-fuera"]


@pytest.mark.parametrize("rows_too", [False, True])
def test_two_starts_have_one_name(chat_tokenizer, chat_rows, rows_too):
    start = [chat_tokenizer.bos_token_id]
    keys = ("input_ids", "labels")
    rows = [{key: start * (1 + rows_too) + row[key] for key in keys} for row in chat_rows]
    report = audit(
        tokenizer=chat_tokenizer,
        train_dataset=rows,
        prompt=lambda *asked: start * 2 + list(chat_prompt(*asked)),
    )
    assert [f.check for f in report.findings] == ["doble-bos"]


def test_rows_that_a_filter_took_away_are_grave(chat_tokenizer):
    from datasets import Dataset

    report = audit(tokenizer=chat_tokenizer, train_dataset=Dataset.from_dict({"input_ids": []}))
    assert severity(report, "nada-supervisado") == "grave"


def test_what_breaks_inside_is_neither_clean_nor_abstained(monkeypatch, chat_tokenizer, chat_rows):
    def broken(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr("course_lib.audit.supervision._closes", broken)
    report = audit(tokenizer=chat_tokenizer, train_dataset=chat_rows)
    assert [(f.check, f.lacks) for f in report.failed] == [
        ("sin-fin", "IndexError: list index out of range")
    ]
    assert "sin-fin" not in {*report.passed, *(a.check for a in report.abstained)}
    assert "falló por dentro" in str(report)


def test_mends_name_no_function_of_the_course():
    import inspect

    from course_lib import chat, dialogues, encoding, evaluation, training
    from course_lib.audit.engine import CATALOGUE

    ours = {
        name
        for module in (chat, dialogues, encoding, evaluation, training)
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and "_" in name.lstrip("_")
        and value.__module__ == module.__name__
    }
    mends = [t for texts in CATALOGUE.values() for k, t in texts.items() if k.startswith("arreglo")]
    assert [name for name in ours for mend in mends if name in re.findall(r"\w+", mend)] == []


def test_labels_shorter_than_their_ids_are_a_finding_and_not_a_failure(chat_tokenizer, chat_rows):
    rows = [{**row, "labels": row["labels"][:-1]} for row in chat_rows]
    report = audit(tokenizer=chat_tokenizer, train_dataset=rows)
    assert severity(report, "descuadre") == "aviso" and report.failed == ()
    assert "fin-tapado" in {a.check for a in report.abstained}  # un solo nombre para un fallo


@pytest.mark.parametrize("how", ["cargador", "lotes", "tuplas", "reparto"])
def test_rows_are_read_as_a_hand_made_loop_gives_them(chat_tokenizer, chat_rows, how):
    from torch.utils.data import DataLoader

    loader = DataLoader(chat_rows, batch_size=4, collate_fn=right_collator(chat_tokenizer))
    given = {
        "cargador": loader,
        "lotes": list(loader),
        "tuplas": [(row["input_ids"], row["labels"]) for row in chat_rows],
        "reparto": {"train": chat_rows},
    }
    report = audit(tokenizer=chat_tokenizer, train_dataset=given[how])
    assert report.findings == () and "fin-tapado" in report.passed


@pytest.mark.parametrize("stop, expected", [("eos", "grave"), ("both", None)])
def test_the_last_token_is_one_that_stops_the_generation(stop, expected):
    from tests.banco import filas, modelos
    from tests.banco.textos import talks
    from tests.banco.tokenizadores import make

    tokenizer = make("gemma")
    model = modelos.llama(len(tokenizer))
    turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, turn][: 1 + (stop == "both")]
    rows = filas.chat_rows(tokenizer, talks(8))
    report = audit(tokenizer=tokenizer, train_dataset=rows, model=model)
    assert severity(report, "sin-fin") == expected
