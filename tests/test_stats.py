"""Statistics, against numbers worked out by hand or printed in papers, and against simulations in which the truth is
known. What the simulations measure is printed: `pytest tests/test_stats.py -k "cover or narrow or itself" -rP`.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from firsthand import stats
from firsthand.stats import (
    FEWEST_PAIRS,
    Covers,
    Estimate,
    Finding,
    Matrix,
    Paired,
    Sides,
    SignificanceTest,
    clustered_mean,
    mcnemar,
    mean_of,
    paired_test,
    pass_at,
    share_of_gain,
    student95,
)


def halves(right: int, of: int) -> list[float]:
    return [1.0] * right + [0.0] * (of - right)


def width(estimate: Estimate) -> float:
    assert estimate.low is not None and estimate.high is not None
    return estimate.high - estimate.low


def holds(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None and estimate.high is not None
    return estimate.low <= truth <= estimate.high


def wilson(mean: float, n: int) -> Estimate:
    """The score interval of a proportion in Newcombe's form (1998, Statistics in Medicine 17:857, method 3)."""
    z2 = stats.Z95**2
    reach = math.sqrt(z2 * (z2 + 4 * n * mean * (1 - mean)))
    low, high = ((2 * n * mean + z2 + sign * reach) / (2 * (n + z2)) for sign in (-1, 1))
    return Estimate(mean, low, high, n)


# ---- arms that were trained several times


def seeds(*means: float, of: int = 100) -> NDArray[np.float64]:
    """Runs that answer the first `mean * of` questions, so that they differ by their training alone."""
    return np.array([halves(round(mean * of), of) for mean in means])


def over_seeds(scores_SN: NDArray[np.float64]) -> Estimate:
    runs, rows = scores_SN.shape
    return clustered_mean(scores_SN.ravel(), [*range(rows)] * runs, np.repeat(range(runs), rows).tolist())


def test_one_run_says_nothing_of_the_luck_of_training_and_its_interval_says_so() -> None:
    one = over_seeds(seeds(0.4))
    assert one == clustered_mean(halves(40, 100), range(100))
    assert (one.covers, one.covers.value) == (Covers.QUESTIONS, "questions")


def test_runs_that_agree_on_every_question_are_as_sure_as_one() -> None:
    assert over_seeds(seeds(0.4, 0.4, 0.4))[:4] == pytest.approx(wilson(0.4, 100)[:4], rel=1e-6)
    assert over_seeds(seeds(0.4, 0.4, 0.4)).covers is Covers.BOTH


def test_runs_that_differ_widen_the_interval_to_what_a_further_one_may_be_and_no_further_than_all() -> None:
    found = over_seeds(seeds(0.25, 0.5, 0.75, of=4000))
    # of so many questions nearly all is the luck of training: 0.5 +- 4.3 * 0.25 / sqrt(3), inside [0, 1]
    assert found.value == 0.5 and found.low is not None and found.high is not None
    assert 0.0 <= found.low < 0.15 and 0.85 < found.high <= 1.0
    near = over_seeds(seeds(0.49, 0.5, 0.51, of=4000))
    # variances 0.25 / 4000 and 0.01^2 / 3, 16 degrees by Satterthwaite
    assert 0.5 * width(near) == pytest.approx(2.1199 * (0.25 / 4000 + 0.01**2 / 3) ** 0.5, rel=0.01)


def test_an_accuracy_of_few_questions_and_seeds_stays_an_accuracy() -> None:
    found = over_seeds(seeds(0.0, 1 / 3, of=30))
    assert found.low is not None and found.high is not None and 0.0 <= found.low < found.high <= 1.0


