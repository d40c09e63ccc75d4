"""Seconds of two sides in turn, and the ratio of their medians' pairs with its uncertainty."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Pairs:
    """Seconds of each step: (ours, TRL's), measured next to each other."""

    seconds: list[tuple[float, float]]

    @property
    def ratio(self) -> float:
        """Median over the pairs of TRL's seconds to ours; above 1, ours is faster."""
        return float(np.median(self._ratios()))

    @property
    def ci95(self) -> tuple[float, float]:
        """The ratio's bootstrap 95 % interval: the pairs resampled."""
        ratios = self._ratios()
        drawn = np.random.default_rng(0).choice(ratios, size=(RESAMPLES, len(ratios)))
        low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
        return float(low), float(high)

    @property
    def medians(self) -> tuple[float, float]:
        """Median seconds of a step: ours, TRL's."""
        ours, theirs = np.median(np.array(self.seconds), axis=0)
        return float(ours), float(theirs)

    def _ratios(self) -> np.ndarray:
        return np.array([theirs / ours for ours, theirs in self.seconds])


Action = Callable[[], object]


def alternate(ours: Callable[[int], Action], theirs: Callable[[int], Action], steps: range) -> Pairs:
    """Run both sides' steps in the order ABBA ABBA ...: what slows the machine for a while slows both.

    Each side makes the action of a step, which is not timed, and then the action runs, which is.
    """
    pairs = []
    for step in steps:
        if step % 2 == 0:
            a = seconds_of(ours(step))
            b = seconds_of(theirs(step))
        else:
            b = seconds_of(theirs(step))
            a = seconds_of(ours(step))
        pairs.append((a, b))
    return Pairs(pairs)


def seconds_of(action: Action) -> float:
    """Wall time of an action."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
