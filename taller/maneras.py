"""La misma forma, enseñada de tres maneras: imitando, destilando y reforzando.

`python -m taller.maneras` lo mide y lo guarda en `data/experimentos/maneras.json`, que lee la
lección 09. Lo que se esperaba está en `data/experimentos/hipotesis.toml`.
"""

import random
import sys
import time
from collections.abc import Sequence

from course_lib import beyond, data_path, evaluation, output_path, read_toml, tuning, world
from course_lib.cli import run_safely
from course_lib.dialogues import normalize
from course_lib.encoding import IGNORED, Encoded, chat_prompt, encode_conversation, pair_messages
from course_lib.evaluation import Answerer, ask_directly, ask_in_chat, conversation, is_right
from course_lib.tables import tally
from course_lib.tracks import get_track
from course_lib.world import Question
from taller import experiments

EPOCHS, BATCH, REINFORCED = 3, 16, 60  # vueltas al imitar; pasos al reforzar


def exactly(text: str, question: Question) -> bool:
    """Si la respuesta es la esperada y nada más: el corrector que premia y el que puntúa."""
    return normalize(text) == normalize(question.answer)


def imitate(model, rows: Sequence[Encoded], pad_token_id: int, rate: float, seed: int) -> None:
    """Unas vueltas de ajuste supervisado, con el mismo optimizador que al reforzar."""
    step, rng = beyond.stepper(model, rate), random.Random(seed)
    for _ in range(EPOCHS):
        order = rng.sample(range(len(rows)), len(rows))
        for start in range(0, len(rows), BATCH):
            some = [rows[i] for i in order[start : start + BATCH]]
            batch = beyond.batch_of(some, pad_token_id, model.device)
            told = beyond.log_probs(model, batch).sum()
            step(-told / (batch["labels"][:, 1:] != IGNORED).sum())


def drift(model, other, rows: Sequence[Encoded], pad_token_id: int) -> float:
    """La divergencia KL de `model` respecto de `other`, en nats por token con etiqueta.

    Cero si en esos textos dan a todo las mismas probabilidades. Los dos con el mismo vocabulario.
    """
    import torch

    batch = beyond.batch_of(rows, pad_token_id, model.device)
    counted = batch.pop("labels")[:, 1:] != IGNORED
    model.eval()
    other.eval()
    with torch.inference_mode():
        mine, theirs = (
            m(**batch).logits[:, :-1][counted].float().log_softmax(-1) for m in (model, other)
        )
    return (mine.exp() * (mine - theirs)).sum(-1).mean().item()


def run(way: str, rate: float, seed: int) -> dict:
    """Una manera, una tasa y una semilla; el reparto de los países cambia con la semilla."""
    track = get_track("mini")
    base, tokenizer = tuning.load_for_chat(track, alike=False)
    model, _ = tuning.load_for_chat(track, alike=False)
    taught, apart = tuning.split_countries(seed % 2)
    asked = world.fact_questions(taught)
    exam = evaluation.build_exam(200, countries=apart)
    texts = [q.answer for q in asked]
    start = time.perf_counter()
    if way == "reforzar":
        prompts = [chat_prompt(tokenizer, conversation(q)[:-1]) for q in asked]
        beyond.reinforce(
            model,
            tokenizer,
            prompts,
            lambda i, text: exactly(text, asked[i]) and not text.endswith("…"),
            REINFORCED,
            rate,
            seed=seed,
        )
    else:
        if way == "destilar":
            texts = ask_directly(base, tokenizer)(asked)
            told = [pair_messages(q.text, text) for q, text in zip(asked, texts, strict=True)]
        else:
            told = [conversation(q) for q in asked]
        rows = [encode_conversation(tokenizer, messages) for messages in told]
        imitate(model, rows, tokenizer.pad_token_id, rate, seed)
    seconds = time.perf_counter() - start
    seen = [f"{q.text} {text}" for q, text in zip(asked, texts, strict=True)]
    chat, directly = ask_in_chat(model, tokenizer, chat_prompt), ask_directly(model, tokenizer)

    def measured(ask: Answerer, questions: Sequence[Question], grade=is_right) -> tuple:
        answers = ask(questions)
        return tally(
            [grade(a, q) for a, q in zip(answers, questions, strict=True)],
            [q.about or str(i) for i, q in enumerate(questions)],
        )

    told = [encode_conversation(tokenizer, conversation(q)) for q in exam.facts]
    return {
        "condicion": f"{way}, tasa {rate:g}",
        "semilla": seed,
        "reparto": seed % 2,
        "segundos": round(seconds),
        "fugas": len(evaluation.leaks([*exam.facts, *exam.yes_no, *exam.reading], seen)),
        "kl": drift(base, model, told, tokenizer.pad_token_id),
        "medidas": {
            "estricto": measured(chat, exam.facts, exactly),
            "chat": measured(chat, exam.facts),
            "sabe": measured(directly, exam.facts),
            "si_no": measured(directly, exam.yes_no),
            "lee": measured(directly, exam.reading),
        },
    }


def main() -> None:
    plan = read_toml("experimentos", "hipotesis.toml")["maneras"]
    jobs = {
        f"{way}-{rate:g}-{seed}": (way, rate, seed)
        for way in plan["maneras"]
        for rate in plan["tasas"]
        for seed in range(plan["semillas"])
    }
    done = experiments.run_jobs(run, jobs, output_path("maneras"))
    path = data_path("experimentos") / "maneras.json"
    code = experiments.code_hash(run)
    experiments.store(path, {"corridas": list(done.values())}, code=code)
    print(f"La tabla está en {path}")


if __name__ == "__main__":
    sys.exit(run_safely(main))
