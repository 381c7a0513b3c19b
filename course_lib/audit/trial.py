"""Probar sin entrenar: con un lote pequeño, qué pesos reciben gradiente y qué da la pérdida.

Nada queda cambiado: ni pesos, ni gradientes, ni modo, ni azar, ni lo que anota el `Trainer`.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from course_lib.audit.case import Case, once
from course_lib.audit.rows import dig
from course_lib.encoding import IGNORED

LONGEST, BIGGEST = 256, 1_000_000_000  # tokens por fila y pesos del modelo: más, sería caro
SMALL_BUFFER = 100_000
LIBRARIES = {"transformers", "trl"}


@once
def gradients(case: Case) -> dict[str, float] | None:
    """El mayor gradiente de cada matriz que se ajusta, o `None` si no se puede medir.

    Cero es que no le llega, por lo que sea: congelados, desconectados, multiplicados por cero.
    """
    learnt = {name: w for name, w in case.model.named_parameters() if w.requires_grad}
    hooked = any(dig(w, "_post_accumulate_grad_hooks") for w in learnt.values())  # ¿darían un paso?
    kept = {name: w.grad for name, w in learnt.items()}
    try:
        with _rehearsal(case, training=True) as batch:
            if batch is None or hooked or not learnt:
                return None
            for weight in learnt.values():
                weight.grad = None
            loss = _loss(case, batch, _counted(batch))
            if loss.requires_grad:
                loss.backward()
            return {n: 0.0 if w.grad is None else w.grad.abs().max().item()
                    for n, w in learnt.items()}  # fmt: skip
    except Exception:  # un modelo que pide otra cosa: no se puede medir
        return None
    finally:
        for name, weight in learnt.items():
            weight.grad = kept[name]


@once
def own_loss(case: Case) -> dict[str, float] | None:
    """Lo que da la pérdida propia del `Trainer` en un lote, y lo que darían las de referencia.

    `una` y `doble` son la suya, si se le dice que en el paso cuentan esas etiquetas o el doble, y
    `procesos`, la de dos procesos; `media`, la de `transformers`; `sin_desplazar` y `todo`, las de
    quien compara cada token consigo mismo o cuenta todos. `None` si no tiene pérdida propia.
    """
    from torch.nn.functional import cross_entropy

    own = dig(case.trainer, "compute_loss_func") or dig(case.trainer, "compute_loss")
    if own is None or str(dig(own, "__module__", "")).split(".")[0] in LIBRARIES:
        return None
    try:
        with _rehearsal(case, training=False) as batch:
            if batch is None:
                return None
            ids, labels, total = batch["input_ids"], batch["labels"], _counted(batch)
            logits = case.model(ids, attention_mask=batch["attention_mask"]).logits.float()
            mean = {
                "media": (logits[:, :-1], labels[:, 1:]),
                "sin_desplazar": (logits, labels),
                "todo": (logits[:, :-1], ids[:, 1:]),
            }
            found = {name: cross_entropy(guess.flatten(0, 1), aim.flatten(), ignore_index=IGNORED)
                     for name, (guess, aim) in mean.items()}  # fmt: skip
            found["una"] = _loss(case, batch, total)
            found["doble"] = _loss(case, batch, 2 * total)
            found["procesos"] = _loss(case, batch, total, processes=2)
            return {name: float(value) for name, value in found.items()}
    except Exception:
        return None


def scaled_by_count(trainer: Any) -> bool:
    """Si el `Trainer` cuenta con que la pérdida ya viene dividida entre las etiquetas del paso."""
    said = dig(trainer, "loss_is_scaled_for_ga")
    counts = dig(trainer, "model_accepts_loss_kwargs") or dig(trainer, "compute_loss_func")
    return bool(counts if said is None else said)


def _loss(case: Case, batch: dict, total: Any, processes: int = 0):
    batch = dict(batch)  # hay quien le saca las etiquetas
    if case.trainer is None:
        return case.model(**batch).loss
    trainer = copy.copy(case.trainer)
    for name, value in vars(trainer).items():  # las cuentas que lleva: TRL, o quien la escribió
        if isinstance(value, dict | list) and not name.endswith("_dataset"):
            setattr(trainer, name, copy.deepcopy(value))
    trainer.state, trainer.log = copy.deepcopy(trainer.state), lambda *_, **__: None
    if processes:
        trainer.accelerator = _Several(trainer.accelerator, processes)
    with trainer.compute_loss_context_manager():
        return trainer.compute_loss(case.model, batch, num_items_in_batch=total)


class _Several:
    """Un `Accelerator` que dice tener varios procesos."""

    def __init__(self, accelerator: Any, processes: int):
        self.accelerator, self.num_processes = accelerator, processes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.accelerator, name)


@contextmanager
def _rehearsal(case: Case, training: bool) -> Iterator[dict | None]:
    """Un lote, con el modelo en ese modo; al salir, todo como estaba."""
    import torch

    model = case.model
    modes = [(module, module.training) for module in model.modules()]
    state = [(b, b.clone()) for b in model.buffers() if b.numel() <= SMALL_BUFFER]
    feed = model.get_input_embeddings().register_forward_hook(_ask_gradient)
    if not (training and dig(case.args, "gradient_checkpointing")):
        feed.remove()  # con esa opción, Trainer sí pide gradiente a la entrada
    cuda = [d for d in {w.device for w in model.parameters()} if d.type == "cuda"]
    with torch.random.fork_rng(cuda), torch.set_grad_enabled(training):
        try:
            model.train(training)
            yield _batch(case)
        finally:
            feed.remove()
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for buffer, value in state:
                    if not torch.equal(buffer, value):
                        buffer.copy_(value)


def _ask_gradient(module: Any, given: Any, output: Any) -> None:
    output.requires_grad_(True)


def _batch(case: Case) -> dict | None:
    """Dos filas, con relleno si hace falta; sin filas, unos ids cualesquiera."""
    import torch

    model = case.model
    table = model.get_input_embeddings().weight
    if sum(w.numel() for w in model.parameters()) > BIGGEST or not table.numel():
        return None
    room = min(LONGEST, dig(model, "config.max_position_embeddings") or LONGEST)
    made: list = [(list(range(1, min(16, len(table)))),) * 2]
    if isinstance(case.labelled, list):
        rows = sorted((r for r in case.labelled if r.supervised and len(r.real) <= room),
                      key=lambda row: len(row.real))  # fmt: skip
        made = [(r.real, r.labels[r.start : r.end]) for r in rows[:1] + rows[-1:]]
    if not made or not all(0 <= i < len(table) for ids, _ in made for i in ids):
        return None
    width = max(len(ids) for ids, _ in made)

    def padded(values, filler: int) -> Any:
        filled = [list(v) + [filler] * (width - len(v)) for v in values]
        return torch.tensor(filled, device=table.device)

    return {"input_ids": padded((ids for ids, _ in made), case.pad or 0),
            "attention_mask": padded(([1] * len(ids) for ids, _ in made), 0),
            "labels": padded((labels for _, labels in made), IGNORED)}  # fmt: skip


def _counted(batch: dict) -> Any:
    return batch["labels"][:, 1:].ne(IGNORED).sum()
