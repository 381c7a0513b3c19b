"""Fallos de la petición: no es la del entrenamiento, o acaba en un espacio."""

from functools import partial

from course_lib.encoding import original_prompt, original_text
from tests.banco import filas
from tests.banco.caso import Case, planted
from tests.banco.fallos_etiquetas import rows_of
from tests.banco.textos import export, talks
from tests.banco.tokenizadores import TEMPLATES, make


def cases() -> list[Case]:
    """Los casos de estas dos comprobaciones."""
    return [*_other_template(), *_trailing_space()]


# --- 5: plantilla-distinta -----------------------------------------------------------------------


def template_prompt(name: str):
    """Una petición con la plantilla de otro."""

    def prompt(tokenizer, said):
        return tokenizer.apply_chat_template(
            said, chat_template=TEMPLATES[name], add_generation_prompt=True, return_dict=True
        )["input_ids"]

    return prompt


def _other_template() -> list[Case]:
    def asked(name, n, prompt, language="es", turns=2, as_file=False):
        tokenizer = make(name)
        dialogues = talks(n, language, turns, roles=True)
        rows = filas.dataset(rows_of(tokenizer, n, language, turns))
        if as_file:
            dialogues = export(dialogues, f"peticiones-{name}-{n}.jsonl", "messages")
        return {
            "tokenizer": tokenizer,
            "train_dataset": rows,
            "dialogues": dialogues,
            "prompt": prompt,
        }

    def with_system(tokenizer, said):
        system = {"role": "system", "content": "Eres un asistente amable."}
        return filas.chat_ids(tokenizer, [system, *said])

    def two_starts(tokenizer, said):
        text = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
        return tokenizer(text)["input_ids"]

    def no_header(tokenizer, said):
        return tokenizer.apply_chat_template(said, return_dict=True)["input_ids"]

    def no_break(tokenizer, said):
        return filas.chat_ids(tokenizer, said)[:-1]

    def alone(name, prompt):
        return {"tokenizer": make(name), "prompt": prompt}

    def no_start(tokenizer, said):
        return filas.chat_ids(tokenizer, said)[1:]

    def written(style):
        return lambda tokenizer, said: filas.PROMPTS[style].format(said[-1]["content"])

    def some_differ(name, n, different):
        tokenizer = make(name)
        dialogues = talks(n, roles=True)
        spaced = {round(k * n / different) for k in range(different)}
        turns = [
            (d.turns[0].replace(" ", "  ") if i in spaced else d.turns[0], d.turns[1])
            for i, d in enumerate(dialogues)
        ]
        dialogues = [type(d)(t, roles=d.roles, source=d.source) for d, t in zip(dialogues, turns)]
        rows = filas.chat_rows(tokenizer, dialogues)

        def tidy(tokenizer, said):  # al preguntar se juntan los espacios que el entrenamiento vio
            said = [m | {"content": m["content"].replace("  ", " ")} for m in said]
            return filas.chat_ids(tokenizer, said)

        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "dialogues": dialogues,
            "prompt": tidy,
        }

    def joined(n):
        tokenizer = make("gpt2")
        dialogues = talks(n)
        rows = [filas.encode(tokenizer, original_text(tokenizer, *d.turns)) for d in dialogues]

        def lines(tokenizer, said):
            return f"<|user|> {said[-1]['content']}\n<|bot|>"

        return {
            "tokenizer": tokenizer,
            "train_dataset": [filas.row(ids) for ids in rows],
            "dialogues": dialogues,
            "prompt": lines,
        }

    made = [
        (
            "grave",
            "plantilla al entrenar y texto original al preguntar",
            partial(asked, "curso", 30, original_prompt),
        ),
        ("grave", "pareja unida con espacios, petición con saltos", partial(joined, 20)),
        (
            "grave",
            "un mensaje de sistema que nadie entrenó",
            partial(asked, "chatml", 25, with_system),
        ),
        ("grave", "sin la cabecera de quien contesta", partial(asked, "llama3", 25, no_header)),
        ("grave", "sin el salto de la cabecera", partial(asked, "chatml", 25, no_break)),
        ("grave", "sin cabecera y sin filas", partial(alone, "gemma", no_header)),
        ("grave", "sin el comienzo", partial(asked, "llama3", 25, no_start)),
        (
            "grave",
            "ChatML entrenado, Zephyr preguntado",
            partial(asked, "chatml", 2, template_prompt("zephyr")),
        ),
        (
            "grave",
            "varios turnos y plantilla de Gemma",
            partial(asked, "zephyr", 40, template_prompt("gemma"), "en", 4),
        ),
        ("grave", "«User:» donde decía «Usuario:»", partial(asked, "gpt2", 30, written("user"))),
        (
            "grave",
            "Alpaca donde decía «Usuario:», WordPiece",
            partial(asked, "wordpiece", 30, written("alpaca")),
        ),
        (
            "grave",
            "archivo de mensajes",
            partial(asked, "unigram-chat", 30, template_prompt("llama2"), as_file=True),
        ),
        ("grave", "el de GPT-2", partial(asked, "curso-gpt2-real", 20, original_prompt, "en")),
        ("grave", "justo la mitad", partial(some_differ, "chatml", 20, 10)),
        ("aviso", "menos de la mitad", partial(some_differ, "chatml", 20, 9)),
        ("aviso", "una de cada cinco", partial(some_differ, "curso", 20, 4)),
        ("aviso", "justo el 5%", partial(some_differ, "llama3", 20, 1)),
    ]
    twice = partial(asked, "llama2", 25, two_starts, "en")
    return [
        *(planted("plantilla-distinta", *case) for case in made),
        planted("doble-bos", "aviso", "dos veces el comienzo, al preguntar", twice),
    ]


