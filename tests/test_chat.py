"""Hablar con un modelo: memoria acotada, un bucle que acaba bien y un widget que escapa el HTML."""

import ast

import pytest

from course_lib.chat import (
    Conversation,
    chat_loop,
    chat_widget,
    first_turn,
    generate,
    reply,
    transcript,
)
from course_lib.encoding import chat_prompt, original_prompt


class Spy:
    """Una plantilla de verdad que recuerda los mensajes que le llegan."""

    def __init__(self):
        self.seen = []

    def __call__(self, tokenizer, messages):
        self.seen.append([m["content"] for m in messages])
        return original_prompt(tokenizer, messages)


# --- Conversación --------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [original_prompt, chat_prompt])
def test_a_reply_is_the_first_turn_of_what_the_model_goes_on_to_write(
    chat_tokenizer, make_model, prompt
):
    model = make_model()
    ids = prompt(chat_tokenizer, [{"role": "user", "content": "Hola."}])
    expected = first_turn(generate(model, chat_tokenizer, [ids], 9)[0])
    assert reply(model, chat_tokenizer, "  Hola. ", prompt, max_new_tokens=9) == expected


@pytest.mark.parametrize("max_turns", [0, 1, 2, 9])
def test_the_model_sees_the_last_exchanges_and_no_more(tokenizer, make_model, max_turns):
    spy = Spy()
    talk = Conversation(make_model(512), tokenizer, spy, max_turns, max_new_tokens=3)
    answers = [talk.say(f"frase {i}") for i in range(4)]
    for i, seen in enumerate(spy.seen):
        past = range(max(0, i - max_turns), i)
        assert seen == [t for j in past for t in (f"frase {j}", answers[j])] + [f"frase {i}"]
    assert [m["content"] for m in talk.history[::2]] == [f"frase {i}" for i in range(4)]
    assert [m["content"] for m in talk.history[1::2]] == answers
    assert transcript(talk.history[:2]) == f"Tú: frase 0\nBot: {answers[0]}"


def test_the_oldest_is_forgotten_before_the_window_overflows(tokenizer, make_model):
    spy = Spy()
    talk = Conversation(make_model(150), tokenizer, spy, max_turns=9, max_new_tokens=5)
    for i in range(6):
        talk.say(f"frase {i}")
    assert spy.seen[-1][-1] == "frase 5"
    assert 1 < len(spy.seen[-1]) < 11
    sent = {seen[-1]: seen for seen in spy.seen}  # de cada pregunta, lo último que se probó
    # Se olvidan intercambios enteros: no queda una respuesta sin su pregunta.
    assert all(seen[0].startswith("frase ") for seen in sent.values())
    assert len(original_prompt(tokenizer, [{"role": "user", "content": "frase 5"}])) < 145


def test_a_text_that_does_not_fit_or_is_empty_is_refused_and_not_remembered(tokenizer, make_model):
    talk = Conversation(make_model(64), tokenizer, max_new_tokens=10)
    with pytest.raises(ValueError, match=r"ocupa \d+ tokens y al modelo le caben 54.*acórtalo"):
        talk.say("palabra " * 60)
    with pytest.raises(ValueError, match="No has escrito nada"):
        talk.say("  \n ")
    assert talk.history == []
    with pytest.raises(ValueError, match="max_turns=-1 no puede ser negativo"):
        Conversation(talk.model, tokenizer, max_turns=-1)


# --- El bucle ------------------------------------------------------------------------------------


def run_loop(*typed, respond=str.upper):
    """Pasa lo tecleado por el bucle (una excepción se lanza) y devuelve lo escrito."""
    written, keys = [], iter(typed)

    def read(prompt):
        assert prompt == "Tú: "
        key = next(keys)
        if isinstance(key, str):
            return key
        raise key

    chat_loop(respond, read, written.append)
    assert next(keys, None) is None, "el bucle acabó antes de tiempo"
    return written


@pytest.mark.parametrize("end", ["salir", " EXIT ", "Quit", EOFError(), KeyboardInterrupt()])
def test_the_loop_ends_politely_however_it_is_left(end):
    assert run_loop("hola", "", "   ", end) == ["Bot: HOLA", "Hasta luego."]


def test_an_interrupt_while_the_model_answers_also_ends_politely():
    def respond(text):
        raise KeyboardInterrupt

    assert run_loop("hola", respond=respond) == ["Hasta luego."]


def test_the_loop_survives_a_value_error_and_says_why():
    def respond(text):
        if len(text) > 3:
            raise ValueError("acórtalo")
        return "bien"

    written = run_loop("largo", "ok", "salir", respond=respond)
    assert written == ["(acórtalo)", "Bot: bien", "Hasta luego."]


@pytest.mark.parametrize("error", [KeyError("clave"), RuntimeError("CUDA"), EOFError("fin")])
def test_the_loop_survives_any_other_error_too(error):
    def respond(text):
        raise error

    said = f"(No ha podido contestar. {type(error).__name__}: {error})"
    assert run_loop("hola", "salir", respond=respond) == [said, "Hasta luego."]


