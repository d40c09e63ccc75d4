"""Intervals for accuracies and for their differences, and tests of differences; numpy only.

The unit is the question. Rows that belong together (variants of a question, repeated draws of one) form a
cluster, and only whole clusters are independent: 32 draws of one question are not 32 questions. Where an arm was
trained several times, the luck of training is added: every interval says what it `covers`.

Letters: `S` training runs (seeds) of one arm, `N` rows, `C` clusters, `F` flips of signs. Scores lie in [0, 1].
"""

from collections.abc import Callable, Hashable, Sequence
from enum import StrEnum
from math import comb, hypot, sqrt
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""
STUDENT95 = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 5: 2.570582, 6: 2.446912}
"""By degrees of freedom, where the series of `student95` is too short."""
FEWEST_PAIRS = 20
"""Ours: fewer questions are too few to call anything better or worse."""
LEVEL = 0.05
"""A difference is called one from this p-value down; it goes with the 95 % intervals."""
EXACT = 16
"""Up to so many clusters that differ, all 2 ** EXACT flips of signs are tried; beyond, FLIPS seeded ones."""
FLIPS = 10_000
BLOCK = 250
"""Flips computed at once; it bounds the memory to BLOCK * C signs."""
ROUNDING = 1e-9
"""Differences of floats below this are none."""
COIN = 0.25
"""The variance of a fair coin: no score in [0, 1] has more."""

Vector: TypeAlias = NDArray[np.float64]
Scores: TypeAlias = Sequence[float] | Vector
Matrix: TypeAlias = NDArray[np.float64]


class Finding(StrEnum):
    """What an interval of a difference says about the first arm."""

    BETTER = "better"
    WORSE = "worse"
    OPEN = "not resolved"


class Covers(StrEnum):
    """What chance an interval is about: which questions were asked, and with which seeds an arm was trained."""

    QUESTIONS = "questions"
    BOTH = "questions and training seeds"
    ONE_SIDE = "questions, and training seeds of one side"
    """Of a difference from an arm that has one run."""


class Estimate(NamedTuple):
    """A mean or a difference with its 95 % interval, and the number of questions behind it."""

    value: float
    low: float | None
    high: float | None
    n: int
    covers: Covers = Covers.QUESTIONS

    @property
    def finding(self) -> Finding:
        """Of a difference: better or worse only if the interval leaves 0 out and enough questions are behind it."""
        if self.low is None or self.high is None or self.n < FEWEST_PAIRS:
            return Finding.OPEN
        return Finding.BETTER if self.low > 0 else Finding.WORSE if self.high < 0 else Finding.OPEN


def _wilson(mean: float, n: float, z: float = Z95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927), `n` > 0 questions.

    For fractional scores it is too wide rather than too narrow: nothing in [0, 1] varies more than a coin.
    """
    z2_n = z**2 / n
    centre = (mean + z2_n / 2) / (1 + z2_n)
    reach = z * (mean * (1 - mean) / n + z2_n / (4 * n)) ** 0.5 / (1 + z2_n)
    low, high = min(mean, centre - reach), max(mean, centre + reach)  # the mean is inside, rounded or not
    return max(0.0, low), min(1.0, high)


class _Luck(NamedTuple):
    """Of training: the variance of an arm's mean by its runs, and the degrees of freedom that this is known with."""

    variance: float
    degrees: int


def clustered_mean(values: Scores, clusters: Sequence[Hashable], runs: Sequence[Hashable] | None = None) -> Estimate:
    """Mean over rows, where only whole clusters are independent; `n` is the number of clusters.

    Wilson's interval of as many questions as the clusters are worth, K / d (Franco et al. 2019, JSSAM 7:334).
    K = (sum b)^2 / sum b^2 clusters count, b being the rows of each (Kish); the design effect
    d = (s + c) / (K m (1 - m) + c) is how much their means vary about the mean m, squares added up to s, against coins.
    c = 1 / (4 rows per cluster) is ours: one more cluster, whose every row is a coin. So where all agree d is 1, and
    the interval that of K questions. Clusters all right or all wrong have d = 1: Wilson's interval itself. Otherwise
    d is estimated, and Student's t takes the place of the normal. A percentile bootstrap of few clusters, or of means
    near 0 and 1, is too narrow. Give the rows, not each cluster's mean: c is smaller then.

    `runs` says which training run each row is of, where there are several, with the same questions for each. The
    variance of their means over their number is then added to that of the questions, and Student's t has the degrees
    of both (Satterthwaite 1946). What a run's questions add to its mean is in both: too wide, where runs differ little.

    Raises ValueError when there are no rows, values outside [0, 1] or NaN, or not one cluster for each row.
    """
    scores = _scores(values)
    rows_C, sums_C = _by_cluster(np.ones_like(scores), clusters), _by_cluster(scores, clusters)
    luck = [] if runs is None else _luck(_by_cluster(scores, runs) / _by_cluster(np.ones_like(scores), runs))
    return Estimate(*_clustered(sums_C, rows_C, luck), len(rows_C), Covers.BOTH if luck else Covers.QUESTIONS)