def test_a_difference_of_arms_holds_the_luck_of_both() -> None:
    base, better = seeds(0.38, 0.40, 0.42, of=4000), seeds(0.55, 0.60, 0.65, of=4000)
    found = paired_test(better, base)
    assert (found.difference.value, found.difference.covers) == (pytest.approx(0.2), Covers.BOTH)
    assert (found.p, found.method, found.finding) == (None, SignificanceTest.NONE, Finding.BETTER)
    one_sided = paired_test(better, base[1]).difference
    assert one_sided.covers is Covers.ONE_SIDE and one_sided.value == pytest.approx(0.2)
    alone = paired_test(better[1], base[1]).difference
    assert alone.covers is Covers.QUESTIONS and width(alone) < width(one_sided) < width(found.difference)
    assert paired_test(seeds(0.2, 0.9), seeds(0.4, 0.4)).finding is Finding.OPEN


@pytest.mark.parametrize("luck", [0.0, 0.1, 0.4])
@pytest.mark.parametrize(("runs", "least"), [(2, 0.90), (3, 0.925), (5, 0.94)])
def test_the_interval_over_questions_and_seeds_covers_the_truth(runs: int, least: float, luck: float) -> None:
    rng = np.random.default_rng(3)

    def right(size: tuple[int, int]) -> NDArray[np.float64]:
        odds = 1 + rng.normal(0, luck, (size[0], 1)) + rng.normal(0, 2, (1, size[1]))
        return np.asarray(1 / (1 + np.exp(-odds)))

    truth = float(right((400, 4000)).mean()) if luck else float(right((1, 400_000)).mean())
    label = f"{runs} seeds that differ by {luck} in log odds, 200 questions"
    share = covered(label, lambda: over_seeds((rng.random((runs, 200)) < right((runs, 200))).astype(float)), truth, 500)
    assert least < share


# ---- findings


@pytest.mark.parametrize(
    ("low", "high", "n", "finding"),
    [
        (0.01, 0.2, 100, Finding.BETTER),
        (-0.2, -0.01, 100, Finding.WORSE),
        (-0.01, 0.2, 100, Finding.OPEN),
        (0.0, 0.2, 100, Finding.OPEN),  # 0 is in the interval
        (0.01, 0.2, 19, Finding.OPEN),  # too few questions to say
    ],
)
def test_a_finding_needs_an_interval_without_zero_and_enough_questions(
    low: float, high: float, n: int, finding: Finding
) -> None:
    assert Estimate((low + high) / 2, low, high, n).finding is finding


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3; the last: z^2 / (n + z^2) = 3.8415 / 13.8415
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 10, 0.0, 0.27753),
    ],
)
def test_questions_that_stand_alone_have_wilsons_published_interval(hits: int, n: int, low: float, high: float) -> None:
    found, turned = (clustered_mean(halves(right, n), range(n)) for right in (hits, n - hits))
    assert found[:4] == pytest.approx((hits / n, low, high, n), abs=5e-5)
    assert turned[:4] == pytest.approx((1 - hits / n, 1 - high, 1 - low, n), abs=5e-5)
    assert found == pytest.approx(wilson(hits / n, n))


def test_an_interval_holds_its_mean_to_the_last_bit() -> None:
    for n in range(1, 200):
        assert holds(clustered_mean([0.0] * n, range(n)), 0.0) and holds(clustered_mean([1.0] * n, range(n)), 1.0)


# ---- means of clusters


