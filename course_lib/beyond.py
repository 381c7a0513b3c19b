"""Lo que piden las maneras de ajustar que no son imitar: muestras, probabilidades y límites.

`sample` hace que el modelo conteste varias veces y `log_probs` dice con qué probabilidad daría una
respuesta. Con las dos se escriben en pocas líneas las preferencias (`prefer`, DPO) y el premio
verificable (`reinforce`, GRPO), que dan lo mismo que en TRL (`tests/test_beyond.py`). `only` no
entrena: limita lo que se puede escribir.
"""

import random
from collections.abc import Callable, Sequence

from course_lib.chat import left_padded
from course_lib.encoding import IGNORED, Encoded, collate

Batch = dict  # los tensores de `encoding.collate`, cada uno de (filas, tokens)


def only(tokenizer, answers: Sequence[str]) -> Callable[[list[int]], list[int]]:
    """Los tokens que pueden seguir a lo ya escrito para que la respuesta sea una de `answers`.

    Es el `allowed` de `chat.generate`: una gramática pequeña, en forma de lista. Cada respuesta
    lleva delante el espacio que pone la plantilla de chat, y acaba con el token de fin.
    """
    if not answers:
        raise ValueError("No hay ninguna respuesta permitida: pasa al menos una.")
    end = tokenizer.eos_token_id
    follows: dict[tuple[int, ...], set[int]] = {}
    for answer in answers:
        ids = [*tokenizer.encode(f" {answer}", add_special_tokens=False), end]
        for i, token in enumerate(ids):
            follows.setdefault(tuple(ids[:i]), set()).add(token)
    return lambda written: sorted(follows.get(tuple(written), {end}))


def sample(
    model, tokenizer, prompts: Sequence[list[int]], times: int, max_new_tokens: int = 12
) -> tuple[Batch, list[str]]:
    """Contesta `times` veces cada petición, al azar según las probabilidades del modelo.

    Returns:
        El lote, con `times` filas seguidas por petición, en el que solo llevan etiqueta los tokens
        que el modelo escribió, hasta el de fin; y los textos. Un texto que no llegó al fin acaba
        en «…».
    """
    import torch

    end = tokenizer.eos_token_id
    asked = left_padded(prompts, end, model.device)
    width = asked["input_ids"].shape[1]
    model.eval()  # sin `dropout`: han de ser sus probabilidades
    with torch.no_grad():
        ids = model.generate(
            **asked,
            max_new_tokens=max_new_tokens,
            do_sample=True,
            top_k=0,
            num_return_sequences=times,
            eos_token_id=end,
            pad_token_id=end,
        )
    mask = asked["attention_mask"].repeat_interleave(times, 0)
    ended = ids[:, width:] == end
    written = ended.cumsum(1) - ended.int() == 0  # el primer fin también lo escribió
    labels = torch.full_like(ids, IGNORED)
    labels[:, width:] = ids[:, width:].where(written, IGNORED)
    batch = {"input_ids": ids, "attention_mask": torch.cat([mask, written.int()], 1)}
    texts = [
        tokenizer.decode(row[keep], skip_special_tokens=True).strip() + "…" * (not done)
        for row, keep, done in zip(ids[:, width:], written, ended.any(1), strict=True)
    ]
    return batch | {"labels": labels}, texts


def log_probs(model, batch: Batch):
    """El logaritmo de la probabilidad de cada token con etiqueta, desde los de antes, en nats.

    Returns:
        Un tensor de (filas, tokens - 1); cero donde no hay etiqueta. Sumado por filas, el de cada
        respuesta entera.
    """
    import torch

    mask = batch["attention_mask"]
    # Con relleno a la izquierda, como en `sample`, la primera posición no es la primera casilla.
    places = (mask.cumsum(1) - 1).clamp(min=0)
    states = model.base_model(batch["input_ids"], attention_mask=mask, position_ids=places)[0]
    targets = batch["labels"][:, 1:]
    counted = targets != IGNORED
    # Los logits, solo donde se piden: son lo más caro.
    logits = model.get_output_embeddings()(states[:, :-1][counted]).float()
    chosen = logits.log_softmax(-1).gather(1, targets[counted][:, None])[:, 0]
    return torch.zeros_like(targets, dtype=chosen.dtype).masked_scatter(counted, chosen)


