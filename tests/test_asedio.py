"""El asedio corto: las mismas entradas hostiles que el largo, pocas, y ninguna lo rompe."""

import random
import time
from types import SimpleNamespace

import pytest

from taller import asedio
from taller.asedio import Broken, archivos, attack, besiege, ejercicios, papeles

SEED = 13
COUNTS = {"archivos": 1_200, "papeles": 150, "órdenes": 25, "modelos": 40, "ejercicios": 40}


@pytest.mark.parametrize("surface", COUNTS)
def test_nothing_breaks_it(surface):
    done = besiege({surface: COUNTS[surface]}, SEED, report=lambda text: None)
    assert done[surface]["malos"] == {}


def test_the_siege_covers_every_surface_and_fifteen_shapes_that_accept_what_is_innocent():
    assert COUNTS.keys() == asedio.SURFACES.keys() == asedio.share(50_000).keys()
    assert sum(asedio.SURFACES.values()) == pytest.approx(1)
    assert len(papeles.SHAPES) >= 15
    said = [{"role": role, "content": f"z{role[0]}0"} for role in ("user", "assistant")]
    for name in papeles.SHAPES:
        papeles.check(name, said)


def test_a_case_is_repeated_and_a_siege_goes_on_where_it_was(tmp_path, monkeypatch):
    first, again = (archivos.write(random.Random("x 3"), tmp_path).read_bytes() for _ in "ab")
    assert first == again
    seen = []
    fake = SimpleNamespace(
        prepare=lambda folder: None, case=lambda rng, _: seen.append(rng.random())
    )
    monkeypatch.setattr(asedio, "import_module", lambda name: fake)
    besiege({"archivos": 5}, 1, tmp_path / "notas.json", str)
    done = besiege({"archivos": 8}, 1, tmp_path / "notas.json", str)
    assert done["archivos"]["casos"] == len(seen) == len(set(seen)) == 8
    attack("archivos", 1, 7, tmp_path)
    assert seen[-1] == seen[7]
    assert asedio.table(done).splitlines()[1].split()[:3] == ["archivos", "8", "0"]
    with pytest.raises(ValueError, match="No hay superficie «x»"):
        asedio.share(9, "x")


def fails(error: BaseException):
    raise error


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("traza", lambda: fails(KeyError("a"))),
        ("traza", lambda: fails(UnicodeDecodeError("utf-8", b"a", 0, 1, "x"))),
        ("frase", lambda: fails(ValueError("Expecting value"))),
        ("frase", lambda: fails(OSError(2, "No such file or directory"))),
        ("frase", lambda: fails(ValueError("Una.\nDos."))),
        ("frase", lambda: fails(ValueError("a" * 3_000))),
        ("frase", lambda: fails(ValueError())),
        ("cuelgue", lambda: time.sleep(60)),
        (None, lambda: fails(ValueError("El archivo «the.json» no es de diálogos: revísalo."))),
    ],
)
def test_each_way_of_breaking_is_told(monkeypatch, tmp_path, kind, what):
    def case(rng, folder):
        with asedio.refusals():
            what()

    fake = SimpleNamespace(prepare=lambda folder: None, case=case)
    monkeypatch.setattr(asedio, "import_module", lambda name: fake)
    monkeypatch.setattr(asedio, "LIMIT", 0.3)
    found = attack("archivos", 0, 0, tmp_path)
    assert (found and found[0]) == kind


def test_what_is_lost_or_forged_is_found(monkeypatch, tmp_path):
    read, prompt = archivos.read_dialogues, papeles.chat_prompt
    monkeypatch.setattr(archivos, "read_dialogues", lambda path, report: read(path, report)[1:])
    kinds = {bad[0] for n in range(40) if (bad := attack("archivos", 0, n, tmp_path))}
    assert "pérdida" in kinds
    mark = papeles.built("chatml").convert_tokens_to_ids("<|im_start|>")
    forge = lambda tokenizer, said: prompt(tokenizer, said) + [mark] * ("!" in said[0]["content"])  # noqa: E731
    monkeypatch.setattr(papeles, "chat_prompt", forge)
    said = [{"role": "user", "content": "zu0 !"}, {"role": "assistant", "content": "za0"}]
    with pytest.raises(Broken) as broken:
        papeles.check("chatml", said)
    assert broken.value.args[0] == "falsa"
    monkeypatch.setattr(ejercicios, "check", lambda id, answer: print(f"Ejercicio {id}: correcto."))
    kinds = {bad[0] for n in range(9) if (bad := attack("ejercicios", 0, n, tmp_path))}
    assert kinds == {"falsa"}
