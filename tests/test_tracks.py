"""Las rutas: se eligen por nombre o por variable, y la que hay carga un modelo que se usa."""

import pytest

from course_lib.tracks import get_track


def test_the_track_is_the_one_asked_for_or_that_of_the_variable_or_mini(monkeypatch):
    monkeypatch.delenv("CURSO_RUTA", raising=False)
    assert get_track().name == "mini"
    monkeypatch.setenv("CURSO_RUTA", "")
    assert get_track().name == "mini"
    monkeypatch.setenv("CURSO_RUTA", "enorme")
    assert get_track("mini").name == "mini"
    with pytest.raises(ValueError, match=r"No hay ninguna ruta «enorme»: .*mini.*CURSO_RUTA"):
        get_track()


def test_the_model_and_the_tokenizer_of_a_track_fit_each_other_and_its_lengths():
    track = get_track("mini")
    model, tokenizer = track.load_model(), track.load_tokenizer()
    assert not model.training
    assert tokenizer.pad_token is None  # como el de GPT-2: la lección 03 lo descubre
    assert len(tokenizer) == model.config.vocab_size
    assert track.max_length <= model.config.max_position_embeddings
    assert len(track.load_dialogues()) >= track.train_dialogues
