"""Los ids, las etiquetas y la máscara de atención, posición a posición: si cuentan lo mismo."""

from collections import Counter

from course_lib.audit.case import Case
from course_lib.audit.engine import Seen, check, share
from course_lib.audit.recipe import call_of
from course_lib.audit.rows import Row, mask_fault


@check("descuadre", "rows_or_call", grave=0.20, aviso=0.01)
def misaligned(case: Case, _):
    """Etiquetas que no son el token de su sitio, o una máscara que no es la del relleno."""
    if case.slips:
        kind = max(case.slips, key=lambda name: len(case.slips[name]))
        rows = case.slips[kind]
        value = Counter(rows.values()).most_common(1)[0][0]
        # Sin saber qué modelo es, podría ser uno con codificador, con sus etiquetas aparte.
        unsure = case.model is None and kind in ("ajenas", "largos")
        words = {"at_most": "aviso" if unsure else None, "title": f"titulo_{kind}"}
        return Seen(share("malas", [*rows], case.rows), rows, ["filas_malas", kind], **words,
                    valor=value)  # fmt: skip
    marks = case.ends | {case.bos}
    if case.has_rows and not case.collated.block_mask:
        faults = {r: mask_fault(r.ids, r.mask, case.pad, marks) for r in case.rows}
        if seen := _masked(case, faults, [*case.rows]):
            return seen
    call = call_of(case)
    if isinstance(call, str) or call[1] is None:
        return None
    ids, masks, pad = call
    asked = {i: mask_fault(row, mask, pad, marks) for i, (row, mask) in enumerate(zip(ids, masks))}
    return _masked(case, asked, ids)


def _masked(case: Case, faults: dict, whole: list) -> Seen | None:
    """Lo que se ve en las máscaras, si en alguna se ve algo."""
    for kind in ("tapa", "relleno"):
        guilty = [row for row, fault in faults.items() if fault == kind]
        if guilty:
            mild = isinstance(guilty[0], Row) and all(_only_ends(case, row) for row in guilty)
            words = {"title": f"titulo_{kind}", "at_most": "aviso" if mild else None}
            return Seen(share("malas", guilty, whole), guilty, ["filas_malas", kind], **words)
    return None


def _only_ends(case: Case, row: Row) -> bool:
    """Si lo que la máscara calla o enseña de más son solo fines y relleno."""
    hidden = {i for i, m in zip(row.ids, row.mask or []) if not m}
    return hidden <= case.ends | {case.pad}
