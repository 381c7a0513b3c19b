"""Controles limpios de lo que se ve después: registros, generación y medidas."""

import math
from functools import partial

from tests.banco import modelos
from tests.banco.caso import Case, control
from tests.banco.fallos_entrenar import held_out
from tests.banco.fallos_generacion import batch, prompts
from tests.banco.fallos_medidas import measured, mixture
from tests.banco.fallos_registro import curve, falling, run_log
from tests.banco.textos import talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los controles de registros, generación y medidas."""
    made = [*_logs(), *_generation(), *_results()]
    return [control(name, build) for name, build in made]


def _logs():
    def log(losses, norms=None):
        return {"log": run_log(losses, norms)}

    def stopped_early():
        args = modelos.arguments(
            load_best_model_at_end=True,
            metric_for_best_model="eval_loss",
            save_strategy="steps",
            eval_steps=10,
            save_steps=10,
        )
        return {"log": curve(9, 1.12), "args": args, "eval_dataset": held_out()}

    def by_length():
        # La pérdida de la lección 07, medida el 22-11-2026: con los lotes por longitudes va en
        # dientes de sierra, y no porque la tasa sea alta.
        teeth = [1.912, 1.489, 0.914, 1.943, 0.287, 1.411, 0.702, 0.609, 1.357, 0.156, 1.25, 0.167]
        teeth += [1.331, 0.579, 0.507, 1.326, 0.136, 1.161, 0.459, 0.532, 1.155, 0.088, 1.148]
        args = modelos.arguments(train_sampling_strategy="group_by_length")
        return {"log": run_log(teeth), "args": args, "eval_dataset": held_out()}

    spike = [2.0] * 29
    return [
        ("evaluación que baja siempre", lambda: {"log": curve(9, 1.0)}),
        ("evaluación que sube un 1,5%", lambda: {"log": curve(12, 1.015)}),
        ("una sola evaluación", lambda: {"log": curve(1, 1.0)}),
        ("parada temprana y vuelta al mejor", stopped_early),
        ("calentamiento: de 11 a 3", partial(log, falling(40, 11, 3))),
        ("pérdida ruidosa", partial(log, [2.5 + 0.5 * math.sin(k * k) for k in range(60)])),
        ("lotes por longitudes, en dientes de sierra", by_length),
        ("un pico por debajo del doble", partial(log, [*[1.0] * 20, 1.9, *[1.0] * 20])),
        ("del simple al doble, pero de 0,2", partial(log, [*[0.2] * 20, 0.45, *[0.2] * 20])),
        ("un solo gradiente de 150", partial(log, falling(30, 4, 2), [150.0, *spike])),
        ("gradientes de 99", partial(log, falling(20, 4, 2), [99.0] * 20)),
    ]


def _generation():
    def left(name, n, kind="torch", language="es", same=False, **more):
        tokenizer = make(name)
        if same:
            tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side = "left"
        call = batch(prompts(tokenizer, n, language), tokenizer.pad_token_id, True, kind)
        return {"tokenizer": tokenizer, "generation": call | {"max_new_tokens": 24} | more}

    def one(name):
        tokenizer = make(name)
        call = batch(prompts(tokenizer, 1), 0)
        return {"tokenizer": tokenizer, "generation": call | {"max_new_tokens": 24}}

    def ends_in_end(n):
        tokenizer = make("gpt2")  # como DialoGPT: la petición acaba en el fin, que es el relleno
        tokenizer.pad_token = tokenizer.eos_token
        ids = [[*r, tokenizer.eos_token_id] for r in prompts(tokenizer, n)]
        call = batch(ids, tokenizer.pad_token_id) | {"max_new_tokens": 24}
        return {"tokenizer": tokenizer, "generation": call}

    def configured(**settings):
        from transformers import GenerationConfig

        made = left("curso", 4)
        del made["generation"]["max_new_tokens"]
        made["generation"]["generation_config"] = GenerationConfig(**settings)
        return made

    def library(name):
        tokenizer = make(name)
        tokenizer.padding_side = "left"
        said = [" ".join(d.turns[: 1 + i % 2]) for i, d in enumerate(talks(6, "en"))]
        call = tokenizer(said, padding=True, return_tensors="pt")
        return {"tokenizer": tokenizer, "generation": {**call, "max_new_tokens": 16}}

    def equal_lengths():
        tokenizer = make("curso")
        ids = [prompts(tokenizer, 1)[0]] * 4
        return {"tokenizer": tokenizer, "generation": batch(ids, 0) | {"max_new_tokens": 8}}

    return [
        ("lote a la izquierda, marcadores del curso", partial(left, "curso", 8)),
        ("lote a la izquierda, relleno=fin, NumPy", partial(left, "gpt2", 5, "numpy", same=True)),
        ("lote a la izquierda, listas, inglés", partial(left, "llama3", 12, "listas", "en")),
        ("max_length junto a max_new_tokens", partial(left, "chatml", 3, max_length=20)),
        ("una petición con su máscara", partial(one, "llama2")),
        ("peticiones que acaban en el fin, con máscara", partial(ends_in_end, 4)),
        ("max_new_tokens en generation_config", partial(configured, max_new_tokens=20)),
        ("tokenizador con padding_side a la izquierda", partial(library, "unigram")),
        ("lote sin relleno", equal_lengths),
    ]


def _results():
    def scores(before, after, n, kind=measured):
        return {
            "before": {"hechos": kind(before, n), "lectura": kind(before, n)},
            "after": {"hechos": kind(after, n), "lectura": kind(before, n)},
        }

    def raw(hits, n):
        return (hits, n)

    def capitals():
        starts = ("París", "Lima", "Es Oslo", "Creo que Roma", "Berna", "La capital es Quito")
        return [f"{starts[i % 6]}, número {i}." for i in range(60)]

    return [
        ("no cambia", partial(scores, 190, 190, 200)),
        ("mejora", partial(scores, 100, 160, 200, raw)),
        ("baja 2,9 puntos con muchas preguntas", partial(scores, 9000, 8710, 10000)),
        ("baja diez puntos con veinte preguntas", partial(scores, 18, 16, 20)),
        ("baja dos puntos, en pares", partial(scores, 9000, 8800, 10000, raw)),
        ("respuestas todas distintas", lambda: {"answers": mixture(40, 0, "")}),
        ("veinte respuestas justas, inglés", lambda: {"answers": mixture(20, 0, "", "en")}),
        ("mil respuestas distintas", lambda: {"answers": mixture(1000, 0, "")}),
        ("respuestas sobre capitales", lambda: {"answers": capitals()}),
        ("48% la misma, el resto variadas", lambda: {"answers": mixture(100, 48, "No lo sé.")}),
        (
            "31 distintas de cien",
            lambda: {"answers": [f"{k % 31} es la respuesta" for k in range(100)]},
        ),
    ]
