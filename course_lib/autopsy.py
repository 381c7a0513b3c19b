"""Un ajuste con los defectos que se le pidan: cómo se codifica y cómo se entrena.

Cada `Condition` parte de la receta de la lección original y dice qué se le cambia. Todo lo demás
(modelo de partida, charlas, tamaño del lote, número de pasos, optimizador) queda igual.
"""

import hashlib
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from course_lib import task
from course_lib.dialogues import Pair
from course_lib.encoding import (
    IGNORED,
    Encoded,
    Kind,
    collate,
    encode_conversation,
    encode_original,
    pair_messages,
    prepare_for_chat,
)
from course_lib.original import original_arguments, training_pairs
from course_lib.tracks import Track
from course_lib.training import Run, fine_tune, set_seed


@dataclass(frozen=True)
class Condition:
    """Una fila de la ablación: qué se arregla y qué se esperaba antes de medirlo.

    Los valores por omisión son la receta original. `reuses` no entrena nada: vuelve a preguntar a
    los modelos de otra condición, de la manera que dice `view` («igual», la plantilla de
    entrenar; «azar», sorteando los tokens).
    """

    name: str
    mends: str
    hypothesis: str
    padding_counts: bool = True
    user_counts: bool = True
    end: bool = False
    special_markers: bool = False
    course_code: bool = False  # la codificación de la lección 03, al entrenar y al preguntar
    data: tuple[str, ...] = ("charla",)  # y «tarea», y «repaso»
    rate: float = 1.0  # por cuánto se multiplica la tasa de aprendizaje
    budget: float = 1.0  # por cuánto se multiplican los pasos
    held_out_pairs: float = 0.0  # qué parte de las parejas se aparta al azar
    reuses: str | None = None
    view: str | None = None


# --- Codificar -----------------------------------------------------------------------------------


def prepare(track: Track, condition: Condition):
    """El modelo de partida y su tokenizador, con los marcadores que pide la condición."""
    model, tokenizer = track.load_model(), track.load_tokenizer()
    if condition.course_code or condition.special_markers:
        prepare_for_chat(tokenizer, model)
    if not condition.course_code:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def encode(tokenizer, pair: Pair, condition: Condition, max_length: int) -> Encoded:
    """Codifica una pareja como la lección original, salvo en lo que la condición arregla.

    Si el relleno no cuenta, no se pone: de rellenar hasta el más largo se ocupa `collate`.
    """
    if condition.course_code:
        return encode_conversation(tokenizer, pair_messages(pair.user, pair.reply))
    padded = encode_original(tokenizer, pair.user, pair.reply, max_length)
    length = sum(padded.attention_mask)
    ids, kinds = padded.input_ids[:length], padded.kinds[:length]
    if condition.end and length < max_length:
        ids, kinds = [*ids, tokenizer.eos_token_id], [*kinds, Kind.END]
    counted = (Kind.REPLY, Kind.END) if not condition.user_counts else tuple(Kind)
    labels = [i if kind in counted else IGNORED for i, kind in zip(ids, kinds, strict=True)]
    mask = [1] * len(ids)
    if condition.padding_counts:
        gap = max_length - len(ids)
        ids, labels = ([*x, *[tokenizer.pad_token_id] * gap] for x in (ids, labels))
        kinds, mask = [*kinds, *[Kind.PADDING] * gap], [*mask, *[0] * gap]
    return Encoded(ids, mask, labels, kinds)


def task_pairs(language: str = "es") -> list[Pair]:
    """Preguntas y respuestas sobre la mitad de los países, casi tantas como parejas de charla."""
    countries, _ = task.split_countries(language=language)
    conversations = task.task_conversations(countries, yes_no=2)
    return [Pair(ask["content"], answer["content"], -1) for ask, answer in conversations]


def data_fingerprint(track: Track) -> str:
    """La huella de todo lo que entra en algún ajuste: si cambia, lo guardado ya no vale."""
    talk = [(pair.user, pair.reply) for pair in training_pairs(track)]
    new = [(pair.user, pair.reply) for pair in task_pairs(track.language)]
    replay = task.replay_texts(100, language=track.language)
    return hashlib.sha256(repr((talk, new, replay)).encode()).hexdigest()


# --- Entrenar ------------------------------------------------------------------------------------


def train(track: Track, condition: Condition, seed: int, steps: int) -> tuple[Run, object, list]:
    """Ajusta el modelo de la ruta con los defectos de `condition`.

    Args:
        seed: decide el orden de los datos, el *dropout* y qué parejas se apartan.
        steps: pasos del presupuesto entero; cada uno ve `track.batch_size` ejemplos.

    Returns:
        `(entrenamiento, tokenizador, parejas apartadas)`.
    """
    from datasets import Dataset

    set_seed(seed)
    model, tokenizer = prepare(track, condition)
    pairs = training_pairs(track)
    random.Random(seed).shuffle(pairs)
    cut = round(len(pairs) * condition.held_out_pairs)
    held, pairs = pairs[:cut], pairs[cut:]
    if "tarea" in condition.data:
        pairs = pairs + task_pairs(track.language)
    rows = [encode(tokenizer, pair, condition, track.max_length) for pair in pairs]
    if "repaso" in condition.data:
        texts = task.replay_texts(len(training_pairs(track)), seed, track.language)
        rows += [task.encode_text(tokenizer, text) for text in texts]

    data = Dataset.from_list([vars(row) for row in rows])
    with tempfile.TemporaryDirectory() as folder:  # nada se guarda, pero Trainer quiere carpeta
        args = original_arguments(track, Path(folder))
        args.seed, args.save_strategy = seed, "no"
        args.learning_rate *= condition.rate
        args.max_steps = max(1, round(steps * condition.budget))
        run = fine_tune(model, args, data, lambda batch: collate(batch, tokenizer.pad_token_id))
    return run, tokenizer, held
