"""Figures with labelled lengths and angles, to be solved for an expression.

Labels sit in cells of their own, so that reading them is a matter of one image token.
"""

import random

from firsthand.records import Expression
from firsthand.worlds.draw import CELL, INK, Canvas
from firsthand.worlds.world import Question, Scene, World

_PAPER = (232, 238, 246)


def draw(rng: random.Random, level: str, shifted: bool, split: str) -> Scene:
    """A rectangle or a triangle (easy); an L-shape made of two rectangles, or a right triangle (hard)."""
    figure = rng.choice(("rectangle", "angles") if level == "easy" else ("step", "right"))
    if figure == "angles":
        first = rng.randrange(20, 110, 10)
        labels = [first, rng.randrange(20, 161 - first, 10)]
    else:
        labels = [rng.randint(2, 9) for _ in range(4 if figure == "step" else 2)]
    columns, drawer, name, places = _FIGURES[figure]
    canvas = Canvas(columns, 3)
    offsets = drawer(rng, canvas, shifted)
    for label, (column, row) in zip(labels, places, strict=True):
        size = 22 if figure != "angles" else 19 if label < 100 else 14
        canvas.text(str(label), (column * CELL, row * CELL), size, shifted)
    caption = f"{name} " + " ".join(str(v) for v in labels)
    return Scene(canvas.finish(), f"{caption} at {offsets}", caption, {"figure": figure, "labels": labels})


def _rectangle(rng: random.Random, canvas: Canvas, shifted: bool) -> str:
    left, top = CELL + rng.randint(-2, 4), CELL + rng.randint(-2, 4)
    right, bottom = 3 * CELL - rng.randint(2, 10), 3 * CELL - rng.randint(2, 10)
    canvas.rectangle((left, top, right, bottom), _PAPER, INK, 2)
    return f"{left},{top},{right},{bottom}"


def _angles(rng: random.Random, canvas: Canvas, shifted: bool) -> str:
    apex = CELL * 1.5 + rng.randint(-14, 14)
    canvas.polygon([(apex, 3), (3 * CELL - 3, 2 * CELL - 2), (3, 2 * CELL - 2)], _PAPER, INK, 2)
    canvas.text("?", (apex, 1.15 * CELL), 17, shifted)
    return f"{apex}"


def _step(rng: random.Random, canvas: Canvas, shifted: bool) -> str:
    edge, mid = 2 * CELL + rng.randint(-3, 3), CELL + rng.randint(2, 8)
    canvas.rectangle((CELL, CELL, edge, 3 * CELL - 4), _PAPER, INK, 2)
    canvas.rectangle((edge, mid + 8, 3 * CELL, 3 * CELL - 4), (246, 234, 226), INK, 2)
    return f"{edge},{mid}"


def _right(rng: random.Random, canvas: Canvas, shifted: bool) -> str:
    top, right = rng.randint(2, 20), 3 * CELL - rng.randint(2, 20)
    canvas.polygon([(CELL, top), (right, 2 * CELL), (CELL, 2 * CELL)], _PAPER, INK, 2)
    canvas.rectangle((CELL, 2 * CELL - 7, CELL + 7, 2 * CELL), None, INK, 1)
    return f"{top},{right}"


_FIGURES = {
    "rectangle": (3, _rectangle, "rectangle", ((1.5, 0.5), (0.5, 1.5))),
    "angles": (3, _angles, "triangle", ((0.5, 2.5), (2.5, 2.5))),
    "step": (4, _step, "two rectangles", ((1.5, 0.5), (0.5, 1.5), (2.5, 0.5), (3.5, 1.5))),
    "right": (3, _right, "right triangle", ((0.5, 1.5), (1.5, 2.5))),
}
"""Figure -> columns of its picture, what draws it, its name in captions, the (column, row) of its labels in cells."""


def ask(rng: random.Random, scene: Scene) -> Question:
    """Area or perimeter of a rectangle, a triangle's third angle, the area of two rectangles, a hypotenuse."""
    figure, labels = scene.facts["figure"], scene.facts["labels"]
    steps: tuple[str, ...]
    a, b = labels[:2]
    if figure == "rectangle" and rng.random() < 0.5:
        text, answer, steps = "Find the area.", str(a * b), (f"{a} * {b} = {a * b}",)
    elif figure == "rectangle":
        text, answer = "Find the perimeter.", str(2 * (a + b))
        steps = (f"{a} + {b} = {a + b}", f"{a + b} + {a + b} = {2 * (a + b)}")
    elif figure == "angles":
        text, answer = "Find the angle marked ?.", str(180 - a - b)
        steps = (f"{a} + {b} = {a + b}", f"180 - {a + b} = {180 - a - b}")
    elif figure == "step":
        c, d = labels[2:]
        text, answer = "Find the area of both rectangles together.", str(a * b + c * d)
        steps = (f"{a} * {b} = {a * b}", f"{c} * {d} = {c * d}", f"{a * b} + {c * d} = {a * b + c * d}")
    else:
        text, answer = "Find the longest side.", rf"\sqrt{{{a * a + b * b}}}"
        steps = (f"{a} * {a} = {a * a}", f"{b} * {b} = {b * b}", f"{a * a} + {b * b} = {a * a + b * b}")
    return Question(text, Expression(latex=answer), steps, answer)


GEOMETRY = World("geometry", draw, ask)
