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


def dose_title(rate: int, epochs: int) -> str:
    """Una dosis, para leerla: «tasa × 3, épocas: 9»."""
    return f"tasa × {rate}, épocas: {epochs}"


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
    cuánto más hace el uno cuando también está el otro (su interacción).

    A una tasa mayor que la original, además, cuánto más hace cada uno que a la original.
    """
    groups, found = tallies(store, measure), {}
    for some in [(f,) for f in FACTORS] + list(itertools.combinations(FACTORS, 2)):
        found[" × ".join(FACTORS[f] for f in some)] = contrast(groups, _weights(some, rate))
    for factor, name in FACTORS.items() if rate > 1 else ():
        less = {cell: -weight for cell, weight in _weights([factor], 1).items()}
        found[f"{name} × la tasa"] = contrast(groups, _weights([factor], rate) | less)
    return found


def _weights(factors: Sequence[str], rate: int) -> dict[str, float]:
    """Cuánto cuenta cada una de las ocho celdas en un efecto o en una interacción."""
    share = 2 ** (len(factors) - len(FACTORS))
    cells = [some for n in range(4) for some in itertools.combinations(FACTORS, n)]
    return {
        cell_name(*fixed, rate=rate): share * (-1) ** sum(f not in fixed for f in factors)
        for fixed in cells
    }


def format_effects(store: Mapping, measures: Sequence[str], rate: int = 1) -> str:
    """Los efectos y las interacciones, en puntos, como tabla de Markdown."""
    found = {m: effects(store, m, rate) for m in measures}
    rows = [[name, *(found[m][name].points for m in measures)] for name in found[measures[0]]]
    return markdown(["Qué", *(MEASURES[m] for m in measures)], rows)


def dose_curves(store: Mapping, titles: Mapping[str, str]) -> dict[str, list[tuple]]:
    """Un punto por dosis y un color por tasa, de cada medida: lo que dibuja `plots.dots`.

    Args:
        titles: las medidas y el título de cada una.
    """
    doses = [*itertools.product(RATES, EPOCHS)]
    colors = dict(zip(RATES, ("#0072B2", "#D55E00", "#009E73"), strict=True))
    return {
        title: [
            (dose_title(*dose), summarize(store, dose_name(*dose), measure), colors[dose[0]])
            for dose in doses
        ]
        for measure, title in titles.items()
    }


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