def _luck(means_S: Vector) -> list[_Luck]:
    """That of an arm; none where it was trained once, of which nothing is known."""
    runs = len(means_S)
    return [_Luck(float(means_S.var(ddof=1)) / runs, runs - 1)] if runs > 1 else []


def _clustered(sums_C: Vector, rows_C: Vector, luck: Sequence[_Luck] = ()) -> tuple[float, float, float]:
    """Mean and ends of `clustered_mean`, from each cluster's sum of scores and number of rows."""
    count, rows = len(rows_C), float(rows_C.sum())
    mean, kish = float(sums_C.sum()) / rows, rows**2 / float((rows_C**2).sum())
    squares = (kish / rows) ** 2 * float(((sums_C - mean * rows_C) ** 2).sum())
    spare = COIN * count / rows
    if count == 1 or ((sums_C == 0) | (sums_C == rows_C)).all():
        return mean, *_wilson(mean, kish)
    unbiased = count / (count - 1)  # squares are divided by `count`
    variances = [_Luck(unbiased * squares / kish**2, count - 1), *luck]
    total = sum(part.variance for part in variances)
    degrees = total**2 / sum(part.variance**2 / part.degrees for part in variances) if total else count - 1
    design = (kish**2 * total / unbiased + spare) / (kish * mean * (1 - mean) + spare)
    return mean, *_wilson(mean, kish / design, sqrt(unbiased) * student95(round(degrees, 6)))


