"""Más allá de imitar: limitar lo que se escribe, muestrear, preferir y reforzar."""

import copy

import pytest
import torch

from course_lib import tracks, tuning, world
from course_lib.beyond import (
    advantages,
    batch_of,
    dpo_loss,
    log_probs,
    only,
    prefer,
    reinforce,
    sample,
)
from course_lib.chat import generate
from course_lib.encoding import IGNORED, chat_prompt, encode_conversation, pair_messages


@pytest.fixture(scope="module")
def chat():
    return tuning.load_for_chat(tracks.get_track("mini"))


@pytest.fixture(scope="module")
def prompts(chat):
    asked = [world.fact_questions(world.load_countries())[0].text, "¿Qué tal?", "¿Vienes mañana?"]
    ids = [chat_prompt(chat[1], pair_messages(text, "")[:1]) for text in asked]
    assert len({*map(len, ids)}) > 1  # de varias longitudes: hay relleno a la izquierda
    return ids


def rows(tokenizer, *pairs):
    return [encode_conversation(tokenizer, pair_messages(*pair)) for pair in pairs]


def test_only_the_allowed_answers_come_out_even_when_one_begins_another(chat, prompts):
    model, tokenizer = chat
    answers = ["La", "La Paz", "La Paz, en Bolivia", "Roma"]
    said = generate(model, tokenizer, prompts * 30, allowed=only(tokenizer, answers))
    assert {text.strip() for text in said} <= set(answers)
    one = generate(model, tokenizer, prompts, allowed=only(tokenizer, ["Roma"]))
    assert [text.strip() for text in one] == ["Roma"] * 3
    with pytest.raises(ValueError, match="pasa al menos una"):
        only(tokenizer, [])


def test_without_a_limit_generation_is_unchanged(chat, prompts):
    model, tokenizer = chat
    everything = list(range(len(tokenizer)))
    free = generate(model, tokenizer, prompts)
    assert generate(model, tokenizer, prompts, allowed=lambda written: everything) == free


