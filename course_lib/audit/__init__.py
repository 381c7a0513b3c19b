"""Auditar un ajuste: dar lo que se tiene y leer qué está mal, con pruebas.

Cada comprobación mira lo que puede y, si le falta algo, lo dice: no aprueba en silencio. No
entrena (a lo más, pasa un lote pequeño por el modelo), no modifica nada de lo que recibe y mira una
muestra cuando los datos son muchos.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Al importarse, cada módulo registra sus comprobaciones.
from course_lib.audit import leakage, prompts, recipe, supervision, weights  # noqa: F401
from course_lib.audit.case import Case
from course_lib.audit.engine import CHECKS
from course_lib.audit.leakage import split_for_audit
from course_lib.audit.report import SEVERITIES, Abstention, Example, Finding, Report, worst_first

__all__ = ["CHECKS", "SEVERITIES", "Abstention", "Example", "Finding", "Report", "audit",
           "split_for_audit"]  # fmt: skip


def audit(
    dialogues: str | Path | Sequence | None = None,
    tokenizer: Any = None,
    train_dataset: Any = None,
    eval_dataset: Any = None,
    data_collator: Callable[[list[dict]], dict] | None = None,
    args: Any = None,
    model: Any = None,
    prompt: Callable | None = None,
    generation: dict | None = None,
    log: Sequence[dict] | None = None,
    answers: Sequence[str] | None = None,
    before: dict | None = None,
    after: dict | None = None,
    train_dialogues: Sequence | None = None,
    test_dialogues: Sequence | None = None,
    trainer: Any = None,
    checks: Sequence[str] | None = None,
) -> Report:
    """Busca en un ajuste los errores más corrientes. Todo es opcional: se audita lo que se dé.

    Args:
        dialogues: los diálogos, de cualquier sitio del que los lea `read_dialogues`.
        tokenizer: el tokenizador.
        train_dataset: un `Dataset` o una lista de diccionarios con `input_ids` y lo demás.
        eval_dataset: lo mismo, apartado para medir.
        data_collator: de una lista de filas a un lote, como se lo darías a `Trainer`.
        args: los `TrainingArguments`.
        model: el modelo, de `transformers` o de `peft`.
        prompt: la función con la que se pregunta, `(tokenizer, messages)` → ids o texto.
        generation: los argumentos de una llamada a `generate`, con sus nombres.
        log: `trainer.state.log_history`.
        answers: lo que contesta el modelo ajustado a preguntas variadas.
        before: capacidades del modelo de partida, por su nombre: `Measure` o (aciertos, n).
        after: las mismas, del modelo ajustado.
        train_dialogues: los diálogos con que se entrena, de donde los lea `read_dialogues`, sus
            parejas (`Pair`) o textos; de un `DatasetDict` se toma su parte.
        test_dialogues: los de prueba.
        trainer: un `Trainer`, del que se saca lo que no se dé aparte.
        checks: las comprobaciones que hacer; por defecto, todas.

    Returns:
        Un `Report`: hallazgos, abstenciones, comprobaciones sin hallazgos y las que fallaron.

    Raises:
        ValueError: si `checks` nombra una comprobación que no existe, o un argumento no es del
            tipo debido.
        FileNotFoundError: si `dialogues` es una ruta que no existe.

    >>> audit(generation={"input_ids": [[5, 6, 7]], "max_length": 4}).findings[0].check
    'sin-mascara'
    """
    given = dict(locals())  # antes que nada: son los argumentos, y solo ellos
    names = given.pop("checks") or CHECKS
    if unknown := set(names) - CHECKS.keys():
        raise ValueError(
            f"No hay ninguna comprobación «{sorted(unknown)[0]}»: las que hay son "
            f"{', '.join(CHECKS)}."
        )
    case = Case(given)
    with case.untouched():
        _ = case.conversations  # un archivo ilegible es un error, no una abstención
        outcomes = {name: CHECKS[name](case) for name in names}
        example = case.example(case.rows[0]) if case.has_rows else None
    return Report(
        notices=tuple(case.notices),
        findings=worst_first(o for o in outcomes.values() if isinstance(o, Finding)),
        abstained=tuple(Abstention(n, o) for n, o in outcomes.items() if isinstance(o, str)),
        passed=tuple(name for name, outcome in outcomes.items() if outcome is None),
        example=example,
        failed=tuple(o for o in outcomes.values() if isinstance(o, Abstention)),
    )
