"""Controles limpios de filas: recetas enteras, texto corrido y coladores."""

from functools import partial

from course_lib.dialogues import shipped_dialogues, to_pairs
from course_lib.encoding import chat_prompt, encode_conversation, pair_messages
from course_lib.encoding import collate as course_collate
from tests.banco import filas, modelos
from tests.banco.caso import Case, control
from tests.banco.textos import export, messages, stories, talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los controles de filas."""
    made = [*_whole(), *_text()]
    return [control(name, build) for name, build in made]


def everything(name: str, n: int, language: str = "es", turns: int = 2, model=True, **more) -> dict:
    """Una receta correcta entera: charlas, tokenizador, filas, colador, petición y argumentos."""
    tokenizer = make(name)
    dialogues = talks(n, language, turns, roles=True)
    data = filas.dataset(filas.chat_rows(tokenizer, dialogues))
    held_out = filas.dataset(filas.chat_rows(tokenizer, talks(8, language, turns, start=n + 50)))
    extra = {"model": modelos.gpt2(len(tokenizer))} if model else {}
    return {
        "dialogues": dialogues,
        "tokenizer": tokenizer,
        "train_dataset": data,
        "eval_dataset": held_out,
        "data_collator": filas.by_length(tokenizer.pad_token_id),
        "args": modelos.arguments(),
        "prompt": filas.chat_ids,
    } | (extra | more)


def _whole():
    def course(turns, file=None):
        tokenizer = make("curso")
        dialogues = shipped_dialogues("train")[:60] if file is None else file()
        pairs = to_pairs(dialogues)[: 40 * turns]
        rows = [vars(encode_conversation(tokenizer, pair_messages(p.user, p.reply))) for p in pairs]
        return {
            "dialogues": dialogues,
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows[8:]),
            "eval_dataset": filas.dataset(rows[:8]),
            "data_collator": lambda some: course_collate(some, tokenizer.pad_token_id),
            "model": modelos.gpt2(len(tokenizer)),
            "args": modelos.arguments(learning_rate=5e-4),
            "prompt": chat_prompt,
        }

    def from_file(name, form, suffix, language):
        made = everything(name, 60, language, 4)
        path = export(made["dialogues"], f"limpias-{name}.{suffix}", form)
        return made | {"dialogues": path}

    return [
        ("receta del curso con CharlaDiaria", partial(course, 2)),
        ("ChatML, todo lo que pide audit", partial(everything, "chatml", 60)),
        ("Llama 3, <|eot_id|> distinto del fin de texto", partial(everything, "llama3", 40, "en")),
        ("Llama 2, [INST] como texto", partial(everything, "llama2", 40, "es", 4)),
        ("Zephyr, seis turnos", partial(everything, "zephyr", 50, "en", 6)),
        ("Gemma: el turno acaba en un token que no es el fin", partial(everything, "gemma", 30)),
        ("Qwen base: <|im_end|> y fin <|endoftext|>", partial(everything, "qwen", 30, "en", 4)),
        ("unigram con marcadores", partial(everything, "unigram-chat", 40)),
        ("WordPiece con marcadores", partial(everything, "wordpiece-chat", 40, "en")),
        ("marcadores del curso, 2 filas", partial(everything, "curso", 2)),
        ("marcadores del curso, 3000 filas", partial(everything, "curso", 3000, "en")),
        ("el de GPT-2 con marcadores", partial(everything, "curso-gpt2-real", 25, "es", 4)),
        (".jsonl de DailyDialog y ChatML", partial(from_file, "chatml", "dialog", "jsonl", "es")),
        (".json de mensajes y Zephyr", partial(from_file, "zephyr", "messages", "json", "en")),
        (".jsonl de mensajes y Llama 3", partial(from_file, "llama3", "messages", "jsonl", "es")),
    ]


def _text():
    def documents(name, n, language="es", collator=True):
        tokenizer = make(name)
        data = filas.dataset(filas.text_rows(tokenizer, stories(n, language)))
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        extra = {"data_collator": filas.by_length(tokenizer.pad_token_id)} if collator else {}
        return {
            "tokenizer": tokenizer,
            "train_dataset": data.select(range(4, n)),
            "eval_dataset": data.select(range(4)),
        } | extra

    def chunks(name, size, language="es"):
        tokenizer = make(name)
        data = filas.dataset(filas.blocks(tokenizer, stories(60, language), size))
        return {
            "tokenizer": tokenizer,
            "train_dataset": data.select(range(4, len(data))),
            "eval_dataset": data.select(range(4)),
            "data_collator": filas.default(),
            "args": modelos.arguments(),
            "model": modelos.gpt2(len(tokenizer)),
        }

    def roles_in_text(name, style, n, language, counted):
        tokenizer = make(name)
        dialogues = talks(n, language, roles=True)
        rows = filas.plain_rows(tokenizer, dialogues, style, everything=counted)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

        def prompt(tokenizer, said):
            return filas.PROMPTS[style].format(said[-1]["content"])

        return {
            "tokenizer": tokenizer,
            "dialogues": dialogues,
            "train_dataset": filas.dataset(rows),
            "data_collator": filas.by_length(tokenizer.pad_token_id),
            "prompt": prompt,
        }

    return [
        ("texto corrido con fin, BPE de bytes", partial(documents, "gpt2", 30)),
        (
            "texto corrido con fin, unigram, sin colador",
            partial(documents, "unigram", 40, "en", False),
        ),
        ("bloques de texto corrido, 64", partial(chunks, "gpt2", 64)),
        ("bloques de texto corrido, 128, WordPiece", partial(chunks, "wordpiece", 128, "en")),
        (
            "«Usuario:» y «Asistente:», solo respuestas",
            partial(roles_in_text, "gpt2", "usuario", 60, "es", False),
        ),
        ("Alpaca, solo respuestas", partial(roles_in_text, "llama2", "alpaca", 50, "en", False)),
        (
            "pregunta y respuesta, cuenta todo",
            partial(roles_in_text, "unigram", "pregunta", 50, "es", True),
        ),
        (
            "WordPiece, petición y respuesta",
            partial(roles_in_text, "wordpiece", "user", 40, "en", False),
        ),
    ]


def group_messages(n: int, language: str = "es", turns: int = 2) -> list[dict]:
    """Registros de TRL con `messages`."""
    return [{"messages": messages(d)} for d in talks(n, language, turns)]
