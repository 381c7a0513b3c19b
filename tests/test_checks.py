"""Las ayudas de las pruebas: si no fallaran cuando deben, nada de lo demás probaría nada."""

import pytest
from checks import complaint, each


def test_a_grid_in_one_test_tells_every_case_that_fails_and_only_those():
    @each("number, even", [(1, True), (2, True), (3, False), (5, True)])
    def check(number, even):
        assert (number % 2 == 0) is even

    with pytest.raises(AssertionError) as error:
        check()
    said = str(error.value)
    assert "2 de 4 casos" in said and "(1, True)" in said and "(5, True)" in said
    assert "(2, True)" not in said and "(3, False)" not in said


def test_a_complaint_is_the_sentence_or_nothing():
    assert complaint(int, "x").startswith("ValueError: invalid literal")
    assert complaint(int, "1") == ""
