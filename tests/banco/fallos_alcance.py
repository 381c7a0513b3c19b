"""Fallos de etiquetas: cuenta el texto del usuario, o no cuenta nada."""

from functools import partial

from course_lib.encoding import IGNORED, encode_original
from course_lib.encoding import collate as course_collate
from tests.banco import filas, modelos
from tests.banco.caso import Case, planted
from tests.banco.fallos_etiquetas import part, rows_of
from tests.banco.textos import messages, talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los casos de estas dos comprobaciones."""
    return [*_user_text(), *_nothing_counts()]


# --- 4: usuario-supervisado ----------------------------------------------------------------------


def _user_text() -> list[Case]:
    def chats(name, n, share=1.0, language="es", turns=2, collated=True):
        tokenizer = make(name)
        good = rows_of(tokenizer, n, language, turns)
        rows = part(good, rows_of(tokenizer, n, language, turns, everything=True), share)
        extra = {"data_collator": filas.by_length(tokenizer.pad_token_id)} if collated else {}
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)} | extra

    def by_library(name, n):
        tokenizer = make(name)
        rows = filas.without_labels(rows_of(tokenizer, n))
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": filas.language_modeling(tokenizer),
        }

    def original(n):
        tokenizer = make("gpt2")
        tokenizer.pad_token = tokenizer.eos_token
        rows = [vars(encode_original(tokenizer, *d.turns, 128)) for d in talks(n)]
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": lambda some: course_collate(some, tokenizer.pad_token_id),
        }

    def in_sft(name, n):
        tokenizer = make(name)
        records = [{"messages": messages(d)} for d in talks(n, turns=4)]
        return {"trainer": modelos.sft_trainer(modelos.gpt2(len(tokenizer)), records, tokenizer)}

    made = [
        ("marcadores del curso, todo cuenta", partial(chats, "curso", 30)),
        ("ChatML, 2 filas", partial(chats, "chatml", 2, collated=False)),
        ("Llama 2, [INST] por texto", partial(chats, "llama2", 40, 1, "en")),
        ("Llama 3, varios turnos", partial(chats, "llama3", 20, turns=6)),
        ("Zephyr", partial(chats, "zephyr", 60, 1, "en", 4)),
        ("unigram con marcadores", partial(chats, "unigram-chat", 50)),
        ("WordPiece con marcadores", partial(chats, "wordpiece-chat", 50)),
        ("justo la mitad de las filas", partial(chats, "chatml", 100, 0.5)),
        ("60% de 1200 filas", partial(chats, "curso", 1200, 0.6, "en", collated=False)),
        ("DataCollatorForLanguageModeling con relleno propio", partial(by_library, "chatml", 40)),
        ("codificación original", partial(original, 30)),
        ("SFTTrainer con mensajes, como viene de fábrica", partial(in_sft, "gemma", 20)),
    ]
    return [planted("usuario-supervisado", "aviso", name, build) for name, build in made]


# --- 25: nada-supervisado ------------------------------------------------------------------------


def marker_collator(tokenizer, marker: str):
    """Un colador que busca los ids de un marcador y, si no lo encuentra, no supervisa nada."""
    wanted = filas.encode(tokenizer, marker)

    def collate(rows: list[dict]) -> dict:
        batch = filas.by_length(tokenizer.pad_token_id)(rows)
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"]):
            spots = [i for i in range(len(ids)) if ids[i : i + len(wanted)] == wanted]
            labels[: spots[0] + len(wanted) if spots else None] = IGNORED
        return batch

    return collate


def _nothing_counts() -> list[Case]:
    def lost_marker(name, marker, n, language="es"):
        tokenizer = make(name)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        rows = rows_of(tokenizer, n, language, everything=True)
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": marker_collator(tokenizer, marker),
        }

    def masked(name, n, share, language="es", collated=True, trainer=False):
        tokenizer = make(name)
        good = rows_of(tokenizer, n, language)
        empty = [r | {"labels": [IGNORED] * len(r["labels"])} for r in good]
        data = filas.dataset(part(good, empty, share))
        collator = filas.by_length(tokenizer.pad_token_id)
        if trainer:
            model = modelos.gpt2(len(tokenizer))
            return {"trainer": modelos.trainer(model, data, collator, tokenizer)}
        extra = {"data_collator": collator} if collated else {}
        return {"tokenizer": tokenizer, "train_dataset": data} | extra

    made = [
        ("marcador que el BPE parte de otro modo", partial(lost_marker, "gpt2", "Asistente: ", 30)),
        ("marcador en otra lengua", partial(lost_marker, "gpt2", "Assistant:", 2)),
        ("marcador de otra plantilla", partial(lost_marker, "chatml", "<|assistant|>", 60, "en")),
        ("marcador con un salto de más", partial(lost_marker, "llama3", "<|eot_id|>\n\n\n", 25)),
        ("todas a -100", partial(masked, "curso", 40, 1)),
        ("justo la mitad, sin colador", partial(masked, "zephyr", 100, 0.5, "es", False)),
        ("casi la mitad: 49%", partial(masked, "zephyr", 100, 0.49)),
        ("la décima parte, inglés", partial(masked, "llama2", 200, 0.1, "en")),
        ("2% de 1500", partial(masked, "unigram-chat", 1500, 0.02, collated=False)),
        ("1% justo", partial(masked, "wordpiece-chat", 200, 0.01)),
        ("Trainer, tres cuartos", partial(masked, "curso", 40, 0.75, trainer=True)),
    ]
    severities = ["grave"] * 6 + ["aviso"] * 4 + ["grave"]
    return [
        planted("nada-supervisado", severity, name, build)
        for severity, (name, build) in zip(severities, made, strict=True)
    ]
