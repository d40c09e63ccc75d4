"""Box reward: the intersection over union with the gold box, in [0, 1], raw and without thresholds (VLAA-Thinking).

The answer block must hold exactly one `[x1, y1, x2, y2]`; text around it is ignored: `{"bbox_2d": [...]}` is read too.
Coordinates are compared as they stand: normalised with normalised, pixels with pixels.
"""

import re
from math import inf

from firsthand.records import Box, Status, Verdict
from firsthand.reward.verdicts import failed, shown, unparsed

Corners = tuple[float, float, float, float]

# At most 9 digits before the point: float() of 400 digits is infinite, and an IoU of infinities is not a number.
_NUMBER = r"\s*(-?(?:[0-9]{1,9}(?:\.[0-9]*)?|\.[0-9]+))\s*"
BOX = re.compile(r"\[" + ",".join([_NUMBER] * 4) + r"\]")


def judge_box(content: str, gold: Box) -> Verdict:
    """Score a box by its IoU with the gold box. A gold box without an area gives FAILED, not 0."""
    if not 0 < area(gold.xyxy) < inf:
        return failed(f"the gold box {gold.text} is not a box with an area: expected finite x1 < x2 and y1 < y2")
    boxes = read_boxes(content)
    if len(boxes) != 1:
        return unparsed(content, f"{len(boxes)} boxes [x1, y1, x2, y2] instead of one")
    parsed = shown("[" + ", ".join(f"{v:g}" for v in boxes[0]) + "]")
    if area(boxes[0]) <= 0:
        return Verdict(score=0.0, status=Status.OK, parsed=parsed, why="no area: expected x1 < x2 and y1 < y2")
    overlap = iou(boxes[0], gold.xyxy)
    return Verdict(score=overlap, status=Status.OK, parsed=parsed, why=f"IoU {overlap:.2f} with {gold.text}")


def read_boxes(text: str) -> list[Corners]:
    """Every `[x1, y1, x2, y2]` in the text, in order."""
    return [(float(m[1]), float(m[2]), float(m[3]), float(m[4])) for m in BOX.finditer(text)]


def area(box: Corners) -> float:
    """The box's area; 0 when its corners are in the wrong order."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def iou(a: Corners, b: Corners) -> float:
    """|A and B| / (|A| + |B| - |A and B|) of two boxes with an area."""
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return shared / (area(a) + area(b) - shared)
