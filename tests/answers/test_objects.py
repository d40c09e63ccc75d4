"""What kind of mathematical object a text is, and what is not read as one."""

import pytest

from firsthand.answers.maths.objects import read_form
from firsthand.answers.maths.tokens import Unread


@pytest.mark.parametrize(
    ("text", "kind", "parts"),
    [
        ("7", "value", 0),
        ("1,000", "value", 0),
        (r"2\pi r h", "value", 0),
        (r"n \log n", "value", 0),
        ("x-y", "value", 0),
        ("xy", "value", 0),
        ("east", "word", 0),
        ("BCA", "word", 0),
        ("north-east", "word", 0),
        (r"\text{no solution}", "word", 0),
        ("tan", "word", 0),
        ("line AB", "figure", 1),
        ("3, 5, 9", "list", 3),
        (r"17, 44, \text{ and } 83", "list", 3),
        (r"x = \pm 3", "list", 2),
        ("n=3, 5, 9", "list", 3),
        ("x=1 or x=2", "list", 2),
        ("x=3, y=-2", "assignments", 2),
        (r"\begin{cases} x=3 \\ y=-2 \end{cases}", "assignments", 2),
        ("f(x) = x^2", "label", 1),
        ("x^2+y^2=4", "equation", 0),
        ("PV=nRT", "label", 1),
        ("(1, 2)", "tuple", 2),
        ("A(1, 2)", "tuple", 2),
        ("[1, 2]", "interval", 2),
        ("[1, 2, 3]", "tuple", 3),
        (r"(1, \infty)", "interval", 2),
        ("5 > x > 2", "interval", 2),
        (r"x \ne 4", "union", 2),
        (r"\mathbb{R} \setminus \{0\}", "union", 2),
        (r"\{x \mid 1 < x < 2\}", "interval", 2),
        ("{1, 2}", "set", 2),
        (r"\{(1, 2), (3, 4)\}", "set", 2),
        (r"\left[\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}\right]", "matrix", 2),
        ("2:15", "ratio", 2),
        ("2:05", "time", 0),
        ("9:30 a.m.", "time", 0),
        ("1011_2", "based", 0),
        ("2 + 3 = 5", "chain", 2),
        ("The value is $7$.", "value", 0),
        (r"so the sum is $8+(-6)=\boxed{2}$", "value", 0),
    ],
)
def test_a_text_is_one_kind_of_object(text: str, kind: str, parts: int) -> None:
    form = read_form(text)
    assert (form.kind, len(form.parts)) == (kind, parts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "an empty answer"),
        ("1 2", "two numbers side by side"),
        ("x <", "one side"),
        (r"\frac{1}{", "braces that do not match"),
        ("(" * 31 + "1" + ")" * 31, "nested more than 30 deep"),
        (r"\boxed{4} or \boxed{5}", "several boxes"),
        ("The first is 4, the second is 5", "does not state one answer"),
        ("hello 5", "the word 'hello'"),
        ("59_8", "no number of base 8"),
        ("1e3000", "2,000 digits"),
        ("7" * 2001, "2,001 characters"),
        (", ".join("1" * 61), "61 elements"),
    ],
)
def test_what_is_no_object_says_why(text: str, why: str) -> None:
    with pytest.raises(Unread, match=why):
        read_form(text)


@pytest.mark.parametrize(
    "text", [r"\int_0^1 x dx, 2", r"1 \text{ or } \int_0^1 x dx", r"\text{not } \int_0^1 x dx", r"\foo{1}", "x? "]
)
def test_only_one_formula_without_words_is_left_to_another_reader(text: str) -> None:
    with pytest.raises(Unread) as unread:
        read_form(text)
    assert not unread.value.foreign


def test_an_integral_is_left_to_another_reader() -> None:
    with pytest.raises(Unread) as unread:
        read_form(r"\int_0^1 x dx")
    assert unread.value.foreign
