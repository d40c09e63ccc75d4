"""A control without the picture: the same questions beside a gray picture, another question's, or none.

What is right then was not seen. Policies have been found to keep what they gained with the picture removed
(arXiv:2601.06801).
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

from PIL import Image

from firsthand.errors import DataError
from firsthand.records import IMAGE_MARK, Example, Picture, png

Blind = Literal["gray", "shuffled", "none"]
"""What a question is shown: a `gray` picture of the same size, the `shuffled` one of another question, or `none`."""
GRAY = (128, 128, 128)
"""Of each pixel (ours): half-way between black and white."""
_Pictures = tuple[Picture, ...]


def blinded(examples: Sequence[Example], how: Blind, seed: int = 0) -> list[Example]:
    """The examples as a blind model is shown them, in their order; ids and answers stay, and so do rows of text alone.

    `seed` is that of `shuffled`, where each question gets the pictures of another: as many as its own, and none of them
    among its own. Which ones follows from the seed, the question's id and the pictures that there are, in any order.
    Raises DataError where no row has a picture, and where a question's cannot be exchanged.
    """
    if not any(example.images for example in examples):
        raise DataError(f"blind {how}: expected rows with pictures, got none among {len(examples)}; leave it out")
    show = _exchanged(examples, seed) if how == "shuffled" else {"gray": _grayed, "none": without_pictures}[how]
    return [show(example) if example.images else example for example in examples]


def without_pictures(example: Example) -> Example:
    """The question alone, without the marks of where its pictures stood."""
    text = " ".join(part.strip(" ") for part in example.question.split(IMAGE_MARK)).strip()
    return example.model_copy(update={"images": (), "question": text})


def _grayed(example: Example) -> Example:
    return example.model_copy(update={"images": tuple(_gray(p.width, p.height) for p in example.images)})


@cache
def _gray(width: int, height: int) -> Picture:
    data = png(Image.new("RGB", (width, height), GRAY))
    return Picture(sha256=hashlib.sha256(data).hexdigest(), width=width, height=height, data=data)


def _exchanged(examples: Sequence[Example], seed: int) -> Callable[[Example], Example]:
    """What gives each example another's pictures."""
    known = {tuple(p.sha256 for p in example.images): example.images for example in examples}
    pools: dict[int, list[_Pictures]] = {}
    for names in sorted(known):
        pools.setdefault(len(names), []).append(known[names])

    def exchange(example: Example) -> Example:
        pool, own = pools[len(example.images)], {p.sha256 for p in example.images}
        start = random.Random(f"{seed} {example.id}").randrange(len(pool))
        turned = (pool[(start + i) % len(pool)] for i in range(len(pool)))
        other = next((images for images in turned if own.isdisjoint(p.sha256 for p in images)), None)
        if other is None:
            raise DataError(
                f"blind shuffled: expected another row with {len(own)} other pictures to exchange those of example "
                f"{example.id} for, got none among {len(examples)}; take gray, or more rows"
            )
        return example.model_copy(update={"images": other})

    return exchange
