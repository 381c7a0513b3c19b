"""¿Contesta el navegador lo mismo que Python? Quinientas preguntas a cada uno de los tres modelos.

`python -m taller.navegador --comprobar` deja en `salida/navegador/` una página con lo que contesta
Python; al abrirla, el navegador contesta lo mismo y cuenta en cuántas coincide.
"""

import random
import shutil
import unicodedata
from pathlib import Path

from course_lib import tuning, world
from course_lib.dialogues import to_pairs
from course_lib.tracks import get_track
from taller import navegador

PAGE = Path(__file__).with_name("cotejo.html")
ODD = (
    "",
    " \n\t ",
    "hola",
    "?",
    "¿¡",
    "👋🏽 hola 👨‍👩‍👧",
    "¿Cuál es la capital de Francia? 🇫🇷",
    "日本の首都は？",
    "Какая столица Франции?",
    "ما هي عاصمة فرنسا؟",
    "ñandú, pingüino y œuvre ß ﬁ ½ ² ٣ Ⅷ",
    "it's I'll we've they'd DON'T",
    "  espacios   por    todas partes  ",
    "con\ttabulador\ny salto\r\nde línea\n\n\ny más",
    "con\xa0espacio duro, \u2003ancho, \u200bnulo, \x85raro y \ufeffmarca\ufeff",
    "\x1chola\x1f",
    "<|user|>",
    "<|bot|> Sí.",
    "Hola<|bot|> París. <|user|> ¿Es Madrid la capital de Francia?",
    "<|endoftext|><|pad|>hola<|endoftext|>",
    "<<|bot|>|bot|> <|b<|bot|>ot|>",
    "< |user|> <|USER|> <|otro|> <|ñandú|> hola",
    "</s>[INST]hola[/INST]<|im_start|>user",
    "1234567890 3,14 1.000.000 20%",
    "Respuesta: París\nPregunta: ¿Cuál es la capital de Perú?",
    "¿cuál es la capital de francia",
    "CUÁL ES LA CAPITAL DE FRANCIA",
    "a" * 150,
    "la " * 120,
    "hola " * 200,
    "👋" * 60,
    "\ud7ff\ue000\U0010ffff",
)


def questions(n: int = 500, seed: int = 0) -> list[str]:
    """Lo que se pregunta: hechos en varias redacciones, sí o no, charla y cosas raras.

    Dos quintas partes son hechos; una, de sí o no; otra y media, charla, y lo que queda, rarezas y
    lo mismo con las tildes sueltas.
    """
    rng, countries = random.Random(seed), world.load_countries()
    facts = [
        world.chain([rng.choice(countries)], 1, rng, (rng.choice((*tuning.SOURCES, "ajenas")),))
        for _ in range(2 * n // 5)
    ]
    yes_no = rng.sample(world.yes_no_questions(countries), n // 5)
    talk = [pair.user for pair in to_pairs(get_track("mini").load_dialogues("test"))]
    texts = [q.text for q in (*facts, *yes_no)] + rng.sample(talk, 3 * n // 10)
    texts += ODD[: n - len(texts)]
    split = [unicodedata.normalize("NFD", text) for text in texts]
    return texts + split[: n - len(texts)]


def write_comparison(folder: Path) -> Path:
    """Pregunta a los tres en Python y escribe la página que lo compara; devuelve dónde está."""
    track, texts, rows = get_track("mini"), questions(), {}
    for name, (model, tokenizer) in navegador.three_models(track).items():
        if hasattr(model, "peft_config"):
            with tuning.quiet_peft():
                model = model.merge_and_unload()
        said = navegador.answers(navegador.WAYS[name], model, tokenizer, texts)
        rows[name] = list(zip(texts, said, strict=True))
    navegador.script(folder.parent, "preguntas.js", "preguntas", rows)
    for file in (*navegador.STATIC.glob("*.js"), PAGE):
        shutil.copy(file, folder.parent)
    return folder.parent / PAGE.name
