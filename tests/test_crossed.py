"""Differences over items and seeds, against numbers worked out by hand and against simulations of known truth."""

import math

import numpy as np
import pytest
from study_statistics import World, any_verdict, coverage, ours, resolved, star, summed, truth

from firsthand.crossed import Crossed, corrected, crossed, needed_items, needed_seeds, power, student
from firsthand.stats import LEVEL, student95


def table(mean: float, seeds: list[float], items: list[float]) -> np.ndarray:
    """What has a part for its seed and one for its item, and nothing else."""
    return mean + np.array(seeds)[:, None] + np.array(items)[None, :]


@pytest.mark.parametrize(
    ("degrees", "level", "quantile"),
    [  # printed tables of Student's t
        (1, 0.05, 12.7062),
        (2, 0.05, 4.3027),
        (2, 0.01, 9.9248),
        (4, 0.05, 2.7764),
        (9, 0.001, 4.7809),
        (2, 1e-12, 1_000_000),  # where 1 - t / sqrt(t^2 + 2) is near 1 / t^2
        (30, 0.05, 2.0423),
        (1_000_000, 0.05, 1.95997),
    ],
)
def test_the_quantiles_are_those_of_the_printed_tables(degrees: int, level: float, quantile: float) -> None:
    assert student(level, degrees) == pytest.approx(quantile, abs=1e-4)


def test_the_quantiles_are_those_that_other_intervals_have() -> None:
    assert [student(0.05, d) for d in range(1, 60)] == pytest.approx([student95(d) for d in range(1, 60)], rel=2e-4)


def test_the_parts_are_the_mean_squares_of_the_analysis_of_variance() -> None:
    found = crossed(np.array([[0.5, 0.0, 0.1], [0.3, 0.2, -0.5]]))
    # by hand: mean 0.1, seeds 0.2 and 0, items 0.4, 0.1, -0.2; rest +-(0, 0.2, -0.2); one item more counts 1 / 3
    assert (found.value, found.seeds, found.items) == (pytest.approx(0.1), 2, 3)
    assert found.by_seed == pytest.approx(3 * 2 * 0.1**2)
    assert found.by_item == pytest.approx(2 * 2 * 0.3**2 / 2 + 1 / 3)
    assert found.rest == pytest.approx(4 * 0.2**2 / 2 + 1 / 3)


def test_where_only_seeds_differ_the_interval_is_students_of_their_means() -> None:
    found = crossed(table(0.1, [-0.05, 0.0, 0.05], [0.0] * 4000))
    assert found.high - found.value == pytest.approx(4.302653 * 0.05 / math.sqrt(3), rel=1e-6)


def test_where_only_items_differ_the_interval_is_that_of_the_items() -> None:
    items = np.random.default_rng(0).uniform(-0.5, 0.5, 1000)
    found = crossed(table(0.0, [0.0] * 5, [*items]))
    assert found.high - found.value == pytest.approx(1.9623 * items.std() / math.sqrt(1000), rel=0.01)


def test_seeds_that_agree_by_luck_leave_half_of_the_rest() -> None:
    found = Crossed(0.0, 5, 1000, 1e-9, 0.4, 0.4)
    assert found.reach(0.05) == pytest.approx(1.9623 * math.sqrt(0.4 / 2 / 5000), rel=1e-4)


def test_a_few_items_without_a_difference_are_no_certainty() -> None:
    found = crossed(np.zeros((3, 20)))
    assert (found.value, found.p) == (0.0, 1.0) and found.high > 0.02


def test_the_interval_ends_at_0_where_p_is_5_percent() -> None:
    drawn = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], (4, 200), p=[0.1, 0.75, 0.15])
    found = crossed(drawn)
    assert found.reach(found.p) == pytest.approx(abs(found.value), rel=1e-9)
    edge = found._replace(value=found.reach(0.05))
    assert edge.p == pytest.approx(0.05) and edge.low == pytest.approx(0)


