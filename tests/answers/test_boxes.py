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
        "bbox: 1, 2, 3, 4.5",
        "The bounding box is 1, 2, 3, 4.5.",
        "Bounding box coordinates: 1, 2, 3, 4.5",
        "The coordinates are 1, 2, 3, 4.5",
        "x1, y1, x2, y2 = 1, 2, 3, 4.5",
        "(x1, y1, x2, y2) = (1, 2, 3, 4.5)",
        "```\n1, 2, 3, 4.5\n```",
        "<box>1, 2, 3, 4.5</box>",
        "<box>(1,2),(3,4.5)</box>",
        "<|box_start|>(1,2),(3,4.5)<|box_end|>",
        "[[1, 2], [3, 4.5]]",
        '```json\n[\n\t{"bbox_2d": [1, 2, 3, 4.5], "label": "cup"}\n]\n```',
        '{"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4.5}',
        '{"ymin": 2, "xmin": 1, "ymax": 4.5, "xmax": 3}',
        '{"x_min": "1", "y_min": "2", "x_max": "3", "y_max": "4.5"}',
        '{"x": 1, "y": 2, "width": 2, "height": 2.5}',
        "x=1, y=2, w=2, h=2.5",
        "left 1 px, top 2 px, right 3px and bottom 4.5px",
        "x1=1; y1=2; x2=3; y2=4.5",
        "top-left (1, 2), bottom-right (3, 4.5)",
        "The top left corner is at (1, 2) and the bottom right corner is at (3, 4.5).",
        "bottom-right (3, 4.5), top-left (1, 2)",
        "(1, 2) -> (3, 4.5)",
        '{"top_left": {"x": 1, "y": 2}, "bottom_right": {"x": 3, "y": 4.5}}',
        "\u5de6\u4e0a\u89d2(1, 2)\uff0c\u53f3\u4e0b\u89d2(3, 4.5)",
        "\u8fb9\u754c\u6846\uff1a[1\uff0c2\uff0c3\uff0c4.5]",
    ],
)
def test_a_box_is_read_in_every_notation(text: str) -> None:
    assert read_boxes(text) == [(1, 2, 3, 4.5)]


def test_boxes_are_read_in_order() -> None:
    assert read_boxes("[5, 6, 7, 8], then [1, 2, 3, 4]") == [(5, 6, 7, 8), (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[1, 2, 3]", "[1 2 3 4]", "1, 2, 3, 4, 5", "[1, 2, 3, 4e9]", f"[1, 2, 3, {'9' * 400}]"),
        *("bbox: 1, 2, 3, 4, 5", "bbox: 1, 2, 3, 4e9", "x1=1, y1=2, x2=3, y2=4e9", "box 1 of 2, 3 and 4"),
        "top-right (3, 2), bottom-left (1, 4.5)",
        "x: 1, y: 2, x: 3, y: 4",
        "x_center: 1, y_center: 2, width: 3, height: 4",
        "x1: 1, y1: 2, width: 3, y2: 4",
    ],
)
def test_other_texts_hold_no_box(text: str) -> None:
    assert read_boxes(text) == []


@pytest.mark.parametrize(("box", "size"), [((0, 0, 2, 3), 6), ((2, 0, 0, 3), 0), ((2, 3, 0, 0), 0)])
def test_corners_in_the_wrong_order_have_no_area(box: Corners, size: float) -> None:
    assert area(box) == size
