"""Ejemplos por segundo al ajustar GPT-2 (124M) con la codificación original y con la del curso.

Los pesos son al azar, que para el tiempo da igual; los lotes, de 32; las charlas, las del archivo.
Las dos codificaciones van intercaladas en rondas, en la GPU si la hay.

    python taller/ritmo_gpt2.py charlas.jsonl carpeta_del_tokenizador_de_gpt2 [--pasos 20]
"""

import argparse
import statistics
import time

ROUNDS, BATCH, LENGTH = 3, 32, 128


def main() -> None:
    """Mide las dos y escribe una línea por cada una."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

    from course_lib.dialogues import read_dialogues, to_pairs
    from course_lib.encoding import (
        collate,
        encode_conversation,
        encode_original,
        pair_messages,
        prepare_for_chat,
    )
    from course_lib.tracks import device
    from course_lib.tuning import half_precision

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("charlas")
    parser.add_argument("tokenizador")
    parser.add_argument("--pasos", type=int, default=20)
    options = parser.parse_args()

    pairs = to_pairs(read_dialogues(options.charlas))[: options.pasos * BATCH]
    original = GPT2Tokenizer.from_pretrained(options.tokenizador)
    original.pad_token = original.eos_token
    chat = prepare_for_chat(GPT2Tokenizer.from_pretrained(options.tokenizador))
    rows = {
        "original": [encode_original(original, p.user, p.reply, LENGTH) for p in pairs],
        "del curso": [encode_conversation(chat, pair_messages(p.user, p.reply)) for p in pairs],
    }
    # Como `group_by_length`: cada lote, con filas parecidas. Con las de longitud fija no cambia.
    batches = {}
    for name, examples in rows.items():
        ordered = sorted(map(vars, examples), key=lambda row: len(row["input_ids"]))
        starts = range(0, len(ordered), BATCH)
        batches[name] = [collate(ordered[i : i + BATCH], chat.pad_token_id) for i in starts]

    where = device()
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(chat))).to(where).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=True)
    half = torch.bfloat16 if half_precision().get("bf16") else torch.float16

    def train(batches) -> None:
        for batch in batches:
            inputs = {name: value.to(where) for name, value in batch.items() if name != "kinds"}
            # Sin escala de gradientes: aquí no importa el resultado, sino el tiempo.
            with torch.autocast(where.split(":")[0], half, enabled=where.startswith("cuda")):
                loss = model(**inputs).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if where != "cpu":
            torch.accelerator.synchronize()

    times: dict[str, list[float]] = {name: [] for name in batches}
    for name in batches:
        train(batches[name][:1])  # el primero reserva memoria
    for _ in range(ROUNDS):
        for name, made in batches.items():
            start = time.perf_counter()
            train(made)
            times[name].append(time.perf_counter() - start)
    print(f"GPT-2 con pesos al azar, en {where}; {len(pairs)} parejas en lotes de {BATCH}")
    base = statistics.median(times["original"])
    for name, values in times.items():
        median = statistics.median(values)
        tokens = sum(batch["input_ids"].numel() for batch in batches[name])
        print(
            f"{name:10} {len(pairs) / median:7.1f} ejemplos/s   {base / median:.2f} veces la "
            f"original   {tokens} posiciones"
        )


if __name__ == "__main__":
    main()
