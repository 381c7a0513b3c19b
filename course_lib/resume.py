"""Que un ajuste aguante: sigue tras un corte y se adapta si la memoria o el disco se acaban.

`resumable_fine_tune` rodea `training.fine_tune` desde fuera. `Trainer` guarda cada tanto una
carpeta `checkpoint-<paso>`, y lo último que escribe en ella es `trainer_state.json`: ahí va también
de qué ajuste es, un resumen de los argumentos, los datos y los pesos de partida. Sirve un punto
entero y del mismo ajuste; al que se quedó a medias (un corte al escribir, una subida a Drive sin
acabar) le falta una pieza o la tiene cortada. Nada de esto se carga como *pickle*: `Trainer` lee
los pesos con safetensors y lo demás con `torch.load(weights_only=True)`.
"""

import contextlib
import copy
import errno
import hashlib
import json
import math
import os
import shutil
import zipfile
from collections import namedtuple
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from course_lib.tables import number
from course_lib.training import COLUMNS, Run, as_rows, fine_tune, is_stream

ENDED = "terminado.json"
STREAM_START = 100  # filas por las que se reconoce un flujo, que no se lee entero para eso
# Dónde y cada cuánto se anota, en cuántos trozos cabe el lote: nada de eso cambia los pesos.
INDIFFERENT = (
    "output_dir run_name project trackio disable_tqdm report_to resume_from_checkpoint "
    "restore_callback_states log save_ hub_ push_to_hub dataloader_num dataloader_p "
    "per_device_ gradient_accumulation_steps auto_find_batch_size torch_empty_cache ddp_"
).split()
# Cómo dicen que falta memoria CUDA y MPS, la CPU (dos versiones de torch) y cuBLAS.
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
# Y que el disco se llenó, safetensors y torch, que no siempre pasan el número del sistema.
NO_DISK = ("no space left", "file write failed", "os error 28", "disk quota", "unexpected pos")
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# Un punto desde el que seguir; `ended`, si en él ya estaba todo entrenado.
Point = namedtuple("Point", "path step ended")


