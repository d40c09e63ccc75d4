"""Boxes as people and models write them: `[..]`, `(..)`, `x1: .., y1: ..`, two corners, or nothing but four numbers."""

import re

from firsthand.answers.markup import without_markup
from firsthand.records import Corners

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
