"""La escalera de este curso, medida: todos los peldaños con las mismas preguntas, y su coste.

`python -m taller escalera` la mide y la guarda; las lecciones 01 y 07 la leen. Los peldaños con
ajuste se miden con varias semillas.
"""

import random
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from course_lib import reading, tuning, world
from course_lib.dialogues import to_pairs
from course_lib.encoding import (
    collate,
    encode_conversation,
    encode_original,
    encode_text,
    original_prompt,
    pair_messages,
)
from course_lib.evaluation import accuracy, always_yes, ask_directly, build_exam, talk_loss
from course_lib.ladder import (
    Strategy,
    after_label,
    chat_question,
    form_prompt,
    model_strategy,
    raw_prompt,
)
from course_lib.resume import resumable_fine_tune
from course_lib.tracks import Track, get_track
from course_lib.training import Run, fine_tune
from course_lib.tuning import BATCH, SEED, half_precision, replay_texts, rhythm, split_countries
from course_lib.world import Document, Question
from taller.experiments import run_jobs, store

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
        run = tune_for_chat(track, model, tokenizer, Path(folder), replay, seed)
        costs = tuning_costs(run, Path(folder))
    strategy = model_strategy("chat", lambda: (run.model, tokenizer), chat_question)
    return score(strategy) | costs | retention(run.model, tokenizer, encode_conversation)


