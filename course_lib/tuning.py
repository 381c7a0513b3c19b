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

from course_lib import world
from course_lib.dialogues import to_pairs
from course_lib.encoding import (
    MARKERS,
    Encoded,
    encode_conversation,
    encode_text,
    pair_messages,
    prepare_for_chat,
)
from course_lib.reading import pretraining_documents
from course_lib.tracks import Track
from course_lib.world import ATTRIBUTES, Country

SEED, BATCH, LORA_RANK = 7, 16, 32
TALK_PAIRS, REPLAY_TEXTS = 300, 3200

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


def task_conversations(
    countries: Sequence[Country], yes_no: int = 8, seed: int = 0
) -> list[Messages]:
    """Preguntas de chat sobre esos países, en orden de países y atributos.

    Args:
        yes_no: cuántas preguntas de sí o no por hecho, además de las tres redacciones en que se
            pregunta el hecho mismo; la mitad son verdaderas.
    """
    rng, questions = random.Random(seed), []
    for country, attribute in itertools.product(countries, ATTRIBUTES):
        questions += [world.fact_question(country, attribute, form) for form in range(3)]
        truths = [i % 2 == 0 for i in range(yes_no)]
        questions += [world.yes_no_question(country, attribute, t, rng, form=None) for t in truths]
    sentences = [f"{q.answer[0].upper()}{q.answer[1:]}." for q in questions]
    return [pair_messages(q.text, said) for q, said in zip(questions, sentences, strict=True)]


def replay_texts(n: int, seed: int = 0, language: str = "es") -> list[str]:
    """`n` textos como los del preentrenamiento, para repasar."""
    return list(itertools.islice(pretraining_documents(f"repaso {seed}", language), n))


def reading_texts(n: int, seed: int = 0, language: str = "es") -> list[str]:
    """`n` textos de lectura como los del preentrenamiento: un contexto y sus preguntas."""
    texts, label = pretraining_documents(f"lectura {seed}", language), world.WORDS[language].context
    return list(itertools.islice((t for t in texts if t.startswith(f"{label}:")), n))


def chat_examples(
    track: Track,
    tokenizer,
    talk: int = TALK_PAIRS,
    replay: int = REPLAY_TEXTS,
    seed: int = SEED,
) -> tuple[list[Encoded], list[Encoded]]:
    """Los ejemplos de ajustar y los apartados, ya codificados; los primeros, barajados.

    Las conversaciones van dos veces y el repaso, que no se acaba, solo una. Tres octavos de él
    son lecturas, además de las que le tocan: es lo que antes se olvida. Los apartados son preguntas
    sobre cinco países que ni se ajustan ni puntúan: la pérdida de las charlas, que sube y baja a
    saltos, taparía la suya. En una ruta recortada, de cada cosa no pasa de su límite.

    Args:
        tokenizer: preparado con `prepare_for_chat`.
        talk, replay: parejas de charla corriente y textos de repaso; con 0, sin ellos.
    """

    rng, replay = random.Random(seed), track.cut(replay)

    def tasks(countries) -> list[Messages]:
        asked = task_conversations(countries, seed=seed)
        return random.Random(seed).sample(asked, track.cut(len(asked))) if track.limit else asked

    countries, _ = split_countries(language=track.language)
    pairs = to_pairs(track.load_dialogues("train"))[: track.cut(talk)]
    conversations = [pair_messages(pair.user, pair.reply) for pair in pairs]
    conversations += tasks(countries[:-5])
    reading = 3 * replay // 8
    texts = replay_texts(replay - reading, seed, track.language)
    texts += reading_texts(reading, seed, track.language)
    train = [encode_conversation(tokenizer, messages) for messages in 2 * conversations]
    train += [encode_text(tokenizer, text) for text in texts]
    rng.shuffle(train)
    return train, [encode_conversation(tokenizer, messages) for messages in tasks(countries[-5:])]


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


def load_for_chat(track: Track):
    """El modelo y el tokenizador de la ruta, con los marcadores de chat como tokens propios."""
    model, tokenizer = track.load_model(), track.load_tokenizer()
    return model, prepare_for_chat(tokenizer, model)


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

    Un aviso: peft 0.21 consulta un nombre que transformers 5.23 está retirando. Y un error: al
    poner adaptadores busca torchao, aunque nadie lo use, y con uno anterior al 0.16, como el 0.10
    que trae Colab, se niega a seguir; con None en su sitio, para Python no está instalado.
    """
    absent = object()
    torchao = sys.modules.get("torchao", absent)
    sys.modules["torchao"] = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
            yield
    finally:
        if torchao is absent:
            del sys.modules["torchao"]
        else:
            sys.modules["torchao"] = torchao


def save_tuned(model, folder: Path) -> None:
    """Guarda un modelo ajustado; de uno con LoRA, solo el adaptador y las filas de los marcadores.

    Con `prepare_for_chat` los tokens nuevos nacen siempre iguales, así que no hace falta llevarse
    la tabla entera de *embeddings*.
    """
    options = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(folder, **options)
