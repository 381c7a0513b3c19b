"""Ejercicios de la lección 04: pasos, medias engañosas, una receta rota y de dónde se parte."""

import math
from dataclasses import fields
from functools import cache

from course_lib.encoding import Kind
from course_lib.evaluation import talk_loss
from course_lib.exercises import Exercise
from course_lib.exercises.review import function, is_number, number, prediction, shown, told
from course_lib.original import original_examples, original_record
from course_lib.tracks import get_track

RECORD = original_record()
STEPS = 3 * -(-20_000 // 32)  # los de la receta del 4.3


def _review_recipe(answer) -> str | None:
    if not isinstance(answer, dict):
        return 'Se espera un diccionario, por ejemplo {"logging_steps": 10}.'
    if "evaluation_strategy" in answer:
        return "`evaluation_strategy` es el nombre antiguo, y hoy da error. ¿Cómo se llama ahora?"
    from transformers import TrainingArguments  # tarda, y la lección ya lo ha importado

    known = {field.name for field in fields(TrainingArguments)}
    if odd := [key for key in answer if key not in known]:
        return f"`TrainingArguments` no admite hoy {shown(odd[0])}. Quítalo o escríbelo bien."
    if "eval_strategy" not in answer:
        return 'Falta el argumento que dice cuándo evaluar, que por omisión vale "no".'
    if answer["eval_strategy"] not in ("steps", "epoch"):
        return 'El valor de `eval_strategy` debe ser "steps" o "epoch": con "no" no te enteras.'
    same = {"num_train_epochs": 3, "per_device_train_batch_size": 32}
    if changed := [key for key, value in same.items() if answer.get(key) != value]:
        return f"Deja `{changed[0]}` como estaba: lo que haya que cambiar no es eso."
    steps = {key: answer.get(key, 0) for key in ("warmup_steps", "logging_steps", "eval_steps")}
    if odd := [key for key, value in steps.items() if not is_number(value)]:
        return f"`{odd[0]}` es un número de pasos, y hay {shown(steps[odd[0]])}."
    total = f"Son {shown(STEPS)} pasos en total"
    if steps["warmup_steps"] > STEPS / 10:
        return (
            f"{total}: la subida se lleva {shown(steps['warmup_steps'])}, más de la décima parte."
        )
    every = steps["logging_steps"] or 500
    if every > STEPS / 10:
        return f"{total}, y anotando cada {shown(every)} no salen diez anotaciones."
    if answer["eval_strategy"] == "steps" and steps["eval_steps"] > STEPS:
        return f"{total}: evaluando cada {shown(steps['eval_steps'])} no se evalúa nunca."
    return None


@cache
def _reply_loss() -> tuple[float, float]:
    """La pérdida del modelo de partida en los tokens de la respuesta, y la de adivinar a ciegas."""
    track = get_track(report=lambda text: None)
    tokenizer = track.load_tokenizer()
    rows, pad = original_examples(track, tokenizer)[:32], tokenizer.pad_token_id
    loss = talk_loss(track.load_model(), rows, range(len(rows)), pad, kinds=(Kind.REPLY,))
    return loss.value, math.log(len(tokenizer))


def _review_loss(measured) -> str | None:
    if not is_number(measured):
        return f"La medida es un número de nats, y hay {shown(measured)}."
    right, blind = _reply_loss()
    if abs(measured - blind) < 0.002:
        return "Eso es adivinar a ciegas. La medida la da `talk_loss` con el modelo de partida."
    if abs(measured - right) < 0.02 * right:
        return None
    side = "menos: ¿es el modelo ya ajustado?" if measured < right else "más: ¿qué tokens cuentas?"
    return f"La medida no es {shown(measured)}. Te sale de {side}"


EXERCISES = {
    "4.1": Exercise(
        function(
            "steps(pairs, batch_size, epochs)",
            ((64, 32, 1), 2, "son dos lotes justos"),
            ((65, 32, 1), 3, "hace falta un tercer lote, aunque lleve una sola pareja"),
            ((65, 32, 2), 6, "el lote a medias se repite cada época, y se redondea antes"),
            ((76_052, 32, 3), RECORD["pasos"], "lo dice el registro de la lección original"),
        ),
        "Los pasos de una época son los lotes que hacen falta para dar la vuelta a los datos.",
        "Si el último lote queda a medias, cuenta igual: redondea hacia arriba.",
        "`-(-a // b)` divide redondeando hacia arriba; después multiplica por las épocas.",
        praise="Los 7.131 pasos del registro salen de aquí, sin haber entrenado nada.",
    ),
    "4.2": Exercise(
        number(
            0.7 / 0.3,
            {
                0.7 * 0.3: "Es menos que la media, y los tokens reales son los difíciles.",
                0.7 / 0.7: "Divides por la parte del relleno, y toda la pérdida viene de la otra.",
            },
            "La media de todos es 0,7: ¿cuánto suman cien tokens, y entre cuántos se reparte?",
            tolerance=0.02,
        ),
        "Imagina cien tokens contados: ¿cuántos son reales y cuánto suma la pérdida de todos?",
        "La suma es 100 × 0,7 = 70, y toda viene de los 30 tokens reales.",
        praise="Más de tres veces lo que decía la media: 0,7 era una cifra con mucho aire dentro.",
    ),
    "4.3": Exercise(
        _review_recipe,
        "Calcula primero cuántos pasos son, con tu función del 4.1, y compáralos con la receta.",
        'Uno de los argumentos ya no existe, y otro cambió de nombre; por omisión vale "no".',
        'Sobra `overwrite_output_dir`. Pon `eval_strategy="steps"`, y una subida y unas '
        "anotaciones de 187 pasos o menos.",
        praise="Con eso, y un `eval_dataset` de charlas apartadas, la cifra ya querrá decir algo.",
    ),
    "4.4": Exercise(
        prediction(0, 30, _review_loss),
        "La predicción es tuya y no puede estar mal. La medida está en la segunda celda.",
        "La medida es el número de la celda de `talk_loss`, con el modelo de partida: `model`.",
        praise=lambda answer: (
            f"{told(*answer, 0.5)} Adivinar a ciegas costaría {shown(round(_reply_loss()[1], 2))}. "
            "Cuanto más cerca, menos le sirve aquí, con marcadores que nunca vio, lo que sabía de "
            "charlar. De ahí parte la curva."
        ),
    ),
}