def test_a_sampled_batch_labels_what_was_written_up_to_the_end_and_nothing_else(chat, prompts):
    model, tokenizer = chat
    torch.manual_seed(0)
    batch, texts = sample(model, tokenizer, prompts, 5, 8)
    width = max(map(len, prompts))
    assert len(texts) == 15 and batch["input_ids"].shape == batch["labels"].shape
    for row, text in enumerate(texts):
        prompt = prompts[row // 5]
        real = batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist()
        written = batch["labels"][row][batch["labels"][row] != IGNORED].tolist()
        assert (batch["labels"][row, :width] == IGNORED).all()
        assert real == prompt + written
        assert written.count(tokenizer.eos_token_id) == (not text.endswith("…"))
        assert tokenizer.decode(written, skip_special_tokens=True).strip() == text.rstrip("…")


def test_log_probs_are_those_of_the_whole_model_wherever_the_padding_is(chat, prompts):
    model, tokenizer = chat
    torch.manual_seed(0)
    for batch in (
        sample(model, tokenizer, prompts, 2)[0],
        batch_of(rows(tokenizer, ("Hola", "Sí."), ("¿Qué tal?", "Muy bien, ¿y tú?")), 2),
    ):
        got = log_probs(model, batch)
        for i in range(len(got)):
            keep = batch["attention_mask"][i] == 1
            ids, labels = batch["input_ids"][i][keep], batch["labels"][i][keep]
            every = model(ids[None]).logits[0, :-1].log_softmax(-1)
            each = every.gather(1, ids[1:, None])[:, 0]
            assert torch.allclose(got[i].sum(), each[labels[1:] != IGNORED].sum(), atol=1e-3)


def test_the_dpo_loss_is_that_of_trl(chat, tmp_path):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = chat
    torch.manual_seed(0)
    moved = copy.deepcopy(model)
    for weight in moved.parameters():
        weight.data += 0.01 * torch.randn_like(weight)
    asked = [("¿Es Lima la capital de Perú?", "Sí.", "No."), ("¿Es Roma?", "No.", "Sí, es Roma.")]
    data = [
        {
            "prompt": pair_messages(ask, "")[:1],
            "chosen": pair_messages("", good)[1:],
            "rejected": pair_messages("", bad)[1:],
        }
        for ask, good, bad in asked
    ]
    args = DPOConfig(
        output_dir=tmp_path,
        per_device_train_batch_size=2,
        beta=0.1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_dropout=True,
        max_length=None,
    )
    trainer = DPOTrainer(
        moved,
        ref_model=copy.deepcopy(model),
        args=args,
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    theirs = trainer.compute_loss(trainer.model, batch).item()
    good, bad = (rows(tokenizer, *((a, x[i]) for a, *x in asked)) for i in (0, 1))
    ours = batch_of([*good, *bad], tokenizer.pad_token_id)
    moved.eval()
    mine = log_probs(moved, ours).sum(1)
    assert dpo_loss(mine, log_probs(model, ours).sum(1), 0.1).item() == pytest.approx(
        theirs, abs=1e-4
    )


def test_the_reinforced_step_is_that_of_trl_with_one_pass_and_no_kl(chat, prompts, tmp_path):
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = chat
    torch.manual_seed(0)
    # De una sola longitud: con relleno a la izquierda, TRL 1.16 no corrige las posiciones, y en un
    # modelo de posiciones absolutas, como GPT-2, ya no son las probabilidades con que se sorteó.
    prompts = prompts[:1] * 3
    batch, _ = sample(model, tokenizer, prompts, 4, 8)
    width = len(prompts[0])
    rewards = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1]])
    better = advantages(rewards).view(-1)
    gain = (better[:, None] * log_probs(model, batch)).sum() / (batch["labels"] != IGNORED).sum()
    args = GRPOConfig(
        output_dir=tmp_path,
        per_device_train_batch_size=12,
        num_generations=4,
        beta=0.0,
        loss_type="dapo",  # la media por tokens de todo el lote
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    from datasets import Dataset

    trainer = GRPOTrainer(
        copy.deepcopy(model),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "hola"}] * 12),
        processing_class=tokenizer,
    )
    ids, labels = batch["input_ids"], batch["labels"]
    inputs = {
        "prompt_ids": ids[:, :width],
        "prompt_mask": batch["attention_mask"][:, :width],
        "completion_ids": ids[:, width:],
        "completion_mask": (labels[:, width:] != IGNORED).int(),
        "advantages": better,
        "num_items_in_batch": (labels != IGNORED).sum(),
        "old_per_token_logps": None,
    }
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.eval()
    theirs = trainer._compute_loss(trainer.model, inputs)
    # TRL multiplica por exp(lp - lp): vale 1, y su derivada es la de `lp`.
    theirs.backward()
    mine = copy.deepcopy(model)
    gain = (better[:, None] * log_probs(mine, batch)).sum() / (labels != IGNORED).sum()
    (-gain).backward()
    assert max(weight.grad.abs().max() for weight in mine.parameters()) > 0.01
    for a, b in zip(mine.parameters(), trainer.model.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-4)


def test_preferences_raise_the_preferred_answer_and_leave_the_reference_alone(chat):
    reference, tokenizer = chat
    model, before = copy.deepcopy(reference), copy.deepcopy(reference.state_dict())
    asked = [f"¿Vienes el {day}?" for day in ("lunes", "martes", "jueves", "sábado")]
    pairs = list(
        zip(
            rows(tokenizer, *((a, "No.") for a in asked)),
            rows(tokenizer, *((a, "Sí.") for a in asked)),
            strict=True,
        )
    )
    losses = prefer(model, reference, pairs, tokenizer.pad_token_id, 10, 1e-4)
    assert losses[0] == pytest.approx(0.6931, abs=1e-3) and losses[-1] < 0.2
    now = reference.state_dict()
    assert all(torch.equal(before[name], now[name]) for name in before)


def test_reinforcing_raises_the_reward_and_repeats_with_the_same_seed(chat, prompts):
    model, tokenizer = chat

    def short(_, text):
        return len(text) < 12

    runs = []
    for _ in range(2):
        tuned = copy.deepcopy(model)
        runs.append(reinforce(tuned, tokenizer, prompts, short, 8, 5e-4, times=6, seed=1))
    assert runs[0] == runs[1]
    assert sum(runs[0][-2:]) > sum(runs[0][:2])


def test_one_answer_alone_has_nothing_to_be_compared_with(chat, prompts):
    with pytest.raises(ValueError, match="2 o más"):
        reinforce(*chat, prompts, lambda *_: 1.0, 1, times=1)


def test_a_reward_that_never_varies_moves_nothing(chat, prompts):
    model, tokenizer = chat
    tuned = copy.deepcopy(model)
    reinforce(tuned, tokenizer, prompts, lambda *_: 1.0, 2)
    now = tuned.state_dict()
    assert all(torch.equal(now[name], value) for name, value in model.state_dict().items())
