"""Estadísticas de un corpus de diálogos: turnos, preguntas, síes, noes y repeticiones."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_LEADING_MARKS = " ¡¿«»\"'“”—-…."

# Una respuesta puede abrir con una muletilla («Ah, sí») antes de la palabra que decide.
_FILLER = {
    "es": r"(?:(?:ah|oh|ay|uy|uf|pues|bueno|hombre|ya)\b[\s,!¡.…]*)*",
    "en": r"(?:(?:oh|ah|well|um|uh|hmm|why)\b[\s,!.…]*)*",
}
# Un «claro que no» es un no: la tabla de noes se mira antes que la de síes.
_NO = {
    "es": r"(?:no|nunca|tampoco|qué va|para nada|en absoluto"
    r"|(?:claro|por supuesto|desde luego) que no)\b",
    "en": r"(?:no|nope|not|of course not|certainly not|never)\b",
}
_YES = {
    "es": r"(?:sí|claro|por supuesto|desde luego|exacto|cómo no|así es|eso es|efectivamente)\b",
    # En inglés también se asiente con el verbo a solas («I do .») y con fórmulas fijas.
    "en": r"(?:yes|yeah|yep|yup|yea|sure|surely|of course|certainly|right|exactly|absolutely"
    r"|definitely|indeed|that's right|you're right|you bet|i (?:think|believe|guess|hope) so"
    r"|i'd (?:love|like|be (?:glad|happy|delighted)) to|with pleasure"
    r"|(?:i|it|he|she|we|they|you) (?:am|is|are|do|does|did|have|has|can|will)(?=\s*[.,!]))\b",
}
_INTERROGATIVE = (
    r"(?:qué|quién|quiénes|cómo|cuándo|dónde|adónde|cuál|cuáles|cuánto|cuánta|cuántos|cuántas)\b"
)
_SPANISH_OPEN_QUESTION = re.compile(
    r"(?:(?:y|e|o|pero|entonces|pues)\b[\s,]*)*"
    r"(?:(?:a|de|en|por|para|con|desde|hasta|hacia|sobre|según)\s+)?" + _INTERROGATIVE
)
_AUXILIARY = re.compile(
    r"(?:(?:so|and|but|well|oh|ah|then|or|now|by the way)\b[\s,]*)*"
    r"(?:do|does|did|is|are|was|were|can|could|will|would|shall|should|have|has|had|may|might"
    r"|am|must|don|doesn|didn|isn|aren|wasn|weren|couldn|won|wouldn|shouldn|haven|hasn|hadn"
    r"|can't|cannot|don't|doesn't|didn't|isn't|aren't|wasn't|weren't|couldn't|won't|wouldn't"
    r"|shouldn't|haven't|hasn't|hadn't)\b"
)


@dataclass(frozen=True)
class DialogueStats:
    """Resumen de un corpus; las cuotas (`*_share`) van de 0 a 1."""

    dialogues: int
    utterances: int
    pairs: int
    mean_turns: float
    question_share: float
    yes_share: float
    no_share: float
    unique_reply_share: float


def _opening(text: str) -> str:
    """Texto en minúsculas, sin signos de apertura y con apóstrofos rectos."""
    return re.sub(r"\s*['’]\s*", "'", text.lower().lstrip(_LEADING_MARKS))


def is_question(text: str) -> bool:
    """Dice si la intervención termina en pregunta."""
    return text.rstrip(" »\"'”").endswith("?")


def is_yes_no_question(text: str, language: str = "es") -> bool:
    """Dice si la última pregunta de la intervención se contesta con sí o no.

    En español, lo que sigue al último «¿» no empieza por un interrogativo; en inglés, la
    última oración empieza por un verbo auxiliar.
    """
    _check_language(language)
    if not is_question(text):
        return False
    if language == "es":
        return not _SPANISH_OPEN_QUESTION.match(_opening(text.rsplit("¿", 1)[-1]))
    sentence = re.split(r"[.!?;]\s+(?=\S)", text.rstrip(" ?\"'”"))[-1]
    return bool(_AUXILIARY.match(_opening(sentence)))


def begins_with_no(text: str, language: str = "es") -> bool:
    """Dice si la intervención empieza negando («No…», «Qué va…», «Claro que no…»)."""
    _check_language(language)
    return bool(re.match(_FILLER[language] + _NO[language], _opening(text)))


def begins_with_yes(text: str, language: str = "es") -> bool:
    """Dice si la intervención empieza afirmando («Sí…», «Claro…»); «vale» y «bueno» no cuentan."""
    _check_language(language)
    if begins_with_no(text, language):
        return False
    return bool(re.match(_FILLER[language] + _YES[language], _opening(text)))


def describe_dialogues(dialogues: Iterable[Sequence[str]], language: str = "es") -> DialogueStats:
    """Cuenta lo que caracteriza a un corpus de diálogos.

    Args:
        dialogues: cada diálogo, la sucesión de sus intervenciones.
        language: «es» o «en»; decide qué es un sí, un no y una pregunta de sí o no.

    Returns:
        `DialogueStats`. Un par es una intervención con la que la contesta; las cuotas de sí y
        de no se toman entre las respuestas a preguntas de sí o no; la de respuestas únicas es
        respuestas distintas entre respuestas. Una cuota sin casos vale 0.

    Raises:
        ValueError: si la lengua no está en las tablas.
    """
    _check_language(language)
    dialogues = [tuple(turns) for turns in dialogues]
    pairs = [pair for turns in dialogues for pair in pairwise(turns)]
    to_yes_no = [reply for user, reply in pairs if is_yes_no_question(user, language)]
    return DialogueStats(
        dialogues=len(dialogues),
        utterances=sum(map(len, dialogues)),
        pairs=len(pairs),
        mean_turns=_share(sum(map(len, dialogues)), len(dialogues)),
        question_share=_share(sum(is_question(user) for user, _ in pairs), len(pairs)),
        yes_share=_share(sum(begins_with_yes(r, language) for r in to_yes_no), len(to_yes_no)),
        no_share=_share(sum(begins_with_no(r, language) for r in to_yes_no), len(to_yes_no)),
        unique_reply_share=_share(len({reply for _, reply in pairs}), len(pairs)),
    )


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0


def _check_language(language: str) -> None:
    if language not in _YES:
        raise ValueError(f"No hay tablas para la lengua «{language}»: usa «es» o «en».")
