"""Quién más encuentra estos fallos: los casos del banco, pasados por los vecinos.

    python -m tests.banco.vecinos [--controles] [comprobación ...]

Los vecinos son los avisos de transformers (entrenando un paso o generando), los de TRL (al
construir un `SFTTrainer` con los mismos datos) y `data doctor` de Soup (sobre las charlas, pasadas
a JSONL), que se salta si `soup_cli` no está instalado. Un aviso cuenta si habla de lo plantado: lo
dice la expresión de `ABOUT`; de Soup cuenta un veredicto `MINOR` o `MAJOR` de la comprobación que
le corresponde. Un error con que la biblioteca se para también cuenta. No es parte de las pruebas.
"""

import argparse
import contextlib
import datetime
import importlib.util
import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from unittest import mock

from tests.banco import filas, modelos
from tests.banco.caso import CHECKS, Case, Unavailable, scratch
from tests.banco.medir import Outcome, all_cases, measure
from tests.banco.textos import messages

# De qué tiene que hablar un aviso para que cuente como que vio el fallo.
ABOUT = {
    "fin-tapado": r"end-of-turn|learn to stop|\beos\b",
    "relleno-contado": r"padding.*loss|loss.*padding|pad tokens? .*label",
    "sin-fin": r"end-of-turn|learn to stop|without .*eos|missing .*eos",
    "usuario-supervisado": r"assistant.only|user .*(loss|train)|full sequence",
    "plantilla-distinta": r"not a prefix|differs? from .*(inference|training)",
    "marcadores-rotos": r"marker|special tokens? .*(split|not)|not a single token",
    "ids-fuera": r"out of range|out of bounds|larger than the .*(vocab|embedding)|IndexError",
    "nuevos-congelados": r"new(ly)? (added )?tokens|embedding|lm_head",
    "doble-bos": r"(two|double|duplicated?|extra|already).*\bbos\b|\bbos\b.*(twice|already)",
    "relleno-derecha": r"right.padding",
    "sin-mascara": r"attention[_ ]mask",
    "respuesta-cortada": r"truncat|longer than|exceed|cut off",
    "fuga": r"leak|overlap|same example",
    "duplicados": r"duplicate",
    "sin-evaluacion": r"(eval|evaluation).*(no\b|dataset|not)|eval_strategy",
    "sobreajuste": r"overfit",
    "tasa-alta": r"diverg|learning rate|\bnan\b",
    "tasa-lora-baja": r"learning rate",
    "lora-sin-efecto": r"no trainable|not require grad|requires_grad|empty parameter|inference",
    "lora-sin-gradiente": r"require.?s?_?grad|gradients will be none|no gradient",
    "fp16-entrenable": r"unscale|fp16|half",
    "precision-imposible": r"fp16|mixed precision|half",
    "acumulacion": r"accumulat|num_items",
    "max-length-generacion": r"max_length|max_new_tokens",
    "espacio-final": r"not a prefix|whitespace|trailing space",
    "nada-supervisado": r"all labels|fully masked|-100|no .*supervised|ignored in loss",
    "empaquetado": r"pack(ed|ing)|flatten|flash|padding.free|cross.contamination",
    "olvido": r"forget",
    "respuestas-sosas": r"divers|repetit",
}
# Avisos de oficio, que salen con los datos buenos y los malos y no hablan de ninguno.
ROUTINE = re.compile(
    r"new PAD/BOS/EOS tokens|loss_type=None|new (embeddings|lm_head weights) will be initialized"
    r"|was set in the config|use_cache=True|will be removed in|deprecated|pin_memory"
    r"|resize_token_embeddings|tokenizer you are loading",
    re.IGNORECASE,
)
# Las comprobaciones de Soup 0.77 que tratan de lo mismo que una nuestra.
SOUP = {
    "fin-tapado": ("eos_in_labels",),
    "sin-fin": ("eos_in_labels",),
    "doble-bos": ("bos_duplication",),
    "respuesta-cortada": ("truncation_risk",),
}


