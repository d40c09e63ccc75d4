"""Two models on the same benchmarks: their rows in pairs, and what was left out of the pairs, counted. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from firsthand.errors import DataError
from firsthand.stats import Paired, paired_test


class Row(NamedTuple):
    """One judged item of a benchmark."""

    question_id: str
    """Names the item; of repeated draws or variants, each has its own."""
    cluster: str
    """The question that the item belongs to; an item that stands alone is its own cluster."""
    score: float | None
    """In [0, 1]; None is unmeasured."""


class Compared(NamedTuple):
    """One benchmark under two models: `other - baseline`, on the items that both measured."""

    paired: Paired | None
    """None when no item was measured by both."""
    compared: int
    """Items in pairs; `paired.n` counts clusters."""
    unmeasured: int
    """Items of both, left out because one of the two has no score."""
    only_baseline: int
    """Items left out because `other` has no such row, measured or not."""
    only_other: int


def compare(baseline: Mapping[str, Sequence[Row]], other: Mapping[str, Sequence[Row]]) -> dict[str, Compared]:
    """Pair the rows of two models by benchmark and question id; every benchmark of either has its entry.

    Raises DataError when an id stands twice on one side, or belongs to another cluster on the other side.
    """
    names = dict.fromkeys((*baseline, *other))
    return {name: compare_rows(baseline.get(name, ()), other.get(name, ()), name) for name in names}


def compare_rows(baseline: Sequence[Row], other: Sequence[Row], name: str = "these rows") -> Compared:
    """`compare` of one benchmark, whose `name` is for the error messages."""
    theirs, ours = _by_id(baseline, name), _by_id(other, name)
    shared = [(theirs[key], ours[key]) for key in sorted(theirs.keys() & ours.keys())]  # so no p depends on the order
    for before, after in shared:
        if before.cluster != after.cluster:
            raise DataError(
                f"{name}: {before.question_id} belongs to {before.cluster!r} in the baseline and to {after.cluster!r} "
                "in the other: evaluate both models on one version of the benchmark"
            )
    measured = [(b.score, a.score, b.cluster) for a, b in shared if a.score is not None and b.score is not None]
    return Compared(
        paired=paired_test(*zip(*measured, strict=True)) if measured else None,
        compared=len(measured),
        unmeasured=len(shared) - len(measured),
        only_baseline=len(theirs) - len(shared),
        only_other=len(ours) - len(shared),
    )


def _by_id(rows: Sequence[Row], name: str) -> dict[str, Row]:
    table: dict[str, Row] = {}
    for row in rows:
        if row.question_id in table:
            raise DataError(
                f"{name}: {row.question_id} stands twice on one side, expected an id for every row: "
                "name repeated draws apart and give them one cluster"
            )
        table[row.question_id] = row
    return table
