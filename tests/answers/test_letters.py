"""Several letters of options, in any order; one letter is tested by the conformance table of the rewards."""

import time

import pytest
from hostile import HOSTILE_PIECES

from firsthand.answers.letters import read_letter, read_letters, without_labels


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
        ("A/C", "AC"),
        ("(A)(C)", "AC"),
        ("a, c", "AC"),
        ("A and C are correct", "AC"),
        ("The correct options are A and C.", "AC"),
        ("选AC", "AC"),
        ("故選：A、C", "AC"),
        ("A、C正确", "AC"),
        ("A. cat, C. bird", "AC"),
        ("Option C", "C"),
        ("C. the third", "C"),
    ],
)
def test_letters_are_read_in_any_order_and_mark_up(text: str, expected: str) -> None:
    assert read_letters(text) == frozenset(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "and",
        "1",
        "A or B",
        "not A",
        "A but not B",
        "A to D",
        "A-D",
        "Ab",
        "all",
        "A, maybe C",
        "A. or C.",
        "AA",
        "不选AC",
    ],
)
def test_other_texts_are_no_letters(text: str) -> None:
    assert read_letters(text) is None


def test_letters_stand_beside_the_texts_of_their_own_options() -> None:
    options = ("cat", "dog", "bird")
    assert read_letters("A. cat, C. bird", options) == read_letters("cat and bird", options) == frozenset("AC")
    assert read_letters("A. dog, C. bird", options) is None
    assert read_letters("A, D", options) is None


@pytest.mark.parametrize(
    ("options", "bare"),
    [
        (("A) cat", "B) dog"), ("cat", "dog")),
        (("(A) cat", "(B) dog"), ("cat", "dog")),
        (("a. cat", "b. dog"), ("cat", "dog")),
        (("A、猫", "B、狗"), ("猫", "狗")),
        (("（A）猫", "（B）狗"), ("猫", "狗")),
        (("A: cat", "B: dog"), ("cat", "dog")),
        (("A) cat", "C) dog"), ("A) cat", "C) dog")),
        (("A) cat", "dog"), ("A) cat", "dog")),
        (("A", "B"), ("A", "B")),
        (("A)", "B)"), ("A)", "B)")),
        ((), ()),
    ],
)
def test_letters_come_off_options_that_all_carry_their_own(options: tuple[str, ...], bare: tuple[str, ...]) -> None:
    assert without_labels(options) == bare


@pytest.mark.parametrize("text", ["dog", "B", "B. dog", "(B) dog", "B) dog", "B: dog", "B (dog)"])
@pytest.mark.parametrize("options", [("A) cat", "B) dog"), ("A. cat", "B. dog"), ("(A) cat", "(B) dog")])
def test_an_option_that_carries_its_letter_is_read_with_and_without(text: str, options: tuple[str, ...]) -> None:
    assert read_letter(text, options) == ("B", "")


@pytest.mark.parametrize("options", [(), ("cat", "6 cm")])
@pytest.mark.parametrize("piece", [*HOSTILE_PIECES, "option ", "A, ", "A. ", "选", "所以", "B)", "(A)"], ids=repr)
def test_hostile_texts_are_read_in_linear_time(piece: str, options: tuple[str, ...]) -> None:
    start = time.process_time()
    for text in (piece * (20_000 // len(piece)), "B. " + piece * (20_000 // len(piece))):
        read_letter(text, options)
        read_letters(text, options)
    assert time.process_time() - start < 4.0  # what is not linear takes minutes


@pytest.mark.parametrize(
    "word", ["output", "[0", "B", "B is", "A and", "the", "yes,", "选", "\\text", "7 in the", "x^"]
)
def test_a_long_gap_is_read_in_linear_time(word: str) -> None:
    text = f"{word}{' ' * 20_000}x"
    start = time.process_time()
    read_letter(text, ("cat", "6 cm"))
    read_letters(text)
    assert time.process_time() - start < 2.0  # what is not linear takes minutes
