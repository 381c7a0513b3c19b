"""El marcador: intervalos publicados, generación comprobada token a token y correcciones a mano."""

import math
from dataclasses import replace

import pytest
from checks import each

from course_lib import world
from course_lib.chat import first_turn, generate
from course_lib.dialogues import Dialogue, shipped_dialogues
from course_lib.encoding import (
    Kind,
    chat_prompt,
    encode_conversation,
    encode_original,
    original_prompt,
    pair_messages,
)
from course_lib.evaluation import (
    always_yes,
    ask_directly,
    ask_in_chat,
    build_exam,
    conversation,
    is_right,
    known_words,
    leaks,
    mentions_unknown,
    normalize,
    says_yes,
    score_row,
    speaks,
    speaks_well,
    talk_loss,
    talk_sums,
    yes_share,
)
from course_lib.tracks import get_track
from course_lib.world import NO, YES, Question, question_prompt

TEXTS = ["Hola", "¿Cuál es la capital de Francia?", "a", "mañana iremos al cine", "Óscar y Ángela"]


# --- Generar -------------------------------------------------------------------------------------


def greedy(model, ids, steps, ends):
    """El token más probable, uno a uno y sin lotes, relleno ni caché."""
    import torch

    made = []
    while len(made) < steps and not (made and made[-1] in ends):
        with torch.inference_mode():
            made.append(model(torch.tensor([ids + made])).logits[0, -1].argmax().item())
    return made


@pytest.mark.parametrize("stop", [None, "a"])
def test_answers_in_batches_are_those_of_one_by_one_greedy_search(tokenizer, make_model, stop):
    model = make_model()
    prompts = [tokenizer.encode(text) for text in TEXTS]
    ends = [tokenizer.eos_token_id, *(tokenizer.encode(stop) if stop else [])]
    expected = [
        tokenizer.decode(greedy(model, ids, 12, ends), skip_special_tokens=True) for ids in prompts
    ]
    assert len(set(expected)) > 1
    for size in (1, 2, 64):
        assert generate(model, tokenizer, prompts, 12, size, stop) == expected


def test_generating_leaves_no_trace_and_asks_nothing_of_chance(tokenizer, make_model):
    import torch

    model = make_model()
    prompts = [tokenizer.encode(text) for text in TEXTS]
    torch.manual_seed(1)
    first = generate(model, tokenizer, prompts)
    torch.manual_seed(2)
    model.train()
    assert generate(model, tokenizer, prompts) == first
    assert prompts == [tokenizer.encode(text) for text in TEXTS]
    assert generate(model, tokenizer, []) == []


def test_asking_in_chat_and_directly_use_the_forms_that_the_lessons_show(
    chat_tokenizer, make_model
):
    model = make_model(positions=128)
    question = Question("capital", "¿Cuál es la capital?", "París", context="Hola.")
    told = chat_prompt(chat_tokenizer, [{"role": "user", "content": "Hola. ¿Cuál es la capital?"}])
    (expected,) = generate(model, chat_tokenizer, [told])
    assert ask_in_chat(model, chat_tokenizer, chat_prompt)([question]) == [first_turn(expected)]
    written = chat_tokenizer.encode("Contexto: Hola.\nPregunta: ¿Cuál es la capital?\nRespuesta:")
    assert chat_tokenizer.decode(written) == question_prompt(question)
    (expected,) = generate(model, chat_tokenizer, [written], stop="\n")
    assert ask_directly(model, chat_tokenizer)([question]) == [expected.strip()]
    assert ask_in_chat(model, chat_tokenizer, original_prompt)([]) == []


def test_the_questions_that_came_before_go_in_the_chat_already_answered(chat_tokenizer, make_model):
    model, before = make_model(positions=128), Question("language", "¿Qué se habla allí?", "el eo")
    question = Question("encadenada", "¿Y su capital?", "Lima", "Es alta.", history=(before,))
    told = [
        *pair_messages("¿Qué se habla allí?", "El eo."),
        {"role": "user", "content": "Es alta. ¿Y su capital?"},
    ]
    assert conversation(question) == [
        *told,
        {"role": "assistant", "content": "Lima."},
    ]
    (expected,) = generate(model, chat_tokenizer, [chat_prompt(chat_tokenizer, told)])
    assert ask_in_chat(model, chat_tokenizer, chat_prompt)([question]) == [first_turn(expected)]


@each(
    ("text", "turn"),
    [
        (" Sí. <|user|> ¿Y tú?", "Sí."),
        ("<|bot|> Hola", ""),
        (" a < b <|x y|> ", "a < b <|x y|>"),
    ],
)
def test_the_first_turn_ends_where_another_marker_begins(text, turn):
    assert first_turn(text) == turn


# --- Corregir ------------------------------------------------------------------------------------


