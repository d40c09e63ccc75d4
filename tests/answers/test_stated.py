"""What a reply states as its answer by each rule, and that nothing is guessed where it states none or several."""

import time

import pytest
from hostile import HOSTILE_PIECES

from firsthand.answers.stated import Block, answer_block, read_answer, split_last_block


@pytest.mark.parametrize(
    ("reply", "content"),
    [
        ("<answer> 7 </answer>", "7"),
        ("<think>6?</think>so <answer>7</answer> it is", "7"),
        ("6?</think><answer>7</answer>", "7"),
        ("<think><answer>8</answer></think><answer>7</answer>", "7"),
        ("<answer></answer>", ""),
    ],
)
def test_by_tags_the_one_block_after_the_thinking_is_read(reply: str, content: str) -> None:
    assert read_answer(reply) == read_answer(reply, "stated") == (content, "")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "no <answer> block"),
        ("The answer is 7.", "no <answer> block"),
        ("<think>7</think>", "no <answer> block"),
        ("<think><answer>7</answer></think>", "no <answer> block after the thinking"),
        ("<think><answer>7</answer>", "the thinking is not closed"),
        ("<answer>7</answer><think>", "the thinking is not closed"),
        ("<answer>7", "the <answer> block is incomplete"),
        ("7</answer>", "the <answer> block is incomplete"),
        ("</answer>7<answer>", "the <answer> block is incomplete"),
        ("<answer>7</think></answer>", "the <answer> block is incomplete"),
        ("<answer>7</answer><answer>7</answer>", "2 <answer> blocks instead of one"),
        ("<answer><answer>7</answer></answer>", "2 <answer> blocks instead of one"),
    ],
)
def test_by_tags_anything_else_is_no_answer_and_says_why(reply: str, why: str) -> None:
    assert read_answer(reply) == (None, why)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "an empty reply"),
        ("<think>5", "the thinking is not closed"),
        ("Add.\nThen halve.", "no answer is stated"),
        ("word " * 60, "no answer is stated"),
        ("Answer: 5\nor \\boxed{6", "the last box is not closed"),
        ("\\boxed{5} or \\boxed{6}", "two answers side by side"),
        ("The answer is 5.\nWait, no.", "the answer is taken back"),
        ("5. Wait, 6", "the answer is taken back"),
        ("<answer>5", "the <answer> block is incomplete"),
        ("<answer>5</answer><answer>6</answer>", "2 <answer> blocks instead of one"),
    ],
)
def test_a_reply_that_states_no_answer_says_why(reply: str, why: str) -> None:
    assert read_answer(reply, "stated") == (None, why)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Add.\nThe answer is 3.5 cm.", "3.5 cm"),
        ("Add.\nThe answer is x = 2**3.", "x = 2**3"),
        ("Add.\nThe answer is **2**.", "2"),
        ("Add.\nThe answer is\n\n$$\nx\n$$\n\nas wanted", "$$ x $$"),
        ("Add.\nThe answer is B. 30°", "B. 30°"),
        ("Add.\nThe answer is 30°. Because of this it is acute.", "30°"),
        ("So \\boxed{\\{1, 2\\}}.", "\\{1, 2\\}"),
        ("So \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("So \\boxed{5} it is\nand the answer is correct", "5"),
    ],
)
def test_an_answer_is_read_without_what_is_around_it(reply: str, answer: str) -> None:
    assert read_answer(reply, "stated") == (answer, "")


def test_the_key_of_the_json_counts_before_all_else() -> None:
    reply = '{"solution": "\\\\boxed{5}, so the answer is 6", "short answer": "7"}'
    assert read_answer(reply, "stated", "short answer") == ("7", "")
    assert read_answer(reply, "stated")[0] != "7"


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("so <answer> 7 </answer>.", Block("so ", "7")),
        ("7", Block("7", None, "no <answer> block")),
        ("so <answer>7", Block("so ", None, "the <answer> block is incomplete")),
        ("<answer>7</answer> 8</answer>", Block("", None, "2 <answer> blocks instead of one")),
    ],
)
def test_a_text_is_split_at_its_one_block(text: str, block: Block) -> None:
    assert answer_block(text) == block


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("a<x>b</x>\n", ("a", "b")),
        ("<x>a</x> or <x>b</x>", ("<x>a</x> or ", "b")),
        ("<x>a</x>.", None),
        ("a</x>", None),
    ],
)
def test_a_text_is_split_at_the_block_that_it_ends_with(text: str, split: tuple[str, str] | None) -> None:
    assert split_last_block(text, "x") == split


@pytest.mark.parametrize("tail", ["", "\nThe answer is B."])
@pytest.mark.parametrize("piece", HOSTILE_PIECES, ids=repr)
def test_hostile_replies_are_read_in_linear_time(piece: str, tail: str) -> None:
    body = piece * (100_000 // len(piece))
    start = time.process_time()
    read_answer(body + tail, "stated", "short answer")
    read_answer(f"The answer is {body}{tail}", "stated")
    read_answer(f"The answer is B.{body}{tail}", "stated")
    assert time.process_time() - start < 5.0  # what is not linear takes minutes