class Interrupted(KeyboardInterrupt):
    """Alguien paró el ajuste: en un cuaderno se lee su frase, y no las cien líneas de la traza."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def resumable_fine_tune(
    model,
    args,
    train_dataset,
    data_collator: Callable[[list[dict]], dict],
    eval_dataset=None,
    processing_class=None,
    callbacks: Sequence = (),
    report: Callable[[str], None] = print,
) -> Run:
    """Lo mismo que `fine_tune`, pero un ajuste cortado sigue desde su último punto entero.

    Acaba con los mismos pesos que si nada hubiera pasado. Si lo guardado es de otro ajuste (cambian
    los argumentos, los datos o los pesos de partida) o de uno que terminó, empieza de nuevo y lo
    dice. La función de lotes no se compara. Si la memoria se acaba, sigue con lotes más pequeños y
    el mismo lote efectivo.

    Raises:
        MemoryError: si no cabe ni un lote de un ejemplo.
        OSError: si los puntos de control no cabrán en el disco, o si este se llena.
        Interrupted: si lo interrumpen; dice en qué paso y desde cuál seguirá, y el modelo recupera
            sus pesos de partida.
    """
    import torch
    from accelerate.utils.memory import clear_device_cache

    args = copy.copy(args)
    args.restore_callback_states_from_checkpoint = True  # también la paciencia de EarlyStopping
    if args.process_index:  # con varios procesos, que lo cuente solo el primero
        report = [].append
    train_rows = as_rows(train_dataset)
    eval_rows = as_rows(eval_dataset) if eval_dataset is not None else None
    folder, identity = Path(args.output_dir), identify(model, args, train_rows, eval_rows)
    # Con escala de gradientes, es una pieza más que recuperar.
    find = partial(last_point, folder, identity, args.fp16 and torch.cuda.is_available())
    point = find(report)
    stale = stale_points(folder, identity, point)
    old = [file for path in points(folder) for file in path.rglob("*") if file.is_file()]
    examples = 0 if is_stream(train_rows) else len(train_rows)
    check_disk(model, args, examples, sum(file.stat().st_size for file in old))
    (folder / ENDED).unlink(missing_ok=True)
    named = model.named_parameters()
    start = {name: p.detach().to("cpu", copy=True) for name, p in named if p.requires_grad}
    others, fresh = (data_collator, eval_rows, processing_class), list(map(copy.copy, callbacks))
    while True:
        attempt, owner = copy.copy(args), owner_callback(identity, stale)
        if point and point.ended:  # Trainer no lo mira, y daría un paso de más
            attempt.max_steps, attempt.num_train_epochs = -1, 0
        try:
            at = str(point.path) if point else None
            run = fine_tune(model, attempt, train_rows, *others, [owner, *callbacks], at)
            break
        except KeyboardInterrupt:
            model.load_state_dict(start, strict=False)
            kept = find([].append, stale)  # sin decir nada
            ahead = ", sin ningún punto guardado: al repetir, empieza."
            if kept:
                ahead = f": al repetir, sigue desde el {kept.step}."
            raise Interrupted(f"Interrumpido en el paso {owner.step}{ahead}") from None
        except Exception as error:
            said = str(error).lower()
            if getattr(error, "errno", None) in FULL_DISK or any(w in said for w in NO_DISK):
                kept = find([].append)
                saved = "no llegó a guardarse ningún punto entero, y habrá que empezar de nuevo"
                if kept:
                    saved = f"el último punto entero es {kept.path}, y al repetir seguirá desde ahí"
                raise OSError(
                    f"El disco se llenó al guardar en {folder}: libera sitio y repite; {saved}."
                ) from error
            full = isinstance(error, RuntimeError) and any(w in said for w in NO_MEMORY)
            if not full and not isinstance(error, MemoryError):
                raise
            args, sentence = with_smaller_batch(args, model.training)
            report(sentence)
        # Fuera del `except`, donde el error ya no retiene los tensores del intento fallido.
        model.zero_grad(set_to_none=True)
        clear_device_cache(garbage_collection=True)
        model.load_state_dict(start, strict=False)
        callbacks = list(map(copy.copy, fresh))  # sin lo contado hasta ahora
        point = find(report, stale)
    # Si justo ahora no cabe en el disco, no pasa nada: al repetir no quedarán pasos por dar.
    with contextlib.suppress(OSError):
        if points(folder):
            (folder / ENDED).write_text(json.dumps(identity), encoding="utf-8")
    return replace(run, start=identity["los pesos de partida"])


def identify(
    model, args, train_rows: Sequence[dict], eval_rows: Sequence[dict] | None = None
) -> dict[str, str]:
    """De qué ajuste se trata: un resumen de sus argumentos, sus datos y sus pesos de partida."""
    named = args.to_dict().items()
    values = {name: value for name, value in named if not name.startswith(tuple(INDIFFERENT))}
    values["lote"] = rows_per_step(args)
    data = hashlib.sha256()
    for rows in (train_rows, eval_rows):
        data.update(b"-")  # para que no se confunda dónde acaba uno y empieza el otro
        few = STREAM_START if rows is not None and is_stream(rows) else None
        for row in islice(rows or (), few):  # de un flujo, solo el comienzo
            data.update(repr([list(row[name]) for name in COLUMNS]).encode())
    written = json.dumps(values, sort_keys=True, default=str).encode()
    return {
        "los argumentos": hashlib.sha256(written).hexdigest()[:16],
        "los datos": data.hexdigest()[:16],
        "los pesos de partida": fingerprint(model),
    }


def rows_per_step(args) -> int:
    """El lote efectivo: cuántos ejemplos ve cada paso del optimizador, entre todos los procesos."""
    each = args.per_device_train_batch_size * args.gradient_accumulation_steps
    return each * args.world_size


def fingerprint(model) -> str:
    """Un resumen de los pesos de un modelo: de cada matriz, un millar de números salteados."""
    weights = hashlib.sha256()
    for name, weight in model.named_parameters():
        few = weight.detach().flatten()[:: max(1, weight.numel() // 1000)]
        weights.update(f"{name} {tuple(weight.shape)} {weight.requires_grad}".encode())
        weights.update(few.float().cpu().numpy().tobytes())
    return weights.hexdigest()[:16]


def points(folder: Path) -> list[Path]:
    """Las carpetas `checkpoint-<paso>` de una carpeta, de la última a la primera."""
    found = [p for p in folder.glob("checkpoint-*") if p.name.split("-")[1].isdecimal()]
    return sorted(found, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """El paso de una carpeta `checkpoint-<paso>`."""
    return int(path.name.split("-")[1])


def last_point(
    folder: Path,
    identity: dict[str, str],
    scaled: bool = False,
    report: Callable[[str], None] = print,
    ignored: Collection[Path] = (),
) -> Point | None:
    """El último punto entero de este mismo ajuste, si se cortó; `None` si hay que empezar.

    Cuenta con una frase lo que no sirve y por qué. Un ajuste que terminó no se sigue: se repite.

    Args:
        scaled: si el ajuste necesita también la escala de los gradientes, como con `fp16` en CUDA.
        ignored: puntos que no se miran.
    """
    ended, other = read_json(folder / ENDED), None
    if ended == identity:
        report(f"Este ajuste ya terminó, y lo guardado en {folder} es suyo: lo repito entero.")
    for path in points(folder):
        state = read_json(path / "trainer_state.json") or {}
        owner = owner_of(state)
        if path in ignored or (owner and owner == ended):
            continue
        if owner and owner != identity:
            other = other or owner
            continue
        if lacking := cut_piece(path, scaled):
            report(f"No uso {path}: le falta {lacking}, o lo tiene a medias.")
            continue
        if foreign := foreign_piece(path):
            report(f"No uso {path}: {foreign} nombra código que no es de Trainer, y no lo ejecuto.")
            continue
        control = state["stateful_callbacks"].get("TrainerControl", {}).get("args", {})
        step, steps = state["global_step"], state["max_steps"]
        report(f"Sigo desde el paso {step} de {steps}, guardado en {path}.")
        return Point(path, step, step >= steps or control.get("should_training_stop", False))
    if other:
        changed = [name for name in identity if identity[name] != other.get(name)]
        report(
            f"Empiezo de nuevo: lo guardado en {folder} es de otro ajuste (cambian "
            f"{' y '.join(changed)}) y se borrará al guardar el primer punto de este; para "
            "conservarlo, interrumpe la celda y elige otro output_dir."
        )
    return None


def cut_piece(path: Path, scaled: bool = False) -> str | None:
    """El nombre de una pieza que a un punto le falta o que está a medias; `None` si está entero."""
    from safetensors import SafetensorError, safe_open

    index = read_json(path / "model.safetensors.index.json") or {"weight_map": {}}
    weights = index["weight_map"].values() or (p.name for p in path.glob("*.safetensors"))
    others = ["optimizer.pt", "scheduler.pt"] + ["scaler.pt"] * scaled
    processes = int(os.environ.get("WORLD_SIZE", 1))  # como lo cuenta torchrun
    many = [f"rng_state_{i}.pth" for i in range(processes)]
    others += many if processes > 1 else ["rng_state.pth"]
    for name in [*(sorted(set(weights)) or ["model.safetensors"]), *others]:
        try:
            if name.endswith(".safetensors"):
                with safe_open(path / name, framework="pt"):  # comprueba que el archivo llega
                    continue
            with zipfile.ZipFile(path / name) as file:
                if file.testzip():
                    return name
        except (OSError, SafetensorError, zipfile.BadZipFile):
            return name
    # La última que escribe Trainer.
    return None if owner_of(read_json(path / "trainer_state.json")) else "trainer_state.json"


def foreign_piece(path: Path) -> str | None:
    """El nombre de una pieza que al leerse pediría ejecutar otra cosa que lo que guarda Trainer."""
    from torch.serialization import get_unsafe_globals_in_checkpoint
    from transformers.trainer_pt_utils import safe_globals

    with safe_globals():
        pieces = (file for file in path.iterdir() if file.suffix in (".pt", ".pth"))
        return next((p.name for p in pieces if get_unsafe_globals_in_checkpoint(p)), None)


def stale_points(folder: Path, identity: dict[str, str], point: Point | None) -> list[Path]:
    """Los puntos que estorban a un ajuste que empieza de nuevo o que sigue desde `point`.

    Si se quedaran, un corte al escribir encima de uno dejaría una mezcla que parece entera, y
    `save_total_limit` podría borrar el nuevo por creer más reciente el viejo.
    """
    mine = [p for p in points(folder) if owner_of(read_json(p / "trainer_state.json")) == identity]
    kept = [path for path in mine if point and step_of(path) <= point.step]
    return [path for path in points(folder) if path not in kept]


def owner_of(state: dict | None) -> dict | None:
    """De qué ajuste es un punto, según su `trainer_state.json`."""
    saved = (state or {}).get("stateful_callbacks", {}).get("Owner", {})
    return saved.get("args", {}).get("identity")


def read_json(path: Path) -> dict | None:
    """Un JSON que quizá falte o esté a medias: entonces, `None`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def owner_callback(identity: dict[str, str], stale: list[Path]):
    """Lo que `Trainer` guardará en cada punto: de quién es y cómo se barajó su época.

    Sin lo segundo, al seguir en la segunda época o más allá con los ejemplos agrupados por
    longitud, `Trainer` los barajaría de otra manera: solo guarda el azar del momento, y ese orden
    salió del azar con que empezó la época. Antes del primer punto borra los de `stale`.
    """
    import torch
    from transformers import TrainerCallback
    from transformers.trainer_callback import ExportableState

    class Owner(TrainerCallback, ExportableState):
        step, epoch_is_over = 0, False

        def __init__(self, identity, shuffle=""):
            self.identity, self.shuffle, self.resumed = identity, shuffle, bool(shuffle)

        def on_epoch_begin(self, args, state, control, **kwargs):
            if self.resumed:
                saved = torch.frombuffer(bytearray.fromhex(self.shuffle), dtype=torch.uint8)
                torch.set_rng_state(saved)
            self.resumed = False
            self.shuffle = torch.get_rng_state().numpy().tobytes().hex()

        def on_step_end(self, args, state, control, **kwargs):
            # De la clase: al seguir desde un punto, Trainer cambia este objeto por otro.
            Owner.step = state.global_step
            self.epoch_is_over = state.epoch == int(state.epoch)
            self.clear_before(state, control)

        def on_epoch_end(self, args, state, control, **kwargs):
            self.clear_before(state, control)

        def clear_before(self, state, control):
            # Con save_strategy="best" se decide después de medir.
            if state.is_world_process_zero and (control.should_save or control.should_evaluate):
                while stale:  # una sola vez: después, ese nombre puede ser el de un punto nuevo
                    shutil.rmtree(stale.pop(), ignore_errors=True)

        def state(self):
            if self.epoch_is_over:  # la que se barajará es la siguiente
                self.shuffle = torch.get_rng_state().numpy().tobytes().hex()
            return {"args": {"identity": self.identity, "shuffle": self.shuffle}, "attributes": {}}

    return Owner(identity)


