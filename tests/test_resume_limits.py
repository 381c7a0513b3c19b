"""Memoria y disco que se acaban: con un error de verdad, y sin perder lo que iba."""

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

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("light_collections")
PAIRS = [
    ("Hola, ¿qué tal?", "Muy bien, gracias, ¿y tú?"),
    ("¿Y la niña?", "En el jardín."),
    ("a", "b"),
    ("¿Vamos al cine?", "Mañana iremos con Óscar y Ángela."),
    ("¿Sí?", "No."),
    ("Hola.", "Hola, ¿qué tal estás?"),
]


def narrow(model, fits, training=True):
    """El modelo, que se queda sin memoria con más de `fits` filas al entrenar (o al medir)."""

    def refuse(module, args, kwargs):
        if module.training == training and len(kwargs["input_ids"]) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    return model


@pytest.fixture
def tune(tokenizer, tmp_path):
    """`resumable_fine_tune` con seis ejemplos y descenso simple; devuelve el ajuste y lo dicho."""
    prepare_for_chat(tokenizer)
    data = [encode_conversation(tokenizer, pair_messages(*pair)) for pair in PAIRS]

    def run(model, folder="ajuste", evaluate=False, callbacks=(), **changes):
        values = {
            "max_steps": 3,
            "per_device_train_batch_size": 6,
            "learning_rate": 0.5,
            "optim": "sgd",
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
        }
        said = []
        done = resumable_fine_tune(
            model,
            TrainingArguments(output_dir=str(tmp_path / folder), **(values | changes)),
            data,
            partial(collate, pad_token_id=tokenizer.pad_token_id),
            eval_dataset=data if evaluate else None,
            callbacks=callbacks,
            report=said.append,
        )
        return done, said

    return run


def close(one, other):
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.allclose(a, b, rtol=0, atol=1e-5) for a, b in pairs)


def losses(run, name="loss"):
    return [row[name] for row in run.log if name in row]


# --- Memoria -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fits", "pieces"), [(3, [3]), (1, [3, 1])])
def test_out_of_memory_smaller_batches_give_the_loss_and_weights_of_the_whole_one(
    tune, make_model, fits, pieces
):
    whole, silence = tune(make_model(), "entero")
    parts, said = tune(narrow(make_model(), fits))
    assert silence == [] and len(said) == len(pieces)
    for sentence, size in zip(said, pieces):
        assert f"en {6 // size} trozos de {size}" in sentence and "mismos 6 ejemplos" in sentence
    assert close(whole, parts) and not close(whole, type("", (), {"model": make_model()}))
    for name in ("loss", "loss_reply", "loss_end"):
        assert losses(parts, name) == pytest.approx(losses(whole, name), abs=1e-4)


def test_memory_that_runs_out_later_goes_on_from_the_last_checkpoint(tune, make_model):
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 5}
    whole, _ = tune(make_model(), "entero", **saving)
    model, calls = make_model(), []

    def refuse_the_fourth(module, args, kwargs):
        calls.append(len(kwargs["input_ids"]))
        if len(calls) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(refuse_the_fourth, with_kwargs=True)
    parts, said = tune(model, **saving)
    assert said[0].startswith("No cabe") and said[1].startswith("Sigo desde el paso 2 de 5")
    assert calls == [6, 6, 6, 6] + [3, 3] * 3
    assert close(whole, parts)
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-4)


def test_memory_that_runs_out_without_checkpoints_goes_back_to_the_initial_weights(
    tune, make_model
):
    whole, _ = tune(make_model(), "entero")
    model, calls = make_model(), []

    def refuse_the_third(module, args, kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(refuse_the_third, with_kwargs=True)
    parts, _ = tune(model)
    assert close(whole, parts) and len(calls) == 3 + 6


def test_out_of_memory_when_measuring_only_that_batch_shrinks(tune, make_model):
    steps = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 6}
    whole, _ = tune(make_model(), "entero", True, **steps)
    parts, said = tune(narrow(make_model(), 2, training=False), "partido", True, **steps)
    assert said == [
        "No cabe en memoria medir de 6 en 6: mido de 3 en 3.",
        "No cabe en memoria medir de 3 en 3: mido de 1 en 1.",
    ]
    assert losses(parts) == losses(whole) and close(whole, parts)


