"""La escalera de este curso, medida: todos los peldaños con las mismas preguntas, y su coste.

`curso escalera` la mide y la guarda; las lecciones 01 y 07 la leen. Los peldaños con ajuste se
miden con varias semillas.
"""

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from course_lib import tuning, world
from course_lib.dialogues import to_pairs
from course_lib.encoding import (
    collate,
    encode_conversation,
    encode_original,
    original_prompt,
    pair_messages,
)
from course_lib.evaluation import accuracy, ask_directly, build_exam, talk_loss
from course_lib.experiments import run_jobs, store
from course_lib.ladder import model_strategy
from course_lib.rungs import chat_question, form_prompt, score, untuned_rungs
from course_lib.task import encode_text, replay_texts
from course_lib.tracks import get_track

SEEDS = (0, 1, 2)
INJECTION_STEPS, INJECTION_BATCH = 300, 16


def chat_rung(lora: bool, replay: int, seed: int) -> dict:
    """Un ajuste con la receta de la lección 07, puntuado en el chat y en lo que ya sabía."""
    from transformers import set_seed

    set_seed(seed)
    track = get_track("mini")
    model, tokenizer = tuning.load_for_chat(track)
    if lora:
        model = tuning.with_lora(model, tokenizer, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        run = tuning.tune_for_chat(track, model, tokenizer, Path(folder), replay, seed)
        costs = tuning.costs(run, Path(folder))
    strategy = model_strategy("chat", lambda: (run.model, tokenizer), chat_question)
    return score(strategy) | costs | retention(run.model, tokenizer, encode_conversation)


def injection_rung(material: str, seed: int) -> dict:
    """Un ajuste con los documentos nuevos, para ver cuántos de sus hechos se quedan.

    Args:
        material: «una redacción», «muchas redacciones» o «redacciones y preguntas».
    """
    from datasets import Dataset
    from transformers import TrainingArguments, set_seed

    from course_lib import rewording
    from course_lib.training import fine_tune

    set_seed(seed)
    track = get_track("mini")
    model, tokenizer = track.load_model(), track.load_tokenizer()
    documents = world.load_documents()
    texts = rewording.plain_texts(documents)
    if material != "una redacción":
        texts = rewording.reworded_texts(documents, copies=12, seed=seed)
    if material == "redacciones y preguntas":
        texts += 4 * rewording.reworded_questions(documents)
    # La mitad de los textos, documentos; la otra mitad, repaso. El presupuesto es siempre el mismo.
    half = INJECTION_STEPS * INJECTION_BATCH // 2
    rng = random.Random(seed)
    chosen = [text for _ in range(half // len(texts) + 1) for text in rng.sample(texts, len(texts))]
    mixed = [*chosen[:half], *replay_texts(half, seed)]
    rows = [vars(encode_text(tokenizer, text)) for text in mixed]
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            max_steps=INJECTION_STEPS,
            per_device_train_batch_size=INJECTION_BATCH,
            learning_rate=track.tuning_rate,
            warmup_steps=20,
            weight_decay=0.01,
            logging_steps=100,
            save_strategy="no",
            seed=seed,
        )
        pad = tokenizer.eos_token_id
        run = fine_tune(model, args, Dataset.from_list(rows), lambda batch: collate(batch, pad))
        tuning.save_tuned(run.model, Path(folder))
        costs = tuning.costs(run, Path(folder))
    strategy = model_strategy("forma", lambda: (run.model, tokenizer), form_prompt, "\n")
    return score(strategy) | costs | retention(run.model, tokenizer, None)


def retention(model, tokenizer, encode: Callable | None) -> dict:
    """Lo que el modelo ya sabía, preguntado en su forma de siempre, y su pérdida conversando.

    Args:
        encode: cómo se codifica una pareja, `encode_conversation`, o `None` para la original.
    """
    exam, directly = build_exam(), ask_directly(model, tokenizer)
    parts = {"sabe": exam.facts, "si_no_forma": exam.yes_no, "lee": exam.reading}
    row = {name: vars(accuracy(directly(part), part)) for name, part in parts.items()}
    pairs = to_pairs(get_track("mini").load_dialogues("test"))[:400]
    if encode:
        encoded = [encode(tokenizer, pair_messages(p.user, p.reply)) for p in pairs]
    else:
        tokenizer.pad_token = tokenizer.eos_token
        encoded = [encode_original(tokenizer, p.user, p.reply, 128) for p in pairs]
    groups = [p.dialogue for p in pairs]
    return row | {"conversa": vars(talk_loss(model, encoded, groups, tokenizer.pad_token_id))}


def base_rungs() -> dict:
    """Los peldaños que no entrenan, y lo que el modelo sabe antes de tocarlo."""
    track = get_track("mini")
    model, tokenizer = track.load_model(), track.load_tokenizer()
    rungs = {s.name: score(s) for s in untuned_rungs(model, tokenizer)}
    chat = model_strategy(
        "En el chat, sin ajustar",
        lambda: (model, tokenizer),
        lambda tokenizer, q: original_prompt(tokenizer, [{"role": "user", "content": q.text}]),
    )
    return {
        "peldaños": rungs | {chat.name: score(chat)},
        "base": retention(model, tokenizer, None),
    }


KINDS = {function.__name__: function for function in (base_rungs, chat_rung, injection_rung)}
TUNED = {
    "LoRA": ("chat_rung", True, tuning.REPLAY_TEXTS),
    "Ajuste completo": ("chat_rung", False, tuning.REPLAY_TEXTS),
    "Ajuste completo sin repaso": ("chat_rung", False, 0),
    "Documentos, una redacción": ("injection_rung", "una redacción"),
    "Documentos, muchas redacciones": ("injection_rung", "muchas redacciones"),
    "Documentos, redacciones y preguntas": ("injection_rung", "redacciones y preguntas"),
}


def run_rung(kind: str, *args) -> dict:
    """Un trabajo de `measure_ladder`, con sus segundos de principio a fin."""
    start = time.perf_counter()
    return KINDS[kind](*args) | {"total_segundos": time.perf_counter() - start}


def measure_ladder(
    folder: Path, path: Path, seeds: Sequence[int] = SEEDS, workers: int = 2
) -> dict:
    """Mide la escalera entera, reanudando lo que en `folder` esté hecho, y la guarda en `path`.

    Returns:
        `base` y `peldaños` (sin ajuste: una medida) y `ajustes` (una medida por semilla).
    """
    jobs = {"base": ("base_rungs",)} | {
        f"{name} {seed}": (*args, seed) for seed in seeds for name, args in TUNED.items()
    }
    done = run_jobs(run_rung, jobs, folder, workers)
    base = done.pop("base")
    result = {
        "base": base["base"],
        "peldaños": base["peldaños"],
        "ajustes": {name: [done[f"{name} {seed}"] for seed in seeds] for name in TUNED},
    }
    store(path, result)
    return result