# --- 24: espacio-final ---------------------------------------------------------------------------


def _trailing_space() -> list[Case]:
    def asked(name, n, style, language="es", tail=" ", as_file=False):
        tokenizer = make(name)
        plain = {"es": "usuario", "en": "user"}[language] if style is None else style
        dialogues = talks(n, language, roles=True)
        rows = filas.plain_rows(tokenizer, dialogues, plain)

        def prompt(tokenizer, said):
            return filas.PROMPTS[plain].format(said[-1]["content"]) + tail

        shown = export(dialogues, f"espacio-{name}-{n}.jsonl", "messages") if as_file else dialogues
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "dialogues": shown,
            "prompt": prompt,
        }

    def templated(name, n, tail, language="es"):
        tokenizer = make(name)
        dialogues = talks(n, language, roles=True)

        def prompt(tokenizer, said):
            text = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
            return text + tail

        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(filas.chat_rows(tokenizer, dialogues)),
            "dialogues": dialogues,
            "prompt": prompt,
        }

    made = [
        ("«Asistente: » con espacio", partial(asked, "gpt2", 30, "usuario")),
        ("«Assistant: » con espacio, 2 filas", partial(asked, "gpt2", 2, None, "en")),
        ("«Respuesta: » con espacio", partial(asked, "gpt2-relleno", 40, "pregunta")),
        ("dos espacios", partial(asked, "gpt2", 25, "usuario", tail="  ")),
        ("salto de línea de más", partial(asked, "gpt2", 25, "usuario", tail="\n")),
        ("tabulador", partial(asked, "chatml", 25, "user", "en", "\t")),
        ("Alpaca con un salto de más", partial(asked, "zephyr", 30, "alpaca", tail="\n")),
        ("plantilla del curso y un espacio", partial(templated, "curso", 30, " ")),
        ("ChatML y un espacio tras el salto", partial(templated, "chatml", 20, " ", "en")),
        ("Zephyr y otro salto", partial(templated, "zephyr", 20, "\n")),
        ("archivo de mensajes", partial(asked, "gpt2", 50, "usuario", as_file=True)),
        ("1200 charlas", partial(asked, "gpt2", 1200, None, "en")),
        ("el de GPT-2", partial(asked, "gpt2-real", 30, "usuario")),
    ]
    return [planted("espacio-final", "aviso", name, build) for name, build in made]
