"""La receta del minimodelo: un GPT-2 pequeño que aprende el mundo cerrado desde cero.

`python -m taller preentrenar` llama a `pretrain`. Cada paso saca su lote de una semilla propia, así
que un entrenamiento cortado sigue donde estaba y da los mismos pesos que uno seguido.
"""

import itertools
import json
import random
import re
import time
from pathlib import Path

from course_lib import replace_file
from course_lib.dialogues import shipped_dialogues
from course_lib.hub import MODEL_FILES, sha256
from course_lib.reading import pretraining_documents
from taller.scenes import prose, talk_texts

VOCABULARY = (
    8192  # casi toda palabra, entera: a trozos, las charlas salen con palabras que no existen
)
CONTEXT = 256  # posiciones: caben una charla corta, unos ejemplos o varios pasajes
LAYERS, WIDTH, HEADS = 4, 192, 6
ROWS = 16  # filas por paso: 16 × 256 = 4.096 tokens
# Los tramos: cuántos pasos, a qué tasa empieza y acaba cada uno, y qué parte de los documentos son
# charlas. Al principio, ninguna: las escenas son pocas y se leerían miles de veces. En el último,
# menos: tras el segundo leía peor de lo que se le pide.
PHASES = ((7_360, 2e-3, 2e-3, 0.0), (1_840, 2e-3, 0.0, 0.35), (3_000, 1e-3, 0.0, 0.15))
STEPS = sum(steps for steps, *_ in PHASES)
WARMUP = 100
SAVE_EVERY = 250
GUESSWORK = 0.1  # cuánto pesa en la pérdida lo que no se puede adivinar
SEEN = 0.2  # y qué parte de ello se mira: pesa lo mismo, en menos sitios, y cada paso cuesta menos
END = "<|endoftext|>"

_ANSWER = re.compile(r"Respuesta:([^\n]*\n?)")


def train_tokenizer(texts, directory: Path):
    """Aprende un BPE de bytes con `texts`, al modo de GPT-2: un solo token especial, sin *pad*.

    Returns:
        El tokenizador, ya guardado en `directory` con el formato de transformers.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Tokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=[END], show_progress=False)
    state = json.loads(bpe.to_str())["model"]
    tokenizer = GPT2Tokenizer(
        vocab=state["vocab"], merges=[tuple(m) for m in state["merges"]], model_max_length=CONTEXT
    )
    tokenizer.save_pretrained(directory)
    return tokenizer


def tokenizer_texts(seed: int = 0) -> list[str]:
    """Los textos del BPE: como los que leerá el modelo, con muchas charlas, y las de ajustar."""
    talk = list(itertools.islice(talk_texts(seed), 6_000))
    talk += [prose(dialogue.turns) for dialogue in shipped_dialogues("train")]
    return talk + list(itertools.islice(pretraining_documents(seed), 3_000))


def documents(seed: int | str, talk: float):
    """Genera sin fin los textos del preentrenamiento: el mundo y, en una parte `talk`, charlas."""
    rng, world, scenes = random.Random(seed), pretraining_documents(seed), talk_texts(seed)
    while True:
        yield next(scenes if rng.random() < talk else world)


def batch(tokenizer, step: int, seed: int = 0, talk: float = 0.0):
    """El lote del paso `step`: documentos enteros, uno tras otro, en `ROWS` filas.

    Cada fila empieza con un documento, para que la posición 0 sea siempre un comienzo, y el
    último se corta donde acaba la fila.

    Returns:
        Dos tensores (ROWS, CONTEXT): los ids y el peso de cada uno en la pérdida. Lo que va detrás
        de «Respuesta:», las frases sueltas y las charlas pesan 1; las preguntas y los contextos,
        que son puro azar y no se pueden adivinar, `GUESSWORK` de media: uno de cada cinco, cinco
        veces más, y los demás, nada.
    """
    import torch

    texts, rng = documents(f"{seed}-{step}", talk), random.Random(f"{seed}-{step}-mirar")
    ids = torch.empty(ROWS, CONTEXT, dtype=torch.long)
    weights = torch.empty(ROWS, CONTEXT)
    for row in range(ROWS):
        tokens, worth = [], []
        while len(tokens) < CONTEXT:
            text = next(texts)
            answers = [match.span(1) for match in _ANSWER.finditer(text)] or [(0, len(text))]
            out = tokenizer(text, return_offsets_mapping=True)
            tokens += [*out["input_ids"], tokenizer.eos_token_id]
            worth += [
                1.0
                if any(a < end <= b for a, b in answers)
                else GUESSWORK / SEEN * (rng.random() < SEEN)
                for _, end in out["offset_mapping"]
            ] + [1.0]
        ids[row], weights[row] = torch.tensor(tokens[:CONTEXT]), torch.tensor(worth[:CONTEXT])
    return ids, weights


def new_model(seed: int = 0):
    """Un `GPT2LMHeadModel` recién inicializado, de unos 3,4 millones de pesos."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=CONTEXT,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            activation_function="gelu_pytorch_tanh",  # la de GPT-2, en una sola operación
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            loss_type="ForCausalLM",
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def schedule(step: int, steps: int = STEPS) -> tuple[float, float]:
    """La tasa y la parte de charlas de un paso; con otros `steps`, los tramos van en proporción.

    La tasa sube durante `WARMUP` pasos, se queda arriba y baja a cero dos veces, la segunda desde
    la mitad (reinicios de la tasa: Loshchilov y Hutter, 2017, arXiv:1608.03983).
    """
    at, phases = step * STEPS / steps, iter(PHASES)
    length, first, last, talk = next(phases)
    while at >= length:
        at -= length
        length, first, last, talk = next(phases)
    return min(1.0, (step + 1) / WARMUP) * (first + (last - first) * at / length), talk


