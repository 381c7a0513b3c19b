"""Qué se entrena con LoRA en un modelo causal cualquiera: qué matrices y qué filas de sus tablas.

Se lee del propio modelo, y por eso vale lo mismo para GPT-2, Mistral o Llama.
"""

from course_lib.encoding import BOT, CHAT_TEMPLATE, USER


def projections(model) -> list[str]:
    """Cómo se llaman las matrices de los bloques: `c_attn`…, `q_proj`…, menos la capa de salida.

    Son las mismas que elige `target_modules="all-linear"` en peft, pero con el nombre corto, que es
    el que entienden los `targets` de `course_lib.costs`.

    Raises:
        ValueError: si no tiene ninguna donde LoRA pueda ponerse.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    names = {
        name.split(".")[-1]
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    }
    if not names:
        raise ValueError(
            f"{type(model).__name__} no tiene matrices lineales a las que poner LoRA: "
            "usa un modelo causal de transformers."
        )
    return sorted(names)


def new_token_rows(model, tokenizer) -> list[int] | dict[str, list[int]] | None:
    """Las filas de los marcadores que añade `prepare_for_chat`, como las pide peft.

    Si la salida no comparte tabla con la entrada (Mistral), van las de las dos. Un tokenizador con
    su propia plantilla no tiene marcadores nuevos que aprender.
    """
    if tokenizer.chat_template != CHAT_TEMPLATE:
        return None
    rows = tokenizer.convert_tokens_to_ids([USER, BOT])
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    if tables[0].weight is tables[1].weight:
        return rows
    name_of = {module: name for name, module in model.named_modules()}
    return {name_of[table]: rows for table in tables}
