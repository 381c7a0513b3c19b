"""El experimento de la autopsia: cuánto pesan el código, los datos, el repaso y la tasa.

`python -m taller factores` lo ejecuta y guarda cada corrida en cuanto acaba: si se interrumpe, la
siguiente vez sigue donde estaba. Lo que se esperaba está en `data/experimentos/hipotesis.toml`.
"""

import itertools
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

from course_lib import evaluation, output_path, reading, tuning, world
from course_lib.autopsy import EPOCHS, FACTORS, RATES, cell_name, dose_name, dose_title
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
from course_lib.evaluation import Exam, is_right, known_words, says_yes, speaks_well
from course_lib.original import original_arguments, total_steps, training_pairs
from course_lib.tables import Tally, tally
from course_lib.tracks import Track, get_track, load_tokenizer
from course_lib.training import Run, fine_tune, set_seed
from course_lib.world import ATTRIBUTES, Question, text
from taller import experiments
from taller.pretraining import documents
from taller.scenes import scene_names

WORLD = re.compile("capital|moneda|idioma|continente|currency|language|continent")
GREETING = ("Hola, ¿qué tal?", "Muy bien, gracias.")
# El minimodelo que se descartó: leyó charlas durante todo el preentrenamiento.
DISCARDED = "26150a0"
MARKERS = ("medio", "distinto", "raro")  # nacidos como la media, al azar o como un token raro
SEEDS = 8  # las de las celdas de las que más se afirma; las demás llevan menos
HEADLINE = {"original", "codigo", "datos", "codigo_datos", "codigo_datos_repaso", "otro_asunto"}


def seeds_of(condition: "Condition") -> int:
    """Cuántas semillas lleva: ocho, cuatro o, si dura nueve épocas, dos."""
    if condition.name in HEADLINE:
        return SEEDS
    return SEEDS // (4 if condition.epochs > 1 else 2)


