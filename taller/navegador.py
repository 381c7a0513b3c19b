"""Los tres modelos, el tokenizador y el consejero, como los lee la portada del sitio.

    python -m taller.navegador [--comprobar]

La portada deja jugar con el fallo sin instalar nada y sin red: los modelos corren en el navegador,
con el GPT-2 de `pagina/_static/gpt2.js`. Aquí se consiguen (los que guardaron las lecciones 04 y 07
o, si no los hay, ajustados con sus mismas recetas) y se escriben como guiones, que es lo único que
una página abierta con doble clic puede cargar. De los ajustados va solo lo que cambió; del
asistente, su adaptador.

Con `--comprobar`, además, se hace una página que pregunta quinientas cosas a los tres y cuenta
cuántas respuestas son las de Python; se abre en el navegador que se quiera.
"""

import base64
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib import data_path, decision, output_path, read_toml, tables, tuning
from course_lib.cli import new_parser, run_safely
from course_lib.encoding import Kind, chat_prompt, marks, original_prompt, pair_messages, plain
from course_lib.tracks import Track, get_track
from course_lib.world import Question, question_prompt

STATIC = Path(__file__).parent / "pagina" / "_static"
STAMP = "huella.txt"


# --- Cómo se le pregunta a cada uno --------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """Una manera de preguntar: cómo se monta la petición, y dónde acaba la respuesta.

    `most` son los tokens nuevos como mucho; `stop`, el texto que acaba la respuesta; `turn`, si se
    corta donde empieza el turno del otro.
    """

    encode: Callable[..., list[int]]
    most: int
    stop: str | None = None
    turn: bool = True


def _in_form(tokenizer, text: str) -> list[int]:
    return tokenizer.encode(question_prompt(Question("", plain(text, tokenizer), "")))


def _in_chat(prompt: Callable[..., list[int]]) -> Callable[..., list[int]]:
    return lambda tokenizer, text: prompt(tokenizer, pair_messages(text, "")[:1])


WAYS = {
    "base": Way(_in_form, 24, "\n", turn=False),  # como en la lección 01
    "fracaso": Way(_in_chat(original_prompt), 40),
    "bien": Way(_in_chat(chat_prompt), 40),
}


def answers(way: Way, model, tokenizer, texts: Sequence[str]) -> list[str]:
    """Lo que un modelo contesta a cada texto, o por qué no puede, con las palabras de `chat`."""
    from course_lib.chat import first_turn, generate

    said, asked = {}, {}
    room = model.config.max_position_embeddings - way.most
    for i, text in enumerate(texts):
        ids = way.encode(tokenizer, text.strip())
        if not text.strip():
            said[i] = "No has escrito nada: escribe una frase."
        elif len(ids) > room:
            said[i] = (
                f"El texto ocupa {len(ids)} tokens y al modelo le caben {room} antes de contestar: "
                "acórtalo."
            )
        else:
            asked[i] = ids
    written = generate(model, tokenizer, list(asked.values()), way.most, stop=way.stop)
    cut = first_turn if way.turn else str.strip
    said |= {i: cut(text) for i, text in zip(asked, written, strict=True)}
    return [said[i] for i in range(len(texts))]


# --- Los modelos ---------------------------------------------------------------------------------


def assistant_model(track: Track):
    """El asistente de la lección 07, con su adaptador sin fundir, y su tokenizador.

    Vale el que dejó la lección si salió de esta misma receta; si no, se ajusta.
    """
    from peft import PeftModel

    from course_lib.resume import ENDED, identify, read_json
    from course_lib.training import as_rows
    from taller.asistente import chat_arguments, tune_for_chat

    model, tokenizer = tuning.load_for_chat(track)
    train, held_out = tuning.chat_examples(track, tokenizer)
    args = chat_arguments(track, output_path("prueba"), len(train), lora=True)
    lora = tuning.with_lora(model, tokenizer)
    identity = identify(lora, args, as_rows(train), as_rows(held_out))
    ours = output_path("navegador", "asistente")
    lesson = output_path("bien", track.name, "adaptador")
    for points, folder in ((ours, ours), (lesson.with_name("puntos"), lesson)):
        ended = read_json(points / ENDED) == identity
        if ended and (folder / "adapter_model.safetensors").exists():
            break
    else:
        print("Ajusto el asistente de la lección 07: son unos minutos.")
        tune_for_chat(track, lora, tokenizer, folder := ours)
    model, tokenizer = tuning.load_for_chat(track)
    with tuning.quiet_peft():
        return PeftModel.from_pretrained(model, folder).eval(), tokenizer


def three_models(track: Track) -> dict[str, tuple]:
    """Los tres, con su tokenizador: el de partida, el de la lección 04 y el de la 07."""
    from course_lib.original import original_model

    model, tokenizer = track.load_model(), track.load_tokenizer()
    return {
        "base": (model, tokenizer),
        "fracaso": original_model(track)[:2],
        "bien": assistant_model(track),
    }


def tensors(model, base=None) -> dict:
    """Los pesos de un GPT-2, por su nombre y sin repetir la tabla de salida, que es la de entrada;
    de uno con LoRA, los de su adaptador y las filas que le crecieron a la tabla.

    Args:
        base: el modelo del que salió, si solo se quiere lo que cambió al ajustarlo. Es más pequeño
            que los pesos, así que en 16 bits pierde menos: con los pesos enteros, 6 de 500
            respuestas salían distintas que en Python; así, ninguna.
    """
    state = {name.removeprefix("base_model.model."): t for name, t in model.state_dict().items()}
    state = {name.removeprefix("transformer."): t for name, t in state.items()}
    if not hasattr(model, "peft_config"):
        before = tensors(base) if base else dict.fromkeys(state, 0)
        return {name: t - before[name] for name, t in state.items() if name != "lm_head.weight"}
    found = {
        name.removesuffix(".default.weight"): t for name, t in state.items() if ".lora_" in name
    }
    known = min(model.peft_config["default"].trainable_token_indices)
    with tuning.quiet_peft():
        table = model.merge_and_unload().get_input_embeddings().weight
    return found | {"wte.new": table[known:].detach()}


def packed(found: dict) -> str:
    """Unos tensores, uno detrás de otro, en 16 bits y en base64."""
    halves = (t.detach().cpu().numpy().astype("<f2").tobytes() for t in found.values())
    return base64.b64encode(b"".join(halves)).decode()


# --- Lo que se escribe ---------------------------------------------------------------------------


def described(name: str, model, tokenizer, found: dict, size: int) -> dict:
    """Lo que el navegador ha de saber de un modelo, además de sus pesos."""
    way, config = WAYS[name], model.config
    special = {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    before, after = tokenizer.decode(way.encode(tokenizer, "•")).split("•")
    lora = getattr(model, "peft_config", {}).get("default")
    stops = tokenizer.encode(way.stop) if way.stop else []
    return {
        "config": {
            "layers": config.n_layer,
            "heads": config.n_head,
            "width": config.n_embd,
            "positions": config.n_positions,
            "vocabulary": config.vocab_size,
            "epsilon": config.layer_norm_epsilon,
        },
        "shapes": [[name, list(t.shape)] for name, t in found.items()],
        "over": None if name == "base" else "base",
        "lora": lora and {"rank": lora.r, "scaling": lora.lora_alpha / lora.r},
        "special": special,
        "markers": marks(tokenizer),
        "before": before,
        "after": after,
        "ends": [tokenizer.eos_token_id, *special.values(), *stops],
        "end": tokenizer.eos_token_id,
        "padding": tokenizer.pad_token_id,
        "length": get_track("mini").max_length,
        "most": way.most,
        "turn": way.turn,
        "megas": round(size / 1e6, 1),
    }


def tokenizer_tables(tokenizer) -> dict:
    """El vocabulario, por orden, y las parejas que se funden."""
    bpe = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [" ".join(pair) for pair in bpe["merges"]]
    return {"vocab": sorted(bpe["vocab"], key=bpe["vocab"].get), "merges": merges}


def adviser_tables() -> dict:
    """Las reglas del consejero, las que recorre `decision`, y los rótulos de su formulario."""
    rungs, form = list(decision.Rung), decision.decision_form().controls
    fields = [(name, c) for name, c in form.items() if name not in ("lacks", "tried")]
    return {
        "lacks": {lack.name: lack.value for lack in decision.Lack},
        "rules": read_toml("decision", "reglas.toml"),
        "trains": [rung.name for rung in rungs if decision.trains(rung)],
        "free": [decision.Rung.ENCODER.name],  # de sus etiquetas se aparta con qué medir
        "texts": read_toml("decision", "consejos.toml"),
        "tried": {rung.name: box.description for rung, box in form["tried"].items()},
        "fields": [
            {"name": name, "label": control.description, "value": control.value}
            for name, control in fields
        ],
    }


def kinds_table() -> list[dict]:
    """De cada clase de token, su nombre y su color, como en las lecciones."""
    from course_lib.plots import NAMES, PASTELS

    return [{"name": NAMES[kind], "color": PASTELS[kind]} for kind in Kind]


def script(folder: Path, file: str, name: str, value) -> None:
    """Un guion que deja un valor en `window.CURSO`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = f"(window.CURSO ??= {{}}).{name} = {text};\n"
    (folder / file).write_text(text, encoding="utf-8")