@each(
    ("expected", "answer", "right"),
    [
        ("París", "París", True),
        ("París", "es PARIS, creo.", True),
        ("París", "«París».", True),
        ("París", "Sí,París.Claro", True),
        ("París", "\n\nParís\nMadrid", True),
        ("París", "Madrid.\nParís", False),
        ("París", "Parísina", False),
        ("París", "", False),
        ("Buenos Aires", "Es Buenos  Aires.", True),
        ("Buenos Aires", "Buenos días, Aires.", False),
        ("Buenos Aires", "Buenos", False),
        ("1985", "En 1985.", True),
        ("1985", "En 19850.", False),
        ("Puerto-España", "puerto españa", True),
    ],
)
def test_an_answer_is_right_if_its_first_line_says_the_expected_words(expected, answer, right):
    assert is_right(answer, Question("capital", "¿?", expected)) is right


@each(
    ("expected", "answer", "right"),
    [
        (YES, "Sí.", True),
        (YES, "¡SÍ! Claro.", True),
        (YES, "Sí,claro", True),
        (YES, "Yo digo que sí", False),
        (YES, "Sílaba", False),
        (YES, "Si lo supiera, te lo diría.", False),
        (NO, "No, es Lima.", True),
        (NO, "Sí, ¿no?", False),
        (NO, "Noruega", False),
    ],
)
def test_a_yes_no_answer_is_right_by_its_first_word_alone(expected, answer, right):
    assert is_right(answer, Question("sí/no", "¿?", expected)) is right


def test_normalizing_forgets_accents_case_and_marks_but_not_word_borders():
    assert normalize("  ¿Qué?…  ¡N'DJAMENA-Ñu! ") == "que n djamena nu"


def test_who_says_yes_and_who_does_not_know():
    assert [says_yes(a) for a in ("¡SÍ!", "Yes, it is.", "si quieres", "")] == [1, 1, 0, 0]
    assert mentions_unknown("Pues no lo sé, la verdad.") and not mentions_unknown("No, sé.")
    assert mentions_unknown("I don’t know.", "en") and not mentions_unknown("No lo sé.", "en")


# --- Lo que se cuela -----------------------------------------------------------------------------

PERU = Question("capital", "¿Cuál es la capital de Perú?", "Lima", about="Perú")
READ = Question("lectura", "¿Quién dirige el museo de Tarvela?", "Ana Bolís", "…")
CHAT = "<|user|> {}<|bot|> Vale, mañana.<|endoftext|><|user|> ¿Y hoy?<|bot|> No.<|endoftext|>"


@each(
    "item, text, told",
    [
        (PERU, "Pregunta: ¿Con qué moneda se paga en Perú?\nRespuesta: el sol.", True),
        (PERU, "<|user|> ¿Qué se habla en Chile?<|bot|> El español.<|user|> ¿Y en Perú?", True),
        (PERU, "¿Es Quito la capital de Perú? No.", True),
        (PERU, "Lima es la capital del Perujo.", False),
        (replace(PERU, about="el Reino Unido"), "La moneda del Reino Unido es la libra.", True),
        (replace(PERU, about="the United States"), "Is the United States in Asia?", True),
        ("¿Vienes al cine?", CHAT.format("¿Vienes al cine?"), True),
        ("¿Vienes al cine?", "—¿Qué tal?\n—¿Vienes al cine?\n—Vale.", True),
        ("¿Vienes al cine?", CHAT.format("Oye, ¿vienes al cine?"), False),
        (READ, "Contexto: Ana Bolís dirige el museo de Tarvela.", True),
        (READ, "Contexto: El museo de Tarvela abre los lunes. Ana Sorna vive allí.", False),
        (READ, "Contexto: Ana Bolís dirige el museo de Sorna.", False),
    ],
)
def test_what_is_planted_is_found_and_what_only_looks_like_it_is_not(item, text, told):
    assert leaks([item], ["Hola.", text]) == ([(item, text)] if told else [])


def test_a_country_is_not_told_by_another_whose_name_contains_its_own(monkeypatch):
    names = ("Guinea", "Guinea Ecuatorial", "Níger", "Nigeria")
    real = world.load_countries()
    monkeypatch.setattr(
        world, "load_countries", lambda language: [replace(real[0], name=name) for name in names]
    )
    exam = [replace(PERU, about=name) for name in names]
    for name in names:
        (only,) = leaks(exam, [f"En {name} hace calor."])
        assert only[0].about == name


# --- Hablar --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def words():
    own = [Dialogue(("¿Quieres tarfol?", "Vale."))]
    return known_words(replace(get_track("mini"), dialogues=lambda part: own))


def test_all_that_people_say_in_the_dialogues_exists(words):
    parts = ("pretrain", "train", "validation", "test")
    said = [turn for part in parts for d in shipped_dialogues(part) for turn in d.turns]
    assert speaks([*said, "Tarfol."], words).value == 1 and len(said) > 50_000


@each(
    "reply, well",
    [("", False), ("…", False), ("¡VALE!", True), ("Ve a Perú.", True), ("Vale, favín.", False)],
)
def test_to_speak_is_to_say_something_with_words_that_exist(reply, well, words):
    assert speaks_well(reply, words) is well


