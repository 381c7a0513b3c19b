"""Ejercicios de la lección 05: preguntas de control, intervalos y un chat sin modelo."""

from course_lib import world
from course_lib.evaluation import normalize, wilson
from course_lib.exercises import Exercise


def _city_and_country(question: str, language: str) -> tuple[str | None, str | None]:
    """Los códigos de los países cuya capital y cuyo nombre aparecen en la pregunta."""
    text = f" {normalize(question)} "
    if " capital " not in text:
        return None, None

    def find(text: str, names: dict[str, str]) -> str | None:
        return max((n for n in names if f" {n} " in text), key=len, default=None)

    countries = world.load_countries(language)
    capitals = {normalize(c.capital): c.code for c in countries}
    names = {normalize(c.name.removeprefix("el ").removeprefix("the ")): c.code for c in countries}
    city = find(text, capitals)
    # Sin la ciudad, para que «Ciudad de México» no se tome también por el país.
    country = find(text.replace(f" {city} ", "  ", 1), names)
    return capitals.get(city), names.get(country)


def _review_control(answer) -> str | None:
    if not isinstance(answer, list) or len(answer) != 4:
        return "se espera una lista de cuatro parejas (pregunta, respuesta)."
    if not all(isinstance(p, tuple | list) and len(p) == 2 for p in answer):
        return "cada elemento debe ser una pareja (pregunta, respuesta)."
    truths = [normalize(str(truth)) for _, truth in answer]
    language = "en" if "yes" in truths else "es"  # con la ruta gpt2 se pregunta en inglés
    yes = normalize(world.WORDS[language].yes)
    if not set(truths) <= {yes, "no"}:
        return "cada respuesta debe ser «sí» o «no» (en inglés, «yes» o «no»)."
    if len({normalize(str(question)) for question, _ in answer}) < 4:
        return "hay preguntas repetidas."
    for (question, _), truth in zip(answer, truths, strict=True):
        city, country = _city_and_country(str(question), language)
        if city is None or country is None:
            return (
                f"«{question}» debe preguntar si una capital del curso lo es de un país del curso."
            )
        if (city == country) != (truth == yes):
            return f"la respuesta de «{question}» no es «{'no' if truth == 'no' else 'sí'}»."
    if truths.count(yes) != 2:
        return "quien siempre dice «sí» no acierta justo la mitad: ¿cuántas son verdaderas?"
    return None


def _review_interval(answer) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "se espera una pareja (extremo inferior, extremo superior)."
    low, high = answer
    right = wilson(13, 20)
    if max(low, high) > 1:
        return "los extremos son proporciones, entre 0 y 1."
    if abs(low - right[0]) < 0.005 and abs(high - right[1]) < 0.005:
        return None
    other = wilson(65, 100)
    if abs(low - other[0]) < 0.005 and abs(high - other[1]) < 0.005:
        return "ese es el de 65 aciertos en 100 preguntas; tu amigo hizo 20."
    return "no son esos: `wilson` recibe los aciertos y el número de preguntas."


def _review_balanced(answer) -> str | None:
    if not callable(answer):
        return "se espera una función `balanced_accuracy(answers, truths)`, sin llamarla."
    truths = ["sí"] * 8 + ["no"] * 2
    cases = [
        (
            ["sí"] * 10,
            0.5,
            "quien siempre dice «sí» debe sacar 0,5 aunque 8 de 10 sean verdaderas.",
        ),
        (truths, 1.0, "quien acierta todas debe sacar 1."),
        (["sí"] * 4 + ["no"] * 6, 0.75, "con 4 de 8 verdaderas y 2 de 2 falsas debe salir 0,75."),
    ]
    for answers, expected, complaint in cases:
        if abs(answer(answers, truths) - expected) > 1e-9:
            return complaint
    return None


def _review_lookup(answer) -> str | None:
    if not callable(answer):
        return "se espera una función de texto a texto, sin llamarla."
    for country in world.load_countries()[::20]:
        question = world.fact_question(country, "capital").text
        said = answer(question)
        if not isinstance(said, str):
            return "la función debe devolver un texto."
        if normalize(country.capital) not in normalize(said):
            return f"a «{question}» contesta «{said}»."
    for text in ("Hola, ¿qué tal?", "¿Cuál es la capital de Zubrovia?", "¿Dónde está Francia?"):
        if normalize(answer(text)) != "no lo se":
            return f"a «{text}» debe contestar «No lo sé.», y contesta «{answer(text)}»."
    return None


EXERCISES = (
    Exercise(
        id="5.1",
        review=_review_control,
        praise="Con tus cuatro preguntas, quien dice «sí» a todo saca un 50%, y se nota.",
        hints=(
            "Si el tonto dice siempre «sí», ¿cuántas preguntas deben tener «no» por respuesta?",
            "Por cada pregunta verdadera escribe su control: cambia la capital por otra.",
            'Por ejemplo: ("¿Es Lima la capital de Perú?", "sí") y '
            '("¿Es Quito la capital de Perú?", "no").',
        ),
        solution="""
respuesta = [
    ("¿Es Lima la capital de Perú?", "sí"),
    ("¿Es Quito la capital de Perú?", "no"),
    ("¿Es Roma la capital de Italia?", "sí"),
    ("¿Es Oslo la capital de Italia?", "no"),
]
""",
    ),
    Exercise(
        id="5.2",
        review=_review_interval,
        praise="El 50% cabe dentro: veinte preguntas no bastan para decir que gana al azar.",
        hints=(
            "`evaluation.wilson(aciertos, n)` devuelve los dos extremos.",
            "¿Cuántos aciertos, y de cuántas? No son porcentajes.",
        ),
        solution="""
from course_lib import evaluation

respuesta = evaluation.wilson(13, 20)
""",
    ),
    Exercise(
        id="5.3",
        review=_review_balanced,
        praise="Así nadie saca buena nota por el reparto del examen.",
        hints=(
            "Calcula la proporción de aciertos dos veces: entre las verdaderas y entre las falsas.",
            "Separa las respuestas en dos listas: cuando la verdad es «sí» y cuando es «no».",
        ),
        solution="""
def balanced_accuracy(answers, truths):
    shares = []
    for side in ("sí", "no"):
        given = [a for a, t in zip(answers, truths) if t == side]
        shares.append(sum(a == side for a in given) / len(given))
    return sum(shares) / 2

respuesta = balanced_accuracy
""",
    ),
    Exercise(
        id="5.4",
        review=_review_lookup,
        praise="Acierta siempre, al instante y sin GPU. A veces la respuesta es un índice.",
        hints=(
            "Recorre los países: ¿aparece su nombre en la pregunta?",
            "Que aparezca también la palabra «capital», para no contestar otras preguntas.",
            "Cuidado con los nombres que contienen otros («Dominica», «República Dominicana»): "
            "empieza por los más largos.",
        ),
        solution="""
from course_lib import world

def answer(text):
    for country in sorted(world.load_countries(), key=lambda c: -len(c.name)):
        if "capital" in text and f" {country.name}?" in text.replace(" del ", " de el "):
            return country.capital + "."
    return "No lo sé."

respuesta = answer
""",
    ),
)
