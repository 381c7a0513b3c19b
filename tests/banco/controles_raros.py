"""Controles limpios menos corrientes: formas de los datos y costumbres legítimas que despistan."""

from functools import partial

from course_lib.dialogues import Dialogue
from tests.banco import filas, modelos
from tests.banco.caso import Case, control
from tests.banco.controles_datos import everything
from tests.banco.fallos_entrenar import held_out
from tests.banco.fallos_etiquetas import rows_of
from tests.banco.fallos_generacion import batch, prompts
from tests.banco.fallos_medidas import measured
from tests.banco.fallos_registro import falling, run_log
from tests.banco.textos import messages, stories, talks
from tests.banco.tokenizadores import TEMPLATES, make


def cases() -> list[Case]:
    """Los controles raros."""
    return [control(name, build) for name, build in [*_habits(), *_after()]]


def _habits():
    """Costumbres legítimas."""

    def with_system(name, language):
        tokenizer = make(name)
        system = "Responde en una frase." if language == "es" else "Answer in one sentence."
        dialogues = [
            Dialogue((system, *d.turns), roles=("system", *d.roles))
            for d in talks(30, language, 4, roles=True)
        ]
        rows = []
        for d in dialogues:
            said = [{"role": r, "content": t} for r, t in zip(d.roles, d.turns)]
            out = tokenizer.apply_chat_template(
                said, return_dict=True, return_assistant_tokens_mask=True
            )
            pairs = zip(out["input_ids"], out["assistant_masks"])
            rows.append(filas.row(out["input_ids"], [t if c else -100 for t, c in pairs]))
        return {
            "dialogues": dialogues,
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "prompt": filas.chat_ids,
        }

    def no_marks(name):
        """La plantilla no señala la generación: las etiquetas salen de petición y respuesta."""
        made = everything(name, 30)
        template = TEMPLATES[name].replace("{% generation %}", "")
        made["tokenizer"].chat_template = template.replace("{% endgeneration %}", "")
        return made

    def padded_with_base_end():
        """Qwen base: el relleno es el fin, tapado por id; el turno acaba en otro token."""
        tokenizer = make("qwen")
        tokenizer.pad_token = tokenizer.eos_token
        pad = tokenizer.pad_token_id

        def collate(rows):
            made = filas.by_length(pad)(rows)
            made["labels"] = made["labels"].masked_fill(made["input_ids"] == pad, -100)
            return made

        rows = filas.dataset(rows_of(tokenizer, 30, "es", 4))
        return {"tokenizer": tokenizer, "train_dataset": rows, "data_collator": collate}

    def cut_on_the_left(n, cap):
        """Las charlas largas pierden el principio, nunca el final de la respuesta."""
        tokenizer = make("chatml")
        rows = rows_of(tokenizer, n, turns=6)
        rows = [{k: v[-cap:] for k, v in r.items()} for r in rows]
        args = modelos.sft_arguments(max_length=cap)
        return {
            "tokenizer": tokenizer,
            "train_dataset": filas.dataset(rows),
            "eval_dataset": held_out("chatml"),
            "args": args,
        }

    def last_reply_only():
        """Con varios turnos, solo cuenta la última respuesta."""
        tokenizer = make("zephyr")
        rows = rows_of(tokenizer, 30, "en", 6)
        for r in rows:
            last = max(i for i, t in enumerate(r["labels"]) if t == -100)
            r["labels"] = [-100] * (last + 1) + r["labels"][last + 1 :]
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}

    def short_replies():
        """«Sí» o «No», muchas veces, a preguntas todas distintas."""
        tokenizer = make("curso")
        dialogues = [
            Dialogue((d.turns[0], ("Sí.", "No.")[i % 2]), roles=d.roles)
            for i, d in enumerate(talks(200, roles=True))
        ]
        rows = filas.dataset(filas.chat_rows(tokenizer, dialogues))
        cut = 160
        return {
            "dialogues": dialogues,
            "tokenizer": tokenizer,
            "train_dataset": rows.select(range(cut)),
            "eval_dataset": rows.select(range(cut, 200)),
            "train_dialogues": dialogues[:cut],
            "test_dialogues": dialogues[cut:],
            "prompt": filas.chat_ids,
        }

    def code_marks():
        """El texto habla de HTML y de comparaciones: ángulos que no son marcadores."""
        tokenizer = make("gpt2")
        texts = [f"{s} Usa <b>negrita</b> si x < {i} y y > 2." for i, s in enumerate(stories(30))]
        rows = filas.text_rows(tokenizer, texts)
        return {"tokenizer": tokenizer, "train_dataset": filas.dataset(rows)}

    def prompt_tuning():
        from peft import PromptTuningConfig, get_peft_model

        config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
        model = get_peft_model(modelos.gpt2(), config)
        args = modelos.arguments(learning_rate=3e-2)
        return {"model": model, "args": args, "eval_dataset": held_out("chatml")}

    def lora_on_table():
        from tests.banco.fallos_ids import CHATML, grown

        tokenizer, model = grown("gpt2", CHATML, "chatml", modelos.llama)
        model = modelos.lora(
            model, ["q_proj", "v_proj"], modules_to_save=["embed_tokens", "lm_head"]
        )
        rows = filas.dataset(filas.chat_rows(tokenizer, talks(20)))
        args = modelos.arguments(learning_rate=1e-4)
        return {
            "tokenizer": tokenizer,
            "train_dataset": rows,
            "eval_dataset": filas.dataset(filas.chat_rows(tokenizer, talks(4, start=700))),
            "model": model,
            "args": args,
        }

    return [
        ("mensaje de sistema al entrenar y al preguntar", partial(with_system, "chatml", "es")),
        ("mensaje de sistema, Llama 3", partial(with_system, "llama3", "en")),
        ("plantilla sin marcas de generación, ChatML", partial(no_marks, "chatml")),
        ("plantilla sin marcas de generación, Llama 3", partial(no_marks, "llama3")),
        ("relleno=fin del modelo base, turnos con otro fin", padded_with_base_end),
        ("cortadas por la izquierda", partial(cut_on_the_left, 60, 100)),
        ("solo cuenta la última respuesta", last_reply_only),
        ("respuestas de sí o no", short_replies),
        ("ángulos que no son marcadores", code_marks),
        ("ajuste de petición (PromptTuning)", prompt_tuning),
        ("LoRA con las tablas guardadas", lora_on_table),
    ]