# --- Pérdida al conversar ------------------------------------------------------------------------


def test_a_model_that_knows_nothing_pays_the_logarithm_of_the_vocabulary(
    chat_tokenizer, make_model
):
    model = make_model()
    for parameter in model.parameters():
        parameter.data.zero_()
    encoded = [encode_conversation(chat_tokenizer, pair_messages("Hola", t)) for t in TEXTS]
    measure = talk_loss(model, encoded, range(len(encoded)), chat_tokenizer.pad_token_id)
    assert measure.value == pytest.approx(math.log(model.config.vocab_size), abs=1e-5)
    assert (measure.low, measure.high) == pytest.approx((measure.value,) * 2, abs=1e-5)
    groups = ["a", "b", "a", "b", "b"]
    sums, counts = talk_sums(
        model, encoded, groups, chat_tokenizer.pad_token_id, 2, kinds=(Kind.REPLY,)
    )
    replies = [e.kinds.count(Kind.REPLY) for e in encoded]
    assert counts == {"a": replies[0] + replies[2], "b": replies[1] + replies[3] + replies[4]}
    assert sums == pytest.approx({g: n * measure.value for g, n in counts.items()})


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_talk_loss_is_the_mean_over_user_and_reply_tokens_alone(tokenizer, make_model, batch_size):
    import torch

    tokenizer.pad_token = tokenizer.eos_token
    model, total, n = make_model(), 0.0, 0
    encoded = [encode_original(tokenizer, "Hola", text, 64) for text in TEXTS]
    for example in encoded:  # la pérdida del propio modelo, con todo lo demás sin etiqueta
        real = [k in (Kind.USER, Kind.REPLY) for k in example.kinds]
        labels = [i if r else -100 for i, r in zip(example.input_ids, real, strict=True)]
        with torch.inference_mode():
            loss = model(torch.tensor([example.input_ids]), labels=torch.tensor([labels])).loss
        total, n = total + loss.item() * sum(real), n + sum(real)
    measure = talk_loss(model, encoded, range(len(encoded)), tokenizer.pad_token_id, batch_size)
    assert measure.n == n
    assert measure.value == pytest.approx(total / n, rel=1e-5)
    assert measure.low < measure.value < measure.high


def test_pairs_of_one_dialogue_count_as_one_observation_and_widen_the_interval(
    tokenizer, make_model
):
    tokenizer.pad_token = tokenizer.eos_token
    model = make_model()
    encoded = [encode_original(tokenizer, text, "Sí", 64) for text in TEXTS[:2] for _ in range(8)]
    alone = talk_loss(model, encoded, range(16), tokenizer.pad_token_id)
    together = talk_loss(model, encoded, [i // 8 for i in range(16)], tokenizer.pad_token_id)
    assert (together.value, together.n) == (pytest.approx(alone.value), alone.n)
    assert together.high - together.low > 2 * (alone.high - alone.low)


# --- El examen y la tabla ------------------------------------------------------------------------


def test_the_exam_is_always_the_same_and_half_of_its_yes_no_questions_are_true():
    exam = build_exam(n=60, seed=4)
    assert exam == build_exam(n=60, seed=4) != build_exam(n=60, seed=5)
    assert [len(part) for part in vars(exam).values()] == [60] * 5
    assert sum(q.answer == YES for q in exam.yes_no) == 30
    for part in (exam.facts, exam.yes_no, exam.reading):
        assert len(set(part)) == 60


def test_an_exam_on_some_countries_is_about_those_alone():
    for language in ("es", "en"):
        some = world.load_countries(language)[:20]
        exam = build_exam(40, countries=some)
        assert [len(part) for part in vars(exam).values()] == [40] * 5
        asked = [*exam.facts, *exam.yes_no, *exam.chained]
        asked += [turn for q in exam.chained for turn in q.history]
        assert {q.about for q in asked} <= {c.name for c in some}
        assert {q.lang for part in vars(exam).values() for q in part} == {language}
        yes = world.WORDS[language].yes
        assert sum(q.answer == yes for q in exam.yes_no) == 20


@each("n", [0, 7, -2, 100_000])
def test_an_exam_of_an_impossible_size_is_refused(n):
    with pytest.raises(ValueError, match=f"n={n} debe ser par y estar entre"):
        build_exam(n)


def test_whoever_always_says_yes_gets_half_of_the_yes_no_questions_and_nothing_else():
    row = score_row("dice sí", always_yes, always_yes, build_exam(n=40))
    assert [row[c].value for c in ("sabe", "chat", "lee")] == [0, 0, 0]
    assert [row[c].value for c in ("si_no", "si_no_chat", "dice_si")] == [0.5, 0.5, 1]
    assert all(row[c].n == 40 for c in ("sabe", "chat", "lee", "si_no", "si_no_chat", "dice_si"))
    assert yes_share(["Sí, claro", "¡SÍ!", "si quieres", "no"]).value == 0.5
