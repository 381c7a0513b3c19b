"""La receta de la lección 07: un ajuste que enseña una tarea sin borrar lo demás.

Es la contraparte de `original`. La tarea es contestar en el chat lo que el modelo ya sabe; se
enseña con preguntas sobre la mitad de los países, charlas corrientes y un repaso de lo que el
modelo leyó de pequeño. La otra mitad de los países no se toca: con ella se puntúa.
"""

import itertools
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from course_lib import reading, world
from course_lib.dialogues import Dialogue
from course_lib.encoding import (
    MARKERS,
    Encoded,
    dialogue_messages,
    encode_conversation,
    encode_text,
    prepare_for_chat,
)
from course_lib.evaluation import conversation
from course_lib.tracks import Track
from course_lib.world import ATTRIBUTES, Country, Question

SEED, BATCH, LORA_RANK = 7, 16, 32
TALK, REPLAY_TEXTS = 400, 2200  # charlas y textos de repaso
CHAINS, UNKNOWN = 1200, 300  # preguntas encadenadas y de países inventados
SOURCES = ("hechos", "libres")  # de dónde salen las redacciones de ajustar

Messages = list[dict[str, str]]  # mensajes con «role» y «content»


def split_countries(seed: int = 0, language: str = "es") -> tuple[list[Country], list[Country]]:
    """Los países de ajustar y los de puntuar, mitad y mitad, por sorteo; los mismos en todo idioma.

    >>> train, test = split_countries()
    >>> len(train), len(test), set(train) & set(test)
    (49, 50, set())
    """
    countries = list(world.load_countries(language))
    random.Random(seed).shuffle(countries)
    half = len(countries) // 2
    return countries[:half], countries[half:]