def batch_of(rows: Sequence[Encoded], pad_token_id: int, device="cpu") -> Batch:
    """Un lote de ejemplos ya codificados, en ese dispositivo."""
    batch = collate(rows, pad_token_id)
    return {name: values.to(device) for name, values in batch.items() if name != "kinds"}


def dpo_loss(mine, theirs, beta: float = 0.1):
    """La pérdida de DPO (Rafailov et al., 2023, arXiv:2305.18290), en nats por pareja.

    Args:
        mine, theirs: el logaritmo de la probabilidad de cada respuesta, según el modelo y según el
            de partida, de (2 × parejas): primero las preferidas y después, en el mismo orden, las
            rechazadas.
        beta: cuánto cuesta apartarse del de partida.
    """
    from torch.nn.functional import logsigmoid

    good, bad = (mine - theirs).chunk(2)
    return -logsigmoid(beta * (good - bad)).mean()


def advantages(rewards):
    """Cuánto mejor o peor salió cada respuesta que las demás a la misma petición, de (peticiones,
    veces): el premio menos la media, entre la desviación (Shao et al., 2024, arXiv:2402.03300).

    >>> import torch
    >>> (100 * advantages(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))).round().int().tolist()
    [[71, -71], [0, 0]]
    """
    spread = rewards.std(1, keepdim=True)
    return (rewards - rewards.mean(1, keepdim=True)) / (spread + 1e-4)


def prefer(
    model,
    reference,
    pairs: Sequence[tuple[Encoded, Encoded]],
    pad_token_id: int,
    steps: int = 40,
    learning_rate: float = 1e-5,
    beta: float = 0.1,
    batch_size: int = 16,
    seed: int = 0,
) -> list[float]:
    """Ajusta `model` con parejas (preferida, rechazada) y devuelve la pérdida de cada paso.

    Args:
        reference: el modelo de partida, que no se mueve.
        pairs: cada una con la misma petición; solo llevan etiqueta las respuestas.
    """
    import torch

    reference.eval()
    draw = random.Random(seed)
    losses, step = [], stepper(model, learning_rate)
    for _ in range(steps):
        good, bad = zip(*draw.sample(pairs, min(batch_size, len(pairs))), strict=True)
        batch = batch_of([*good, *bad], pad_token_id, model.device)
        with torch.no_grad():
            theirs = log_probs(reference, batch).sum(1)
        losses.append(step(dpo_loss(log_probs(model, batch).sum(1), theirs, beta)))
    return losses


def reinforce(
    model,
    tokenizer,
    prompts: Sequence[list[int]],
    reward: Callable[[int, str], float],
    steps: int = 40,
    learning_rate: float = 2e-4,
    batch_size: int = 12,
    times: int = 8,
    max_new_tokens: int = 10,
    seed: int = 0,
) -> list[float]:
    """Refuerza lo que `reward` premia: GRPO con un solo paso por muestra, sin freno de KL y con la
    media por tokens de todo el lote.

    Args:
        prompts: los ids de las peticiones.
        reward: (qué petición, lo que el modelo contestó) → premio.
        times: cuántas veces contesta a cada una de las `batch_size` de un paso.

    Returns:
        El premio medio de cada paso.
    """
    import torch

    if times < 2:
        raise ValueError(f"times={times} no vale: cada respuesta se compara con otras, 2 o más.")
    draw = random.Random(seed)
    torch.manual_seed(seed)
    means, step = [], stepper(model, learning_rate)
    for _ in range(steps):
        asked = draw.sample(range(len(prompts)), min(batch_size, len(prompts)))
        batch, texts = sample(model, tokenizer, [prompts[i] for i in asked], times, max_new_tokens)
        repeated = [i for i in asked for _ in range(times)]
        rewards = [float(reward(i, text)) for i, text in zip(repeated, texts, strict=True)]
        better = advantages(torch.tensor(rewards).view(-1, times)).view(-1, 1).to(model.device)
        # Más probable, cada token de lo que salió mejor que la media de su grupo.
        gain = (better * log_probs(model, batch)).sum() / (batch["labels"] != IGNORED).sum()
        step(-gain)
        means.append(sum(rewards) / len(rewards))
    return means


def stepper(model, learning_rate: float) -> Callable:
    """Un paso de AdamW por llamada, con el gradiente recortado a 1; devuelve la pérdida.

    Sin *dropout*: las probabilidades que se comparan han de ser las del modelo, sin azar.
    """
    import torch

    model.eval()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)

    def step(loss) -> float:
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        return loss.item()

    return step
