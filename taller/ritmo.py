"""Parejas por segundo al ajustar: la codificación del curso, la original y las de TRL.

    python -m taller.ritmo [--parejas 400] [--rondas 3]
    python -m taller.ritmo --gpt2 charlas.jsonl carpeta_del_tokenizador_de_gpt2
    python -m taller.ritmo --carga

Las mismas parejas y el mismo modelo, en lotes de 8 y una época entera con cada manera; van
intercaladas en rondas y se enseña la mediana y cuántas veces la original es. También, lo que cuesta
el armazón: la codificación original con `Trainer` a secas y con un bucle desnudo de torch. Con
`--gpt2`, el modelo es un GPT-2 (124M) de pesos al azar, que para el tiempo da igual. Con `--carga`,
la del curso, sola y con otros programas ocupando todos los núcleos, según cómo esperen los hilos.

De cada manera se dice también qué parte aprovecha de la máquina: las operaciones que piden los
tokens de verdad (seis por peso de las matrices, sin contar el relleno ni la atención), entre las
que haría en ese tiempo un producto de matrices grandes de 32 bits, medido en cada ronda. La
compilada puede pasar de ahí, que hace algunas en 16 bits.
"""

import gc
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.cli import new_parser, run_safely
from course_lib.dialogues import Pair, read_dialogues, to_pairs
from course_lib.encoding import (
    collate,
    encode_conversation,
    encode_original,
    pair_messages,
    prepare_for_chat,
)
from course_lib.tables import number

BATCH, LENGTH, RATE = 8, 128, 1e-4


@dataclass(frozen=True)
class Bench:
    """Lo que todas las maneras comparten: las parejas y cómo se hacen modelo y tokenizador."""

    pairs: Sequence[Pair]
    load_model: Callable[[], Any]
    load_tokenizer: Callable[[], Any]

    def original(self):
        """El tokenizador y las filas de la lección original."""
        tokenizer = self.load_tokenizer()
        tokenizer.pad_token = tokenizer.eos_token
        return tokenizer, [encode_original(tokenizer, p.user, p.reply, LENGTH) for p in self.pairs]

    def chat(self):
        """Modelo, tokenizador y conversaciones, con los marcadores de un token."""
        model = self.load_model()
        tokenizer = prepare_for_chat(self.load_tokenizer(), model)
        return model, tokenizer, [pair_messages(p.user, p.reply) for p in self.pairs]


