"""Fallos de la receta: falta la evaluación, o la tasa es la de todos los pesos y no la de LoRA."""

from functools import partial

from tests.banco import filas, modelos
from tests.banco.caso import Case, planted
from tests.banco.fallos_etiquetas import rows_of
from tests.banco.textos import talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los casos de estas dos comprobaciones."""
    return [*_no_evaluation(), *_low_rate()]


def ready(name: str = "curso", n: int = 12, language: str = "es"):
    """Tokenizador, filas y colador correctos, para lo que no va de datos."""
    tokenizer = make(name)
    data = filas.dataset(rows_of(tokenizer, n, language))
    return tokenizer, data, filas.by_length(tokenizer.pad_token_id)


def held_out(name: str = "curso"):
    """Filas de evaluación que no están entre las de `ready`."""
    tokenizer = make(name)
    return filas.dataset(filas.chat_rows(tokenizer, talks(4, start=9000)))


# --- 14: sin-evaluacion --------------------------------------------------------------------------


def _no_evaluation() -> list[Case]:
    def alone(kind=modelos.arguments, eval_rows=None, **settings):
        tokenizer, data, collator = ready()
        extra = {} if eval_rows is None else {"eval_dataset": held_out().select(range(eval_rows))}
        return {
            "tokenizer": tokenizer,
            "train_dataset": data,
            "data_collator": collator,
            "args": kind(**settings),
        } | extra

    def in_trainer(name, language, aside=0, **settings):
        tokenizer, data, collator = ready(name, 12, language)
        model = modelos.gpt2(len(tokenizer))
        trained = modelos.trainer(model, data, collator, tokenizer, held_out=aside, **settings)
        return {"trainer": trained}

    def course():
        from course_lib.original import original_arguments
        from course_lib.tracks import get_track
        from tests.banco.caso import scratch

        tokenizer, data, _ = ready()
        args = original_arguments(get_track("mini"), scratch() / "original")
        return {"tokenizer": tokenizer, "train_dataset": data, "args": args}

    no = {"eval_strategy": "no"}
    made = [
        ("sin estrategia y sin datos", partial(alone, **no)),
        ("datos apartados, pero sin usarlos", partial(alone, eval_rows=4, **no)),
        ("estrategia por pasos y ningún dato", partial(alone)),
        ("estrategia por épocas y ningún dato", partial(alone, eval_strategy="epoch")),
        ("datos apartados vacíos", partial(alone, eval_rows=0)),
        ("SFTConfig como viene", partial(alone, modelos.sft_arguments, **no)),
        ("SFTConfig por pasos y ningún dato", partial(alone, modelos.sft_arguments)),
        ("Trainer sin datos apartados", partial(in_trainer, "curso", "es", **no)),
        ("Trainer con datos que no usa", partial(in_trainer, "chatml", "en", 4, **no)),
        ("Trainer con Llama 3", partial(in_trainer, "llama3", "en", num_train_epochs=9, **no)),
        ("la receta original del curso", course),
    ]
    return [planted("sin-evaluacion", "aviso", name, build) for name, build in made]


# --- 17: tasa-lora-baja --------------------------------------------------------------------------


def _low_rate() -> list[Case]:
    def tuned(rate, build=modelos.gpt2, kind=modelos.arguments, trainer=False, **config):
        tokenizer, data, collator = ready()
        model = modelos.lora(build(len(tokenizer)), **config)
        settings = {} if rate is None else {"learning_rate": rate}
        args = kind(**settings)
        if trainer:
            made = modelos.trainer(model, data, collator, tokenizer, args)
            return {"trainer": made}
        return {"model": model, "args": args, "eval_dataset": held_out()}

    def in_sft():
        from peft import LoraConfig

        from tests.banco.textos import messages, talks

        tokenizer = make("chatml")
        records = [{"messages": messages(d)} for d in talks(12)]
        config = LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True)
        settings = {"assistant_only_loss": True, "learning_rate": 5e-5}
        return {
            "trainer": modelos.sft_trainer(
                modelos.gpt2(), records, tokenizer, peft_config=config, **settings
            )
        }

    made = [
        ("la tasa de fábrica, GPT-2", partial(tuned, None)),
        ("la tasa de fábrica de SFTConfig", partial(tuned, None, kind=modelos.sft_arguments)),
        ("5e-5, Llama", partial(tuned, 5e-5, modelos.llama)),
        ("2e-5, todas las matrices", partial(tuned, 2e-5, modelos.llama, targets="all-linear")),
        ("1e-6, rango 64", partial(tuned, 1e-6, r=64, lora_alpha=128)),
        ("1e-5, DoRA", partial(tuned, 1e-5, modelos.llama, use_dora=True)),
        ("3e-5, rsLoRA", partial(tuned, 3e-5, use_rslora=True)),
        ("apenas por debajo: 9,9e-5", partial(tuned, 9.9e-5)),
        ("apenas por debajo, Llama", partial(tuned, 9.5e-5, modelos.llama)),
        ("Trainer, 5e-5", partial(tuned, 5e-5, trainer=True)),
        ("SFTTrainer con peft_config, 5e-5", in_sft),
    ]
    return [planted("tasa-lora-baja", "aviso", name, build) for name, build in made]
