"""Cuánto cuesta el armazón: segundos por paso de `fine_tune`, de `Trainer` y de un bucle desnudo.

Las tres corridas hacen las mismas cuentas, con el minimodelo y la codificación original, y van
intercaladas en rondas; se enseña la mediana y su razón con el bucle desnudo.

    python taller/ritmo.py
"""

import statistics
import tempfile
import time

STEPS, ROUNDS = 20, 3


def main() -> None:
    """Mide las tres maneras y escribe una línea por cada una."""
    import torch
    from transformers import Trainer, TrainingArguments

    from course_lib.encoding import collate
    from course_lib.original import original_dataset
    from course_lib.tracks import get_track
    from course_lib.training import fine_tune

    track = get_track("mini")
    tokenizer = track.load_tokenizer()
    size = track.batch_size
    data = original_dataset(track, tokenizer).select(range(STEPS * size))

    def arguments(folder: str) -> TrainingArguments:
        return TrainingArguments(
            folder,
            max_steps=STEPS,
            per_device_train_batch_size=size,
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )

    def collate_rows(rows):
        return collate(rows, tokenizer.pad_token_id)

    def bare(folder: str) -> None:
        model = track.load_model().train()
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        for start in range(0, len(data), size):
            batch = collate_rows(data.select(range(start, start + size)).to_list())
            batch.pop("kinds")
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    def plain_trainer(folder: str) -> None:
        rows = data.remove_columns("kinds")
        Trainer(track.load_model(), arguments(folder), train_dataset=rows).train()

    def ours(folder: str) -> None:
        fine_tune(track.load_model(), arguments(folder), data, collate_rows)

    ways = {"bucle desnudo": bare, "Trainer": plain_trainer, "fine_tune": ours}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                way(folder)
                times[name].append((time.perf_counter() - start) / STEPS)
    base = statistics.median(times["bucle desnudo"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:14} {1000 * median:6.0f} ms por paso   {median / base:.2f} veces el desnudo")


if __name__ == "__main__":
    main()
