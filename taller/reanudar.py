"""Mata ajustes con `kill -9` a mitad, los reanuda y compara sus pesos con los de uno sin cortes.

    python -m taller.reanudar [--veces 10] [--semilla 0]

Cada ensayo es un proceso con el minimodelo y una de las recetas de las lecciones (la original, la
de charla y la de charla con LoRA), con menos pasos, lotes menores y tres épocas. Muere de `SIGKILL`
en un paso al azar o, uno de cada dos, mientras escribe un punto de control, que queda a medias;
otro proceso lo reanuda. Pesos y pérdidas anotadas deben ser, bit a bit, los del ajuste sin cortes.
Solo en Linux y macOS.
"""

import gc
import hashlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

from course_lib.cli import new_parser, run_safely

ROWS, BATCH, STEPS, SAVE_EVERY = 12, 4, 9, 3
RECIPES = ("original", "charla", "charla con LoRA")


def prepare(recipe: str, folder: Path) -> dict:
    """Los argumentos de `resumable_fine_tune` para una receta, en pequeño."""
    from transformers import EarlyStoppingCallback

    from course_lib import original, tuning
    from course_lib.encoding import collate
    from course_lib.tracks import get_track
    from taller.asistente import chat_arguments

    track = replace(get_track("mini"), train_dialogues=9, max_length=64, limit=ROWS)
    evaluation, callbacks = None, []
    if recipe == "original":
        model, tokenizer = track.load_model(), track.load_tokenizer()
        data = original.original_examples(track, tokenizer)[:ROWS]
        args = original.original_arguments(track, folder)
    else:
        model, tokenizer = tuning.load_for_chat(track)
        lora = recipe == "charla con LoRA"
        if lora:
            model = tuning.with_lora(model, tokenizer)
        train, held_out = tuning.chat_examples(track, tokenizer)
        data = train[:ROWS]
        evaluation = held_out[: ROWS // 2]
        args = chat_arguments(track, folder, ROWS, lora)
        args.num_train_epochs = 3
        callbacks = [EarlyStoppingCallback(early_stopping_patience=2)]
    args.max_steps, args.per_device_train_batch_size = STEPS, BATCH
    args.save_steps = args.eval_steps = args.logging_steps = SAVE_EVERY
    return {
        "model": model,
        "args": args,
        "train_dataset": data,
        "data_collator": lambda rows: collate(rows, tokenizer.pad_token_id),
        "eval_dataset": evaluation,
        "callbacks": callbacks,
    }


def import_once() -> None:
    """Importa lo que tarda, para que lo hereden todos los procesos."""
    import datasets  # noqa: F401
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, EarlyStoppingCallback, Trainer  # noqa: F401

    from course_lib import original, resume, tuning  # noqa: F401

    gc.freeze()  # `Trainer` recoge la basura en cada ajuste: que no repase todo esto


def killer(step: int, limit: int | None):
    """Un `TrainerCallback` que mata su proceso al acabar un paso o, con `limit`, justo después.

    Con `limit`, ningún archivo puede pasar desde ese paso de tantos bytes: el primero que lo
    intente se queda ahí, a medias, y el proceso muere.
    """
    from transformers import TrainerCallback

    def die(*args):
        os.kill(os.getpid(), signal.SIGKILL)

    class Killer(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step and limit is None:
                die()
            elif state.global_step == step:
                signal.signal(signal.SIGXFSZ, die)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return Killer()


def run(recipe: str, folder: Path, death: tuple[int, int | None] | None = None) -> int:
    """Ajusta en otro proceso y deja el resumen en `folder`; devuelve con qué señal murió, o 0."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    try:
        from course_lib.resume import resumable_fine_tune
        from course_lib.tuning import quiet_peft

        pieces = prepare(recipe, folder)
        if death:
            pieces["callbacks"].append(killer(*death))
        with quiet_peft():
            done = resumable_fine_tune(**pieces, report=lambda said: print(f"    {said}"))
        digest = hashlib.sha256()
        for name, weight in done.model.state_dict().items():
            digest.update(name.encode() + weight.numpy().tobytes())
        columns = ("step", "loss", "loss_reply", "eval_loss")
        log = [[row.get(name) for name in columns] for row in done.log[:-1]]
        summary = {"pesos": digest.hexdigest(), "registro": log}
        (folder / "resumen.json").write_text(json.dumps(summary), encoding="utf-8")
    except KeyboardInterrupt:
        pass  # lo dice quien reparte
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(0)


def main(times: int, seed: int) -> bool:
    """Hace los ensayos y escribe una línea por cada uno; cierto si todos acaban igual."""
    import torch

    import_once()
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"
    rng = random.Random(seed)
    equal = 0
    with tempfile.TemporaryDirectory() as place:
        for recipe in RECIPES[:times]:
            run(recipe, Path(place) / recipe)
        for trial in range(1, times + 1):
            recipe, folder = RECIPES[(trial - 1) % len(RECIPES)], Path(place) / str(trial)
            straight = json.loads((Path(place) / recipe / "resumen.json").read_text("utf-8"))
            writing = trial % 2 == 0
            point = Path(place) / recipe / f"checkpoint-{STEPS}" / "optimizer.pt"
            step, limit = rng.randrange(1, STEPS), None
            if writing:
                step = rng.randrange(2 * SAVE_EVERY, STEPS + 1, SAVE_EVERY)
                limit = rng.randrange(20_000, point.stat().st_size)
            killed = run(recipe, folder, (step, limit)) == signal.SIGKILL
            moment = f"{'al guardar en' if writing else 'en'} el paso {step}"
            print(f"{trial:3}. {recipe}: {'muerto' if killed else '¡vivo!'} {moment}")
            run(recipe, folder)
            resumed = json.loads((folder / "resumen.json").read_text("utf-8"))
            same = killed and resumed == straight
            print(f"    pesos y registro {'idénticos' if same else 'DISTINTOS'}")
            equal += same
    print(f"{equal} de {times}")
    return equal == times


if __name__ == "__main__":
    parser = new_parser("python -m taller.reanudar", __doc__.splitlines()[0])
    parser.add_argument("--veces", type=int, default=10, help="cuántos ensayos")
    parser.add_argument("--semilla", type=int, default=0, help="de qué azar salen los pasos")
    chosen = parser.parse_args()
    sys.exit(run_safely(lambda: not main(chosen.veces, chosen.semilla)))