def _after():
    """Registros y medidas."""

    def only_some():
        return {
            "before": {"hechos": measured(180, 200), "lectura": measured(150, 200)},
            "after": {"hechos": measured(182, 200)},
        }

    def few_answers():
        return {"answers": ["Sí."] * 12}

    def noisy_end():
        return {"log": run_log([*falling(40, 5, 1), 1.3, 1.1, 1.4, 1.0])}

    def left_alone():
        tokenizer = make("llama3")
        ids = prompts(tokenizer, 3)
        call = batch(ids, tokenizer.pad_token_id) | {"max_new_tokens": 64, "do_sample": True}
        return {"tokenizer": tokenizer, "generation": call, "model": modelos.llama(len(tokenizer))}

    def asked_with_history():
        """Se pregunta también a media charla; las filas son charlas enteras."""
        made = everything("llama2", 40, "es", 6)
        first = messages(made["dialogues"][0])
        made["generation"] = batch([filas.chat_ids(made["tokenizer"], first[:3])], 0)
        made["generation"]["max_new_tokens"] = 16
        return made

    return [
        ("solo una materia medida después", only_some),
        ("doce respuestas iguales: pocas para juzgar", few_answers),
        ("final ruidoso", noisy_end),
        ("lote a la izquierda y muestreo, con modelo", left_alone),
        ("receta entera y petición a media charla", asked_with_history),
    ]
