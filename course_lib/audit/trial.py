"""Probar sin entrenar: con un lote pequeño, a qué pesos llega el gradiente y qué da la pérdida.

Nada queda cambiado: ni pesos, ni gradientes, ni modo, ni azar, ni lo que anota el `Trainer`.
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from functools import wraps

from course_lib.audit.case import Case, once
from course_lib.audit.rows import dig
from course_lib.encoding import IGNORED, Encoded, collate

LONGEST, BIGGEST = 256, 1_000_000_000  # tokens por fila y pesos del modelo: más, sería caro
COLUMNS = ("input_ids", "attention_mask", "labels")
LIBRARIES = {"transformers", "trl"}


def _trial(measure: Callable[[Case, dict], dict[str, float]]) -> Callable[[Case], dict[str, float]]:
    """Lo que mide `measure` con un lote, y el modelo como estaba; si no se puede medir, nada."""

    @once
    @wraps(measure)
    def measured(case: Case) -> dict[str, float]:
        import torch

        if not hasattr(case.model, "get_input_embeddings"):
            return {}
        modes = [(module, module.training) for module in case.model.modules()]
        cuda = [d for d in {w.device for w in case.model.parameters()} if d.type == "cuda"]
        try:  # hay modelos que piden otra cosa
            with suppress(Exception), torch.random.fork_rng(cuda):
                return measure(case, _batch(case))
        finally:
            for module, mode in modes:
                module.training = mode
        return {}

    return measured


@_trial
def gradients(case: Case, batch: dict) -> dict[str, float]:
    """El mayor gradiente de cada matriz que se ajusta."""
    learnt = {name: (w, w.grad) for name, w in case.model.named_parameters() if w.requires_grad}
    if any(dig(weight, "_post_accumulate_grad_hooks") for weight, _ in learnt.values()):
        return {}  # al llegar el gradiente darían un paso
    case.model.train()
    table, asked = case.model.get_input_embeddings(), dig(case.args, "gradient_checkpointing")
    try:
        for weight, _ in learnt.values():
            weight.grad = None
        # Con esa opción, Trainer pide gradiente a la entrada; sin ella, nadie lo pide.
        with table.register_forward_hook(lambda *seen: seen[2].requires_grad_() if asked else None):
            loss = _loss(case, batch)
        if loss.requires_grad:  # con backward: autograd.grad no ve lo que se recalcula
            loss.backward()
        return {name: 0.0 if w.grad is None else w.grad.abs().max().item()
                for name, (w, _) in learnt.items()}  # fmt: skip
    finally:
        for weight, grad in learnt.values():
            weight.grad = grad


@_trial
def own_losses(case: Case, batch: dict) -> dict[str, float]:
    """Lo que da la pérdida propia del `Trainer`, si no es la de una biblioteca.

    `una` y `doble` son la suya si en el paso cuentan esas etiquetas o el doble, y `procesos`, la de
    dos procesos; `media`, la de siempre; `sin_desplazar` y `todo`, las de quien compara cada token
    consigo mismo o los cuenta todos.
    """
    import torch
    from torch.nn.functional import cross_entropy

    own = dig(case.trainer, "compute_loss_func") or dig(case.trainer, "compute_loss")
    if own is None or str(dig(own, "__module__", "")).split(".")[0] in LIBRARIES:
        return {}
    case.model.eval()
    ids, labels = batch["input_ids"], batch["labels"]
    with torch.no_grad():
        logits = case.model(ids, attention_mask=batch["attention_mask"]).logits.float()
        aims = {"media": (logits[:, :-1], labels[:, 1:]), "sin_desplazar": (logits, labels),
                "todo": (logits[:, :-1], ids[:, 1:])}  # fmt: skip
        found = {name: cross_entropy(a.flatten(0, 1), b.flatten(), ignore_index=IGNORED)
                 for name, (a, b) in aims.items()}  # fmt: skip
        found |= {"una": _loss(case, batch), "doble": _loss(case, batch, times=2),
                  "procesos": _loss(case, batch, processes=2)}  # fmt: skip
    return {name: float(value) for name, value in found.items()}


def _loss(case: Case, batch: dict, times: int = 1, processes: int = 1):
    batch, total = dict(batch), times * batch["labels"][:, 1:].ne(IGNORED).sum()
    if case.trainer is None:
        return case.model(**batch).loss
    trainer, real = copy.copy(case.trainer), case.trainer.accelerator
    for name, value in vars(trainer).items():  # las cuentas que lleven TRL o quien la escribió
        if isinstance(value, dict | list) and not name.endswith("_dataset"):
            setattr(trainer, name, copy.deepcopy(value))
    trainer.state, trainer.log = copy.deepcopy(trainer.state), lambda *_, **__: None
    if processes > 1:
        several = {"num_processes": processes, "__getattr__": lambda _, name: getattr(real, name)}
        trainer.accelerator = type("Several", (), several)()
    with trainer.compute_loss_context_manager():
        return trainer.compute_loss(case.model, batch, num_items_in_batch=total)


def _batch(case: Case) -> dict:
    """Dos filas, con relleno si hace falta; sin filas, unos ids cualesquiera.

    Raises:
        ValueError: si probar saldría caro, o no hay filas que quepan en el modelo.
    """
    table = case.model.get_input_embeddings().weight
    room = min(LONGEST, dig(case.model, "config.max_position_embeddings") or LONGEST)
    made: list = [[list(range(1, min(16, len(table))))] * 2]
    if isinstance(case.labelled, list):
        rows = [row for row in case.labelled if row.supervised and len(row.real) <= room]
        rows.sort(key=lambda row: len(row.real))
        made = [[row.real, row.labels[row.start : row.end]] for row in rows[:1] + rows[-1:]]
    fits = made and all(0 <= i < len(table) for ids, _ in made for i in ids)
    if not fits or sum(w.numel() for w in case.model.parameters()) > BIGGEST:
        raise ValueError
    ones = ((ids, [1] * len(ids), labels) for ids, labels in made)
    batch = collate([Encoded(*row, kinds=row[1]) for row in ones], case.pad or 0)
    return {name: batch[name].to(table.device) for name in COLUMNS}
