"""Controles limpios de modelos y recetas: Trainer, TRL y LoRA."""

from functools import partial

from tests.banco import filas, modelos
from tests.banco.caso import Case, control, scratch
from tests.banco.controles_datos import everything
from tests.banco.fallos_entrenar import held_out, ready
from tests.banco.fallos_generacion import batch, prompts
from tests.banco.fallos_ids import CHATML, COURSE, grown
from tests.banco.fallos_lora import flat_log, given
from tests.banco.fallos_precision import wrapped
from tests.banco.fallos_registro import falling, run_log
from tests.banco.textos import talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los controles de modelos y recetas."""
    made = [*_trainers(), *_lora()]
    return [control(name, build) for name, build in made]


def _trainers():
    def plain(name, build, language="es", collator=None, **settings):
        tokenizer, data, by_length = ready(name, 20, language)
        model = build(len(tokenizer))
        chosen = collator(tokenizer) if collator else by_length
        return {"trainer": modelos.trainer(model, data, chosen, tokenizer, **settings)}

    def own_model(shape, **settings):
        tokenizer, data, collator = ready()
        model = wrapped(shape, len(tokenizer))
        return {"trainer": modelos.trainer(model, data, collator, tokenizer, **settings)}

    def big_table():
        made = everything("curso", 20)
        return made | {"model": modelos.gpt2(640)}  # la tabla, redondeada hacia arriba

    def trained(build, **settings):
        """Entrenado de verdad, pocos pasos, con evaluación y tasa sana."""
        tokenizer, data, collator = ready(n=24)
        made = modelos.trainer(
            build(len(tokenizer)),
            data,
            collator,
            tokenizer,
            max_steps=30,
            logging_steps=5,
            **settings,
        )
        modelos.train(made)
        return {"trainer": made}

    return [
        ("Trainer con ChatML y GPT-2", partial(plain, "chatml", modelos.gpt2)),
        (
            "Trainer con Llama, por épocas",
            partial(plain, "llama3", modelos.llama, "en", eval_strategy="epoch"),
        ),
        (
            "Trainer con DataCollatorForSeq2Seq",
            partial(plain, "zephyr", modelos.gpt2, "en", filas.seq2seq),
        ),
        (
            "Trainer con acumulación, GPT-2",
            partial(plain, "curso", modelos.gpt2, gradient_accumulation_steps=8),
        ),
        (
            "Trainer con acumulación, Llama",
            partial(plain, "curso", modelos.llama, gradient_accumulation_steps=4),
        ),
        ("modelo propio sin acumulación", partial(own_model, "cerrado")),
        (
            "modelo propio abierto, con acumulación",
            partial(own_model, "abierto", gradient_accumulation_steps=4),
        ),
        (
            "modelo propio que cuenta, con acumulación",
            partial(own_model, "cuenta", gradient_accumulation_steps=4),
        ),
        ("tabla más grande que el vocabulario", big_table),
        ("GPT-2 entrenado de verdad", partial(trained, modelos.gpt2, learning_rate=1e-3)),
        (
            "Llama entrenado de verdad, con calentamiento",
            partial(trained, modelos.llama, learning_rate=3e-3, warmup_steps=5),
        ),
    ]


def _lora():
    def tuned(build, rate=2e-4, trainer=False, moved=False, steps=0, settings=None, **config):
        model = modelos.lora(build(600, config.pop("layers", 2)), **config)
        if moved:
            modelos.move_lora(model)
        tokenizer, data, collator = ready("chatml")
        args = modelos.arguments(learning_rate=rate, **(settings or {}))
        if trainer:
            return {"trainer": modelos.trainer(model, data, collator, tokenizer, args)}
        log = {"log": run_log(falling(steps, 4, 2), rate=rate)} if steps else {}
        return {
            "model": model,
            "args": args,
            "tokenizer": tokenizer,
            "train_dataset": data,
            "eval_dataset": held_out("chatml"),
        } | log

    def trained():
        tokenizer, data, collator = ready("llama3", 16)
        made = modelos.trainer(
            modelos.lora(modelos.llama(len(tokenizer))),
            data,
            collator,
            tokenizer,
            max_steps=8,
            logging_steps=2,
            learning_rate=1e-3,
            gradient_checkpointing=True,
        )
        modelos.train(made)
        return {"trainer": made}

    def one_moved():
        model = modelos.lora(modelos.gpt2(603, 3))
        return given(modelos.move_lora(model, "h.1.attn.c_attn.lora_B"), log=flat_log(20))

    def new_tokens(base, added, template, how):
        tokenizer, model = grown(base, added, template)
        ids = tokenizer.convert_tokens_to_ids(added)
        config = (
            {"trainable_token_indices": ids} if how == "filas" else {"modules_to_save": ["wte"]}
        )
        model = modelos.lora(model, **config)
        rows = filas.dataset(filas.chat_rows(tokenizer, talks(20)))
        return {"tokenizer": tokenizer, "train_dataset": rows, "model": model}

    def new_padding():
        tokenizer = make("gpt2")
        model = modelos.gpt2(len(tokenizer))
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})  # nunca se predice ni se atiende
        model.resize_token_embeddings(len(tokenizer))
        rows = filas.plain_rows(tokenizer, talks(20))
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "data_collator": filas.by_length(tokenizer.pad_token_id),
            "model": modelos.lora(model),
        }

    def like_qwen():
        """Los marcadores son añadidos, tras el vocabulario, y sus filas ya se entrenaron."""
        tokenizer, data, _ = ready("curso", 20)
        model = modelos.lora(modelos.llama(640))  # filas distintas entre sí, y tabla redondeada
        return {"tokenizer": tokenizer, "train_dataset": data, "model": model}

    def loaded():
        from peft import PeftModel

        folder = scratch() / "adaptador-limpio"
        modelos.move_lora(modelos.lora(modelos.gpt2(603))).save_pretrained(folder)
        tokenizer = make("curso")
        model = PeftModel.from_pretrained(
            modelos.gpt2(603), folder
        )  # para generar, no para entrenar
        call = batch(prompts(tokenizer, 4), tokenizer.pad_token_id) | {"max_new_tokens": 8}
        return {"model": model, "tokenizer": tokenizer, "generation": call}

    def half_base():
        model = modelos.lora(modelos.llama(603).half())  # la base en fp16; LoRA, en fp32
        return given(model)

    checkpoints = {"gradient_checkpointing": True}
    gpt2, llama = modelos.gpt2, modelos.llama
    return [
        ("LoRA en GPT-2", partial(tuned, gpt2)),
        ("LoRA en todo Llama, tasa 1e-4 justa", partial(tuned, llama, 1e-4, targets="all-linear")),
        (
            "LoRA en la mitad justa de los bloques",
            partial(tuned, gpt2, layers=4, layers_to_transform=[0, 1]),
        ),
        ("LoRA solo en la red densa", partial(tuned, gpt2, 5e-4, targets=["c_fc", "c_proj"])),
        (
            "Trainer con LoRA y puntos de control",
            partial(tuned, gpt2, trainer=True, settings=checkpoints),
        ),
        ("LoRA movida tras cien anotaciones", partial(tuned, llama, moved=True, steps=100)),
        ("LoRA con un solo bloque movido", one_moved),
        ("LoRA entrenada de verdad", trained),
        ("todos los pesos, tasa 5e-5", lambda: everything("curso", 20)),
        (
            "marcadores nuevos, filas entrenables",
            partial(new_tokens, "gpt2", COURSE, "curso", "filas"),
        ),
        (
            "marcadores nuevos, tabla guardada",
            partial(new_tokens, "unigram", CHATML, "chatml", "tabla"),
        ),
        ("relleno nuevo con LoRA", new_padding),
        ("chat ya preentrenado, marcadores añadidos (Qwen)", like_qwen),
        (
            "chat ya preentrenado con LoRA",
            lambda: (
                everything("chatml", 20, model=False)
                | {
                    "model": modelos.lora(modelos.gpt2(600)),
                    "args": modelos.arguments(learning_rate=2e-4),
                }
            ),
        ),
        ("adaptador cargado para generar", loaded),
        ("base en fp16 y LoRA en fp32, sin fp16", half_base),
    ]
