"""Las tres maneras: la distancia entre dos modelos, y lo que se guardó."""

import copy

import pytest
import torch

from course_lib import tables, tracks, tuning
from course_lib.encoding import IGNORED, encode_conversation, pair_messages
from taller.maneras import drift


@pytest.fixture(scope="module")
def chat():
    return tuning.load_for_chat(tracks.get_track("mini"))


def rows(tokenizer, *pairs):
    return [encode_conversation(tokenizer, pair_messages(*pair)) for pair in pairs]


def test_drift_is_the_divergence_of_the_first_from_the_second(chat):
    # Hecha a mano: la media de Σ p (ln p - ln q), con p del primero y q del segundo.
    model, tokenizer = chat
    other = copy.deepcopy(model)
    for weight in other.parameters():
        weight.data *= 1.05
    (row,) = rows(tokenizer, ("Hola.", "Hola, Ana."))
    ids = torch.tensor([row.input_ids])
    with torch.no_grad():
        p, q = (m(ids).logits[0, :-1].log_softmax(-1) for m in (model, other))
    told = [i for i, label in enumerate(row.labels[1:]) if label != IGNORED]
    by_hand = (p.exp() * (p - q)).sum(-1)[told].mean().item()
    pad = tokenizer.pad_token_id
    assert drift(model, other, [row], pad) == pytest.approx(by_hand, rel=1e-4)
    assert drift(other, model, [row], pad) != pytest.approx(by_hand, rel=1e-2)


def test_drift_is_zero_with_oneself_and_grows_with_the_distance(chat):
    model, tokenizer = chat
    some = rows(tokenizer, ("¿Cuál es la capital de Perú?", "Lima."), ("Hola.", "Hola, Ana."))
    assert drift(model, model, some, tokenizer.pad_token_id) == 0
    near, far = copy.deepcopy(model), copy.deepcopy(model)
    for other, size in ((near, 0.01), (far, 0.05)):
        torch.manual_seed(0)
        for weight in other.parameters():
            weight.data += size * torch.randn_like(weight)
    a, b = (drift(other, model, some, tokenizer.pad_token_id) for other in (near, far))
    assert 0 < a < b


def test_what_is_stored_has_every_run_and_no_leak():
    runs = tables.stored("maneras")["corridas"]
    assert len({(run["condicion"], run["semilla"]) for run in runs}) == len(runs) == 27
    assert not any(run["fugas"] for run in runs)
