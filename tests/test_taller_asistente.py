"""El asistente y sus rivales: lo que cada uno entiende, cómo se le mide y qué se guarda."""

import dataclasses
import itertools
from collections import Counter
from types import SimpleNamespace

import pytest
from checks import each, graded_again, stored_runs

from course_lib import evaluation, tables, tuning, world
from course_lib.chat import generate
from course_lib.dialogues import Pair, shipped_dialogues
from course_lib.encoding import Kind
from course_lib.evaluation import build_exam, is_right, mentions_unknown
from course_lib.ladder import ASSISTANT, KEPT
from course_lib.tracks import get_track
from course_lib.world import ATTRIBUTES
from taller import asistente, factores, rivales
from taller.asistente import chat_arguments

MINI = get_track("mini")

# --- El ajuste -----------------------------------------------------------------------------------


@each("examples", [10, 40, 120, 7_672])
def test_with_few_examples_it_is_still_logged_and_measured_and_the_best_stays(examples, tmp_path):
    args = chat_arguments(MINI, tmp_path, examples)
    steps = -(-examples // args.per_device_train_batch_size)
    assert args.eval_steps <= steps and args.logging_steps <= max(1, steps // 2)
    assert args.load_best_model_at_end
    assert args.eval_strategy == args.save_strategy == "steps"
    assert args.save_steps % args.eval_steps == 0


def test_lora_learns_at_its_own_rate(tmp_path):
    rates = [chat_arguments(MINI, tmp_path, 100, lora).learning_rate for lora in (False, True)]
    assert rates == [MINI.tuning_rate, MINI.lora_rate] and rates[0] < rates[1]


# --- Los rivales ---------------------------------------------------------------------------------


@pytest.fixture
def knows_all(monkeypatch):
    """La forma de siempre, que contesta bien a toda pregunta entera y, a las demás, lo que lee."""
    countries = world.load_countries()
    asked = [
        world.fact_question(c, a, form)
        for c, a, form in itertools.product(countries, ATTRIBUTES, range(3))
    ]
    answers = {q.text: f"{q.answer}." for q in [*asked, *world.yes_no_questions(countries)]}

    def answer(questions):
        assert not any(q.history for q in questions)
        return [q.context or answers.get(q.text, "¿?") for q in questions]

    monkeypatch.setattr(evaluation, "ask_directly", lambda model, tokenizer: answer)


def split_of(split: int):
    return tuning.split_countries(split)[1]


def hits(answer, questions) -> int:
    return sum(map(is_right, answer(questions), questions))


@each("split", [0, 1])
def test_rules_understand_every_chain_they_were_written_for(split, knows_all):
    (rules, handles), countries = rivales.rewriting_rules(None, None), split_of(split)
    exam = build_exam(countries=countries)
    for turns, seed in ((2, 0), (3, 1), (4, 2)):
        chains = world.chain_questions(countries, turns, seed)
        assert hits(rules, chains) == len(chains) == 200
        assert all(handles(q.text) for q in chains)
    for part in (exam.facts, exam.chained, exam.unknown):
        assert hits(rules, part) == len(part)
    asked = world.yes_no_questions(world.load_countries())
    assert hits(rules, asked) == len(asked)


def test_the_search_reads_the_whole_talk_and_gives_up_below_what_it_knows(knows_all):
    find, (tuned, countries) = rivales.search_the_facts(None, None, 0), tuning.split_countries()
    known = [*world.fact_questions(tuned), *world.chain_questions(tuned)]
    assert sum(map(mentions_unknown, find(known))) <= len(known) // 50
    exam = build_exam(countries=countries)
    assert hits(find, exam.facts) > 0.9 * len(exam.facts)
    assert hits(find, exam.unknown) > 0.4 * len(exam.unknown)
    moved = [q for q in exam.chained if q.history[0].about != q.about]
    assert 0 < hits(find, moved) < len(moved)  # con la historia van dos países en la consulta


def test_in_the_usual_form_history_goes_before_or_not_at_all(monkeypatch):
    monkeypatch.setattr(
        evaluation, "ask_with", lambda model, tokenizer, prompt: lambda asked: [*map(prompt, asked)]
    )
    (question, example) = build_exam(countries=tuning.split_countries()[1]).chained[:2]
    forms = [rivales.in_form(None, None, [example], history) for history in (True, False)]
    whole, bare = (form([question])[0] for form in forms)
    told = world.question_prompt(question)
    assert whole.endswith(told) and bare.endswith(f"Pregunta: {question.text}\nRespuesta:")
    assert told.count("Pregunta:") == 2 and bare.count("Pregunta:") == 3 < whole.count("Pregunta:")


@each("split", [0, 1])
def test_all_that_is_asked_to_the_rivals_fits_in_the_model_with_its_answer(split, monkeypatch):
    room, longest = 256, []

    def generate(model, tokenizer, prompts, max_new_tokens=24, **options):
        longest.append(max(map(len, prompts), default=0) + max_new_tokens)
        return [""] * len(prompts)

    monkeypatch.setattr(evaluation, "generate", generate)
    none = tables.Tally(["0"], [1], [1])
    talk = {"dichas": ["Hola."] * 300, "respuestas": ["Hola."] * 300, "conversa": none}
    monkeypatch.setattr(asistente, "measure_talk", lambda *args, **options: talk)
    monkeypatch.setattr(asistente, "per_answer", lambda spent: 0)
    assert len(asistente.rivals(split, split)) == 10
    assert max(longest) <= room == MINI.load_model().config.max_position_embeddings


# --- Medir ---------------------------------------------------------------------------------------


def test_what_is_spent_is_what_is_read_and_written_without_the_padding():
    import torch

    def write(input_ids, pad_token_id, **options):  # a cada renglón, un token menos que al anterior
        new = [[7] * (3 - i) + [pad_token_id] * i for i in range(len(input_ids))]
        return torch.cat([input_ids, torch.tensor(new)], dim=1)

    config = SimpleNamespace(max_position_embeddings=64)
    model = SimpleNamespace(generate=write, config=config, device="cpu", eval=lambda: None)
    tokenizer = SimpleNamespace(
        eos_token_id=0, added_tokens_decoder={}, decode=lambda ids, **options: "x"
    )
    meter, spent = asistente.metered(model)
    assert generate(meter, tokenizer, [[1, 2, 3, 4, 5], [6, 7]], 3) == ["x", "x"]
    assert spent == {"tokens": 5 + 2 + 3 + 2, "respuestas": 2}
    assert asistente.per_answer(spent) == 6


def test_in_prose_only_the_reply_counts(tokenizer):
    encoded = asistente.encode_prose(tokenizer, Pair("¿Vienes?", "Voy.", 0))
    assert tokenizer.decode(encoded.input_ids) == "—¿Vienes?\n—Voy."
    reply = [i for i, k in zip(encoded.input_ids, encoded.kinds, strict=True) if k == Kind.REPLY]
    assert tokenizer.decode(reply) == "Voy."


def shares(answer) -> dict[str, float]:
    told = asistente.ask_all(answer, 1)
    measures = asistente.grade(told, 1)
    assert measures.keys() == {*told, "falso"}
    return {m: sum(tally.sums) / sum(tally.counts) for m, tally in measures.items()}


def test_who_knows_all_gets_all_and_who_knows_nothing_only_what_cannot_be_known():
    best = shares(lambda questions: [f"{q.answer}." for q in questions])
    assert best == dict.fromkeys(best, 1) | {"falso": 0}
    worst = shares(lambda questions: ["No lo sé."] * len(questions))
    assert (worst["no_lo_se"], worst["falso"]) == (1, 1)
    assert [worst[m] for m in ("chat", "encadenadas", "ajenas", "tres")] == [0] * 4


@pytest.fixture
def small(monkeypatch):
    """Todo igual, con un puñado de países, de preguntas, de charlas y de ejemplos."""

    def some(part):
        return shipped_dialogues(part)[: {"train": 14}.get(part, 6)]

    track = dataclasses.replace(MINI, dialogues=some, train_dialogues=12, limit=16)
    for module in (asistente, factores):
        monkeypatch.setattr(module, "get_track", lambda name: track)
    monkeypatch.setattr(factores, "total_steps", lambda track: 1)

    def few(*args, countries, **more):
        return build_exam(8, countries=countries[:4])

    monkeypatch.setattr(evaluation, "build_exam", few)
    monkeypatch.setattr(
        asistente, "split_countries", lambda split=0: [c[:4] for c in tuning.split_countries(split)]
    )
    pairs = asistente.talk_pairs(track, 4)
    monkeypatch.setattr(asistente, "talk_pairs", lambda track: pairs)
    forget = (asistente.exam_of, asistente.question_sets)  # lo que guardan para no repetirse
    for remembered in forget:
        remembered.cache_clear()
    yield
    for remembered in forget:
        remembered.cache_clear()


@pytest.mark.parametrize(("name", "split"), [("rivales", 0), ("fracaso", 1), ("LoRA", 1)])
def test_a_tiny_run_of_each_job_gives_every_measure(name, split, small):
    recipe = {"chained": False} if name == "LoRA" else {}
    job = asistente.measure_once(name, split, split, recipe)
    assert tables.from_json(tables.to_json(job)) == job  # como la guarda `run_jobs`
    runs = {run["condicion"]: run for run in job["corridas"]}
    assert len(runs) == (10 if name == "rivales" else 1)
    for run in runs.values():
        assert run["semilla"] == run["reparto"] == split and run["tokens"] > 1
        assert KEPT.keys() <= run["medidas"].keys()
        assert run["medidas"].keys() >= ASSISTANT.keys() - {"habla", "conversa"}
    assert any(ASSISTANT.keys() <= run["medidas"].keys() for run in runs.values())
    if name == "LoRA":
        assert (runs["LoRA"]["fugas"], runs["LoRA"]["pasos"]) == (0, 10)


# --- Lo guardado ---------------------------------------------------------------------------------


def test_the_stored_table_is_whole_and_its_answers_can_be_graded_again():
    found = stored_runs("asistente")
    seeds = Counter(run["condicion"] for run, _ in found)
    tuned = {name: most for name, (most, _) in asistente.TUNED.items()}
    assert {name: seeds[name] for name in tuned} == tuned
    assert seeds["El modelo de la lección 05"] == asistente.SEEDS // 2
    assert sorted((seeds - Counter(tuned)).values()) == [2] * 7 + [4] + [asistente.SEEDS] * 3
    exams = [build_exam(countries=tuning.split_countries(split)[1]) for split in (0, 1)]
    for run, told in found:
        assert run["reparto"] == run["semilla"] % 2
        # Con esas semillas, el generador de nombres inventó un «Sudán» para un texto de repaso: es
        # uno de los países de verdad de «no_lo_se_reales», y nada de los exámenes de la meta.
        replayed = "Sin repaso" not in run["condicion"]
        assert run.get("fugas", 0) == (run["semilla"] in (3, 4) and "fugas" in run and replayed)
        exam, measures = exams[run["reparto"]], run["medidas"]
        parts = {"chat": exam.facts, "encadenadas": exam.chained, "lee": exam.reading}
        for m, asked in parts.items():
            assert measures[m] == graded_again(told[m], asked)
