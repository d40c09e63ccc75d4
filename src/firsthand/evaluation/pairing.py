"""Units of evaluated runs -> a number with its interval, and the difference of two arms on what both measured."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from firsthand.errors import DataError
from firsthand.evaluation.table import counting
from firsthand.records import Score, Unit
from firsthand.stats import Estimate, Paired, ShareOfGain, Sides, clustered_mean, paired_test, share_of_gain

Runs = Sequence[Sequence[Unit]]
"""The units of each training run of an arm."""


def units_of(scores: Iterable[Score]) -> list[Unit]:
    """What the accuracy of a user's own data is the mean of: each reply, its question the cluster."""
    units, seen = [], Counter[str]()
    for score in scores:
        for judged in counting(score):
            question = f"{score.example_id}#{seen[score.example_id]}"
            units.append(Unit(question=question, cluster=score.example_id, value=judged.verdict.score))
            seen[score.example_id] += 1
    return units


def drawn_as(units: Iterable[Unit], draw: int) -> list[Unit]:
    """Named by the seed of their samples, so that those of several seeds stand side by side."""
    return [unit.model_copy(update={"question": f"{unit.question}@{draw}"}) for unit in units]


def mean_of_runs(runs: Sequence[Sequence[Unit]]) -> Estimate | None:
    """The mean over an arm's training runs, of what all of them measured; None where that is nothing.

    Of one run the interval is over questions, of several over questions and training seeds.
    """
    tables = [{unit.question: unit for unit in units if unit.value is not None} for units in runs]
    shared = [question for question in tables[0] if all(question in table for table in tables)] if tables else []
    rows = [
        (table[question].value, table[question].cluster, i) for i, table in enumerate(tables) for question in shared
    ]
    if not rows:
        return None
    values, clusters, places = zip(*rows, strict=True)
    return clustered_mean(values, clusters, places if len(tables) > 1 else None)


class Pairing(NamedTuple):
    """One table's questions under two arms: `other - baseline`, on the items that all runs of both measured."""

    paired: Paired | None
    """None when no item was measured by both."""
    compared: int
    """Items in pairs; `paired.n` counts clusters."""
    unmeasured: int
    """Items of both, left out because a run of either has no score."""
    only_baseline: int
    """Items left out because `other` has no such unit, measured or not."""
    only_other: int


def pair_units(baseline: Runs, other: Runs, name: str = "these units") -> Pairing:
    """Pair the units of two arms by question; `name` is for the error messages.

    Raises DataError when a question stands twice in a run, or belongs to another cluster on the other side.
    """
    theirs, ours = ([_by_question(run, name) for run in side] for side in (baseline, other))
    before, after = ({key: unit for run in side for key, unit in run.items()} for side in (theirs, ours))
    shared = sorted(before.keys() & after.keys())  # so no p depends on the order
    for key in shared:
        if before[key].cluster != after[key].cluster:
            raise DataError(
                f"{name}: {key} belongs to {before[key].cluster!r} in the baseline and to {after[key].cluster!r} "
                "in the other: evaluate both models on one version of the benchmark"
            )
    measured = [key for key in shared if all(key in run and run[key].value is not None for run in (*theirs, *ours))]
    first, second = (
        np.array([[run[k].value for k in measured] for run in side], np.float64) for side in (ours, theirs)
    )
    return Pairing(
        paired=paired_test(first, second, [before[key].cluster for key in measured]) if measured else None,
        compared=len(measured),
        unmeasured=len(shared) - len(measured),
        only_baseline=len(before) - len(shared),
        only_other=len(after) - len(shared),
    )


Both = tuple[Sequence[Unit], Sequence[Unit]]
"""The units of one training run, seeing and blind."""


def surviving(before: Sequence[Both], after: Sequence[Both]) -> ShareOfGain | None:
    """How much of what `after` gained over `before` is there when nothing can be seen, by the runs of two arms.

    On the items that every run measured, seeing and blind; draws of one item are its mean. None where there is none.
    """
    arms = [[[_by_item(units) for units in both] for both in runs] for runs in (before, after)]
    tables = [table for runs in arms for both in runs for table in both]
    items = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    if not items or not (before and after):
        return None

    def sides(condition: int) -> Sides:
        old, new = (
            np.array([[both[condition][item].value for item in items] for both in runs], float) for runs in arms
        )
        return old, new

    return share_of_gain(sides(0), sides(1), [tables[0][item].cluster for item in items])


def _by_item(units: Sequence[Unit]) -> dict[str, Unit]:
    """Each item's mean over its draws, which `drawn_as` has named; without those that some draw did not measure."""
    drawn: dict[str, list[Unit]] = {}
    for unit in units:
        drawn.setdefault(unit.question.rpartition("@")[0], []).append(unit)
    means = {item: [unit.value for unit in some if unit.value is not None] for item, some in drawn.items()}
    return {
        item: some[0].model_copy(update={"value": sum(means[item]) / len(some)})
        for item, some in drawn.items()
        if len(means[item]) == len(some)
    }


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


def estimate_fields(name: str, found: Estimate | None) -> dict[str, Any]:
    """A number as JSON, with its interval and what that covers; an unmeasured one is absent."""
    if found is None:
        return {"n": 0}
    return {name: found.value, "ci95": [found.low, found.high], "covers": str(found.covers), "n": found.n}


def share_fields(found: ShareOfGain) -> dict[str, Any]:
    """How much of a gain survives, as JSON; `share` is absent where it is not resolved that there is a gain."""
    return {
        "gain": estimate_fields("value", found.gain),
        "blind_gain": estimate_fields("value", found.part),
        "finding": str(found.gain.finding),
        **({} if found.share is None else {"survives": estimate_fields("share", found.share)}),
    }
