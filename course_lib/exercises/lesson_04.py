"""Ejercicios de la lección 04: pasos, medias engañosas y argumentos que faltan."""

from course_lib.exercises import Exercise
from course_lib.exercises.review import function, number
from course_lib.original import original_record

RECORD = original_record()
MINUTES = RECORD["segundos"] / 60  # los de 3 épocas
USEFUL = ["eval_steps", "eval_on_start", "per_device_eval_batch_size"]
USEFUL += ["load_best_model_at_end", "metric_for_best_model"]


def _review_arguments(answer) -> str | None:
    if not isinstance(answer, dict):
        return 'Se espera un diccionario, por ejemplo {"logging_steps": 10}.'
    if "evaluation_strategy" in answer:
        return "`evaluation_strategy` es el nombre antiguo, y hoy da error. ¿Cómo se llama ahora?"
    if "eval_strategy" not in answer:
        return 'Falta el argumento que dice cuándo evaluar, que por omisión vale "no".'
    if answer["eval_strategy"] not in ("steps", "epoch"):
        return 'El valor de `eval_strategy` debe ser "steps" o "epoch": con "no" no te enteras.'
    if len(answer) != 2:
        return "Son justo dos argumentos: cuándo evaluar y otro que lo acompañe."
    (other,) = answer.keys() - {"eval_strategy"}
    ideas = "en cada cuánto evaluar, en medir también antes de empezar o en quedarse con el mejor"
    return None if other in USEFUL else f"«{other}» no dice si ha aprendido. Piensa {ideas}."


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
        solution="""def steps(pairs, batch_size, epochs):
    return -(-pairs // batch_size) * epochs""",
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
        solution="respuesta = 0.7 / 0.3",
    ),
    "4.3": Exercise(
        _review_arguments,
        "La pérdida de entrenamiento mide los datos que ya ha visto. ¿Quién mide los otros?",
        'Uno de los dos dice cuándo evaluar; por omisión vale "no".',
        'Uno es `eval_strategy="steps"`; el otro puede decir cada cuántos pasos.',
        praise="Con eso, y un `eval_dataset` de diálogos apartados, la cifra ya querrá decir algo.",
        solution='respuesta = {"eval_strategy": "steps", "eval_steps": 100}',
    ),
    "4.4": Exercise(
        number(
            MINUTES / 3 * 10,
            {
                MINUTES / 3 * 10 * 60: "Eso son segundos: se piden minutos.",
                MINUTES: "Eso es lo que tardaron las 3 épocas; se piden 10.",
                MINUTES * 10: "Los 7.131 pasos ya son 3 épocas, no una.",
            },
            "No sale: segundos por paso, por los pasos de 10 épocas, entre 60.",
            expects="el número de minutos, ya calculado",
            tolerance=0.02,
        ),
        "¿Cuántos segundos tardaba aquella T4 en cada paso?",
        "Si 7.131 pasos son 3 épocas, 10 épocas son 7.131 × 10 / 3.",
        praise="Medir el ritmo durante unos pasos y multiplicar ahorra muchas noches de espera.",
        solution="""def minutes(steps, seconds_per_step):
    return steps * seconds_per_step / 60

respuesta = minutes(7131 / 3 * 10, 1537.4 / 7131)""",
    ),
}
