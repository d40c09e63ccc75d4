"""What says nothing about an answer's value comes off, and nothing else."""

import pytest

from firsthand.answers.markup import folded, without_markup, without_wrappers


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"$\boxed{A}$", "A"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1}+\boxed{2}", r"\boxed{1}+\boxed{2}"),
        ("$1$ and $2$", "$1$ and $2$"),
        ("$", "$"),
        ("$$", ""),
        (r"\boxed{7", r"\boxed{7"),
    ],
)
def test_only_wrappers_around_the_whole_answer_come_off(text: str, inside: str) -> None:
    assert without_wrappers(text) == inside


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"Output 4: \[\boxed{７}\]", "7"),
        ("**The final answer is: 7**", "7"),
        ("答案是：七", "七"),
        ("it is so", "so"),
        ("the answers are 7", "the answers are 7"),
    ],
)
def test_words_in_front_of_an_answer_come_off(text: str, inside: str) -> None:
    assert without_markup(text) == inside


def test_case_spacing_and_a_final_full_stop_do_not_make_another_text() -> None:
    assert folded(" **A  Red\nfox.** ") == folded("a red fox") == "a red fox"
    assert folded("a red fox") != folded("a redfox")
