"""La autopsia: cuánto pesan el código, los datos, el repaso y la tasa, y qué salió.

Las corridas las hace `taller/factores.py`; están en `data/experimentos/factores.json`.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from course_lib.tables import (
    COLUMNS,
    LOSSES,
    Measure,
    cell,
    contrast,
    markdown,
    number,
    summarize,
    tallies,
)

FACTORS = {"codigo": "todo el código", "datos": "los datos", "repaso": "un repaso"}
RATES, EPOCHS = (1, 3, 10), (1, 3, 9)  # las tasas, en veces la de la original


def cell_name(*fixed: str, rate: int = 1) -> str:
    """El nombre de una celda: los factores arreglados y la tasa.

    >>> cell_name("codigo", "datos", rate=10), cell_name()
    ('codigo_datos_x10', 'original')
    """
    return "_".join(fixed or ["original"]) + (f"_x{rate}" if rate > 1 else "")


def dose_name(rate: int, epochs: int) -> str:
    """El nombre de una dosis de la receta original: la tasa y las épocas."""
    return cell_name(rate=rate) + (f"_e{epochs}" if epochs != 3 else "")


def first_words(model, tokenizer, prompts: Sequence[list[int]]) -> dict[str, float]:
    """La probabilidad media de cada primer token tras unas peticiones (ids), de mayor a menor."""
    import torch

    total = torch.zeros(model.config.vocab_size, device=model.device)
    with torch.inference_mode():
        for ids in prompts:
            logits = model(torch.tensor([ids], device=model.device)).logits[0, -1]
            total += logits.float().softmax(-1)
    words = Counter()
    for i, chance in enumerate((total / len(prompts)).tolist()):
        words[tokenizer.decode([i])] += chance  # dos ids pueden leerse igual: bytes de un carácter
    return dict(words.most_common())


# --- Lo guardado ---------------------------------------------------------------------------------

MEASURES = COLUMNS | {
    "historia": "Responde con historia",
    "igual": "Responde con historia, escrita como al entrenar",
    "azar": "Sí/no en chat, sorteando",
    "azar_si": "Dice «sí», sorteando",
    "para": "Se calla a tiempo",
    "parejas": "Pérdida en parejas apartadas",
    "dialogos": "Pérdida en diálogos apartados",
}


def effects(store: Mapping, measure: str, rate: int = 1) -> dict[str, Measure]:
    """El efecto de cada factor, media de sus cuatro comparaciones, y el de cada pareja de factores:
    cuánto más hace el uno cuando también está el otro (su interacción)."""
    cells = {
        tuple(f for f, yes in zip(FACTORS, fixed, strict=True) if yes)
        for fixed in itertools.product((False, True), repeat=len(FACTORS))
    }
    chosen = [(f,) for f in FACTORS] + list(itertools.combinations(FACTORS, 2))
    groups, found = tallies(store, measure), {}
    for factors in chosen:
        share = 2 ** (len(factors) - len(FACTORS))
        weights = {
            cell_name(*fixed, rate=rate): share * (-1) ** sum(f not in fixed for f in factors)
            for fixed in cells
        }
        found[" × ".join(FACTORS[f] for f in factors)] = contrast(groups, weights)
    return found


def format_conditions(
    store: Mapping, names: Sequence[str], measures: Sequence[str], titles: Sequence[str] = ()
) -> str:
    """Las condiciones como tabla de Markdown, con el tonto y el modelo de partida delante.

    El tonto dice siempre «Sí.», que son palabras que existen y se calla a tiempo; conversando,
    adivina a ciegas entre los V tokens, que cuesta ln V.

    Args:
        titles: el título de cada condición, si no ha de ser lo que arregla.
    """
    blind = number(math.log(store["presupuesto"]["vocabulario"]), 2)
    dummy = dict.fromkeys(("dice_si", "habla", "para"), "100%") | dict.fromkeys(LOSSES, blind)
    dummy |= {"si_no": "50%", "si_no_chat": "50%"}
    lines = [["(el tonto)", *(dummy.get(m, "0%") for m in measures)]]
    titles = titles or [store["condiciones"][name] for name in names]
    rows = [("base", "(el modelo de partida)"), *zip(names, titles, strict=True)]
    for name, title in rows:
        lines.append([title, *(cell(m, summarize(store, name, m)) for m in measures)])
    return markdown(["Qué se arregla", *(MEASURES[m] for m in measures)], lines)
