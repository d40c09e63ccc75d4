"""A difference of two arms over items and training seeds, which are crossed: its interval, p-value and power.

`D[S, N]` is what one arm scores more than another, by seed and item: mean + seed + item + rest, all three of chance.
Both arms have the same seeds and items, so what these do to both alike is gone from D.

The mean of D varies by (A + B - E) / (S N), with the mean squares of an analysis of variance: A by seed, B by item, E
the rest. The interval's half is

    sqrt((max(t_S^2 A, t_N^2 E / 2) + t_N^2 max(B - E, 0)) / (S N))

A is known with S - 1 degrees of freedom and has their quantile of Student's t, t_S; B and E have t_N, that of N - 1.
Reaches of two sources are added as squares (Howe 1974, JASA 69:789; Zou and Donner 2008). By luck, a few seeds may be
much closer together than the rest alone makes them: half of E is left (ours). docs/studies.md has the coverage, and
that of bootstraps, which are too narrow for 3 or 5 seeds or count the rest twice.

Letters: `S` seeds, `N` items. numpy only.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import exp, lgamma, log, sqrt
from typing import NamedTuple

import numpy as np

from firsthand.stats import LEVEL, ROUNDING, Matrix, Vector

POWER = 0.8
"""The chance of resolving a difference from which on as many items or seeds are enough."""
MOST_ITEMS = 10**9
MOST_SEEDS = 10**5
"""If so many are not enough, no number is."""
LEAST = 1e-100
"""Smaller p-values are not told apart."""
DRAWS = 2000
"""Of the mean square by seed, over which a power is the mean; seeded."""


class Crossed(NamedTuple):
    """A difference over seeds and items, and the mean squares of what it varies by."""

    value: float
    seeds: int
    items: int
    by_seed: float | None
    """A; None of one seed, which says nothing of others."""
    by_item: float
    """B."""
    rest: float
    """E; of one seed B, for the two cannot be told apart."""

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return max(-1.0, self.value - self.reach(LEVEL))

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return min(1.0, self.value + self.reach(LEVEL))

    @property
    def p(self) -> float:
        """Two-sided: the level at which the interval just reaches 0."""
        if abs(self.value) < ROUNDING:
            return 1.0
        low = 0.1
        while self.reach(low) < abs(self.value) and low > LEAST:
            low *= low
        return exp(_root(lambda level: self.reach(exp(level)) - abs(self.value), log(low), 0.0))

    def reach(self, level: float) -> float:
        """Half of the interval that leaves out `level`, both sides together."""
        return float(self.reaches(level, np.array([self.by_seed or 0.0]))[0])

    def reaches(self, level: float, by_seed: Vector) -> Vector:
        """`reach`, of each of several mean squares by seed."""
        t_N = student(level, max(1, self.items - 1))
        if self.by_seed is None:
            noise = np.full_like(by_seed, t_N**2 * self.rest)
        else:
            noise = np.maximum(student(level, self.seeds - 1) ** 2 * by_seed, t_N**2 * self.rest / 2)
        return np.sqrt((noise + t_N**2 * max(self.by_item - self.rest, 0.0)) / (self.seeds * self.items))

    def of(self, seeds: int, items: int) -> "Crossed":
        """What so many seeds and items may be expected to find, if the parts are what they were here."""
        assert self.by_seed is not None
        of_seed = max(0.0, self.by_seed - self.rest) / self.items
        of_item = max(0.0, self.by_item - self.rest) / self.seeds
        by_seed, by_item = items * of_seed + self.rest, seeds * of_item + self.rest
        return Crossed(self.value, seeds, items, by_seed, by_item, self.rest)


def crossed(differences: Matrix) -> Crossed:
    """The parts of D [S, N].

    One item more counts in B and E, which differs by 1 in each run, either way by chance (Agresti and Min 2005, for one
    run): a few items without a difference are not certainty. Raises ValueError where D is not a matrix of differences
    of scores, or is empty.
    """
    D = np.asarray(differences, dtype=np.float64)
    if D.ndim != 2 or not D.size or not (np.abs(D) <= 1 + ROUNDING).all():  # NaN too
        raise ValueError(f"expected differences of scores [seeds, items] within [-1, 1], got shape {D.shape}")
    S, N = D.shape
    mean, by_seed_S, by_item_N = float(D.mean()), D.mean(axis=1), D.mean(axis=0)
    by_item = S * float(((by_item_N - mean) ** 2).sum()) / max(1, N - 1) + 1 / N
    if S == 1:
        return Crossed(mean, S, N, None, by_item, by_item)
    rest_SN = D - by_seed_S[:, None] - by_item_N + mean
    rest = float((rest_SN**2).sum()) / ((S - 1) * max(1, N - 1)) + 1 / N
    return Crossed(mean, S, N, N * float(by_seed_S.var(ddof=1)), by_item, rest)


def corrected(ps: Sequence[float]) -> list[float]:
    """p-values for the number of them (Holm 1979): all that are at most 0.05 are so by mistake with 5 % at most."""
    result, least = [0.0] * len(ps), 0.0
    for place, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        least = max(least, min(1.0, (len(ps) - place) * ps[i]))
        result[i] = least
    return result


def power(found: Crossed, level: float) -> float:
    """The chance that a difference as large as `found.value` is resolved at `level`, if its mean squares are true ones.

    B and E are taken as known, A as drawn.
    """
    assert found.by_seed is not None
    spread = sqrt((found.by_seed + max(found.by_item - found.rest, 0.0)) / (found.seeds * found.items))
    drawn_D = np.random.default_rng(0).chisquare(found.seeds - 1, DRAWS) / (found.seeds - 1) * found.by_seed
    return float(_above((found.reaches(level, drawn_D) - abs(found.value)) / spread).mean())


def needed_items(found: Crossed, level: float) -> int | None:
    """With how many items, and as many seeds, a difference of this size is resolved with POWER; None if with none."""
    if found.by_seed is None:
        return None
    return _first(lambda items: power(found.of(found.seeds, items), level) >= POWER, 2, MOST_ITEMS)


def needed_seeds(found: Crossed, level: float) -> int | None:
    """With how many seeds, and as many items, a difference of this size is resolved with POWER; None if with none."""
    if found.by_seed is None:
        return None
    return _first(lambda seeds: power(found.of(seeds, found.items), level) >= POWER, 2, MOST_SEEDS)


def student_tail(t: float, degrees: float) -> float:
    """The chance that Student's t is farther from 0 than `t`: the incomplete beta I_x(degrees / 2, 1 / 2)."""
    return _beta(degrees / (degrees + t * t), degrees / 2, 0.5)