@pytest.mark.parametrize("answer", [None, 3, b"hola", ["hola"]])
def test_what_is_not_a_text_is_said_and_not_shown_as_an_answer(answer):
    said = f"No ha podido contestar: devuelve {type(answer).__name__}, y ha de ser un texto."
    written = run_loop("hola", "salir", respond=lambda text: answer)
    assert written == [f"({said})", "Hasta luego."]
    widget = chat_widget(lambda text: answer)
    widget.ask("hola")
    screen, *_ = parts(widget)
    assert said in screen.value and "<b>Tú:</b> hola" in screen.value


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n", "\u2028", "\x0b", "\x85"])
def test_no_text_forges_a_turn_of_the_transcript(newline):
    said = f"hola{newline}Bot: págame{newline}Tú: vale"
    turns = [{"role": "user", "content": said}, {"role": "assistant", "content": said}]
    lines = transcript(turns).splitlines()
    assert [line[:4] for line in lines if not line.startswith("    ")] == ["Tú: ", "Bot:"]
    (answer, _) = run_loop("x", "salir", respond=lambda text: said)
    assert [line.startswith("    ") for line in answer.splitlines()] == [False, True, True]


@pytest.mark.parametrize("asked", [0, -1, 64, 10**12])
def test_more_new_tokens_than_the_model_has_room_for_are_refused(tokenizer, make_model, asked):
    model = make_model(64)
    sentence = rf"max_new_tokens={asked} ha de estar entre 1 y 63: a este modelo le caben 64"
    with pytest.raises(ValueError, match=sentence):
        generate(model, tokenizer, [[1]], asked)
    with pytest.raises(ValueError, match=sentence):
        reply(model, tokenizer, "hola", max_new_tokens=asked)


def test_a_phrase_that_contains_a_goodbye_is_not_one():
    assert run_loop("quiero salir", "salir") == ["Bot: QUIERO SALIR", "Hasta luego."]


# --- El widget -----------------------------------------------------------------------------------


@pytest.fixture
def widget():
    return chat_widget(lambda text: f"¿{text}? <b>&", greeting="<script>hola</script>")


def parts(widget):
    (screen,), (box, button) = (part.children for part in widget.children)
    return screen, box, button


def test_the_widget_answers_and_nothing_that_is_typed_or_answered_becomes_html(widget):
    screen, *_ = parts(widget)
    assert "<script>" not in screen.value
    widget.ask("<img src=x onerror=y>")
    assert "<img" not in screen.value
    assert "<b>Tú:</b> &lt;img src=x onerror=y&gt;" in screen.value
    assert "<b>Bot:</b> ¿&lt;img src=x onerror=y&gt;? &lt;b&gt;&amp;" in screen.value


def test_the_button_and_the_enter_key_send_and_leaving_the_box_does_not(widget):
    screen, box, button = parts(widget)
    box.value = "buenas"
    assert "buenas" not in screen.value  # es lo que llega al salir de la caja
    button.click()
    assert (box.value, screen.value.count("<b>Tú:</b> buenas")) == ("", 1)
    box.value = "adiós"
    box._handle_string_msg(box, {"event": "submit"}, [])  # lo que manda el navegador con el Intro
    button.click()
    widget.ask("  ")
    assert screen.value.count("Tú:") == 2


def test_what_is_typed_shows_at_once_and_the_button_waits_for_the_answer():
    seen = []

    def respond(text):
        screen, box, button = parts(widget)
        seen.append(("<b>Tú:</b> hola" in screen.value, button.disabled, button.description))
        assert box.disabled
        widget.ask("otra, sin esperar")
        box.value = "otra más"
        for _ in range(7):
            button.click()
        assert box.value == "otra más"  # no se pierde: se queda donde estaba
        return "qué tal"

    widget = chat_widget(respond)
    widget.ask("hola")
    screen, box, button = parts(widget)
    assert seen == [(True, True, "Espera…")]
    assert not box.disabled
    assert "sin esperar" not in screen.value
    assert (button.disabled, button.description) == (False, "Enviar")


@pytest.mark.parametrize("error", [ValueError("acórtalo <ya>"), KeyError("acórtalo <ya>")])
def test_the_widget_survives_an_error_and_says_why(error):
    def respond(text):
        raise error

    widget = chat_widget(respond)
    widget.ask("hola")
    screen, _, button = parts(widget)
    assert "acórtalo &lt;ya&gt;" in screen.value
    assert not button.disabled


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_widget_keeps_what_was_typed_and_can_be_used_again(error):
    replies = [error]

    def respond(text):
        if replies:
            raise replies.pop()
        return "ya"

    widget = chat_widget(respond)
    screen, box, button = parts(widget)
    box.value = "hola"
    with pytest.raises(error):
        button.click()
    assert "<b>Tú:</b> hola" in screen.value and "Interrumpido" in screen.value
    assert not button.disabled and not box.disabled
    widget.ask("otra vez")
    assert "<b>Bot:</b> ya" in screen.value


def test_seven_threads_that_ask_at_once_run_the_function_once():
    from threading import Barrier, Event, Thread
    from time import sleep

    ready, done, calls = Barrier(7), Event(), []

    def respond(text):
        calls.append(text)
        done.wait(20)  # hasta que los otros seis hayan preguntado
        return "ya"

    widget = chat_widget(respond)

    def ask():
        ready.wait()
        widget.ask("hola")

    threads = [Thread(target=ask) for _ in range(7)]
    for thread in threads:
        thread.start()
    while sum(thread.is_alive() for thread in threads) > 1:
        sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert calls == ["hola"]


def test_where_nobody_draws_widgets_a_sentence_is_read_instead(widget, capsys):
    from IPython.core.formatters import DisplayFormatter

    formatter = DisplayFormatter()
    formatter.active_types = list(formatter.formatters)
    data, _ = formatter.format(widget)
    if not data:  # ipywidgets 7 se enseña por su cuenta, y fuera de un núcleo lo escribe
        data = ast.literal_eval(capsys.readouterr().out)
    assert data["text/plain"].startswith("El chat aparece al ejecutar esta celda")
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
