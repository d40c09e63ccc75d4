"""Short words: which two are the same answer, which sentences say yes or no, and which contain an answer."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.answers.text import (
    begins_with_yes_or_no,
    contains_text,
    normalised_text,
    similarity,
    yes_or_no_of,
)

SAME = [
    ("teal", "TEAL!"),
    ("teal", "a teal"),
    ("teal", "It's teal."),
    ("teal", "The answer is: teal"),
    ("teal", r"\boxed{\text{teal}}"),
    ("3", "three"),
    ("0", "none"),
    ("21", "twenty-one"),
    ("1,000", "1000"),
    ("t-shirt", "T shirt"),
    ("don't walk", "dont walk"),
    ("dont walk", "Don\u2019t walk"),
    ("U.S.", "US"),
    ("St. Louis", "St Louis"),
    ("black and white", "black & white"),
    ("the", "The"),
    ("+", "+"),
    ("-5", "\u22125"),
    ("caf\u00e9", "cafe\u0301"),
]
"""The first three lines and the number words are VQA's own; its list of contractions is the apostrophes' rule."""
DIFFERENT = [
    ("teal", "late"),
    ("teal", "not teal"),
    ("red", "dark red"),
    ("-5", "5"),
    ("+5", "-5"),
    ("1/2", "1 2"),
    ("2,3", "23"),
    ("2-3", "23"),
    ("3.5", "35"),
    ("10\u00b2", "102"),
    ("C++", "C"),
    ("a+", "a-"),
    ("x<5", "x>5"),
    ("$5", "5%"),
    ("50", "50%"),
    ("well", "we'll"),
    ("were", "we're"),
    ("A", "B"),
    ("the", "a"),
    ("blue red", "red blue"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_case_articles_punctuation_and_number_words_do_not_count(one: str, other: str) -> None:
    assert normalised_text(one) == normalised_text(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_means_something_else_stays_apart(one: str, other: str) -> None:
    assert normalised_text(one) != normalised_text(other)


@given(st.text(min_size=1).filter(str.strip))
def test_a_text_is_never_normalised_to_nothing_and_equals_itself(text: str) -> None:
    assert normalised_text(text) == normalised_text(text)
    assert similarity(text, text) in (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        *(("yes", "yes"), ("Yes.", "yes"), ("TRUE", "yes")),
        *(("\u662f", "yes"), ("\u5bf9", "yes"), ("\u5c0d\u3002", "yes")),
        *(("no", "no"), ("False", "no"), ("\u5426", "no"), ("\u4e0d\u662f", "no"), ("\u932f", "no"), ("\u9519", "no")),
        *(("yesterday", None), ("noon", None), ("right", None), ("none", None), ("yes and no", None), ("", None)),
    ],
)  # fmt: skip
def test_a_word_for_yes_or_no_is_known_in_both_scripts(text: str, word: str | None) -> None:
    assert yes_or_no_of(text) == word


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Yes, there is.", "yes"),
        ("yes it is", "yes"),
        ("Yes - there are two.", "yes"),
        ("No, it's not.", "no"),
        ("No. There is none.", "no"),
        ("\u662f\u7684\uff0c\u6709\u3002", "yes"),
        ("Yes, or no", None),
        ("Yes and no", None),
        ("Yes, but no", None),
        ("No, yes", None),
        ("Yes, there is no dog.", None),
        ("Yes, that is wrong", None),
        ("No, that is correct", None),
        ("No one", None),
        ("No doubt it is", None),
        ("no idea", None),
        ("yes/no", None),
        ("No is wrong", None),
        ("yes is", None),
        ("Yes, maybe", None),
        ("Not yes", None),
        ("Yes, " + "it is " * 20, None),
    ],
)
def test_a_sentence_says_yes_or_no_by_its_first_word_unless_it_takes_it_back(text: str, word: str | None) -> None:
    assert begins_with_yes_or_no(text) == word


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("teal", "The car is teal"),
        ("teal", "It is a teal car."),
        ("teal", "The colour of the car in the picture is teal"),
        ("stop", "The sign says stop"),
        ("a red fox", "It's a red fox in the snow"),
        ("red and white", "It is red and white"),
    ],
)
def test_a_sentence_may_contain_the_answer(gold: str, answer: str) -> None:
    assert contains_text(answer, gold)


@pytest.mark.parametrize(
    "answer",
    [
        *("not teal", "It isn't teal", "It is not teal", "never teal", "no teal", "non-teal", "teal is wrong"),
        *("anything but teal", "It might be teal", "Is it teal?", "rather than teal it is", "\u4e0d\u662fteal"),
        *("teal or blue", "teal, blue, red", "teal and blue", "teal/blue", "It is teal. It is blue.", "teal\nblue"),
        *("teal red", "a teal-red", "a teal (red)", "teal\u6216red"),
        *("red green blue teal", "It is red green blue teal", "steal", "word " * 40 + "teal"),
    ],
)  # fmt: skip
def test_neither_a_denial_nor_a_list_nor_a_part_of_a_word_contains_it(answer: str) -> None:
    assert not contains_text(answer, "teal")


def test_similarity_is_one_minus_the_normalised_edit_distance() -> None:
    assert similarity("sitting", "kitten") == pytest.approx(1 - 3 / 7)
    assert similarity("Teal  car", "teal car") == 1
    assert similarity("saturday", "sunday") == pytest.approx(1 - 3 / 8)


@given(st.text("abc ", max_size=12), st.text("abc ", max_size=12))
def test_the_edit_distance_is_that_of_the_plain_table(one: str, other: str) -> None:
    one, other = " ".join(one.split()), " ".join(other.split())
    longest = max(len(one), len(other))
    if longest and min(len(one), len(other)) * 2 >= longest:
        assert similarity(one, other) == pytest.approx(1 - _edits(one, other) / longest)


def _edits(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        row = list(_next_row(row, i, left, other))
    return row[-1]


def _next_row(above: list[int], first: int, left: str, other: str) -> Iterator[int]:
    last = first
    yield last
    for j, right in enumerate(other, 1):
        last = min(above[j] + 1, last + 1, above[j - 1] + (left != right))
        yield last
