"""A measurement over training, in tenths: the mean over the steps of each, all runs of an arm together."""

from statistics import fmean
from typing import NamedTuple

from firsthand.report.analyses.tally import STRETCHES
from firsthand.report.arms import Arm
from firsthand.report.runs import RunRecords


class Tenth(NamedTuple):
    """A part of a training."""

    step: float
    """Its middle."""
    value: float


def tenths(arm: Arm, metric: str) -> list[Tenth]:
    """Those in which it was measured."""
    runs = list({run.folder: run for run in arm.runs}.values())
    last = max((step.step for run in runs for step in run.taken), default=-1)
    found: list[list[float]] = [[] for _ in range(STRETCHES)]
    for step in (step for run in runs for step in run.taken):
        if metric in step.metrics:
            found[STRETCHES * step.step // (last + 1)].append(step.metrics[metric])
    width = (last + 1) / STRETCHES
    return [Tenth((i + 0.5) * width, fmean(values)) for i, values in enumerate(found) if values]


def samples(run: RunRecords) -> bool:
    """Whether the policy wrote replies in training; otherwise scores are those of demonstrations."""
    return any("reply/truncated" in step.metrics for step in run.steps)
