"""Controles limpios hechos con TRL."""

from functools import partial

from tests.banco import modelos
from tests.banco.caso import Case, control
from tests.banco.controles_datos import group_messages
from tests.banco.textos import stories, talks
from tests.banco.tokenizadores import make


def cases() -> list[Case]:
    """Los controles de TRL."""
    made = [*_trl()]
    return [control(name, build) for name, build in made]


def _trl():
    def sft(name, records, build=modelos.gpt2, **settings):
        tokenizer = make(name)
        made = modelos.sft_trainer(build(len(tokenizer)), records, tokenizer, **settings)
        return {"trainer": made}

    def pairs(n, language):
        return [{"prompt": d.turns[0] + "\n", "completion": d.turns[1]} for d in talks(n, language)]

    def said(n, language):
        rows = group_messages(n, language)
        return [{"prompt": r["messages"][:1], "completion": r["messages"][1:]} for r in rows]

    def text(n):
        return [{"text": s} for s in stories(n)]

    def with_lora():
        from peft import LoraConfig

        config = LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True)
        return sft(
            "chatml",
            group_messages(16),
            assistant_only_loss=True,
            peft_config=config,
            learning_rate=2e-4,
        )

    only = {"assistant_only_loss": True}
    packing = {"packing": True, "max_length": 200}
    return [
        ("TRL: mensajes, solo el asistente", partial(sft, "chatml", group_messages(24), **only)),
        (
            "TRL: varios turnos, Llama",
            partial(sft, "llama3", group_messages(24, "en", 6), modelos.llama, **only),
        ),
        ("TRL: petición y respuesta en texto", partial(sft, "gpt2-relleno", pairs(24, "es"))),
        ("TRL: petición y respuesta en mensajes", partial(sft, "zephyr", said(24, "en"))),
        (
            "TRL: petición y respuesta, cuenta todo",
            partial(sft, "unigram", pairs(24, "en"), completion_only_loss=False),
        ),
        ("TRL: texto corrido", partial(sft, "gpt2-relleno", text(20))),
        (
            "TRL: texto corrido, «wrapped»",
            partial(sft, "gpt2-relleno", text(30), packing_strategy="wrapped", **packing),
        ),
        (
            "TRL: texto corrido, «bfd»",
            partial(sft, "unigram", text(30), packing=True, max_length=512),
        ),
        ("TRL: mensajes, «bfd»", partial(sft, "chatml", group_messages(40), **only, **packing)),
        (
            "TRL: sin relleno (padding_free)",
            partial(sft, "llama3", group_messages(24), max_length=None, padding_free=True, **only),
        ),
        ("TRL: LoRA con tasa de LoRA", with_lora),
    ]
