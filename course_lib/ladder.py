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
from course_lib.evaluation import Answerer, ask, is_right
from course_lib.plots import dots
from course_lib.tables import Measure, markdown, mean, number, percent, proportion
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
        return format_climb(self)


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


def format_climb(climb: Climb) -> str:
    """La subida como tabla de Markdown, con la conclusión debajo."""
    rows = [
        [rung.name, rung.right, None if rung.tokens is None else number(rung.tokens)]
        for rung in climb.tried
    ]
    last, goal = climb.tried[-1].right, percent(climb.target)
    end = f"El más barato que llega al {goal} es **{climb.chosen}**"
    if climb.chosen is None:
        end = f"Ninguno llega al {goal}: hace falta otro peldaño, o mejores datos"
    elif last.low < climb.target:
        end += f", pero con {number(last.n)} preguntas el intervalo baja de la meta: pregunta más "
        end += "antes de fiarte"
    return f"{markdown(['Peldaño', 'Aciertos', 'Tokens por respuesta'], rows)}\n\n{end}."


def form_prompt(tokenizer, question: Question) -> list[int]:
    """La forma «Pregunta: … Respuesta:», que es la que el modelo aprendió."""
    return tokenizer.encode(world.question_prompt(question))


def raw_prompt(tokenizer, question: Question) -> list[int]:
    """La pregunta tal como la escribe un usuario, sin nada alrededor."""
    return tokenizer.encode(question.text)


def after_label(text: str) -> str:
    """La respuesta, sin el «Respuesta:» que el modelo escribe por su cuenta si nadie lo hizo."""
    text = text.strip()
    for words in world.WORDS.values():
        text = text.removeprefix(f"{words.answer}:")
    return text.strip()


def chat_question(tokenizer, question: Question) -> list[int]:
    """La pregunta como mensaje de un usuario, con la plantilla de chat del tokenizador."""
    return chat_prompt(tokenizer, [{"role": "user", "content": question.text}])


EXAMS = {"hechos": "Hechos", "si_no": "Sí/no", "documentos": "Documentos nuevos"}
KEPT = {"sabe": "Sabe", "si_no_forma": "Sí/no", "lee": "Lee"}


def spread(rows: Sequence[Mapping], column: str) -> Measure:
    """El valor medio de una medida y su margen.

    Con una sola medida es su intervalo del 95%; con varias semillas, del límite más bajo al más
    alto de los de todas: incluye el azar de las preguntas y el del ajuste.
    """
    cells = [row[column] for row in rows]
    values = tuple(c.value for c in cells)
    low, high = min(c.low for c in cells), max(c.high for c in cells)
    return Measure(mean(values), cells[0].n, low, high, values)


def ladder_rows(result: Mapping) -> dict[str, list[dict]]:
    """Todos los peldaños de un resultado guardado: sus medidas, una por semilla."""
    return {name: [row] for name, row in result["peldaños"].items()} | dict(result["ajustes"])


def format_ladder(result: Mapping, names: Sequence[str] | None = None) -> str:
    """La escalera guardada por `python -m taller escalera`, entera o solo los peldaños `names`,
    como tabla de Markdown."""
    rows, lines = ladder_rows(result), []
    for name in names or rows:
        costs = [[row.get(column) for row in rows[name]] for column in ("tokens", "segundos")]
        means = [None if None in values else number(mean(values)) for values in costs]
        lines.append([name, *(spread(rows[name], exam) for exam in EXAMS), *means])
    titles = [*EXAMS.values(), "Tokens por respuesta", "Segundos de ajuste"]
    return markdown(["Peldaño", *titles], lines)


def format_kept(result: Mapping, names: Sequence[str]) -> str:
    """Lo que cada ajuste conserva de lo que el modelo sabía, y lo que cuesta, en Markdown."""
    base = [spread([result["base"]], column) for column in KEPT]
    lines = [["Antes de ajustar", *base, None, None]]
    for name in names:
        rows = result["ajustes"][name]
        costs = number(rows[0]["pesos"]), number(rows[0]["megas"], 1)
        lines.append([name, *(spread(rows, column) for column in KEPT), *costs])
    return markdown(["Modelo", *KEPT.values(), "Pesos entrenados", "MB en disco"], lines)


def ladder_figure(result: Mapping, names: Sequence[str], title: str):
    """Los aciertos de cada peldaño en cada examen, con su margen: un renglón por peldaño."""
    rows = ladder_rows(result)
    groups = {
        label: [(name.replace("*", ""), spread(rows[name], exam), color) for name in names]
        for (exam, label), color in zip(EXAMS.items(), ("#0072B2", "#D55E00", "#009E73"))
    }
    return dots(groups, title, "aciertos (%)")