def test_ten_copies_of_a_question_are_one_question() -> None:
    copies = np.repeat(halves(15, 148), 10)
    assert clustered_mean(copies, np.repeat(np.arange(148), 10).tolist()) == pytest.approx(wilson(15 / 148, 148))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_clusters_that_all_agree_are_as_sure_as_their_number_and_not_as_their_rows(value: float) -> None:
    found = clustered_mean([value] * 80, [i // 10 for i in range(80)])
    assert found == pytest.approx(wilson(value, 8))


def test_fractions_that_all_agree_do_not_make_a_point() -> None:
    found = clustered_mean([0.7] * 30, range(30))
    assert found.value == pytest.approx(0.7)
    assert found.low is not None and found.high is not None and 0.03 < found.high - found.low < 0.2


def test_a_single_cluster_says_what_one_question_says() -> None:
    assert clustered_mean([0.0, 1.0], ["a", "a"]) == pytest.approx(wilson(0.5, 1))


def test_the_interval_of_many_fractions_is_the_normal_one() -> None:
    values = np.random.default_rng(0).random(5000)
    found = clustered_mean(values, range(5000))
    reach = 1.96 * values.std() / 5000**0.5
    assert found[:4] == pytest.approx((values.mean(), values.mean() - reach, values.mean() + reach, 5000), abs=2e-5)


def test_the_design_effect_of_variants_that_agree_in_part_is_the_textbooks() -> None:
    # Kish: 1 + (10 - 1) * correlation, of 10 rows of a cluster: 1 + 9 / 4 for Beta(1.5, 1.5)
    rng = np.random.default_rng(1)
    rows = (rng.random((20_000, 10)) < rng.beta(1.5, 1.5, (20_000, 1))).astype(float).ravel()
    found, alone = clustered_mean(rows, (np.arange(200_000) // 10).tolist()), wilson(float(rows.mean()), 200_000)
    assert width(found) / width(alone) == pytest.approx((1 + 9 / 4) ** 0.5, rel=0.02)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    values, groups, order = rng.random(60), rng.integers(0, 9, 60), rng.permutation(60)
    assert clustered_mean(values[order], groups[order].tolist()) == pytest.approx(
        clustered_mean(values, groups.tolist())
    )


@pytest.mark.parametrize(
    ("values", "clusters", "said"),
    [
        ([], [], "one row or more"),
        ([0.5, 1.2], ["a", "b"], r"in \[0, 1\], got 1\.2"),
        ([0.5, math.nan], ["a", "b"], "got nan; leave out and count"),
        ([0.5, 1.0], ["a"], "every row needs a cluster, got 1 for 2 rows"),
    ],
)
def test_rows_that_make_no_mean_are_refused(values: Sequence[float], clusters: Sequence[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        clustered_mean(values, clusters)


def test_the_rows_of_a_large_benchmark_take_a_fraction_of_a_second() -> None:
    values = np.random.default_rng(0).random(5010)
    clusters = [f"question-{i // 10}" for i in range(5010)]
    start = time.process_time()
    clustered_mean(values, clusters)
    paired_test(values, values[::-1], clusters)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.7062), (2, 4.3027), (4, 2.7764), (5, 2.5706), (9, 2.2622), (29, 2.0452), (120, 1.9799)],
)
def test_students_quantile_is_the_one_of_the_tables(degrees: int, expected: float) -> None:
    assert student95(degrees) == pytest.approx(expected, rel=1e-4)


# ---- any statistic of clusters, and means of estimates


def test_the_mean_of_equal_estimates_is_surer_by_the_root_of_their_number() -> None:
    found = mean_of([Estimate(0.5, 0.4, 0.6, 100)] * 4)
    assert found[:4] == pytest.approx((0.5, 0.45, 0.55, 100))


def test_a_mean_of_two_has_half_the_reach_of_their_difference() -> None:
    # Newcombe's worked example again: a sum reaches as far as a difference does, with the second's ends swapped.
    first, second = wilson(56 / 70, 70), wilson(48 / 80, 80)
    mirrored = Estimate(-second.value, -second.high, -second.low, 80)  # type: ignore[operator]
    found = mean_of([first, mirrored])
    assert (2 * found.value, 2 * found.low, 2 * found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)  # type: ignore[operator]
    assert found.n == 70


def test_a_mean_over_an_estimate_without_interval_has_none() -> None:
    assert mean_of([wilson(0.5, 10), Estimate(1.0, None, None, 4)])[:4] == (0.75, None, None, 4)


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ValueError, match="at least one, got none"):
        mean_of([])


# ---- paired tests


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (8, 2, 2 * (1 + 10 + 45) / 1024),  # binomial(10, 1/2) at 2 or less, and its mirror
        (1, 6, 2 * (1 + 7) / 128),
        (10, 0, 2 / 1024),
    ],
)
def test_mcnemars_exact_p_is_the_binomials(wins: int, losses: int, p: float) -> None:
    assert mcnemar(wins, losses) == pytest.approx(p) == mcnemar(losses, wins)