def test_a_second_attempt_does_not_inherit_what_callbacks_counted(tune, make_model):
    from transformers import TrainerCallback

    class Count(TrainerCallback):
        steps = 0

        def on_step_begin(self, args, state, control, **kwargs):
            self.steps += 1
            self.last = self.steps
            control.should_training_stop = self.steps > 3

    done, said = tune(narrow(make_model(), 3), callbacks=[Count()])
    assert said and done.trainer.state.global_step == 3


def test_when_not_even_one_example_fits_it_says_what_to_do(tune, make_model):
    with pytest.raises(MemoryError, match=r"max_length.*gradient_checkpointing.*LoRA.*pequeño"):
        tune(narrow(make_model(), 0))


def test_any_batch_size_shrinks_to_one_with_the_same_effective_batch(tmp_path):
    for size in range(2, 65):
        args = TrainingArguments(
            str(tmp_path), per_device_train_batch_size=size, gradient_accumulation_steps=3
        )
        while args.per_device_train_batch_size > 1:
            before = args.per_device_train_batch_size
            args, _ = resume.with_smaller_batch(args, training=True)
            assert args.per_device_train_batch_size * args.gradient_accumulation_steps == 3 * size
            assert args.per_device_train_batch_size < before
            assert before % 2 or args.per_device_train_batch_size == before // 2


def test_another_error_is_not_taken_for_lack_of_memory_or_disk(tune, make_model):
    model = make_model()
    model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("otra cosa")))
    with pytest.raises(RuntimeError, match="otra cosa"):
        tune(model)


# Un modelo estrecho con mucho vocabulario: deprisa, y un lote grande pide mucha memoria.
SCRIPT = """
import gc, resource, shutil
from pathlib import Path
import torch
from transformers import GPT2Config, GPT2LMHeadModel, TrainerCallback, TrainingArguments
from course_lib.encoding import Encoded, Kind, collate
from course_lib.resume import resumable_fine_tune

gc.freeze()
torch.set_num_threads(1)
WORDS, LENGTH = 4000, 64
torch.manual_seed(0)
rows = torch.randint(WORDS, (64, LENGTH)).tolist()
data = [Encoded(ids, [1] * LENGTH, ids, [Kind.REPLY] * LENGTH) for ids in rows]

def tune(folder, callbacks=(), **changes):
    torch.manual_seed(0)
    shape = dict(vocab_size=WORDS, n_positions=LENGTH, n_embd=32, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0))
    values = dict(max_steps=2, per_device_train_batch_size=8, save_strategy="no", use_cpu=True)
    args = TrainingArguments(folder, **(values | changes))
    return resumable_fine_tune(
        model, args, data, lambda rows: collate(rows, 0), callbacks=callbacks
    )

def weights(run):
    return torch.cat([weight.flatten() for weight in run.model.parameters()])
"""