def test_one_seed_has_the_interval_of_the_items_alone() -> None:
    drawn = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], (1, 200), p=[0.1, 0.75, 0.15])
    found = crossed(drawn)
    assert found.by_seed is None and needed_items(found, 0.05) is None and needed_seeds(found, 0.05) is None
    assert found.reach(0.05) == pytest.approx(1.972 * math.sqrt(drawn.var(ddof=1) / 200 + 1 / 200**2), rel=1e-3)


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((0, 3)), np.array([[math.nan]]), np.array([[1.5]])])
def test_what_is_no_table_of_differences_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected differences of scores \[seeds, items\] within \[-1, 1\], got sh"):
        crossed(wrong)


def test_holms_correction_is_that_of_his_paper() -> None:
    assert corrected([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert corrected([0.6, 0.7]) == [1.0, 1.0] and corrected([]) == [] and corrected([0.04]) == [0.04]


# ---- simulations; docs/studies.md has the long ones


def within(share: float, studies: int) -> float:
    """Three standard errors of a share: a right one is farther off once in 370 times."""
    return 3 * math.sqrt(share * (1 - share) / studies)


@pytest.mark.parametrize(
    ("world", "most"),
    [  # where seeds dominate the interval is exact; where they are nothing, and few, it is wide
        (World(3, 200, (0.5, 0.5), luck=1.0), 0.965),
        (World(5, 200, (0.6, 0.5), luck=1.0), 0.965),
        (World(10, 200, (0.15, 0.1), luck=1.0), 0.965),
        (World(3, 200, (0.5, 0.5), luck=0.0), 0.98),
        (World(5, 50, (0.6, 0.5), luck=0.1, own=1.0), 0.98),
        (World(10, 200, (0.97, 0.93), luck=0.0), 0.98),
    ],
)
def test_the_interval_covers_the_truth(world: World, most: float) -> None:
    share = coverage(world, ours, 500)
    assert 0.94 - within(0.94, 500) <= share <= most + within(most, 500)


def test_variances_that_are_added_up_count_the_rest_twice() -> None:
    world = World(10, 200, (0.5, 0.5), luck=0.0)
    assert coverage(world, summed, 300) > 0.98 > coverage(world, ours, 300)


@pytest.mark.parametrize("luck", [0.0, 0.4])
def test_a_study_of_equal_arms_has_a_verdict_in_5_percent_at_most(luck: float) -> None:
    """Ten questions. Uncorrected, 14 and 23 % of these have one; without the variance of seeds, 40 % with luck."""
    world = World(5, 400, (0.5,) * 11, luck, untrained=1)
    assert any_verdict(world, star(11), 300) <= 0.05 + within(0.05, 300)


@pytest.mark.parametrize(
    ("world", "level"),
    [
        (World(5, 400, (0.55, 0.5), luck=0.1, own=0.5), LEVEL),
        (World(3, 1000, (0.6, 0.5), luck=0.2), LEVEL),
        (World(5, 1000, (0.55, 0.5), luck=0.1), LEVEL / 6),
    ],
)
def test_the_power_is_the_share_of_studies_that_resolve(world: World, level: float) -> None:
    said = power(truth(world), level)
    assert 0.1 < said < 0.99
    assert resolved(world, 500, level) == pytest.approx(
        said, abs=within(said, 500) + 0.02
    )  # the parts are measured, too


def test_so_many_items_or_seeds_as_are_asked_for_resolve_in_80_percent() -> None:
    world = World(5, 200, (0.56, 0.5), luck=0.1, own=0.5)
    parts = truth(world)
    items, seeds = needed_items(parts, LEVEL), needed_seeds(parts, LEVEL)
    assert items is not None and seeds is not None and items > 200 and seeds > 5
    for enough in (world._replace(items=items), world._replace(seeds=seeds)):
        assert resolved(enough, 400) == pytest.approx(0.8, abs=within(0.8, 400) + 0.03)  # of 400 studies, and of theirs


def test_where_the_luck_of_seeds_hides_a_difference_no_number_of_items_shows_it() -> None:
    parts = truth(World(3, 200, (0.55, 0.5), luck=1.0))
    seeds = needed_seeds(parts, LEVEL)
    assert needed_items(parts, LEVEL) is None and seeds is not None and seeds > 20
    assert needed_items(parts._replace(value=0.0), LEVEL) is needed_seeds(parts._replace(value=0.0), LEVEL) is None
