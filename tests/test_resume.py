"""Seguir un ajuste cortado: muerto de verdad, a medio escribir, de otra receta o ya acabado."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from course_lib import resume
from course_lib.encoding import collate, encode_conversation, pair_messages, prepare_for_chat
from course_lib.resume import resumable_fine_tune
from course_lib.training import fine_tune

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("light_collections")
PAIRS = [
    ("Hola, ¿qué tal?", "Muy bien, gracias, ¿y tú?"),
    ("¿Y la niña?", "En el jardín."),
    ("a", "b"),
    ("¿Vamos al cine?", "Mañana iremos con Óscar y Ángela."),
]


@pytest.fixture
def tune(tokenizer, make_model, tmp_path):
    """`resumable_fine_tune` con un modelo diminuto: cuatro ejemplos, seis pasos, un punto cada dos.

    Con `cut`, se corta como con Ctrl-C al pedir ese lote. Devuelve el ajuste (o lo que dice la
    interrupción) y lo contado por el camino.
    """
    prepare_for_chat(tokenizer)
    rows = [vars(encode_conversation(tokenizer, pair_messages(*pair))) for pair in PAIRS]

    def run(folder="ajuste", cut=None, model=None, rows=rows, held_out=None, **changes):
        calls, said = 0, []

        def batches(chosen):
            nonlocal calls
            calls += 1
            if calls == cut:
                raise KeyboardInterrupt
            return collate(chosen, tokenizer.pad_token_id)

        args = arguments(tmp_path / folder, **changes)
        try:
            done = resumable_fine_tune(
                model or make_model(), args, rows, batches, held_out, report=said.append
            )
        except resume.Interrupted as error:
            assert calls == cut
            done = error
        return done, said

    run.rows = rows
    run.collate = partial(collate, pad_token_id=tokenizer.pad_token_id)
    return run


def arguments(folder, **changes):
    values = {
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 2,
        "use_cpu": True,
    }
    return TrainingArguments(output_dir=str(folder), **(values | changes))


def same(one, other):
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def losses(run):
    names = ("step", "loss", "loss_reply", "loss_end")
    return [[row[name] for name in names] for row in run.log if "loss" in row]


def steps(folder):
    return sorted(resume.step_of(path) for path in resume.points(folder))


# --- Muerto de verdad ----------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="la herramienta necesita os.fork")
def test_killed_at_random_and_resumed_the_mini_model_ends_bit_for_bit_the_same():
    tool = [sys.executable, "-m", "taller.reanudar", "--veces", "3"]
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(
        tool, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    print(done.stdout, done.stderr[-2000:])
    assert done.stdout.endswith("\n3 de 3\n") and done.returncode == 0
    assert "muerto al guardar" in done.stdout and "No uso" in done.stdout


# --- Interrumpido ---------------------------------------------------------------------------------


def test_interrupted_the_same_model_goes_back_to_its_weights_and_resumes_to_the_same_end(
    tune, make_model
):
    straight, _ = tune("seguido")
    model, fresh = make_model(), make_model().state_dict()
    error, said = tune(cut=6, model=model)  # como quien para la celda y la vuelve a ejecutar
    assert said == [] and isinstance(error, KeyboardInterrupt)
    assert str(error) == "Interrumpido en el paso 4: al repetir, sigue desde el 4."
    assert error._render_traceback_() == [str(error)]  # lo que se ve en un cuaderno
    assert all(torch.equal(weight, fresh[name]) for name, weight in model.state_dict().items())
    resumed, said = tune(model=model)
    assert len(said) == 1 and said[0].startswith("Sigo desde el paso 4 de 6, guardado en ")
    assert resumed.model is model
    assert same(straight, resumed) and losses(straight) == losses(resumed)
    assert resumed.start == straight.start == resume.fingerprint(make_model())


def test_interrupted_again_it_counts_the_steps_from_the_beginning(tune, make_model):
    tune(cut=4)
    error, _ = tune(cut=3)  # desde el paso 2: el tercer lote es el del 5
    assert str(error) == "Interrumpido en el paso 4: al repetir, sigue desde el 4."


def test_interrupted_before_its_first_point_it_says_that_it_will_start_anew(tune, tmp_path):
    error, _ = tune(cut=4, save_steps=6)  # cada lote se pide antes de usar el anterior
    assert str(error) == (
        "Interrumpido en el paso 2, sin ningún punto guardado: al repetir, empieza."
    )
    assert steps(tmp_path / "ajuste") == []


def test_from_nothing_saved_it_is_fine_tune_and_leaves_the_caller_its_arguments(
    tune, make_model, tmp_path
):
    args = arguments(tmp_path / "a secas", save_strategy="no")
    plain = fine_tune(make_model(), args, tune.rows, tune.collate)
    before = args.to_dict()
    done = resumable_fine_tune(make_model(), args, tune.rows, tune.collate)
    assert same(plain, done) and losses(plain) == losses(done)
    assert args.to_dict() == before


# --- A medio escribir ----------------------------------------------------------------------------


def test_a_checkpoint_with_any_piece_missing_or_cut_is_recognised(tune, tmp_path):
    tune(cut=6)
    whole = tmp_path / "ajuste" / "checkpoint-4"
    assert resume.cut_piece(whole) is None
    assert resume.cut_piece(whole, scaled=True) == "scaler.pt"
    pieces = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
    for name in (*pieces, "trainer_state.json"):
        size = (whole / name).stat().st_size
        for kept in (None, 0, size // 2, size - 2):
            broken = tmp_path / "roto"
            shutil.copytree(whole, broken)
            if kept is None:
                (broken / name).unlink()
            else:
                os.truncate(broken / name, kept)
            assert resume.cut_piece(broken) == name
            shutil.rmtree(broken)


def test_zeros_in_the_middle_of_the_optimizer_are_recognised(tune, tmp_path):
    tune(cut=6)
    path = tmp_path / "ajuste" / "checkpoint-4"
    with open(path / "optimizer.pt", "r+b") as file:
        file.seek((path / "optimizer.pt").stat().st_size // 2)
        file.write(bytes(512))
    assert resume.cut_piece(path) == "optimizer.pt"


def test_a_cut_checkpoint_is_skipped_aloud_and_the_one_before_continues(tune, tmp_path):
    straight, _ = tune("seguido")
    tune(cut=6)
    os.truncate(tmp_path / "ajuste" / "checkpoint-4" / "optimizer.pt", 1000)
    resumed, said = tune()
    assert len(said) == 2
    assert said[0].startswith("No uso ") and "checkpoint-4: le falta optimizer.pt" in said[0]
    assert said[1].startswith("Sigo desde el paso 2 de 6, guardado en ")
    assert same(straight, resumed) and losses(straight) == losses(resumed)
    assert resume.cut_piece(tmp_path / "ajuste" / "checkpoint-4") is None


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_with_a_foreign_pickle_is_skipped_aloud_and_nothing_is_run(
    tune, tmp_path, name
):
    import torch

    trap = tmp_path / "abierto"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (trap,)

    tune(cut=6)
    torch.save({"state": Hostile()}, tmp_path / "ajuste" / "checkpoint-4" / name)
    _, said = tune()
    assert f"checkpoint-4: {name} nombra código que no es de Trainer, y no lo ejecuto." in said[0]
    assert said[1].startswith("Sigo desde el paso 2 de 6") and not trap.exists()


def test_with_every_checkpoint_cut_it_starts_anew(tune, tmp_path):
    straight, _ = tune("seguido")
    tune(cut=6)
    (tmp_path / "ajuste" / "checkpoint-²").mkdir()  # de nadie: «²» no es un paso
    for path in resume.points(tmp_path / "ajuste"):
        (path / "trainer_state.json").unlink()
    resumed, said = tune()
    assert [sentence.split()[0] for sentence in said] == ["No", "No"]
    assert same(straight, resumed)


# --- De otro ajuste, o acabado -------------------------------------------------------------------


@pytest.mark.parametrize("what", ["los argumentos", "los datos", "los pesos de partida"])
def test_another_trainings_checkpoints_are_not_used_and_go_at_the_first_save(
    tune, make_model, tmp_path, what
):
    changes = {}
    if what == "los argumentos":
        changes["learning_rate"] = 9e-3
    elif what == "los datos":
        changes["rows"] = [*tune.rows[:3], tune.rows[3] | {"labels": tune.rows[3]["input_ids"]}]
    tune(cut=6)
    model, fresh = make_model(), make_model()
    if what == "los pesos de partida":
        with torch.no_grad():
            model.lm_head.weight[5] += 1e-3
            fresh.lm_head.weight[5] += 1e-3
    clean, _ = tune("limpio", model=fresh, **changes)
    done, said = tune(model=model, **changes)
    (sentence,) = said
    assert sentence.startswith("Empiezo de nuevo") and f"(cambian {what})" in sentence
    assert same(clean, done) and losses(clean) == losses(done)
    assert steps(tmp_path / "ajuste") == [2, 4, 6]


def test_with_other_held_out_data_it_is_another_training(tune):
    # Con load_best_model_at_end deciden con qué pesos se acaba.
    tune(cut=6, held_out=tune.rows[:2])
    for held_out in (tune.rows[2:], None):
        _, said = tune(cut=2, held_out=held_out)
        assert said[0].startswith("Empiezo de nuevo") and "(cambian los datos)" in said[0]


def test_another_trainings_checkpoints_survive_until_the_first_save(tune, tmp_path):
    tune(cut=6)
    tune(cut=2, learning_rate=9e-3)
    _, said = tune()
    assert said[0].startswith("Sigo desde el paso 4 de 6")


def test_what_does_not_change_the_weights_does_not_prevent_resuming(tune):
    tune(cut=6)
    done, said = tune(
        logging_steps=3,
        save_total_limit=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
    )
    assert said[0].startswith("Sigo desde el paso 4 de 6")
    assert done.trainer.state.global_step == 6


def test_a_finished_training_is_done_again_and_said(tune, tmp_path):
    once, _ = tune()
    done, said = tune(cut=9)  # cuatro ejemplos de dos en dos, seis pasos: seis lotes
    (sentence,) = said
    assert sentence.startswith("Este ajuste ya terminó") and sentence.endswith("lo repito entero.")
    assert str(tmp_path / "ajuste") in sentence
    assert [row[0] for row in losses(done)] == [1, 2, 3, 4, 5, 6]
    assert done.trainer.state.global_step == 6 and same(once, done)


@pytest.mark.parametrize("limit", [None, 1])
def test_cut_after_its_last_save_it_takes_no_further_step(tune, tmp_path, limit):
    changes = {"max_steps": 5, "save_total_limit": limit}  # a mitad de la tercera época
    straight, _ = tune(**changes)
    (tmp_path / "ajuste" / resume.ENDED).unlink()  # como si no hubiera llegado a escribirse
    resumed, said = tune(cut=1, **changes)  # pedir un solo lote ya sería un error
    assert said[0].startswith("Sigo desde el paso 5 de 5")
    assert same(straight, resumed) and losses(straight) == losses(resumed)


def test_stopped_early_and_cut_it_stays_stopped_with_the_best_weights(tune, make_model, tmp_path):
    from transformers import EarlyStoppingCallback

    def run():
        args = arguments(
            tmp_path / "parado",
            max_steps=40,
            per_device_train_batch_size=8,
            learning_rate=0.5,  # tanta que empeora enseguida
            eval_strategy="steps",
            eval_steps=1,
            save_steps=1,
            save_total_limit=2,
            load_best_model_at_end=True,
        )
        said, stopper = [], EarlyStoppingCallback(early_stopping_patience=2)
        done = resumable_fine_tune(
            make_model(), args, tune.rows, tune.collate, tune.rows, None, [stopper], said.append
        )
        return done, said

    straight, _ = run()
    last = straight.trainer.state.global_step
    assert last < 40 and straight.trainer.state.best_global_step == last - 2
    (tmp_path / "parado" / resume.ENDED).unlink()
    resumed, said = run()
    assert said[0].startswith(f"Sigo desde el paso {last} de 40")
    assert resumed.trainer.state.global_step == last and same(straight, resumed)


# --- El registro ---------------------------------------------------------------------------------


def test_the_first_entry_after_resuming_averages_only_what_came_since(tune):
    every, _ = tune("cada")
    tune(logging_steps=3, cut=6)  # se corta en el paso 6, con el 4 guardado
    resumed, _ = tune(logging_steps=3)
    first, last = losses(resumed)
    assert (first[0], last[0]) == (3, 6)
    _, loss, reply, _ = zip(*losses(every)[4:])
    assert last[1] == pytest.approx(sum(loss) / 2, abs=1e-3)
    assert min(reply) < last[2] < max(reply)


def test_copied_fields_of_a_point_say_where_it_is(tune, tmp_path):
    tune(cut=6)
    state = resume.read_json(tmp_path / "ajuste" / "checkpoint-4" / "trainer_state.json")
    point = resume.last_point(tmp_path / "ajuste", resume.owner_of(state))
    assert point == (tmp_path / "ajuste" / "checkpoint-4", 4, False)
