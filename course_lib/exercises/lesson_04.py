"""Ejercicios de la lección 04: pasos, medias engañosas y argumentos que faltan."""

import math

from course_lib.exercises import Exercise
from course_lib.original import original_record


def _review_steps(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `steps(pairs, batch_size, epochs)`, sin llamarla."
    if answer(64, 32, 1) != 2:
        return "con 64 parejas, lotes de 32 y una época deben salir 2 pasos."
    if answer(65, 32, 1) != 3:
        return "con 65 parejas hace falta un tercer lote, aunque lleve una sola."
    if answer(65, 32, 2) != 6:
        return (
            "el lote a medias se repite en cada época: con 65 parejas y dos épocas son 6 pasos, "
            "así que se redondea antes de multiplicar."
        )
    if answer(76_052, 32, 3) != original_record()["pasos"]:
        return "con los números de la lección original no sale lo que dice su registro."
    return None


def _review_real_loss(answer) -> str | None:
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return "se espera un número."
    if math.isclose(answer, 0.7 * 0.3, rel_tol=0.02):
        return "esa cifra es más baja que la media, y los tokens reales son los difíciles."
    if math.isclose(answer, 0.7 / 0.7, rel_tol=0.02):
        return "has dividido por la parte del relleno; toda la pérdida viene de la otra parte."
    if not math.isclose(answer, 0.7 / 0.3, rel_tol=0.02):
        return "la media de todos es 0,7: ¿cuánto suman cien tokens, y entre cuántos se reparte?"
    return None


def _review_arguments(answer) -> str | None:
    if not isinstance(answer, dict):
        return 'se espera un diccionario, por ejemplo {"logging_steps": 10}.'
    if "evaluation_strategy" in answer:
        return (
            "`evaluation_strategy` es el nombre antiguo, y hoy da un error: ¿cómo se llama ahora?"
        )
    if "eval_strategy" not in answer:
        return 'falta el argumento que dice cuándo evaluar, que por omisión vale "no".'
    if answer["eval_strategy"] not in ("steps", "epoch"):
        return 'el valor de `eval_strategy` debe ser "steps" o "epoch": con "no" no te enteras.'
    if len(answer) != 2:
        return "son justo dos argumentos: cuándo evaluar y otro que lo acompañe."
    useful = {
        "eval_steps",
        "per_device_eval_batch_size",
        "load_best_model_at_end",
        "metric_for_best_model",
        "eval_on_start",
    }
    other = next(key for key in answer if key != "eval_strategy")
    if other not in useful:
        return (
            f"«{other}» no ayuda a saber si ha aprendido: piensa en cada cuánto evaluar, en medir "
            "también antes de empezar o en quedarse con el mejor."
        )
    return None


def _review_minutes(answer) -> str | None:
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return "se espera el número de minutos, ya calculado."
    record = original_record()
    minutes = record["segundos"] / 60 * 10 / 3
    if math.isclose(answer, minutes * 60, rel_tol=0.02):
        return "eso son segundos: se piden minutos."
    if math.isclose(answer, record["segundos"] / 60, rel_tol=0.02):
        return "eso es lo que tardaron las 3 épocas; se piden 10."
    if math.isclose(answer, minutes * 3, rel_tol=0.02):
        return "los 7.131 pasos ya son 3 épocas, no una."
    if not math.isclose(answer, minutes, rel_tol=0.02):
        return "no sale: segundos por paso, por los pasos de 10 épocas, entre 60."
    return None


EXERCISES = (
    Exercise(
        id="4.1",
        review=_review_steps,
        praise="Los 7.131 pasos del registro salen de aquí, sin haber entrenado nada.",
        hints=(
            "Los pasos de una época son los lotes que hacen falta para dar la vuelta a los datos.",
            "Si el último lote queda a medias, cuenta igual: redondea hacia arriba.",
            "`-(-a // b)` divide redondeando hacia arriba; después multiplica por las épocas.",
        ),
        solution="""
def steps(pairs, batch_size, epochs):
    return -(-pairs // batch_size) * epochs

respuesta = steps
""",
    ),
    Exercise(
        id="4.2",
        review=_review_real_loss,
        praise="Más de tres veces lo que decía la media: 0,7 era una cifra con mucho aire dentro.",
        hints=(
            "Imagina cien tokens contados: ¿cuántos son reales y cuánto suma la pérdida de todos?",
            "La suma es 100 × 0,7 = 70, y toda viene de los 30 tokens reales.",
        ),
        solution="respuesta = 0.7 / 0.3",
    ),
    Exercise(
        id="4.3",
        review=_review_arguments,
        praise="Con eso, y un `eval_dataset` de diálogos apartados, la cifra ya querrá decir algo.",
        hints=(
            "La pérdida de entrenamiento mide los datos que ya ha visto. ¿Quién mide los otros?",
            'Uno de los dos dice cuándo evaluar; por omisión vale "no".',
            'Uno es `eval_strategy="steps"`; el otro puede decir cada cuántos pasos.',
        ),
        solution='respuesta = {"eval_strategy": "steps", "eval_steps": 100}',
    ),
    Exercise(
        id="4.4",
        review=_review_minutes,
        praise="Medir el ritmo durante unos pasos y multiplicar ahorra muchas noches de espera.",
        hints=(
            "¿Cuántos segundos tardaba aquella T4 en cada paso?",
            "Si 7.131 pasos son 3 épocas, 10 épocas son 7.131 × 10 / 3.",
        ),
        solution="""
def minutes(steps, seconds_per_step):
    return steps * seconds_per_step / 60

respuesta = minutes(7131 / 3 * 10, 1537.4 / 7131)
""",
    ),
)
