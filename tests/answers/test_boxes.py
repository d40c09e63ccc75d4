"""Boxes as people and models write them."""

import pytest

from firsthand.answers.boxes import area, read_boxes
from firsthand.records import Corners


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3, 4.5]",
        "(1,2,3,4.5)",
        "1, 2, 3, 4.5",
        "1 2 3 4.5",
        "x1=1, y1=2, x2=3, y2=4.5",
        '{"x1": 1, "y1": 2, "x2": 3, "y2": 4.5}',
        "left: 1, top: 2, right: 3, bottom: 4.5",
        "from (1, 2) to (3, 4.5)",
        r"The cup is at \boxed{[1, 2, 3, 4.5]}.",
    ],
)
def test_a_box_is_read_in_every_notation(text: str) -> None:
    assert read_boxes(text) == [(1, 2, 3, 4.5)]


def test_boxes_are_read_in_order() -> None:
    assert read_boxes("[5, 6, 7, 8], then [1, 2, 3, 4]") == [(5, 6, 7, 8), (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "text", ["", "[1, 2, 3]", "[1 2 3 4]", "1, 2, 3, 4, 5", "[1, 2, 3, 4e9]", f"[1, 2, 3, {'9' * 400}]"]
)
def test_other_texts_hold_no_box(text: str) -> None:
    assert read_boxes(text) == []


@pytest.mark.parametrize(("box", "size"), [((0, 0, 2, 3), 6), ((2, 0, 0, 3), 0), ((2, 3, 0, 0), 0)])
def test_corners_in_the_wrong_order_have_no_area(box: Corners, size: float) -> None:
    assert area(box) == size
