"""Figures with labelled lengths and angles, to be solved for an expression.

Labels sit in cells of their own, so that reading them is a matter of one image token.
"""

import random

from PIL import Image

from firsthand.records import Expression
from firsthand.worlds.draw import CELL, INK, Canvas
from firsthand.worlds.world import Question, Scene, World

_PAPER = (232, 238, 246)


def draw(rng: random.Random, level: str, shifted: bool, split: str) -> Scene:
    """A rectangle or a triangle (easy); an L-shape made of two rectangles, or a right triangle (hard)."""
    figure = rng.choice(("rectangle", "angles") if level == "easy" else ("step", "right"))
    low, high = (2, 9)
    if figure == "angles":
        first = rng.randrange(20, 110, 10)
        labels = [first, rng.randrange(20, 161 - first, 10)]
    else:
        labels = [rng.randint(low, high) for _ in range(4 if figure == "step" else 2)]
    picture, offsets = _DRAWERS[figure](rng, labels, shifted)
    caption = f"{_NAMES[figure]} " + " ".join(str(v) for v in labels)
    return Scene(picture, f"{caption} at {offsets}", caption, {"figure": figure, "labels": labels})


def _rectangle(rng: random.Random, labels: list[int], shifted: bool) -> tuple[Image.Image, str]:
    canvas = Canvas(3, 3)
    left, top = CELL + rng.randint(-2, 4), CELL + rng.randint(-2, 4)
    right, bottom = 3 * CELL - rng.randint(2, 10), 3 * CELL - rng.randint(2, 10)
    canvas.rectangle((left, top, right, bottom), _PAPER, INK, 2)
    canvas.text(str(labels[0]), (1.5 * CELL, 0.5 * CELL), 22, shifted)
    canvas.text(str(labels[1]), (0.5 * CELL, 1.5 * CELL), 22, shifted)
    return canvas.finish(), f"{left},{top},{right},{bottom}"


def _angles(rng: random.Random, labels: list[int], shifted: bool) -> tuple[Image.Image, str]:
    canvas = Canvas(3, 3)
    apex = CELL * 1.5 + rng.randint(-14, 14)
    canvas.polygon([(apex, 3), (3 * CELL - 3, 2 * CELL - 2), (3, 2 * CELL - 2)], _PAPER, INK, 2)
    for label, x in zip(labels, (0.5 * CELL, 2.5 * CELL), strict=True):
        canvas.text(str(label), (x, 2.5 * CELL), 19 if label < 100 else 14, shifted)
    canvas.text("?", (apex, 1.15 * CELL), 17, shifted)
    return canvas.finish(), f"{apex}"


def _step(rng: random.Random, labels: list[int], shifted: bool) -> tuple[Image.Image, str]:
    canvas = Canvas(4, 3)
    edge, mid = 2 * CELL + rng.randint(-3, 3), CELL + rng.randint(2, 8)
    canvas.rectangle((CELL, CELL, edge, 3 * CELL - 4), _PAPER, INK, 2)
    canvas.rectangle((edge, mid + 8, 3 * CELL, 3 * CELL - 4), (246, 234, 226), INK, 2)
    canvas.text(str(labels[0]), (1.5 * CELL, 0.5 * CELL), 22, shifted)
    canvas.text(str(labels[1]), (0.5 * CELL, 1.5 * CELL), 22, shifted)
    canvas.text(str(labels[2]), (2.5 * CELL, 0.5 * CELL), 22, shifted)
    canvas.text(str(labels[3]), (3.5 * CELL, 1.5 * CELL), 22, shifted)
    return canvas.finish(), f"{edge},{mid}"


def _right(rng: random.Random, labels: list[int], shifted: bool) -> tuple[Image.Image, str]:
    canvas = Canvas(3, 3)
    top, right = rng.randint(2, 20), 3 * CELL - rng.randint(2, 20)
    canvas.polygon([(CELL, top), (right, 2 * CELL), (CELL, 2 * CELL)], _PAPER, INK, 2)
    canvas.rectangle((CELL, 2 * CELL - 7, CELL + 7, 2 * CELL), None, INK, 1)
    canvas.text(str(labels[0]), (0.5 * CELL, 1.5 * CELL), 22, shifted)
    canvas.text(str(labels[1]), (1.5 * CELL, 2.5 * CELL), 22, shifted)
    return canvas.finish(), f"{top},{right}"


_DRAWERS = {"rectangle": _rectangle, "angles": _angles, "step": _step, "right": _right}
_NAMES = {"rectangle": "rectangle", "angles": "triangle", "step": "two rectangles", "right": "right triangle"}


def ask(rng: random.Random, scene: Scene) -> Question:
    """Area or perimeter of a rectangle, a triangle's third angle, the area of two rectangles, a hypotenuse."""
    figure, labels = scene.facts["figure"], scene.facts["labels"]
    if figure == "rectangle":
        text, answer, steps = _ask_rectangle(rng, *labels)
    elif figure == "angles":
        a, b = labels
        text, answer = "Find the angle marked ?.", str(180 - a - b)
        steps = (f"{a} + {b} = {a + b}", f"180 - {a + b} = {180 - a - b}")
    elif figure == "step":
        a, b, c, d = labels
        text, answer = "Find the area of both rectangles together.", str(a * b + c * d)
        steps = (f"{a} * {b} = {a * b}", f"{c} * {d} = {c * d}", f"{a * b} + {c * d} = {a * b + c * d}")
    else:
        a, b = labels
        text, answer = "Find the longest side.", rf"\sqrt{{{a * a + b * b}}}"
        steps = (f"{a} * {a} = {a * a}", f"{b} * {b} = {b * b}", f"{a * a} + {b * b} = {a * a + b * b}")
    return Question(text, Expression(latex=answer), steps, answer)


def _ask_rectangle(rng: random.Random, a: int, b: int) -> tuple[str, str, tuple[str, ...]]:
    if rng.random() < 0.5:
        return "Find the area.", str(a * b), (f"{a} * {b} = {a * b}",)
    return "Find the perimeter.", str(2 * (a + b)), (f"{a} + {b} = {a + b}", f"{a + b} + {a + b} = {2 * (a + b)}")


GEOMETRY = World("geometry", draw, ask)
