"""Hablar con un modelo: generar, una respuesta, una conversación, el bucle y el widget.

El bucle y el widget aceptan cualquier función de texto a texto: sirven igual para tu modelo.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from html import escape
from threading import Lock

from course_lib.encoding import original_prompt

GOODBYES = ("salir", "exit", "quit")

Prompt = Callable[..., list[int]]  # (tokenizer, messages) → ids, como `original_prompt`


def generate(
    model,
    tokenizer,
    prompts: Sequence[list[int]],
    max_new_tokens: int = 24,
    batch_size: int = 64,
    stop: str | None = None,
    allowed: Callable[[list[int]], list[int]] | None = None,
) -> list[str]:
    """Continúa muchas peticiones por lotes y sin azar: siempre el token más probable.

    El relleno va a la izquierda, para que en todo el lote la petición acabe donde empieza la
    respuesta, y la máscara de atención dice dónde está.

    Args:
        prompts: los ids de cada petición; los textos nuevos se devuelven en el mismo orden.
        max_new_tokens: tokens nuevos como mucho, sin contar la petición.
        stop: texto de un solo token que también acaba la respuesta, además del de fin.
        allowed: de los tokens ya escritos, cuáles pueden seguir (como `beyond.only`); si no, todos.

    Raises:
        ValueError: si alguna petición no cabe en el modelo con su respuesta, o si `stop` no es un
            solo token.
    """
    import torch

    room = _room(model, max_new_tokens)
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
        batch = left_padded([prompts[i] for i in chosen], pad, model.device)
        width = batch["input_ids"].shape[1]
        limits = {}
        if allowed:
            limits["prefix_allowed_tokens_fn"] = lambda _, ids, start=width: allowed(
                ids[start:].tolist()
            )
        with torch.inference_mode():
            output = model.generate(
                **batch,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=ends,
                pad_token_id=pad,
                **limits,
            )
        for i, row in zip(chosen, output[:, width:], strict=True):
            texts[i] = tokenizer.decode(row, skip_special_tokens=True)
    return texts


def _room(model, max_new_tokens: int) -> int:
    """Los tokens que le caben a un modelo antes de contestar."""
    positions = model.config.max_position_embeddings
    if not 0 < max_new_tokens < positions:
        raise ValueError(
            f"max_new_tokens={max_new_tokens} ha de estar entre 1 y {positions - 1}: a este modelo "
            f"le caben {positions} tokens."
        )
    return positions - max_new_tokens


def left_padded(prompts: Sequence[list[int]], pad: int, device) -> dict:
    """Peticiones de distinta longitud en un lote, con el relleno a la izquierda y su máscara."""
    import torch

    gaps = [max(map(len, prompts)) - len(ids) for ids in prompts]
    pairs = list(zip(gaps, prompts, strict=True))
    return {
        "input_ids": torch.tensor([[pad] * gap + ids for gap, ids in pairs], device=device),
        "attention_mask": torch.tensor(
            [[0] * gap + [1] * len(ids) for gap, ids in pairs], device=device
        ),
    }


def first_turn(text: str) -> str:
    """Lo que el modelo dice antes de ponerse a escribir el turno del otro."""
    return re.split(r"<\|\w+\|>", text)[0].strip()


def reply(
    model, tokenizer, text: str, prompt: Prompt = original_prompt, max_new_tokens: int = 40
) -> str:
    """La respuesta del modelo a un texto suelto, sin azar: siempre el token más probable.

    `prompt` monta los ids: `original_prompt` o `chat_prompt`.
    """
    return Conversation(model, tokenizer, prompt, max_new_tokens=max_new_tokens).say(text)


class Conversation:
    """Una charla con memoria acotada: recuerda los últimos `max_turns` intercambios."""

    def __init__(
        self, model, tokenizer, prompt: Prompt = original_prompt, max_turns=3, max_new_tokens=40
    ):
        if max_turns < 0:
            raise ValueError(
                f"max_turns={max_turns} no puede ser negativo: usa 0 para no recordar."
            )
        self.model, self.tokenizer, self.prompt = model, tokenizer, prompt
        self.max_turns, self.max_new_tokens = max_turns, max_new_tokens
        self.history: list[dict[str, str]] = []

    def say(self, text: str) -> str:
        """Dice `text`, guarda el intercambio en `history` y devuelve la respuesta."""
        if not text.strip():
            raise ValueError("No has escrito nada: escribe una frase.")
        ask = {"role": "user", "content": text.strip()}
        past = self.history[-2 * self.max_turns :] if self.max_turns else []
        room = _room(self.model, self.max_new_tokens)
        while len(ids := self.prompt(self.tokenizer, [*past, ask])) > room and past:
            past = past[2:]  # lo más viejo se olvida antes que cortar la pregunta
        if len(ids) > room:
            raise ValueError(
                f"El texto ocupa {len(ids)} tokens y al modelo le caben {room} antes de contestar: "
                "acórtalo."
            )
        answer = first_turn(generate(self.model, self.tokenizer, [ids], self.max_new_tokens)[0])
        self.history += [ask, {"role": "assistant", "content": answer}]
        return answer


def chat_loop(
    respond: Callable[[str], str],
    read: Callable[[str], str] = input,
    write: Callable[[str], None] = print,
) -> None:
    """El bucle de charla: pide, contesta y se despide con `salir`, `exit`, `quit`, Ctrl+C o fin.

    Si `respond`, cualquier función de texto a texto, falla, se dice por qué y se sigue.
    """
    while True:
        try:
            text = read("Tú: ").strip()
            if text.lower() in GOODBYES:
                break
            if text:
                who, said = _answer(respond, text)
                write(_line(who, said) if who else f"({said})")
        except (EOFError, KeyboardInterrupt):
            break
    write("Hasta luego.")


def _answer(respond: Callable[[str], str], text: str) -> tuple[str, str]:
    """Quién contesta y qué: si falla, nadie y por qué."""
    try:
        said = respond(text)
    except ValueError as error:
        return "", str(error)
    except Exception as error:  # sin esto, en JupyterLab se perdería sin decir nada
        return "", f"No ha podido contestar. {type(error).__name__}: {error}"
    if isinstance(said, str):
        return "Bot", said
    return "", f"No ha podido contestar: devuelve {type(said).__name__}, y ha de ser un texto."


def chat_widget(respond: Callable[[str], str], greeting: str = "Escribe y pulsa Intro o Enviar."):
    """Un chat dentro del cuaderno, hecho con ipywidgets (7 u 8); `widget.ask(texto)` habla por él.

    Donde no hay quien lo dibuje (una página, una terminal) se ve en su lugar una frase que lo dice.

    Args:
        respond: cualquier función de texto a texto; si falla, el chat dice por qué y sigue.
        greeting: lo que se lee antes de empezar.
    """
    import warnings

    import ipywidgets as widgets
    from IPython.display import display

    turns = [bubble("", greeting)]
    screen = widgets.HTML()
    # Una columna al revés se queda siempre mirando el final.
    shape = {"display": "flex", "flex_flow": "column-reverse", "max_height": "24em"}
    log = widgets.Box([screen], layout=widgets.Layout(overflow="auto", **shape))
    box = widgets.Text(placeholder="Tú: ", continuous_update=False)
    button, free = widgets.Button(description="Enviar"), Lock()

    def show(*more: str) -> None:
        style = "display:flex;flex-direction:column;gap:.4em;line-height:1.4"
        screen.value = f'<div role="log" style="{style}">{"".join([*turns, *more])}</div>'

    def wait(waiting: bool) -> None:
        box.disabled = button.disabled = waiting
        button.description = "Espera…" if waiting else "Enviar"

    def ask(text: str) -> None:
        if not text.strip() or not free.acquire(blocking=False):
            return
        who, said = "", "Interrumpido: no ha llegado a contestar."
        try:
            turns.append(bubble("Tú", text))
            box.value = "" if box.value == text else box.value
            wait(True)
            show(bubble("Bot", "…"))  # lo escrito se ve ya, mientras el modelo piensa
            who, said = _answer(respond, text)
        finally:
            turns.append(bubble(who, said))
            wait(False)
            show()
            free.release()

    def send(*_) -> None:
        ask(box.value)
        if hasattr(box, "focus"):  # ipywidgets 8
            box.focus()

    button.on_click(send)
    with warnings.catch_warnings():  # la otra manera de saber del Intro envía también al salir
        warnings.simplefilter("ignore", DeprecationWarning)
        box.on_submit(lambda _: _soon(send))
    show()
    chat = widgets.VBox([log, widgets.HBox([box, button])])
    chat.ask = ask
    instead = (
        "El chat aparece al ejecutar esta celda en JupyterLab o en Colab; si no, usa chat_loop."
    )
    data = widget_data(chat, instead)
    if hasattr(chat, "_repr_mimebundle_"):  # ipywidgets 8
        chat._repr_mimebundle_ = lambda **_: data
    else:  # ipywidgets 7
        chat._ipython_display_ = lambda **_: display(data, raw=True)
    return chat


def bubble(who: str, text: str) -> str:
    """Un turno de la charla en HTML: lo tuyo a la derecha, lo suyo a la izquierda y, sin nadie que
    lo diga, un aviso. Los colores son transparentes: valen sobre claro y sobre oscuro."""
    side, color = {"Tú": ("flex-end", "60,130,220"), "Bot": ("flex-start", "128,128,128")}.get(
        who, ("center", "")
    )
    shape = f"background:rgba({color},.22);padding:.4em .8em" if who else "font-style:italic"
    style = f"align-self:{side};max-width:80%;border-radius:1em;{shape}"
    said = f"<b>{who}:</b> {escape(text)}" if who else escape(text)
    return f'<div style="{style};overflow-wrap:anywhere;white-space:pre-wrap">{said}</div>'


def _soon(function: Callable[[], None]) -> None:
    """La llama enseguida, cuando haya llegado el texto: el aviso del navegador llega antes."""
    try:
        asyncio.get_running_loop().call_later(0.1, function)
    except RuntimeError:  # sin un núcleo detrás
        function()


def widget_data(widget, text: str) -> dict:
    """Lo que Jupyter guarda de un widget, con el texto que se lee donde nadie lo dibuja."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"text/plain": text, "application/vnd.jupyter.widget-view+json": view}


def transcript(history: Sequence[dict[str, str]]) -> str:
    """La charla en texto: cada línea abre un turno, salvo las sangradas, que siguen el suyo."""
    names = {"user": "Tú", "assistant": "Bot"}
    return "\n".join(_line(names.get(m["role"], m["role"]), m["content"]) for m in history)


def _line(who: str, text: str) -> str:
    return f"{who}: " + "\n    ".join(text.splitlines())
