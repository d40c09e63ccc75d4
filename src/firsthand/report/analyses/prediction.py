"""What of a start foretells the result of RL? Its accuracy, its pass@k, or its loss on held-out demonstrations.

arXiv:2510.01624: a high accuracy after SFT misleads; held-out loss and pass@k at large k foretell better.
"""

from collections.abc import Iterator, Sequence
from math import atanh, sqrt, tanh
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from firsthand.evaluation.pairing import mean_of_runs
from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.passes import passes
from firsthand.report.analyses.tenths import samples
from firsthand.report.arms import Arm
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import XY, Series, figure, legend_of, plots, xy_chart
from firsthand.report.runs import RunRecords
from firsthand.stats import Z95

FEWEST = 5
"""Pairs below which no correlation is told (ours): of four, even a perfect one is luck in one case of twelve."""
LOSS = "probe/nll"
FORETELLERS = ("accuracy", "pass@k", "held-out loss")


class Foretold(NamedTuple):
    """A run of RL, and what was known of the run that it started from."""

    arm: Arm
    seed: int | None
    start: str
    known: dict[str, float]
    """By `FORETELLERS`; absent where it was not measured."""
    after: float
    """Held-out accuracy of the run of RL."""


class Rank(NamedTuple):
    """Spearman's correlation with its 95 % interval (Fisher's z; Bonett and Wright 2000).

    Of a perfect order z is infinite: it is taken as that of the order in which two neighbours have changed places.
    """

    value: float
    low: float
    high: float
    pairs: int


def foretold(evidence: Evidence) -> list[Foretold]:
    """Every run of RL that was evaluated and started from one that was, too."""
    homes = {run.id: arm for arm in evidence.arms for run in arm.runs}
    found = []
    for arm in evidence.arms:
        for run in arm.runs:
            _, *before = evidence.chain(run)
            after = mean_of_runs([run.units])
            if before and after is not None and samples(run) and before[0].scores:
                start = homes[before[0].id]
                found.append(Foretold(arm, run.seed, start.name, _known(start, before[0]), after.value))
    return found


def _known(arm: Arm, run: RunRecords) -> dict[str, float]:
    accuracy = mean_of_runs([run.units])
    known = {} if accuracy is None else {"accuracy": accuracy.value}
    if (found := passes(arm)) is not None and run in arm.runs:
        at = found.at_SQK[[one.id for one in arm.runs if one.scores].index(run.id), :, -1]
        known["pass@k"] = float(at.mean())
    losses = [step.metrics[LOSS] for step in run.steps if LOSS in step.metrics]
    return known | ({"held-out loss": losses[-1]} if losses else {})


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Rank | None:
    """None below `FEWEST` pairs, and where a side does not vary."""
    n = len(first)
    if n < FEWEST or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    value = float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])
    most = 1 - 12 / (n * (n**2 - 1))
    middle, reach = atanh(min(max(value, -most), most)), Z95 * sqrt((1 + value**2 / 2) / (n - 3))
    return Rank(value, min(value, tanh(middle - reach)), max(value, tanh(middle + reach)), n)


def _ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the mean of their ranks."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where no run of RL started from an evaluated one."""
    found = foretold(evidence)
    if not found:
        return None
    return AnalysisPanel(
        name="prediction",
        title="What foretells the result of RL",
        about=(
            "Each run of RL beside what was known of its start. arXiv:2510.01624 finds that accuracy after SFT "
            "misleads, and that held-out loss and pass@k at large k do better. Runs of one arm are much alike, so the "
            "intervals are rather too narrow."
        ),
        body=plots(_figures(found), (_said(what, found) for what in FORETELLERS)),
        columns=("arm", "seed", "start", *(f"start: {what}" for what in FORETELLERS), "accuracy after"),
        rows=tuple(map(_row, found)),
    )


def _row(one: Foretold) -> tuple[Cell, ...]:
    return (one.arm.name, one.seed, one.start, *(one.known.get(what) for what in FORETELLERS), one.after)


def _pairs(what: str, found: Sequence[Foretold]) -> tuple[list[float], list[float]]:
    both = [(one.known[what], one.after) for one in found if what in one.known]
    return [first for first, _ in both], [second for _, second in both]


def _said(what: str, found: Sequence[Foretold]) -> str:
    known, after = _pairs(what, found)
    rank = rank_correlation(known, after)
    if rank is None:
        why = "does not vary" if len(known) >= FEWEST else f"too few pairs ({len(known)} of the {FEWEST} it takes)"
        return f"The start's {what}: {why}."
    ends = f"95 % interval {_signed_rank(rank.low)} to {_signed_rank(rank.high)}, {rank.pairs} pairs"
    open_ = "" if rank.low > 0 or rank.high < 0 else ", not resolved"
    return f"The start's {what}: rank correlation {_signed_rank(rank.value)} with accuracy after RL ({ends}{open_})."


def _signed_rank(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _figures(found: Sequence[Foretold]) -> Iterator[Markup]:
    arms = {one.arm.index: one.arm for one in found}
    for what in FORETELLERS:
        series = [
            Series(index, arm.name, marks)
            for index, arm in arms.items()
            if (marks := tuple(_mark(one, what) for one in found if one.arm is arm and what in one.known))
        ]
        if series:
            title = f"By the start's {what}"
            svg = xy_chart(title, f"start: {what}", "accuracy after RL", series, lines=False)
            yield figure(title, svg, legend_of(series), "A dot is a run")


def _mark(one: Foretold, what: str) -> XY:
    return XY(one.known[what], one.after, words=f"{one.arm.name}, seed {one.seed}, from {one.start}")
