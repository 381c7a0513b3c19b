"""Controles limpios de charlas: empaquetados con fronteras, peticiones iguales y repartos."""

from functools import partial

from course_lib.dialogues import Dialogue, read_dialogues
from tests.banco import filas
from tests.banco.caso import Case, control, shared
from tests.banco.controles_datos import everything
from tests.banco.fallos_datos import clean_split
from tests.banco.fallos_etiquetas import rows_of
from tests.banco.fallos_longitud import packed
from tests.banco.textos import talks
from tests.banco.tokenizadores import TEMPLATES, make


def cases() -> list[Case]:
    """Los controles de charlas."""
    made = [*_packs(), *_prompts(), *_splits()]
    return [control(name, build) for name, build in made]


def _packs():
    def flattening(name, language="es", **options):
        from transformers import DataCollatorWithFlattening

        tokenizer = make(name)
        rows = [
            {k: r[k] for k in ("input_ids", "labels")} for r in rows_of(tokenizer, 30, language)
        ]
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": DataCollatorWithFlattening(**options),
        }

    def with_positions(name, size, as_list=False):
        tokenizer = make(name)
        rows = rows_of(tokenizer, 40)
        for r in rows:
            r["position_ids"] = list(range(len(r["input_ids"])))
        bins = []
        for r in rows:
            if not bins or len(bins[-1]["input_ids"]) + len(r["input_ids"]) > size:
                bins.append({k: [] for k in r})
            for k in r:
                bins[-1][k] += r[k]
        return {
            "tokenizer": tokenizer,
            "train_dataset": bins if as_list else filas.dataset(bins),
        }

    def several_turns(name, language):
        tokenizer = make(name)  # varios turnos de una sola charla no son varios documentos
        rows = rows_of(tokenizer, 40, language, 6)
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}

    def wandering(name, told):
        """Una sola charla en que el usuario salta de un tema a otro: no es un empaquetado."""
        tokenizer = make(name)
        loose = talks(90, roles=True)
        dialogues = [
            Dialogue(sum((d.turns for d in loose[i : i + 3]), ()), roles=loose[i].roles * 3)
            for i in range(0, 90, 3)
        ]
        rows = filas.dataset(filas.chat_rows(tokenizer, dialogues))
        extra = {"dialogues": dialogues} if told else {}
        return {"tokenizer": tokenizer, "train_dataset": rows} | extra

    def block_mask():
        """Cuatro dimensiones: cada documento solo se ve a sí mismo."""
        import torch

        tokenizer = make("chatml")
        rows = packed(rows_of(tokenizer, 12), 10_000)
        lengths = [len(r["input_ids"]) for r in rows_of(tokenizer, 12)]

        def collate(some):
            blocks = [torch.ones(k, k).tril() for k in lengths]
            mask = torch.block_diag(*blocks)[None, None].bool()
            ids = {k: torch.tensor([r[k] for r in some]) for k in ("input_ids", "labels")}
            return ids | {"attention_mask": mask.expand(len(some), 1, -1, -1)}

        return {"tokenizer": tokenizer, "train_dataset": rows, "data_collator": collate}

    return [
        ("DataCollatorWithFlattening", partial(flattening, "chatml")),
        (
            "DataCollatorWithFlattening con seq_idx y sin posiciones",
            partial(flattening, "llama3", "en", return_position_ids=False, return_seq_idx=True),
        ),
        (
            "DataCollatorWithFlattening con fronteras para FlashAttention",
            partial(flattening, "zephyr", return_flash_attn_kwargs=True),
        ),
        ("empaquetado propio con posiciones", partial(with_positions, "curso", 256)),
        (
            "empaquetado propio con posiciones, en listas",
            partial(with_positions, "llama2", 300, True),
        ),
        ("máscara por bloques", block_mask),
        ("una charla que salta de tema, con las charlas", partial(wandering, "chatml", True)),
        ("una charla que salta de tema, solo las filas", partial(wandering, "curso", False)),
        ("seis turnos en una fila, Llama 2", partial(several_turns, "llama2", "en")),
        ("seis turnos en una fila, ChatML", partial(several_turns, "chatml", "es")),
    ]


def _prompts():
    def same_text(name, n, language="es"):
        """La petición es texto acabado en salto de línea, prefijo exacto de la fila."""
        made = everything(name, n, language, model=False)

        def prompt(tokenizer, said):
            return tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)

        return made | {"prompt": prompt}

    def one_in(n):
        made = everything("chatml", n, model=False)
        odd = made["dialogues"][n // 2].turns[0]

        def prompt(tokenizer, said):
            extra = [5] if said[-1]["content"] == odd else []
            return extra + filas.chat_ids(tokenizer, said)

        return made | {"prompt": prompt}

    def no_marks():
        tokenizer = make("gpt2")
        tokenizer.chat_template = TEMPLATES["llama2"].replace("{{ bos_token }}", "")
        return {"tokenizer": tokenizer, "dialogues": talks(20, roles=True)}

    return [
        ("petición en texto acabada en salto, ChatML", partial(same_text, "chatml", 40)),
        ("petición en texto, Zephyr, inglés", partial(same_text, "zephyr", 40, "en")),
        ("una petición distinta de cada 40", partial(one_in, 40)),
        ("[INST] no pretende ser un token", no_marks),
    ]


def _splits():
    def sample():
        path = shared("dailydialog", "train_1k.jsonl")
        dialogues = read_dialogues(path, report=lambda text: None)
        distinct = list({d.turns: d for d in dialogues}.values())
        return {"dialogues": distinct}

    def shared_thanks(n):
        """Cada charla de prueba acaba en «Gracias.», como muchas de entrenamiento."""
        train, test = (talks(n, turns=4), talks(n // 4, turns=4, start=n))
        polite = [
            [
                type(d)((*d.turns, "Gracias.", "De nada.")) if i % 3 == 0 else d
                for i, d in enumerate(s)
            ]
            for s in (train, test)
        ]
        return {"train_dialogues": polite[0], "test_dialogues": polite[1]}

    def one_copy(n):
        train, test = talks(4 * n, turns=4), talks(n, turns=4, start=4 * n)
        return {"train_dialogues": train, "test_dialogues": [*test[1:], train[0]]}

    return [
        ("reparto por charlas, español", partial(clean_split, "es", 200, False)),
        ("reparto por charlas, inglés, 3000", partial(clean_split, "en", 3000, False)),
        ("reparto por charlas y luego parejas", partial(clean_split, "es", 300, True)),
        ("reparto por charlas y luego parejas, inglés", partial(clean_split, "en", 80, True)),
        ("«Gracias.» en las dos partes", partial(shared_thanks, 400)),
        ("una copia entre cien (1%)", partial(one_copy, 100)),
        ("dos mil charlas distintas", lambda: {"dialogues": talks(2000, turns=4)}),
        ("charlas distintas en inglés", lambda: {"dialogues": talks(40, "en", 6, roles=True)}),
        ("DailyDialog sin repetidas", sample),
    ]
