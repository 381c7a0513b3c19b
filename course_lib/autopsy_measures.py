"""Las medidas de la autopsia: las del marcador y las que delatan cada defecto."""

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

from course_lib import evaluation, task, world
from course_lib.autopsy import Condition, encode
from course_lib.dialogues import Pair, to_pairs
from course_lib.encoding import (
    BOT,
    USER,
    Kind,
    chat_prompt,
    original_prompt,
    pair_messages,
    plain,
)
from course_lib.evaluation import Exam, Measure
from course_lib.generation import first_turn, generate
from course_lib.tracks import Track
from course_lib.world import Question

GREETINGS = {
    "es": pair_messages("Hola, ¿qué tal?", "Muy bien, gracias."),
    "en": pair_messages("Hello, how are you?", "Fine, thank you."),
}


def build_exam(n: int = 200, language: str = "es") -> Exam:
    """El examen de la ablación: solo con los países que ninguna condición usa para ajustar.

    Así las condiciones con datos de la tarea y las demás contestan a lo mismo, y lo que se mide es
    si la forma aprendida con unos países vale para los otros.
    """
    whole = evaluation.build_exam(n, language=language)
    countries = task.split_countries(language=language)[1]
    yes_no, words = world.yes_no_questions(countries), world.WORDS[language]
    sides = [[q for q in yes_no if q.answer == side] for side in (words.yes, words.no)]
    rng = random.Random(0)
    return Exam(
        facts=rng.sample(world.fact_questions(countries), n),
        yes_no=[q for side in sides for q in rng.sample(side, n // 2)],
        reading=whole.reading,
    )


def spaced_prompt(tokenizer, messages: Sequence[dict[str, str]]) -> list[int]:
    """La petición original con la historia unida por espacios, como se unió al entrenar."""
    marker = {"user": USER, "assistant": BOT}
    turns = [f"{marker[m['role']]} {plain(m['content'], tokenizer)}" for m in messages]
    return tokenizer.encode(" ".join([*turns, BOT]))


def after_greeting(prompt: Callable, language: str = "es") -> Callable:
    """La misma petición, tras un intercambio de saludos: una pregunta con historia."""
    return lambda tokenizer, messages: prompt(tokenizer, [*GREETINGS[language], *messages])


def sampling(model):
    """El mismo modelo, que al generar sortea cada token con su probabilidad (temperatura 1)."""

    def draw(**kwargs):
        return model.generate(**kwargs | {"do_sample": True, "temperature": 1.0, "top_k": 0})

    return SimpleNamespace(config=model.config, device=model.device, eval=model.eval, generate=draw)


def measure(
    track: Track, condition: Condition, model, tokenizer, exam: Exam, held: Sequence[Pair] = ()
) -> dict[str, dict[str, Measure]]:
    """Todas las medidas de un modelo, por vista: «habitual», y «igual» y «azar» si proceden."""
    prompt = chat_prompt if condition.course_code else original_prompt
    directly = evaluation.ask_directly(model, tokenizer)

    def chat(questions: Sequence[Question], prompt=prompt, model=model) -> list[str]:
        return evaluation.ask_in_chat(model, tokenizer, prompt)(questions)

    def facts(answers: list[str]) -> Measure:
        return evaluation.accuracy(answers, exam.facts)

    def with_history(prompt) -> Measure:
        return facts(chat(exam.facts, after_greeting(prompt, track.language)))

    asked = [prompt(tokenizer, [{"role": "user", "content": q.text}]) for q in exam.facts]
    raw = generate(model, tokenizer, asked, max_new_tokens=40)
    yes_no = chat(exam.yes_no)
    usual = {
        "sabe": facts(directly(exam.facts)),
        "chat": facts([first_turn(text) for text in raw]),
        "si_no": evaluation.accuracy(directly(exam.yes_no), exam.yes_no),
        "si_no_chat": evaluation.accuracy(yes_no, exam.yes_no),
        "dice_si": evaluation.yes_share(yes_no),
        "lee": evaluation.accuracy(directly(exam.reading), exam.reading),
        "para": evaluation.proportion([stops(text, tokenizer, 40) for text in raw]),
        "historia": with_history(prompt),
        "conversa": reply_loss(track, condition, model, tokenizer, "test"),
    }
    views = {"habitual": usual}
    if not condition.course_code:
        views["igual"] = {"historia": with_history(spaced_prompt)}
    if condition.name == "original":
        drawn = chat(exam.yes_no, model=sampling(model))
        views["azar"] = {
            "chat": facts(chat(exam.facts, model=sampling(model))),
            "si_no_chat": evaluation.accuracy(drawn, exam.yes_no),
            "dice_si": evaluation.yes_share(drawn),
        }
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
    condition = dataclasses.replace(condition, padding_counts=False)
    encoded = [encode(tokenizer, pair, condition, track.max_length) for pair in pairs]
    groups = [pair.dialogue for pair in pairs]
    pad = tokenizer.pad_token_id
    return evaluation.talk_loss(model, encoded, groups, pad, kinds=(Kind.REPLY,))


def contributions(row: Mapping, shares: Mapping[Kind, float]) -> dict[Kind, float]:
    """Lo que cada clase de token aporta a la pérdida de una anotación: suman la pérdida.

    Args:
        row: una anotación de `fine_tune`; si a sus pasos no les tocó ningún token de una clase, no
            la trae, y su aportación es 0.
        shares: qué parte de los tokens que cuentan es de cada clase; suman 1.

    >>> row = {"loss": 2.0, "loss_reply": 4.0, "loss_padding": 0.0}
    >>> contributions(row, {Kind.REPLY: 0.5, Kind.PADDING: 0.5, Kind.END: 0.0})
    {<Kind.REPLY: 2>: 2.0, <Kind.PADDING: 4>: 0.0}
    """
    return {
        kind: share * row.get(f"loss_{kind.name.lower()}", 0.0)
        for kind, share in shares.items()
        if share
    }


def first_words(model, tokenizer, prompts: Sequence[list[int]]) -> dict[str, float]:
    """La probabilidad media de cada primer token de la respuesta, de mayor a menor.

    Args:
        prompts: los ids de cada petición.

    Returns:
        Por el texto de cada token, su probabilidad media; suman 1.
    """
    import torch

    total = torch.zeros(model.config.vocab_size, device=model.device)
    with torch.inference_mode():
        for ids in prompts:
            logits = model(torch.tensor([ids], device=model.device)).logits[0, -1]
            total += logits.float().softmax(-1)
    words: dict[str, float] = {}
    for i, chance in enumerate((total / len(prompts)).tolist()):
        word = tokenizer.decode([i])  # dos ids pueden leerse igual: bytes sueltos de un carácter
        words[word] = words.get(word, 0.0) + chance
    return dict(sorted(words.items(), key=lambda item: -item[1]))
