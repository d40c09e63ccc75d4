"""Arithmetic over real pixels: the handwritten digits that ship with scikit-learn (the `demo` extra)."""

import random
from functools import cache

import numpy as np
from PIL import Image

from firsthand.errors import DataError
from firsthand.records import Digit
from firsthand.worlds.chart import running_sum
from firsthand.worlds.draw import CELL, Canvas
from firsthand.worlds.world import Question, Scene, World

_PAPER = (12, 12, 16)


def draw(rng: random.Random, level: str, shifted: bool, split: str) -> Scene:
    """Three (easy) or four (hard) digits on 2 x 2 or 3 x 2 cells; shifted: five on 3 x 2."""
    columns, rows = 3 if shifted or rng.random() < 0.3 else 2, 2
    number = 5 if shifted else 3 if level == "easy" else 4
    pool = _pool(split)
    canvas = Canvas(columns, rows, _PAPER)
    cells = sorted(rng.sample(range(columns * rows), number))
    picks = [rng.randrange(len(pool)) for _ in cells]
    for cell, pick in zip(cells, picks, strict=True):
        corner = (cell % columns) * CELL + 2 + rng.randint(-1, 1), (cell // columns) * CELL + 2 + rng.randint(-1, 1)
        tilted = pool[pick][1].rotate(rng.uniform(-9, 9), Image.Resampling.BILINEAR)
        canvas.paste(tilted, corner)
    values = [pool[pick][0] for pick in picks]
    caption = " ".join(str(v) for v in values)
    return Scene(canvas.finish(), f"digits {picks} in {cells}: {caption}", caption, {"values": values})


def ask(rng: random.Random, scene: Scene) -> Question:
    """The sum of all digits."""
    values = scene.facts["values"]
    text = rng.choice(("What is the sum of the digits?", "Add up the digits."))
    total = str(sum(values))
    return Question(text, Digit(value=total), running_sum(values), total)


@cache
def _pool(split: str) -> list[tuple[int, Image.Image]]:
    """Digits of one split, as (value, 24 x 24 picture); no handwritten digit is in two splits."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("the digits world needs scikit-learn: pip install 'firsthand[demo]'") from error
    data = load_digits()
    buckets = {"test": (0,), "validation": (1,), "train": tuple(range(2, 10))}[split]
    return [
        (int(value), _picture(pixels))
        for index, (value, pixels) in enumerate(zip(data.target, data.images, strict=True))
        if index % 10 in buckets
    ]


def _picture(pixels: np.ndarray) -> Image.Image:
    grey = Image.fromarray((pixels * (255 / 16)).clip(0, 255).astype(np.uint8))
    return Image.merge("RGB", [grey.resize((24, 24), Image.Resampling.BICUBIC)] * 3)


DIGITS = World("digits", draw, ask)
