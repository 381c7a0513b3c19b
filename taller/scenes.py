"""La receta de CharlaDiaria: escenas escritas a mano que se despliegan en diálogos.

Las escenas están en `data/charladiaria/escenas/*.toml`; el formato se explica al principio de
`comunes.toml`. La misma semilla da siempre los mismos ficheros, byte a byte.
"""

import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from course_lib import data_path, replace_file
from course_lib import dialogues as stats

PARTS = ("pretrain", "train", "validation", "test")
SEED = 2024
# En qué orden salen los de ajustar: el primero (0, 1, 2…) en que también los 100 primeros, que son
# los de la demostración, se parecen a DailyDialog en turnos, preguntas, síes y noes.
ORDER = 0
ACTS = {"informa": 1, "orden": 3, "compromiso": 4}
QUESTION_ACT = 2
EMOTIONS = {"enfado": 1, "asco": 2, "miedo": 3, "alegría": 4, "tristeza": 5, "sorpresa": 6}

# De cada escena se tiran varios diálogos por hueco y se guarda el que más dice de nuevo:
# así las plantillas se repiten menos sin escribir más.
CANDIDATES = 8
MAX_ROUNDS = 200

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)(?:\.(\d))?\}")
_EXPRESSION = re.compile(r"<(\w+)>")
_TAGS = re.compile(r"\[([^\]]+)\]\s*(.*)")
_SENTENCE_START = re.compile(r"((?:^|[.!?…]\s+)[¿¡«]*)(\w)")


@dataclass(frozen=True)
class Wording:
    """Una manera de decir una intervención; `opens` y `follows` son las letras que enlazan."""

    template: str
    act: int
    emotion: int
    opens: str = ""
    follows: str = ""


@dataclass(frozen=True)
class Scene:
    """Una escena: pasos que se siguen; cada uno, alternativas; cada una, intervenciones.

    Una intervención es la lista de las maneras de decirla.
    """

    name: str
    part: str
    count: int
    slots: dict[str, list[list[str]]]
    steps: list[list[list[list[Wording]]]]


def load_scenes(directory: Path | None = None) -> list[Scene]:
    """Lee todas las escenas de una carpeta.

    Args:
        directory: carpeta con `comunes.toml` y los demás `.toml`; por defecto, la del curso.

    Raises:
        FileNotFoundError: si falta `comunes.toml`.
        ValueError: si una escena está mal escrita; el mensaje dice cuál y por qué.
    """
    directory = Path(directory or data_path("charladiaria", "escenas"))
    common_file = directory / "comunes.toml"
    if not common_file.is_file():
        raise FileNotFoundError(f"Falta {common_file}, con los huecos que comparten las escenas.")
    common = _read_toml(common_file)
    scenes = []
    for path in sorted(directory.glob("*.toml")):
        for raw in _read_toml(path).get("escena", []):
            where = f"{path.name}, escena «{raw.get('id', '?')}»"
            scenes.append(_build_scene(raw, common, where))
    repeated = [name for name, times in Counter(s.name for s in scenes).items() if times > 1]
    if repeated:
        raise ValueError(f"Hay escenas con el mismo id: {repeated}. Cambia uno de ellos.")
    return scenes


def generate_dialogues(
    seed: int = SEED, directory: Path | None = None
) -> dict[str, list[dict[str, list]]]:
    """Despliega las escenas en diálogos con el esquema de DailyDialog.

    Args:
        seed: semilla; cada escena tiene su propio azar, de modo que tocar una no cambia las otras.
        directory: carpeta de las escenas; por defecto, la del curso.

    Returns:
        Por cada parte (`pretrain`, `train`, `validation`, `test`), sus diálogos ya barajados:
        `{"dialog": [...], "act": [...], "emotion": [...]}`.

    Raises:
        ValueError: si una escena no da para los diálogos que promete.
    """
    parts = {part: [] for part in PARTS}
    for scene in load_scenes(directory):
        parts[scene.part] += _unfold(scene, random.Random(f"{seed}/{scene.name}"))
    for part, dialogues in parts.items():
        order = f"/{ORDER}" if part == "train" else ""
        random.Random(f"{seed}/{part}{order}").shuffle(dialogues)
    return parts