@lru_cache(maxsize=4096)
def student(level: float, degrees: float) -> float:
    """What Student's t is beyond, on both sides together, with chance `level`."""
    if level >= 1:
        return 0.0
    low, high = 0.0, 1.0
    while student_tail(high, degrees) > level:
        low, high = high, 2 * high
    return _root(lambda t: log(student_tail(t, degrees) / level), low, high)


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function: its continued fraction (DLMF 8.17.22), by Lentz's method."""
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 1000):
        for above, place in ((m * (b - m), a + 2 * m - 1), (-(a + m) * (a + b + m), a + 2 * m)):
            term = above * x / (place * (place + 1))
            d, c = 1 / (1 + term * d), 1 + term / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            return front * fraction
    raise ArithmeticError(f"the continued fraction of the incomplete beta does not end at x={x}, a={a}, b={b}")


def _above(z: Vector) -> Vector:
    """The chance that a standard normal is above z (Abramowitz and Stegun 7.1.26: within 1e-7)."""
    k = 1 / (1 + 0.3275911 * np.abs(z) / sqrt(2))
    tail = k * (0.254829592 + k * (-0.284496736 + k * (1.421413741 + k * (-1.453152027 + k * 1.061405429))))
    above = tail * np.exp(-(z**2) / 2) / 2
    return np.asarray(np.where(z >= 0, above, 1 - above))


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where f, which is above 0 at `low` and below at `high`, is 0: false position, the Illinois variant."""
    at_low, at_high, at_last, x, before = f(low), f(high), 0.0, high, low
    while abs(x - before) > 1e-13 * abs(x):
        before, x = x, (low * at_high - high * at_low) / (at_high - at_low)
        at_x = f(x)
        stays = at_x * at_last > 0  # an end that stays twice holds the other back
        if at_x > 0:
            low, at_low, at_high = x, at_x, at_high / 2 if stays else at_high
        elif at_x < 0:
            high, at_high, at_low = x, at_x, at_low / 2 if stays else at_low
        else:
            return x
        at_last = at_x
    return x


def _first(holds: Callable[[int], bool], least: int, most: int) -> int | None:
    """The first number from which on something holds; None if it does not at `most`."""
    if not holds(most):
        return None
    low, high = least - 1, least
    while not holds(high):
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