def student95(degrees: float) -> float:
    """The 97.5 % quantile of Student's t: a table, then Abramowitz and Stegun 26.7.5 (within 0.01 %).

    Degrees that are no whole number are rounded down: wider.

    Raises ValueError without a degree of freedom.
    """
    if degrees < 1:
        raise ValueError(f"Student's t needs at least one degree of freedom, got {degrees}")
    degrees = int(degrees)
    if degrees in STUDENT95:
        return STUDENT95[degrees]
    z = Z95
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / float(degrees) ** power for power, term in enumerate(terms))


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Plain mean of estimates on questions that no two of them share, such as one model's scores on six benchmarks.

    Each side of the interval is the root of the sum of squares of the estimates' own reaches to that side, over their
    number: Newcombe's method 10 for a mean (Zou and Donner 2008). No interval where one
    of them has none; `n` is the smallest. Raises ValueError without estimates.
    """
    if not estimates:
        raise ValueError("a mean of estimates needs at least one, got none")
    value, n = sum(e.value for e in estimates) / len(estimates), min(e.n for e in estimates)
    downs = [e.value - e.low for e in estimates if e.low is not None]
    ups = [e.high - e.value for e in estimates if e.high is not None]
    if len(downs) < len(estimates) or len(ups) < len(estimates):
        return Estimate(value, None, None, n)
    return Estimate(value, value - hypot(*downs) / len(estimates), value + hypot(*ups) / len(estimates), n)


class SignificanceTest(StrEnum):
    """How a p-value was found."""

    MCNEMAR = "McNemar's exact test"
    ALL_FLIPS = "sign flips, all"
    DRAWN_FLIPS = "sign flips, 10,000 drawn"
    NONE = "interval alone"
    """Where training runs are of chance too, which neither test knows of."""


class Paired(NamedTuple):
    """`first - second` on the same questions. Wins, losses and ties are of the first; a cluster counts once."""

    difference: Estimate
    p: float | None
    """Two-sided; None where nothing was tested."""
    wins: int
    losses: int
    ties: int
    n: int
    """Clusters: wins + losses + ties."""
    method: SignificanceTest

    @property
    def finding(self) -> Finding:
        """Better or worse only if test and interval say so, on FEWEST_PAIRS clusters or more."""
        return self.difference.finding if self.p is None or self.p <= LEVEL else Finding.OPEN


def paired_test(first: Scores | Matrix, second: Scores | Matrix, clusters: Sequence[Hashable] | None = None) -> Paired:
    """Whether two models differ on the same rows; `clusters` says which rows belong together, by default none.

    With one score of 0 or 1 a cluster, McNemar's exact test: given that w + l rows differ, the wins are binomial with
    chance 1/2; two-sided, twice the smaller tail and no mid-p, so it errs only on the side of no difference. Otherwise
    the signs of the clusters' summed differences are flipped: each cluster counts by its rows, as it does in the mean.
    The interval is that of `clustered_mean`, with (1 + difference) / 2 for a score. A side that was trained several
    times has a row of scores for each run, [S, N]: its runs' variance is added, and nothing is tested. Raises
    ValueError when the two sides have not the same rows, and as `clustered_mean` does.
    """
    ours, theirs = _mean_scores(first), _mean_scores(second)
    estimate, gaps_C = _difference(first, second, clusters)
    wins, losses, n = int((gaps_C > 0).sum()), int((gaps_C < 0).sum()), len(gaps_C)
    coins = n == len(ours) and bool((ours * (1 - ours) == 0).all() and (theirs * (1 - theirs) == 0).all())
    if estimate.covers is not Covers.QUESTIONS:
        p, method = None, SignificanceTest.NONE
    elif coins:
        p, method = mcnemar(wins, losses), SignificanceTest.MCNEMAR
    else:
        p, method = _flip_signs(gaps_C[gaps_C != 0])
    return Paired(estimate, p, wins, losses, n - wins - losses, n, method)


def _difference(
    first: Scores | Matrix, second: Scores | Matrix, clusters: Sequence[Hashable] | None
) -> tuple[Estimate, Vector]:
    """`first - second` with the interval of `paired_test`, and the sum of differences of each cluster [C]."""
    ours, theirs = _mean_scores(first), _mean_scores(second)
    if ours.shape != theirs.shape:
        raise ValueError(f"a paired test needs the same rows on both sides, got {len(ours)} and {len(theirs)}")
    # of (1 + difference) / 2
    luck = [part for side in (first, second) for part in _luck(np.atleast_2d(side).mean(axis=1) / 2)]
    groups = range(len(ours)) if clusters is None else clusters
    rows_C, gaps_C = _by_cluster(np.ones_like(ours), groups), _by_cluster(ours - theirs, groups)
    gaps_C[np.abs(gaps_C) < ROUNDING * rows_C] = 0
    mean, low, high = (2 * end - 1 for end in _clustered((rows_C + gaps_C) / 2, rows_C, luck))
    covers = (Covers.QUESTIONS, Covers.ONE_SIDE, Covers.BOTH)[len(luck)]
    return Estimate(mean, low, high, len(rows_C), covers), gaps_C


def _mean_scores(side: Scores | Matrix) -> Vector:
    """Each row's mean over the training runs of a side, of which there may be one."""
    return _scores(np.atleast_2d(np.asarray(side, dtype=np.float64)).mean(axis=0))


class ShareOfGain(NamedTuple):
    """How much of a gain is there under another condition, too."""

    gain: Estimate
    part: Estimate
    """The gain under the other condition."""
    share: Estimate | None
    """`part` over `gain`; None where it is not resolved that there is a gain. An end is None where there is none."""


Sides: TypeAlias = tuple[Matrix, Matrix]
"""Scores before and after, [S, N] each: the runs of either side on the same rows."""