def test_mcnemar_of_many_is_close_to_its_chi_square() -> None:
    # Agresti, Categorical Data Analysis, approval of a prime minister: 150 and 86 changed, z^2 = 17.36, p = 3.1e-5
    assert mcnemar(150, 86) == pytest.approx(math.erfc((17.36 / 2) ** 0.5), rel=0.25)
    assert mcnemar(4000, 3000) < 1e-30


def test_one_right_or_wrong_answer_a_question_is_mcnemars_case() -> None:
    first, second = [1.0] * 8 + [0.0] * 2 + [1.0] * 5, [0.0] * 8 + [1.0] * 2 + [1.0] * 5
    found = paired_test(first, second)
    assert (found.method, found.wins, found.losses, found.ties, found.n) == (SignificanceTest.MCNEMAR, 8, 2, 5, 15)
    assert found.p == pytest.approx(112 / 1024)
    assert found.difference.value == pytest.approx(6 / 15)


def test_darwins_maize_has_fishers_p() -> None:
    # Fisher, The Design of Experiments, section 21: eighths of an inch, 863 of 2^15 sums are as large as the one seen
    gaps = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    first, second = [0.5 + g / 200 for g in gaps], [0.5] * 15
    found = paired_test(first, second)
    assert (found.method, found.wins, found.losses, found.n) == (SignificanceTest.ALL_FLIPS, 13, 2, 15)
    assert found.p == pytest.approx(2 * 863 / 2**15)


def test_drawn_flips_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random(16), rng.random(16) * 0.8
    exact = paired_test(first, second)
    monkeypatch.setattr(stats, "EXACT", 15)
    drawn = paired_test(first, second)
    assert (exact.method, drawn.method) == (SignificanceTest.ALL_FLIPS, SignificanceTest.DRAWN_FLIPS)
    assert drawn.p == pytest.approx(exact.p, abs=4 * (exact.p / 10_000) ** 0.5)
    assert drawn == paired_test(first, second)


def test_ten_copies_of_each_pair_are_no_more_evidence() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.random(40), rng.random(40) * 0.8
    once = paired_test(first, second)
    copied = paired_test(np.repeat(first, 10), np.repeat(second, 10), np.repeat(np.arange(40), 10).tolist())
    assert copied.p == pytest.approx(once.p) and copied.n == once.n == 40
    assert copied.difference.value == pytest.approx(once.difference.value)
    assert width(copied.difference) == pytest.approx(width(once.difference), rel=0.1)  # by a coin of one row, or of ten


def test_clusters_that_tie_are_counted_and_decide_nothing() -> None:
    found = paired_test([1.0, 0.0, 0.5, 0.5], [0.0, 1.0, 0.5, 0.5], ["a", "a", "b", "c"])
    assert (found.wins, found.losses, found.ties, found.n, found.p) == (0, 0, 3, 3, 1.0)


def test_sums_that_differ_by_rounding_alone_tie() -> None:
    first, second = [0.1, 0.6, 0.2], [0.6, 0.2, 0.1]
    assert sum(a - b for a, b in zip(first, second, strict=True)) != 0
    found = paired_test(first, second, ["a", "a", "a"])
    assert (found.ties, found.p, found.difference.value) == (1, 1.0, 0.0)


def test_models_that_agree_everywhere_are_not_proved_equal() -> None:
    found = paired_test([1.0] * 100, [1.0] * 100).difference
    assert found.low is not None and found.high is not None
    assert found[:4] == pytest.approx((0.0, -found.high, found.high, 100))
    assert 0.01 < found.high < 0.04


