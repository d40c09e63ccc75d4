"""Gold boxes of data files -> records: what their numbers are measured in, and that they lie within their picture."""

import json
from collections.abc import Mapping
from typing import Any, cast, get_args

from firsthand.answers.boxes import are_shares, area, leaves_picture, read_boxes, scale_to_truth
from firsthand.answers.literals import are_four_numbers, literal
from firsthand.answers.stated import LONGEST_ANSWER
from firsthand.errors import BadRow, shown
from firsthand.records import Box, Coordinates, Corners

_WITHIN = (
    "correct it: numbers from 0 to 1000 need a column `answer_coordinates` with `thousand`, and "
    "[x, y, width, height] must become [x, y, x + width, y + height]"
)


def true_box(value: object, size: object, beside: Mapping[str, Any]) -> Box:
    """The gold boxes of a row, in pixels or as shares. Raises BadRow.

    `beside` holds the columns `answer_coordinates`, what they are measured in, and `coordinates`, what those of replies
    are.
    """
    expected = "boxes [x1, y1, x2, y2] with x1 < x2 and y1 < y2"
    boxes = boxes_of(value)
    if not boxes:
        raise BadRow("answer", expected, shown(value), "write four numbers in brackets")
    if any(area(box) <= 0 for box in boxes):
        remedy = "order the corners; [x, y, width, height] must become [x, y, x + width, y + height]"
        raise BadRow("answer", expected, shown(value), remedy)
    picture, replies = _size(size), _unit("coordinates", beside)
    boxes = _in_a_known_unit(boxes, _unit("answer_coordinates", beside), picture, replies, value)
    truth = Box(xyxy=boxes[0] if len(boxes) == 1 else tuple(boxes), size=picture, coordinates=replies)
    if replies not in (None, "auto") and scale_to_truth(truth, replies) is None:
        got = f"`{replies}`, an answer in other units and no size"
        raise BadRow("coordinates", "the picture's size", got, "give `size` as [width, height]", "bad_answer")
    if leaves_picture(boxes, truth, "auto"):
        got = truth.text if picture is None else f"{truth.text} in a picture of {picture[0]} x {picture[1]} pixels"
        raise BadRow("answer", "boxes within their picture", got, _WITHIN)
    return truth


def boxes_of(value: object) -> list[Corners]:
    """One box, or several, from numbers or, as in a reply, from text; none where there are none."""
    found = literal(value)
    for boxes in ([found], found):
        if isinstance(boxes, list | tuple) and boxes and all(are_four_numbers(box) for box in boxes):
            return [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in boxes]
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return read_boxes(text) if len(text) <= LONGEST_ANSWER else []


def _in_a_known_unit(
    boxes: list[Corners],
    unit: Coordinates | None,
    size: tuple[int, int] | None,
    replies: Coordinates | None,
    value: object,
) -> list[Corners]:
    """Thousandths as pixels, or as shares where the picture's size is not needed; everything else as it stands."""
    if unit == "shares" and not all(are_shares(box) for box in boxes):
        raise BadRow("answer", "shares of the picture from 0 to 1", shown(value), "correct it or `answer_coordinates`")
    if unit != "thousand":
        return boxes
    if any(min(box) < 0 or max(box) > 1000 for box in boxes):
        raise BadRow("answer", "thousandths of the picture from 0 to 1000", shown(value), "correct it")
    if size is None and replies not in ("shares", "thousand"):
        got, remedy = "`thousand` and no size", "give `size` as [width, height], or replies' `coordinates`"
        raise BadRow("answer_coordinates", "the picture's size", got, remedy, "bad_answer")
    width, height = size or (1, 1)
    x, y = width / 1000, height / 1000
    return [(box[0] * x, box[1] * y, box[2] * x, box[3] * y) for box in boxes]


def _unit(column: str, beside: Mapping[str, Any]) -> Coordinates | None:
    value = beside.get(column)
    if value is not None and value not in get_args(Coordinates):
        expected = f"one of {', '.join(get_args(Coordinates))}"
        raise BadRow(column, expected, shown(value), "correct it, or leave it out", "bad_answer")
    return cast(Coordinates | None, value)


def _size(value: object) -> tuple[int, int] | None:
    found = literal(value)
    if found is None:
        return None
    if isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(n, int) and n > 0 for n in found):
        return found[0], found[1]
    remedy = "correct it or leave it out"
    raise BadRow("size", "[width, height] of the picture in pixels", shown(value), remedy, "bad_answer")
