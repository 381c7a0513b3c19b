"""La receta de la lección 07: un ajuste que enseña una tarea sin borrar lo demás.

Es la contraparte de `original`: las mismas piezas de transformers, con las etiquetas, los datos y
la medida en su sitio.
"""

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course_lib.dialogues import to_pairs
from course_lib.encoding import (
    Encoded,
    collate,
    encode_conversation,
    pair_messages,
    prepare_for_chat,
)
from course_lib.lora import new_token_rows, projections
from course_lib.task import (
    Messages,
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
BATCH = 16


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

    En una ruta recortada, de cada cosa (charlas, tarea, repaso y apartados) no pasa de su límite.

    Args:
        tokenizer: preparado con `prepare_for_chat`.
        talk: parejas de charla corriente.
        replay: textos de repaso; 0 para no repasar.
    """

    def tasks(countries) -> list[Messages]:
        asked = task_conversations(countries, seed=seed)
        return random.Random(seed).sample(asked, track.cut(len(asked))) if track.limit else asked

    countries, _ = split_countries(language=track.language)
    replay = track.cut(replay)
    pairs = to_pairs(track.load_dialogues("train"))[: track.cut(talk)]
    conversations = [pair_messages(pair.user, pair.reply) for pair in pairs]
    conversations += tasks(countries[:-5])
    train = [encode_conversation(tokenizer, messages) for messages in 2 * conversations]
    reading = 3 * replay // 8
    texts = replay_texts(replay - reading, seed, track.language)
    texts += reading_texts(reading, seed, track.language)
    train += [encode_text(tokenizer, text) for text in texts]
    random.Random(seed).shuffle(train)
    return train, [encode_conversation(tokenizer, messages) for messages in tasks(countries[-5:])]


def chat_arguments(track: Track, folder: Path, examples: int, lora: bool = False, seed: int = SEED):
    """Los `TrainingArguments` de la receta: se mide mientras se entrena y se guarda lo mejor.

    Args:
        examples: cuántos ejemplos hay; con pocos, se mide más a menudo.
        lora: si se ajusta con LoRA, que pide una tasa mayor.
    """
    from transformers import TrainingArguments

    every, measured = rhythm(examples)
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=64,
        learning_rate=track.lora_rate if lora else track.tuning_rate,
        warmup_steps=every,
        weight_decay=0.01,
        train_sampling_strategy="group_by_length",
        eval_strategy="steps",
        eval_steps=measured,
        logging_steps=every,
        save_strategy="steps",
        save_steps=measured,
        save_total_limit=2,
        load_best_model_at_end=True,
        seed=seed,
        **half_precision(),
    )


def rhythm(examples: int) -> tuple[int, int]:
    """Cada cuántos pasos se anota y cada cuántos se mide: 20 y 60, o menos si hay pocos.

    >>> rhythm(8000), rhythm(40), rhythm(10)
    ((20, 60), (1, 3), (1, 1))
    """
    steps = -(-examples // BATCH)
    every = min(20, max(1, steps // 12))
    return every, min(3 * every, steps)


def half_precision() -> dict[str, bool]:
    """Los 16 bits con que conviene entrenar aquí, como argumento de `TrainingArguments`.

    Sin GPU de NVIDIA, ninguno. A una T4 hay que preguntarle sin contar la emulación: torch dice que
    admite `bf16`, pero lo imita, y va más despacio que con `fp16`.
    """
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16": True}


def load_for_chat(track: Track):
    """El modelo y el tokenizador de la ruta, con los marcadores de chat como tokens propios."""
    model, tokenizer = track.load_model(), track.load_tokenizer()
    return model, prepare_for_chat(tokenizer, model)


def with_lora(model, tokenizer, rank: int = LORA_RANK, seed: int = SEED):
    """El modelo con adaptadores LoRA en todas sus proyecciones, y nada más que entrenar.

    Vale para cualquier modelo causal de transformers, también cuantizado en 4 bits. Si los
    marcadores son tokens nuevos, sus filas de las tablas se entrenan también: si no, el modelo
    nunca sabría qué significan.

    Args:
        rank: el rango `r` de las dos matrices finas de cada adaptador (Hu et al., 2021,
            arXiv:2106.09685).
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed
    from transformers.pytorch_utils import Conv1D

    set_seed(seed)  # los adaptadores nacen al azar
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=projections(model),
        # GPT-2 guarda sus matrices traspuestas (Conv1D)
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        trainable_token_indices=new_token_rows(model, tokenizer),
        task_type="CAUSAL_LM",
    )
    with quiet_peft():
        return get_peft_model(model, config)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Quita de en medio lo que le pasa a peft y no es cosa nuestra.

    Un aviso: peft 0.21 consulta un nombre que transformers 5.23 está retirando. Y un error: al
    poner adaptadores busca torchao, aunque nadie lo use, y con uno anterior al 0.16, como el 0.10
    que trae Colab, se niega a seguir; con None en su sitio, para Python no está instalado.
    """
    absent = object()
    torchao = sys.modules.get("torchao", absent)
    sys.modules["torchao"] = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
            yield
    finally:
        if torchao is absent:
            del sys.modules["torchao"]
        else:
            sys.modules["torchao"] = torchao


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
            chat_arguments(track, folder, len(train), lora, seed),
            Dataset.from_list([vars(e) for e in train]),
            lambda rows: collate(rows, tokenizer.pad_token_id),
            eval_dataset=Dataset.from_list([vars(e) for e in held_out]),
            resume=True,
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
