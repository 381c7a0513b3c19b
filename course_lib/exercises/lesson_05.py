"""Ejercicios de la lección 05: preguntas de control, intervalos y un chat sin modelo."""

from course_lib import world
from course_lib.evaluation import normalize
from course_lib.exercises import Exercise
from course_lib.exercises.review import function, is_number, prediction, shown, told
from course_lib.tables import wilson

TRUTHS = ["sí"] * 8 + ["no"] * 2
FEWEST = next(hits for hits in range(21) if wilson(hits, 20)[0] > 0.5)  # los del 5.2


def _city_and_country(question: str, language: str) -> list[str | None]:
    """Los códigos de los países cuya capital y cuyo nombre aparecen en la pregunta."""
    text, found = f" {normalize(question)} ", []
    countries = world.load_countries(language)
    for codes in (
        {normalize(c.capital): c.code for c in countries},
        {normalize(c.name.removeprefix("el ").removeprefix("the ")): c.code for c in countries},
    ):
        name = max((name for name in codes if f" {name} " in text), key=len, default=None)
        found.append(codes.get(name))
        # Sin la ciudad, para que «Ciudad de México» no se tome también por el país.
        text = text.replace(f" {name} ", "  ", 1)
    return found if " capital " in text else [None, None]


def _review_control(answer) -> str | None:
    pairs = answer if isinstance(answer, list) else []
    if len(pairs) != 4 or any(not isinstance(p, tuple | list) or len(p) != 2 for p in pairs):
        return "Se espera una lista de cuatro parejas (pregunta, respuesta)."
    questions, truths = zip(*((str(question), normalize(str(truth))) for question, truth in pairs))
    language = "en" if "yes" in truths else "es"  # con la ruta gpt2 se pregunta en inglés
    yes = normalize(world.WORDS[language].yes)
    if not set(truths) <= {yes, "no"}:
        return "Cada respuesta debe ser «sí» o «no» (en inglés, «yes» o «no»)."
    if len(set(map(normalize, questions))) < 4:
        return "Hay preguntas repetidas."
    for question, truth in zip(questions, truths):
        city, country = _city_and_country(question, language)
        if city is None or country is None:
            return f"«{question}» debe preguntar si una capital lo es de un país, ambos del curso."
        if (city == country) != (truth == yes):
            return f"La respuesta de «{question}» no es «{'no' if truth == 'no' else 'sí'}»."
    if truths.count(yes) != 2:
        return "Quien siempre dice «sí» no acierta justo la mitad: ¿cuántas son verdaderas?"
    return None


def _review_enough(measured) -> str | None:
    if not is_number(measured) or measured != int(measured):
        return f"La medida es un número de aciertos, un entero, y hay {shown(measured)}."
    if not 0 <= measured <= 20:
        return "Los aciertos van de 0 a 20, que son las preguntas."
    if (hits := int(measured)) == FEWEST:
        return None
    low, high = (shown(round(end, 2)) for end in wilson(hits, 20))
    if hits < FEWEST:
        return f"Con {hits} aciertos, el intervalo va de {low} a {high}: el 0,5 cabe dentro."
    return f"Con {hits} el intervalo ya queda por encima de 0,5, pero no son los menos que bastan."


def _review_lookup(answer) -> str | None:
    for country in world.load_countries()[::20]:
        question = world.fact_question(country, "capital").text
        said = answer(question)
        if not isinstance(said, str):
            return "La función debe devolver un texto."
        if normalize(country.capital) not in normalize(said):
            return f"A «{question}» contesta «{said}»."
    for text in ("Hola, ¿qué tal?", "¿Cuál es la capital de Zubrovia?", "¿Dónde está Francia?"):
        if normalize(answer(text)) != "no lo se":
            return f"A «{text}» debe contestar «No lo sé.», y contesta «{answer(text)}»."
    return None


EXERCISES = {
    "5.1": Exercise(
        _review_control,
        "Si el tonto dice siempre «sí», ¿cuántas preguntas deben tener «no» por respuesta?",
        "Por cada pregunta verdadera escribe su control: cambia la capital por otra.",
        "Por ejemplo, «¿Es Lima la capital de Perú?», que sí, y «¿Es Quito la capital de Perú?».",
        praise="Con tus cuatro preguntas, quien dice «sí» a todo saca un 50%, y se nota.",
    ),
    "5.2": Exercise(
        prediction(0, 20, _review_enough),
        "La predicción es tuya y no puede estar mal. Mide con `tables.wilson(aciertos, 20)`.",
        "El extremo inferior tiene que pasar de 0,5: prueba con 14, con 15, con 16…",
        "next(n for n in range(21) if tables.wilson(n, 20)[0] > 0.5)",
        praise=lambda answer: (
            f"{told(*answer, 0)} Con sus 13, a tu amigo le cabe el 50% en el intervalo: no puede "
            "decir que gane al azar. Con 200 preguntas y la misma proporción, sí podría."
        ),
    ),
    "5.3": Exercise(
        function(
            "balanced_accuracy(answers, truths)",
            ((["sí"] * 10, TRUTHS), 0.5, "decir siempre «sí» es la mitad, aunque 8 de 10 lo sean"),
            ((TRUTHS, TRUTHS), 1.0, "quien acierta todas debe sacar 1"),
            ((["sí"] * 4 + ["no"] * 6, TRUTHS), 0.75, "acierta 4 de 8 verdaderas y 2 de 2 falsas"),
        ),
        "Calcula la proporción de aciertos dos veces: entre las verdaderas y entre las falsas.",
        "Separa las respuestas en dos listas: cuando la verdad es «sí» y cuando es «no».",
        praise="Así nadie saca buena nota por el reparto del examen.",
    ),
    "5.4": Exercise(
        function("answer(text)", then=_review_lookup),
        "Recorre los países: ¿aparece su nombre en la pregunta?",
        "Que aparezca también la palabra «capital», para no contestar otras preguntas.",
        "Hay nombres dentro de otros («Dominica», «República Dominicana»): primero, los largos.",
        praise="Acierta siempre, al instante y sin GPU. A veces la respuesta es un índice.",
    ),
}
