"""Meter hechos nuevos ajustando: cuánto se queda según los pasos, la tasa y las redacciones.

`python -m taller inyeccion` lo mide y lo guarda; la lección 07 lo lee. Lo que se esperaba está en
`data/experimentos/hipotesis.toml`. Dos materiales: los documentos de la universidad, que el modelo
solo sabe leer, y países inventados, cuya forma ya sabe recordar.
"""

import itertools
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from course_lib import evaluation, output_path, reading, tuning, world
from course_lib.chat import generate
from course_lib.dialogues import normalize
from course_lib.encoding import collate, encode_text
from course_lib.evaluation import is_right
from course_lib.tables import mean, tally
from course_lib.tracks import get_track
from course_lib.training import fine_tune
from course_lib.world import ATTRIBUTES, Country, Question
from taller import experiments, factores

STEPS, RATES, SEEDS = (300, 1200), (2, 6), 2  # las tasas, en doceavos de la del preentrenamiento
BATCH = 8  # textos por paso, la mitad repaso
INVENTED = 85  # países, tantos como documentos
WORDINGS = ("una", "varias", "varias y preguntas")


def invented_countries(seed: int = 0) -> list[Country]:
    """Países inventados: nombre y capital, que no salen en el examen de lectura, y lo demás, tomado
    de los de verdad."""
    rng, real = random.Random(f"inyección {seed}"), world.load_countries()
    contexts = " ".join(q.context for q in reading.reading_questions(200))
    taken = {*re.findall(r"\w+", contexts)}

    def borrowed(attribute: str) -> str:
        return getattr(rng.choice(real), attribute)

    names: list[str] = []
    while len(names) < 2 * INVENTED:
        name = reading.invent_name(rng, reserved=True)
        names += [name] * (name not in taken)
        taken.add(name)
    return [
        Country("", name, capital, *map(borrowed, ATTRIBUTES[1:]))
        for name, capital in zip(names[::2], names[1::2], strict=True)
    ]


def facts_to_inject(material: str, seed: int) -> list[list[tuple[list[str], list[str], Question]]]:
    """De cada documento o país, sus hechos: las redacciones (la primera, la del texto), las maneras
    de preguntarlo que el examen no usa y la pregunta del examen."""
    if material == "documentos":
        return [
            [
                ([line, *(w for w in said if w != line)], asked, replace(q, context=None))
                for line, (said, asked), q in zip(
                    _lines(document), wordings_of(document), document.questions, strict=True
                )
            ]
            for document in world.load_documents()
        ]
    templates = world.load_templates()["hechos"]
    found = []
    for c in invented_countries(seed):
        facts = []
        for a in ATTRIBUTES:
            said = [world.render(t, pais=c.name, x=getattr(c, a)) for t in templates[a]["frases"]]
            # Otras preguntas, solo de la capital: así hay casi tantas como de los documentos.
            forms = (1, 2) if a == "capital" else ()
            asked = [world.fact_question(c, a, form).text for form in forms]
            facts.append((said, asked, world.fact_question(c, a)))
        found.append(facts)
    return found


def _lines(document: world.Document) -> list[str]:
    return [f"{line}." for line in document.text.removesuffix(".").split(". ")]


def texts_to_inject(facts: Sequence, wordings: str, rng: random.Random) -> list[str]:
    """Una vuelta por todo el material: cada documento, y cada pregunta si las hay, una vez."""
    texts = []
    for document in facts:
        lines = [said[0] if wordings == "una" else rng.choice(said) for said, _, _ in document]
        if wordings != "una":
            rng.shuffle(lines)
        texts.append(" ".join(lines))
        for _, asked, q in document if wordings == "varias y preguntas" else ():
            if asked:
                text = world.question_prompt(replace(q, text=rng.choice(asked)))
                texts.append(f"{text} {q.answer}.")
    rng.shuffle(texts)
    return texts


def recall(model, tokenizer, facts: Sequence) -> tuple[list[str], list[bool], list[str]]:
    """Si sigue cada texto, tal como se escribió, desde donde empieza cada respuesta.

    Delante van las frases anteriores del mismo texto, como al entrenar con una redacción.

    Returns: lo que escribe, si es la respuesta y de qué documento.
    """
    begun, answers, documents = [], [], []
    for number, document in enumerate(facts):
        before = ""
        for said, _, q in document:
            line = said[0]
            start = line[: line.lower().rindex(q.answer.lower())]
            if before + start:  # si no, no hay de dónde tirar
                begun.append((before + start).rstrip())
                answers.append(q.answer)
                documents.append(q.about or f"documento {number}")
            before += f"{line} "
    texts = generate(model, tokenizer, [tokenizer.encode(text) for text in begun], 16)
    right = [
        f"{normalize(text)} ".startswith(f"{normalize(answer)} ")
        for text, answer in zip(texts, answers, strict=True)
    ]
    return texts, right, documents


