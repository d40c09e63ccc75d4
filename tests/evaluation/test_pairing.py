"""Two models on the same benchmarks: what is paired, what is left out, and that the latter is counted."""

import math
import random
from collections.abc import Sequence

import pytest

from firsthand.errors import DataError
from firsthand.evaluation.pairing import Pairing, pair_units
from firsthand.records import Unit
from firsthand.stats import Covers, Finding, SignificanceTest, paired_test


def alone(*scores: float | None, first: int = 0) -> list[Unit]:
    """Items that stand alone, named by their number."""
    return [Unit(question=f"q{i}", cluster=f"q{i}", value=score) for i, score in enumerate(scores, start=first)]


def pair(baseline: Sequence[Unit], other: Sequence[Unit]) -> Pairing:
    """Of arms with one run each."""
    return pair_units([baseline], [other], "maps")


def variants(questions: int, each: int, scores: Sequence[float | None]) -> list[Unit]:
    return [
        Unit(question=f"q{i // each}/{i % each}", cluster=f"q{i // each}", value=scores[i])
        for i in range(questions * each)
    ]


def test_items_are_paired_by_their_id_and_not_by_their_place() -> None:
    found = pair(alone(1.0, 0.0, 0.0, 1.0), alone(1.0, 1.0, 0.0, 0.0)[::-1]).paired
    assert found is not None
    assert (found.wins, found.losses, found.ties, found.method) == (1, 1, 2, SignificanceTest.MCNEMAR)


def test_a_difference_above_zero_says_that_the_other_is_better() -> None:
    found = pair(alone(*[0.0] * 30), alone(*[1.0] * 30)).paired
    assert found is not None
    assert (found.difference.value, found.wins, found.finding) == (1.0, 30, Finding.BETTER)


def test_what_was_not_measured_on_either_side_is_left_out_and_counted() -> None:
    found = pair(alone(1.0, None, 0.0, None, 1.0), alone(1.0, 1.0, None, None, 0.0))
    assert (found.compared, found.unmeasured, found.only_baseline, found.only_other) == (2, 3, 0, 0)
    assert found.paired is not None
    assert (found.paired.losses, found.paired.ties, found.paired.n) == (1, 1, 2)


def test_what_stands_on_one_side_only_is_left_out_and_counted_measured_or_not() -> None:
    found = pair(alone(1.0, 1.0, 0.0), alone(0.0, None, 1.0, 1.0, None, first=2))
    assert (found.compared, found.unmeasured, found.only_baseline, found.only_other) == (1, 0, 2, 4)


def test_every_row_is_paired_or_counted() -> None:
    draw = random.Random(0)
    for _ in range(50):
        sides = [
            [unit.model_copy(update={"value": draw.choice([None, 0.0, 1.0])}) for unit in alone(*[0.0] * 20)]
            for _ in range(2)
        ]
        baseline, other = (draw.sample(side, draw.randrange(21)) for side in sides)
        found = pair(baseline, other)
        assert found.compared + found.unmeasured + found.only_baseline == len(baseline)
        assert found.compared + found.unmeasured + found.only_other == len(other)


def test_variants_of_a_question_count_as_one() -> None:
    draw = random.Random(1)
    first, second = ([draw.choice([0.0, 1.0]) for _ in range(300)] for _ in range(2))
    found = pair(variants(30, 10, first), variants(30, 10, second))
    assert found.paired is not None
    assert (found.compared, found.paired.n, found.paired.method) == (300, 30, SignificanceTest.DRAWN_FLIPS)


def test_the_result_is_the_paired_test_whatever_the_order_of_the_rows() -> None:
    draw = random.Random(2)
    first, second = ([draw.random() for _ in range(40)] for _ in range(2))
    baseline, other = variants(20, 2, first), variants(20, 2, second)
    found = pair(baseline, other)
    assert found == pair(draw.sample(baseline, 40), draw.sample(other, 40))
    assert found.paired is not None
    expected = paired_test(second, first, [row.cluster for row in baseline])
    assert found.paired.difference == pytest.approx(expected.difference)
    assert found.paired.p == pytest.approx(expected.p, abs=0.03)  # other clusters are flipped together


def test_a_benchmark_of_which_nothing_was_measured_by_both_has_no_result() -> None:
    found = pair(alone(1.0, None), alone(None, 1.0))
    assert (found.paired, found.compared, found.unmeasured) == (None, 0, 2)


def test_runs_of_an_arm_count_together_on_what_all_of_them_measured() -> None:
    base = [alone(*[0.0] * 30), alone(*[0.0] * 30)]
    trained = [alone(*[1.0] * 20, *[0.0] * 9, None), alone(*[1.0] * 24, *[0.0] * 6)]
    found = pair_units(base, trained)
    assert (found.compared, found.unmeasured, found.only_other) == (29, 1, 0)
    assert found.paired is not None and found.paired.difference.covers is Covers.BOTH
    assert found.paired.difference.value == pytest.approx((20 + 24) / 58)


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(DataError, match=r"maps: q0 stands twice on one side.*name repeated draws apart"):
        pair([*alone(1.0), *alone(0.0)], alone(1.0))


def test_an_item_that_changed_its_question_is_refused() -> None:
    with pytest.raises(DataError, match=r"maps: q0 belongs to 'q0' in the baseline and to 'q7' in the other"):
        pair(alone(1.0), [Unit(question="q0", cluster="q7", value=1.0)])


def test_a_score_that_is_no_number_is_no_score() -> None:
    with pytest.raises(ValueError, match="got nan"):
        pair(alone(math.nan), alone(1.0))
