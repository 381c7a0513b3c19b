"""Ejercicios de la lección 07: fugas, peldaños, una meta, una plantilla y el repaso."""

import re
from collections import Counter
from typing import Any

from course_lib.dialogues import normalize
from course_lib.encoding import BOT, USER
from course_lib.exercises import Exercise
from course_lib.exercises.review import function, is_number, prediction, shown, told, within
from course_lib.tables import percent, wilson

RUNGS = [
    {"nombre": "completo", "aciertos": 0.99, "tokens": 12},
    {"nombre": "tal cual", "aciertos": 0.20, "tokens": 9},
    {"nombre": "con ejemplos", "aciertos": 0.96, "tokens": 80},
    {"nombre": "con forma", "aciertos": 0.90, "tokens": 20},
]
TEXTS = ["¿Y la de Chad?", "Mi vecino, el señor Chadal, es de aquí.", "En Perú se paga con el sol."]
PARTS = (TEXTS, "Compara palabras enteras: «Chadal» no nombra a ningún país.")

# --- La meta de una biblioteca que abre de martes a sábado ---------------------------------------

DAYS = "lunes martes miércoles jueves viernes sábado domingo".split()
CLOSED = {"lunes", "domingo"}
SEEN = ["¿Abre la biblioteca el lunes?", "¿Abre la biblioteca el sábado?", "¿Abrís los domingos?"]
MOST_LOST = 0.1


def _review_goal(answer: Any) -> str | None:
    if not isinstance(answer, dict) or (missing := {"minimo", "perdido", "examen"} - answer.keys()):
        lacks = "" if not isinstance(answer, dict) else f" Falta «{sorted(missing)[0]}»."
        return f"Se espera un diccionario con «minimo», «perdido» y «examen».{lacks}"
    for name in ("minimo", "perdido"):
        if not is_number(answer[name]) or not 0 <= answer[name] <= 1:
            return f"«{name}» ha de ser una proporción, de 0 a 1, y es {shown(answer[name])}."
    if complaint := _review_exam(answer["examen"]):
        return complaint
    truths = [truth for _, truth in answer["examen"]]
    n, dummy = len(truths), max(Counter(truths).values()) / len(truths)
    least, lost = answer["minimo"], answer["perdido"]
    if least <= dummy:
        return (
            f"En tu examen, quien conteste siempre lo mismo acierta el {percent(dummy)}, y tu meta "
            f"es el {percent(least)}: la cumple sin leer la pregunta."
        )
    if least == 1:
        return "Una meta del 100% la incumple un solo descuido. Di cuánto basta de verdad."
    if wilson(least * n, n)[0] <= dummy:
        return (
            f"Con {n} preguntas, acertar el {percent(least)} no se distingue de contestar siempre "
            f"lo mismo ({percent(dummy)}): está en su intervalo. Haz más preguntas."
        )
    if not 0 < lost <= MOST_LOST:
        return (
            f"«perdido» es {percent(lost)}. Con un 0% lo incumple un descuido, y si se admite más "
            f"del {percent(MOST_LOST)} ya no es el mismo modelo."
        )
    return None


def _review_exam(exam: Any) -> str | None:
    """Lo que le pasa a un examen de parejas (pregunta, «sí» o «no») sobre un solo día cada una."""
    if not isinstance(exam, list | tuple) or not exam:
        return f"«examen» ha de ser una lista de parejas, y hay {shown(exam)}."
    taught, asked = set(map(normalize, SEEN)), set()
    for pair in exam:
        if not isinstance(pair, list | tuple) or [*map(type, pair)] != [str, str]:
            return (
                f"Cada elemento es una pareja (pregunta, respuesta) de textos, y hay {shown(pair)}."
            )
        question, truth = pair
        key = normalize(question)
        days = [day for day in DAYS if re.search(rf"\b{normalize(day)}s?\b", key)]
        if truth not in ("sí", "no"):
            return f"La respuesta ha de ser «sí» o «no», y la de «{question}» es «{truth}»."
        if len(days) != 1:
            return f"Cada pregunta ha de nombrar un día, uno solo: «{question}»."
        if (truth == "no") != (days[0] in CLOSED):
            return f"Abre de martes a sábado, así que la respuesta de «{question}» no es «{truth}»."
        if key in taught:
            return f"«{question}» está entre las de ajustar (`SEEN`): el modelo la habría visto."
        if key in asked:
            return f"«{question}» está dos veces, y una pregunta repetida no mide nada nuevo."
        asked.add(key)
    return None


# --- Una plantilla de chat rota ------------------------------------------------------------------

BROKEN = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    + USER
    + " {{ message['content'] }}{% else %}"
    + BOT
    + " {{ message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}"
    + BOT
    + " {% endif %}"
)


