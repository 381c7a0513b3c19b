"""Fallos de longitud: respuestas cortadas por el tope y charlas empaquetadas sin fronteras."""

from functools import partial

from course_lib.dialogues import Dialogue
from tests.banco import filas, modelos
from tests.banco.caso import Case, planted
from tests.banco.fallos_etiquetas import rows_from, rows_of
from tests.banco.textos import messages, talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los casos de estas dos comprobaciones."""
    return [*_cut_replies(), *_packed()]


# --- 12: respuesta-cortada -----------------------------------------------------------------------


def mixed_lengths(tokenizer, n: int, share: float, language: str = "es") -> tuple[list, int]:
    """Charlas cortas y, en esa parte, larguísimas, todas cortadas al mismo tope.

    El tope no toca a las cortas; las largas se quedan sin el final de su respuesta.
    """
    dialogues = talks(n, language, roles=True)
    cap = max(len(r["input_ids"]) for r in rows_from(tokenizer, dialogues, language)) + 4
    chosen = round(n * share)
    for k in range(chosen):
        i = round(k * n / chosen)
        question, reply = dialogues[i].turns
        dialogues[i] = Dialogue((question, " ".join([reply] * 8)), roles=dialogues[i].roles)
    return filas.cut(rows_from(tokenizer, dialogues, language), cap), cap


def _cut_replies() -> list[Case]:
    def mixed(name, n, share, language="es", told=True, fixed=False):
        tokenizer = make(name)
        rows, cap = mixed_lengths(tokenizer, n, share, language)
        if fixed:
            rows = filas.pad(rows, cap, tokenizer.pad_token_id)
        extra = {"args": modelos.sft_arguments(max_length=cap)} if told else {}
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "eval_dataset": filas.dataset(filas.chat_rows(tokenizer, talks(2, start=9000)))
            if tokenizer.chat_template
            else filas.dataset(filas.plain_rows(tokenizer, talks(2, start=9000))),
        } | extra

    def long_questions(name, n, cap):
        tokenizer = make(name)
        rows = filas.cut(rows_of(tokenizer, n, turns=2), cap)  # el tope cae en la pregunta
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}

    def everything_cut(name, n, cap, language):
        tokenizer = make(name)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        rows = filas.cut(rows_of(tokenizer, n, language, 2), cap)
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": filas.by_length(tokenizer.pad_token_id),
        }

    def in_sft(n, cap):
        tokenizer = make("llama3")
        records = [
            {"prompt": messages(d)[:1], "completion": messages(d)[1:]} for d in talks(n, turns=2)
        ]
        model = modelos.gpt2(len(tokenizer))
        return {"trainer": modelos.sft_trainer(model, records, tokenizer, max_length=cap)}

    made = [
        ("grave", "un tercio de las respuestas", partial(mixed, "chatml", 60, 1 / 3)),
        ("grave", "justo la quinta parte", partial(mixed, "curso", 100, 0.2)),
        ("aviso", "casi la quinta parte: 19%", partial(mixed, "curso", 100, 0.19)),
        (
            "grave",
            "al tope y con relleno fijo",
            partial(mixed, "zephyr", 50, 0.4, "en", fixed=True),
        ),
        ("grave", "sin que nadie diga el tope", partial(mixed, "llama2", 80, 0.3, told=False)),
        ("grave", "el tope deja fuera toda respuesta", partial(long_questions, "llama3", 20, 24)),
        (
            "grave",
            "todas cortadas, papeles de texto",
            partial(everything_cut, "gpt2", 30, 26, "en"),
        ),
        ("grave", "SFTTrainer con max_length corto", partial(in_sft, 30, 60)),
        ("aviso", "5%, inglés", partial(mixed, "llama3", 200, 0.05, "en")),
        ("aviso", "10%, unigram", partial(mixed, "unigram-chat", 100, 0.1, fixed=True)),
        ("aviso", "justo el 1%", partial(mixed, "curso", 400, 0.01)),
        ("nota", "0,8% de 1000", partial(mixed, "chatml", 1000, 0.008)),
        ("nota", "0,5%, papeles de texto", partial(mixed, "unigram", 600, 0.005, "en")),
        ("grave", "el de GPT-2", partial(mixed, "curso-gpt2-real", 40, 0.5)),
    ]
    return [planted("respuesta-cortada", *case) for case in made]


# --- 26: empaquetado -----------------------------------------------------------------------------


def packed(rows, size: int) -> list[dict]:
    """Junta filas enteras, una detrás de otra, mientras quepan en `size` tokens."""
    bins, current = [], {"input_ids": [], "attention_mask": [], "labels": []}
    for r in rows:
        if current["input_ids"] and len(current["input_ids"]) + len(r["input_ids"]) > size:
            bins.append(current)
            current = {name: [] for name in current}
        for name in current:
            current[name] += r[name]
    return [*bins, current]


def _packed() -> list[Case]:
    def by_hand(
        name, n, size, language="es", turns=2, collated=True, fixed=False, told=True, **how
    ):
        tokenizer = make(name)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        rows = packed(rows_of(tokenizer, n, language, turns), size)
        # Sin un comienzo en cada charla, varias juntas no se distinguen de una larga: hay que
        # decir cuáles eran.
        extra = {"dialogues": talks(n, language, turns, roles=True)} if told else {}
        if fixed:
            rows = filas.pad(rows, size, tokenizer.pad_token_id)
        collator = filas.default() if fixed else filas.by_length(tokenizer.pad_token_id)
        extra |= {"data_collator": collator} if collated else {}
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)} | extra

    def straight_positions(name, n, size):
        tokenizer = make(name)
        rows = packed(rows_of(tokenizer, n), size)
        for r in rows:
            r["position_ids"] = list(range(len(r["input_ids"])))
        dialogues = talks(n, roles=True)
        return {"tokenizer": tokenizer, "train_dataset": rows, "dialogues": dialogues}

    def flattening(name, n):
        from transformers import DataCollatorWithFlattening

        tokenizer = make(name)
        rows = [{k: r[k] for k in ("input_ids", "labels")} for r in rows_of(tokenizer, n, "en", 4)]
        collator = DataCollatorWithFlattening(return_position_ids=False)
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": collator,
        }

    def in_sft(name, n, language="es"):
        tokenizer = make(name)
        records = [{"messages": messages(d)} for d in talks(n, language)]
        trained = modelos.sft_trainer(
            modelos.gpt2(len(tokenizer)),
            records,
            tokenizer,
            packing=True,
            packing_strategy="wrapped",
            assistant_only_loss=True,
            max_length=256,
        )
        return {"trainer": trained}

    def in_trainer(n):
        tokenizer = make("curso")
        data = filas.dataset(packed(rows_of(tokenizer, n), 200))
        model = modelos.gpt2(len(tokenizer))
        collator = filas.by_length(tokenizer.pad_token_id)
        trained = modelos.trainer(model, data, collator, tokenizer)
        return {"trainer": trained, "dialogues": talks(n, roles=True)}

    made = [
        ("charlas con los marcadores del curso", partial(by_hand, "curso", 40, 256)),
        ("ChatML, dos filas", partial(by_hand, "chatml", 4, 130, collated=False)),
        ("Llama 2, inglés", partial(by_hand, "llama2", 60, 300, "en", told=False)),
        ("Llama 3, varios turnos", partial(by_hand, "llama3", 40, 400, turns=4, told=False)),
        ("Zephyr, a longitud fija", partial(by_hand, "zephyr", 60, 256, fixed=True)),
        ("unigram con marcadores", partial(by_hand, "unigram-chat", 60, 200, collated=False)),
        ("papeles de texto, solo respuestas", partial(by_hand, "gpt2", 50, 256)),
        ("2000 charlas en inglés", partial(by_hand, "curso", 2000, 512, "en")),
        ("posiciones que no vuelven a empezar", partial(straight_positions, "chatml", 30, 256)),
        ("DataCollatorWithFlattening sin posiciones", partial(flattening, "chatml", 24)),
        ("SFTTrainer «wrapped» con charlas", partial(in_sft, "chatml", 40)),
        ("SFTTrainer «wrapped» con charlas en inglés", partial(in_sft, "llama3", 30, "en")),
        ("Trainer", partial(in_trainer, 30)),
    ]
    return [planted("empaquetado", "grave", name, build) for name, build in made]
