"""Lo que el consejero de `decision` sabe: peldaños, carencias, fuentes y frases. Solo datos."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Rung(IntEnum):
    """Los peldaños de la escalera, del más barato y reversible al más caro."""

    PROMPT = 1
    FEW_SHOT = 2
    RAG = 3
    TUNED_MODEL = 4
    LORA = 5
    FULL = 6


class Lack(StrEnum):
    """Qué le falta al modelo."""

    CHANGING_KNOWLEDGE = "un saber que cambia"
    NEW_KNOWLEDGE = "un saber que nunca tuvo"
    ANOTHER_FORM = "un saber que tiene, en otra forma"
    STYLE_OR_FORMAT = "un estilo o un formato"
    UNKNOWN = "no se sabe"


NAMES = {
    Rung.PROMPT: "un *prompt* mejor",
    Rung.FEW_SHOT: "ejemplos en el *prompt* (*few-shot*)",
    Rung.RAG: "buscar y leer (RAG)",
    Rung.TUNED_MODEL: "un modelo ya ajustado",
    Rung.LORA: "ajuste fino con LoRA",
    Rung.FULL: "ajuste fino completo",
}


@dataclass(frozen=True)
class Source:
    """Una publicación: autores, año y enlace."""

    authors: str
    year: int
    url: str


def _arxiv(authors: str, year: int, number: str) -> Source:
    return Source(authors, year, f"https://arxiv.org/abs/{number}")


SOURCES = {
    "few-shot": _arxiv("Brown et al.", 2020, "2005.14165"),
    "rag": _arxiv("Lewis et al.", 2020, "2005.11401"),
    "memoria": _arxiv("Carlini et al.", 2020, "2012.07805"),
    "lora": _arxiv("Hu et al.", 2021, "2106.09685"),
    "instruct": _arxiv("Ouyang et al.", 2022, "2203.02155"),
    "coste": _arxiv("Liu et al.", 2022, "2205.05638"),
    "qlora": _arxiv("Dettmers et al.", 2023, "2305.14314"),
    "lima": _arxiv("Zhou et al.", 2023, "2305.11206"),
    "olvido": _arxiv("Luo et al.", 2023, "2308.08747"),
    "extraer": _arxiv("Allen-Zhu y Li", 2023, "2309.14316"),
    "inyectar": _arxiv("Ovadia et al.", 2023, "2312.05934"),
    "nuevo": _arxiv("Gekhman et al.", 2024, "2405.05904"),
    "menos": _arxiv("Biderman et al.", 2024, "2405.09673"),
    "clasificar": _arxiv("Bucher y Martini", 2024, "2406.08660"),
}

# Por qué peldaños se sube según lo que falta. Un saber nuevo no sube nunca a los que entrenan, y
# mientras no se sabe qué falla tampoco se entrena.
_TO_THE_TOP = (Rung.PROMPT, Rung.FEW_SHOT, Rung.TUNED_MODEL, Rung.LORA, Rung.FULL)
PATHS = {
    Lack.CHANGING_KNOWLEDGE: (Rung.RAG, Rung.TUNED_MODEL),
    Lack.NEW_KNOWLEDGE: (Rung.RAG, Rung.TUNED_MODEL),
    Lack.ANOTHER_FORM: _TO_THE_TOP,
    Lack.STYLE_OR_FORMAT: _TO_THE_TOP,
    Lack.UNKNOWN: (Rung.PROMPT, Rung.FEW_SHOT, Rung.TUNED_MODEL),
}

# Razones: (frase, clave de su fuente). Sin clave, es un criterio de este curso.
LACK_REASONS = {
    Lack.CHANGING_KNOWLEDGE: (
        ("lo que cambia se busca al contestar: se pone al día el índice, no el modelo, y la "
         "respuesta puede decir de dónde sale.", "rag"),
        ("con ajuste fino los hechos nuevos se aprenden despacio y, una vez aprendidos, el modelo "
         "inventa más sobre lo que ya sabía.", "nuevo"),
    ),
    Lack.NEW_KNOWLEDGE: (
        ("comparadas en varios temas, la búsqueda ganó al ajuste fino sin supervisión, también con "
         "un saber del todo nuevo.", "inyectar"),
        ("un hecho leído de una sola manera puede quedar memorizado sin que ninguna pregunta lo "
         "saque: hay que contarlo de muchas, y ya en el preentrenamiento.", "extraer"),
    ),
    Lack.ANOTHER_FORM: (
        ("el saber viene casi entero del preentrenamiento; el ajuste fino enseña a usarlo mejor.",
         "nuevo"),
    ),
    Lack.STYLE_OR_FORMAT: (
        ("un formato se aprende con pocos ejemplos: 1.000 pares escogidos bastaron para enseñar a "
         "contestar a un modelo de 65.000 millones de pesos.", "lima"),
    ),
    Lack.UNKNOWN: (
        ("sin saber qué falla no se puede elegir remedio: se prueba lo más barato y se miran los "
         "fallos.", None),
    ),
}  # fmt: skip

RUNG_REASONS = {
    Rung.PROMPT: (
        ("las instrucciones y los ejemplos de la petición cambian lo que hace el modelo sin tocar "
         "un solo peso.", "few-shot"),
    ),
    Rung.FEW_SHOT: (
        ("con unos pocos ejemplos en la petición un modelo grande llega a veces a la altura de "
         "otros ajustados.", "few-shot"),
    ),
    Rung.RAG: (),
    Rung.TUNED_MODEL: (
        ("alguien pagó ya ese ajuste: se prefirieron las respuestas de un modelo ajustado de 1.300 "
         "millones de pesos a las de uno base de 175.000 millones.", "instruct"),
    ),
    Rung.LORA: (
        ("entrena una parte mínima de los pesos y no añade espera al contestar.", "lora"),
        ("fuera de la tarea olvida menos que el ajuste completo, aunque aprenda menos.", "menos"),
        ("si falta memoria, con los pesos en 4 bits (QLoRA) se ajustaron 65.000 millones en una "
         "GPU de 48 GB.", "qlora"),
    ),
    Rung.FULL: (
        ("en código y matemáticas aprendió más que LoRA, y olvidó más.", "menos"),
        ("el olvido tras el ajuste fino es lo corriente entre 1.000 y 7.000 millones de pesos.",
         "olvido"),
    ),
}  # fmt: skip

COST_REASONS = (
    ("los ejemplos de la petición se pagan en cada respuesta; los entrenados, una vez.", "coste"),
    ("clasificando textos, modelos pequeños ajustados ganaron a otros mayores sin ejemplos.",
     "clasificar"),
)  # fmt: skip
PRIVACY_REASON = (
    "en cualquier peldaño, un modelo de pesos abiertos en tus máquinas; y si lo entrenas, sus "
    "pesos pueden recitar los datos: guárdalos como a ellos.", "memoria",
)  # fmt: skip

OTHER_LACK = {
    Lack.CHANGING_KNOWLEDGE: "Si todo el saber cabe en la petición, pégalo y ahórrate el buscador. "
    "Si además falla la forma de contestar, pide consejo para eso aparte.",
    Lack.NEW_KNOWLEDGE: "Si el saber es poco y cabe en la petición, pégalo. Si es un campo entero, "
    "con su lenguaje, lo que se hace es seguir el preentrenamiento, fuera de esta escalera.",
    Lack.ANOTHER_FORM: "Si al mirar los fallos resulta que el saber no estaba, el camino es otro: "
    "buscar y leer (RAG).",
    Lack.STYLE_OR_FORMAT: "Si lo que falla son los hechos y no la forma, el camino es otro: buscar "
    "y leer (RAG).",
    Lack.UNKNOWN: "En cuanto los fallos tengan nombre (no lo sabe, no lo lee, no lo dice así), "
    "vuelve a preguntar.",
}

_SEARCH_MEASURES = (
    "Si el buscador encuentra: en cuántas preguntas el documento bueno está entre los primeros.",
    "Si el modelo lee: cuántas acierta con el documento bueno delante.",
    "Qué hace cuando no hay documento que valga: si lo dice o inventa.",
)
MEASURES = {
    Lack.CHANGING_KNOWLEDGE: _SEARCH_MEASURES,
    Lack.NEW_KNOWLEDGE: _SEARCH_MEASURES,
    Lack.ANOTHER_FORM: (
        "Aciertos de las mismas preguntas en la forma que el modelo conoce y en la que necesitas: "
        "la diferencia es lo que se puede ganar.",
    ),
    Lack.STYLE_OR_FORMAT: (
        "Qué parte de las respuestas cumple el formato, comprobado por un programa; el estilo, con "
        "personas que elijan a ciegas entre dos versiones.",
    ),
    Lack.UNKNOWN: (
        "Una muestra de fallos clasificada a mano: no lo sabía, no lo leyó, lo dijo mal.",
    ),
}
COST_MEASURE = "Tokens y segundos de cada respuesta, contando los de la petición."
TRAINING_MEASURES = (
    "El modelo de partida con la misma evaluación: sin él no hay con qué comparar.",
    "Lo que sabía hacer antes: preguntas generales, antes y después de entrenar.",
)

NO_EVALUATION = (
    "Mide primero: sin un conjunto de evaluación no sabrás si este peldaño basta ni si el "
    "siguiente mejora. Unas 50 peticiones con su respuesta correcta son un punto de partida."
)
TRIED_BLINDLY = "Lo que ya probaste se probó sin medir: puede que bastara."
EXHAUSTED = (
    "Ya has probado todo lo que hoy es posible y conviene. Antes de repetir, mira los fallos uno a "
    "uno: quizá falte otra cosa, o algo de lo que cambiaría el consejo."
)
NO_KEEPER = "Un saber que cambia necesita a alguien que ponga el índice al día."
IF_COST_WERE_CRITICAL = (
    "Si el coste de cada respuesta decidiera y LoRA fuera posible, se iría antes a LoRA."
)
