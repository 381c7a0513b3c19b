"""La codificación original y la correcta, contra cuentas hechas a mano y la muestra real."""

from itertools import groupby
from statistics import mean, median

import pytest
from checks import each

from course_lib.dialogues import read_dialogues, to_pairs
from course_lib.encoding import (
    BOT,
    IGNORED,
    USER,
    Kind,
    chat_prompt,
    collate,
    encode_conversation,
    encode_original,
    encode_text,
    original_prompt,
    original_text,
    pair_messages,
    plain,
    prepare_for_chat,
)

PAIRS = [
    ("Hola, ¿qué tal?", "Muy bien, gracias."),
    ("¿Y tú? 😀", "Con la niña 👩‍👧, en el jardín."),
    ("  con espacios  ", "  también  "),
    ("Una\nlínea", "Otra\n\nlínea"),
    ("?", ""),
]
HISTORY = [
    {"role": "user", "content": "Hola."},
    {"role": "assistant", "content": "¿Qué tal?"},
    {"role": "user", "content": "Muy bien."},
    {"role": "assistant", "content": "Me alegro."},
]


def spans(encoded, tokenizer):
    """El ejemplo en tramos de una clase: [(clase, texto), …]."""
    pairs = zip(encoded.kinds, encoded.input_ids, strict=True)
    groups = groupby(pairs, key=lambda pair: pair[0])
    return [(Kind(kind), tokenizer.decode([i for _, i in group])) for kind, group in groups]


@pytest.fixture
def padded(tokenizer):
    """El tokenizador como lo dejaba la lección original: el relleno es el token de fin."""
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


# --- La codificación original --------------------------------------------------------------------


def test_the_known_figures_of_the_original_encoding_on_the_real_sample(shared_data, gpt2_tokenizer):
    gpt2_tokenizer.pad_token = gpt2_tokenizer.eos_token
    path = shared_data / "dailydialog" / "train_1k.jsonl"
    pairs = to_pairs(read_dialogues(path, report=lambda notice: None))
    texts = [original_text(gpt2_tokenizer, p.user, p.reply) for p in pairs]
    lengths = [len(ids) for ids in gpt2_tokenizer(texts)["input_ids"]]
    assert round(mean(lengths), 2) == 36.48
    assert median(lengths) == 33
    assert sorted(lengths)[round(0.95 * len(lengths))] == 65
    assert sum(n > 128 for n in lengths) == 9
    padding = 0
    for p, length in zip(pairs, lengths, strict=True):
        encoded = encode_original(gpt2_tokenizer, p.user, p.reply, 128)
        padding += encoded.kinds.count(Kind.PADDING)
        assert sum(encoded.attention_mask) == min(length, 128)
    assert round(100 * padding / (128 * len(pairs)), 2) == 71.56


@pytest.mark.parametrize("marker", [USER, BOT])
def test_a_marker_falls_into_five_pieces_of_gpt2_and_is_one_token_once_prepared(
    gpt2_tokenizer, marker
):
    import copy

    assert len(gpt2_tokenizer.encode(marker)) == 5
    assert len(prepare_for_chat(copy.deepcopy(gpt2_tokenizer)).encode(marker)) == 1


def test_the_original_encoding_counts_everything_even_the_padding(padded):
    encoded = encode_original(padded, "Hola", "Muy bien", 40)
    assert spans(encoded, padded) == [
        (Kind.MARKER, "<|user|>"),
        (Kind.USER, " Hola"),
        (Kind.MARKER, " <|bot|>"),
        (Kind.REPLY, " Muy bien"),
        (Kind.PADDING, "<|endoftext|>" * encoded.kinds.count(Kind.PADDING)),
    ]
    assert encoded.labels == encoded.input_ids and len(encoded.labels) == 40
    assert encoded.counted == [False] + [True] * 39


@each(("user", "reply"), PAIRS)
def test_the_kinds_of_the_original_encoding_split_the_text_where_it_was_joined(padded, user, reply):
    by_kind = dict(spans(encode_original(padded, user, reply, 120), padded))
    assert by_kind[Kind.USER] == f" {user}"
    assert by_kind.get(Kind.REPLY, "") == f" {reply}".rstrip()
    assert by_kind[Kind.MARKER] == " <|bot|>"


def test_a_long_pair_is_cut_to_the_fixed_length_and_its_kinds_with_it(padded):
    encoded = encode_original(padded, "Hola " * 50, "Adiós", 30)
    assert {len(values) for values in vars(encoded).values()} == {30}
    assert set(encoded.kinds) == {Kind.MARKER, Kind.USER}


def test_the_original_encoding_asks_for_a_padding_token(tokenizer):
    with pytest.raises(ValueError, match=r"asígnalo antes.*pad_token = tokenizer\.eos_token"):
        encode_original(tokenizer, "a", "b", 10)


def test_the_original_prompt_of_one_message_is_how_its_training_text_begins(padded):
    prompt = original_prompt(padded, [{"role": "user", "content": "Hola"}])
    assert encode_original(padded, "Hola", "Muy bien", 40).input_ids[: len(prompt)] == prompt


def test_the_original_prompt_with_history_joins_lines_as_training_never_did(padded):
    prompt = original_prompt(padded, HISTORY[:3])
    assert padded.decode(prompt) == "<|user|> Hola.\n<|bot|> ¿Qué tal?\n<|user|> Muy bien.\n<|bot|>"


# --- La codificación correcta --------------------------------------------------------------------


