"""Bar charts and tables of coloured values, asked as a question with four options.

The bars carry no printed numbers: a value is read off a bar's height, on a grid of 1 to 9. The table prints them.
"""

import random

from PIL import Image

from firsthand.records import Choice
from firsthand.worlds.draw import CELL, COLOURS, GREY, INK, Canvas
from firsthand.worlds.world import Question, Scene, World

UNIT = 9.0
"""Pixels of bar height per unit of value."""


def draw(rng: random.Random, level: str, shifted: bool, split: str) -> Scene:
    """Three (easy) or four (hard) values from 1 to 9, as bars or, one time in two, as a table."""
    number = (3 if level == "easy" else 4) + shifted
    names = rng.sample(sorted(COLOURS), number)
    values = [rng.randint(1, 9) for _ in names]
    form = rng.choice(("bars", "table"))
    picture = _bars(rng, names, values) if form == "bars" else _table(rng, names, values, shifted)
    caption = ", ".join(f"{n} {v}" for n, v in zip(names, values, strict=True))
    return Scene(picture, f"{form}: {caption}", caption, {"names": names, "values": values})


def _bars(rng: random.Random, names: list[str], values: list[int]) -> Image.Image:
    canvas = Canvas(len(names), 4)
    base = canvas.height - 6
    for level in range(3, 10, 3):
        canvas.line((0, base - level * UNIT), (canvas.width, base - level * UNIT), GREY, 0.5)
    for column, (name, value) in enumerate(zip(names, values, strict=True)):
        left = column * CELL + rng.uniform(4, 7)
        canvas.rectangle((left, base - value * UNIT, left + rng.uniform(14, 17), base), COLOURS[name])
    canvas.line((0, base), (canvas.width, base), INK)
    return canvas.finish()


def _table(rng: random.Random, names: list[str], values: list[int], shifted: bool) -> Image.Image:
    canvas = Canvas(2, len(names))
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        top = row * CELL
        canvas.rectangle((5, top + 5, CELL - 5, top + CELL - 5), COLOURS[name])
        jitter = rng.uniform(-2, 2), rng.uniform(-1.5, 1.5)
        canvas.text(str(value), (1.5 * CELL + jitter[0], top + CELL / 2 + jitter[1]), rng.uniform(20, 24), shifted)
        canvas.line((0, top), (canvas.width, top), GREY, 0.5)
    return canvas.finish()


def ask(rng: random.Random, scene: Scene) -> Question:
    """The total of all values, or the spread between the largest and the smallest."""
    names, values = scene.facts["names"], scene.facts["values"]
    read = tuple(f"{n} {v}" for n, v in zip(names, values, strict=True))
    if rng.random() < 0.75:
        stem = rng.choice(("What is the total of all values?", "What do the values add up to?"))
        answer, steps = sum(values), running_sum(values)
    else:
        stem = rng.choice(
            ("How much more is the largest than the smallest?", "What is the largest minus the smallest?")
        )
        answer = max(values) - min(values)
        steps = (f"largest {max(values)}", f"smallest {min(values)}", f"{max(values)} - {min(values)} = {answer}")
    options, letter = four_options(rng, answer)
    text = stem + "".join(f" {tag}) {option}" for tag, option in zip("ABCD", options, strict=True))
    gold = Choice(letter=letter, options=tuple(str(o) for o in options))
    return Question(text, gold, (*read, *steps, *marked(options, answer)), letter)


def running_sum(values: list[int]) -> tuple[str, ...]:
    """`3 + 5 = 8`, `8 + 2 = 10`, ..."""
    steps, total = [], values[0]
    for value in values[1:]:
        steps.append(f"{total} + {value} = {total + value}")
        total += value
    return tuple(steps)


def marked(options: list[int], answer: int) -> tuple[str, ...]:
    """Options one by one until the answer is found: `A 12 no`, `B 14 yes`."""
    last = options.index(answer)
    lines = zip("ABCD", options[: last + 1], strict=False)
    return tuple(f"{letter} {option} {'yes' if option == answer else 'no'}" for letter, option in lines)


def four_options(rng: random.Random, answer: int) -> tuple[list[int], str]:
    """Four distinct values near the answer, the answer among them, and its letter."""
    near = [answer + d for d in range(-5, 6) if d and answer + d >= 0]
    options = [answer, *rng.sample(near, 3)]
    rng.shuffle(options)
    return options, "ABCD"[options.index(answer)]


CHART = World("chart", draw, ask)
