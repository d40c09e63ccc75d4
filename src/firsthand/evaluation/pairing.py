"""Two models on the same benchmarks: their units in pairs, and what was left out of the pairs, counted. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from firsthand.errors import DataError
from firsthand.records import Unit
from firsthand.stats import Paired, paired_test


class Pairing(NamedTuple):
    """One benchmark under two models: `other - baseline`, on the items that both measured."""

    paired: Paired | None
    """None when no item was measured by both."""
    compared: int
    """Items in pairs; `paired.n` counts clusters."""
    unmeasured: int
    """Items of both, left out because one of the two has no score."""
    only_baseline: int
    """Items left out because `other` has no such unit, measured or not."""
    only_other: int


def pair_benchmarks(baseline: Mapping[str, Sequence[Unit]], other: Mapping[str, Sequence[Unit]]) -> dict[str, Pairing]:
    """Pair the units of two models by benchmark and question; every benchmark of either has its entry.

    Raises DataError when a question stands twice on one side, or belongs to another cluster on the other side.
    """
    names = dict.fromkeys((*baseline, *other))
    return {name: pair_units(baseline.get(name, ()), other.get(name, ()), name) for name in names}


def pair_units(baseline: Sequence[Unit], other: Sequence[Unit], name: str = "these units") -> Pairing:
    """`pair_benchmarks` of one benchmark, whose `name` is for the error messages."""
    theirs, ours = _by_question(baseline, name), _by_question(other, name)
    shared = [(theirs[key], ours[key]) for key in sorted(theirs.keys() & ours.keys())]  # so no p depends on the order
    for before, after in shared:
        if before.cluster != after.cluster:
            raise DataError(
                f"{name}: {before.question} belongs to {before.cluster!r} in the baseline and to {after.cluster!r} "
                "in the other: evaluate both models on one version of the benchmark"
            )
    measured = [(b.value, a.value, b.cluster) for a, b in shared if a.value is not None and b.value is not None]
    return Pairing(
        paired=paired_test(*zip(*measured, strict=True)) if measured else None,
        compared=len(measured),
        unmeasured=len(shared) - len(measured),
        only_baseline=len(theirs) - len(shared),
        only_other=len(ours) - len(shared),
    )


def _by_question(units: Sequence[Unit], name: str) -> dict[str, Unit]:
    table: dict[str, Unit] = {}
    for unit in units:
        if unit.question in table:
            raise DataError(
                f"{name}: {unit.question} stands twice on one side, expected an id for every unit: "
                "name repeated draws apart and give them one cluster"
            )
        table[unit.question] = unit
    return table
