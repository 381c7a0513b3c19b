"""Ejercicios de la lección 01: nombrar lo que falta, echar las cuentas y pedir consejo."""

from typing import Any

from course_lib.decision import (
    NAMES,
    Lack,
    Needs,
    Rung,
    advise,
    obstacles,
)
from course_lib.exercises import Exercise

_SYMPTOMS = {
    "a": (
        Lack.CHANGING_KNOWLEDGE,
        "el menú cambia cada mañana: lo aprendido hoy estaría caducado mañana.",
    ),
    "b": (
        Lack.STYLE_OR_FORMAT,
        "los datos que da son buenos; lo que no cumple es el molde en que los da.",
    ),
    "c": (
        Lack.ANOTHER_FORM,
        "preguntado de otro modo, contesta bien: el saber está, y falla la forma de pedirlo.",
    ),
    "d": (
        Lack.NEW_KNOWLEDGE,
        "el archivo no cambia desde 1950, pero el modelo nunca lo tuvo delante.",
    ),
    "e": (
        Lack.UNKNOWN,
        "«a veces responde mal» no dice en qué: sin mirar los fallos no hay diagnóstico.",
    ),
}


def _review_symptoms(answer: Any) -> str | None:
    if not isinstance(answer, dict):
        return f"se espera un diccionario con las claves {', '.join(_SYMPTOMS)}."
    missing = [key for key in _SYMPTOMS if answer.get(key, ...) is ...]
    if missing:
        return f"falta decir qué le pasa al caso {missing[0]}."
    for key, (right, why) in _SYMPTOMS.items():
        if answer[key] not in list(Lack):
            return f"en el caso {key}, {answer[key]!r} no es un valor de Lack."
        if answer[key] != right:
            return f"en el caso {key} no es «{answer[key]}»: {why}"
    return None


def _review_lora_weights(answer: Any) -> str | None:
    layers, width, r = 24, 1024, 16
    right = layers * r * ((width + 3 * width) + (width + width))
    known_slips = {
        right // layers: "esos son los pesos de un solo bloque: el modelo tiene 24.",
        layers * r * (width + 3 * width): "falta la otra matriz, la de la salida de la atención.",
        layers * r * (width + width): "falta la otra matriz, la de entrada de la atención.",
        right // 2: "con ese número r sería 8, y aquí vale 16.",
        layers * (width * 3 * width + width * width): "esos son los pesos congelados: LoRA añade "
        "a cada matriz r × (entrada + salida), no entrada × salida.",
        layers * r * (3 * width * width + width * width): "la entrada y la salida se suman, no se "
        "multiplican: LoRA pone dos matrices finas, de entrada × r y de r × salida.",
    }
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return f"se espera un número de pesos, no {answer!r}."
    if answer == right:
        return None
    return known_slips.get(answer, "cuenta, por matriz y bloque, r × (entrada + salida).")


def _review_case(answer: Any) -> str | None:
    if not isinstance(answer, Needs):
        return "se espera un Needs(…) con lo que dice el enunciado."
    expected = {
        "lacks": (Lack.CHANGING_KNOWLEDGE, "lo que falla son normas que cambian cada trimestre"),
        "tried": ((Rung.PROMPT,), "han probado a escribir mejor la petición, y nada más"),
        "examples": (2_000, "tienen 2.000 consultas revisadas"),
        "gpu_hours": (50, "pueden pagar 50 horas de GPU"),
        "private": (True, "las consultas no pueden salir de la asesoría"),
        "maintained": (True, "hay una persona que se ocupará"),
        "has_evaluation": (False, "«nos parece que va bien» no es un conjunto de evaluación"),
        "cost_critical": (False, "veinte consultas al día no hacen del coste un problema"),
    }
    for name, (right, why) in expected.items():
        value = tuple(answer.tried) if name == "tried" else getattr(answer, name)
        if value != right:
            return f"en {name} has puesto {value!r}, pero {why}."
    return None


_BRAND = Needs(Lack.STYLE_OR_FORMAT, examples=40, tried=(Rung.PROMPT,))