def _review_template(answer: Any) -> str | None:
    if not isinstance(answer, str):
        return f"Se espera la plantilla, un texto como `BROKEN`, y hay {shown(answer)}."
    from jinja2 import TemplateError

    from course_lib.encoding import (
        chat_prompt,
        encode_conversation,
        marks_replies,
        prepare_for_chat,
    )
    from course_lib.tracks import mini

    said = [("user", "Hola."), ("assistant", "¿Qué tal?"), ("user", "Bien."), ("assistant", "Ya.")]
    messages = [{"role": role, "content": text} for role, text in said]
    tokenizer = prepare_for_chat(mini().load_tokenizer())
    tokenizer.chat_template, end = answer, tokenizer.eos_token
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        asked = chat_prompt(tokenizer, messages[:3])
    except (TemplateError, ValueError) as error:
        return f"No se puede escribir una conversación con ella. El error es «{error}»."
    if not re.search(".*".join(re.escape(text) for _, text in said), text, re.DOTALL):
        return "Con ella no se escriben los cuatro mensajes de una charla, en su orden."
    if not marks_replies(answer):
        return "No dice qué parte es respuesta: lo que diga el modelo va entre `generation`."
    whole = encode_conversation(tokenizer, messages)
    marks = [label >= 0 for label in whole.labels]
    runs = re.finditer("1+", "".join("01"[mark] for mark in marks))
    counted = [tokenizer.decode(whole.input_ids[slice(*run.span())]) for run in runs]
    if any(user in part for part in counted for user in ("Hola", "Bien", USER)):
        return f"Cuenta en la pérdida lo que no dice el modelo: {shown(counted)}."
    if len(counted) != 2 or any(end not in part for part in counted):
        return (
            f"Lo que cuenta en la pérdida es {shown(counted)}, y cada respuesta ha de acabar, "
            "dentro de `generation`, con `{{ eos_token }}`. Sin él nada enseña a callarse."
        )
    if whole.input_ids[: len(asked)] != asked:
        tail = shown(tokenizer.decode(asked[-2:]))
        return (
            f"Al preguntar, la petición acaba en {tail}, y al entrenar no se ve eso delante de una "
            "respuesta. ¿Dónde está el espacio en un caso y en el otro?"
        )
    if BOT in "".join(counted):
        return f"El marcador {BOT} lo pone quien pregunta: sácalo de `generation`."
    return None


EXERCISES = {
    "7.1": Exercise(
        function(
            "leaks_in(texts, countries)",
            ((TEXTS, ["Chad", "Perú"]), [TEXTS[0], TEXTS[2]], "dos textos los nombran", PARTS),
            ((TEXTS, ["Cuba"]), [], "ninguno nombra a Cuba"),
            (([], ["Chad"]), [], "sin textos no hay fugas"),
        ),
        "Quédate con los textos en que sale alguno de los países, como palabra entera.",
        '`re.search(rf"\\b{pais}\\b", texto)` busca una palabra entera.',
        praise="Así delata `leaks` un texto: basta con que nombre un país.",
    ),
    "7.2": Exercise(
        function(
            "choose(rungs, target)",
            ((RUNGS, 0.9), "completo", "de los que llegan a la meta, es el que menos gasta"),
            ((RUNGS, 0.1), "tal cual", "llegan todos, y es el que menos gasta"),
            ((RUNGS, 0.995), None, "no llega ninguno"),
            ((RUNGS[2:], 0.9), "con forma", "llegar justo a la meta también vale"),
        ),
        "Quédate primero con los que llegan a la meta.",
        "De esos, el de menos tokens: `min(lista, key=...)`. Si no queda ninguno, `None`.",
        praise="La meta se fija antes de mirar; después, gana el que menos cuesta.",
    ),
    "7.3": Exercise(
        _review_goal,
        "¿Qué acierta en tu examen quien dice a todo «sí»? La meta empieza por encima de eso.",
        "Equilibra: con tantos «no» como «sí», el tonto se queda en la mitad. Hay dos días "
        "cerrados, y se puede preguntar de varias maneras por cada uno.",
        "Con dos bucles, uno por maneras de preguntar y otro por días, salen de sobra; comprueba "
        "que ninguna esté en `SEEN`.",
        praise="Meta, examen y tonto, escritos antes de medir: ya no se pueden mover.",
    ),
    "7.4": Exercise(
        _review_template,
        "Compárala con la del curso, `course_lib.encoding.CHAT_TEMPLATE`, trozo a trozo.",
        "Le faltan dos cosas en lo que dice el modelo, y le sobra una al preguntar.",
        "Lo que dice el modelo, entre `{% generation %}` y `{% endgeneration %}`, con su espacio "
        "delante y `{{ eos_token }}` detrás; y al preguntar, el marcador sin espacio.",
        praise="Ahora lo que se pregunta es, token a token, el principio de lo que se entrenó.",
    ),
    "7.5": Exercise(
        prediction(-100, 100, within(-100, 100, "saved(0.1)", unit="los puntos que se salvan")),
        "Sin repaso, el modelo solo ve charlas. ¿Qué pasó con lo que sabía en la lección 05?",
        "Cualquier número vale de predicción, en puntos. La medida es `saved(0.1)`.",
        praise=lambda answer: (
            f"{told(*answer, 10)} Es una sola semilla y pocos pasos: el número es aproximado. "
            "Cambia la parte de repaso: ¿a partir de cuánto deja de notarse?"
        ),
    ),
}