def dummies(questions: Sequence[Question]) -> tuple[list[float], list[float]]:
    """Lo que aciertan dos tontos que solo saben de qué clase es la respuesta: una hora, un idioma…

    Returns: con qué probabilidad acierta, en cada pregunta, el que contesta al azar un valor de esa
    clase de los que salen en el material, y si acierta el que dice siempre el que más sale.
    """
    relations = [
        (relation["b"], re.compile("|".join(map(_asked, relation["preguntas"])), re.IGNORECASE))
        for relation in world.load_templates()["lectura"]
    ]

    def kind(q: Question) -> str:
        return next((kind for kind, pattern in relations if pattern.fullmatch(q.text)), q.kind)

    values: dict[str, list[str]] = {}
    for q in questions:
        values.setdefault(kind(q), []).append(q.answer)
    usual = {name: Counter(some).most_common(1)[0][0] for name, some in values.items()}
    at_random = [mean(is_right(f"{value}.", q) for value in values[kind(q)]) for q in questions]
    return at_random, [is_right(f"{usual[kind(q)]}.", q) for q in questions]


def _asked(question: str) -> str:
    """Una pregunta de plantilla como expresión: «de {a}» puede ir contraído."""
    return re.escape(question).replace(r"de\ \{a\}", "de(?:l|\\ ).+").replace(r"\{a\}", ".+")


def inject(material: str, wordings: str, rate: int, seed: int) -> list[dict]:
    """Un ajuste con la tasa constante, que se mide al pasar por cada número de pasos de `STEPS`."""
    from transformers import TrainerCallback, TrainingArguments, set_seed

    set_seed(seed)
    track, split = get_track("mini"), seed % 2
    model, tokenizer = track.load_model(), track.load_tokenizer()
    facts, rng = facts_to_inject(material, seed), random.Random(seed)
    tuned, _ = tuning.split_countries(split, track.language)
    half, chosen = STEPS[-1] * BATCH // 2, []
    while len(chosen) < half:
        chosen += texts_to_inject(facts, wordings, rng)
    replay = tuning.replay_texts(half, seed, countries=tuned)
    mixed = [t for pair in zip(chosen, replay, strict=False) for t in pair]
    found: dict[int, dict] = {}
    start, measuring = time.perf_counter(), 0.0

    class Measure(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            nonlocal measuring
            if state.global_step in STEPS:
                now = time.perf_counter()
                spent = {"segundos": round(now - start - measuring, 1)}
                found[state.global_step] = spent | measure(model.eval(), tokenizer, facts, split)
                measuring += time.perf_counter() - now
                model.train()

    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            max_steps=STEPS[-1],
            per_device_train_batch_size=BATCH,
            learning_rate=track.learning_rate * rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=20,
            weight_decay=0.01,
            logging_steps=100,
            save_strategy="no",
            seed=seed,
        )
        rows = [encode_text(tokenizer, text) for text in mixed]
        collator = partial(collate, pad_token_id=tokenizer.eos_token_id)
        run = fine_tune(model, args, rows, collator, callbacks=[Measure()])
    # Los hechos que se meten están ahí a propósito; las preguntas del examen, y lo que ya sabía de
    # los países que no se repasan, no.
    exam = evaluation.build_exam(countries=tuning.split_countries(split)[1])
    leaked = experiments.leaked(run, tokenizer, replace(exam, unknown=[]))
    asked = {q.text for document in facts for _, _, q in document}
    leaked += sum(question in text for question in asked for text in mixed)
    named = f"{material}, {wordings}, tasa {rate}/12"
    costs = {"semilla": seed, "reparto": split, "fugas": leaked}
    return [{"condicion": f"{named}, {steps} pasos"} | costs | found[steps] for steps in STEPS]


