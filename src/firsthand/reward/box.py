"""Box reward: the intersection over union with the true box, in [0, 1], raw and without thresholds (VLAA-Thinking).

Several true boxes take the mean over boxes: each predicted box counts for one true box at most, and boxes too many
count as misses. `stepped` is ScoreRS's: 0 up to IoU 0.5, then 0.5, 0.6, 0.7, and 1 above 0.8.

The answer block holds boxes as JSON or as text; words around them are ignored. The recipe or the row says what their
coordinates are measured in. With `auto` they are compared as they stand, unless the true box knows its picture's size:
then normalised and absolute coordinates are told apart and converted.
"""

import re
from math import inf
from typing import Literal

from firsthand.answers.boxes import are_shares, area, leaves_picture, read_boxes, scale_to_truth
from firsthand.errors import excerpt
from firsthand.records import Box, Coordinates, Corners, Status, Verdict
from firsthand.reward.verdicts import failed, unparsed

BoxScore = Literal["iou", "stepped"]
STEPS = ((0.8, 1.0), (0.7, 0.7), (0.6, 0.6), (0.5, 0.5))
"""Above an IoU, what a box earns (ScoreRS: 0.5 above 0.5, and 0.1, 0.2 or 0.5 more above 0.6, 0.7 and 0.8)."""
MOST_BOXES = 64
"""Boxes of one reply that are matched (ours)."""

_DENIED = re.compile(r"(?i)\b(?:not|never|isn't)\s{0,3}(?:(?:at|in|on)\s{0,3})?[:,]?\s{0,3}[\[({]")
"""Directly in front of a box; elsewhere `not` may be a part of what is looked for."""


def judge_box(content: str, truth: Box, score: BoxScore = "iou", coordinates: Coordinates = "auto") -> Verdict:
    """Score boxes by their IoU with the true boxes, whose own `coordinates` come first.

    A true box without an area, or one that cannot be compared without its picture's size, gives FAILED, not 0.
    """
    if not all(0 < area(box) < inf for box in truth.boxes):
        return failed(f"the true box {truth.text} is not a box with an area: expected finite x1 < x2 and y1 < y2")
    unit = truth.coordinates or coordinates
    if unit != "auto" and scale_to_truth(truth, unit) is None:
        return failed(
            f"boxes in {unit} cannot be compared with {excerpt(truth.text)} without the picture's size: give `size`"
        )
    if _DENIED.search(content):
        return unparsed(content, "a box that is denied")
    boxes = read_boxes(content)
    if len(truth.boxes) == 1 and len(boxes) == 2 and boxes[0] == boxes[1]:
        boxes = boxes[:1]  # said twice, it is still one
    if not boxes or len(boxes) > MOST_BOXES or (len(truth.boxes) == 1 and len(boxes) != 1):
        wanted = "one" if len(truth.boxes) == 1 else f"{len(truth.boxes)}"
        return unparsed(content, f"{len(boxes)} boxes [x1, y1, x2, y2] instead of {wanted}")
    parsed = excerpt(", ".join("[" + ", ".join(f"{v:g}" for v in box) + "]" for box in boxes))
    if not any(area(box) > 0 for box in boxes):
        return Verdict(
            score=0.0,
            status=Status.OK,
            parsed=parsed,
            why="no area: expected x1 < x2 and y1 < y2",
            outside=leaves_picture(boxes, truth, unit),
        )
    overlaps = matched([in_units_of(truth, box, unit) for box in boxes], truth.boxes)
    most = max(len(boxes), len(truth.boxes))
    missed = most - len(overlaps)
    worth = overlaps if score == "iou" else [next((w for bound, w in STEPS if o > bound), 0.0) for o in overlaps]
    told = ", ".join(f"{overlap:.2f}" for overlap in overlaps)
    why = f"IoU {told} with {excerpt(truth.text)}" + (f", {missed} missed or too many" if missed else "")
    outside = leaves_picture(boxes, truth, unit)
    return Verdict(score=sum(worth) / most, status=Status.OK, parsed=parsed, why=why, outside=outside)


def in_units_of(truth: Box, box: Corners, coordinates: Coordinates = "auto") -> Corners:
    """The box of a reply in the true box's coordinates."""
    if coordinates == "auto" and are_shares(box) == all(are_shares(b) for b in truth.boxes):
        return box
    unit = coordinates if coordinates != "auto" else "shares" if are_shares(box) else "pixels"
    x, y = scale_to_truth(truth, unit) or (1.0, 1.0)
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def matched(boxes: list[Corners], truths: tuple[Corners, ...]) -> list[float]:
    """IoUs of a one-to-one matching, best pairs first, as COCO's evaluation does; ties go to what came first."""
    pairs = sorted((-iou(box, truth), i, j) for i, box in enumerate(boxes) for j, truth in enumerate(truths))
    used_boxes: set[int] = set()
    used_truths: set[int] = set()
    overlaps = []
    for negated, i, j in pairs:
        if i not in used_boxes and j not in used_truths:
            used_boxes.add(i)
            used_truths.add(j)
            overlaps.append(-negated)
    return overlaps


def iou(a: Corners, b: Corners) -> float:
    """|A and B| / (|A| + |B| - |A and B|) of two boxes, of which one at least has an area."""
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return shared / (area(a) + area(b) - shared)
