"""Boxes as people and models write them: `[..]`, `(..)`, `x1: .., y1: ..`, two corners, or nothing but four numbers."""

import re
from collections.abc import Sequence

from firsthand.answers.markup import without_markup
from firsthand.records import Box, Coordinates, Corners

# At most 9 digits before the point: float() of 400 digits is infinite, and an IoU of infinities is not a number.
_NUMBER = r"\s*(-?(?:[0-9]{1,9}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}))\s*"
_FOUR = ",".join([_NUMBER] * 4)
_CORNERS = (("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom"))
_NAMED = "|".join(r"\s*,\s*".join(rf"[\"']?{name}[\"']?\s*[:=]?{_NUMBER}" for name in names) for names in _CORNERS)
_PAIR = rf"[\[(]{_NUMBER},{_NUMBER}[\])]"
_BOX = re.compile(rf"\[{_FOUR}\]|\({_FOUR}\)|{_NAMED}|{_PAIR}\s*(?:,|to|and)?\s*{_PAIR}")
_BARE = re.compile(rf"{_FOUR}|" + r"\s+".join([_NUMBER] * 4))


def read_boxes(text: str) -> list[Corners]:
    """Every box in the text, in order: `[..]`, `(..)`, `x1: .., y1: ..`, two corners, or nothing but four numbers."""
    text = without_markup(text)
    found = list(_BOX.finditer(text)) or [m for m in [_BARE.fullmatch(text)] if m]
    numbers = [[float(group) for group in match.groups() if group is not None] for match in found]
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in numbers]


def area(box: Corners) -> float:
    """The box's area; 0 when its corners are in the wrong order."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def are_shares(box: Corners) -> bool:
    """No corner beyond 1: a box of one pixel is none that anybody asks for."""
    return max(box) <= 1.0


def scale_to_truth(truth: Box, unit: Coordinates) -> tuple[float, float] | None:
    """What x and y of a box in `unit` are multiplied with to stand beside the truth; None where a size is needed."""
    whole = {"shares": 1.0, "thousand": 1000.0}.get(unit)
    if all(are_shares(box) for box in truth.boxes):
        if whole is not None:
            return 1 / whole, 1 / whole
        return None if truth.size is None else (1 / truth.size[0], 1 / truth.size[1])
    if whole is None:
        return 1.0, 1.0
    return None if truth.size is None else (truth.size[0] / whole, truth.size[1] / whole)


def leaves_picture(boxes: Sequence[Corners], truth: Box, unit: Coordinates) -> bool | None:
    """Whether one of a reply's boxes is not within its picture, but for a pixel; None where its size is not known."""
    if unit == "auto":
        unit = "pixels" if truth.size is not None and not all(are_shares(box) for box in boxes) else "shares"
        if truth.size is None and not all(are_shares(box) for box in truth.boxes):
            return None
    whole = {"shares": (1.0, 1.0), "thousand": (1000.0, 1000.0)}.get(unit, truth.size)
    if whole is None:
        return None
    slack = 1 / 100 if unit == "shares" else 1
    return any(
        min(box) < -slack or max(box[0], box[2]) > whole[0] + slack or max(box[1], box[3]) > whole[1] + slack
        for box in boxes
    )


def box_text(truth: Box, unit: Coordinates = "auto") -> str:
    """The true boxes as a reply in `unit` would write them, or as they stand where that cannot be known."""
    scale = None if unit == "auto" else scale_to_truth(truth, unit)
    if scale is None or scale == (1.0, 1.0):
        return truth.text
    each = ", ".join("[" + ", ".join(f"{v / scale[i % 2]:g}" for i, v in enumerate(box)) + "]" for box in truth.boxes)
    return each if len(truth.boxes) == 1 else f"[{each}]"
