"""Entrenar: una capa fina sobre `Trainer` que enseña el avance y parte la pérdida por clases.

Lo que añade a `Trainer`: una barra que se ve bien en JupyterLab, en Colab y en una terminal, y,
en cada anotación del registro, la pérdida media de las respuestas, de los marcadores, del texto
del usuario y del relleno, se cuenten o no en la pérdida que se minimiza. También aguanta lo que
pasa fuera del laboratorio: una sesión que se corta (`checkpoints`), y la memoria o el disco que se
acaban (`resources`).
"""

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import checkpoints, resources
from course_lib.encoding import IGNORED, Kind


@dataclass(frozen=True)
class Run:
    """Un entrenamiento acabado.

    `log` son las anotaciones de `Trainer` (paso, pérdida, tasa…) con una columna más por clase de
    token (`loss_reply`, `loss_padding`…), en nats por token; `seconds`, lo que tardó (si se
    reanudó, solo desde entonces).
    """

    model: Any
    trainer: Any
    log: list[dict]
    seconds: float


def fine_tune(
    model,
    args,
    train_dataset,
    data_collator: Callable[[list[dict]], dict],
    eval_dataset=None,
    processing_class=None,
    resume: bool = False,
    callbacks: Sequence = (),
    report: Callable[[str], None] = print,
) -> Run:
    """Ajusta `model` con `Trainer` y devuelve el registro con la pérdida partida por clases.

    Corre en CPU, CUDA o MPS según lo que encuentre `Trainer`. El modelo se modifica en su sitio.

    Con `resume=True`, un ajuste cortado sigue desde su último punto de control entero y acaba con
    los mismos pesos que si nada hubiera pasado; si lo guardado es de otro ajuste (cambian los
    argumentos, los datos o los pesos de partida) o de uno que terminó, empieza de nuevo: se puede
    pasar siempre. La función de lotes no se compara. Si la memoria se acaba, sigue con lotes más
    pequeños y el mismo lote efectivo.

    Args:
        model: un modelo causal de transformers.
        args: sus `TrainingArguments`.
        train_dataset: filas con las listas de `Encoded`: `input_ids`, `attention_mask`, `labels` y
            `kinds`.
        data_collator: lista de filas → lote de tensores (filas, tokens), como `encoding.collate`.
        eval_dataset: lo mismo, apartado para medir.
        processing_class: el tokenizador, para que se guarde junto al modelo.
        resume: seguir desde el último punto guardado en `args.output_dir`, si lo hay.
        callbacks: los de `Trainer`, como `EarlyStoppingCallback`.
        report: a quién se le cuenta, con una frase, desde dónde se sigue o que falta memoria.

    Raises:
        ValueError: si los datos no son un `Dataset` o les falta alguna de las cuatro columnas.
        MemoryError: si no cabe ni un lote de un ejemplo.
        OSError: si los puntos de control no cabrán en el disco, o si este se llena.
    """
    columns = getattr(train_dataset, "column_names", None)
    if columns is None:
        raise ValueError(
            f"train_dataset debe ser un Dataset de datasets, y es {type(train_dataset).__name__}: "
            "conviértelo con Dataset.from_list(filas)."
        )
    missing = {"input_ids", "attention_mask", "labels", "kinds"} - set(columns)
    if missing:
        raise ValueError(
            f"A los datos de entrenamiento les faltan las columnas {sorted(missing)}: "
            "codifícalos con course_lib.encoding antes de entrenar."
        )
    import torch

    args = copy.copy(args)  # lo que cambia aquí no es cosa de quien llama
    args.remove_unused_columns = False  # si no, Trainer tiraría la columna «kinds»
    args.disable_tqdm = True  # la barra es la nuestra
    args.dataloader_pin_memory = torch.cuda.is_available()  # sin GPU solo daría un aviso
    args.restore_callback_states_from_checkpoint = True  # también la paciencia de EarlyStopping

    def without_first_label(rows: list[dict]) -> dict:
        # Nadie predice el primer token, pero con GPT-2 Trainer lo contaría al promediar.
        batch = data_collator(rows)
        batch["labels"][:, 0] = IGNORED
        return batch

    folder = Path(args.output_dir)
    identity = checkpoints.identify(model, args, train_dataset, eval_dataset)
    scaled = args.fp16 and torch.cuda.is_available()  # con escala de gradientes que recuperar
    point = checkpoints.last_point(folder, identity, scaled, report) if resume else None
    stale = checkpoints.stale(folder, identity, point)
    resources.check_disk(model, args, len(train_dataset), checkpoints.size(folder))
    (folder / checkpoints.ENDED).unlink(missing_ok=True)
    rows = {
        # En memoria: leer cada fila de Arrow y volver a convertirla costaría más que usarla.
        "train_dataset": train_dataset.to_list(),
        "eval_dataset": eval_dataset.to_list() if eval_dataset is not None else None,
    }
    start, fresh = resources.initial_weights(model), [copy.copy(callback) for callback in callbacks]
    while True:
        trainer = make_trainer(
            model=model,
            args=checkpoints.finished(args) if point and point.ended else args,
            data_collator=without_first_label,
            processing_class=processing_class,
            callbacks=[checkpoints.owner_callback(identity), *callbacks],
            **rows,
        )
        trainer.stale = stale
        try:
            result = trainer.train(resume_from_checkpoint=str(point.path) if point else None)
            break
        except Exception as error:
            if resources.is_disk_full(error):
                raise OSError(checkpoints.after_full_disk(folder, identity)) from error
            if not resources.is_out_of_memory(error):
                raise
            args, sentence = resources.with_smaller_batch(args, model.training)
            report(sentence)
        # Fuera del `except`, donde el error ya no retiene los tensores del intento fallido.
        model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        del trainer
        model.zero_grad(set_to_none=True)
        resources.free_memory()
        resources.restore(model, start)
        callbacks = [copy.copy(callback) for callback in fresh]  # sin lo contado hasta ahora
        point = checkpoints.last_point(folder, identity, scaled, report, stale)
    # Con fp16 o bf16, Trainer deja el modelo envuelto en otra aritmética: se devuelve desnudo.
    model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    checkpoints.mark_ended(folder, identity)
    return Run(model, trainer, trainer.state.log_history, result.metrics["train_runtime"])


