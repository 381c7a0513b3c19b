"""Lecciones 04 a 09 y el proyecto: lo verosímil pero malo se rechaza, y se dice por qué."""

import math

from course_lib import world
from course_lib.exercises import get
from course_lib.exercises.lesson_07 import BROKEN
from course_lib.tables import proportion

CONTROL = [
    ("¿Es Lima la capital de Perú?", "sí"),
    ("¿Es Quito la capital de Perú?", "no"),
    ("¿Es Roma la capital de Italia?", "sí"),
]
RECIPE = {"eval_strategy": "steps", "num_train_epochs": 3, "per_device_train_batch_size": 32}
RECIPE |= {"warmup_steps": 100, "logging_steps": 100}


def mask_in_place(ids, eos):
    for i in range(1, len(ids)):
        if ids[i - 1] in (eos, -100):
            ids[i] = -100
    return ids


def autopsy(*skipped, found=(), row=slice(None)):
    """Una autopsia que no ve unas cosas, ve siempre otras o mira solo algunas filas."""
    whole = {}
    exec(get("6.4").solution, whole)

    def see(run):
        some = run | {name: run[name][row] for name in ("ids", "labels", "reply")}
        return (whole["defects"](some) - set(skipped)) | set(found)

    return see


def by_id(run):
    """Toma por relleno todo lo que lleve el id del fin, también el fin de verdad."""
    rows = [*zip(run["ids"], run["labels"], strict=True)]
    counted = any(i == 0 and label == 0 for ids, labels in rows for i, label in zip(ids, labels))
    return {"relleno"} if counted else set()


GOAL = {"minimo": 0.9, "perdido": 0.03}
TALL = [
    (way.format(day), "no" if day in ("lunes", "domingo") else "sí")
    for way in ("¿Y el {}?", "¿Puedo ir el {}?", "¿Hay gente el {}?", "¿Se abre el {}?")
    for day in ("lunes", "domingo", "martes", "jueves")
]
MARKED = BROKEN.replace(
    " {{ message['content'] }}{% endif %}{% endfor %}",
    "{% generation %} {{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}",
)
BUDGET = {"pesos": 1e9, "tokens": 1e6, "epocas": 3, "velocidad": 1e13, "precio": 2, "intentos": 4}
BUDGET |= {"horas": 2.0, "coste": 4.0}  # 6 × 10⁹ × 10⁶ × 3 × 4 / 10¹³ = 7.200 segundos
DUMMY = proportion([True] * 5 + [False] * 45)
OWN_GOAL = {"mínimo": 0.85, "perdido": 0.03, "decide": "El primero que llegue es el que se usa."}
RESULTS = [("el tonto", DUMMY), ("sola", proportion([True] * 20 + [False] * 30))]
RESULTS += [("buscando", proportion([True] * 48 + [False] * 2))]
CHOICE = dict.fromkeys(("por qué", "cambiaría", "no medido"), "Con 50 preguntas no sabría decirlo.")