@each(("user", "reply"), PAIRS)
def test_exactly_the_reply_and_its_end_are_labelled(chat_tokenizer, user, reply):
    encoded = encode_conversation(chat_tokenizer, pair_messages(user, reply))
    labelled = [label for label in encoded.labels if label != IGNORED]
    assert labelled == [*chat_tokenizer.encode(f" {reply}"), chat_tokenizer.eos_token_id]
    assert spans(encoded, chat_tokenizer) == [
        (Kind.MARKER, USER),
        (Kind.USER, f" {user}"),
        (Kind.MARKER, BOT),
        (Kind.REPLY, f" {reply}"),
        (Kind.END, "<|endoftext|>"),
    ]


def test_every_reply_of_a_conversation_is_labelled_and_nothing_else(chat_tokenizer):
    encoded = encode_conversation(chat_tokenizer, HISTORY)
    labelled = [label for label in encoded.labels if label != IGNORED]
    assert chat_tokenizer.decode(labelled) == " ¿Qué tal?<|endoftext|> Me alegro.<|endoftext|>"
    assert [k in (Kind.REPLY, Kind.END) for k in encoded.kinds] == encoded.counted


@each("messages", [HISTORY, *[pair_messages(*pair) for pair in PAIRS]])
def test_the_prompt_is_an_exact_prefix_of_the_training_ids(chat_tokenizer, messages):
    prompt = chat_prompt(chat_tokenizer, messages[:-1])
    encoded = encode_conversation(chat_tokenizer, messages)
    assert encoded.input_ids[: len(prompt)] == prompt
    assert [i for i, counts in enumerate(encoded.counted) if counts][-1] >= len(prompt)
    assert encoded.counted[len(prompt) - 1 : len(prompt) + 1] == [False, True]


def test_clean_text_is_encoded_as_the_ecosystem_does_even_after_a_round_trip(
    chat_tokenizer, tmp_path
):
    from transformers import AutoTokenizer

    chat_tokenizer.save_pretrained(tmp_path)
    for tokenizer in (chat_tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = tokenizer.apply_chat_template(HISTORY, tokenize=True, return_dict=True)["input_ids"]
        assert encode_conversation(tokenizer, HISTORY).input_ids == ids
        assert encode_conversation(tokenizer, HISTORY) == encode_conversation(
            chat_tokenizer, HISTORY
        )


def test_the_template_refuses_a_role_that_it_does_not_know(chat_tokenizer):
    with pytest.raises(Exception, match="solo conoce los papeles user y assistant"):
        chat_prompt(chat_tokenizer, [{"role": "system", "content": "Sé breve."}])


def test_preparing_for_chat_twice_adds_nothing_and_the_model_grows_with_it(tokenizer, make_model):
    model = make_model(vocabulary=len(tokenizer))
    size = len(tokenizer)
    prepare_for_chat(prepare_for_chat(tokenizer, model), model)
    assert len(tokenizer) == size + 3 == model.get_input_embeddings().num_embeddings
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id


def test_added_tokens_that_are_not_special_are_ordinary_text(chat_tokenizer):
    chat_tokenizer.add_tokens(["  "])
    assert plain("a  b", chat_tokenizer) == "a  b"
    encoded = encode_conversation(chat_tokenizer, pair_messages("a  b", "c"))
    assert spans(encoded, chat_tokenizer)[1] == (Kind.USER, " a  b")


def test_a_replayed_text_counts_whole_with_its_end(tokenizer):
    encoded = encode_text(tokenizer, "La niña comió piña")
    assert tokenizer.decode(encoded.input_ids[:-1]) == "La niña comió piña"
    assert encoded.labels == encoded.input_ids
    assert encoded.input_ids[-1] == tokenizer.eos_token_id
    assert encoded.kinds[-1] == Kind.END
    assert IGNORED not in encoded.labels


# --- Lotes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pad", ["own", "eos"])
def test_padding_never_counts_in_a_batch_whatever_its_id(chat_tokenizer, pad):
    pad_id = {"own": chat_tokenizer.pad_token_id, "eos": chat_tokenizer.eos_token_id}[pad]
    rows = [vars(encode_conversation(chat_tokenizer, pair_messages(u, r))) for u, r in PAIRS]
    batch = collate(iter(rows), pad_id)
    assert {tuple(t.shape) for t in batch.values()} == {(5, max(len(r["labels"]) for r in rows))}
    for i, row in enumerate(rows):
        size = len(row["input_ids"])
        assert {name: batch[name][i, :size].tolist() for name in row} == row
        assert set(batch["input_ids"][i, size:].tolist()) <= {pad_id}
        assert set(batch["labels"][i, size:].tolist()) <= {IGNORED}
        assert set(batch["kinds"][i, size:].tolist()) <= {Kind.PADDING}
        assert batch["attention_mask"][i].sum() == size
        assert (batch["labels"][i] == chat_tokenizer.eos_token_id).sum() == 1  # el fin sí cuenta


def test_a_table_with_rows_to_spare_is_not_cut_and_the_markers_take_the_mean(tokenizer, make_model):
    import torch

    model = make_model(vocabulary=500)  # más filas que tokens, como en muchos modelos del Hub
    known = len(tokenizer)
    before = model.get_input_embeddings().weight.detach().clone()
    prepare_for_chat(tokenizer, model)
    table = model.get_input_embeddings().weight
    assert table.shape == before.shape
    for token in (USER, BOT):
        row = table[tokenizer.convert_tokens_to_ids(token)]
        assert torch.allclose(row, before[:known].mean(0), atol=1e-6)
    assert torch.equal(table[:known], before[:known])