def measure(model, tokenizer, facts: Sequence, split: int) -> dict:
    """Lo que recuerda con las mismas palabras, lo que contesta, y lo que conserva de lo suyo.

    «comparable» es lo que contesta de lo que se puede comparar entre materiales: solo los hechos
    que se enseñan también con otras preguntas y, de los países, las capitales, que son inventadas.
    """
    directly = evaluation.ask_directly(model, tokenizer)
    exam = evaluation.build_exam(countries=tuning.split_countries(split)[1])
    asked = [q for document in facts for _, _, q in document]
    groups = [
        q.about or f"documento {i}" for i, document in enumerate(facts) for _, _, q in document
    ]
    parts = {"sabe": exam.facts, "si_no": exam.yes_no, "lee": exam.reading, "contesta": asked}
    told = {m: directly(questions) for m, questions in parts.items()}
    measures = {}
    for m, questions in parts.items():
        right = [is_right(a, q) for a, q in zip(told[m], questions, strict=True)]
        clusters = groups if m == "contesta" else [q.about or i for i, q in enumerate(questions)]
        measures[m] = tally(right, clusters)
    fair = [bool(others) and q.kind in ("documento", "capital") for document in facts
            for _, others, q in document]  # fmt: skip
    chosen = [is_right(a, q) for a, q in itertools.compress(zip(told["contesta"], asked), fair)]
    measures["comparable"] = tally(chosen, [*itertools.compress(groups, fair)])
    told["recuerda"], same, documents = recall(model, tokenizer, facts)
    measures["recuerda"] = tally(same, documents)
    for name, right in zip(("al azar", "el que más sale"), dummies(asked), strict=True):
        measures[name] = tally(right, groups)
    return {"medidas": factores.packed(measures), "respuestas": told}


def run_injection(path: Path, seeds: int = SEEDS) -> dict:
    """Hace los ajustes que falten y guarda la tabla en `path`."""
    experiments.hypotheses_commit()
    jobs = {
        f"{material}-{wordings}-{rate}-{seed}": (material, wordings, rate, seed)
        for seed in range(seeds)
        for material, wordings, rate in itertools.product(
            ("documentos", "países inventados"), WORDINGS, RATES
        )
    }
    jobs["sin ajustar"] = ("sin ajustar", "", 0, 0)
    done = experiments.run_jobs(measure_once, jobs, output_path("inyeccion"))
    runs = [run for job in done.values() for run in job["corridas"]]
    answers = {f"{r['condicion']}-{r['semilla']}": r.pop("respuestas") for r in runs}
    table = {"corridas": runs}
    experiments.store(path, table, answers, experiments.code_hash(measure_once))
    return table


def measure_once(material: str, wordings: str, rate: int, seed: int) -> dict:
    """Un trabajo de `run_injection`: un ajuste, o los dos materiales sin ajustar y con RAG."""
    if material != "sin ajustar":
        return {"corridas": inject(material, wordings, rate, seed)}
    track = get_track("mini")
    model, tokenizer = track.load_model(), track.load_tokenizer()
    runs = []
    for name, split in itertools.product(("documentos", "países inventados"), range(SEEDS)):
        facts = facts_to_inject(name, split)
        base = {"semilla": split, "reparto": split, "fugas": 0}
        untouched = measure(model, tokenizer, facts, split)
        found = search(model, tokenizer, facts)
        runs.append({"condicion": f"{name}, sin ajustar"} | base | untouched)
        runs.append({"condicion": f"{name}, buscando (RAG)"} | base | found)
    return {"corridas": runs}


def search(model, tokenizer, facts: Sequence) -> dict:
    """Lo mismo, sin ajustar: buscar el texto con BM25 y leerlo."""
    from course_lib.retrieval import build_index, retrieval_prompt

    texts = {str(i): " ".join(said[0] for said, _, _ in doc) for i, doc in enumerate(facts)}
    prompt = retrieval_prompt(build_index(texts).search)
    asked = [q for document in facts for _, _, q in document]
    told = evaluation.ask_with(model, tokenizer, prompt)(asked)
    right = [is_right(a, q) for a, q in zip(told, asked, strict=True)]
    groups = [
        q.about or f"documento {i}" for i, document in enumerate(facts) for _, _, q in document
    ]
    return {
        "medidas": factores.packed({"contesta": tally(right, groups)}),
        "respuestas": {"contesta": told},
    }


def wordings_of(document: world.Document) -> list[tuple[list[str], list[str]]]:
    """De cada frase, sus redacciones (ella incluida) y las otras maneras de preguntarla."""
    lines = re.split(r"(?<=\.) ", document.text)
    return [
        _rewordings(line, question)
        for line, question in zip(lines, document.questions, strict=True)
    ]


def _rewordings(line: str, question: Question) -> tuple[list[str], list[str]]:
    for relation in world.load_templates(question.lang)["lectura"]:
        for asked in relation["preguntas"]:
            before, after = asked.split("{a}")
            pattern = re.escape(before) + "(?P<a>.+)" + re.escape(after)
            for text in (question.text, question.text.replace(" del ", " de el ", 1)):
                match = re.fullmatch(pattern, text, flags=re.IGNORECASE)
                if not match:
                    continue
                a, b = match["a"], question.answer
                said = [world.render(phrase, a=a, b=b) for phrase in relation["frases"]]
                if line in said:
                    others = [world.render(q, a=a) for q in relation["preguntas"]]
                    return said, [q for q in others if q != question.text]
    return [line], []  # tres frases son de otro molde: se quedan como están