def share_of_gain(whole: Sides, part: Sides, clusters: Sequence[Hashable]) -> ShareOfGain:
    """The gain of `part` as a share of that of `whole`; each run has a row of scores in both, on the same questions.

    The interval holds each share r at which that of `part - r * whole` holds 0, as Fieller's (1954) does: here the
    interval of `paired_test`, so questions, clusters and training runs count as they do there, and what the two gains
    have in common is not counted twice. Raises ValueError as `paired_test` does.
    """
    gain, _ = _difference(whole[1], whole[0], clusters)
    partly, _ = _difference(part[1], part[0], clusters)
    if gain.finding is not Finding.BETTER:
        return ShareOfGain(gain, partly, None)

    def leaves(share: float) -> Estimate:
        """What the part has beyond this share of the whole, on a scale on which scores lie in [0, 1]."""
        spread, least = 1 + abs(share), min(0.0, -share)
        before, after = (np.clip((p - share * w - least) / spread, 0.0, 1.0) for p, w in zip(part, whole, strict=True))
        return _difference(after, before, clusters)[0]

    share = partly.value / gain.value
    low = _last(lambda reach: (end := leaves(share - reach).low) is None or end <= 0)
    high = _last(lambda reach: (end := leaves(share + reach).high) is None or end >= 0)
    ends = None if low is None else share - low, None if high is None else share + high
    return ShareOfGain(gain, partly, Estimate(share, *ends, gain.n, gain.covers))


def _last(holds: Callable[[float], bool]) -> float | None:
    """The largest reach at which something holds that holds at 0 and no longer far away; None if it always does."""
    if (beyond := next((float(2**i) for i in range(20) if not holds(2.0**i)), None)) is None:
        return None
    within = 0.0
    for _ in range(40):
        middle = (within + beyond) / 2
        within, beyond = (middle, beyond) if holds(middle) else (within, middle)
    return within


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided p-value of the exact test: twice the smaller binomial tail of chance 1/2, at most 1; no mid-p."""
    n, ways, tail = wins + losses, 1, 0
    for k in range(min(wins, losses) + 1):
        tail += ways  # C(n, k)
        ways = ways * (n - k) // (k + 1)
    return float(min(1.0, 2 * tail / 2**n))


def _flip_signs(gaps: Vector) -> tuple[float, SignificanceTest]:
    """Share of the flips of signs whose sum is as far from 0 as the one seen, which counts among those drawn."""
    count, total, sizes = len(gaps), abs(float(gaps.sum())), np.abs(gaps)
    reach = total - ROUNDING * float(sizes.sum())
    if count <= EXACT:
        flips_FC = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return float((np.abs(sizes.sum() - 2 * flips_FC @ sizes) >= reach).mean()), SignificanceTest.ALL_FLIPS
    rng, further = np.random.default_rng(0), 0
    for _ in range(FLIPS // BLOCK):
        flips_FC = rng.integers(2, size=(BLOCK, count), dtype=np.int8)
        further += int((np.abs(sizes.sum() - 2 * (flips_FC @ sizes)) >= reach).sum())
    return (1 + further) / (1 + FLIPS), SignificanceTest.DRAWN_FLIPS


SUCCESS = 0.5
"""A reply counts as a success for pass@k from here on: 1 for answers that are right or wrong, IoU 0.5 for boxes."""


def pass_at(k: int, n: int, hits: int) -> float:
    """Unbiased estimate of the chance that at least one of k draws succeeds, from n draws of which `hits` did.

    `1 - C(n - hits, k) / C(n, k)` (Chen et al., arXiv:2107.03374, eq. 1). Raises ValueError unless k <= n.
    """
    if k > n:
        raise ValueError(f"pass@{k} needs at least {k} samples per example, got {n}")
    return 1 - comb(n - hits, k) / comb(n, k)


def _scores(values: Scores) -> Vector:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not scores.size:
        raise ValueError(f"expected scores of one row or more, got an array of shape {scores.shape}")
    wrong = scores[~((scores >= 0) & (scores <= 1))]  # NaN too
    if wrong.size:
        raise ValueError(f"scores lie in [0, 1], got {wrong[0]}; leave out and count what was not measured")
    return scores


def _by_cluster(values: Vector, clusters: Sequence[Hashable]) -> Vector:
    """Sum of the values of each cluster [C], clusters in the order in which they first appear."""
    if len(clusters) != len(values):
        raise ValueError(f"every row needs a cluster, got {len(clusters)} for {len(values)} rows")
    places: dict[Hashable, int] = {}
    places_N = [places.setdefault(cluster, len(places)) for cluster in clusters]
    return np.bincount(places_N, weights=values).astype(np.float64, copy=False)