@dataclass(frozen=True)
class Heard:
    """Lo que dijo un vecino de un caso; `None` es que no se le pudo pasar."""

    said: list[str] | None = None
    soup: dict[str, str] = field(default_factory=dict)

    def sees(self, check: str) -> bool:
        """Si algo de lo dicho habla de esa comprobación."""
        if any(self.soup.get(name) in ("MINOR", "MAJOR") for name in SOUP.get(check, ())):
            return True
        about = re.compile(ABOUT[check], re.IGNORECASE | re.DOTALL)
        return any(about.search(text) and not ROUTINE.search(text) for text in self.said or ())

    def warns(self, check: str) -> bool:
        """Lo mismo, sin contar los errores: en un control los causa el arnés, no los datos."""
        kept = [text for text in self.said or () if not re.match(r"\w+Error:", text)]
        return Heard(kept, self.soup).sees(check)


@contextlib.contextmanager
def listening(*names: str) -> Iterator[list[str]]:
    """Recoge lo que las bibliotecas avisan, por `logging` o por `warnings`."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record):
            if record.levelno >= logging.WARNING:
                heard.append(record.getMessage())

    _forget_said()
    ear, loggers = Ear(), [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(ear)
        logger.setLevel(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            yield heard
    finally:
        heard += [str(w.message) for w in caught]
        for logger, level in zip(loggers, before):
            logger.removeHandler(ear)
            logger.setLevel(level)


def _forget_said() -> None:
    """Lo que se avisa una sola vez por proceso tiene que poder oírse en cada caso."""
    from accelerate.logging import MultiProcessAdapter
    from transformers.utils import logging as transformers_logging

    for said in (transformers_logging.warning_once, MultiProcessAdapter.warning_once):
        getattr(said, "cache_clear", lambda: None)()


def attempt(heard: list[str], action: Callable[[], object]) -> None:
    """Hace algo; si la biblioteca se para con un error, el error es lo que dijo."""
    try:
        action()
    except Exception as error:  # parar también es avisar
        heard.append(f"{type(error).__name__}: {error}")


# --- Los vecinos ---------------------------------------------------------------------------------


def transformers_says(inputs: dict) -> Heard:
    """Genera, o entrena un paso, con lo que trae el caso."""
    with listening("transformers", "peft", "accelerate") as heard:
        if "generation" in inputs:
            attempt(heard, lambda: _generate(inputs))
        elif "trainer" in inputs or "train_dataset" in inputs or "args" in inputs:
            attempt(heard, lambda: _one_step(inputs))
        else:
            return Heard()
    return Heard(heard)


def _generate(inputs: dict) -> None:
    import torch

    call = dict(inputs["generation"])
    for key in ("input_ids", "inputs", "attention_mask"):
        if key in call:
            call[key] = torch.as_tensor(call[key])
    tokenizer = inputs.get("tokenizer")
    size = len(tokenizer) if tokenizer is not None else 600
    model = modelos.gpt2(size, 1, n_positions=1024).eval()
    if tokenizer is not None:  # como al cargarlo con su modelo
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generate(**call)


def _one_step(inputs: dict) -> None:
    from transformers import Trainer

    trainer = inputs.get("trainer")
    if trainer is None:
        tokenizer = inputs.get("tokenizer")
        size = len(tokenizer) if tokenizer is not None else 603
        model = inputs.get("model") or modelos.gpt2(size, 1, n_positions=1024)
        rows = inputs.get("train_dataset") or [filas.row([5, 6, 7, 8])] * 8
        collator = inputs.get("data_collator")
        if collator is None:  # uno correcto: sin él, Trainer no sabe juntar filas desiguales
            if tokenizer is not None and tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
            pad_id = tokenizer.pad_token_id if tokenizer is not None else 0
            collator = filas.by_length(pad_id)
            if "labels" not in rows[0]:
                collator = filas.language_modeling(tokenizer)
        trainer = Trainer(
            model,
            inputs.get("args") or modelos.arguments(),
            train_dataset=rows if hasattr(rows, "column_names") else filas.dataset(rows),
            eval_dataset=inputs.get("eval_dataset") or [filas.row([5, 6, 7])],
            data_collator=collator,
            processing_class=tokenizer,
        )
    trainer.args.max_steps = 1
    trainer.train()


def trl_says(inputs: dict, dialogues: list, built: list[str]) -> Heard:
    """Construye un `SFTTrainer` con las filas y, si hay plantilla, con las charlas.

    Args:
        dialogues: las charlas con que se hicieron las filas.
        built: lo que TRL ya dijo al preparar el caso.
    """
    tokenizer, rows = inputs.get("tokenizer"), inputs.get("train_dataset")
    if tokenizer is None or (rows is None and not dialogues):
        return Heard(built) if "trainer" in inputs else Heard()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    size = len(tokenizer)

    def sft(data, **settings):
        from trl import SFTTrainer

        SFTTrainer(
            inputs.get("model") or modelos.gpt2(size, 1),
            modelos.sft_arguments(eval_strategy="no", max_length=256, **settings),
            train_dataset=data,
            processing_class=tokenizer,
            data_collator=inputs.get("data_collator") if "input_ids" in data.column_names else None,
        )

    with listening("trl", "accelerate") as heard:
        if rows is not None:
            keep = ("input_ids", "labels")
            cut = [{k: r[k] for k in keep if k in r} for r in list(rows)[:200]]
            attempt(heard, lambda: sft(filas.dataset(cut)))
        if dialogues and tokenizer.chat_template:
            said = [messages(d) for d in dialogues[:200]]
            whole = filas.dataset([{"messages": m} for m in said])
            attempt(heard, lambda: sft(whole, assistant_only_loss=True))
            split = [{"prompt": m[:1], "completion": m[1:2]} for m in said]
            attempt(heard, lambda: sft(filas.dataset(split)))
    return Heard(built + heard)


def soup_says(inputs: dict, dialogues: list, cap: int = 2048) -> Heard:
    """`soup data doctor` sobre las charlas en JSONL, si hay charlas, tokenizador y `soup_cli`.

    Args:
        cap: el tope de tokens, si el caso no lo dice en sus argumentos.
    """
    tokenizer = inputs.get("tokenizer")
    if tokenizer is None or not dialogues or not importlib.util.find_spec("soup_cli"):
        return Heard()
    from soup_cli.data.formats import detect_format
    from soup_cli.data.loader import load_raw_data
    from soup_cli.utils.data_doctor import run_doctor

    path = scratch() / "soup.jsonl"
    lines = [json.dumps({"messages": messages(d)}, ensure_ascii=False) for d in dialogues]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    args = inputs.get("args")
    cap = getattr(args, "max_length", None) or cap
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            data = load_raw_data(path)
            report = run_doctor(data, tokenizer, fmt=detect_format(data), max_length=cap)
    except Exception as error:  # una caída suya no es un hallazgo: se anota como no medido
        return Heard([f"{type(error).__name__}: {error}"])
    return Heard([], {c.name: c.verdict for c in report.checks})


# --- La tabla ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """Un caso visto por todos."""

    case: Case
    ours: Outcome
    heard: dict[str, Heard]


def compare(case: Case) -> Compared | None:
    """Prepara el caso una vez por vecino y escucha; `None` si le falta la muestra real."""
    recorded: list = []
    plain, chat = filas.plain_rows, filas.chat_rows

    def spy(original):
        def recording(tokenizer, dialogues, *rest, **more):
            if len(dialogues) >= len(recorded):  # las de evaluación son menos: no cuentan
                recorded[:] = list(dialogues)
            return original(tokenizer, dialogues, *rest, **more)

        return recording

    def build() -> tuple[dict, list[str]]:
        with (
            mock.patch.object(filas, "chat_rows", spy(chat)),
            mock.patch.object(filas, "plain_rows", spy(plain)),
            mock.patch.object(modelos, "quiet", lambda: None),
            listening("trl") as heard,
        ):
            return case.build(), heard

    try:
        inputs, said = build()
        heard = {"transformers": transformers_says(inputs)}
        inputs, said = build()
        if "trainer" in inputs:
            inputs = inputs | {"tokenizer": inputs["trainer"].processing_class}
            heard["trl"] = Heard(said)
        else:
            heard["trl"] = trl_says(inputs, recorded, said)
        cut = case.check == "respuesta-cortada" and "train_dataset" in inputs
        cap = max(len(r["input_ids"]) for r in inputs["train_dataset"]) if cut else 2048
        heard["soup"] = soup_says(inputs, recorded, cap)
    except Unavailable:
        return None
    return Compared(case, measure(case), heard)


def main(arguments: list[str] | None = None) -> int:
    """Compara e imprime la tabla."""
    parser = argparse.ArgumentParser(description="El banco, visto por los vecinos.")
    parser.add_argument("checks", nargs="*", metavar="comprobación", help="solo estas")
    parser.add_argument("--controles", action="store_true", help="también los controles limpios")
    parser.add_argument("--detalle", action="store_true", help="lo que dijo cada uno")
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    chosen = [
        case
        for case in all_cases()
        if (
            case.check in options.checks or not options.checks
            if case.planted
            else options.controles
        )
    ]
    compared = [c for c in map(compare, chosen) if c]
    _print(compared)
    if options.detalle:
        for c in compared:
            for who, heard in c.heard.items():
                words = [t for t in heard.said or () if not ROUTINE.search(t)]
                verdicts = {k: v for k, v in heard.soup.items() if v != "OK"}
                if words or verdicts:
                    print(f"- {c.case.check} · {c.case.name} · {who}: {verdicts or ''} {words}")
    return 0


def _print(compared: list[Compared]) -> None:
    row = "{:<24}{:>7}{:>11}{:>15}{:>9}{:>9}"
    print(row.format("comprobación", "casos", "auditoría", "transformers", "TRL", "Soup"))
    for check in CHECKS:
        own = [c for c in compared if c.case.check == check]
        if not own:
            continue
        cells = [f"{sum(check in c.ours.found for c in own)}/{len(own)}"]
        for who in ("transformers", "trl", "soup"):
            able = [c for c in own if c.heard[who].said is not None]
            cells.append(
                f"{sum(c.heard[who].sees(check) for c in able)}/{len(able)}" if able else "—"
            )
        print(row.format(check, len(own), *cells))
    if controls := [c for c in compared if not c.case.planted]:
        cells = [f"{sum(bool(c.ours.problem) for c in controls)}/{len(controls)}"]
        for who in ("transformers", "trl", "soup"):
            able = [c for c in controls if c.heard[who].said is not None]
            loud = sum(any(c.heard[who].warns(check) for check in CHECKS) for c in able)
            cells.append(f"{loud}/{len(able)}")
        print(row.format("controles que alarman", len(controls), *cells))
    packages = {"transformers": "transformers", "TRL": "trl", "PEFT": "peft", "Soup": "soup-cli"}
    known = []
    for name, package in packages.items():
        try:
            known.append(f"{name} {version(package)}")
        except PackageNotFoundError:
            known.append(f"{name}, sin instalar")
    print(
        "\n«n/m»: de los m casos que se le pueden pasar, habla de lo plantado en n; «—», en "
        f"ninguno se puede.\n{'; '.join(known)}; medido el {datetime.date.today():%d-%m-%Y}."
    )


if __name__ == "__main__":
    sys.exit(main())