def task_questions(
    countries: Sequence[Country],
    seed: int = 0,
    yes_no: int = 16,
    chains: int = CHAINS,
    unknown: int = UNKNOWN,
) -> dict[str, list[Question]]:
    """Las preguntas que enseñan la tarea, por clases, sin nombrar más países que esos.

    Args:
        yes_no: cuántas de sí o no por hecho, la mitad verdaderas.
        chains: cuántas conversaciones de dos a cuatro preguntas encadenadas.
        unknown: cuántas de países inventados, que también salen en una de cada cinco encadenadas.
    """
    rng, facts = random.Random(seed), [*itertools.product(countries, ATTRIBUTES)]
    invented = [reading.unknown_country(rng, False, countries[0].lang) for _ in range(unknown)]

    def among() -> list[Country]:
        return [*countries, *rng.sample(invented, min(len(invented), len(countries) // 4))]

    def yes_or_no(country: Country, attribute: str, truth: bool) -> Question:
        source = rng.choice(SOURCES)
        return world.yes_no_question(country, attribute, truth, rng, None, countries, source)

    return {
        "hechos": [
            world.chain([c], 1, rng, SOURCES, attribute=a) for c, a in facts for _ in range(6)
        ],
        "sí o no": [yes_or_no(c, a, i % 2 == 0) for c, a in facts for i in range(yes_no)],
        "encadenadas": [
            world.chain(among(), rng.randint(2, 4), rng, SOURCES) for _ in range(chains)
        ],
        "no lo sé": reading.unknown_questions(countries, unknown, seed, False, SOURCES),
    }


def talk_conversations(dialogues: Sequence[Dialogue]) -> list[Messages]:
    """Cada charla dos veces: entera, y lo que dijo quien la empezó, respuesta a respuesta.

    Sueltas, las respuestas enseñan a contestar a una charla desde la primera frase: sin ellas, a un
    «Hola» el modelo dice «No lo sé».
    """
    turns = [d.turns for d in dialogues]
    turns += [d.turns[i : i + 2] for d in dialogues for i in range(1, len(d.turns) - 1, 2)]
    return [dialogue_messages(Dialogue(some)) for some in turns if len(some) > 1]


def replay_texts(
    n: int, seed: int = 0, language: str = "es", countries: Sequence[Country] = ()
) -> list[str]:
    """`n` textos como los del preentrenamiento, para repasar: tres octavos más de lectura, que es
    lo primero que se olvida.

    Args:
        countries: los únicos que se nombran; sin ellos, los de ajustar del primer reparto.
    """
    countries = countries or split_countries(language=language)[0]
    texts = reading.pretraining_documents(f"repaso {seed}", language, countries)
    label, more = world.WORDS[language].context, 3 * n // 8
    some = list(itertools.islice(texts, n - more))
    return some + list(itertools.islice((t for t in texts if t.startswith(f"{label}:")), more))


def chat_examples(
    track: Track,
    tokenizer,
    talk: int = TALK,
    replay: int = REPLAY_TEXTS,
    seed: int = SEED,
    split: int = 0,
    chained: bool = True,
    **task,
) -> tuple[list[Encoded], list[Encoded]]:
    """Los ejemplos de ajustar y los apartados, ya codificados; los primeros, barajados.

    Los apartados son preguntas sobre cinco países que ni se ajustan ni puntúan: la pérdida de las
    charlas, que sube y baja a saltos, taparía la suya. En una ruta recortada, de cada cosa no pasa
    de su límite.

    Args:
        tokenizer: preparado con `prepare_for_chat`.
        talk, replay: charlas y textos de repaso; con 0, sin ellos.
        split: qué reparto de los países.
        chained: si hay filas de varios turnos; si no, cada pregunta y cada charla van sueltas.
        task: los de `task_questions`.
    """
    rng, (countries, _) = random.Random(seed), split_countries(split, track.language)

    def taught(countries: Sequence[Country], seed: int, **task) -> list[Messages]:
        kinds = task_questions(countries, seed, **task).values()
        asked = [conversation(q) for kind in kinds for q in rng.sample(kind, track.cut(len(kind)))]
        return [messages for messages in asked if chained or len(messages) == 2]

    tuned, apart = countries[:-5], countries[-5:]
    talks = talk_conversations(track.load_dialogues("train")[: track.cut(talk)])
    tasks = taught(tuned, seed, **task)
    if chained:
        for i in range(0, len(tasks) if talks else 0, 10):  # una de cada diez, tras otra charla
            tasks[i] = rng.choice(talks)[:2] + tasks[i]
    else:
        talks = [talk[i : i + 2] for talk in talks for i in range(0, len(talk), 2)]
    texts = replay_texts(track.cut(replay), seed, track.language, tuned)
    train = [encode_conversation(tokenizer, messages) for messages in talks + tasks]
    train += [encode_text(tokenizer, text) for text in texts]
    rng.shuffle(train)
    held_out = taught(apart, seed + 1, yes_no=4, chains=60, unknown=20)
    return train, [encode_conversation(tokenizer, messages) for messages in held_out]


def rhythm(examples: int) -> tuple[int, int]:
    """Cada cuántos pasos se anota y cada cuántos se mide: 20 y 60, o menos si hay pocos.

    >>> rhythm(8000), rhythm(40), rhythm(10)
    ((20, 60), (1, 3), (1, 1))
    """
    steps = -(-examples // BATCH)
    every = min(20, max(1, steps // 12))
    return every, min(3 * every, steps)


def half_precision() -> dict[str, bool]:
    """Los 16 bits con que conviene entrenar aquí, como argumento de `TrainingArguments`.

    Sin GPU de NVIDIA, ninguno. A una T4 hay que preguntarle sin contar la emulación: torch dice que
    admite `bf16`, pero lo imita, y va más despacio que con `fp16`.
    """
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16": True}


def load_for_chat(track: Track, alike: bool = True):
    """El modelo y el tokenizador de la ruta, con los marcadores de chat como tokens propios.

    Los marcadores nacen como la media de los tokens de «Pregunta:» y de «Respuesta:», para que un
    chat se parezca desde el principio a lo que el modelo ya sabe contestar; con `alike=False`, como
    la de todos los tokens.
    """
    model, tokenizer = track.load_model(), track.load_tokenizer()
    words = world.WORDS[track.language]
    known = [
        tokenizer.encode(f"{word}:", add_special_tokens=False)
        for word in (words.question, words.answer)
    ]
    prepare_for_chat(tokenizer, model)
    for marker, ids in zip(MARKERS, known) if alike else ():
        row = tokenizer.convert_tokens_to_ids(marker)
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            table.weight.data[row] = table.weight.data[ids].mean(0)
    return model, tokenizer


def with_lora(model, tokenizer, rank: int = LORA_RANK, seed: int = SEED):
    """El modelo con adaptadores LoRA en todas sus proyecciones, y nada más que entrenar.

    Vale para cualquier modelo causal de transformers, también cuantizado en 4 bits. Si los
    marcadores son tokens nuevos, sus filas de las tablas se entrenan también: si no, el modelo
    nunca sabría qué significan. `rank` es el rango de cada adaptador (Hu et al., 2021,
    arXiv:2106.09685).
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed
    from transformers.pytorch_utils import Conv1D

    set_seed(seed)  # los adaptadores nacen al azar
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=projections(model),
        # GPT-2 guarda sus matrices traspuestas (Conv1D)
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        trainable_token_indices=new_token_rows(model, tokenizer),
        task_type="CAUSAL_LM",
    )
    with quiet_peft():
        return get_peft_model(model, config)


def projections(model) -> list[str]:
    """Cómo se llaman las matrices de los bloques: `c_attn`…, `q_proj`…, menos la capa de salida.

    Son las que elige `target_modules="all-linear"` en peft, pero con el nombre corto, que es el
    que entienden los `targets` de `course_lib.costs`.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    head, kinds = model.get_output_embeddings(), (torch.nn.Linear, Conv1D)
    named = [(name, m) for name, m in model.named_modules() if isinstance(m, kinds)]
    names = {name.split(".")[-1] for name, module in named if module is not head}
    if not names:
        raise ValueError(
            f"{type(model).__name__} no tiene matrices lineales a las que poner LoRA: "
            "usa un modelo causal de transformers."
        )
    return sorted(names)


def new_token_rows(model, tokenizer) -> list[int] | dict[str, list[int]] | None:
    """Las filas de los marcadores que añade `prepare_for_chat`, como las pide peft.

    Se sabe por los tokens añadidos, no por la plantilla: quien la cambie sigue entrenándolos. Si la
    salida no comparte tabla con la entrada (Mistral), van las de las dos. Un tokenizador que no
    tiene esos marcadores, como el de OpenChat, no trae nada nuevo que aprender.
    """
    added = tokenizer.get_added_vocab()
    rows = [added[marker] for marker in MARKERS if marker in added]
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    if not rows or tables[0].weight is tables[1].weight:
        return rows or None
    name_of = {module: name for name, module in model.named_modules()}
    return {name_of[table]: rows for table in tables}


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Quita de en medio lo que le pasa a peft y no es cosa nuestra.

    Dos avisos: peft 0.21 consulta un nombre que transformers 5.23 está retirando, y en cada punto
    de control avisa de que guarda también los marcadores. Y un error: al poner adaptadores busca
    torchao, aunque nadie lo use, y con uno anterior al 0.16, como el 0.10 que trae Colab, se niega
    a seguir; con None en su sitio, para Python no está instalado.
    """
    absent = object()
    torchao = sys.modules.get("torchao", absent)
    sys.modules["torchao"] = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
            warnings.filterwarnings("ignore", ".*save_embedding_layers.*", UserWarning)
            yield
    finally:
        if torchao is absent:
            del sys.modules["torchao"]
        else:
            sys.modules["torchao"] = torchao


def save_tuned(model, folder: Path) -> None:
    """Guarda un modelo ajustado; de uno con LoRA, solo el adaptador y las filas de los marcadores.

    Con `load_for_chat` los tokens nuevos nacen siempre iguales, así que no hace falta llevarse
    la tabla entera de *embeddings*.
    """
    options = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(folder, **options)
