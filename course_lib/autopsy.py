"""La autopsia: la receta original con un arreglo cada vez, cómo se mide y qué salió.

Cada `Condition` cambia una cosa; modelo de partida, charlas, lote, pasos y optimizador, igual.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

from course_lib import evaluation, read_toml, tuning
from course_lib.chat import first_turn, generate
from course_lib.dialogues import Pair, to_pairs
from course_lib.encoding import (
    IGNORED,
    Encoded,
    Kind,
    chat_prompt,
    collate,
    encode_conversation,
    encode_original,
    encode_text,
    original_prompt,
    pair_messages,
    prepare_for_chat,
)
from course_lib.evaluation import Exam
from course_lib.original import original_arguments, training_pairs
from course_lib.reading import reading_questions
from course_lib.tables import COLUMNS, LOSSES, Measure, cell, markdown, mean, proportion, wilson
from course_lib.tracks import Track
from course_lib.training import Run, fine_tune, set_seed
from course_lib.world import Question, text

GREETING = ("Hola, ¿qué tal?", "Muy bien, gracias.")


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
    data: Sequence[str] = ("charla",)  # y «tarea», y «repaso»
    rate: float = 1.0  # por cuánto se multiplica la tasa de aprendizaje
    budget: float = 1.0  # por cuánto se multiplican los pasos
    held_out_pairs: float = 0.0  # qué parte de las parejas se aparta al azar
    reuses: str | None = None
    view: str | None = None


@cache
def conditions() -> dict[str, Condition]:
    """Las del experimento guardado, por su nombre: lee `data/experimentos/condiciones.toml`."""
    rows = read_toml("experimentos", "condiciones.toml")["condicion"]
    return {row["name"]: Condition(**row) for row in rows}


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
    gap = (max_length - len(ids)) * condition.padding_counts
    mask = [1] * len(ids) + [0] * gap
    ids, kinds = ids + [tokenizer.pad_token_id] * gap, kinds + [Kind.PADDING] * gap
    counted = tuple(Kind) if condition.user_counts else (Kind.REPLY, Kind.END, Kind.PADDING)
    labels = [i if kind in counted else IGNORED for i, kind in zip(ids, kinds, strict=True)]
    return Encoded(ids, mask, labels, kinds)


def task_pairs(language: str = "es") -> list[Pair]:
    """Preguntas y respuestas sobre la mitad de los países, casi tantas como parejas de charla."""
    countries, _ = tuning.split_countries(language=language)
    conversations = tuning.task_conversations(countries, yes_no=2)
    return [Pair(ask["content"], answer["content"], -1) for ask, answer in conversations]


def train(track: Track, condition: Condition, seed: int, steps: int) -> tuple[Run, object, list]:
    """Ajusta el modelo de la ruta con los defectos de `condition`.

    Args:
        seed: decide el orden de los datos, el *dropout* y qué parejas se apartan.
        steps: pasos del presupuesto entero; cada uno ve `track.batch_size` ejemplos.

    Returns: `(entrenamiento, tokenizador, parejas apartadas)`.
    """
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
        texts = tuning.replay_texts(len(training_pairs(track)), seed, track.language)
        rows += [encode_text(tokenizer, text) for text in texts]

    with tempfile.TemporaryDirectory() as folder:  # nada se guarda, pero Trainer quiere carpeta
        args = original_arguments(track, Path(folder))
        args.seed, args.save_strategy = seed, "no"
        args.learning_rate *= condition.rate
        args.max_steps = max(1, round(steps * condition.budget))
        run = fine_tune(model, args, rows, lambda batch: collate(batch, tokenizer.pad_token_id))
    return run, tokenizer, held


def build_exam(n: int = 200, language: str = "es") -> Exam:
    """El examen de la autopsia: solo con los países que ninguna condición usa para ajustar, y así
    todas contestan a lo mismo."""
    countries = tuning.split_countries(language=language)[1]
    facts, yes_no = evaluation.sample_questions(countries, n)
    return Exam(facts, yes_no, reading_questions(n, language=language))


def sampling(model):
    """El mismo modelo, que al generar sortea cada token con su probabilidad (temperatura 1)."""

    def draw(**options):
        return model.generate(**options | {"do_sample": True, "temperature": 1.0, "top_k": 0})

    return SimpleNamespace(config=model.config, device=model.device, eval=model.eval, generate=draw)


def measure(
    track: Track, condition: Condition, model, tokenizer, exam: Exam, held: Sequence[Pair] = ()
) -> dict[str, dict[str, Measure]]:
    """Todas las medidas de un modelo, por vista: «habitual», y «igual» y «azar» si proceden.

    Con parejas apartadas (`held`), mide también en ellas la pérdida.
    """
    prompt = chat_prompt if condition.course_code else original_prompt
    directly = evaluation.ask_directly(model, tokenizer)
    greeting = pair_messages(*(text(said, track.language) for said in GREETING))

    def chat(questions: Sequence[Question], prompt=prompt, model=model) -> list[str]:
        return evaluation.ask_in_chat(model, tokenizer, prompt)(questions)

    def facts(answers: list[str]) -> Measure:
        return evaluation.accuracy(answers, exam.facts)

    def with_history(prompt) -> Measure:
        return facts(chat(exam.facts, lambda tokenizer, ask: prompt(tokenizer, [*greeting, *ask])))

    def yes_no(answers: list[str]) -> dict[str, Measure]:
        right = evaluation.accuracy(answers, exam.yes_no)
        return {"si_no_chat": right, "dice_si": evaluation.yes_share(answers)}

    asked = [prompt(tokenizer, [{"role": "user", "content": q.text}]) for q in exam.facts]
    raw = generate(model, tokenizer, asked, max_new_tokens=40)
    usual = {
        "sabe": facts(directly(exam.facts)),
        "chat": facts([first_turn(text) for text in raw]),
        "si_no": evaluation.accuracy(directly(exam.yes_no), exam.yes_no),
        **yes_no(chat(exam.yes_no)),
        "lee": evaluation.accuracy(directly(exam.reading), exam.reading),
        "para": proportion([stops(text, tokenizer, 40) for text in raw]),
        "historia": with_history(prompt),
        "conversa": reply_loss(track, condition, model, tokenizer, "test"),
    }
    views = {"habitual": usual}
    if not condition.course_code:
        views["igual"] = {"historia": with_history(partial(original_prompt, glue=" "))}
    if condition.name == "original":
        drawn = sampling(model)
        views["azar"] = {"chat": facts(chat(exam.facts, model=drawn))}
        views["azar"] |= yes_no(chat(exam.yes_no, model=drawn))
    if held:
        usual["parejas"] = pairs_loss(track, condition, model, tokenizer, held)
        usual["dialogos"] = reply_loss(track, condition, model, tokenizer, "train")
    return views


def stops(text: str, tokenizer, max_new_tokens: int) -> bool:
    """Si una respuesta acaba por sí sola: ni la corta el tope ni sigue con el turno del otro."""
    return first_turn(text) == text.strip() and len(tokenizer.encode(text)) < max_new_tokens


def reply_loss(track: Track, condition: Condition, model, tokenizer, part: str) -> Measure:
    """Pérdida por token de respuesta en 60 diálogos no vistos: de otras escenas («test») o de las
    mismas («train», los que siguen a los de entrenar; si no sobra ninguno, los de validación)."""
    dialogues = track.load_dialogues(part)[track.train_dialogues if part == "train" else 0 :]
    dialogues = dialogues or track.load_dialogues("validation")
    pairs = to_pairs(dialogues[: track.cut(60)])
    return pairs_loss(track, condition, model, tokenizer, pairs)


def pairs_loss(
    track: Track, condition: Condition, model, tokenizer, pairs: Sequence[Pair]
) -> Measure:
    """Pérdida por token de respuesta de unas parejas; la del usuario no se mira, porque hay
    condiciones que no la entrenan."""
    condition = replace(condition, padding_counts=False)
    encoded = [encode(tokenizer, pair, condition, track.max_length) for pair in pairs]
    groups = [pair.dialogue for pair in pairs]
    pad = tokenizer.pad_token_id
    return evaluation.talk_loss(model, encoded, groups, pad, kinds=(Kind.REPLY,))


def first_words(model, tokenizer, prompts: Sequence[list[int]]) -> dict[str, float]:
    """La probabilidad media de cada primer token tras unas peticiones (ids), de mayor a menor."""
    import torch

    total = torch.zeros(model.config.vocab_size, device=model.device)
    with torch.inference_mode():
        for ids in prompts:
            logits = model(torch.tensor([ids], device=model.device)).logits[0, -1]
            total += logits.float().softmax(-1)
    words = Counter()
    for i, chance in enumerate((total / len(prompts)).tolist()):
        words[tokenizer.decode([i])] += chance  # dos ids pueden leerse igual: bytes de un carácter
    return dict(words.most_common())


MEASURES = COLUMNS | {
    "historia": "Responde con historia",
    "para": "Se calla a tiempo",
    "conversa": "Conversa (nats por token de respuesta)",
    "parejas": "Pérdida en parejas apartadas",
    "dialogos": "Pérdida en diálogos apartados",
}


def summarize(store: dict, name: str, measure: str) -> Measure | None:
    """Una medida de una condición: la media de sus semillas, o `None` si ninguna corrida la tiene.

    Las semillas contestan a las mismas preguntas, así que el intervalo de la media es el de Wilson
    con las n de una corrida (no con tres veces n), ensanchado hasta abarcar la mejor y la peor: con
    tres semillas no se puede afinar más. En la pérdida, en lugar del de Wilson, la mitad media de
    los intervalos por diálogos.
    """
    wanted = conditions()[name]
    runs = [run for run in store["corridas"] if run["condicion"] == (wanted.reuses or name)]
    runs.sort(key=lambda run: run["semilla"])
    views = [run["vistas"]["habitual"] | run["vistas"].get(wanted.view, {}) for run in runs]
    found = [view[measure] for view in views if measure in view]
    if not found:
        return None
    values = tuple(m.value for m in found)
    average, n = mean(values), found[0].n
    if measure in LOSSES:
        half = mean(m.high - m.low for m in found) / 2
        low, high = average - half, average + half
    else:
        low, high = wilson(average * n, n)
    return Measure(average, n, min(low, *values), max(high, *values), values)


def format_ablation(store: dict, names: Sequence[str], measures: Sequence[str]) -> str:
    """Las condiciones como tabla de Markdown, con el tonto y el modelo de partida delante."""
    exam, yes = build_exam(store["presupuesto"]["preguntas"]), evaluation.always_yes
    rows = {
        "(siempre «Sí.»)": evaluation.score_row("", yes, yes, exam),
        "(el modelo de partida)": store["base"],
    }
    for name in names:
        rows[conditions()[name].mends] = {m: summarize(store, name, m) for m in measures}
    lines = [[title, *(cell(m, row.get(m)) for m in measures)] for title, row in rows.items()]
    return markdown(["Qué se arregla", *(MEASURES[m] for m in measures)], lines)
