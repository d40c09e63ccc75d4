"""Rewards: what is read, refused and left unmeasured."""

import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firsthand.records import Answer, Box, Choice, Digit, Example, Expression, OpenEnded, Status, Verdict
from firsthand.reward import Router
from firsthand.reward.box import iou

OK, UNPARSED, WRONG_FORMAT = Status.OK, Status.UNPARSED, Status.WRONG_FORMAT
SEVEN = Digit(value="7")
LETTER_B = Choice(letter="B")
COLOURS = Choice(letter="B", options=("red", "dark blue", "green"))
SQUARE = Box(xyxy=(0.0, 0.0, 1.0, 1.0))
BOMB = "10^{10^{10}}"
THOROUGH = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def maths(latex: str) -> Expression:
    return Expression(latex=latex)


def reply(content: str) -> str:
    return f"<think>\nlet me see\n</think>\n<answer>{content}</answer>"


# ---- what the verifiers read

REPLIES: list[tuple[str, float, Status, str]] = [
    ("<answer>7</answer>", 1, OK, "equals 7"),
    ("<think>6?</think>so <answer>8</answer> it is", 0, OK, "expected 7"),
    ("7", 0, WRONG_FORMAT, "no <answer> block"),
    ("<answer>7</answer><answer>7</answer>", 0, WRONG_FORMAT, "2 <answer> blocks"),
]


@pytest.mark.parametrize(("text", "score", "status", "why"), REPLIES)
def test_what_the_one_answer_block_holds_is_compared_and_a_reply_without_it_is_wrong(
    router: Router, text: str, score: float, status: Status, why: str
) -> None:
    verdict = router.judge(text, SEVEN)
    assert (verdict.status, verdict.score) == (status, score)
    assert why in verdict.why


@pytest.mark.parametrize(
    "gold",
    [
        Digit(value="several"),
        Choice(letter="none"),
        Choice(letter="D", options=("red", "blue")),
        Box(xyxy=(1, 1, 0, 0)),
        Box(xyxy=(0, 0, float("nan"), 1)),
        maths(r"\frac{1}{"),
        maths("1/0"),
    ],
    ids=lambda gold: f"{gold.kind} {gold.text}",
)
def test_a_gold_that_cannot_be_read_leaves_the_reply_unmeasured(router: Router, gold: Answer) -> None:
    contents = {"digit": "7", "choice": "A", "box": "[0, 0, 1, 1]", "math": "7"}
    verdict = router.judge(reply(contents[gold.kind]), gold)
    assert (verdict.status, verdict.score) == (Status.FAILED, None)