def make_trainer(**kwargs):
    """El `Trainer` de `fine_tune`, con los mismos argumentos con nombre que `Trainer`."""
    import torch
    from tqdm.auto import tqdm
    from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

    class SplitLossTrainer(Trainer):
        """Calcula la pérdida token a token y la anota también por clases."""

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            kinds = inputs.pop("kinds")[:, 1:]
            labels = inputs.pop("labels")[:, 1:]
            outputs = model(**inputs)
            # Se predice cada token desde el anterior: se comparan ids[1:] con logits[:-1].
            targets = inputs["input_ids"][:, 1:]
            losses = torch.nn.functional.cross_entropy(
                outputs.logits[:, :-1].flatten(0, 1).float(), targets.flatten(), reduction="none"
            ).view_as(targets)
            counted = labels != IGNORED
            train = model.training and num_items_in_batch is not None
            total = num_items_in_batch if train else counted.sum()
            if model.training:
                sums = torch.bincount(kinds.flatten(), losses.detach().flatten(), len(Kind))
                counts = torch.bincount(kinds.flatten(), minlength=len(Kind))
                # Antes a la CPU y después a float64, que en MPS no existe.
                self.by_kind += torch.stack([sums, counts]).cpu().double()
            loss = (losses * counted).sum() / total
            return (loss, outputs) if return_outputs else loss

        def log(self, logs, *args, **kwargs):
            if "loss" in logs:
                for kind in Kind:
                    total, count = self.by_kind[:, kind].tolist()
                    if count:
                        logs[f"loss_{kind.name.lower()}"] = total / count
                self.by_kind.zero_()
            super().log(logs, *args, **kwargs)

        def _save_checkpoint(self, *args, **kwargs):
            checkpoints.clear(self.stale)
            super()._save_checkpoint(*args, **kwargs)

    class Bar(TrainerCallback):
        """Una barra con el paso y la última pérdida."""

        def on_train_begin(self, args, state, control, **kwargs):
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="Entrenando",
                unit="paso",
                disable=bool(os.environ.get("TQDM_DISABLE")),  # la barra de cuaderno no la mira
            )

        def on_step_end(self, args, state, control, **kwargs):
            self.bar.update()

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "loss" in logs:
                self.bar.set_postfix_str(f"pérdida {float(logs['loss']):.3f}")

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

    trainer = SplitLossTrainer(**kwargs)
    # Al seguir un ajuste cortado vuelven a cero, como la pérdida de Trainer: la primera anotación
    # promedia solo los pasos dados desde entonces. Si save_steps es múltiplo de logging_steps, son
    # los mismos que sin el corte.
    trainer.by_kind = torch.zeros(2, len(Kind), dtype=torch.float64)
    trainer.stale = []
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bar())
    return trainer


def set_seed(seed: int) -> None:
    """Fija las semillas de Python, NumPy y torch."""
    from transformers import set_seed as fix

    fix(seed)