@pytest.mark.parametrize(
    ("low", "high", "p", "n", "finding"),
    [
        (0.01, 0.2, 0.03, 100, Finding.BETTER),
        (-0.2, -0.01, 0.03, 100, Finding.WORSE),
        (0.01, 0.2, 0.06, 100, Finding.OPEN),  # the test does not say so
        (-0.01, 0.2, 0.03, 100, Finding.OPEN),  # the interval does not
        (0.01, 0.2, 0.03, FEWEST_PAIRS - 1, Finding.OPEN),
    ],
)
def test_a_finding_needs_test_and_interval_and_enough_questions(
    low: float, high: float, p: float, n: int, finding: Finding
) -> None:
    assert Paired(Estimate(0.1, low, high, n), p, n, 0, 0, n, SignificanceTest.MCNEMAR).finding is finding


def test_pairs_need_the_same_rows() -> None:
    with pytest.raises(ValueError, match="same rows on both sides, got 2 and 1"):
        paired_test([0.0, 1.0], [1.0])


# ---- the share of a gain


def gains(draws: np.random.Generator, n: int) -> tuple[Sides, Sides]:
    """Before and after, seeing and blind, of `n` questions that are hard for all four alike."""
    levels = draws.normal(0, 1, n)

    def draw(skill: float) -> Matrix:
        return (draws.random((1, n)) < 1 / (1 + np.exp(-levels - skill))).astype(float)

    return (draw(-1), draw(1)), (draw(-2), draw(-1.3))


def test_a_share_worked_by_hand() -> None:
    before, after, blind = np.zeros((1, 40)), np.zeros((1, 40)), np.zeros((1, 40))
    after[0, :20], blind[0, :5] = 1, 1  # 20 more are right, of which 5 without a picture
    found = share_of_gain((before, after), (before, blind), range(40))
    assert (found.gain.value, found.part.value) == (pytest.approx(0.5), pytest.approx(0.125))
    assert found.share is not None and found.share.value == pytest.approx(0.25)
    assert found.gain == paired_test(after[0], before[0], range(40)).difference
    # At the ends of its interval, that of `blind - share * seeing` ends at 0: as fractions of the scale, by hand.
    assert found.share.low is not None and found.share.high is not None
    for share, end in ((found.share.low, 1), (found.share.high, 2)):
        scaled = (blind[0] - share * after[0] + share) / (1 + share)
        before_scaled = np.full(40, share / (1 + share))
        assert paired_test(scaled, before_scaled, range(40)).difference[end] == pytest.approx(0, abs=1e-6)


def test_all_of_a_gain_survives_where_nothing_was_seen_and_none_where_blindness_ends_it() -> None:
    before, after = np.zeros((1, 40)), np.concatenate([np.ones((1, 30)), np.zeros((1, 10))], 1)
    same, none = share_of_gain((before, after), (before, after), range(40)), np.zeros((1, 40))
    assert same.share is not None and same.share.value == 1 and holds(same.share, 1) and not holds(same.share, 0.75)
    lost = share_of_gain((before, after), (none, none), range(40))
    assert lost.share is not None and lost.share.value == 0 and lost.share.low is not None and lost.share.low < 0


def test_a_gain_that_is_not_resolved_has_no_share() -> None:
    rng = np.random.default_rng(0)
    few = [(rng.random((1, 40)) < 0.5).astype(float) for _ in range(4)]
    assert share_of_gain((few[0], few[1]), (few[2], few[3]), range(40)).share is None
    ones, zeros = np.ones((1, 40)), np.zeros((1, 40))
    assert share_of_gain((ones, zeros), (ones, zeros), range(40)).share is None  # a loss is no gain
    assert share_of_gain((zeros[:, :19], ones[:, :19]), (zeros[:, :19], ones[:, :19]), range(19)).share is None