def injection_rung(material: str, seed: int) -> dict:
    """Un ajuste con los documentos nuevos, para ver cuántos de sus hechos se quedan.

    Args:
        material: «una redacción», «muchas redacciones» o «redacciones y preguntas».
    """
    from transformers import TrainingArguments, set_seed

    set_seed(seed)
    track = get_track("mini")
    model, tokenizer = track.load_model(), track.load_tokenizer()
    documents = world.load_documents()
    texts = [document.text for document in documents]
    if material != "una redacción":
        texts = reworded_texts(documents, copies=12, seed=seed)
    if material == "redacciones y preguntas":
        texts += 4 * reading.reworded_questions(documents)
    # La mitad de los textos, documentos; la otra mitad, repaso. El presupuesto es siempre el mismo.
    half = INJECTION_STEPS * INJECTION_BATCH // 2
    rng = random.Random(seed)
    chosen = [text for _ in range(half // len(texts) + 1) for text in rng.sample(texts, len(texts))]
    mixed = [*chosen[:half], *replay_texts(half, seed)]
    rows = [encode_text(tokenizer, text) for text in mixed]
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
        run = fine_tune(model, args, rows, lambda batch: collate(batch, pad))
        tuning.save_tuned(run.model, Path(folder))
        costs = tuning_costs(run, Path(folder))
    strategy = model_strategy("forma", lambda: (run.model, tokenizer), form_prompt, "\n")
    return score(strategy) | costs | retention(run.model, tokenizer, None)


def reworded_texts(documents: Sequence[Document], copies: int = 6, seed: int = 0) -> list[str]:
    """Cada documento `copies` veces, con las frases en otro orden y en otra redacción al azar."""
    rng, texts = random.Random(seed), []
    for document in documents:
        for _ in range(copies):
            lines = [rng.choice(wordings) for wordings, _ in reading.wordings(document)]
            rng.shuffle(lines)
            texts.append(" ".join(lines))
    return texts


def retention(model, tokenizer, encode: Callable | None) -> dict:
    """Lo que el modelo ya sabía, preguntado en su forma de siempre, y su pérdida conversando.

    Args:
        encode: cómo se codifica una pareja, `encode_conversation`, o `None` para la original.
    """
    exam, directly = build_exam(), ask_directly(model, tokenizer)
    parts = {"sabe": exam.facts, "si_no_forma": exam.yes_no, "lee": exam.reading}
    row = {name: accuracy(directly(part), part) for name, part in parts.items()}
    pairs = to_pairs(get_track("mini").load_dialogues("test"))[:400]
    if encode:
        encoded = [encode(tokenizer, pair_messages(p.user, p.reply)) for p in pairs]
    else:
        tokenizer.pad_token = tokenizer.eos_token
        encoded = [encode_original(tokenizer, p.user, p.reply, 128) for p in pairs]
    groups = [p.dialogue for p in pairs]
    return row | {"conversa": talk_loss(model, encoded, groups, tokenizer.pad_token_id)}


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


# --- El ajuste -----------------------------------------------------------------------------------


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


def tune_for_chat(
    track: Track,
    model,
    tokenizer,
    folder: Path,
    replay: int = tuning.REPLAY_TEXTS,
    seed: int = SEED,
) -> Run:
    """La receta entera, con un modelo de `load_for_chat` o de `with_lora`; lo deja en `folder`."""
    from transformers import EarlyStoppingCallback

    train, held_out = tuning.chat_examples(track, tokenizer, replay=replay, seed=seed)
    lora = hasattr(model, "peft_config")
    with warnings.catch_warnings():
        # En los puntos de control peft guarda además la tabla de *embeddings*, y lo avisa.
        warnings.filterwarnings("ignore", ".*save_embedding_layers.*", UserWarning)
        run = resumable_fine_tune(
            model,
            chat_arguments(track, folder, len(train), lora, seed),
            train,
            lambda rows: collate(rows, tokenizer.pad_token_id),
            eval_dataset=held_out,
            callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
        )
    tuning.save_tuned(run.model.eval(), folder)
    return run


def tuning_costs(run: Run, folder: Path) -> dict:
    """Lo que costó un ajuste guardado en `folder`: segundos, pesos entrenados y MB en disco."""
    weights = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return {"segundos": run.seconds, "pesos": weights, "megas": size / 1e6}


# --- Los peldaños que no entrenan ----------------------------------------------------------------


def question_sets(language: str = "es") -> dict[str, list[Question]]:
    """Hechos y síes o noes de los países que no se ajustan, y los documentos nuevos, sin darlos."""
    _, countries = split_countries(language=language)
    documents = [q for document in world.load_documents(language) for q in document.questions]
    return {
        "hechos": world.fact_questions(countries),
        "si_no": world.yes_no_questions(countries),
        "documentos": [replace(q, context=None) for q in documents],
    }


def few_shot_prompt(tokenizer, question: Question) -> list[int]:
    """La misma forma, tras tres preguntas ya contestadas sobre países de ajustar."""
    train, _ = split_countries(language=question.lang)
    examples = random.Random(question.text).sample(world.fact_questions(train), 3)
    return tokenizer.encode(world.question_prompt(question, examples))


def untuned_rungs(model, tokenizer, language: str = "es") -> list[Strategy]:
    """Los peldaños que no entrenan nada, del más barato al más caro.

    Args:
        language: el de los documentos en los que se busca, y el de las preguntas que se harán.
    """
    from course_lib.retrieval import build_index, retrieval_prompt

    documents = world.load_documents(language)
    index = build_index({document.id: document.text for document in documents}, language)

    def load():
        return model, tokenizer

    def searching(min_score: float) -> Callable[..., list[int]]:
        prompt = retrieval_prompt(index.search, min_score=min_score)
        return lambda tokenizer, question: tokenizer.encode(prompt(question))

    return [
        Strategy("Decir siempre «sí»", lambda: always_yes),
        model_strategy("La pregunta tal cual", load, raw_prompt, read=after_label),
        model_strategy("Con su forma (*prompting*)", load, form_prompt, "\n"),
        model_strategy("Con tres ejemplos (*few-shot*)", load, few_shot_prompt, "\n"),
        model_strategy("Con búsqueda (RAG)", load, searching(0.0), "\n"),
        model_strategy("Con búsqueda y puerta", load, searching(_gate(index)), "\n"),
    ]


def _gate(index) -> float:
    """La nota desde la que un pasaje viene al caso, elegida como en la lección 02.

    Con la mitad de las preguntas de los documentos y con hechos de países que no puntúan.
    """

    def best(question: Question) -> float:
        return max((hit.score for hit in index.search(question.text, 1)), default=0.0)

    questions, (train, _) = question_sets(index.language), split_countries(language=index.language)
    inside = min(map(best, questions["documentos"][::2]))
    return (inside + max(map(best, world.fact_questions(train)))) / 2


def score(strategy: Strategy, language: str = "es") -> dict:
    """Los aciertos de un peldaño en los tres exámenes, con su n, y sus tokens por respuesta."""
    answer, row, costs = strategy.build(), {}, []
    for name, questions in question_sets(language).items():
        answers = answer(questions)
        row[name] = accuracy(answers, questions)
        if strategy.tokens:
            costs += [strategy.tokens(q, a) for q, a in zip(questions, answers, strict=True)]
    return row | {"tokens": sum(costs) / len(costs) if costs else None}