WRONG = [
    ("4.1", lambda pairs, batch_size, epochs: pairs // batch_size * epochs, "un tercer lote"),
    ("4.1", lambda pairs, batch_size, epochs: -(-pairs * epochs // batch_size), "se redondea"),
    ("4.1", lambda pairs, batch_size, epochs: -(-pairs // batch_size), "se repite cada época"),
    ("4.1", lambda pairs, batch_size, epochs: pairs, "dos lotes justos"),
    (
        "4.1",
        lambda pairs, batch_size, epochs: -(-pairs // batch_size) * epochs % 5_000,
        "debe dar 7.131 y da 2.131: lo dice el registro",
    ),
    ("4.1", 7131, "`steps(pairs, batch_size, epochs)`"),
    ("4.2", 0.21, "menos que la media"),
    ("4.2", 1.0, "la parte del relleno"),
    ("4.2", 0.7, "¿cuánto suman cien tokens"),
    ("4.2", "2,33", "Se espera un número"),
    ("4.3", RECIPE | {"evaluation_strategy": "steps"}, "nombre antiguo"),
    ("4.3", RECIPE | {"overwrite_output_dir": True}, "no admite hoy 'overwrite_output_dir'"),
    ("4.3", RECIPE | {"eval_strategy": "no"}, "no te enteras"),
    ("4.3", {"num_train_epochs": 3}, "Falta el argumento"),
    ("4.3", RECIPE | {"num_train_epochs": 1}, "Deja `num_train_epochs`"),
    ("4.3", RECIPE | {"warmup_steps": 1_000}, "la subida se lleva 1.000"),
    ("4.3", RECIPE | {"logging_steps": 5_000}, "no salen diez"),
    ("4.3", RECIPE | {"logging_steps": "50"}, "un número de pasos, y hay '50'"),
    ("4.3", RECIPE | {"eval_steps": 5_000}, "no se evalúa nunca"),
    ("4.3", ["eval_steps"], "un diccionario"),
    ("4.4", (4, "mucha"), "un número de nats"),
    ("4.4", (4, math.log(8192)), "a ciegas"),
    ("4.4", (4, 4.2), "¿es el modelo ya ajustado?"),
    ("4.4", (4, 11.2), "¿qué tokens cuentas?"),
    ("4.4", (99, 9), "Tu predicción debe ser un número de 0 a 30"),
    ("5.1", [*CONTROL, ("¿Es Oslo la capital de Noruega?", "sí")], "no acierta justo la mitad"),
    ("5.1", [*CONTROL, ("¿Es Oslo la capital de Noruega?", "no")], "» no es «no»"),
    ("5.1", [*CONTROL, ("¿Es Oslo la capital de Italia?", "sí")], "» no es «sí»"),
    ("5.1", [*CONTROL, ("¿Es bonita Italia?", "no")], "debe preguntar"),
    ("5.1", [*CONTROL, ("¿Es Oslo la capital de Italia?", "quizá")], "«sí» o «no»"),
    ("5.1", CONTROL, "cuatro parejas"),
    ("5.1", ["¿Es Oslo la capital de Italia?"] * 4, "cuatro parejas (pregunta, respuesta)"),
    ("5.1", [*CONTROL[:2], *CONTROL[:2]], "repetidas"),
    ("5.2", (12, 14), "de 0,48 a 0,85: el 0,5 cabe dentro"),
    ("5.2", (12, 16), "no son los menos"),
    ("5.2", (12, 0.75), "un entero"),
    ("5.2", (12, 65), "de 0 a 20"),
    ("5.2", 15, "(prediccion, medida)"),
    (
        "5.3",
        lambda answers, truths: sum(a == t for a, t in zip(answers, truths)) / len(truths),
        "aunque 8 de 10",
    ),
    ("5.3", lambda answers, truths: 0.5, "quien acierta todas"),
    ("5.3", lambda answers, truths: 1.0 if answers == truths else 0.5, "2 de 2 falsas"),
    ("5.3", 0.5, "`balanced_accuracy(answers, truths)`"),
    ("5.4", lambda text: "No lo sé.", "contesta «No lo sé.»"),
    ("5.4", lambda text: "París.", "contesta «París.»"),
    ("5.4", lambda text: ["París"], "un texto"),
    (
        "5.4",
        lambda text: ", ".join(country.capital for country in world.load_countries()),
        "debe contestar «No lo sé.»",
    ),
    ("5.4", "París", "`answer(text)`"),
    ("6.1", 0.697, "la del registro"),
    ("6.1", 1.394, "¿la media sube o baja?"),
    ("6.1", 2.45, "entre cuántos se reparte"),
    ("6.1", "0,35", "la pérdida media"),
    ("6.1", True, "la pérdida media"),
    ("6.2", lambda ids, eos: [-100 if i == eos else i for i in ids], "el primer fin"),
    ("6.2", lambda ids, eos: ids[:3] + [-100] * len(ids[3:]), "es relleno"),
    ("6.2", lambda ids, eos: [*ids[: ids.index(0) + 1], -100] if 0 in ids else [], "sin fin"),
    ("6.2", mask_in_place, "cambia lo que recibe"),
    ("6.2", lambda ids, eos: list(ids), "cuenta hasta el primer fin"),
    ("6.2", [5, 6], "`labels(ids, eos)`"),
    ("6.3", lambda before, after: (sum(after) - sum(before), 0), "debe dar (0, 1)"),
    ("6.3", lambda before, after: (sum(after), sum(before)), "debe dar (2, 0)"),
    ("6.3", lambda before, after: [2, 0], "debe dar (2, 0)"),
    ("6.3", (2, 0), "`compare(before, after)`"),
    ("6.4", autopsy("fuga"), "En el «D» no ves «fuga»"),
    ("6.4", autopsy(found=["usuario"]), "En el «A» ves «usuario» y no lo tiene"),
    ("6.4", autopsy(row=slice(1)), "En uno que no has visto no ves «relleno»"),
    ("6.4", by_id, "En el «A» ves «relleno» y no lo tiene"),
    ("6.4", lambda run: ["todo mal"], "«sin fin», «fuga», y no ['todo mal']"),
    ("6.4", {"A": []}, "`defects(run)`"),
    ("6.5", (150, 5.3), "de 0 a 100, y hay 150"),
    ("6.5", (5, "5%"), "lo que da `apart()`"),
    ("6.5", (10, 42), "y no es 42"),
    ("7.3", GOAL, "Falta «examen»"),
    ("7.3", GOAL | {"minimo": 90, "examen": TALL}, "de 0 a 1, y es 90"),
    ("7.3", GOAL | {"examen": [("¿Y el lunes?", "sí")]}, "no es «sí»"),
    ("7.3", GOAL | {"examen": [("¿Y mañana?", "sí")]}, "nombrar un día"),
    (
        "7.3",
        GOAL | {"examen": [("abre la biblioteca, el LUNES", "no")]},
        "está entre las de ajustar",
    ),
    ("7.3", GOAL | {"examen": [*TALL, TALL[0]]}, "está dos veces"),
    ("7.3", GOAL | {"examen": TALL[::2] + TALL[3::4], "minimo": 0.55}, "la cumple sin leer"),
    ("7.3", GOAL | {"examen": TALL[:4]}, "Haz más preguntas"),
    ("7.3", GOAL | {"examen": TALL, "minimo": 1}, "un solo descuido"),
    ("7.3", GOAL | {"examen": TALL, "perdido": 0.5}, "ya no es el mismo modelo"),
    ("7.4", BROKEN, "va entre `generation`"),
    ("7.4", BROKEN[:-11], "El error es «"),
    ("7.4", MARKED, "¿Dónde está el espacio"),
    ("7.4", MARKED.replace("{{ eos_token }}", ""), "Sin él nada enseña a callarse"),
    (
        "7.4",
        MARKED.replace("{% endgeneration %}", "").replace(
            "{% endfor", "{% endgeneration %}{% endfor"
        ),
        "El error es «",
    ),
    ("7.4", f"{{% generation %}}{BROKEN}{{% endgeneration %}}", "no dice el modelo"),
    ("7.5", (30, "30 puntos"), "lo que da `saved(0.1)`"),
    ("7.1", lambda texts, names: [t for t in texts if any(n in t for n in names)], "«Chadal»"),
    ("7.1", lambda texts, names: [n for n in names if any(n in t for t in texts)], "dos textos"),
    ("7.1", lambda texts, names: texts, "«Chadal»"),
    ("7.1", 2, "`leaks_in(texts, countries)`"),
    ("7.2", lambda rungs, target: max(rungs, key=lambda r: r["aciertos"])["nombre"], "tal cual"),
    (
        "7.2",
        lambda rungs, target: next(r["nombre"] for r in rungs if r["aciertos"] >= target),
        "el que menos gasta",
    ),
    ("7.2", lambda rungs, target: min(rungs, key=lambda r: r["tokens"])["nombre"], "completo"),
    (
        "7.2",
        lambda rungs, target: min(
            (r for r in rungs if r["aciertos"] > target),
            key=lambda r: r["tokens"],
            default={"nombre": None},
        )["nombre"],
        "llegar justo a la meta",
    ),
    ("8.2", lambda mine, tokens, processes: mine / tokens, "quedaría en la mitad"),
    ("8.2", lambda mine, tokens, processes: mine / tokens / processes, "quedaría en la mitad"),
    ("8.3", lambda fixed, row, free, rows: (4, 4), "sin margen"),
    ("8.3", lambda fixed, row, free, rows: (2, 8), "debe dar (4, 4)"),
    ("8.4", BUDGET | {"horas": 0.5, "coste": 1.0}, "de un solo ajuste"),
    ("8.4", BUDGET | {"horas": 7_200, "coste": 14_400}, "Eso son segundos"),
    ("8.4", BUDGET | {"horas": 2 / 3, "coste": 4 / 3}, "entrenar son 6"),
    ("8.4", BUDGET | {"horas": 5, "coste": 10}, "no salen 5 horas"),
    ("8.4", BUDGET | {"coste": 40}, "no es el de esas horas"),
    ("8.4", BUDGET | {"intentos": 1}, "el primero casi nunca lo es"),
    ("8.4", {"pesos": 1e9}, "Falta «tokens»"),
    ("8.5", (10, None), "lo que da `gradient_gap()`"),
    ("9.3", lambda written: "0123456789:" if len(written) < 5 else "", "ninguna hora empieza así"),
    ("9.3", lambda written: "012"[: 3 - 3 * bool(written)], "Deja acabar en"),
    ("9.3", lambda written: "00:00"[len(written) :][:1], "No deja escribir '00:01'"),
    ("9.3", lambda written: ["00", "01"], "caracteres sueltos"),
    ("9.3", {"00:00"}, "`allowed(written)`"),
    ("9.4", (75, -1), "lo que da `with_labels(50)`"),
    (
        "10.1",
        dict.fromkeys(("quién", "qué falla", "qué falta"), "una frase de cinco palabras"),
        "Falta «si se equivoca»",
    ),
    ("10.2", (OWN_GOAL, DUMMY, RESULTS), "la meta se escribe antes"),
    ("10.2", (OWN_GOAL | {"mínimo": 0.15}, DUMMY, []), "no lo distingue"),
    ("10.2", (OWN_GOAL | {"mínimo": 85}, DUMMY, []), "una proporción de 0 a 1"),
    ("10.2", (OWN_GOAL | {"decide": ""}, DUMMY, []), "Falta «decide»"),
    ("10.3", (["¿Abre hoy?"], ["abre HOY", "Sí."]), "1 de 1 preguntas del examen"),
    ("10.3", ([], ["Sí."]), "ninguna puede estar vacía"),
    ("10.4", [("el tonto", 0.1), ("sola", 0.4)], "lleva su n y su intervalo"),
    ("10.4", RESULTS[1:], "Falta la fila de «el tonto»"),
    ("10.4", RESULTS[:2], "no hay escalera"),
    ("10.4", [*RESULTS, RESULTS[-1]], "dos veces la misma celda"),
    ("10.4", [*RESULTS, ("otro", proportion([True] * 9))], "hay n de [9, 50]"),
    ("10.4", [(name, proportion([True] * 9)) for name, _ in RESULTS], "Busca 30 o más"),
    ("10.5", (CHOICE | {"elijo": "sola"}, OWN_GOAL, RESULTS), "y tu meta era el 85%"),
    ("10.5", (CHOICE | {"elijo": "ninguno"}, OWN_GOAL, RESULTS), "«buscando» llega a tu meta"),
    ("10.5", (CHOICE | {"elijo": "buscando"}, OWN_GOAL | {"mínimo": 0.3}, RESULTS), "va antes"),
    (
        "10.5",
        (CHOICE | {"elijo": "buscando", "por qué": "Es el que más me gusta."}, OWN_GOAL, RESULTS),
        "ni una cifra",
    ),
    ("9.1", lambda text, question: float(question.answer.lower() in text.lower()), "una lista no"),
    ("9.1", lambda text, question: float(text == f"{question.answer}."), "una mayúscula o un"),
    ("9.1", lambda text, question: 1.0, "no es la capital de Perú"),
    ("9.2", {1, 2, 4}, "En la 1 todas fallan"),
    ("9.2", {2, 3, 4}, "En la 3 todas aciertan"),
    ("9.2", {2, 4, 5}, "En la 5 todas sacan lo mismo"),
    ("9.2", [2], "Falta la 4"),
    ("9.2", {7}, "del 1 al 5"),
    ("9.2", 2, "un conjunto"),
]


def test_a_plausible_wrong_answer_is_told_what_is_wrong(refusal):
    for id, answer, words in WRONG:
        said = refusal(id, answer)
        assert words in said, said


def test_every_capital_can_be_used_in_the_control_exercise():
    review = get("5.1").review
    for language, asked, yes in [
        ("es", "¿Es {x} la capital de {pais}?", "sí"),
        ("en", "Is {x} the capital of {pais}?", "Yes"),
    ]:
        countries = world.load_countries(language)
        for pair in zip(countries, [*countries[1:], countries[0]], strict=True):
            questions = [
                (world.render(asked, pais=c.name, x=x.capital), yes if c is x else "no")
                for c in pair
                for x in pair
            ]
            assert review(questions) is None, questions


def test_the_lora_count_is_the_one_made_by_hand(solved):
    # Por bloque: 1.024 × 16 + 16 × 3.072 = 65.536 y 1.024 × 16 + 16 × 1.024 = 32.768.
    assert solved("8.1") == 24 * (65_536 + 32_768) == 2_359_296


def test_a_wrong_count_is_told_which_slip_it_is(refusal):
    for wrong, words in [
        (98_304, "un solo bloque"),
        (1_572_864, "la salida"),
        (786_432, "la de entrada"),
        (1_179_648, "r sería 8"),
        (100_663_296, "congelados"),
        (1_610_612_736, "se suman"),
        (294_912, "r × (entrada + salida)"),
    ]:
        assert words in refusal("8.1", wrong)
