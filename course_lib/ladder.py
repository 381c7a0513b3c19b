"""La escalera, medida con tus preguntas: qué peldaño es el más barato de los que llegan a la meta.

Sirve para cualquier modelo y cualquier examen: un peldaño es un nombre y una función que lo
prepara. Los caros, como un ajuste, solo se preparan si los de antes no bastaron.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from course_lib.evaluation import Answerer, Measure, is_right, proportion
from course_lib.generation import first_turn, generate
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


@dataclass(frozen=True)
class Tried:
    """Un peldaño probado: sus aciertos y los tokens medios por respuesta, si se saben."""

    name: str
    right: Measure
    tokens: float | None


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

    Raises:
        ValueError: si no hay preguntas o peldaños, o si la meta no está entre 0 y 1.

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
        answers = strategy.build()(questions)
        right = proportion([grade(a, q) for a, q in zip(answers, questions, strict=True)])
        tokens = None
        if strategy.tokens:
            costs = [strategy.tokens(q, a) for q, a in zip(questions, answers, strict=True)]
            tokens = sum(costs) / len(costs)
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
        name: cómo se llama en la tabla.
        load: devuelve `(modelo, tokenizador)`; se llama una vez, y solo si se llega al peldaño.
        prompt: `(tokenizador, pregunta)` → los ids de la petición.
        stop: dónde acaba la respuesta, como en `generate`.
        read: saca la respuesta de lo que el modelo escribe.
    """
    loaded = []

    def build() -> Answerer:
        if not loaded:
            loaded.append(load())
        model, tokenizer = loaded[0]

        def answer(questions: Sequence[Question]) -> list[str]:
            prompts = [prompt(tokenizer, question) for question in questions]
            return [read(text) for text in generate(model, tokenizer, prompts, stop=stop)]

        return answer

    def tokens(question: Question, text: str) -> int:
        tokenizer = loaded[0][1]
        return len(prompt(tokenizer, question)) + len(tokenizer.encode(text))

    return Strategy(name, build, tokens)


def format_climb(climb: Climb) -> str:
    """La subida como tabla de Markdown, con la conclusión debajo."""
    lines = [
        "| Peldaño | Aciertos | Intervalo del 95% | Tokens por respuesta |",
        "|---|---:|---:|---:|",
    ]
    for rung in climb.tried:
        right = rung.right
        tokens = "—" if rung.tokens is None else f"{rung.tokens:.0f}"
        lines.append(
            f"| {rung.name} | {100 * right.value:.0f}% | "
            f"{100 * right.low:.0f} a {100 * right.high:.0f} | {tokens} |"
        )
    last, goal = climb.tried[-1].right, f"{100 * climb.target:.0f}%"
    if climb.chosen is None:
        end = f"Ninguno llega al {goal}: hace falta otro peldaño, o mejores datos."
    elif last.low < climb.target:
        end = (
            f"El más barato que llega al {goal} es **{climb.chosen}**, pero con {last.n} preguntas "
            "el intervalo baja de la meta: pregunta más antes de fiarte."
        )
    else:
        end = f"El más barato que llega al {goal} es **{climb.chosen}**."
    return "\n".join([*lines, "", end])
