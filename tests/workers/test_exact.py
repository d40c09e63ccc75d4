"""Exact values: what has one, what is too large, and which functions are the same."""

from fractions import Fraction

import pytest

from firsthand.answers.maths.expressions import read_expression
from firsthand.workers.exact import NotExact, NoValue, TooLarge, exact_value, same_function, same_up_to_factor


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\frac{1}{3}+\frac{1}{6}", "1/2"),
        ("2^{-3}", "1/8"),
        (r"\sqrt{\frac{16}{9}}", "4/3"),
        (r"\sqrt[3]{-27}", "-3"),
        ("8^{2/3}", "4"),
        ("5!", "120"),
        (r"\binom{5}{2}", "10"),
        (r"|{-3}|+\lfloor 2.7 \rfloor", "5"),
        (r"0.1\overline{6}", "1/6"),
        (r"2^3\frac{1}{2}", "4"),
        (r"1\frac{1}{2}", "3/2"),
        ("2^3^2", "512"),
        ("-2^2", "-4"),
        ("3e-5", "3/100000"),
    ],
)
def test_a_rational_value_is_exact(text: str, value: str) -> None:
    assert exact_value(read_expression(text), {}) == Fraction(value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1/0", NoValue),
        ("0^0", NoValue),
        (r"\frac{1}{2-2}", NoValue),
        (r"\sqrt{2}", NotExact),
        (r"\pi", NotExact),
        ("x", NotExact),
        ("2^{0.5}", NotExact),
        ("10^{10^{10}}", TooLarge),
        ("9^{9^9}", TooLarge),
        ("100000!", TooLarge),
        ("((9^{99})^{99})^{99}", TooLarge),
    ],
)
def test_what_has_no_value_here_says_why_and_is_not_computed(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        exact_value(read_expression(text), {})


@pytest.mark.parametrize(
    ("gold", "said", "same"),
    [
        ("x^2-1", "(x-1)(x+1)", True),
        ("x^2-1", "x^2+1", False),
        (r"\frac{x^2-1}{x-1}", "x+1", True),
        ("ab", "ba", True),
        ("xy", "xz", False),
        ("|x|", "x", False),
        ("|x|", "-x", False),
        ("|x+10^{30}|", "x+10^{30}", False),
        ("|10^{-30}x+1|", "10^{-30}x+1", False),
        ("x+10^{-60}", "x", False),
    ],
)
def test_functions_are_the_same_where_they_agree_everywhere(gold: str, said: str, same: bool) -> None:
    assert same_function(read_expression(said), read_expression(gold)) is same


@pytest.mark.parametrize(
    ("gold", "said", "factor", "positive"),
    [("3x-y", "6x-2y", True, True), ("3x-y", "y-3x", True, False), ("3x-y", "3x+y", False, False), ("x", "0", 0, 0)],
)
def test_sides_of_an_equation_have_a_factor_and_those_of_an_inequality_a_positive_one(
    gold: str, said: str, factor: bool, positive: bool
) -> None:
    trees = read_expression(said), read_expression(gold)
    assert same_up_to_factor(*trees, positive=False) == factor
    assert same_up_to_factor(*trees, positive=True) == positive
