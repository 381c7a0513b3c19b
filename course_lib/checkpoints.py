"""Puntos de control: con cuáles se puede seguir un ajuste que se cortó, y con cuáles no.

`Trainer` guarda cada tanto una carpeta `checkpoint-<paso>`. Lo último que escribe en ella es
`trainer_state.json`, así que ahí va también, en una sola pieza, de qué ajuste es: un resumen de
los argumentos, los datos y los pesos de partida. Sirve un punto entero y del mismo ajuste; el que
se quedó a medias (un corte al escribir, una subida a Drive sin acabar) se reconoce porque le falta
una pieza o la tiene cortada. Nada de esto se carga como *pickle*: `Trainer` lee los pesos con
safetensors y lo demás con `torch.load(weights_only=True)`.
"""

import contextlib
import copy
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

ENDED = "terminado.json"
# Dónde y cada cuánto se anota, en cuántos trozos cabe el lote: nada de eso cambia los pesos.
INDIFFERENT = (
    "output_dir run_name project trackio disable_tqdm report_to resume_from_checkpoint "
    "restore_callback_states log save_ hub_ push_to_hub dataloader_num dataloader_p "
    "per_device_ gradient_accumulation_steps auto_find_batch_size torch_empty_cache"
).split()


@dataclass(frozen=True)
class Point:
    """Un punto desde el que seguir; `ended`, si en él ya estaba todo entrenado."""

    path: Path
    step: int
    steps: int
    ended: bool


