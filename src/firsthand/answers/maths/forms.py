r"""Mathematical objects as they are compared: a value, a tuple, a set, words ... objects.py reads them from texts.

A form is made of other forms; only values hold expressions, which somebody has to compare (reward/guards.py).
"""

from typing import NamedTuple

from firsthand.answers.maths.expressions import Node


class Form(NamedTuple):
    """An answer as an object."""

    kind: str
    parts: tuple["Form", ...] = ()
    node: Node | None = None
    """Of a value its expression; of an equation the difference of its sides, which is 0; of an inequality > 0."""
    text: str = ""
    """Of a value its unit, of an interval its brackets, of a label its name; of words and names what they say."""


def node_of(form: Form) -> Node:
    """The expression of a form that has one."""
    assert form.node is not None
    return form.node


EMPTY = Form("set")
INFINITY = Form("infinity", text="+")
MINUS_INFINITY = Form("infinity", text="-")
REALS = Form("interval", (MINUS_INFINITY, INFINITY), text="()")


def facing(one: Form, other: Form) -> Form | None:
    """The interval between two half lines that face each other."""
    for left, right in ((one, other), (other, one)):
        if left.kind == right.kind == "interval" and left.parts[1] == INFINITY and right.parts[0] == MINUS_INFINITY:
            return Form("interval", (left.parts[0], right.parts[1]), left.node, left.text[0] + right.text[1])
    return None


def union(parts: list[Form]) -> Form:
    """Intervals side by side; one alone is itself."""
    pieces: list[Form] = []
    for part in parts:
        pieces += part.parts if part.kind == "union" else (part,)
    return pieces[0] if len(pieces) == 1 else Form("union", tuple(pieces))


def canonical_points(kind: str, points: list[str]) -> list[str]:
    """The points in the one order that stands for all that name the same figure."""
    if kind in ("segment", "line", "triangle"):
        return sorted(points)
    if kind == "arc" or (kind == "angle" and len(points) == 3):
        return min(points, points[::-1])
    if kind == "polygon":
        turns = [points[at:] + points[:at] for at in range(len(points))]
        return min(turns + [turn[::-1] for turn in turns])
    return points