def pretrain(directory: Path, steps: int = STEPS, seed: int = 0, resume: bool = True) -> Path:
    """Preentrena el minimodelo y lo deja en `directory`, listo para `from_pretrained`.

    Guarda el avance cada `SAVE_EVERY` pasos en `directory/avance`; con `resume` sigue desde ahí.
    Usa bfloat16 para las multiplicaciones si el procesador lo trae; los pesos son siempre float32.

    Args:
        directory: carpeta de salida; se crea si no existe.
        steps: pasos de 16 × 256 tokens.
        seed: semilla de los pesos y de los textos.
        resume: si hay un avance de la misma receta, continuarlo.

    Raises:
        ValueError: si no hay ni un paso que dar o el avance guardado es de otra receta.
    """
    if steps < 1:
        raise ValueError(f"Con {steps} pasos no se aprende nada: pide al menos uno.")
    import torch
    from tqdm.auto import tqdm
    from transformers import AutoTokenizer

    directory = Path(directory)
    progress = directory / "avance"
    recipe = {
        "steps": steps,
        "seed": seed,
        "phases": [list(phase) for phase in PHASES],
        "rows": ROWS,
        "context": CONTEXT,
        "vocabulary": VOCABULARY,
        "guesswork": [GUESSWORK, SEEN],
    }
    if resume and (progress / "estado.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(directory)
    else:
        directory.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(tokenizer_texts(seed), directory)

    model = new_model(seed)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    first, seconds = 0, 0.0
    if resume and (progress / "estado.json").exists():
        first, seconds = load_progress(progress, model, optimizer, recipe)

    model.train()
    bar = tqdm(range(first, steps), initial=first, total=steps, desc="Preentrenando", unit="paso")
    losses: list[float] = []
    for step in bar:
        start = time.perf_counter()
        rate, talk = schedule(step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids, weights = batch(tokenizer, step, seed, talk)
        worth = weights[:, 1:].flatten()
        counted = worth.nonzero().flatten()  # solo de estas se calculan los logits
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            hidden = model.transformer(input_ids=ids).last_hidden_state[:, :-1].flatten(0, 1)
            logits = model.lm_head(hidden[counted])
            token_losses = torch.nn.functional.cross_entropy(
                logits, ids[:, 1:].flatten()[counted], reduction="none"
            )
        loss = (token_losses * worth[counted]).sum() / worth.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds += time.perf_counter() - start
        if (step + 1) % 20 == 0:
            bar.set_postfix_str(f"pérdida {sum(losses[-20:]) / len(losses[-20:]):.3f}")
        if (step + 1) % SAVE_EVERY == 0 and step + 1 < steps:
            save_progress(progress, model, optimizer, recipe, step + 1, seconds)

    save_small(model, directory)
    training = {
        **recipe,
        "seconds": round(seconds),
        "loss": sum(losses[-100:]) / len(losses[-100:]),
    }
    replace_file(directory / "entrenamiento.json", json.dumps(training, indent=1) + "\n")
    write_checksums(directory)
    return directory


def save_small(model, directory: Path) -> None:
    """Guarda los pesos en 16 bits, que ocupan la mitad; al cargarlos vuelven a ser de 32."""
    import torch

    model.half().save_pretrained(directory)
    model.float().config.dtype = torch.float32
    model.config.save_pretrained(directory)


def has_bfloat16() -> bool:
    """Dice si este procesador multiplica bfloat16 por su cuenta (si no, emularlo es más lento)."""
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


# --- Avance: safetensors y JSON, nunca pickle ----------------------------------------------------


def save_progress(folder: Path, model, optimizer, recipe: dict, step: int, seconds: float) -> None:
    """Guarda pesos, momentos del optimizador y el paso; el JSON se escribe el último."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    save_file(tensors, folder / f"paso-{step}.safetensors")
    state = {"recipe": recipe, "step": step, "seconds": seconds}
    replace_file(folder / "estado.json", json.dumps(state))
    for old in folder.glob("paso-*.safetensors"):
        if old.name != f"paso-{step}.safetensors":
            old.unlink()


def load_progress(folder: Path, model, optimizer, recipe: dict) -> tuple[int, float]:
    """Recupera lo que dejó `save_progress`.

    Returns:
        El paso por el que seguir y los segundos ya gastados.

    Raises:
        ValueError: si el avance es de otra receta.
    """
    import torch
    from safetensors.torch import load_file

    state = json.loads((folder / "estado.json").read_text())
    if state["recipe"] != recipe:
        raise ValueError(
            f"El avance de «{folder}» es de otra receta ({state['recipe']}): "
            "usa otra carpeta o empieza con --desde-cero."
        )
    tensors = load_file(folder / f"paso-{state['step']}.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    moments: dict[int, dict] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return state["step"], state["seconds"]


def write_checksums(directory: Path) -> None:
    """Escribe `SHA256SUMS`, en el formato de `sha256sum`, con los archivos del modelo."""
    lines = [
        f"{sha256(directory / name)}  {name}\n"
        for name in MODEL_FILES
        if (directory / name).exists()
    ]
    replace_file(directory / "SHA256SUMS", "".join(lines))
