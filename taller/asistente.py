"""El asistente de la lección 07 y sus rivales, con las mismas preguntas.

`python -m taller asistente` lo mide todo y lo guarda; las lecciones 01 y 07 lo leen. La meta y lo
que se esperaba están en `data/experimentos/hipotesis.toml`, escritos antes.
"""

import functools
import itertools
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from course_lib import evaluation, output_path, read_toml, reading, tuning, world
from course_lib.chat import first_turn, generate
from course_lib.dialogues import Pair, normalize
from course_lib.encoding import (
    Encoded,
    Kind,
    chat_prompt,
    collate,
    encode_conversation,
    original_prompt,
    pair_messages,
)
from course_lib.evaluation import (
    Answerer,
    is_right,
    known_words,
    mentions_unknown,
    speaks_well,
)
from course_lib.resume import resumable_fine_tune
from course_lib.tables import Tally, tally
from course_lib.tracks import Track, get_track
from course_lib.training import Run
from course_lib.tuning import BATCH, SEED, half_precision, rhythm, split_countries
from course_lib.world import ATTRIBUTES, Question
from taller import experiments, factores
from taller.factores import talk_pairs
from taller.rivales import (
    best_examples,
    careful_rules,
    examples_in_chat,
    in_form,
    keyword_rules,
    rewriting_rules,
    search_the_facts,
)
from taller.scenes import scene_names

SEEDS = 8
GOAL = ("chat", "encadenadas", "si_no_chat")  # de países que el modelo conoce
# Países que no están en el mundo del curso: el modelo no leyó nada de ellos. Faltan Siria y Rusia,
# que `reading.invent_name` podría inventar.
ABSENT = (
    "Argelia Bolivia Camerún Canadá Chad Chipre Comoras Filipinas Georgia Guatemala Haití India "
    "Indonesia Israel Kazajistán Kuwait Liberia Luxemburgo Malasia Mali Mauritania Moldavia Níger "
    "Panamá Paraguay Senegal Singapur Somalia Sudáfrica Sudán Suiza Túnez Turquía "
    "Uganda Yemen Zimbabue Bulgaria Bélgica"
).split()


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


def tune_for_chat(track: Track, model, tokenizer, folder: Path, seed: int = SEED, **data) -> Run:
    """La receta entera, con un modelo de `load_for_chat` o de `with_lora`; lo deja en `folder`.

    Args:
        data: los demás argumentos de `tuning.chat_examples`.
    """
    from transformers import EarlyStoppingCallback

    train, held_out = tuning.chat_examples(track, tokenizer, seed=seed, **data)
    with tuning.quiet_peft():
        run = resumable_fine_tune(
            model,
            chat_arguments(track, folder, len(train), hasattr(model, "peft_config"), seed),
            train,
            lambda rows: collate(rows, tokenizer.pad_token_id),
            eval_dataset=held_out,
            callbacks=[EarlyStoppingCallback(early_stopping_patience=4)],
        )
    tuning.save_tuned(run.model.eval(), folder)
    return run


def tuning_costs(run: Run, folder: Path) -> dict:
    """Lo que costó un ajuste guardado en `folder`: segundos, pesos entrenados y MB en disco."""
    weights = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return {"segundos": run.seconds, "pesos": weights, "megas": size / 1e6}


# --- Medir ---------------------------------------------------------------------------------------


def metered(model) -> tuple[SimpleNamespace, Counter]:
    """El mismo modelo, que además apunta cuántas respuestas da y cuántos tokens lee y escribe."""
    spent = Counter()

    def generate(**options):
        out = model.generate(**options)
        read, new = options["attention_mask"], out[:, options["input_ids"].shape[1] :]
        spent["tokens"] += int(read.sum()) + int((new != options["pad_token_id"]).sum())
        spent["respuestas"] += len(out)
        return out

    same = {"config": model.config, "device": model.device, "eval": model.eval}
    return SimpleNamespace(generate=generate, **same), spent


def per_answer(spent: Counter) -> float:
    """Los tokens de una respuesta, de media."""
    return spent["tokens"] / spent["respuestas"]


@functools.cache
def exam_of(split: int) -> evaluation.Exam:
    """El examen de la meta, con los países que no se ajustan."""
    return evaluation.build_exam(countries=split_countries(split)[1])


