"""How far weights are from where training began."""

import math
from functools import cache
from pathlib import Path

from firsthand.policy.stored import Stored, stored_tensors

_ROWS = 2**24
"""Numbers that are compared at once: three doubles of each are held, 384 MiB."""


@cache
def relative_distance(start: Path, end: Path) -> float:
    """||end - start|| / ||start|| over all weights that both folders have, in double precision.

    Read tensor by tensor. Raises DataError where a file cannot be read.
    """
    before, after = stored_tensors(start), stored_tensors(end)
    moved = size = 0.0
    for name in sorted(before.keys() & after.keys()):
        squares = _squares(before[name], after[name])
        moved, size = moved + squares[0], size + squares[1]
    return math.sqrt(moved / size)


def _squares(before: Stored, after: Stored) -> tuple[float, float]:
    """The sums of squares of a tensor's difference, and of what it was."""
    moved = size = 0.0
    for old, new in zip(before[...].flatten().split(_ROWS), after[...].flatten().split(_ROWS), strict=True):
        old, new = old.double(), new.double()
        moved += float((new - old).square().sum())
        size += float(old.square().sum())
    return moved, size
