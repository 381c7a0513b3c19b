"""Entrenar: `Trainer`, con una barra que se ve en todas partes y la pérdida partida por clases.

Es lo que explica la lección 04, y se lee de arriba abajo. Lo que protege un ajuste de los cortes, y
de la memoria o el disco que se acaban, lo rodea desde fuera: está en `resume`.
"""

import copy
import os
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from course_lib.encoding import IGNORED, Encoded, Kind
from course_lib.tables import number

COLUMNS = ("input_ids", "attention_mask", "labels", "kinds")  # las cuatro listas de `Encoded`


@dataclass(frozen=True)
class Run:
    """Un entrenamiento acabado.

    `log` son las anotaciones de `Trainer` (paso, pérdida, tasa…) con una columna más por clase de
    token de los que cuentan (`loss_reply`, `loss_padding`…), en nats por token; `seconds`, lo que
    tardó (si se reanudó, solo desde entonces). `start` identifica los pesos de partida, si se
    apuntaron.
    """

    model: Any
    trainer: Any
    log: list[dict]
    seconds: float
    start: str = ""


def fine_tune(
    model,
    args,
    train_dataset: Sequence[Encoded],
    data_collator: Callable[[list[dict]], dict],
    eval_dataset: Sequence[Encoded] | None = None,
    processing_class=None,
    callbacks: Sequence = (),
    resume_from_checkpoint: str | None = None,
) -> Run:
    """Ajusta `model` con `Trainer` y devuelve el registro con la pérdida partida por clases.

    Corre en CPU, CUDA o MPS según lo que encuentre `Trainer`. El modelo se modifica en su sitio.

    Args:
        args: los `TrainingArguments`.
        train_dataset: los ejemplos codificados: `Encoded`, o filas con sus cuatro listas. Si no se
            sabe cuántos hay (un `IterableDataset` de datasets, que se lee sobre la marcha), `args`
            ha de decir cuántos pasos dar, en `max_steps`.
        data_collator: lista de filas → lote de tensores (filas, tokens), como `encoding.collate`.
        eval_dataset: lo mismo, apartado para medir.
        processing_class: el tokenizador, para que se guarde junto al modelo.
        callbacks: los de `Trainer`, como `EarlyStoppingCallback`.
        resume_from_checkpoint: la carpeta de un punto guardado por `Trainer`, para seguir desde él.

    Raises:
        ValueError: si no hay ejemplos, a sus filas les falta alguna de las cuatro listas o, con un
            flujo, no se dice cuántos pasos.
    """
    import torch
    from transformers import PrinterCallback, ProgressCallback

    train_rows = as_rows(train_dataset)
    if is_stream(train_rows) and args.max_steps < 1:
        raise ValueError(
            "De un flujo no se sabe cuántos ejemplos hay: di cuántos pasos dar, con max_steps en "
            "TrainingArguments."
        )

    args = copy.copy(args)  # lo que cambia aquí no es cosa de quien llama
    args.remove_unused_columns = False  # si no, Trainer tiraría la columna «kinds»
    args.disable_tqdm = True  # la barra es la nuestra
    args.dataloader_pin_memory = torch.cuda.is_available()  # sin GPU solo daría un aviso
    if is_stream(train_rows):  # que cada proceso lea sus archivos, y no uno por todos
        args.accelerator_config = copy.copy(args.accelerator_config)
        args.accelerator_config.dispatch_batches = False
    trainer = split_loss_trainer()(
        model=model,
        args=args,
        train_dataset=train_rows,
        eval_dataset=as_rows(eval_dataset) if eval_dataset is not None else None,
        data_collator=lambda rows: without_first_label(data_collator(rows)),
        processing_class=processing_class,
        callbacks=[progress_bar(), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    try:
        result = trainer.train(resume_from_checkpoint=resume_from_checkpoint)
    finally:
        # Con fp16 o bf16, Trainer deja el modelo envuelto en otra aritmética: se devuelve desnudo.
        model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    return Run(model, trainer, trainer.state.log_history, result.metrics["train_runtime"])


def is_stream(rows) -> bool:
    """Si son datos que se leen sobre la marcha, de los que no se sabe cuántos hay."""
    return not hasattr(rows, "__len__")


def as_rows(examples):
    """Los ejemplos como filas para `Trainer`: cada `Encoded`, tal cual, sin copiar sus listas.

    Un `Dataset` de datasets se pasa a memoria: leer cada fila de Arrow en cada paso y volver a
    convertirla costaría más que usarla. Un `IterableDataset` se queda como está.
    """
    rows = examples
    if not (is_stream(examples) and hasattr(examples, "state_dict")):
        rows = examples.to_list() if hasattr(examples, "to_list") else list(examples)
        rows = [row if isinstance(row, dict) else vars(row) for row in rows]
    first = next(iter(rows), None)
    if first is None:
        raise ValueError("No hay ejemplos con los que entrenar: codifica al menos uno.")
    if missing := [name for name in COLUMNS if name not in first]:
        raise ValueError(
            f"A los datos de entrenamiento les faltan las columnas {missing}: "
            "codifícalos con course_lib.encoding antes de entrenar."
        )
    return rows


def without_first_label(batch: dict) -> dict:
    """El lote, sin la etiqueta del primer token: nadie lo predice, y `Trainer` lo contaría."""
    batch["labels"][:, 0] = IGNORED
    return batch


def split_loss_trainer() -> type:
    """La clase `Trainer` con la pérdida calculada token a token y anotada también por clases."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import Trainer

    class SplitLossTrainer(Trainer):
        # De cada clase, la suma de las pérdidas y los tokens desde la última anotación. Al seguir
        # un ajuste cortado vuelven a cero, como la pérdida de Trainer: si save_steps es múltiplo
        # de logging_steps, las anotaciones son las mismas que sin el corte.
        by_kind = torch.zeros(2, len(Kind), dtype=torch.float64)

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            kinds = inputs.pop("kinds")[:, 1:]
            counted = inputs.pop("labels")[:, 1:] != IGNORED
            bare = self.accelerator.unwrap_model(model)
            with only_scoring(bare, torch.nn.functional.pad(counted, (0, 1))):
                outputs = model(**inputs)
            # Se predice cada token desde el anterior: a ids[1:] los puntúan los logits[:-1].
            targets, scores = inputs["input_ids"][:, 1:][counted], outputs.logits.float()
            losses = cross_entropy(scores, targets, reduction="none")
            if model.training:
                each = kinds[counted]
                sums = torch.bincount(each, losses.detach(), len(Kind))
                counts = torch.bincount(each, minlength=len(Kind))
                # Antes a la CPU y después a float64, que en MPS no existe.
                self.by_kind = self.by_kind + torch.stack([sums, counts]).cpu().double()
            # Al acumular gradientes o repartir entre procesos, `Trainer` cuenta los tokens de todo
            # el paso. Y como cada proceso pone su parte y luego se hace la media, no la suma, hay
            # que multiplicar por cuántos son.
            if model.training and num_items_in_batch is not None:
                loss = losses.sum() * self.accelerator.num_processes / num_items_in_batch
            else:
                loss = losses.mean()
            return (loss, outputs) if return_outputs else loss

        def _get_num_items_in_batch(self, batch_samples, device):
            # Si la última ronda no da para todos los procesos, `accelerate` la completa con filas
            # del principio: repetidas, no cuentan.
            over = self.accelerator.gradient_state.end_of_dataloader and self.model.training
            if self.args.world_size > 1 and over and not is_stream(self.train_dataset):
                each = self.args.train_batch_size
                left = len(self.train_dataset) % (each * self.args.world_size)
                mine = max(left - each * self.args.process_index, 0) if left else each
                batch_samples[-1]["labels"][mine:] = IGNORED
            return super()._get_num_items_in_batch(batch_samples, device)

        def log(self, logs, *args, **kwargs):
            if "loss" in logs:
                by_kind = self.by_kind
                if self.args.world_size > 1:
                    by_kind = self.accelerator.reduce(by_kind.to(self.args.device))
                for kind in Kind:
                    total, count = by_kind[:, kind].tolist()
                    if count:
                        logs[f"loss_{kind.name.lower()}"] = total / count
                self.by_kind = torch.zeros_like(self.by_kind)
            super().log(logs, *args, **kwargs)

    return SplitLossTrainer


@contextmanager
def only_scoring(model, places):
    """Mientras dura, la capa de salida de `model` solo puntúa las posiciones `places`.

    Puntuar un token contra todo el vocabulario cuesta, en un modelo pequeño, como los bloques, y
    los que no cuentan en la pérdida no hacen falta: así `logits` va de (filas, tokens, vocabulario)
    a (posiciones, vocabulario).

    Args:
        places: booleanos (filas, tokens).
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][places],))
    try:
        yield
    finally:
        hook.remove()


def progress_bar():
    """Un `TrainerCallback` con el paso y la última pérdida, para un cuaderno o la terminal."""
    from tqdm.auto import tqdm
    from transformers import TrainerCallback

    class Bar(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            # La barra de cuaderno no mira TQDM_DISABLE; y con varios procesos basta la del primero.
            quiet = bool(os.environ.get("TQDM_DISABLE")) or not state.is_world_process_zero
            span = {"total": state.max_steps, "initial": state.global_step}
            self.bar = tqdm(**span, desc="Entrenando", unit="paso", disable=quiet)

        def on_step_end(self, args, state, control, **kwargs):
            self.bar.update()

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "loss" in logs:
                self.bar.set_postfix_str(f"pérdida {number(float(logs['loss']), 3)}")

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

    return Bar()


def set_seed(seed: int) -> None:
    """Fija las semillas de Python, NumPy y torch."""
    from transformers import set_seed as fix

    fix(seed)
