"""El proyecto: lo que de un caso propio puede comprobar un programa. Lo demás, la rúbrica."""

from collections.abc import Mapping
from typing import Any

from course_lib.evaluation import leaks
from course_lib.exercises import Exercise
from course_lib.exercises.review import is_number, shown
from course_lib.tables import Measure, percent

WORDS = 5  # las que hacen falta, al menos, para haber dicho algo
FEW = 30  # preguntas por debajo de las cuales el intervalo no deja decidir casi nada
DUMMY = "el tonto"

CASE = {
    "quién": "quién lo usa, y para qué",
    "qué falla": "un fallo que hayas visto, con la pregunta y la respuesta",
    "qué falta": "saber, forma, capacidad… lo que crees que le falta",
    "si se equivoca": "qué pasa con una respuesta mala",
}
DECISION = {
    "por qué": "con las cifras de la tabla",
    "cambiaría": "qué dato te haría decidir otra cosa",
    "no medido": "lo que no sabes, y podría importar",
}


def _said(answer: Any, fields: Mapping[str, str]) -> str | None:
    """Lo que falta por decir de unos campos, cada uno en una frase."""
    if not isinstance(answer, Mapping):
        return f"Se espera un diccionario con «{'», «'.join(fields)}», y hay {shown(answer)}."
    for name, what in fields.items():
        text = answer.get(name)
        if not isinstance(text, str) or len(text.split()) < WORDS:
            return f"Falta «{name}», en una frase: {what}."
    return None


def _rows(results: Any) -> str | None:
    """Lo que le pasa a una tabla de parejas (nombre, medida)."""
    if not isinstance(results, list | tuple) or not results:
        return "Se espera la lista de resultados, de parejas (nombre, medida)."
    for row in results:
        if not isinstance(row, list | tuple) or len(row) != 2 or not isinstance(row[1], Measure):
            return (
                f"Cada fila es una pareja (nombre, medida), con una medida como las de `accuracy`, "
                f"que lleva su n y su intervalo, y hay {shown(row)}."
            )
    return None


def _review_goal(answer: Any) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        return "Se esperan tres cosas, `(goal, dummy, results)`."
    goal, dummy, results = answer
    if not isinstance(goal, Mapping) or not isinstance(dummy, Measure):
        return "La meta es un diccionario, y lo que saca el tonto, una medida de `accuracy`."
    if not isinstance(results, list) or results:
        return "Ya hay resultados, y la meta se escribe antes. Vacía `results` y vuelve a empezar."
    for name in ("mínimo", "perdido"):
        if not is_number(goal.get(name)) or not 0 <= goal[name] <= 1:
            return f"Falta «{name}» en la meta, una proporción de 0 a 1."
    if goal["mínimo"] <= dummy.high:
        return (
            f"El tonto saca {dummy}, y una meta del {percent(goal['mínimo'])} no lo distingue de "
            "quien sabe. Súbela o busca más preguntas."
        )
    return _said(goal, {"decide": "qué se hará si se cumple, y qué si no"})


def _review_leaks(answer: Any) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "Se esperan dos listas de textos, `(preguntas del examen, textos de ajustar)`."
    exam, train = answer
    for texts in (exam, train):
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            return "Las dos han de ser listas de textos, y ninguna puede estar vacía."
    if told := leaks(exam, train):
        return (
            f"{len(told)} de {len(exam)} preguntas del examen están en lo que se va a ajustar. La "
            f"primera es {shown(told[0][0])}. Reparte otra vez, sin trocear diálogos."
        )
    return None


def _review_table(results: Any) -> str | None:
    if complaint := _rows(results):
        return complaint
    names, sizes = [name for name, _ in results], {measure.n for _, measure in results}
    if DUMMY not in names:
        return f"Falta la fila de «{DUMMY}», con quien se compara todo lo demás."
    if len(set(names)) < len(names):
        return "Hay dos filas con el mismo nombre. ¿Has ejecutado dos veces la misma celda?"
    if len(names) < 3:
        return "Con el tonto y uno más no hay escalera. Mide al menos dos peldaños."
    if len(sizes) > 1:
        return f"No todas las filas hicieron el mismo examen, porque hay n de {sorted(sizes)}."
    if min(sizes) < FEW:
        return f"Con {min(sizes)} preguntas el intervalo no deja decidir. Busca {FEW} o más."
    return None


def _review_decision(answer: Any) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        return "Se esperan tres cosas, `(choice, goal, results)`."
    decision, goal, results = answer
    if complaint := _rows(results) or _said(decision, DECISION):
        return complaint
    measures, chosen = dict(results), decision.get("elijo")
    if chosen not in (*measures, "ninguno"):
        return f"«elijo» ha de ser «ninguno» o una fila de la tabla, y es {shown(chosen)}."
    if not isinstance(goal, Mapping) or not is_number(goal.get("mínimo")):
        return "Falta la meta que escribiste, con su «mínimo»."
    enough = [name for name, measure in results if measure.value >= goal["mínimo"]]
    if chosen == "ninguno" and enough:
        return f"Dices «ninguno», y «{enough[0]}» llega a tu meta. Explícalo o elígelo."
    if chosen != "ninguno" and chosen not in enough:
        return f"«{chosen}» saca {measures[chosen]}, y tu meta era el {percent(goal['mínimo'])}."
    if chosen != "ninguno" and chosen != enough[0]:
        return f"«{enough[0]}» también llega a la meta y va antes en la escalera. Elige ese."
    if not any(character.isdigit() for character in decision["por qué"]):
        return "«por qué» no lleva ni una cifra, y las tienes en la tabla."
    return None


EXERCISES = {
    "10.1": Exercise(
        lambda answer: _said(answer, CASE),
        "Imagina que se lo cuentas a quien tiene que pagarlo.",
        "Copia un fallo de verdad, palabra por palabra. Si no tienes ninguno, esa es la respuesta.",
        praise="Con un fallo delante se discute mejor que con un deseo.",
    ),
    "10.2": Exercise(
        _review_goal,
        "¿Cuánto acertaría quien diese a todo la misma respuesta? La meta empieza más arriba.",
        "Y ejecútala antes de medir nada, con `results` vacía.",
        praise="Escrita antes de medir. Desde aquí no se mueve.",
    ),
    "10.3": Exercise(
        _review_leaks,
        "Una pregunta del examen está en los datos de ajustar, tal cual o con otros signos.",
        "Reparte diálogos enteros con `split_dialogues`: los iguales van al mismo lado.",
        praise="Nada del examen está, con esas palabras, en los datos. (Dicho de otra manera puede "
        "estar: léelos).",
    ),
    "10.4": Exercise(
        _review_table,
        "Cada fila, con lo que da `accuracy`, que ya trae su n y su intervalo.",
        f"La primera fila es la de «{DUMMY}», y todas hacen el mismo examen.",
        praise="Con n, intervalo y tonto: se puede enseñar.",
    ),
    "10.5": Exercise(
        _review_decision,
        "Se elige el primer peldaño que llega a la meta, aunque haya otro mejor más arriba.",
        "Si no llega ninguno, «elijo» es «ninguno», y eso también es un resultado.",
        praise="La parte que se puede comprobar está. Lo demás lo dice la rúbrica.",
    ),
}
