"""Intervals for accuracies and for their differences; numpy only.

Letters: `S` runs (seeds) of one arm, `N` questions, `R` bootstrap replicates. Scores lie in [0, 1].
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""
REPLICATES = 4000
"""Ours: the ends of a 95 % interval then move by about 2 % of its width from one bootstrap seed to another."""
BLOCK = 250
"""Replicates computed at once; it bounds the memory to BLOCK * N draws."""
FEWEST_PAIRS = 20
"""Ours: a percentile bootstrap of fewer questions is too narrow to call anything better or worse."""

Matrix: TypeAlias = NDArray[np.float64]


class Finding(StrEnum):
    """What an interval of a difference says about the first arm."""

    BETTER = "better"
    WORSE = "worse"
    OPEN = "not resolved"


class Estimate(NamedTuple):
    """A mean or a difference with its 95 % interval, and the number of questions behind it."""

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def finding(self) -> Finding:
        """Of a difference: better or worse only if the interval leaves 0 out and enough questions are behind it."""
        if self.low is None or self.high is None or self.n < FEWEST_PAIRS:
            return Finding.OPEN
        return Finding.BETTER if self.low > 0 else Finding.WORSE if self.high < 0 else Finding.OPEN


def wilson(mean: float, n: int) -> Estimate:
    """The score interval of a proportion (Wilson 1927), `n` > 0 questions.

    For fractional scores it is too wide rather than too narrow: nothing in [0, 1] varies more than a coin.
    """
    return Estimate(mean, *_wilson_ends(mean, n), n)


def _wilson_ends(mean: float, n: int) -> tuple[float, float]:
    z2_n = Z95**2 / n
    centre = (mean + z2_n / 2) / (1 + z2_n)
    reach = Z95 * (mean * (1 - mean) / n + z2_n / (4 * n)) ** 0.5 / (1 + z2_n)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def unpaired_difference(first: Estimate, second: Estimate) -> Estimate:
    """`first - second` on different questions, from their intervals (Newcombe 1998, method 10). `n` is the smaller."""
    value, n = first.value - second.value, min(first.n, second.n)
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Estimate(value, None, None, n)
    down = float(np.hypot(first.value - first.low, second.high - second.value))
    up = float(np.hypot(first.high - first.value, second.value - second.low))
    return Estimate(value, value - down, value + up, n)


def bootstrap_mean(scores_SN: Matrix, *, seed: int = 0) -> Estimate:
    """Mean over runs and questions; both are drawn again in every replicate.

    Never narrower than `wilson` of N questions: where all scores agree a bootstrap would claim an interval of width 0.
    """
    [means_R] = _replicates([scores_SN], seed)
    mean, n = float(scores_SN.mean()), scores_SN.shape[1]
    low, high = np.percentile(means_R, [2.5, 97.5])
    floor_low, floor_high = _wilson_ends(mean, n)
    return Estimate(mean, min(float(low), floor_low), max(float(high), floor_high), n)


def paired_difference(first_SN: Matrix, second_SN: Matrix, *, seed: int = 0) -> Estimate:
    """Mean of `first - second` on the same N questions; the S of the two may differ.

    Every replicate draws the questions once for both arms, so what makes a question hard cancels, and the runs of each
    arm on their own. With one run the interval says nothing about the luck of training. Raises ValueError when the
    arms do not have the same questions.
    """
    if first_SN.shape[1] != second_SN.shape[1]:
        raise ValueError(
            f"a paired difference needs the same questions, got {first_SN.shape[1]} and {second_SN.shape[1]}"
        )
    first_R, second_R = _replicates([first_SN, second_SN], seed)
    low, high = np.percentile(first_R - second_R, [2.5, 97.5])
    return Estimate(float(first_SN.mean() - second_SN.mean()), float(low), float(high), first_SN.shape[1])


def _replicates(arms: Sequence[Matrix], seed: int) -> Matrix:
    """Means of each arm under shared draws of the questions: [len(arms), R]."""
    rng, n = np.random.default_rng(seed), arms[0].shape[1]
    blocks = []
    for _ in range(REPLICATES // BLOCK):
        picks_RN = rng.integers(n, size=(BLOCK, n)) + n * np.arange(BLOCK)[:, None]
        weights_RN = np.bincount(picks_RN.ravel(), minlength=BLOCK * n).reshape(BLOCK, n) / n
        means = [scores_SN @ weights_RN.T for scores_SN in arms]
        draws = [rng.integers(len(means_SR), size=means_SR.shape) for means_SR in means]
        blocks.append([np.take_along_axis(m, d, axis=0).mean(axis=0) for m, d in zip(means, draws, strict=True)])
    return np.concatenate(blocks, axis=1)
