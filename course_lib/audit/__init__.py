"""Auditar un ajuste: dar lo que se tiene y leer qué está mal, con pruebas.

Cada comprobación mira lo que puede y, si le falta algo, lo dice: no aprueba en silencio. No
entrena, no modifica nada de lo que recibe y mira una muestra cuando los datos son muchos.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from course_lib.audit import (
    arguments,
    data,
    generation,
    history,
    packing,
    prompts,
    supervision,
    truncation,
    weights,
)
from course_lib.audit.case import Case, gather
from course_lib.audit.data import split_for_audit
from course_lib.audit.findings import SEVERITIES, Abstention, Example, Finding, Report
from course_lib.audit.untouched import untouched

__all__ = ["CHECKS", "Abstention", "Example", "Finding", "Report", "audit", "split_for_audit"]

CHECKS: dict[str, Callable[[Case], Finding | str | None]] = {
    "fin-tapado": supervision.check_masked_end,
    "relleno-contado": supervision.check_padding,
    "sin-fin": supervision.check_no_end,
    "usuario-supervisado": supervision.check_user,
    "plantilla-distinta": prompts.check_template,
    "marcadores-rotos": prompts.check_markers,
    "ids-fuera": weights.check_ids,
    "nuevos-congelados": weights.check_new_tokens,
    "doble-bos": prompts.check_double_bos,
    "relleno-derecha": generation.check_right_padding,
    "sin-mascara": generation.check_mask,
    "respuesta-cortada": truncation.check_truncated,
    "fuga": data.check_leak,
    "duplicados": data.check_repeats,
    "sin-evaluacion": arguments.check_evaluation,
    "sobreajuste": history.check_overfitting,
    "tasa-alta": history.check_rate,
    "tasa-lora-baja": arguments.check_lora_rate,
    "lora-sin-efecto": weights.check_lora,
    "lora-sin-gradiente": weights.check_lora_gradient,
    "fp16-entrenable": arguments.check_fp16_weights,
    "precision-imposible": arguments.check_precision,
    "acumulacion": arguments.check_accumulation,
    "max-length-generacion": generation.check_max_length,
    "espacio-final": prompts.check_space,
    "nada-supervisado": supervision.check_nothing,
    "empaquetado": packing.check_packing,
    "olvido": history.check_forgetting,
    "respuestas-sosas": data.check_bland,
}


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
        dialogues: un archivo `.json` o `.jsonl`, o una lista de `Dialogue`.
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
        train_dialogues: los diálogos, o las parejas (`Pair`), con que se entrena.
        test_dialogues: los de prueba.
        trainer: un `Trainer`, del que se saca lo que no se dé aparte.
        checks: las comprobaciones que hacer; por defecto, todas.

    Returns:
        Un `Report`: hallazgos, abstenciones y comprobaciones sin hallazgos.

    Raises:
        ValueError: si `checks` nombra una comprobación que no existe, o un argumento no es del
            tipo debido.
        FileNotFoundError: si `dialogues` es una ruta que no existe.

    >>> audit(generation={"input_ids": [[5, 6, 7]], "max_length": 4}).findings[0].check
    'sin-mascara'
    """
    unknown = set(checks or ()) - CHECKS.keys()
    if unknown:
        raise ValueError(
            f"No hay ninguna comprobación «{sorted(unknown)[0]}»: las que hay son "
            f"{', '.join(CHECKS)}."
        )
    case = gather(
        dialogues=dialogues,
        tokenizer=tokenizer,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=data_collator,
        args=args,
        model=model,
        prompt=prompt,
        generation=generation,
        log=log,
        answers=answers,
        before=before,
        after=after,
        train_dialogues=train_dialogues,
        test_dialogues=test_dialogues,
        trainer=trainer,
    )
    with untouched(case.tokenizer):
        _ = case.conversations  # un archivo ilegible es un error, no una abstención
        outcomes = {name: _run(CHECKS[name], case) for name in checks or CHECKS}
        example = case.example(case.rows[0]) if isinstance(case.rows, list) else None
    found = [outcome for outcome in outcomes.values() if isinstance(outcome, Finding)]
    return Report(
        findings=tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity))),
        abstained=tuple(
            Abstention(name, outcome) for name, outcome in outcomes.items() if type(outcome) is str
        ),
        passed=tuple(name for name, outcome in outcomes.items() if outcome is None),
        example=example,
    )


def _run(check: Callable[[Case], Finding | str | None], case: Case) -> Finding | str | None:
    """El resultado de una comprobación; si tropieza con algo raro, se abstiene y dice con qué."""
    try:
        return check(case)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        return f"datos que se puedan leer: tropezó con {type(error).__name__}: {reason}"