def with_smaller_batch(args, training: bool):
    """Los mismos argumentos con el lote partido, y la frase que lo cuenta.

    El lote efectivo, ejemplos por paso del optimizador, queda igual: se divide entre el menor
    número que lo parte sin resto (casi siempre 2) y se acumulan otras tantas veces más gradientes.
    Si la memoria se acabó al medir y no al entrenar (`training`), se parte ese otro lote.
    """
    name = "per_device_train_batch_size" if training else "per_device_eval_batch_size"
    size = getattr(args, name)
    if size == 1:
        raise MemoryError(
            "No cabe en memoria ni un lote de un ejemplo: acorta los ejemplos (max_length), pon "
            "gradient_checkpointing=True, ajusta con LoRA o elige un modelo más pequeño."
        )
    parts = next(k for k in range(2, size + 1) if size % k == 0)
    less, args = size // parts, copy.copy(args)
    setattr(args, name, less)
    if not training:
        # La pérdida apartada es una media de medias de lote: puede variar en los decimales.
        return args, f"No cabe en memoria medir de {size} en {size}: mido de {less} en {less}."
    pieces = args.gradient_accumulation_steps = args.gradient_accumulation_steps * parts
    return args, (
        f"No cabe en memoria un lote de {size}: hago cada paso en {pieces} trozos de {less}, y "
        f"sigue viendo los mismos {pieces * less} ejemplos."
    )


