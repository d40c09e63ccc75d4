"""Several letters of options, in any order; one letter is tested by the conformance table of the rewards."""

import pytest

from firsthand.answers.letters import read_letters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", "A"),
        ("(A)", "A"),
        ("[A]", "A"),
        ("<<A>>", "A"),
        ("**A**", "A"),
        ("A.", "A"),
        ("a", "A"),
        ("A, C", "AC"),
        ("C,A", "AC"),
        ("A, B, and C", "ABC"),
        ("A、C", "AC"),
        ("A和C", "AC"),
        ("ABCD", "ABCD"),
        ("A C", "AC"),
        ("(A) and (C)", "AC"),
        ("Option C", "C"),
        ("C. the third", "C"),
    ],
)
def test_letters_are_read_in_any_order_and_mark_up(text: str, expected: str) -> None:
    assert read_letters(text) == frozenset(expected)


@pytest.mark.parametrize(
    "text", ["", "and", "1", "A or B", "not A", "A but not B", "A to D", "A-D", "Ab", "all", "A, maybe C", "A. or C."]
)
def test_other_texts_are_no_letters(text: str) -> None:
    assert read_letters(text) is None
