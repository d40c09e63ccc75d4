"""Numbers as people write them, read exactly; how they are compared is in the conformance table of the rewards."""

from fractions import Fraction

import pytest

from firsthand.answers.numbers import Number, read_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", Number(Fraction(7))),
        ("-2.50", Number(Fraction(-5, 2), is_decimal=True)),
        ("1,234,567", Number(Fraction(1_234_567))),
        ("2 1/2", Number(Fraction(5, 2))),
        (r"\frac{5}{2}", Number(Fraction(5, 2))),
        ("50%", Number(Fraction(50), percent=True)),
        ("12 cm", Number(Fraction(12), unit="cm")),
        ("9 square metres", Number(Fraction(9), unit="m2")),
        ("$7", Number(Fraction(7), unit="$")),
        ("7 apples", Number(Fraction(7))),
        ("twenty-one", Number(Fraction(21))),
        ("三千零五", Number(Fraction(3005))),
    ],
)
def test_a_number_is_read_with_its_unit(text: str, number: Number) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "x", "7 or 8", "7-8", "1 2", "7x", "7 dozen", "1/0", "1,00", "1e9", "٧", "二百五", "7 %  cm"]
)
def test_what_may_be_another_number_is_none(text: str) -> None:
    assert read_number(text) is None
