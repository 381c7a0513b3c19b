"""Generar: de los ids de una petición al texto que el modelo escribe detrás, por lotes."""

import re
from collections.abc import Sequence


def generate(
    model,
    tokenizer,
    prompts: Sequence[list[int]],
    max_new_tokens: int = 24,
    batch_size: int = 64,
    stop: str | None = None,
) -> list[str]:
    """Continúa muchas peticiones por lotes y sin azar: siempre el token más probable.

    El relleno va a la izquierda, para que en todo el lote la petición acabe donde empieza la
    respuesta, y la máscara de atención dice dónde está.

    Args:
        prompts: los ids de cada petición.
        max_new_tokens: tokens nuevos como mucho, sin contar la petición.
        batch_size: peticiones por lote.
        stop: texto de un solo token que también acaba la respuesta, además del de fin.

    Returns:
        El texto nuevo de cada petición, en el mismo orden.

    Raises:
        ValueError: si alguna petición no cabe en el modelo con su respuesta, o si `stop` no es un
            solo token.
    """
    import torch

    room = model.config.max_position_embeddings - max_new_tokens
    longest = max(map(len, prompts), default=0)
    if longest > room:
        raise ValueError(
            f"Una petición ocupa {longest} tokens y al modelo le caben {room} antes de contestar: "
            "acórtala o baja max_new_tokens."
        )
    if stop and len(tokenizer.encode(stop)) != 1:
        raise ValueError(f"stop={stop!r} no es un solo token de este tokenizador: elige otro.")

    # La máscara tapa el relleno, así que vale cualquiera; con el de fin, transformers no lo toma
    # por una petición sin máscara cuando un renglón del lote acaba antes que los demás.
    pad = tokenizer.eos_token_id
    # También acaba en un marcador que sea token especial: ahí empezaría el turno del otro.
    special = [i for i, token in tokenizer.added_tokens_decoder.items() if token.special]
    ends = [tokenizer.eos_token_id, *special, *(tokenizer.encode(stop) if stop else [])]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    texts = [""] * len(prompts)
    model.eval()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        width = max(len(prompts[i]) for i in chosen)
        gaps = [width - len(prompts[i]) for i in chosen]
        ids = torch.tensor([[pad] * gap + prompts[i] for i, gap in zip(chosen, gaps, strict=True)])
        mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps])
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=ends,
                pad_token_id=pad,
            )
        for i, row in zip(chosen, output[:, width:], strict=True):
            texts[i] = tokenizer.decode(row, skip_special_tokens=True)
    return texts


def first_turn(text: str) -> str:
    """Lo que el modelo dice antes de ponerse a escribir el turno del otro.

    >>> first_turn(" Sí. <|user|> ¿Y tú?")
    'Sí.'
    """
    return re.split(r"<\|\w+\|>", text)[0].strip()