def write_charladiaria(directory: Path, seed: int = SEED) -> dict[str, int]:
    """Escribe las tres partes en una carpeta (la crea si falta) y dice cuántos hay en cada una."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    parts = generate_dialogues(seed)
    for part, dialogues in parts.items():
        lines = (json.dumps(dialogue, ensure_ascii=False) + "\n" for dialogue in dialogues)
        replace_file(directory / f"{part}.jsonl", "".join(lines))
    return {part: len(dialogues) for part, dialogues in parts.items()}


def prose(turns: Sequence[str]) -> str:
    """Un diálogo como en un libro, con rayas y sin marcadores: así los lee el preentrenamiento.

    >>> print(prose(["Hola.", "¡Hola!"]))
    —Hola.
    —¡Hola!
    """
    return "\n".join(f"—{turn}" for turn in turns)


def talk_texts(seed: int | str = SEED) -> Iterator[str]:
    """Genera sin fin charlas en prosa de las escenas de preentrenar; se salta las que traigan un
    turno de las charlas de ajustar, validar o probar, aunque sus escenas sean otras."""
    scenes, held, rng = *_pretraining_talk(), random.Random(seed)
    while True:
        turns = _draw(rng.choice(scenes), rng)["dialog"]
        if held.isdisjoint(turns):
            yield prose(turns)


@cache
def scene_names(part: str = "test") -> list[str]:
    """La escena de la que sale cada diálogo de una parte, en su orden: los de una misma escena se
    parecen tanto que, al medir, cuentan como uno."""
    made = [s for s in load_scenes() if s.part == part]
    unfolded = {s.name: _unfold(s, random.Random(f"{SEED}/{s.name}")) for s in made}
    name_of = {tuple(d["dialog"]): name for name, ds in unfolded.items() for d in ds}
    return [name_of[dialogue.turns] for dialogue in stats.shipped_dialogues(part)]


@cache
def _pretraining_talk() -> tuple[list[Scene], set[str]]:
    scenes = [scene for scene in load_scenes() if scene.part == "pretrain"]
    others = [stats.shipped_dialogues(part) for part in PARTS if part != "pretrain"]
    return scenes, {turn for dialogues in others for d in dialogues for turn in d.turns}


def _read_toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name} no es TOML válido: {error}") from error


def _build_scene(raw: dict, common: dict, where: str) -> Scene:
    if missing := {"id", "guion"} - raw.keys():
        raise ValueError(f"{where}: falta {sorted(missing)}.")
    part = raw.get("parte", "train")
    if part not in PARTS:
        raise ValueError(f"{where}: la parte «{part}» no existe; usa una de {PARTS}.")
    slots = {
        name: [[form.strip() for form in filling.split("/")] for filling in text.split(";")]
        for name, text in (common["huecos"] | raw.get("huecos", {})).items()
    }
    slots["tu"] = [[""]]  # depende de quién habla: se llena turno a turno
    steps = _parse_script(raw["guion"], common["expresiones"], where)
    turns = [turn for step in steps for option in step for turn in option]
    for wording in (wording for turn in turns for wording in turn):
        for name, form in _SLOT.findall(wording.template):
            if name not in slots:
                raise ValueError(f"{where}: el hueco {{{name}}} no está definido.")
            if any(len(forms) < int(form or 1) for forms in slots[name]):
                raise ValueError(f"{where}: a un relleno de {{{name}}} le falta la forma {form}.")
    return Scene(raw["id"], part, raw.get("cantidad", 30), slots, steps)


def _parse_script(text: str, expressions: dict[str, str], where: str) -> list:
    """Parte un guion en pasos (línea en blanco) y cada paso en alternativas (O BIEN, O NADA)."""
    steps = []
    for block in re.split(r"\n\s*\n", text.strip()):
        options = [[]]
        for line in block.splitlines():
            if line.strip() in ("O BIEN", "O NADA"):
                options.append([])
            else:
                options[-1].append(
                    [_parse_wording(text, expressions, where) for text in line.split(" | ")]
                )
        steps.append(options)
    return steps


def _parse_wording(line: str, expressions: dict[str, str], where: str) -> Wording:
    act, emotion, opens, follows = ACTS["informa"], 0, "", ""
    if match := _TAGS.match(line.strip()):
        tags, line = match.groups()
        for tag in (tag.strip() for tag in tags.split(",")):
            if tag in ACTS:
                act = ACTS[tag]
            elif tag in EMOTIONS:
                emotion = EMOTIONS[tag]
            elif re.fullmatch(r"[a-z]\?", tag):
                opens = tag[0]
            elif re.fullmatch(r"[a-z]", tag):
                follows = tag
            else:
                raise ValueError(f"{where}: no conozco la etiqueta «{tag}» de «{line}».")
    for name in _EXPRESSION.findall(line):
        if name not in expressions:
            raise ValueError(f"{where}: la expresión <{name}> no está en comunes.toml.")
    line = _EXPRESSION.sub(lambda m: "(" + expressions[m[1]].replace("; ", "|") + ")", line)
    if line.count("(") != line.count(")"):
        raise ValueError(f"{where}: hay un paréntesis sin pareja en «{line}».")
    return Wording(line, act, emotion, opens, follows)


def _unfold(scene: Scene, rng: random.Random) -> list[dict[str, list]]:
    """Da los diálogos de una escena, todos distintos y con respuestas variadas."""
    chosen, seen_dialogues, seen_replies = [], set(), set()
    for _ in range(MAX_ROUNDS):
        if len(chosen) == scene.count:
            return chosen
        candidates = [_draw(scene, rng) for _ in range(CANDIDATES)]

        def novelty(dialogue: dict[str, list]) -> float:
            replies = dialogue["dialog"][1:]
            return sum(reply not in seen_replies for reply in replies) / len(replies)

        best = max(candidates, key=novelty)
        if tuple(best["dialog"]) not in seen_dialogues:
            chosen.append(best)
            seen_dialogues.add(tuple(best["dialog"]))
            seen_replies.update(best["dialog"][1:])
    raise ValueError(f"La escena «{scene.name}» no da para {scene.count} diálogos distintos.")


def _draw(scene: Scene, rng: random.Random) -> dict[str, list]:
    """Tira los dados una vez: rellenos, alternativas y maneras de decir."""
    values = {name: rng.choice(fillings) for name, fillings in scene.slots.items()}
    dialogue = {"dialog": [], "act": [], "emotion": []}
    opened, last = "", ""
    for turn in (turn for step in scene.steps for turn in rng.choice(step)):
        # {tu} es el nombre de quien escucha: quien abre el diálogo se llama {nombre}.
        values["tu"] = values[("nombre2", "nombre")[len(dialogue["dialog"]) % 2]]
        wording = rng.choice(_fitting(turn, opened, last, scene.name))
        opened, last = wording.opens, _say(wording.template, values, rng)
        dialogue["dialog"].append(last)
        dialogue["act"].append(QUESTION_ACT if stats.is_question(last) else wording.act)
        dialogue["emotion"].append(wording.emotion)
    return dialogue


def _fitting(turn: list[Wording], opened: str, last: str, scene: str) -> list[Wording]:
    """Maneras de decir que casan con lo anterior: a un «¿cuándo?» no se contesta «sí»."""
    options = [wording for wording in turn if wording.follows in ("", opened)]
    if stats.is_question(last) and not stats.is_yes_no_question(last):
        starts = {w: w.template.lstrip("(¡") for w in options}
        closed = (stats.begins_with_yes, stats.begins_with_no)
        options = [w for w, start in starts.items() if not any(is_it(start) for is_it in closed)]
    if not options:
        raise ValueError(f"Escena «{scene}»: nada de lo que sigue contesta a «{last}».")
    return options


def _say(template: str, values: dict[str, list[str]], rng: random.Random) -> str:
    """Resuelve «(una|otra)» de dentro afuera, llena los huecos y pone las mayúsculas."""
    while match := _CHOICE.search(template):
        option = rng.choice(match[1].split("|"))
        template = template[: match.start()] + option + template[match.end() :]
    text = _SLOT.sub(lambda m: values[m[1]][int(m[2] or 1) - 1], template)
    text = re.sub(r"\s+([,.!?…])", r"\1", re.sub(r"\s+", " ", text)).strip()
    text = re.sub(r"\b([ad])(e?) el\b", r"\1\2l", text)
    return _SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text)