def check_disk(model, args, examples: int, reusable: int = 0) -> None:
    """Comprueba antes de empezar que los puntos de control cabrán en el disco, donde los que ya hay
    dejarán libres `reusable` bytes.

    Un punto son los pesos que se guardan y las dos medias que Adam lleva de cada peso entrenado:
    unas tres veces el modelo, o tres veces los adaptadores con LoRA. El nuevo se escribe antes de
    borrar el que sobra.
    """
    if args.save_strategy == "no":
        return
    every = per_epoch = math.ceil(examples / rows_per_step(args))
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch)
    if args.save_strategy == "steps":  # save_steps puede ser una fracción del total
        every = args.save_steps if args.save_steps >= 1 else args.save_steps * steps
    saves = math.ceil(steps / (every or steps))  # de un flujo no se sabe cuánto dura una época
    if args.save_total_limit:
        saves = min(saves, 1 + max(args.save_total_limit, 1 + bool(args.load_best_model_at_end)))
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    lora = hasattr(model, "peft_config")
    weights = trained if lora else sum(p.nbytes for p in model.parameters())
    needed = saves * (weights + 2 * trained)
    folder = Path(args.output_dir).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free + reusable
    if needed > free:
        raise OSError(
            f"No cabe en el disco: los puntos de control de este ajuste, hasta {saves} a la vez, "
            f"ocuparán {number(needed / 1e9, 2)} GB en {folder}, y quedan {number(free / 1e9, 2)} "
            "libres; libera sitio, baja save_total_limit o elige otro output_dir."
        )
