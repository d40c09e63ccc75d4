"""Spellings of one text are alike, and texts that mean different things are not."""

import time

import pytest
from hostile import HOSTILE_PIECES

from firsthand.answers.spelling import amount, respelt, spelt_alike

ALIKE = [
    ("154 °", "154°"),
    ("154^{\\circ}", "154°"),
    ("$154^\\circ$", "154°"),
    ("154 degrees", "154°"),
    ("16 cm^2", "16 cm²"),
    ("16 cm^{2}", "16 cm²"),
    ("6cm", "6 cm"),
    ("$6$ cm", "6 cm"),
    ("6\\,\\text{cm}", "6 cm"),
    ("$\\dfrac{3}{4}$", "\\frac{3}{4}"),
    ("\\frac34", "3/4"),
    ("¾", "3/4"),
    ("2\\frac{1}{2}", "2 1/2"),
    ("\\frac{a+b}{2}", "(a+b)/2"),
    ("√2", "\\sqrt{2}"),
    ("\\sqrt{\\frac{1}{2}}", "√(1/2)"),
    ("x₁", "x_1"),
    ("x^{10}", "x¹⁰"),
    ("\u22125", "-5"),
    ("3 \\times 4", "3×4"),
    ("3·10^5", "3 × 10^5"),
    ("x \\le 5", "x ≤ 5"),
    ("( 1 , 2 )", "(1,2)"),
    ("深 蓝色", "深蓝色"),
    ("50\\%", "50 %"),
    ("\\$5", "$5"),
]
APART = [
    ("6 cm", "6 mm"),
    ("2^3", "23"),
    ("2^{3}4", "2^{34}"),
    ("-5", "5"),
    ("1/2", "12"),
    ("\\frac{1}{2}3", "\\frac{1}{23}"),
    ("2\\frac{1}{2}", "21/2"),
    ("x_1", "x1"),
    ("a×b", "a·b"),
    ("(1,2)", "[1,2]"),
    ("3.5", "35"),
    ("45°", "45"),
    ("50%", "50"),
    ("$5", "5"),
    ("dark blue", "darkblue"),
    ("blue-green", "blue green"),
    ("1 2", "12"),
    ("√23", "√2·3"),
    ("x+1", "x-1"),
    ("a", "α"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_spellings_of_one_text_are_alike(one: str, other: str) -> None:
    assert spelt_alike(one, ["nothing", other]) == [1]
    assert spelt_alike(other, [one, "nothing"]) == [0]


@pytest.mark.parametrize(("one", "other"), APART)
def test_texts_that_mean_different_things_are_not_alike(one: str, other: str) -> None:
    assert respelt(one) != respelt(other)
    assert spelt_alike(one, [other]) == spelt_alike(other, [one]) == []


def test_one_number_with_a_known_unit_is_compared_by_value_and_unit() -> None:
    assert amount("6.0 centimeters") == amount("6cm") == amount("$6$ cm")
    assert amount("16 square centimetres") == amount("16 cm²") != amount("16 cm")
    assert amount("three quarters") == amount("6 apples") == amount("x = 6") == ""


def test_the_most_exact_way_of_comparing_that_finds_any_decides() -> None:
    assert spelt_alike("1/2", ["0.5", "1/2"]) == [1]
    assert spelt_alike("\\frac{1}{2}", ["0.5", "1/2"]) == [1]
    assert spelt_alike("$5$ cm", ["5 cm", "5cm"]) == [0, 1]


@pytest.mark.parametrize("piece", [*HOSTILE_PIECES, "\\frac{", "\\sqrt", "^{", "$x", "\\text{", "²", "1/"], ids=repr)
def test_hostile_texts_are_respelt_in_linear_time(piece: str) -> None:
    start = time.process_time()
    spelt_alike(piece * (20_000 // len(piece)), ["a", "6 cm"])
    assert time.process_time() - start < 2.0  # what is not linear takes minutes
