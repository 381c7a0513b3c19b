"""Los ids, las etiquetas y la máscara de atención, posición a posición: si cuentan lo mismo."""

from collections import Counter

from course_lib.audit.case import Case
from course_lib.audit.engine import Seen, check, share
from course_lib.audit.recipe import call_of
from course_lib.audit.rows import mask_fault


@check("descuadre", "rows_or_call", grave=0.20, aviso=0.01)
def misaligned(case: Case, _):
    """Etiquetas que no son el token de su sitio, o una máscara que no es la del relleno."""
    if case.slips:
        kind = max(case.slips, key=lambda name: len(case.slips[name]))
        rows = case.slips[kind]
        value = Counter(rows.values()).most_common(1)[0][0]
        say = ["malas_filas", kind, kind == "valor" and value == case.pad and "mismo"]
        # Sin saber qué modelo es, podría ser uno con codificador, con sus etiquetas aparte.
        limit = "aviso" if case.model is None and kind in ("ajenas", "largos") else None
        numbers = share("malas", [*rows], case.rows) | {"valor": value}
        return Seen(numbers, rows, say, cause=kind, at_most=limit)
    call, asked = call_of(case), []
    if not isinstance(call, str) and call[1] is not None:
        asked = [(i, ids, mask) for i, (ids, mask) in enumerate(zip(*call[:2]))]
    trained = case.has_rows and not case.collated.block_mask
    for group in ([(row, row.ids, row.mask) for row in case.rows] if trained else [], asked):
        faults = {who: mask_fault(ids, mask, case.pad, case.marks) for who, ids, mask in group}
        for kind in ("tapa", "fines", "relleno"):
            if guilty := [who for who, fault in faults.items() if fault == kind]:
                limit = None if kind == "tapa" or group is asked else "aviso"
                numbers = share("malas", guilty, group)
                return Seen(numbers, guilty, ["malas_filas", kind], cause=kind, at_most=limit)
    return None