def arguments(kind, folder: str, **changes):
    """Los argumentos que comparten todas: una época, lotes de 8 y nada que guardar."""
    common = {
        "num_train_epochs": 1,
        "per_device_train_batch_size": BATCH,
        "learning_rate": RATE,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return kind(folder, **common | changes)


def course(bench: Bench, folder: str, **changes) -> Callable[[], object]:
    """Con `fine_tune` y la codificación de la lección 03, agrupando las filas por su longitud."""
    from transformers import TrainingArguments

    from course_lib.training import fine_tune

    model, tokenizer, talks = bench.chat()
    rows = [encode_conversation(tokenizer, messages) for messages in talks]
    changes |= {"train_sampling_strategy": "group_by_length"}
    args = arguments(TrainingArguments, folder, **changes)
    return lambda: fine_tune(
        model, args, rows, lambda batch: collate(batch, tokenizer.pad_token_id)
    )


def compiled(bench: Bench, folder: str) -> Callable[[], object]:
    """La del curso, compilada por torch y con las cuentas en 16 bits (`bf16`).

    Compilar, que tarda cerca de un minuto, no entra en el tiempo: se da antes una época entera.
    """
    import torch

    cpu = not torch.cuda.is_available()
    train = course(bench, folder, use_cpu=cpu, bf16=True, torch_compile=True)
    train()
    return train


def original(bench: Bench, folder: str) -> Callable[[], object]:
    """Con `fine_tune` y la codificación original, de longitud fija."""
    from transformers import TrainingArguments

    from course_lib.training import fine_tune

    model, (tokenizer, rows) = bench.load_model(), bench.original()
    args = arguments(TrainingArguments, folder)
    return lambda: fine_tune(
        model, args, rows, lambda batch: collate(batch, tokenizer.pad_token_id)
    )


def plain_trainer(bench: Bench, folder: str) -> Callable[[], object]:
    """La codificación original con `Trainer`, que lee las filas de un `Dataset`."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    model, (_, rows) = bench.load_model(), bench.original()
    data = Dataset.from_list([vars(row) for row in rows]).remove_columns("kinds")
    return Trainer(model, arguments(TrainingArguments, folder), train_dataset=data).train


def bare_loop(bench: Bench, folder: str) -> Callable[[], object]:
    """La codificación original en un bucle de torch sin más."""
    import torch

    model, (tokenizer, rows) = bench.load_model(), bench.original()

    def train() -> None:
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=RATE, fused=True)
        for start in range(0, len(rows), BATCH):
            batch = collate(rows[start : start + BATCH], tokenizer.pad_token_id)
            inputs = {k: v.to(model.device) for k, v in batch.items() if k != "kinds"}
            model(**inputs).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return train


def trl(bench: Bench, folder: str, **changes) -> Callable[[], object]:
    """Con el `SFTTrainer` de TRL, que codifica él las mismas conversaciones.

    Codificar no entra en el tiempo: lo hace al construirse.
    """
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer, talks = bench.chat()
    data = Dataset.from_list([{"messages": messages} for messages in talks])
    # TRL pide bf16 si no se dice otra cosa, y en la CPU eso es un error.
    args = arguments(SFTConfig, folder, bf16=torch.cuda.is_available(), **changes)
    return SFTTrainer(model, args, train_dataset=data, processing_class=tokenizer).train


def trl_keeping(bench: Bench, folder: str) -> Callable[[], object]:
    """TRL, sin rehacer las activaciones al volver."""
    return trl(bench, folder, gradient_checkpointing=False)


WAYS = {
    "original": original,
    "del curso": course,
    "del curso, bf16 compilado": compiled,
    "TRL, por omisión": trl,
    "TRL, sin rehacer": trl_keeping,
    "original, con Trainer": plain_trainer,
    "original, bucle desnudo": bare_loop,
}

PEAK = "producto de matrices"


def measure(bench: Bench, rounds: int) -> dict[str, float]:
    """Los segundos de cada manera: la mediana de las rondas, sin contar la preparación. Con el
    nombre `PEAK`, los que tardaría en las operaciones útiles un producto de matrices grandes."""
    times: dict[str, list[float]] = {name: [] for name in (*WAYS, PEAK)}
    useful = useful_operations(bench)
    for _ in range(rounds):
        for name, way in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                train = way(bench, folder)
                gc.freeze()  # `Trainer` recoge la basura al empezar, y repasaría todo lo importado
                start = time.perf_counter()
                train()
                times[name].append(time.perf_counter() - start)
        times[PEAK].append(useful / matrix_speed())
    return {name: statistics.median(values) for name, values in times.items()}


def useful_operations(bench: Bench) -> float:
    """Seis por token sin relleno y por peso de las matrices, la de salida incluida."""
    from course_lib.costs import config_shape

    model, tokenizer, talks = bench.chat()
    shape = config_shape(model.config)
    matrices = shape.blocks + model.get_output_embeddings().weight.numel()
    tokens = sum(len(encode_conversation(tokenizer, messages).input_ids) for messages in talks)
    return 6 * matrices * tokens


def matrix_speed(side: int = 2048, times: int = 5) -> float:
    """Operaciones por segundo de un producto de matrices de 32 bits: las de la mejor vez."""
    import torch

    from course_lib.tracks import device

    one = torch.rand(side, side, device=device())
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        (one @ one)[0, 0].item()  # pedir un número espera a la GPU
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


def course_bench(pairs: int) -> Bench:
    """El minimodelo y CharlaDiaria."""
    from course_lib.tracks import get_track

    track = get_track("mini")
    chosen = to_pairs(track.load_dialogues("train"))[:pairs]
    return Bench(chosen, track.load_model, track.load_tokenizer)


def gpt2_bench(pairs: int, talks: str, folder: str) -> Bench:
    """Un GPT-2 de pesos al azar, en la GPU si la hay, y las charlas de un archivo."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

    from course_lib.tracks import device

    def load_model():
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config()).to(device())

    chosen = to_pairs(read_dialogues(talks))[:pairs]
    return Bench(chosen, load_model, lambda: GPT2Tokenizer.from_pretrained(folder))