@functools.cache
def question_sets(split: int) -> dict[str, list[Question]]:
    """Todo lo que se pregunta en el chat.

    La meta mira las cuatro primeras. Además: terceras preguntas de una conversación, redacciones
    escritas por otra persona que no vio ninguna, y países de verdad que el modelo nunca leyó; para
    comparar con ellos, otros tantos inventados, preguntados igual.
    """
    _, countries = split_countries(split)
    exam, rng = exam_of(split), random.Random(split)
    facts = [*itertools.product(countries, ATTRIBUTES)]
    absent = [replace(countries[0], name=name) for name in ABSENT]
    invented = [reading.unknown_country(rng, True, "es") for _ in ABSENT]
    asked = [(rng.choice(ATTRIBUTES), *pair) for pair in zip(absent, invented, strict=True)]

    def unknown(country: world.Country, attribute: str) -> Question:
        question = world.fact_question(country, attribute)
        return replace(question, kind="no lo sé", answer="no lo sé", about="")

    return {
        "chat": exam.facts,
        "encadenadas": exam.chained,
        "si_no_chat": exam.yes_no,
        "no_lo_se": exam.unknown,
        "tres": world.chain_questions(countries, turns=3),
        "ajenas": [world.chain([c], 1, rng, ("ajenas",), attribute=a) for c, a in facts],
        "ajenas_encadenadas": world.chain_questions(countries, source="ajenas"),
        "ajenas_si_no": [
            world.yes_no_question(c, a, (i + i // 4) % 2 == 0, rng, None, countries, "ajenas")
            for i, (c, a) in enumerate(facts)
        ],
        "no_lo_se_reales": [unknown(real, attribute) for attribute, real, _ in asked],
        "no_lo_se_solas": [unknown(other, attribute) for attribute, _, other in asked],
    }


def ask_all(answer: Answerer, split: int) -> dict:
    """Todo lo que contesta un asistente; «propias» son las encadenadas, con su propia respuesta a
    la primera pregunta en lugar de la buena."""
    asked = question_sets(split)
    told = {m: answer(questions) for m, questions in asked.items()}
    first = [q.history[0] for q in asked["encadenadas"]]
    own = [
        replace(q, answer=a.strip().rstrip(".")) for q, a in zip(first, answer(first), strict=True)
    ]
    pairs = zip(asked["encadenadas"], own, strict=True)
    told["propias"] = answer([replace(q, history=(mine,)) for q, mine in pairs])
    return told


def what_it_knows(directly: Answerer, split: int) -> dict:
    """Lo que contesta en la forma de siempre."""
    exam = exam_of(split)
    parts = {"sabe": exam.facts, "si_no": exam.yes_no, "lee": exam.reading}
    return {m: directly(questions) for m, questions in parts.items()}


def grade(told: dict, split: int) -> dict:
    """Las medidas de `ask_all`, por países; «falso» cuenta los «No lo sé» de lo que sí sabe."""
    exam, asked = exam_of(split), question_sets(split)
    asked = asked | {"sabe": exam.facts, "si_no": exam.yes_no, "lee": exam.reading}
    asked["propias"] = asked["encadenadas"]
    measures = {}
    for m, questions in asked.items():
        if m not in told:
            continue
        right = [is_right(a, q) for a, q in zip(told[m], questions, strict=True)]
        measures[m] = tally(right, [q.about or i for i, q in enumerate(questions)])
    known = [(a, q.about) for m in GOAL for a, q in zip(told[m], asked[m], strict=True)]
    false = [mentions_unknown(answer) for answer, _ in known]
    return measures | {"falso": tally(false, [about for _, about in known])}


def measure_talk(model, tokenizer, encode: Callable, prompt: Callable, stop=None) -> dict:
    """Lo que contesta a las charlas no vistas y a frases de charla ajenas, y la pérdida de las
    respuestas de verdad, por diálogos.

    Args:
        encode: pareja → ejemplo codificado, con la respuesta marcada.
        prompt: texto del usuario → ids de la petición.
    """
    pairs = talk_pairs(get_track("mini"))
    said = [*(p.user for p in pairs), *read_toml("mundo", "redacciones.toml")["charla"]["frases"]]
    raw = generate(model, tokenizer, [prompt(text) for text in said], 40, stop=stop)
    replies = [first_turn(text) for text in raw]
    kinds, encoded = (Kind.REPLY,), [encode(pair) for pair in pairs]
    groups = [p.dialogue for p in pairs]
    sums, counts = evaluation.talk_sums(model, encoded, groups, tokenizer.eos_token_id, kinds=kinds)
    losses = Tally(
        sorted(counts), [sums[g] for g in sorted(counts)], [counts[g] for g in sorted(counts)]
    )
    return {"dichas": said, "respuestas": replies, "conversa": losses}


def packed(told: dict, talk: dict | None, split: int) -> dict:
    """Medidas y respuestas de una corrida, como se guardan.

    «se_desvia» es la parte de las frases de charla ajenas a las que contesta como si fueran
    preguntas del mundo, y «charla», la de las charlas de prueba a las que no.
    """
    measures = grade(told, split)
    if talk:
        words, scenes = known_words(get_track("mini")), scene_names()
        pairs = talk_pairs(get_track("mini"))
        replies, others = talk["respuestas"][: len(pairs)], talk["respuestas"][len(pairs) :]
        well = [speaks_well(reply, words) for reply in replies]
        measures["habla"] = tally(well, [scenes[p.dialogue] for p in pairs])
        kept = [not strays(reply) for reply in replies]
        measures["charla"] = tally(kept, [scenes[p.dialogue] for p in pairs])
        measures["conversa"] = factores.by_scene(talk["conversa"], scenes)
        measures["se_desvia"] = tally([strays(reply) for reply in others], range(len(others)))
        told = told | {"habla": replies, "charla_ajena": others}
    return {"reparto": split, "medidas": factores.packed(measures), "respuestas": told}


@functools.cache
def short_answers() -> set[str]:
    """Todo lo que se contesta a las preguntas del mundo, sin mayúsculas ni puntuación."""
    values = {getattr(c, a) for c in world.load_countries() for a in ATTRIBUTES}
    return {normalize(value) for value in (*values, world.YES, world.NO)}


def strays(reply: str) -> bool:
    """Si una respuesta es de las que se dan a una pregunta del mundo."""
    return mentions_unknown(reply) or normalize(reply) in short_answers()


def rivals(seed: int, split: int) -> dict[str, dict]:
    """Todo lo que se puede hacer sin entrenar, con lo que cuesta cada respuesta en tokens.

    La semilla sortea los ejemplos; los que no los llevan solo se miden con las dos primeras.
    """
    track = get_track("mini")
    model, tokenizer = track.load_model(), track.load_tokenizer()
    meter, spent = metered(model)

    def with_examples(make: Callable[..., Answerer]) -> Answerer:
        return best_examples(make, model, meter, tokenizer, seed, split)

    def search(model, tokenizer, examples) -> Answerer:
        return search_the_facts(model, tokenizer, split, True, examples)

    answerers = {
        "La forma de siempre, con ejemplos": with_examples(in_form),
        "Ejemplos dentro del chat, sin ajustar": with_examples(examples_in_chat),
        "Buscar (BM25), una ficha por país, con ejemplos": with_examples(search),
    }
    handles = {}
    if seed < 2:
        answerers |= {
            "La forma de siempre": in_form(meter, tokenizer, history=False),
            "La forma de siempre, con historia": in_form(meter, tokenizer),
            "Buscar (BM25) en una ficha con todos los hechos": search_the_facts(
                meter, tokenizer, split
            ),
            "Buscar (BM25), una ficha por país": search_the_facts(meter, tokenizer, split, True),
        }
        for name, rules in (
            ("Reglas que reescriben y encaminan", rewriting_rules),
            ("Reglas por palabras clave", keyword_rules),
            ("Reglas a conciencia", careful_rules),
        ):
            answerers[name], handles[name] = rules(meter, tokenizer)
        # Sin ajustar, charla como los libros que leyó: con rayas.
        talk = measure_talk(
            model,
            tokenizer,
            lambda pair: encode_prose(tokenizer, pair),
            lambda text: tokenizer.encode(f"—{text}\n—"),
            stop="\n",
        )
    known = what_it_knows(evaluation.ask_directly(model, tokenizer), split)
    done = {}
    for name, answer in answerers.items():
        spent.clear()
        told, mixed = ask_all(answer, split), None
        costs = {"tokens": per_answer(spent)}
        if name in handles:  # las reglas deciden si una frase es charla
            asked = [Question("charla", text, "") for text in talk["dichas"]]
            routed = zip(talk["dichas"], talk["respuestas"], answer(asked), strict=True)
            replies = [ruled if handles[name](text) else prose for text, prose, ruled in routed]
            mixed = talk | {"respuestas": replies}
        done[name] = packed(told | known, mixed, split) | costs
    return done


def encode_prose(tokenizer, pair: Pair) -> Encoded:
    """Una pareja como en un libro, con rayas: lo único que cuenta es la respuesta."""
    before = tokenizer.encode(f"—{pair.user}\n—")
    reply = tokenizer.encode(pair.reply)
    ids = [*before, *reply]
    kinds = [Kind.USER] * len(before) + [Kind.REPLY] * len(reply)
    return Encoded(ids, [1] * len(ids), ids, kinds)


def tuned(seed: int, split: int, lora: bool = True, alike: bool = True, **data) -> dict:
    """Un ajuste con la receta de la lección 07, medido entero."""
    from transformers import set_seed

    set_seed(seed)
    track = get_track("mini")
    model, tokenizer = tuning.load_for_chat(track, alike)
    if lora:
        model = tuning.with_lora(model, tokenizer, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        run = tune_for_chat(track, model, tokenizer, Path(folder), seed, split=split, **data)
        costs = tuning_costs(run, Path(folder)) | {"pasos": run.trainer.state.global_step}
    model, exam = run.model, exam_of(split)
    costs |= {"mejor": run.trainer.state.best_global_step}
    costs["fugas"] = experiments.leaked(run, tokenizer, exam, ABSENT)
    talk = measure_talk(
        model,
        tokenizer,
        lambda pair: encode_conversation(tokenizer, pair_messages(pair.user, pair.reply)),
        lambda text: chat_prompt(tokenizer, pair_messages(text, "")[:1]),
    )
    meter, spent = metered(model)
    told = ask_all(evaluation.ask_in_chat(meter, tokenizer, chat_prompt), split)
    costs["tokens"] = per_answer(spent)
    told |= what_it_knows(evaluation.ask_directly(model, tokenizer), split)
    return packed(told, talk, split) | costs


def failed(seed: int, split: int) -> dict:
    """El modelo de la lección 05, con el mismo examen: lo que la charla ha de igualar."""
    track, original = get_track("mini"), factores.Condition("original")
    run, tokenizer, _ = factores.train(track, original, seed, split)
    model = run.model.eval()
    talk = measure_talk(
        model,
        tokenizer,
        lambda pair: factores.encode(tokenizer, pair, replace(original, padding_counts=False), 128),
        lambda text: original_prompt(tokenizer, pair_messages(text, "")[:1]),
    )
    meter, spent = metered(model)
    told = ask_all(evaluation.ask_in_chat(meter, tokenizer, original_prompt), split)
    costs = {"segundos": run.seconds, "tokens": per_answer(spent)}
    told |= what_it_knows(evaluation.ask_directly(model, tokenizer), split)
    return packed(told, talk, split) | costs


# De cada ajuste, cuántas semillas y en qué se aparta de la receta. Tres deciden si el repaso
# estropea las respuestas con historia, o si era que faltaban ejemplos de varios turnos.
TUNED = {
    "LoRA": (SEEDS, {}),
    "Ajuste completo": (SEEDS, {"lora": False}),
    "Sin repaso": (SEEDS // 2, {"replay": 0}),
    "Sin filas de varios turnos": (SEEDS // 2, {"chained": False}),
    "Sin repaso ni filas de varios turnos": (SEEDS // 2, {"replay": 0, "chained": False}),
    "Marcadores como la media": (SEEDS // 2, {"alike": False}),
}


def run_assistant(path: Path, seeds: int | None = None) -> dict:
    """Mide el asistente, sus rivales y sus variantes, reanudando lo hecho, y lo guarda."""
    jobs = {}
    for seed in range(seeds or SEEDS):
        jobs[f"rivales-{seed}"] = ("rivales", seed, seed % 2, {})
        if seed < min(SEEDS // 2, seeds or SEEDS):
            jobs[f"fracaso-{seed}"] = ("fracaso", seed, seed % 2, {})
        for name, (most, recipe) in TUNED.items():
            if seed < min(most, seeds or most):
                jobs[f"{name}-{seed}"] = (name, seed, seed % 2, recipe)
    experiments.hypotheses_commit()
    done = experiments.run_jobs(measure_once, jobs, output_path("asistente"))
    runs, answers = [], {}
    for job in done.values():
        for run in job["corridas"]:
            answers[f"{run['condicion']}-{run['semilla']}"] = run.pop("respuestas")
            runs.append(run)
    table = {"corridas": runs}
    experiments.store(path, table, answers, experiments.code_hash(measure_once))
    return table


def measure_once(name: str, seed: int, split: int, recipe: dict) -> dict:
    """Un trabajo de `run_assistant`: una corrida, o las de todos los rivales."""
    if name == "rivales":
        found = rivals(seed, split)
    elif name == "fracaso":
        found = {"El modelo de la lección 05": failed(seed, split)}
    else:
        found = {name: tuned(seed, split, **recipe)}
    return {"corridas": [{"condicion": n, "semilla": seed} | run for n, run in found.items()]}
