"""La escalera, medida con tus preguntas: qué peldaño es el más barato de los que llegan a la meta.

Sirve para cualquier modelo y cualquier examen: un peldaño es un nombre y una función que lo
prepara. Los caros, como un ajuste, solo se preparan si los de antes no bastaron. Debajo, la tabla
de la escalera de este curso, que se midió aparte y está guardada.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from course_lib import world
from course_lib.chat import first_turn
from course_lib.encoding import chat_prompt
from course_lib.evaluation import Answerer, ask, conversation, is_right
from course_lib.plots import dots
from course_lib.tables import cell, markdown, mean, number, percent, proportion, summarize
from course_lib.world import Question


@dataclass(frozen=True)
class Strategy:
    """Un peldaño que probar.

    `build` prepara el contestador (preguntas → respuestas) y puede tardar lo que haga falta;
    `tokens` dice cuántos tokens costó una respuesta, si se sabe.
    """

    name: str
    build: Callable[[], Answerer]
    tokens: Callable[[Question, str], int] | None = None


# Un peldaño probado: sus aciertos y los tokens medios por respuesta, si se saben.
Tried = namedtuple("Tried", "name right tokens")


@dataclass(frozen=True)
class Climb:
    """Lo que dio subir la escalera: los peldaños probados, en orden, y el que bastó, si alguno."""

    tried: tuple[Tried, ...]
    chosen: str | None
    target: float

    def _repr_markdown_(self) -> str:
        """Como tabla de Markdown, con la conclusión debajo."""
        rows = [
            [rung.name, rung.right, None if rung.tokens is None else number(rung.tokens)]
            for rung in self.tried
        ]
        last, goal = self.tried[-1].right, percent(self.target)
        end = f"El más barato que llega al {goal} es **{self.chosen}**"
        if self.chosen is None:
            end = f"Ninguno llega al {goal}: hace falta otro peldaño, o mejores datos"
        elif last.low < self.target:
            end += f", pero con {number(last.n)} preguntas el intervalo baja de la meta: pregunta "
            end += "más antes de fiarte"
        return f"{markdown(['Peldaño', 'Aciertos', 'Tokens por respuesta'], rows)}\n\n{end}."


def cheapest_rung(
    questions: Sequence[Question],
    strategies: Sequence[Strategy],
    target: float = 0.9,
    grade: Callable[[str, Question], bool] = is_right,
) -> Climb:
    """Prueba los peldaños en orden, del más barato al más caro, hasta que uno llega a la meta.

    Args:
        questions: tu examen; con menos de cien preguntas el intervalo será ancho.
        strategies: del más barato al más caro, a tu juicio: el orden es tuyo.
        target: la proporción de aciertos que te basta, entre 0 y 1.
        grade: si una respuesta vale; por omisión, `is_right`.

    >>> right = Strategy("sabelotodo", lambda: lambda questions: [q.answer for q in questions])
    >>> mute = Strategy("mudo", lambda: lambda questions: [""] * len(questions))
    >>> cheapest_rung([Question("capital", "¿Y la de Perú?", "Lima")], [mute, right]).chosen
    'sabelotodo'
    """
    if not questions or not strategies:
        raise ValueError("Falta qué probar: pasa al menos una pregunta y un peldaño.")
    if not 0 < target <= 1:
        raise ValueError(f"target={target} no vale: es una proporción, entre 0 y 1 (0.9 es 90%).")
    tried = []
    for strategy in strategies:
        pairs = list(zip(questions, strategy.build()(questions), strict=True))
        right = proportion([grade(answer, question) for question, answer in pairs])
        tokens = mean(strategy.tokens(*pair) for pair in pairs) if strategy.tokens else None
        tried.append(Tried(strategy.name, right, tokens))
        if right.value >= target:
            return Climb(tuple(tried), strategy.name, target)
    return Climb(tuple(tried), None, target)


def model_strategy(
    name: str,
    load: Callable[[], tuple],
    prompt: Callable[..., list[int]],
    stop: str | None = None,
    read: Callable[[str], str] = first_turn,
) -> Strategy:
    """Un peldaño que pregunta a un modelo de transformers.

    Args:
        load: devuelve `(modelo, tokenizador)`; se llama una vez, y solo si se llega al peldaño.
        prompt, stop, read: como en `evaluation.ask`.
    """
    load = cache(load)

    def build() -> Answerer:
        return ask(*load(), prompt, stop, read)

    def tokens(question: Question, text: str) -> int:
        _, tokenizer = load()
        return len(prompt(tokenizer, question)) + len(tokenizer.encode(text))

    return Strategy(name, build, tokens)


def form_prompt(tokenizer, question: Question) -> list[int]:
    """La forma «Pregunta: … Respuesta:», que es la que el modelo aprendió."""
    return tokenizer.encode(world.question_prompt(question))


def chat_question(tokenizer, question: Question) -> list[int]:
    """La pregunta, con las que lleve delante, en la plantilla de chat del tokenizador."""
    return chat_prompt(tokenizer, conversation(question)[:-1])


ASSISTANT = {
    "chat": "Hechos",
    "encadenadas": "Encadenadas",
    "si_no_chat": "Sí/no",
    "no_lo_se": "«No lo sé»",
    "falso": "«No lo sé» de más",
    "habla": "Habla",
    "conversa": "Conversa",
}
KEPT = {"sabe": "Sabe", "si_no": "Sí/no", "lee": "Lee"}


def format_ladder(
    store: Mapping, names: Sequence[str], measures: Mapping[str, str] = ASSISTANT
) -> str:
    """Los peldaños medidos por `python -m taller asistente`, como tabla de Markdown.

    Args:
        names: los peldaños, en el orden de la tabla.
        measures: las columnas y sus títulos; por omisión, las de la meta.
    """
    lines = [
        [n, *(cell(m, summarize(store, n, m)) for m in measures), *costs(store, n)] for n in names
    ]
    return markdown(["Peldaño", *measures.values(), "Tokens por respuesta", "Segundos"], lines)


def costs(store: Mapping, name: str) -> list[str | None]:
    """Lo que cuesta un peldaño: tokens por respuesta y segundos de ajuste, de media."""
    runs = [run for run in store["corridas"] if run["condicion"] == name]
    found = [[run[key] for run in runs if key in run] for key in ("tokens", "segundos")]
    return [number(mean(values)) if values else None for values in found]


def ladder_figure(store: Mapping, names: Sequence[str], title: str):
    """Los aciertos de cada peldaño, con su intervalo: un renglón por peldaño y un color por
    materia."""
    colors = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
    groups = {
        ASSISTANT[m]: [(name, summarize(store, name, m), color) for name in names]
        for m, color in zip(ASSISTANT, colors, strict=False)
    }
    return dots(groups, title, "aciertos (%)")