def test_the_luck_of_training_makes_a_share_less_sure() -> None:
    base, blind = seeds(0.2), seeds(0.2)
    once = share_of_gain((base, seeds(0.6)), (blind, seeds(0.3)), range(100)).share
    alike = share_of_gain((base, seeds(0.6, 0.6, 0.6)), (blind, seeds(0.3, 0.3, 0.3)), range(100)).share
    lucky = share_of_gain((base, seeds(0.6, 0.5, 0.7)), (blind, seeds(0.3, 0.4, 0.2)), range(100)).share
    assert once is not None and alike is not None and lucky is not None
    assert [e.value for e in (once, alike, lucky)] == [pytest.approx(0.25)] * 3
    assert (once.covers, lucky.covers) == (Covers.QUESTIONS, Covers.ONE_SIDE)
    assert width(lucky) > 1.5 * width(alike)


@pytest.mark.slow
def test_the_interval_of_a_share_covers_the_truth() -> None:
    rng, skills = np.random.default_rng(0), np.random.default_rng(1).normal(0, 1, 10**6)
    rates = {skill: float((1 / (1 + np.exp(-skills - skill))).mean()) for skill in (-2, -1.3, -1, 1)}
    truth = (rates[-1.3] - rates[-2]) / (rates[1] - rates[-1])
    found = [share_of_gain(*gains(rng, 200), range(200)).share for _ in range(1000)]
    held = [holds(share, truth) for share in found if share is not None]
    print(f"share of a gain, 200 questions, truth {truth:.3f}: {np.mean(held):.1%} of {len(held)}")
    assert len(held) > 900 and 0.93 <= np.mean(held) <= 0.98


# ---- pass@k


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_pass_at_k_is_the_share_of_all_choices_of_k_that_hold_a_hit(n: int) -> None:
    for hits, k in itertools.product(range(n + 1), range(1, n + 1)):
        choices = list(itertools.combinations([True] * hits + [False] * (n - hits), k))
        assert pass_at(k, n, hits) == pytest.approx(statistics.fmean(map(any, choices)))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_pass_at_k_is_unbiased(p: float) -> None:
    n = 8
    chance = [comb(n, hits) * p**hits * (1 - p) ** (n - hits) for hits in range(n + 1)]
    for k in (1, 2, 4, 8):
        expected = sum(c * pass_at(k, n, hits) for hits, c in enumerate(chance))
        assert expected == pytest.approx(1 - (1 - p) ** k)


def test_pass_at_more_than_was_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="pass@4 needs at least 4 samples per example, got 2"):
        pass_at(4, 2, 1)


# ---- coverage, where the truth is known
#
# The band of 92.5 to 97.5 %: of 2,000 draws that cover 95 % of the time the share has a standard error of 0.5 points.
# So 1.5 points on each side are chance (three errors), and 1 point is what an interval of few clusters may be off.

DRAWS = 2000


def covered(label: str, draw: Callable[[], Estimate], truth: float, draws: int = DRAWS) -> float:
    """How often the interval holds the truth; printed with its mean width."""
    found = [draw() for _ in range(draws)]
    share = statistics.fmean(holds(estimate, truth) for estimate in found)
    print(f"{label} | {100 * share:.1f} % | {100 * statistics.fmean(map(width, found)):.1f} | {draws:,}")
    return share


def rows(rng: np.random.Generator, a: float, b: float, questions: int, each: int) -> NDArray[np.float64]:
    """Right and wrong answers, `each` to a question, whose chances of a right one are Beta(a, b)."""
    return (rng.random((questions, each)) < rng.beta(a, b, (questions, 1))).astype(np.float64).ravel()