def fingerprint() -> str:
    """La huella de lo que decide lo que se escribe: biblioteca, recetas y datos."""
    root = Path(decision.__file__).parent
    files = [*root.glob("*.py"), Path(__file__), Path(__file__).with_name("asistente.py")]
    for name in ("mini", "mundo", "charladiaria", "decision", "dialogos", "experimentos"):
        files += [path for path in data_path(name).rglob("*") if path.is_file()]
    parts = (hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def write(folder: Path | None = None) -> Path:
    """Escribe en una carpeta los guiones con datos y pesos; si ya estaban y nada cambió, los deja.

    Returns: la carpeta, que si no se dice es `salida/navegador/modelos`.
    """
    folder = folder or output_path("navegador", "modelos")
    made, stamp = folder / STAMP, fingerprint()
    if made.exists() and made.read_text(encoding="utf-8") == stamp:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_models(folder, three_models(get_track("mini")))
    made.write_text(stamp, encoding="utf-8")
    return folder


def write_models(folder: Path, models: dict[str, tuple]) -> None:
    """Escribe los guiones de unos modelos ya conseguidos, y los de lo demás."""
    told, base = {}, models["base"][0]
    for name, (model, tokenizer) in models.items():
        found = tensors(model, None if model is base else base)
        weights = packed(found)
        script(folder, f"{name}.js", f"pesos_{name}", weights)
        told[name] = described(name, model, tokenizer, found, len(weights))
    tokenizer = next(iter(models.values()))[1]
    data = {"tokenizer": tokenizer_tables(tokenizer), "models": told, "kinds": kinds_table()}
    right = tables.summarize(tables.stored("asistente"), "LoRA", "si_no_chat")
    data |= {"adviser": adviser_tables(), "yes_no": tables.percent(right.value)}
    script(folder, "datos.js", "datos", data)


def main() -> None:
    """Escribe los guiones y, si se pide, la página que los comprueba."""
    parser = new_parser("python -m taller.navegador", __doc__.split("\n")[0])
    parser.add_argument("--comprobar", action="store_true", help="hace también la página de prueba")
    compare = parser.parse_args().comprobar
    folder = write()
    sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(folder.glob("*.js"))}
    print("; ".join(f"{name}, {decision.amount(size)} MB" for name, size in sizes.items()))
    if compare:
        from taller.cotejo import write_comparison

        print(f"Abre {write_comparison(folder)} en un navegador y espera a que acabe.")


if __name__ == "__main__":
    sys.exit(run_safely(main))