def in_a_process(code, *prefix):
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(
        [*prefix, sys.executable, "-c", SCRIPT + code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "TQDM_DISABLE": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS solo limita en Linux")
def test_a_machine_that_refuses_the_memory_of_a_large_batch_trains_with_smaller_ones(tmp_path):
    said = in_a_process(
        f"""
tune({str(tmp_path / "a")!r}, max_steps=1)  # para que todo esté ya importado
mine = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mine + 150_000_000, mine + 150_000_000))
run = tune({str(tmp_path / "b")!r}, per_device_train_batch_size=64)
print(run.trainer.args.per_device_train_batch_size, run.trainer.state.global_step)
"""
    )
    print(said)
    size, steps = said.splitlines()[-1].split()
    assert int(size) < 64 and steps == "2"
    assert "No cabe en memoria un lote de 64" in said


# --- Disco ---------------------------------------------------------------------------------------

TMPFS = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=$0 tmpfs "$1" && shift && exec "$@"']


@pytest.fixture
def small_disk(tmp_path):
    """Una función que corre un programa con un disco de verdad, pero pequeño, en una carpeta."""
    folder = tmp_path / "disco"
    folder.mkdir()
    try:
        subprocess.run([*TMPFS, "1m", folder, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("Aquí no se puede montar un tmpfs con unshare.")
    return folder, lambda size, code: in_a_process(code, *TMPFS, size, str(folder))


def test_a_full_disk_is_refused_at_first_and_in_the_middle_keeps_the_last_checkpoint(small_disk):
    folder, run = small_disk
    said = run(
        "16m",  # un punto son 1,8 MB: 0,6 de pesos y el doble de las medias de Adam
        f"""
folder = Path({str(folder)!r})

class Fill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 4:
            free = shutil.disk_usage(folder).free
            (folder / "lastre").write_bytes(bytes(free - LEFT))

saving = dict(max_steps=6, save_strategy="steps", save_steps=2)
straight = weights(tune(str(folder / "seguido"), **saving))
(folder / "lastre").write_bytes(bytes(shutil.disk_usage(folder).free - 3_000_000))
try:
    tune(str(folder / "lleno"), **saving)
except OSError as error:
    print(error)
(folder / "lastre").unlink()
shutil.rmtree(folder / "seguido")
for LEFT in (0, 300_000, 1_000_000):  # ni los pesos; los pesos, a medias; las medias, a medias
    try:
        tune(str(folder / f"ajuste{{LEFT}}"), [Fill()], **saving)
    except OSError as error:
        print(error)
    (folder / "lastre").unlink()
    run = tune(str(folder / f"ajuste{{LEFT}}"), **saving)
    print("IGUALES" if torch.equal(weights(run), straight) else "DISTINTOS")
    shutil.rmtree(folder / f"ajuste{{LEFT}}")
""",
    )
    print(said)
    assert said.startswith("No cabe en el disco: ") and "hasta 3 a la vez" in said
    assert "libres; libera sitio" in said
    assert said.count("IGUALES") == 3 and "DISTINTOS" not in said
    assert said.count("El disco se llenó al guardar en") == 3
    assert said.count("checkpoint-2, y al repetir seguirá desde ahí.") == 3
    assert said.count("Sigo desde el paso 2 de 6") == 3


def test_what_a_checkpoint_takes_is_about_three_times_the_model(tune, make_model, tmp_path):
    model = make_model()
    saving = {"save_strategy": "steps", "save_steps": 3, "optim": "adamw_torch"}
    tune(model, **saving)
    size = sum(f.stat().st_size for f in (tmp_path / "ajuste" / "checkpoint-3").glob("*.[sp]*"))
    weights = sum(p.nbytes for p in model.parameters())
    assert 2.9 * weights < size < 3.5 * weights


def test_how_many_checkpoints_must_fit(make_model, tmp_path, monkeypatch):
    # Diez ejemplos de dos en dos, dos épocas: diez pasos.
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    for changes, expected in (
        ({"save_strategy": "steps", "save_steps": 4}, 3),  # en el 4, el 8 y el 10
        ({"save_strategy": "steps", "save_steps": 0.5}, 2),
        ({"save_strategy": "steps", "save_steps": 1, "save_total_limit": 2}, 3),
        ({"save_strategy": "epoch"}, 2),
        ({"save_strategy": "steps", "save_steps": 4, "max_steps": 4}, 1),
    ):
        args = TrainingArguments(
            str(tmp_path / "nueva"),
            **({"num_train_epochs": 2, "per_device_train_batch_size": 2} | changes),
        )
        with pytest.raises(OSError, match=rf"hasta {expected} a la vez"):
            resume.check_disk(make_model(), args, 10)
    stream = TrainingArguments(str(tmp_path), save_strategy="epoch", max_steps=7)
    with pytest.raises(OSError, match="hasta 1 a la vez"):
        resume.check_disk(make_model(), stream, 0)
    args.save_strategy = "no"
    resume.check_disk(make_model(), args, 10)
