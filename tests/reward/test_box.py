"""Boxes whose coordinates are measured in something else than the true box's, and boxes that leave their picture."""

import pytest

from firsthand.answers.boxes import box_text
from firsthand.records import Box, Coordinates, Example, Status
from firsthand.reward import Router
from firsthand.reward.box import judge_box

SIZE = (640, 480)
PIXELS = Box(xyxy=(64, 48, 320, 240), size=SIZE)
SHARES = Box(xyxy=(0.1, 0.1, 0.5, 0.5), size=SIZE)
IN_UNITS: list[tuple[Coordinates, str]] = [
    ("pixels", "[64, 48, 320, 240]"),
    ("shares", "[0.1, 0.1, 0.5, 0.5]"),
    ("thousand", "[100, 100, 500, 500]"),
]


@pytest.mark.parametrize("truth", [PIXELS, SHARES], ids=["pixels", "shares"])
@pytest.mark.parametrize(("unit", "reply"), IN_UNITS)
def test_a_reply_is_read_in_the_units_that_the_recipe_says(truth: Box, unit: Coordinates, reply: str) -> None:
    verdict = judge_box(reply, truth, coordinates=unit)
    assert (verdict.score, verdict.outside) == (pytest.approx(1), False)
    assert box_text(truth, unit) == reply


@pytest.mark.parametrize(("unit", "reply"), IN_UNITS)
@pytest.mark.parametrize("said", [unit for unit, _ in IN_UNITS])
def test_in_any_other_unit_the_same_box_is_another_one(unit: Coordinates, reply: str, said: Coordinates) -> None:
    score = judge_box(reply, PIXELS, coordinates=said).score
    assert score is not None and (score > 0.99) == (said == unit)


def test_what_a_row_says_of_its_replies_comes_before_the_recipe() -> None:
    row = PIXELS.model_copy(update={"coordinates": "thousand"})
    assert judge_box("[100, 100, 500, 500]", row, coordinates="pixels").score == pytest.approx(1)
    assert judge_box("[64, 48, 320, 240]", row, coordinates="pixels").score != pytest.approx(1)


def test_shares_and_thousandths_of_shares_need_no_size() -> None:
    truth = Box(xyxy=(0.1, 0.1, 0.5, 0.5))
    assert judge_box("[100, 100, 500, 500]", truth, coordinates="thousand").score == pytest.approx(1)
    assert judge_box("[0.1, 0.1, 0.5, 0.5]", truth, coordinates="shares").score == pytest.approx(1)


@pytest.mark.parametrize(
    ("truth", "unit"),
    [(Box(xyxy=(64, 48, 320, 240)), "thousand"), (Box(xyxy=(64, 48, 320, 240)), "shares"),
     (Box(xyxy=(0.1, 0.1, 0.5, 0.5)), "pixels")],
)  # fmt: skip
def test_without_the_size_that_a_comparison_needs_nothing_is_measured(truth: Box, unit: Coordinates) -> None:
    verdict = judge_box("[100, 100, 500, 500]", truth, coordinates=unit)
    assert (verdict.score, verdict.status) == (None, Status.FAILED)
    assert "size" in verdict.why
    with Router(coordinates=unit) as router, pytest.raises(ValueError, match="without the picture's size"):
        router.check([Example(question="?", images=(), answer=truth)])


@pytest.mark.parametrize("unit", [unit for unit, _ in IN_UNITS])
def test_a_ground_truth_is_accepted_in_the_units_of_replies(unit: Coordinates) -> None:
    with Router(coordinates=unit) as router:
        router.check([Example(question="?", images=(), answer=truth) for truth in (PIXELS, SHARES)])


@pytest.mark.parametrize(
    ("truth", "unit", "reply", "outside"),
    [
        (PIXELS, "auto", "[64, 48, 320, 240]", False),
        (PIXELS, "auto", "[0, 0, 640.4, 480]", False),  # rounded
        (PIXELS, "auto", "[156, 417, 469, 833]", True),
        (PIXELS, "auto", "[-9, 0, 640, 480]", True),
        (PIXELS, "auto", "[0.1, 0.1, 0.5, 0.5]", False),
        (PIXELS, "thousand", "[156, 417, 469, 833]", False),
        (PIXELS, "thousand", "[156, 417, 469, 1100]", True),
        (PIXELS, "shares", "[156, 417, 469, 833]", True),
        (SHARES, "auto", "[156, 417, 469, 833]", True),
        (Box(xyxy=(0.1, 0.1, 0.5, 0.5)), "auto", "[156, 417, 469, 833]", True),
        (Box(xyxy=(64, 48, 320, 240)), "auto", "[156, 417, 469, 833]", None),
        (PIXELS, "auto", "[900, 900, 100, 100]", True),  # no area
        (PIXELS, "auto", "no box", None),
    ],
)
def test_a_verdict_tells_whether_a_box_leaves_its_picture(
    truth: Box, unit: Coordinates, reply: str, outside: bool | None
) -> None:
    assert judge_box(reply, truth, coordinates=unit).outside is outside


def test_one_box_may_be_said_twice_but_not_two() -> None:
    assert judge_box("[64, 48, 320, 240], that is (64, 48), (320, 240)", PIXELS).score == 1
    assert judge_box("[64, 48, 320, 240] or [0, 0, 9, 9]", PIXELS).status is Status.UNPARSED
