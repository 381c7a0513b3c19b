"""Modelos de juguete, argumentos de entrenamiento y `Trainer` sin entrenar."""

import logging
import warnings
from collections.abc import Sequence

from tests.banco.caso import scratch


def gpt2(vocabulary: int = 600, layers: int = 2, **config):
    """Un GPT-2 diminuto con pesos al azar."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    settings = {"n_positions": 512, "n_embd": 16, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_layer=layers, **(settings | config)))


def llama(vocabulary: int = 600, layers: int = 2):
    """Un Llama diminuto, con la salida suelta de los *embeddings*."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    )


def lora(model, targets: Sequence[str] | str | None = None, **config):
    """Le pone LoRA a un modelo; por defecto, en las matrices de atención."""
    from peft import LoraConfig, get_peft_model

    is_gpt2 = hasattr(model, "transformer")
    settings = {
        "r": 4,
        "task_type": "CAUSAL_LM",
        "target_modules": targets or (["c_attn"] if is_gpt2 else ["q_proj", "v_proj"]),
        "fan_in_fan_out": is_gpt2,
    }
    cast = config.pop("autocast_adapter_dtype", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_config = LoraConfig(**(settings | config))
        return get_peft_model(model, peft_config, autocast_adapter_dtype=cast)


def move_lora(model, only: str = "lora_B"):
    """Deja LoRA como si hubiera aprendido algo: B ya no es cero."""
    import torch

    torch.manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if only in name:
                weight.normal_(0, 0.02)
    return model


def arguments(**settings):
    """`TrainingArguments` en CPU, con evaluación salvo que se diga otra cosa."""
    from transformers import TrainingArguments

    defaults = {"eval_strategy": "steps", "eval_steps": 10}
    return _quiet(TrainingArguments, defaults | settings)


def sft_arguments(**settings):
    """`SFTConfig` de TRL, igual."""
    from trl import SFTConfig

    defaults = {"eval_strategy": "steps", "eval_steps": 10, "bf16": False}
    return _quiet(SFTConfig, defaults | settings)


def trainer(
    model, rows, collator=None, tokenizer=None, args=None, eval_rows=None, held_out=4, **settings
):
    """Un `Trainer` construido y sin entrenar.

    Args:
        eval_rows: las filas de evaluación; si no se dan, se apartan las `held_out` últimas.
    """
    from transformers import Trainer

    if eval_rows is None and held_out:
        kept = len(rows) - held_out
        rows, eval_rows = rows.select(range(kept)), rows.select(range(kept, len(rows)))
    if args is None:
        args = arguments(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Trainer(
            model,
            args,
            train_dataset=rows,
            eval_dataset=eval_rows,
            data_collator=collator,
            processing_class=tokenizer,
        )


def sft_trainer(model, records, tokenizer, peft_config=None, **settings):
    """Un `SFTTrainer` de TRL construido y sin entrenar; los registros llevan texto o mensajes.

    Los cuatro últimos registros se apartan para evaluar.
    """
    from datasets import Dataset, disable_progress_bars, enable_progress_bars
    from trl import SFTTrainer

    disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return SFTTrainer(
                model,
                sft_arguments(**settings),
                train_dataset=Dataset.from_list(records[:-4]),
                eval_dataset=Dataset.from_list(records[-4:]),
                processing_class=tokenizer,
                peft_config=peft_config,
            )
        finally:
            enable_progress_bars()


def train(trainer) -> None:
    """Entrena de verdad (pocos pasos) y en silencio."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()


def quiet() -> None:
    """Calla los avisos de las bibliotecas: aquí se mide solo al auditor."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    for name in ("trl", "peft", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _quiet(kind, settings: dict):
    common = {
        "output_dir": str(scratch() / "salida"),
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**(common | settings))