def talk_pairs(track: Track, n: int = 300) -> list[Pair]:
    """`n` parejas de charlas de escenas no vistas, repartidas por todas."""
    pairs = to_pairs(track.load_dialogues("test"))
    return pairs[:: max(1, len(pairs) // n)][:n]


def by_scene(tallied: Tally, scenes: Sequence[str]) -> Tally:
    """Lo de cada diálogo, reunido por escenas."""
    sums, counts = Counter(), Counter()
    for dialogue, total, count in zip(*tallied, strict=True):
        sums[scenes[int(dialogue)]] += total
        counts[scenes[int(dialogue)]] += count
    return Tally(
        sorted(counts), [sums[s] for s in sorted(counts)], [counts[s] for s in sorted(counts)]
    )


def packed(measures: Mapping[str, Tally]) -> dict[str, list]:
    """Las medidas de una corrida como se guardan: nombres, sumas (con tres decimales) y cuentas."""
    return {
        m: [list(map(str, t.ids)), [round(x, 3) for x in t.sums], list(t.counts)]
        for m, t in measures.items()
    }


@dataclass(frozen=True)
class Condition:
    """Una celda del experimento: en qué se aparta de la receta original, que es la de por omisión.

    `markers` dice cómo son los marcadores: «partidos», texto corriente, o un solo token de los de
    `MARKERS`. `data` puede llevar, además de charlas, «tarea» (preguntas sobre la mitad de los
    países), «otro asunto» (preguntas sobre un texto dado) y «repaso». `rate` y `epochs` multiplican
    los de la original.
    """

    name: str
    mends: str = ""
    padding_counts: bool = True
    user_counts: bool = True
    end: bool = False
    markers: str = "partidos"
    course_code: bool = False  # la codificación de la lección 03, al entrenar y al preguntar
    data: Sequence[str] = ("charla",)
    rate: float = 1.0
    epochs: float = 1.0
    held_out_pairs: float = 0.0  # qué parte de las parejas se aparta al azar
    start: str = ""  # el *commit* del minimodelo de partida, si no es el de ahora


@cache
def conditions() -> dict[str, Condition]:
    """Todas las del experimento guardado, por su nombre.

    Los factores se cruzan a la tasa de la original y a diez veces más; las dosis son la receta
    original a otras tasas y con otras épocas; luego, un arreglo del código cada vez, y lo que
    decide dos conjeturas: otros marcadores, y preguntas de otro asunto. Dos más dicen
    de qué depende lo que sale: la mitad de la charla, que es lo que queda de ella cuando se mezcla
    con otro tanto de repaso, y otro minimodelo de partida.
    """
    made = []
    for rate, code, task, replay in itertools.product((1, 10), *[(False, True)] * 3):
        chosen = [f for f, yes in zip(FACTORS, (code, task, replay), strict=True) if yes]
        mends = ", ".join(FACTORS[f] for f in chosen) or "nada: la receta original"
        data = ("charla", *["tarea"] * task, *["repaso"] * replay)
        name = cell_name(*chosen, rate=rate)
        made.append(Condition(name, mends, course_code=code, data=data, rate=rate))
    for rate, epochs in itertools.product(RATES, EPOCHS):
        if rate == 3 or epochs != 3:  # las demás ya están arriba
            name, title = dose_name(rate, epochs), dose_title(rate, epochs)
            made.append(Condition(name, title, rate=rate, epochs=epochs / 3))
    made += [
        Condition("relleno", "no contar el relleno", padding_counts=False),
        Condition("relleno_fin", "no contar el relleno y añadir el fin", False, end=True),
        Condition("usuario", "no contar al usuario ni los marcadores", user_counts=False),
        Condition("marcadores", "marcadores de un solo token", markers="medio"),
        Condition("parejas", "apartar el 10% de las parejas al azar", held_out_pairs=0.1),
        Condition(
            "otro_asunto",
            "todo el código, con preguntas de otro asunto",
            course_code=True,
            data=("charla", "otro asunto"),
        ),
    ]
    others = {"distinto": "marcadores nacidos al azar", "raro": "marcadores ya existentes y raros"}
    made += [Condition(name, mends, markers=name) for name, mends in others.items()]
    made.append(Condition("mitad", "la mitad de los pasos", epochs=0.5))
    made.append(Condition("descartado", "otro minimodelo de partida", start=DISCARDED))
    return {condition.name: condition for condition in made}


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


def run_factors(
    path: Path,
    seeds: int | None = None,
    steps: int | None = None,
    questions: int = 200,
    chosen: Sequence[str] | None = None,
) -> dict:
    """Hace las corridas que falten y guarda la tabla en `path`.

    Van por semillas: acabada la primera, ya hay una de cada condición. Las pares usan un reparto de
    los países, y las impares, otro.

    Args:
        seeds: semillas de cada condición; por omisión, las de `seeds_of`.
        steps: pasos de un presupuesto entero; por omisión, los de la receta original.
        questions: preguntas por materia.
        chosen: las condiciones; por omisión, todas.
    """
    commit = experiments.hypotheses_commit()
    track = get_track("mini")
    wanted = [conditions()[name] for name in chosen or conditions()]
    budget = {
        "charlas": track.train_dialogues,
        "pasos": steps or total_steps(track),
        "lote": track.batch_size,
        "tasa": track.learning_rate,
        "preguntas": questions,
        "vocabulario": len(track.load_tokenizer()),
    }
    for commit_of_start in {c.start for c in wanted if c.start}:
        experiments.model_of(commit_of_start)  # antes de que lo busquen dos procesos a la vez
    jobs = {f"base-{split}": ("base", split, split, 0, questions) for split in (0, 1)}
    for seed in range(seeds or SEEDS):
        for c in wanted:
            if seed < (seeds or seeds_of(c)):
                jobs[f"{c.name}-{seed}"] = (c.name, seed, seed % 2, budget["pasos"], questions)
    done = experiments.run_jobs(measure_once, jobs, output_path("factores"))
    said = {name: run.pop("respuestas") for name, run in done.items()}
    titles = {c.name: c.mends for c in wanted}
    table = {"presupuesto": budget, "condiciones": titles, "corridas": list(done.values())}
    experiments.store(path, table, said, experiments.code_hash(measure_once))
    assert commit == experiments.hypotheses_commit()  # nadie las tocó mientras tanto
    return table


def measure_once(name: str, seed: int, split: int, steps: int, questions: int) -> dict:
    """Una corrida entera; la de «base», sin ajustar nada."""
    track, condition = get_track("mini"), conditions()["original" if name == "base" else name]
    exam, scenes = unseen_exam(questions, track.language, split), scene_names()
    talk = talk_pairs(track, questions // 2)
    start, held, tuned = time.perf_counter(), [], {"fugas": 0}
    if name == "base":
        model, tokenizer = prepare(track, condition)
    else:
        run, tokenizer, held = train(track, condition, seed, split, steps)
        model, last = run.model.eval(), next((x for x in reversed(run.log) if "loss" in x), {})
        losses = {name: round(x, 3) for name, x in last.items() if name.startswith("loss")}
        tuned = {"fugas": experiments.leaked(run, tokenizer, exam), "perdida": losses}
    trained = time.perf_counter()
    told = answers(track, condition, model, tokenizer, exam, talk)
    graded = grades(told, exam, tokenizer, known_words(track))
    groups = {"lee": range(len(exam.reading)), "habla": [scenes[p.dialogue] for p in talk]}
    groups |= {m: [q.about for q in exam.yes_no] for m in ("si_no", "si_no_chat", "dice_si")}
    groups |= {m: groups["si_no"] for m in ("azar", "azar_si")}
    countries = [q.about for q in exam.facts]
    measures = {m: tally(right, groups.get(m, countries)) for m, right in graded.items()}
    losses = {"conversa": talk_pairs(track)}
    if held:  # parejas apartadas al azar, y diálogos enteros de las mismas escenas
        n, made = track.train_dialogues, scene_names("train")
        more = zip(track.load_dialogues("train")[n:], made[n:])
        more = [dialogue for dialogue, scene in more if scene in made[:n]][:60]
        losses |= {"parejas": held, "dialogos": to_pairs(more)}
    for measure, pairs in losses.items():
        sums, counts = reply_sums(track, condition, model, tokenizer, pairs)
        # Las parejas apartadas son de unos diálogos o de otros según la semilla.
        held_from = range(track.train_dialogues) if measure == "parejas" else sorted(counts)
        tallied = Tally(held_from, [sums[g] for g in held_from], [counts[g] for g in held_from])
        measures[measure] = by_scene(tallied, scenes) if measure == "conversa" else tallied
    return {
        "condicion": name,
        "semilla": seed,
        "reparto": split,
        "segundos_ajuste": round(trained - start, 1),
        "segundos_medida": round(time.perf_counter() - trained, 1),
        "medidas": packed(measures),
        "respuestas": told,
    } | tuned


# --- Ajustar -------------------------------------------------------------------------------------


def prepare(track: Track, condition: Condition):
    """El modelo de partida y su tokenizador, con los marcadores que pide la condición."""
    if condition.start:
        track = replace(track, model=str(experiments.model_of(condition.start)))
    model, tokenizer = track.load_model(), track.load_tokenizer()
    if condition.course_code:
        return model, prepare_for_chat(tokenizer, model)
    if condition.markers in MARKERS:
        prepare_for_chat(tokenizer, model)
    table = model.get_input_embeddings().weight.data
    known, new = table[:-3], table[-3:]  # los dos marcadores y el relleno
    if condition.markers == "distinto":
        new.normal_().mul_(known.std(0)).add_(known.mean(0))
    if condition.markers == "raro":
        new.copy_(known[rare_tokens(tokenizer)])
    tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


@cache
def _token_counts(model: str) -> Counter:
    tokenizer = load_tokenizer(model)
    texts = itertools.islice(documents("recuento", 0.15), 4_000)
    return Counter(token for text in texts for token in tokenizer.encode(text))


def rare_tokens(tokenizer, n: int = 3) -> list[int]:
    """Los `n` tokens que menos veces salen, pero alguna, en una muestra de lo preentrenado."""
    counts = _token_counts(tokenizer.name_or_path)
    return [token for token, _ in counts.most_common()[: -n - 1 : -1]]


def task_pairs(language: str = "es", split: int = 0) -> list[Pair]:
    """Preguntas y respuestas sobre la mitad de los países."""
    countries, _ = tuning.split_countries(split, language)
    rng, questions = random.Random(split), []
    for country, attribute in itertools.product(countries, ATTRIBUTES):
        questions += [world.fact_question(country, attribute, form) for form in range(3)]
        questions += [
            world.yes_no_question(country, attribute, truth, rng, None, countries)
            for truth in (True, False)
        ]
    return [question_pair(question) for question in questions]


def other_pairs(n: int, seed: int, language: str = "es") -> list[Pair]:
    """`n` preguntas de otro asunto: sobre un texto inventado, que va en el mismo mensaje."""
    rng = random.Random(seed)
    pairs: list[Pair] = []
    while len(pairs) < n:
        question = rng.choice(reading.reading_example(rng, 2, language=language)[1])
        # Que no traten de países, aunque sean inventados.
        if not WORLD.search(f"{question.context} {question.text}"):
            pairs.append(question_pair(question))
    return pairs


def question_pair(question: Question) -> Pair:
    """Una pregunta, con su contexto delante si lo lleva, y su respuesta en una frase."""
    *_, asked, answer = evaluation.conversation(question)
    return Pair(asked["content"], answer["content"], -1)


def train(
    track: Track, condition: Condition, seed: int, split: int = 0, steps: int | None = None
) -> tuple[Run, object, list[Pair]]:
    """Ajusta el modelo de la ruta con los defectos de `condition`.

    Args:
        seed: decide el orden de los datos, el *dropout* y qué parejas se apartan.
        split: qué reparto de los países, si la condición usa alguno.
        steps: pasos del presupuesto entero; si no se dan, los de la receta original.

    Returns: `(entrenamiento, tokenizador, parejas apartadas)`.
    """
    set_seed(seed)
    model, tokenizer = prepare(track, condition)
    pairs, n = training_pairs(track), len(training_pairs(track))
    random.Random(seed).shuffle(pairs)
    cut = round(n * condition.held_out_pairs)
    held, pairs = pairs[:cut], pairs[cut:]
    if "tarea" in condition.data:
        task = task_pairs(track.language, split)
        pairs = pairs + random.Random(seed).sample(task, min(n, len(task)))  # tantas como charla
    if "otro asunto" in condition.data:
        pairs = pairs + other_pairs(n, seed, track.language)
    rows = [encode(tokenizer, pair, condition, track.max_length) for pair in pairs]
    if "repaso" in condition.data:
        countries, _ = tuning.split_countries(split, track.language)
        texts = tuning.replay_texts(n, seed, track.language, countries)
        rows += [encode_text(tokenizer, text) for text in texts]

    with tempfile.TemporaryDirectory() as folder:  # nada se guarda, pero Trainer quiere carpeta
        args = original_arguments(track, Path(folder))
        args.seed, args.save_strategy = seed, "no"
        args.learning_rate *= condition.rate
        args.max_steps = max(1, round((steps or total_steps(track)) * condition.epochs))
        args.warmup_steps = round(args.warmup_steps * min(1, condition.epochs))
        run = fine_tune(model, args, rows, lambda batch: collate(batch, tokenizer.pad_token_id))
    return run, tokenizer, held


# --- Preguntar y corregir -----------------------------------------------------------------------


def unseen_exam(n: int = 200, language: str = "es", split: int = 0) -> Exam:
    """El examen: solo con los países que ninguna condición usa para ajustar, y así todas contestan
    a lo mismo."""
    countries = tuning.split_countries(split, language)[1]
    return evaluation.build_exam(n, language=language, countries=countries)


def sampling(model):
    """El mismo modelo, que al generar sortea cada token con su probabilidad (temperatura 1)."""

    def draw(**options):
        return model.generate(**options | {"do_sample": True, "temperature": 1.0, "top_k": 0})

    return SimpleNamespace(config=model.config, device=model.device, eval=model.eval, generate=draw)


def answers(
    track: Track, condition: Condition, model, tokenizer, exam: Exam, talk: Sequence[Pair] = ()
) -> dict[str, list[str]]:
    """Lo que un modelo contesta a todo el examen, de cada manera, y a las charlas de `talk`.

    «igual» es con la historia escrita como al entrenar, y «azar», sorteando los tokens.
    """
    prompt = chat_prompt if condition.course_code else original_prompt
    directly = evaluation.ask_directly(model, tokenizer)
    greeting = pair_messages(*(text(said, track.language) for said in GREETING))

    def chat(questions: Sequence[Question], prompt=prompt, model=model) -> list[str]:
        return evaluation.ask_in_chat(model, tokenizer, prompt)(questions)

    def after_greeting(prompt) -> list[str]:
        return chat(exam.facts, lambda tokenizer, ask: prompt(tokenizer, [*greeting, *ask]))

    asked = [prompt(tokenizer, evaluation.conversation(q)[:-1]) for q in exam.facts]
    said = [prompt(tokenizer, pair_messages(pair.user, "")[:-1]) for pair in talk]
    told = {
        "sabe": directly(exam.facts),
        "chat": generate(model, tokenizer, asked, 40),  # sin recortar: se mira si se calla
        "si_no": directly(exam.yes_no),
        "si_no_chat": chat(exam.yes_no),
        "lee": directly(exam.reading),
        "historia": after_greeting(prompt),
        "habla": [first_turn(raw) for raw in generate(model, tokenizer, said, 40)],
    }
    if not condition.course_code:
        told["igual"] = after_greeting(partial(original_prompt, glue=" "))
    if condition.name == "original":
        set_seed(0)
        told["azar"] = chat(exam.yes_no, model=sampling(model))
    return told


def stops(raw: str, tokenizer, max_new_tokens: int = 40) -> bool:
    """Si una respuesta acaba por sí sola: ni la corta el tope ni sigue con el turno del otro."""
    return first_turn(raw) == raw.strip() and len(tokenizer.encode(raw)) < max_new_tokens


def grades(told: Mapping[str, list[str]], exam: Exam, tokenizer, words: set[str]) -> dict:
    """De cada medida, si cada respuesta de `answers` es buena (o dice «sí», o se calla…)."""
    asked = {"si_no": exam.yes_no, "si_no_chat": exam.yes_no, "azar": exam.yes_no}
    asked |= {"sabe": exam.facts, "historia": exam.facts, "igual": exam.facts, "lee": exam.reading}
    graded = {
        name: [is_right(a, q) for a, q in zip(told[name], questions, strict=True)]
        for name, questions in asked.items()
        if name in told
    }

    def cut(text: str) -> str:  # hasta donde llegan las demás respuestas
        return tokenizer.decode(tokenizer.encode(text)[:24])

    graded["chat"] = [
        is_right(cut(first_turn(raw)), q) for raw, q in zip(told["chat"], exam.facts, strict=True)
    ]
    graded["para"] = [stops(raw, tokenizer) for raw in told["chat"]]
    graded["dice_si"] = [says_yes(answer) for answer in told["si_no_chat"]]
    if "azar" in told:
        graded["azar_si"] = [says_yes(answer) for answer in told["azar"]]
    graded["habla"] = [speaks_well(reply, words) for reply in told["habla"]]
    return graded


def reply_sums(track: Track, condition: Condition, model, tokenizer, pairs: Sequence[Pair]):
    """La pérdida por token de respuesta de unas parejas, por diálogos; la del usuario no se mira,
    porque hay condiciones que no la entrenan."""
    condition = replace(condition, padding_counts=False)
    encoded = [encode(tokenizer, pair, condition, track.max_length) for pair in pairs]
    groups = [pair.dialogue for pair in pairs]
    pad = tokenizer.pad_token_id
    return evaluation.talk_sums(model, encoded, groups, pad, kinds=(Kind.REPLY,))
