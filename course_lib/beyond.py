"""Lo que piden las maneras de ajustar que no son imitar: muestras, probabilidades y límites.

Con tres piezas se escriben en pocas líneas las preferencias (DPO) y el premio verificable (GRPO),
que la lección 09 deja a la vista: `sample` hace que el modelo conteste varias veces, `log_probs`
dice con qué probabilidad daría una respuesta y `drift`, cuánto se ha apartado de otro modelo.
`only` no entrena: limita lo que se puede escribir.
"""

from collections.abc import Callable, Sequence

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

    end, width = tokenizer.eos_token_id, max(map(len, prompts))
    gaps = [width - len(ids) for ids in prompts]
    pairs = list(zip(gaps, prompts, strict=True))
    ids = torch.tensor([[end] * gap + prompt for gap, prompt in pairs])
    mask = torch.tensor([[0] * gap + [1] * len(prompt) for gap, prompt in pairs])
    model.eval()  # sin `dropout`: han de ser sus probabilidades
    with torch.no_grad():
        ids = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            do_sample=True,
            top_k=0,
            num_return_sequences=times,
            eos_token_id=end,
            pad_token_id=end,
        )
    mask = mask.to(ids.device).repeat_interleave(times, 0)
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

    states = model.base_model(batch["input_ids"], attention_mask=batch["attention_mask"])[0]
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


def drift(model, other, rows: Sequence[Encoded], pad_token_id: int) -> float:
    """La divergencia KL de `model` respecto de `other`, en nats por token con etiqueta.

    Cero si en esos textos dan a todo las mismas probabilidades. Los dos con el mismo vocabulario.
    """
    import torch

    batch = batch_of(rows, pad_token_id, model.device)
    counted = batch.pop("labels")[:, 1:] != IGNORED
    with torch.inference_mode():
        mine, theirs = (
            m(**batch).logits[:, :-1][counted].float().log_softmax(-1) for m in (model, other)
        )
    return (mine.exp() * (mine - theirs)).sum(-1).mean().item()