def _review_change(answer: Any) -> str | None:
    if not isinstance(answer, Needs):
        return "se espera un Needs(…): por ejemplo, replace(brand, examples=…)."
    if answer.lacks != _BRAND.lacks:
        return "cambia las circunstancias, no lo que le falta al modelo: sigue siendo el estilo."
    advice = advise(answer)
    if advice.rung == Rung.LORA:
        return None
    missing = "; ".join(obstacles(answer, Rung.LORA))
    name = NAMES[advice.rung].replace("*", "")
    if missing:
        return f"el consejo es todavía «{name}». A LoRA le falta: {missing}."
    return (
        f"LoRA ya es posible, pero antes va «{name}», que no se ha probado y es más barato: "
        "¿qué circunstancia hace que no compense, o qué hay que haber probado?"
    )


EXERCISES = (
    Exercise(
        id="1.1",
        review=_review_symptoms,
        praise="Poner nombre a lo que falta es la mitad de la decisión, y no cuesta GPU.",
        hints=(
            "Pregúntate en cada caso si el modelo tuvo alguna vez delante lo que se le pide.",
            "Si lo tuvo, ¿falla lo que dice o cómo lo dice? Si no lo tuvo, ¿volverá a cambiar?",
            "Uno de los cinco no se puede diagnosticar con lo que cuenta el enunciado.",
        ),
        solution="""
from course_lib.decision import Lack

respuesta = {
    "a": Lack.CHANGING_KNOWLEDGE,
    "b": Lack.STYLE_OR_FORMAT,
    "c": Lack.ANOTHER_FORM,
    "d": Lack.NEW_KNOWLEDGE,
    "e": Lack.UNKNOWN,
}
""",
    ),
    Exercise(
        id="1.2",
        review=_review_lora_weights,
        praise="Son unos pocos millones: menos del 1% de los pesos del modelo.",
        hints=(
            "Es la cuenta de la lección con otra forma y dos matrices por bloque en vez de una.",
            "Cada matriz añade r × (entrada + salida): súmalas y multiplica por los bloques.",
            "La primera matriz aporta 16 × (1.024 + 3.072) en cada bloque; la segunda, "
            "16 × (1.024 + 1.024).",
        ),
        solution="""
bloques, ancho, r = 24, 1_024, 16
entrada = r * (ancho + 3 * ancho)
salida = r * (ancho + ancho)
respuesta = bloques * (entrada + salida)
""",
    ),
    Exercise(
        id="1.3",
        review=_review_case,
        praise="Ni los ejemplos ni la GPU cambian el consejo: lo que falta no se entrena.",
        hints=(
            "Ve frase por frase: cada una rellena un campo de Needs.",
            "Lo que falta lo dice la causa del fallo, no la cantidad de datos que haya a mano.",
            "Lo que cambia cada trimestre es lacks=Lack.CHANGING_KNOWLEDGE. Y un «parece» no mide.",
        ),
        solution="""
from course_lib.decision import Lack, Needs, Rung

respuesta = Needs(
    Lack.CHANGING_KNOWLEDGE,
    tried=(Rung.PROMPT,),
    examples=2_000,
    gpu_hours=50,
    private=True,
    maintained=True,
)
""",
    ),
    Exercise(
        id="1.4",
        review=_review_change,
        praise="Fíjate en cuántas cosas tienen que ser verdad a la vez antes de entrenar.",
        hints=(
            "Lee en el consejo de la marca el apartado «Qué cambiaría el consejo».",
            "obstacles(needs, Rung.LORA) dice qué falta todavía para que LoRA sea posible.",
            "Con ejemplos, horas, evaluación y quien lo mantenga, LoRA es posible; para que sea lo "
            "primero, ha de decidir el coste o estar ya probado lo anterior.",
        ),
        solution="""
from course_lib.decision import Lack, Needs, Rung

respuesta = Needs(
    Lack.STYLE_OR_FORMAT,
    tried=(Rung.PROMPT, Rung.FEW_SHOT, Rung.TUNED_MODEL),
    examples=500,
    gpu_hours=1,
    has_evaluation=True,
    maintained=True,
)
""",
    ),
)