# Lo que se pone en el entorno antes de cargar torch, que es cuando lo lee OpenMP.
WAITS = {
    "hilos que esperan girando": {"OMP_WAIT_POLICY": "ACTIVE"},
    "hilos que esperan dormidos": {"OMP_WAIT_POLICY": "PASSIVE"},
    "un hilo": {"OMP_NUM_THREADS": "1"},
}


def under_load(pairs: int, rounds: int) -> dict[str, list[float]]:
    """Los segundos de ajustar a la manera del curso, en procesos nuevos, de cada forma de esperar:
    la mediana con la máquina libre y con un programa que no para en cada núcleo."""
    once = "import sys; from taller.ritmo import once; once(int(sys.argv[1]))"
    times: dict[str, list[list[float]]] = {name: [[], []] for name in WAITS}
    for _ in range(rounds):
        for name, wait in WAITS.items():
            for loaded in (False, True):
                busy = [sys.executable, "-c", "while True: pass"]
                others = [subprocess.Popen(busy) for _ in range(loaded * (os.cpu_count() or 1))]
                try:
                    done = subprocess.run(
                        [sys.executable, "-c", once, str(pairs)],
                        env=os.environ | wait, check=True, capture_output=True, text=True,
                    )  # fmt: skip
                finally:
                    for other in others:
                        other.kill()
                times[name][loaded].append(float(done.stdout.split()[-1]))
    return {name: [statistics.median(part) for part in both] for name, both in times.items()}


def once(pairs: int) -> None:
    """Escribe los segundos de una época a la manera del curso."""
    with tempfile.TemporaryDirectory() as folder:
        train = course(course_bench(pairs), folder)
        start = time.perf_counter()
        train()
        print(time.perf_counter() - start)


def main() -> None:
    """Mide y escribe una línea por manera."""
    parser = new_parser("python -m taller.ritmo", __doc__.split("\n")[0])
    parser.add_argument("--parejas", type=int, default=400)
    parser.add_argument("--rondas", type=int, default=3)
    parser.add_argument("--gpt2", nargs=2, metavar=("CHARLAS", "TOKENIZADOR"))
    parser.add_argument("--carga", action="store_true")
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    pairs = options.parejas
    if options.carga:
        for name, (alone, loaded) in under_load(pairs, options.rondas).items():
            print(f"{name:28}sola {number(alone, 1):>6} s   con carga {number(loaded, 1):>6} s")
        return
    bench = gpt2_bench(pairs, *options.gpt2) if options.gpt2 else course_bench(pairs)
    seconds = measure(bench, options.rondas)
    total, peak = len(bench.pairs), seconds.pop(PEAK)
    print(f"{number(total)} parejas, lotes de {BATCH}, mediana de {options.rondas} rondas")
    for name, value in seconds.items():
        speed, times = number(total / value, 1), number(seconds["original"] / value, 2)
        share = number(100 * peak / value)
        print(f"{name:28}{speed:>8} parejas/s   {times} veces la original   {share:>3}%")


if __name__ == "__main__":
    sys.exit(run_safely(main))