def identify(model, args, train_dataset, eval_dataset=None) -> dict[str, str]:
    """De qué ajuste se trata: un resumen de sus argumentos, sus datos y sus pesos de partida.

    Los datos se leen enteros; de cada matriz del modelo, un millar de números salteados.
    """
    named = args.to_dict().items()
    values = {name: value for name, value in named if not name.startswith(tuple(INDIFFERENT))}
    values["lote"] = args.per_device_train_batch_size * args.gradient_accumulation_steps
    data, weights = hashlib.sha256(), hashlib.sha256()
    for dataset in (train_dataset, eval_dataset):
        data.update(b"-")  # para que no se confunda dónde acaba uno y empieza el otro
        if dataset is not None:
            for batch in dataset.with_format("arrow")[:].combine_chunks().to_batches():
                data.update(batch.serialize())
    for name, weight in model.named_parameters():
        few = weight.detach().flatten()[:: max(1, weight.numel() // 1000)]
        weights.update(f"{name} {tuple(weight.shape)} {weight.requires_grad}".encode())
        weights.update(few.float().cpu().numpy().tobytes())
    written = json.dumps(values, sort_keys=True, default=str).encode()
    sums = (hashlib.sha256(written), data, weights)
    return {
        name: made.hexdigest()[:16]
        for name, made in zip(("los argumentos", "los datos", "los pesos de partida"), sums)
    }


def points(folder: Path) -> list[Path]:
    """Las carpetas `checkpoint-<paso>` de una carpeta, de la última a la primera."""
    found = [p for p in folder.glob("checkpoint-*") if p.name.split("-")[1].isdigit()]
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

    Cuenta con una frase lo que no sirve y por qué. Un ajuste que terminó no se sigue.

    Args:
        identity: lo que da `identify`.
        scaled: si el ajuste necesita también la escala de los gradientes, como con `fp16` en CUDA.
        ignored: puntos que no se miran.
    """
    ended = read_json(folder / ENDED)
    other = None
    for path in points(folder):
        if path in ignored:
            continue
        state = read_json(path / "trainer_state.json") or {}
        owner = owner_of(state)
        if owner and owner == ended:
            continue
        if owner and owner != identity:
            other = other or owner
            continue
        lacking = cut_piece(path, scaled)
        if lacking:
            report(f"No uso {path}: le falta {lacking}, o lo tiene a medias.")
            continue
        control = state["stateful_callbacks"].get("TrainerControl", {}).get("args", {})
        step, steps = state["global_step"], state["max_steps"]
        stopped = step >= steps or control.get("should_training_stop", False)
        report(f"Sigo desde el paso {step} de {steps}, guardado en {path}.")
        return Point(path, step, steps, stopped)
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

    weights = sorted(file.name for file in path.glob("*.safetensors"))
    index = read_json(path / "model.safetensors.index.json")
    if index:
        weights = sorted(set(index["weight_map"].values()))
    others = ["optimizer.pt", "scheduler.pt", "rng_state.pth", *(["scaler.pt"] if scaled else [])]
    for name in [*(weights or ["model.safetensors"]), *others]:
        try:
            if name.endswith(".safetensors"):
                with safe_open(path / name, framework="pt"):  # comprueba que el archivo llega
                    pass
            else:
                with zipfile.ZipFile(path / name) as file:
                    if file.testzip():
                        return name
        except (OSError, SafetensorError, zipfile.BadZipFile):
            return name
    # La última que escribe Trainer.
    return None if owner_of(read_json(path / "trainer_state.json")) else "trainer_state.json"


def stale(folder: Path, identity: dict[str, str], point: Point | None) -> list[Path]:
    """Los puntos que estorban a un ajuste que empieza de nuevo o que sigue desde `point`.

    Si se quedaran, un corte al escribir encima de uno dejaría una mezcla que parece entera, y
    `save_total_limit` podría borrar el nuevo por creer más reciente el viejo.
    """
    return [
        path
        for path in points(folder)
        if not point
        or step_of(path) > point.step
        or owner_of(read_json(path / "trainer_state.json")) != identity
    ]


def size(folder: Path) -> int:
    """Los bytes que ocupan los puntos de una carpeta."""
    files = [file for path in points(folder) for file in path.rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


def after_full_disk(folder: Path, identity: dict[str, str]) -> str:
    """Qué se ha salvado cuando el disco se llena a mitad de guardar, y cómo se sigue."""
    point = last_point(folder, identity, report=lambda sentence: None)
    kept = (
        f"el último punto entero es {point.path}, y con resume=True seguirá desde ahí"
        if point
        else "no llegó a guardarse ningún punto entero, y habrá que empezar de nuevo"
    )
    return f"El disco se llenó al guardar en {folder}: libera sitio y repite; {kept}."


def clear(paths: list[Path]) -> None:
    """Borra esas carpetas y vacía la lista."""
    while paths:
        shutil.rmtree(paths.pop(), ignore_errors=True)


def mark_ended(folder: Path, identity: dict[str, str]) -> None:
    """Deja dicho que el ajuste cuyos puntos hay en la carpeta terminó."""
    # Si justo ahora no cabe, no pasa nada: al pedir que siga no quedarán pasos por dar.
    with contextlib.suppress(OSError):
        if points(folder):
            (folder / ENDED).write_text(json.dumps(identity), encoding="utf-8")


def finished(args):
    """Los mismos argumentos, sin ningún paso por dar: el corte llegó cuando ya no quedaban.

    `Trainer` no lo mira, y daría uno de más.
    """
    args = copy.copy(args)
    args.max_steps, args.num_train_epochs = -1, 0
    return args


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


def owner_callback(identity: dict[str, str]):
    """Lo que `Trainer` guardará en cada punto: de quién es y cómo se barajó su época.

    Sin lo segundo, al seguir en la segunda época o más allá con los ejemplos agrupados por
    longitud, `Trainer` los barajaría de otra manera: él solo guarda el azar del momento, y ese
    orden salió del azar con que empezó la época.
    """
    import torch
    from transformers import TrainerCallback
    from transformers.trainer_callback import ExportableState

    class Owner(TrainerCallback, ExportableState):
        def __init__(self, identity, shuffle=""):
            self.identity, self.shuffle, self.resumed = identity, shuffle, bool(shuffle)
            self.epoch_is_over = False

        def on_epoch_begin(self, args, state, control, **kwargs):
            if self.resumed:
                saved = torch.frombuffer(bytearray.fromhex(self.shuffle), dtype=torch.uint8)
                torch.set_rng_state(saved)
            self.resumed = False
            self.shuffle = torch.get_rng_state().numpy().tobytes().hex()

        def on_step_end(self, args, state, control, **kwargs):
            self.epoch_is_over = state.epoch == int(state.epoch)

        def state(self):
            if self.epoch_is_over:  # la que se barajará es la siguiente
                self.shuffle = torch.get_rng_state().numpy().tobytes().hex()
            return {"args": {"identity": self.identity, "shuffle": self.shuffle}, "attributes": {}}

    return Owner(identity)
