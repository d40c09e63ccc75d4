"""Pictures that show less than they did: squares blackened, or noise laid over them. All follows from a key."""

import hashlib
import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from firsthand.records import Example, Picture, content_id, png

PATCH = 14
"""Pixels on the side of a square that is blackened as one (PAPO's code; a patch of Qwen2.5-VL's tower)."""
NOISE_LEVELS = 1000
"""Steps from a picture to noise."""


def masked(example: Example, share: float, key: str) -> Example:
    """The example with about this share of each picture's squares black, every square drawn on its own.

    PAPO, arXiv:2507.06448, random masking. A row without pictures stays as it is, and ids stay everywhere.
    """

    def blacken(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = pixels.shape[:2]
        is_black = rng.random((-(-height // PATCH), -(-width // PATCH))) < share
        return np.where(is_black.repeat(PATCH, 0).repeat(PATCH, 1)[:height, :width, None], np.uint8(0), pixels)

    return _redrawn(example, blacken, key)


def noisy(example: Example, level: int, key: str) -> Example:
    """The example with Gaussian noise in each picture: sqrt(a) x + sqrt(1 - a) e of pixels in [0, 1], cut there.

    a is what is left after `level` + 1 of 1,000 steps of a diffusion whose noise rises along a sigmoid (VCD's, which
    NoisyRollout's code has, arXiv:2504.13055): 0.74 at 500. A row without pictures stays as it is, and ids stay.
    """
    kept = _kept(level)

    def add_noise(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mixed = math.sqrt(kept) * (pixels / 255) + math.sqrt(1 - kept) * rng.standard_normal(pixels.shape)
        return (mixed.clip(0, 1) * 255).round().astype(np.uint8)

    return _redrawn(example, add_noise, key)


def _kept(level: int) -> float:
    """The share of a picture's variance that so many steps of noise leave."""
    rate = 1 / (1 + np.exp(-np.linspace(-6, 6, NOISE_LEVELS))) * (0.5e-2 - 1e-5) + 1e-5
    return float(np.prod(1 - rate[: level + 1]))


def _redrawn(example: Example, how: Callable[[np.ndarray, np.random.Generator], np.ndarray], key: str) -> Example:
    """The example with each picture's pixels, uint8 [height, width, 3], made anew; random numbers are its own."""
    images = []
    for i, picture in enumerate(example.images):
        rng = np.random.Generator(np.random.Philox(key=int(content_id(key, example.id, i), 16)))
        data = png(Image.fromarray(how(np.asarray(picture.open()), rng)))
        name = hashlib.sha256(data).hexdigest()
        images.append(Picture(sha256=name, width=picture.width, height=picture.height, data=data))
    return example.model_copy(update={"images": tuple(images)})
