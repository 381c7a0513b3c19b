"""Un ajuste de juguete en un archivo, que `torchrun` lanza en uno o en varios procesos.

Lo usa `test_processes`: `torchrun small_tuning.py carpeta '{"nombre": {"rows": 21, …}}'` hace los
que se le piden, cada uno en su carpeta.
"""

import json
import os
import random
import sys
from pathlib import Path

import torch
from datasets import load_dataset
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


def as_stream(rows: list[Encoded], folder: Path, shards: int):
    """Las mismas filas, en archivos, que se leen sobre la marcha."""
    files = [folder / f"{shard}.jsonl" for shard in range(shards)]
    for shard, file in enumerate(files):
        lines = [json.dumps(vars(row)) for row in rows[shard::shards]]
        file.write_text("\n".join(lines), encoding="utf-8")
    return load_dataset(
        "json", data_files=[*map(str, files)], split="train", streaming=True,
        cache_dir=str(folder),
    )  # fmt: skip


def main(
    folder: Path, rows: int, pieces: int = 1, dies: int = 0, epochs: int = 2, shards: int = 0
) -> None:
    rank, processes = (int(os.environ.get(name, n)) for name, n in (("RANK", 0), ("WORLD_SIZE", 1)))
    own = folder / f"proceso{rank}"
    own.mkdir(parents=True, exist_ok=True)
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
        max_steps=rows // GLOBAL_BATCH if shards else -1,
        learning_rate=0.1,
        optim="sgd",
        logging_steps=1,
        save_steps=2,
        seed=1,
        use_cpu=True,
        ddp_backend="gloo" if processes > 1 else None,
    )
    made, seen = invented_rows(rows), []
    data = as_stream(made, own, shards) if shards else made

    def collate_and_note(batch: list[dict]) -> dict:
        seen.extend(row["input_ids"] for row in batch)
        return collate(batch, pad_token_id=0)

    stopper = [Dies(dies)] if dies else []
    run = resumable_fine_tune(
        GPT2LMHeadModel(config), args, data, collate_and_note, callbacks=stopper
    )
    (own / "vistas.json").write_text(json.dumps(seen), encoding="utf-8")
    if run.trainer.is_world_process_zero():
        losses = [
            {name: entry[name] for name in ("loss", "loss_reply")}
            for entry in run.log
            if "loss" in entry
        ]
        (folder / "perdidas.json").write_text(json.dumps(losses), encoding="utf-8")
        save_model(run.model, folder / "pesos.safetensors")


if __name__ == "__main__":
    for name, options in json.loads(sys.argv[2]).items():
        main(Path(sys.argv[1], name), **options)
    if (
        torch.distributed.is_initialized()
    ):  # que acaben a la vez, y sin cerrar lo que puede colgarse
        torch.distributed.barrier()
        sys.stdout.flush()
        os._exit(0)
