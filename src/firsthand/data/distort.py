"""Pictures that show less than they did: squares of them blackened. What is drawn follows from a key alone."""

import hashlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from firsthand.records import Example, Picture, content_id, png

PATCH = 14
"""Pixels on the side of a square that is blackened as one (PAPO's code; a patch of Qwen2.5-VL's tower)."""


def masked(example: Example, share: float, key: str) -> Example:
    """The example with about this share of each picture's squares black, every square drawn on its own.

    PAPO, arXiv:2507.06448, random masking. A row without pictures stays as it is, and ids stay everywhere.
    """

    def blacken(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = pixels.shape[:2]
        is_black = rng.random((-(-height // PATCH), -(-width // PATCH))) < share
        return np.where(is_black.repeat(PATCH, 0).repeat(PATCH, 1)[:height, :width, None], np.uint8(0), pixels)

    return _redrawn(example, blacken, key)


def _redrawn(example: Example, how: Callable[[np.ndarray, np.random.Generator], np.ndarray], key: str) -> Example:
    """The example with each picture's pixels, uint8 [height, width, 3], made anew; random numbers are its own."""
    images = []
    for i, picture in enumerate(example.images):
        rng = np.random.Generator(np.random.Philox(key=int(content_id(key, example.id, i), 16)))
        data = png(Image.fromarray(how(np.asarray(picture.open()), rng)))
        name = hashlib.sha256(data).hexdigest()
        images.append(Picture(sha256=name, width=picture.width, height=picture.height, data=data))
    return example.model_copy(update={"images": tuple(images)})
