"""Probar sin entrenar: con un lote pequeño, a qué pesos llega el gradiente y qué da la pérdida.

Nada queda cambiado: ni pesos, ni gradientes, ni modo, ni azar, ni lo que anota el `Trainer`.
"""

import copy
from contextlib import suppress

from course_lib.audit.case import Case, once
from course_lib.audit.rows import dig
from course_lib.encoding import IGNORED

LONGEST, BIGGEST = 256, 1_000_000_000  # tokens por fila y pesos del modelo: más, sería caro
LIBRARIES = {"transformers", "trl"}


@once
def rehearse(case: Case) -> tuple[dict[str, float], dict[str, float]]:
    """El mayor gradiente de cada matriz que se ajusta, y lo que da la pérdida propia del `Trainer`.

    De la pérdida, `una` y `doble` son la suya si en el paso cuentan esas etiquetas o el doble, y
    `procesos`, la de dos procesos; `media`, la de siempre; `sin_desplazar` y `todo`, las de quien
    compara cada token consigo mismo o los cuenta todos. Lo que no se puede medir sale vacío.
    """
    import torch
    from torch.nn.functional import cross_entropy

    model, grads, losses = case.model, {}, {}
    learnt = {name: (w, w.grad) for name, w in model.named_parameters() if w.requires_grad}
    modes = [(module, module.training) for module in model.modules()]
    feed = model.get_input_embeddings().register_forward_hook(lambda *a: a[2].requires_grad_(True))
    cuda = [d for d in {w.device for w in model.parameters()} if d.type == "cuda"]
    own = dig(case.trainer, "compute_loss_func") or dig(case.trainer, "compute_loss")
    own = own and str(dig(own, "__module__", "")).split(".")[0] not in LIBRARIES
    if not dig(case.args, "gradient_checkpointing"):
        feed.remove()  # con esa opción, Trainer pide gradiente a la entrada; sin ella, no
    try:  # hay modelos que piden otra cosa: no se miden
        with suppress(Exception), torch.random.fork_rng(cuda):
            if (batch := _batch(case)) is not None:
                model.train()
                for weight, _ in learnt.values():
                    weight.grad = None
                loss = _loss(case, batch)
                if loss.requires_grad:
                    loss.backward()
                grads = {name: 0.0 if w.grad is None else w.grad.abs().max().item()
                         for name, (w, _) in learnt.items()}  # fmt: skip
        with suppress(Exception), torch.random.fork_rng(cuda), torch.no_grad():
            if own and batch is not None:
                model.eval()
                ids, labels = batch["input_ids"], batch["labels"]
                logits = model(ids, attention_mask=batch["attention_mask"]).logits.float()
                shifted = logits[:, :-1]
                aims = {"media": (shifted, labels[:, 1:]), "sin_desplazar": (logits, labels),
                        "todo": (shifted, ids[:, 1:])}  # fmt: skip
                found = {name: cross_entropy(a.flatten(0, 1), b.flatten(), ignore_index=IGNORED)
                         for name, (a, b) in aims.items()}  # fmt: skip
                found |= {"una": _loss(case, batch), "doble": _loss(case, batch, 2),
                          "procesos": _loss(case, batch, processes=2)}  # fmt: skip
                losses = {name: float(value) for name, value in found.items()}
    finally:
        feed.remove()
        for weight, grad in learnt.values():
            weight.grad = grad
        for module, mode in modes:
            module.training = mode
    return grads, losses


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


def _batch(case: Case) -> dict | None:
    """Dos filas, con relleno si hace falta; sin filas, unos ids cualesquiera."""
    import torch

    table, weights = case.model.get_input_embeddings().weight, [*case.model.parameters()]
    stepped = any(dig(w, "_post_accumulate_grad_hooks") for w in weights)  # darían un paso
    if stepped or not table.numel() or sum(w.numel() for w in weights) > BIGGEST:
        return None
    room = min(LONGEST, dig(case.model, "config.max_position_embeddings") or LONGEST)
    made: list = [[list(range(1, min(16, len(table))))] * 2]
    if isinstance(case.labelled, list):
        rows = [row for row in case.labelled if row.supervised and len(row.real) <= room]
        rows.sort(key=lambda row: len(row.real))
        made = [[row.real, row.labels[row.start : row.end]] for row in rows[:1] + rows[-1:]]
    if not made or not all(0 <= i < len(table) for ids, _ in made for i in ids):
        return None
    width = max(len(ids) for ids, _ in made)
    columns = {"input_ids": ([ids for ids, _ in made], case.pad or 0),
               "attention_mask": ([[1] * len(ids) for ids, _ in made], 0),
               "labels": ([labels for _, labels in made], IGNORED)}  # fmt: skip
    return {name: torch.tensor([v + [filler] * (width - len(v)) for v in values]).to(table.device)
            for name, (values, filler) in columns.items()}  # fmt: skip
