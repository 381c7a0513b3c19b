"""Un ajuste de juguete en un archivo, que `torchrun` lanza en uno o en varios procesos.

Lo usa `test_processes`: `torchrun small_tuning.py carpeta '{"nombre": {"rows": 21, …}}'` hace los
que se le piden, cada uno en su carpeta.
"""

import json
import os
import random
import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_model
from transformers import GPT2Config, GPT2LMHeadModel, TrainerCallback, TrainingArguments

from course_lib.encoding import IGNORED, Encoded, Kind, collate
from course_lib.resume import resumable_fine_tune
from course_lib.training import set_seed

GLOBAL_BATCH = 8


class Dies(TrainerCallback):
    """Se acaba de golpe en un paso, sin despedirse, como un corte de luz."""

    def __init__(self, at: int):
        self.at = at

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.at:
            os._exit(9)


def invented_rows(n: int) -> list[Encoded]:
    """Filas de longitud distinta, con la mitad de sus tokens en la pérdida."""
    rng = random.Random(0)
    rows = []
    for _ in range(n):
        length = rng.randrange(4, 12)
        ids = [rng.randrange(1, 50) for _ in range(length)]
        half = [IGNORED] * (length // 2) + ids[length // 2 :]
        kinds = [Kind.USER if label == IGNORED else Kind.REPLY for label in half]
        rows.append(Encoded(ids, [1] * length, half, kinds))
    return rows


def main(folder: Path, rows: int, pieces: int = 1, dies: int = 0, epochs: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    torch.set_num_threads(1)
    set_seed(0)
    config = GPT2Config(
        vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    args = TrainingArguments(
        output_dir=folder / "puntos",
        per_device_train_batch_size=GLOBAL_BATCH // processes // pieces,
        gradient_accumulation_steps=pieces,
        num_train_epochs=epochs,
        learning_rate=0.1,
        optim="sgd",
        logging_steps=1,
        save_steps=2,
        seed=1,
        use_cpu=True,
        ddp_backend="gloo" if processes > 1 else None,
    )
    run = resumable_fine_tune(
        GPT2LMHeadModel(config),
        args,
        invented_rows(rows),
        partial(collate, pad_token_id=0),
        callbacks=[Dies(dies)] if dies else [],
    )
    if run.trainer.is_world_process_zero():
        losses = [
            {name: entry[name] for name in ("loss", "loss_user", "loss_reply")}
            for entry in run.log
            if "loss" in entry
        ]
        (folder / "perdidas.json").write_text(json.dumps(losses), encoding="utf-8")
        save_model(run.model, folder / "pesos.safetensors")


if __name__ == "__main__":
    for name, options in json.loads(sys.argv[2]).items():
        main(Path(sys.argv[1], name), **options)
