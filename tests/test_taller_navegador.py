"""La portada con la que se juega: su JavaScript hace lo mismo que Python.

Se ejecuta en Node o, si no lo hay, en Chromium; sin ninguno de los dos, estas pruebas se saltan.
"""

import copy
import json
import random
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from test_decision import CASES, all_needs

from course_lib import tuning
from course_lib.decision import Lack, Needs, Rung, advise
from course_lib.encoding import (
    encode_conversation,
    encode_original,
    pair_messages,
    plain,
    prepare_for_chat,
)
from taller import navegador
from taller.cotejo import ODD, questions

SCRIPTS = ("tokenizador", "codificacion", "gpt2", "consejero")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def in_javascript(tmp_path: Path, folder: Path, code: str, given=None):
    """Lo que devuelve `code`, el cuerpo de una función asíncrona, con los guiones de la portada y
    los de `folder` ya leídos; lo que se le dé está en `given`."""
    files = [navegador.STATIC / f"{name}.js" for name in SCRIPTS] + sorted(folder.glob("*.js"))
    source = "\n".join(["globalThis.window = globalThis;", *(f.read_text("utf-8") for f in files)])
    source += f"\nconst given = {json.dumps(given)};\n"
    source += f"const result = (async () => {{ {code} }})();\n"
    if node := shutil.which("node"):
        script = tmp_path / "prueba.js"
        script.write_text(source + "result.then((r) => console.log(JSON.stringify(r)));", "utf-8")
        command = [node, str(script)]
    elif browser := next(filter(None, map(shutil.which, BROWSERS)), None):
        script = tmp_path / "prueba.html"
        shown = "result.then((r) => { document.body.textContent = JSON.stringify(r); });"
        source = (source + shown).replace("</", "<\\/")
        page = f"<meta charset=utf-8><body></body><script>{source}</script>"
        script.write_text(page, encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000"]
        command = [browser, *flags, "--dump-dom", script.as_uri()]
    else:
        pytest.skip("No hay Node ni Chromium con que ejecutar el JavaScript de la portada.")
    out = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    text = out.stdout
    if command[0] != shutil.which("node"):
        from html import unescape

        text = unescape(text[text.index("<body>") + 6 : text.index("</body>")])
    return json.loads(text)


@pytest.fixture
def toys(tokenizer, make_model, tmp_path):
    """Tres modelos de juguete, escritos como los de verdad; sus pesos caben en 16 bits."""
    import torch

    known = len(tokenizer)
    base, torch_rng = make_model(vocabulary=known), torch.manual_seed(5)
    for weight in base.parameters():
        weight.data = weight.data.half().float()
    other, chat_model, chat = copy.deepcopy(base), copy.deepcopy(base), copy.deepcopy(tokenizer)
    for weight in other.parameters():
        change = 0.05 * torch.randn(weight.shape, generator=torch_rng)
        weight.data += change.half().float()
    prepare_for_chat(chat, chat_model)
    lora = tuning.with_lora(chat_model, chat, rank=4).eval()
    for weight in lora.parameters():
        if weight.requires_grad:
            weight.data = (0.2 * torch.randn_like(weight)).half().float()
    failed = copy.deepcopy(tokenizer)
    failed.pad_token = failed.eos_token
    models = {"base": (base, tokenizer), "fracaso": (other, failed), "bien": (lora, chat)}
    written = tmp_path / "modelos"
    written.mkdir()
    asked = copy.deepcopy(models)  # al escribirlo, el adaptador se funde
    navegador.write_models(written, models)
    return asked, written


def test_the_three_models_write_in_the_browser_what_they_write_in_python(toys, tmp_path):
    models, folder = toys
    texts = [
        "Hola, ¿qué tal?",
        "",
        "<|bot|> Sí. <|user|>",
        "ñ 👋 日本",
        "la piña " * 40,
        "it's  \n a",
    ]
    code = """
      const weights = {}, said = {};
      for (const [name, asked] of Object.entries(CURSO.datos.models)) {
        let own = unpack(CURSO[`pesos_${name}`], asked.shapes);
        if (asked.lora) own = withLora(weights.base, own, asked.lora);
        else if (asked.over) own = withChanges(weights.base, own);
        weights[name] = own;
        const model = new GPT2(asked.config, own);
        const tokens = new Tokenizer(CURSO.datos.tokenizer, asked.special);
        said[name] = [];
        for (const text of given) {
          const ids = [];
          try {
            const prompt = promptOf(asked, tokens, text);
            const limits = { ends: new Set(asked.ends), most: asked.most };
            for await (const token of generate(model, prompt, limits)) ids.push(token.id);
          } catch (error) {
            said[name].push(error.message);
            continue;
          }
          const raw = tokens.decode(ids);
          said[name].push(asked.turn ? firstTurn(raw) : strip(raw));
        }
      }
      return said;"""
    said = in_javascript(tmp_path, folder, code, texts)
    for name, (model, tokenizer) in models.items():
        assert said[name] == navegador.answers(navegador.WAYS[name], model, tokenizer, texts), name
    assert len({text for answers in said.values() for text in answers}) > 6


def test_the_browser_splits_texts_and_colours_pairs_as_python_does(toys, tmp_path):
    models, folder = toys
    texts = [plain(text, models["bien"][1]) for text in questions(300) if text.strip()]
    pairs = [*zip(ODD, reversed(ODD)), ("¿Vienes?", "Sí, <|endoftext|> voy.")]
    pairs = [(user.strip(), reply.strip()) for user, reply in pairs]
    code = """
      const { models, tokenizer } = CURSO.datos;
      const made = (name) => [models[name], new Tokenizer(tokenizer, models[name].special)];
      const cells = (encode, name) => given.pairs.map((pair) =>
        encode(...made(name), ...pair).map(({ id, kind, counts }) => [id, kind, counts]));
      const tokens = made("bien")[1];
      return {
        ids: given.texts.map((text) => tokens.encode(text)),
        texts: given.texts.map((text) => tokens.decode(tokens.encode(text))),
        original: cells(encodeOriginal, "fracaso"),
        correct: cells(encodeConversation, "bien"),
      };"""
    found = in_javascript(tmp_path, folder, code, {"texts": texts, "pairs": pairs})
    _, chat = models["bien"]
    assert found["ids"] == [chat.encode(text) for text in texts]
    assert found["texts"] == [chat.decode(chat.encode(text)) for text in texts] == texts

    def cells(encoded):
        return [list(cell) for cell in zip(encoded.input_ids, encoded.kinds, encoded.counted)]

    for (user, reply), original, correct in zip(pairs, found["original"], found["correct"]):
        _, failed = models["fracaso"]
        assert original == cells(encode_original(failed, user, reply, 128)), (user, reply)
        assert correct == cells(encode_conversation(chat, pair_messages(user, reply)))


def some_needs() -> list[Needs]:
    """Los casos escritos, una parte de la rejilla y otros al azar, con varias carencias."""
    told = tomllib.loads((CASES / "necesidades.toml").read_text("utf-8")).values()
    rows = [
        row
        | {"lacks": [Lack[name] for name in row["lacks"]]}
        | {"tried": [Rung[name] for name in row.get("tried", ())]}
        for row in told
    ]
    rng, amounts = random.Random(0), (0, 2, 3, 99, 100, 499, 500, 9_999, 10_000, 123_456_789)
    flags = [name for name, value in vars(Needs(Lack.STYLE)).items() if isinstance(value, bool)]
    for _ in range(2000):
        row = {name: rng.random() < 0.5 for name in flags}
        row |= {name: rng.choice(amounts) for name in ("examples", "preferences", "own_text")}
        row["gpu_hours"] = rng.choice((0, 0.5, 1, 1.25, 2.675, 9.99, 10, 20, 1_000, 12_345))
        row["lacks"] = rng.sample(list(Lack), rng.choice((1, 1, 2, 3)))
        rows.append(row | {"tried": rng.sample(list(Rung), rng.choice((0, 1, 2, 6)))})
    return [Needs(**row) for row in rows] + list(all_needs())[::53]


def test_the_browser_advises_what_decision_advises(tmp_path):
    needs, folder = some_needs(), tmp_path / "datos"
    folder.mkdir()
    navegador.script(folder, "datos.js", "datos", {"adviser": navegador.adviser_tables()})
    given = [
        vars(n) | {"named": [k.name for k in n.named], "tried": [Rung(r).name for r in n.tried]}
        for n in needs
    ]
    code = "return given.map((needs) => advise(CURSO.datos.adviser, needs));"
    found = in_javascript(tmp_path, folder, code, given)
    sources = navegador.read_toml("decision", "consejos.toml")["fuentes"]
    address = {row["url"]: key for key, row in sources.items()}
    for need, said in zip(needs, found, strict=True):
        advice = advise(need)
        assert said == {
            "rung": advice.rung.name,
            "then": [rung.name for rung in advice.then],
            "reasons": [
                {
                    "criterion": reason.criterion,
                    "text": reason.text,
                    "source": reason.source and address[reason.source.url],
                }
                for reason in advice.reasons
            ],
            "warnings": list(advice.warnings),
            "changes": list(advice.changes),
            "measures": list(advice.measures),
        }, need


def test_the_browser_reads_amounts_as_the_form_does(tmp_path):
    from course_lib.decision import read_number

    typed = ["", " 20.000 ", "1,5", "1.5", "1.234.567,25", "muchos", "1,2,3", "-1", "1e3", "inf"]

    def read(text: str) -> float | None:
        try:
            return read_number(text)
        except ValueError:
            return None

    assert in_javascript(tmp_path, tmp_path, "return given.map(readNumber);", typed) == [
        read(text) for text in typed
    ]