def clusters(questions: int, each: int) -> list[int]:
    return np.repeat(np.arange(questions), each).tolist()


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_the_interval_of_single_questions_covers_the_truth(p: float, n: int) -> None:
    """Exactly: every number of right answers, by how probable it is. No draws, so the band is all the method's."""
    found = [clustered_mean(halves(hits, n), range(n)) for hits in range(n + 1)]
    logs = [math.lgamma(n + 1) - math.lgamma(h + 1) - math.lgamma(n - h + 1) for h in range(n + 1)]
    chances = [math.exp(log + h * math.log(p) + (n - h) * math.log(1 - p)) for h, log in enumerate(logs)]
    share = sum(chance for chance, estimate in zip(chances, found, strict=True) if holds(estimate, p))
    wide = sum(chance * width(estimate) for chance, estimate in zip(chances, found, strict=True))
    print(f"{n} single questions, p = {p} | {100 * share:.1f} % | {100 * wide:.1f} | exact")
    assert 0.925 < share < 0.975


@pytest.mark.parametrize("questions", [100, 500])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.3, 0.3), (3.0, 0.5)], ids=["1/3", "5/8", "2/9"])
def test_the_interval_of_questions_with_ten_variants_covers_the_truth(a: float, b: float, questions: int) -> None:
    rng, groups = np.random.default_rng(11), clusters(questions, 10)
    label = f"{questions} questions x 10 variants, correlation {1 / (a + b + 1):.2f}, mean {a / (a + b):.2f}"
    share = covered(label, lambda: clustered_mean(rows(rng, a, b, questions, 10), groups), a / (a + b))
    assert 0.925 < share < 0.975


@pytest.mark.parametrize(
    ("a", "b"), [(0.5, 0.5), (2.0, 2.0), (0.3, 1.2), (3.0, 0.3)], ids=["split", "middling", "hard", "easy"]
)
def test_the_interval_of_thirty_questions_drawn_32_times_covers_the_truth(a: float, b: float) -> None:
    rng, groups = np.random.default_rng(12), clusters(30, 32)
    label = f"avg@32 of 30 questions, p from Beta({a}, {b})"
    share = covered(label, lambda: clustered_mean(rows(rng, a, b, 30, 32), groups), a / (a + b))
    assert 0.925 < share < 0.975


def test_the_interval_of_questions_with_unlike_numbers_of_variants_covers_the_truth() -> None:
    rng = np.random.default_rng(13)

    def draw() -> Estimate:
        sizes = rng.integers(1, 20, 100)
        chances = np.repeat(rng.beta(1, 1, 100), sizes)
        return clustered_mean((rng.random(len(chances)) < chances).astype(float), np.repeat(range(100), sizes).tolist())

    assert 0.925 < covered("100 questions x 1 to 19 variants", draw, 0.5) < 0.975


def test_the_interval_of_fractions_covers_the_truth() -> None:
    rng = np.random.default_rng(14)
    share = covered("200 fractions, Beta(0.4, 0.2)", lambda: clustered_mean(rng.beta(0.4, 0.2, 200), range(200)), 2 / 3)
    assert 0.925 < share < 0.975


@pytest.mark.parametrize("questions", [100, 500])
def test_rows_taken_for_questions_do_not_cover_the_truth(questions: int) -> None:
    rng = np.random.default_rng(11)
    naive = covered(
        f"{questions} questions x 10 variants, taken for {10 * questions} questions (too narrow)",
        lambda: wilson(float(rows(rng, 1, 1, questions, 10).mean()), 10 * questions),
        0.5,
    )
    assert naive < 0.80


def test_a_percentile_bootstrap_of_thirty_questions_is_too_narrow() -> None:
    """Why `clustered_mean` is none."""
    rng = np.random.default_rng(12)
    weights_RN = rng.multinomial(30, [1 / 30] * 30, size=1000) / 30

    def draw() -> Estimate:
        means = rows(rng, 3.0, 0.3, 30, 32).reshape(30, 32).mean(axis=1)
        low, high = np.percentile(weights_RN @ means, [2.5, 97.5])
        return Estimate(float(means.mean()), float(low), float(high), 30)

    assert covered("avg@32 of 30 questions, Beta(3.0, 0.3), percentile bootstrap (too narrow)", draw, 10 / 11) < 0.925