@pytest.mark.parametrize("gold", [SEVEN, COLOURS, LETTER_B, SQUARE, maths("7")], ids=lambda gold: gold.kind)
@pytest.mark.parametrize("unit", ["7", "<answer>", "<think>", "$", "[0,", "\\boxed{", "A. ", " ", "(", "-", "1 "])
def test_a_hundred_kilobytes_of_anything_are_judged_at_once(router: Router, gold: Answer, unit: str) -> None:
    start = time.process_time()
    verdict = router.judge(reply(unit * (100_000 // len(unit))), gold)
    assert verdict.score == 0
    assert time.process_time() - start < 0.5
    assert len(verdict.parsed or "") < 300


@given(text=st.text(st.characters(exclude_categories=()) | st.sampled_from("$\\{}[]().,0123456789ABC^_-"), max_size=40))
@THOROUGH
def test_every_text_gets_a_verdict_that_can_be_written_down(router: Router, text: str) -> None:
    for gold in (SEVEN, COLOURS, LETTER_B, SQUARE):
        for whole in (text, f"<answer>{text}</answer>"):
            verdict = router.judge(whole, gold)
            assert verdict.score is not None
            assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_a_box_with_its_corners_in_the_wrong_order_is_told_so(router: Router) -> None:
    assert "expected x1 < x2" in router.judge(reply("[1, 0, 0, 1]"), SQUARE).why


corners = st.tuples(*[st.integers(0, 8)] * 4).filter(lambda b: b[0] < b[2] and b[1] < b[3])


@given(a=corners, b=corners)
@THOROUGH
def test_iou_is_the_share_of_cells_that_two_boxes_have_in_common(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    cells_a, cells_b = ({(x, y) for x in range(c[0], c[2]) for y in range(c[1], c[3])} for c in (a, b))
    expected = len(cells_a & cells_b) / len(cells_a | cells_b)
    assert iou((a[0], a[1], a[2], a[3]), (b[0], b[1], b[2], b[3])) == pytest.approx(expected)


# ---- the router


def test_verdicts_do_not_depend_on_order_batch_or_number_of_workers(router: Router) -> None:
    pairs = [(text, SEVEN) for text, *_ in REPLIES] + [(reply(text), maths("2x")) for text in ("x+x", "x", "x x", "")]
    order = random.Random(0).sample(range(len(pairs)), len(pairs))
    one_by_one = [router.judge(*pair) for pair in pairs]
    with Router(workers=2, deadline_s=60.0) as two:
        shuffled = two.judge_many([pairs[i] for i in order])
    back: dict[int, Verdict] = dict(zip(order, shuffled, strict=True))
    assert [back[i] for i in range(len(pairs))] == one_by_one
    assert router.judge_many(pairs) == one_by_one
    assert router.judge_many([]) == []


def example(answer: Answer, question: str = "how many?") -> Example:
    return Example(question=question, images=(), answer=answer)


def test_data_whose_golds_score_themselves_passes_the_check(router: Router) -> None:
    box = Box(xyxy=(0.123456789, 0.2, 0.987654321, 0.9))  # written with 6 digits, so its IoU with itself is not 1
    router.check([example(a) for a in (SEVEN, LETTER_B, COLOURS, box, maths("y=|x+9|"), maths(r"30^\circ"))])


def test_open_answers_are_refused_before_training(router: Router) -> None:
    open_ended = example(OpenEnded(reference="a cat on a mat"))
    said = (
        rf"example {open_ended.id}, column `kind`: expected one of digit, choice, letters, math, box, text, "
        "environment, got `open`"
    )
    with pytest.raises(ValueError, match=said):
        router.check([example(SEVEN), open_ended])
    with pytest.raises(ValueError, match="kind 'open'"):
        router.judge_many([(reply("7"), SEVEN), (reply("a cat"), open_ended.answer)])


@pytest.mark.parametrize(
    "gold",
    [
        Digit(value="several"),
        Digit(value="7</answer>"),
        Choice(letter="D", options=("red", "blue")),
        Box(xyxy=(0.5, 0.5, 0.1, 0.1)),
        maths("1/0"),
        maths("1 000"),
    ],
    ids=lambda gold: gold.text,
)
def test_a_gold_that_its_own_verifier_rejects_is_refused_by_name(router: Router, gold: Answer) -> None:
    bad = example(gold, "which?")
    with pytest.raises(ValueError, match=f"example {bad.id}, column `answer`: .* of kind `{gold.kind}`") as refusal:
        router.check([example(SEVEN), bad])
    assert example(SEVEN).id not in str(refusal.value)


def test_a_long_list_of_bad_golds_is_counted_not_printed(router: Router) -> None:
    with pytest.raises(ValueError, match=r"27 of 27 ground truths cannot be used\. The first 20:") as refusal:
        router.check([example(Digit(value="many"), f"question {i}") for i in range(27)])
    assert str(refusal.value).count("example ") == 20


@pytest.mark.parametrize(("workers", "deadline_s"), [(0, 5.0), (1, 0.0), (-1, 5.0)])
def test_a_router_without_workers_or_time_is_refused(workers: int, deadline_s: float) -> None:
    with pytest.raises(ValueError, match="expected workers >= 1 and deadline_s > 0, got"):
        Router(workers=workers, deadline_s=deadline_s)
