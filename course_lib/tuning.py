"""La receta de la lección 07: un ajuste que enseña una tarea sin borrar lo demás.

Es la contraparte de `original`: las mismas piezas de transformers, con las etiquetas, los datos y
la medida en su sitio.
"""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course_lib.dialogues import to_pairs
from course_lib.encoding import (
    BOT,
    USER,
    Encoded,
    collate,
    encode_conversation,
    pair_messages,
    prepare_for_chat,
)
from course_lib.task import (
    encode_text,
    reading_texts,
    replay_texts,
    split_countries,
    task_conversations,
)
from course_lib.tracks import Track
from course_lib.training import Run, fine_tune

SEED = 7
TALK_PAIRS = 300
REPLAY_TEXTS = 3200
LORA_RANK = 32
FULL_RATE, LORA_RATE = 3e-4, 3e-3


def chat_examples(
    track: Track,
    tokenizer,
    talk: int = TALK_PAIRS,
    replay: int = REPLAY_TEXTS,
    seed: int = SEED,
) -> tuple[list[Encoded], list[Encoded]]:
    """Los ejemplos de ajustar y los apartados, ya codificados; los primeros, barajados.

    Las conversaciones van dos veces y el repaso, que no se acaba, solo una. Tres octavos de él
    son lecturas, además de las que le tocan: es lo que antes se olvida.

    Los apartados son preguntas sobre cinco países que ni se ajustan ni puntúan. Solo la tarea: con
    su pérdida se decide cuándo parar, y la de las charlas, que sube y baja a saltos, la taparía.

    Args:
        tokenizer: preparado con `prepare_for_chat`.
        talk: parejas de charla corriente.
        replay: textos de repaso; 0 para no repasar.
    """
    countries, _ = split_countries()
    pairs = to_pairs(track.load_dialogues("train"))[:talk]
    conversations = [pair_messages(pair.user, pair.reply) for pair in pairs]
    conversations += task_conversations(countries[:-5], seed=seed)
    train = [encode_conversation(tokenizer, messages) for messages in 2 * conversations]
    reading = 3 * replay // 8
    texts = replay_texts(replay - reading, seed) + reading_texts(reading, seed)
    train += [encode_text(tokenizer, text) for text in texts]
    random.Random(seed).shuffle(train)
    held_out = task_conversations(countries[-5:], seed=seed)
    return train, [encode_conversation(tokenizer, messages) for messages in held_out]


def chat_arguments(folder: Path, rate: float = FULL_RATE, seed: int = SEED):
    """Los `TrainingArguments` de la receta: se mide mientras se entrena y se guarda lo mejor."""
    import torch
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        learning_rate=rate,
        warmup_steps=20,
        weight_decay=0.01,
        train_sampling_strategy="group_by_length",
        eval_strategy="steps",
        eval_steps=60,
        logging_steps=20,
        save_strategy="steps",
        save_steps=60,
        save_total_limit=2,
        load_best_model_at_end=True,
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        seed=seed,
    )


def load_for_chat(track: Track):
    """El modelo y el tokenizador de la ruta, con los marcadores de chat como tokens propios."""
    model, tokenizer = track.load_model(), track.load_tokenizer()
    return model, prepare_for_chat(tokenizer, model)


def with_lora(model, tokenizer, rank: int = LORA_RANK, seed: int = SEED):
    """El modelo con adaptadores LoRA en todas sus proyecciones, y nada más que entrenar.

    Los marcadores son tokens nuevos, así que sus dos filas de la tabla de *embeddings* también se
    entrenan: si no, el modelo nunca sabría qué significan.

    Args:
        rank: el rango `r` de las dos matrices finas de cada adaptador (Hu et al., 2021,
            arXiv:2106.09685).
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    set_seed(seed)  # los adaptadores nacen al azar
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True,  # GPT-2 guarda sus matrices traspuestas (Conv1D)
        trainable_token_indices=tokenizer.convert_tokens_to_ids([USER, BOT]),
        task_type="CAUSAL_LM",
    )
    with quiet_peft():
        return get_peft_model(model, config)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Calla el único aviso que no es cosa nuestra: peft 0.21 consulta un nombre que transformers
    5.23 está retirando."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        yield


def tune_for_chat(
    track: Track,
    model,
    tokenizer,
    folder: Path,
    replay: int = REPLAY_TEXTS,
    seed: int = SEED,
) -> Run:
    """La receta entera, con un modelo de `load_for_chat` o de `with_lora`; lo deja en `folder`."""
    from datasets import Dataset
    from transformers import EarlyStoppingCallback

    train, held_out = chat_examples(track, tokenizer, replay=replay, seed=seed)
    lora = hasattr(model, "peft_config")
    with warnings.catch_warnings():
        # En los puntos de control peft guarda además la tabla de *embeddings*, y lo avisa.
        warnings.filterwarnings("ignore", ".*save_embedding_layers.*", UserWarning)
        run = fine_tune(
            model,
            chat_arguments(folder, LORA_RATE if lora else FULL_RATE, seed),
            Dataset.from_list([vars(e) for e in train]),
            lambda rows: collate(rows, tokenizer.pad_token_id),
            eval_dataset=Dataset.from_list([vars(e) for e in held_out]),
            callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
        )
    save_tuned(run.model.eval(), folder)
    return run


def save_tuned(model, folder: Path) -> None:
    """Guarda un modelo ajustado; de uno con LoRA, solo el adaptador y las filas de los marcadores.

    Con `prepare_for_chat` los tokens nuevos nacen siempre iguales, así que no hace falta llevarse
    la tabla entera de *embeddings*.
    """
    options = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(folder, **options)


def costs(run: Run, folder: Path) -> dict:
    """Lo que costó un ajuste guardado en `folder`: segundos, pesos entrenados y MB en disco."""
    weights = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return {"segundos": run.seconds, "pesos": weights, "megas": size / 1e6}
