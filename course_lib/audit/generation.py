"""La llamada con la que se genera: dónde va el relleno, la máscara y el tope."""

from typing import Any

from course_lib.audit.case import Case
from course_lib.audit.findings import Finding, finding, listing

HALF = 0.5  # de max_length, gastado en la pregunta
NO_CALL = "los argumentos de la llamada a generate (generation), con sus input_ids"


def check_right_padding(case: Case) -> Finding | str | None:
    """Relleno a la derecha del lote que se genera."""
    ids = _ids(case)
    if ids is None:
        return NO_CALL
    if getattr(getattr(case.model, "config", None), "is_encoder_decoder", False):
        return None  # con codificador, la respuesta no sigue a la pregunta
    mask, pad = _mask(case), _pad(case)
    if mask is not None:
        bad = [i for i, row in enumerate(mask) if row and not row[-1]]
        if not bad and pad is not None and pad != case.eos:
            bad = [i for i, row in enumerate(ids) if row and row[-1] == pad]
    elif pad is not None:
        bad = [i for i, row in enumerate(ids) if _padded_right(row, pad, case.eos, len(ids))]
        if len(bad) == len(ids) > 1 and pad == case.eos:
            bad = [i for i in bad if ids[i][-2:] == [pad, pad]]
    else:
        return "la attention_mask o el id del relleno"
    if not bad:
        return None
    tail = case.decode(ids[bad[0]][-6:]) if case.tokenizer is not None else str(ids[bad[0]][-6:])
    return finding(
        "relleno-derecha",
        "grave",
        f"{len(bad)} de las {len(ids)} peticiones del lote acaban en relleno: filas "
        f"{listing(bad)}. La fila {bad[0]} termina en {tail!r}.",
        {"peticiones": len(ids), "con_relleno_a_la_derecha": len(bad)},
        bad,
    )


def check_mask(case: Case) -> Finding | str | None:
    """Una llamada sin máscara de atención."""
    ids = _ids(case)
    if ids is None:
        return NO_CALL
    if _mask(case) is not None:
        return None
    pad = _pad(case)
    pads = [sum(token == pad for token in row) for row in ids] if pad is not None else [0]
    grave = any(pads) and (len(ids) > 1 or pad == case.eos)
    what = (
        f"y entre ellas hay {sum(pads)} tokens de relleno, que el modelo leerá como texto"
        if any(pads)
        else "aunque aquí no hay relleno; con otro lote lo habrá"
    )
    one = len(ids) == 1
    return finding(
        "sin-mascara",
        "grave" if grave else "aviso",
        f"La llamada no lleva attention_mask para {'su petición' if one else 'sus peticiones'} "
        f"({len(ids)}), {what}."
        + (" Relleno y fin son el mismo token." if pad is not None and pad == case.eos else ""),
        {"peticiones": len(ids), "relleno": sum(pads)},
        [i for i, n in enumerate(pads) if n],
    )


def check_max_length(case: Case) -> Finding | str | None:
    """`max_length` en vez de `max_new_tokens`."""
    if case.generation is None:
        return NO_CALL
    top, new = _option(case, "max_length"), _option(case, "max_new_tokens")
    if new is not None or top is None:
        return None
    ids = _ids(case)
    if ids is None:
        return "los input_ids de la llamada, para saber cuánto ocupa la pregunta"
    width = max(len(row) for row in ids)
    severity = "grave" if width >= top else "aviso" if width >= HALF * top else "nota"
    return finding(
        "max-length-generacion",
        severity,
        f"La petición ocupa {width} tokens de los {top} de max_length: para la respuesta quedan "
        f"{max(0, top - width)}.",
        {"peticion": width, "max_length": top, "quedan": max(0, top - width)},
    )


def _option(case: Case, name: str) -> Any:
    value = case.generation.get(name)
    if value is None and "generation_config" in case.generation:
        value = getattr(case.generation["generation_config"], name, None)
    return value


def _rows(value: Any) -> list[list[int]] | None:
    if value is None:
        return None
    value = value.tolist() if hasattr(value, "tolist") else [_flat(row) for row in value]
    if value and not isinstance(value[0], list):
        value = [value]
    return value or None


def _flat(row: Any):
    if hasattr(row, "tolist"):
        return row.tolist()
    return list(row) if isinstance(row, list | tuple) else row


def _ids(case: Case) -> list[list[int]] | None:
    if case.generation is None:
        return None
    value = case.generation.get("input_ids")
    return _rows(case.generation.get("inputs") if value is None else value)


def _mask(case: Case) -> list[list[int]] | None:
    return _rows(case.generation.get("attention_mask"))


def _pad(case: Case) -> int | None:
    own = _option(case, "pad_token_id")
    for value in (own, case.pad, case.eos):
        if isinstance(value, int):
            return value
    return None


def _padded_right(row: list[int], pad: int, eos: int | None, rows: int) -> bool:
    """Si la fila acaba en relleno; un solo token de fin en una petición suelta no lo es."""
    if not row or row[-1] != pad:
        return False
    return pad != eos or rows > 1 or row[-2:] == [pad, pad]
