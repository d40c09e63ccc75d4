"""What says nothing about an answer's value comes off, and nothing else."""

import pytest

from firsthand.answers.markup import (
    folded,
    without_bold,
    without_first_wrapper,
    without_markup,
    without_signs,
    without_wrappers,
)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"$\boxed{A}$", "A"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1}+\boxed{2}", r"\boxed{1}+\boxed{2}"),
        ("$1$ and $2$", "$1$ and $2$"),
        ("**yes**.", "yes"),
        ("yes.", "yes."),
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
        ("the answers are 7", "7"),
        ("the answer may be 7", "the answer may be 7"),
        ("the wrong answer is 7", "the wrong answer is 7"),
        ("✅ Final Answer: **73**", "73"),
        ("**Final Answer**\n\\boxed{640}", "640"),
        ("Final Answer: The final answer is $7$", "7"),
        ("### Answer\n7", "7"),
        ("Final answer → 7", "7"),
        ("#### 7", "7"),
        ("I think the answer is 7", "7"),
        ("綜上，本題應選：B", "B"),
        ("正確答案為 B", "B"),
        ("我认为应该选B", "B"),
        ("不应选B", "不应选B"),
        ("答案不是B", "答案不是B"),
        ("选择排序", "选择排序"),
        ("故宫", "故宫"),
        ("answer:", "answer:"),
        ("→", "→"),
    ],
)
def test_words_in_front_of_an_answer_come_off(text: str, inside: str) -> None:
    assert without_markup(text) == inside


def test_case_spacing_and_a_final_full_stop_do_not_make_another_text() -> None:
    assert folded(" **A  Red\nfox.** ") == folded("a red fox") == "a red fox"
    assert folded("a red fox") != folded("a redfox")


def test_invisible_signs_come_off_and_what_they_part_stays_apart() -> None:
    assert without_signs("\ufeff\u200bB\u200b.") == "B."
    assert without_signs("7\u200b8") == "7 8"
    assert without_signs("7\u00a0cubes") == "7 cubes"
    assert without_signs("1\u202f000") == "1\u202f000"


def test_bold_print_comes_off_and_powers_stay() -> None:
    assert without_bold("(B) **dark blue**") == "(B) dark blue"
    assert without_bold("2**3**2") == "2**3**2"
    assert without_bold("(x)**2 + (y)**2") == "(x)**2 + (y)**2"


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        (r"\boxed{7} cubes", "7 cubes"),
        (r"\boxed{\frac{1}{2}} cm", r"\frac{1}{2} cm"),
        ("$7$ cubes", "7 cubes"),
        (r"\boxed{7}8", "7 8"),
        (r"\boxed{7} or \boxed{8}", r"\boxed{7} or \boxed{8}"),
        ("7 cubes", "7 cubes"),
        (r"\boxed{7", r"\boxed{7"),
    ],
)
def test_the_wrapper_around_the_beginning_comes_off_where_it_is_the_only_one(text: str, bare: str) -> None:
    assert without_first_wrapper(text) == bare