def test_the_interval_of_a_mean_of_six_benchmarks_covers_the_truth() -> None:
    rng = np.random.default_rng(16)
    sizes, chances = [30, 200, 300, 500, 1000, 1000], [0.1, 0.7, 0.5, 0.95, 0.3, 0.6]

    def draw() -> Estimate:
        return mean_of([wilson(rng.binomial(n, p) / n, n) for n, p in zip(sizes, chances, strict=True)])

    assert 0.925 < covered("mean of six benchmarks, mean_of", draw, statistics.fmean(chances)) < 0.975


# ---- a model against itself, and against a better one


def verdicts(label: str, draw: Callable[[], Paired], draws: int) -> list[Paired]:
    found = [draw() for _ in range(draws)]
    either, both = (100 * (1 - share) for share in differences(found))
    wide = 100 * statistics.fmean(width(pair.difference) for pair in found)
    print(f"{label} | {either:.1f} % | {both:.1f} % | {wide:.1f} | {draws:,}")
    return found


def differences(found: Sequence[Paired]) -> tuple[float, float]:
    """How often test or interval calls a difference, or both do; and how often `finding`, which wants both, does."""
    either = statistics.fmean(pair.p <= 0.05 or not holds(pair.difference, 0.0) for pair in found)
    return either, statistics.fmean(pair.finding is not Finding.OPEN for pair in found)


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.3, 0.3), (20.0, 0.3)], ids=["unsure", "sure", "nearly all right"])
def test_a_model_and_itself_under_another_seed_do_not_differ(a: float, b: float, n: int) -> None:
    """At most 5 % of differences, and 1.5 points (three standard errors of 2,000 draws) for chance."""
    rng = np.random.default_rng(21)

    def draw() -> Paired:
        chances = rng.beta(a, b, n)
        return paired_test(*((rng.random(n) < chances).astype(float) for _ in range(2)))

    found = verdicts(f"itself, {n} questions, p from Beta({a}, {b})", draw, DRAWS)
    assert {pair.method for pair in found} == {SignificanceTest.MCNEMAR}
    assert max(differences(found)) < 0.05 + 0.015


@pytest.mark.parametrize(("questions", "each"), [(30, 32), (100, 10)])
def test_a_model_and_itself_under_another_seed_do_not_differ_in_clusters(questions: int, each: int) -> None:
    """600 draws, for speed: at most 5 % of differences, and 2.7 points (three standard errors) for chance."""
    rng, groups = np.random.default_rng(22), clusters(questions, each)

    def draw() -> Paired:
        chances = np.repeat(rng.beta(0.5, 0.5, questions), each)
        return paired_test(*((rng.random(questions * each) < chances).astype(float) for _ in range(2)), groups)

    found = verdicts(f"itself, {questions} questions x {each}", draw, 600)
    assert SignificanceTest.MCNEMAR not in {pair.method for pair in found}
    assert max(differences(found)) < 0.05 + 0.027


@pytest.mark.parametrize(("questions", "each", "gap"), [(1000, 1, 0.08), (501, 10, 0.04), (30, 32, 0.08)])
def test_a_better_model_is_found_nine_times_in_ten(questions: int, each: int, gap: float) -> None:
    rng, groups = np.random.default_rng(23), clusters(questions, each)

    def draw() -> Paired:
        chances = np.repeat(rng.beta(0.5, 0.5, questions) * (1 - gap), each)
        first, second = (rng.random(len(chances)) < chances + by for by in (gap, 0.0))
        return paired_test(first.astype(float), second.astype(float), groups)

    found = [draw() for _ in range(200)]
    share = statistics.fmean(pair.finding is Finding.BETTER for pair in found)
    held = statistics.fmean(holds(pair.difference, gap) for pair in found)
    print(
        f"found: {100 * gap:.0f} points, {questions} questions x {each} | {100 * share:.1f} % | held {100 * held:.1f} %"
    )
    assert share > 0.9
    assert held > 0.95 - 0.046  # three standard errors of 200 draws
