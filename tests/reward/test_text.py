"""Short words: the normalisation of VQA, ANLS by hand, and what may contain an answer."""

import pytest

from firsthand.records import Letters, Text
from firsthand.reward.letters import judge_letters
from firsthand.reward.text import judge_text


@pytest.mark.parametrize(
    ("gold", "reply", "score"),
    [
        ("kitten", "sitting", 1 - 3 / 7),
        ("kitten", "kitten", 1),
        ("Kitten", "a kitten", 1 - 2 / 8),
        ("abcd", "abxy", 0.5),  # at the threshold
        ("abcd", "axyz", 0),
        ("ab", "abcdefgh", 0),
    ],
)
def test_anls_is_one_minus_the_normalised_edit_distance_and_nothing_below_a_half(
    gold: str, reply: str, score: float
) -> None:
    assert judge_text(reply, Text(value=gold), "anls").score == pytest.approx(score)


@pytest.mark.parametrize("reply", ["It is a teal car", "The sign is teal.", "a very bright teal"])
def test_a_sentence_may_contain_the_answer_where_the_recipe_says_so(reply: str) -> None:
    assert judge_text(reply, Text(value="teal"), "contains").score == 1
    assert judge_text(reply, Text(value="teal"), "exact").score == 0


@pytest.mark.parametrize(
    "reply",
    ["not teal", "It isn't teal", "teal or blue", "teal, blue, red", "teal and blue", "anything but teal", "steal",
     "It is teal. It is blue.", "no teal", "non-teal", "teal/blue", "word " * 30 + "teal"],
)  # fmt: skip
def test_neither_a_denial_nor_a_list_contains_the_answer(reply: str) -> None:
    assert judge_text(reply, Text(value="teal"), "contains").score == 0


def test_letters_are_compared_as_a_set() -> None:
    gold = Letters(letters="AC")
    assert [judge_letters(reply, gold).score for reply in ("C, A", "AC", "A", "ABC", "E")] == [1, 1, 0, 0, 0]
