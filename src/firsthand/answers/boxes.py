"""Boxes as people and models write them, and what their coordinates are measured in.

    [10, 20, 110, 220]   (10, 20, 110, 220)   10 20 110 220   bbox: 10, 20, 110, 220
    (10, 20), (110, 220)   from [10, 20] to [110, 220]   bottom-right (110, 220), top-left (10, 20)
    x1=10, y1=20, x2=110, y2=220   "xmin": 10, ...   left: 10, ...   "x": 10, "y": 20, "width": 100, "height": 200

Words around them, tags and JSON are passed over. All patterns are possessive where they could split a text in two ways.
"""

import re
from collections.abc import Sequence

from firsthand.answers.markup import without_markup
from firsthand.records import Box, Coordinates, Corners

# At most 9 digits before the point: float() of 400 digits is infinite, and an IoU of infinities is not a number.
_NUMBER = r"-?(?:[0-9]{1,9}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?![0-9]|[eE][-+0-9])"
_FOUR = r"\s*+,\s*+".join([_NUMBER] * 4)
_APART = r"\s++".join([_NUMBER] * 4)
_LEFT, _TOP, _RIGHT, _BOTTOM, _WIDTH, _HEIGHT = range(6)
_SIDES: dict[str, int] = {
    **dict.fromkeys(("x1", "x_1", "xmin", "x_min", "min_x", "left", "x", "x0"), _LEFT),
    **dict.fromkeys(("y1", "y_1", "ymin", "y_min", "min_y", "top", "y", "y0"), _TOP),
    **dict.fromkeys(("x2", "x_2", "xmax", "x_max", "max_x", "right"), _RIGHT),
    **dict.fromkeys(("y2", "y_2", "ymax", "y_max", "max_y", "bottom"), _BOTTOM),
    **dict.fromkeys(("width", "w"), _WIDTH),
    **dict.fromkeys(("height", "h"), _HEIGHT),
}
_NAME = "|".join(sorted(_SIDES, key=len, reverse=True))
_CALLED_SIDE = rf"""["'`]?+(?<![A-Za-z0-9_])(?:{_NAME})(?![A-Za-z0-9_])["'`]?+"""
_SIDE = rf"""{_CALLED_SIDE}\s*+[:=]?+\s*+["']?+{_NUMBER}["']?+(?:\s?(?:px|pixels?)\b)?+"""
_NAMED = r"\s*+[,;]?+\s*+(?:and\s++)?+".join([_SIDE] * 4)
_XY = rf"""["']?+x["']?+\s*+:\s*+{_NUMBER}\s*+,\s*+["']?+y["']?+\s*+:\s*+{_NUMBER}"""
_POINT = rf"(?:[\[(]\s*+{_NUMBER}\s*+,\s*+{_NUMBER}\s*+[\])]|\{{\s*+{_XY}\s*+\}})"
_AT = r"""(?:[\s:="']|corner\b|is\b|at\b|坐标|座標|為|为|是)*+"""
_BEGIN = rf"""["']?+(?:(?:top|upper)[-_\s]?left|左上角?){_AT}"""
_END = rf"""["']?+(?:(?:bottom|lower)[-_\s]?right|右下角?){_AT}"""
_THEN = r"\s*+(?:[,;]|to\b|[-–—]++>?+|至|到)?+\s*+(?:(?:and|to)\b|和)?+\s*+(?:the\s++)?+"
_CALLED = (
    r"""(?:\bbounding\s?box\b|\bb?box(?:_2d)?(?![a-z0-9])|\bcoordinates\b|\bx1,\s?y1,\s?x2,\s?y2\b|坐标|座標|边界框|邊界框)"""
    r"""(?:[\s:=>"']|coordinates\b|is\b|are\b|at\b|为|為|是)*+"""
)
_BOX = re.compile(
    rf"(?P<sides>{_NAMED})|(?P<turned>{_END}{_POINT}{_THEN}{_BEGIN}{_POINT})|(?P<corners>{_POINT}{_THEN}(?:{_END})?+{_POINT})"
    rf"|(?P<listed>\[\s*+{_FOUR}\s*+\]|\(\s*+{_FOUR}\s*+\))"
    rf"|(?P<called>{_CALLED}(?:{_FOUR}|{_APART})(?!\s*+,?+\s*+[-.]?[0-9]))",
    re.IGNORECASE,
)
_BARE = re.compile(rf"{_FOUR}|{_APART}")
_ONE_SIDE = re.compile(rf"""({_NAME})["'`]?+\s*+[:=]?+\s*+["']?+({_NUMBER})""", re.IGNORECASE)
_FENCE = re.compile(r"```[a-z]*+")
_WORD = re.compile(r"[A-Za-z_]\w*+")


def read_boxes(text: str) -> list[Corners]:
    """Every box in the text, in order; those with corners in the wrong order too."""
    text = without_markup(_FENCE.sub("", text)).removesuffix(".")
    if _BARE.fullmatch(text):
        return [_corners(text)]
    boxes = []
    for found in _BOX.finditer(text):
        box = _by_name(found[0]) if found.lastgroup == "sides" else _corners(found[0])
        if box is not None:
            boxes.append((*box[2:], *box[:2]) if found.lastgroup == "turned" else box)
    return boxes


def _corners(text: str) -> Corners:
    x1, y1, x2, y2 = map(float, re.findall(_NUMBER, _WORD.sub(" ", text)))
    return x1, y1, x2, y2


def _by_name(text: str) -> Corners | None:
    """Four sides, or two and a width and a height; None where one is there twice, or names do not go together."""
    sides = {_SIDES[name.lower()]: float(number) for name, number in _ONE_SIDE.findall(text)}
    if sides.keys() == {_LEFT, _TOP, _WIDTH, _HEIGHT}:
        x, y = sides[_LEFT], sides[_TOP]
        return x, y, x + sides[_WIDTH], y + sides[_HEIGHT]
    return (sides[_LEFT], sides[_TOP], sides[_RIGHT], sides[_BOTTOM]) if sides.keys() == {0, 1, 2, 3} else None


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
