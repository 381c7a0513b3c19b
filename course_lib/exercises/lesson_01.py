"""Ejercicios de la lección 01: nombrar lo que falta, pedir consejo y predecir antes de medir."""

from course_lib import world
from course_lib.decision import Lack, Needs, Rung, advise, obstacles, rung_name
from course_lib.evaluation import is_right
from course_lib.exercises import Exercise
from course_lib.exercises.review import is_number, prediction, shown, told
from course_lib.tracks import get_track

SYMPTOMS = {
    "a": (Lack.CHANGING_KNOWLEDGE, "lo aprendido hoy del menú estaría caducado mañana"),
    "b": (Lack.FORMAT, "los datos son buenos, y lo que no cumple es el molde en que los da"),
    "c": (Lack.ANOTHER_FORM, "de otro modo contesta bien, así que el saber está, y falla la forma"),
    "d": (Lack.NEW_KNOWLEDGE, "el archivo no cambia desde 1950, pero el modelo nunca lo vio"),
    "e": (Lack.UNKNOWN, "«a veces» no dice en qué, y sin mirar los fallos no hay diagnóstico"),
}
CASE = {
    "lacks": (Lack.CHANGING_KNOWLEDGE, "lo que falla son normas que cambian cada trimestre"),
    "tried": ((Rung.PROMPT,), "han probado a escribir mejor la petición, y nada más"),
    "examples": (2_000, "tienen 2.000 consultas revisadas"),
    "gpu_hours": (50, "pueden pagar 50 horas de GPU"),
    "private": (True, "las consultas no pueden salir de la asesoría"),
    "maintained": (True, "hay una persona que se ocupará"),
    "has_evaluation": (False, "«nos parece que va algo mejor» no es un conjunto de evaluación"),
    "cost_critical": (False, "veinte consultas al día no hacen del coste un problema"),
}


def _review_symptoms(answer) -> str | None:
    if not isinstance(answer, dict):
        return f"Se espera un diccionario con las claves {', '.join(SYMPTOMS)}."
    for case, (right, why) in SYMPTOMS.items():
        if (said := answer.get(case, ...)) is ...:
            return f"Falta decir qué le pasa al caso {case}."
        if said not in list(Lack):
            return f"En el caso {case}, {said!r} no es un valor de Lack."
        if said != right:
            return f"En el caso {case} no es «{said}»: {why}."
    return None


def _review_case(answer) -> str | None:
    if not isinstance(answer, Needs):
        return "Se espera un Needs(…) con lo que dice el enunciado."
    for name, (right, why) in CASE.items():
        said = answer.named[0] if name == "lacks" else getattr(answer, name)
        if (tuple(said) if name == "tried" else said) != right:
            return f"En {name} has puesto {shown(said)}, pero {why}."
    return None


def _review_change(answer) -> str | None:
    if not isinstance(answer, Needs):
        return "Se espera un Needs(…): por ejemplo, replace(brand, examples=…)."
    if answer.named != (Lack.STYLE,):
        return "Cambia las circunstancias, no lo que le falta al modelo: sigue siendo el estilo."
    if (rung := advise(answer).rung) == Rung.LORA:
        return None
    name = rung_name(rung).replace("*", "")
    if missing := obstacles(answer, Rung.LORA):
        return f"El consejo es todavía «{name}». A LoRA le falta: {'; '.join(missing)}."
    question = "¿Qué circunstancia hace que no compense, o qué hay que haber probado?"
    return f"LoRA ya es posible, pero antes va «{name}», más barato y sin probar. {question}"


def _hits(said: list[str]) -> int:
    return sum(map(is_right, said, _capitals()))


def _capitals() -> list[world.Question]:
    track = get_track(report=lambda text: None)
    countries = world.load_countries(track.language)[: track.limit]
    return world.fact_questions(countries, ("capital",))


def _review_said(said) -> str | None:
    if is_number(said):
        return "Detrás de tu predicción van las respuestas del modelo: contarlas le toca a `check`."
    count = len(_capitals())
    if not isinstance(said, list) or not all(isinstance(text, str) for text in said):
        return "La medida es la lista de textos que devuelve `answer`."
    if len(said) != count:
        return f"Hacen falta las respuestas a las {count} capitales, y hay {len(said)}."
    if _hits(said) > 0.9 * count:
        return "Acierta casi todas, como sin el espacio. ¿Lo has puesto al final, tras los puntos?"
    return None


EXERCISES = {
    "1.1": Exercise(
        _review_symptoms,
        "Pregúntate en cada caso si el modelo tuvo alguna vez delante lo que se le pide.",
        "Si lo tuvo, ¿falla lo que dice o cómo lo dice? Si no lo tuvo, ¿volverá a cambiar?",
        "Uno de los cinco no se puede diagnosticar con lo que cuenta el enunciado.",
        praise="Poner nombre a lo que falta es la mitad de la decisión, y no cuesta GPU.",
    ),
    "1.2": Exercise(
        _review_case,
        "Ve frase por frase: cada una rellena un campo de Needs.",
        "Lo que falta lo dice la causa del fallo, no la cantidad de datos que haya a mano.",
        "Lo que cambia cada trimestre es lacks=Lack.CHANGING_KNOWLEDGE. Y un «parece» no mide.",
        praise="Ni los ejemplos ni la GPU cambian el consejo: lo que falta no se entrena.",
    ),
    "1.3": Exercise(
        _review_change,
        "Lee en el consejo de la marca el apartado «Qué cambiaría el consejo».",
        "obstacles(needs, Rung.LORA) dice qué falta todavía para que LoRA sea posible.",
        "Con ejemplos y horas, LoRA es posible; para que sea lo primero, hace falta además con qué "
        "medir, y que decida el coste o esté ya probado lo anterior.",
        praise="Fíjate en cuántas cosas tienen que ser verdad a la vez antes de entrenar.",
    ),
    "1.4": Exercise(
        prediction(0, len(world.load_countries()), _review_said),
        "La predicción es tuya y no puede estar mal. La medida sale de la función `answer`.",
        "Son las peticiones de siempre, `world.question_prompt(q)`, con algo detrás.",
        'dichas = answer([world.question_prompt(q) + " " for q in capitals])',
        praise=lambda answer: (
            f"{told(answer[0], _hits(answer[1]), 5)} El espacio va dentro del token que le sigue "
            "(lección 03): suelto al final, la petición acaba como casi ninguna de las que leyó."
        ),
    ),
}
