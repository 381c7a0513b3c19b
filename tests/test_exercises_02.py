"""Lección 02: lo verosímil pero malo se rechaza, y se dice por qué."""

from course_lib import retrieval, world
from course_lib.exercises import check, get
from course_lib.exercises.lesson_02 import _answered


def _refuse_below(threshold, language="es"):
    texts = {d.id: d.text for d in world.load_documents(language)}
    index = retrieval.build_index(texts, language)

    def refuse(question):
        hits = index.search(question, 1)
        return not hits or hits[0].score < threshold

    return refuse


def _share(hits, total):
    return sum(hits) / total


def _best(ways):
    return max(ways, key=lambda way: way[1], default=(None,))[0]


def test_a_wrong_recall_is_told_the_case_it_fails(refusal):
    for answer, words in [
        (lambda rankings, right, k: _share((r[0] in x for x, r in zip(rankings, right)), 4), "k=1"),
        (lambda rankings, right, k: _share((g in x for x, g in zip(rankings, right)), 4), "k=1"),
        (lambda rankings, right, k: sum(x[:k] == [g] for x, g in zip(rankings, right)), "da 1:"),
        (
            lambda rankings, right, k: _share(
                (g in x[:k] for x, g in zip(rankings, right)), sum(map(bool, rankings))
            ),
            "debe dar 0,25 y da 0,3333",
        ),
        (
            lambda rankings, right, k: _share((right[0] in x[:k] for x in rankings), len(rankings)),
            "cada pregunta tiene su documento bueno",
        ),
        (lambda rankings, right, k: 0.25 + len(rankings.pop()), "cambia lo que recibe"),
        (lambda rankings, right, k: 0.25, "cuentan los dos primeros"),
        (lambda rankings, right, k: k / 4 if k < 3 else 1, "la pregunta sin resultados"),
        (lambda rankings, right, k: "0,25", "debe devolver un número"),
        (0.25, "`recall(rankings, right, k)`"),
    ]:
        assert words in refusal("2.1", answer)


def test_a_refusal_is_told_how_many_it_refuses_and_on_which_side_it_fails(refusal):
    for answer, words in [
        (lambda question: True, "en falso, 222 de 222 con respuesta: calla de más"),
        (lambda question: False, "Rechaza 0 de 100 lejanas y, en falso, 0 de 222 con"),
        (lambda question: "no lo sé", "debe devolver True"),
        (_refuse_below(2.0), "calla de menos. ¿Es demasiado bajo el umbral?"),
        (_refuse_below(4.0), "calla de más. ¿Es demasiado alto el umbral?"),
        (2.8, "`refuse(question)`"),
    ]:
        assert words.lower() in refusal("2.2", answer).lower()


def test_in_the_english_track_the_questions_of_2_2_are_in_english(monkeypatch, refusal, capsys):
    monkeypatch.setenv("CURSO_RUTA", "gpt2")
    names: dict = {}
    exec(get("2.2").solution, names)
    capsys.readouterr()
    check("2.2", names["respuesta"])
    assert capsys.readouterr().out.startswith("Ejercicio 2.2: correcto.")
    assert "calla de menos" in refusal("2.2", _refuse_below(2.0, "en"))
    assert "calla de más" in refusal("2.2", _refuse_below(4.0, "en"))
    # Con el índice en español, a una pregunta en inglés casi nunca se le encuentra nada.
    assert "calla de más" in refusal("2.2", _refuse_below(2.8, "es"))


def test_a_wrong_choice_is_told_the_budget_it_fails(refusal):
    for answer, words in [
        (lambda ways, budget: max(ways, key=lambda w: w[1])[0], "ya no cabe"),
        (lambda ways, budget: min(ways, key=lambda w: w[2])[0], "caben todas"),
        (lambda ways, budget: _best([w for w in ways if w[2] < budget]), "también cabe"),
        (lambda ways, budget: "uno" if budget > 61 else "forma", "no cabe ninguna"),
        (lambda ways, budget: _best([w for w in ways if w[2] <= budget]), "las dos aciertan igual"),
        (lambda ways, budget: _best([w for w in ways[::-1] if w[2] <= budget]), "cualquier orden"),
        ("uno", "`choose(ways, budget)`"),
    ]:
        assert words in refusal("2.3", answer)


def test_a_prediction_about_sentences_is_checked_by_its_measure(solved, refusal):
    guess, share = solved("2.4")
    assert get("2.4").review((0, share)) is None
    whole, right, same = _answered()
    assert right == share < same < whole
    for answer, words in [
        ((guess, whole), "documentos enteros"),
        ((guess, same), "frases del documento bueno"),
        ((guess, 0.5), "Parte cada texto"),
        ((guess, 100 * share), "de 0 a 1"),
        ((95, share), "Tu predicción"),
        (share, "(prediccion, medida)"),
    ]:
        assert words in refusal("2.4", answer)
