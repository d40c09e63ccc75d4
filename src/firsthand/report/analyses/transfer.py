"""Does training on one task help with others? Each arm's families, trained and not, beside the untrained model.

OThink-MR1 (arXiv:2503.16081, fig. 7) trains on counting and on geometry and tests each on the other.
"""

from collections.abc import Iterator
from typing import NamedTuple

from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.families import MEANS
from firsthand.report.arms import Arm, compare_arms
from firsthand.report.headline import points
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import Tile, figure, plots, tile_chart
from firsthand.stats import Estimate, mean_of


class Transfer(NamedTuple):
    """An arm on one family."""

    arm: Arm
    family: str
    is_trained: bool
    """Whether it was trained on that family, or the run that it started from."""
    difference: Estimate
    """From the untrained model."""


def trained_families(evidence: Evidence, arm: Arm) -> set[str]:
    """Of the arm's first run and of those before it: what their steps were scored on."""
    steps = [step for run in evidence.chain(arm.runs[0]) for step in run.steps]
    names = {name for step in steps for name in step.metrics if name.startswith("score/")}
    return {name.removeprefix("score/") for name in names} - MEANS


def transfers(evidence: Evidence) -> list[Transfer]:
    """Every trained arm on every family that it shares with the untrained model."""
    base = evidence.base
    if base is None:
        return []
    return [
        Transfer(arm, family, family in trained, found.estimate)
        for arm in evidence.arms
        if arm is not base and (trained := trained_families(evidence, arm))
        for family in sorted(arm.families)
        if (found := compare_arms(arm, base, family)) is not None
    ]


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where every arm was trained on every family that it was asked."""
    found = transfers(evidence)
    if not any(not one.is_trained for one in found) or evidence.base is None:
        return None
    families = sorted({one.family for one in found})
    arms = list({one.arm.index: one.arm for one in found}.values())
    by_place = {(one.arm.index, one.family): one for one in found}
    grid = [(arm.name, [_tile(by_place.get((arm.index, family))) for family in families]) for arm in arms]
    return AnalysisPanel(
        name="transfer",
        title="Same task, other task",
        about=(
            f"What each arm gained over {evidence.base.name} in percentage points on every family; the framed ones "
            "it was trained on. OThink-MR1 (arXiv:2503.16081) reports that RL carries over and SFT does not."
        ),
        body=plots([figure("Points gained", tile_chart("Points gained", grid, families))], _sentences(arms, found)),
        columns=("arm", "family", "trained on it", "gain", "low", "high", "questions"),
        rows=tuple(map(_row, found)),
    )


def _row(one: Transfer) -> tuple[Cell, ...]:
    return (one.arm.name, one.family, "yes" if one.is_trained else "no", *one.difference[:4])


def _tile(one: Transfer | None) -> Tile:
    if one is None:
        return Tile(None, "—")
    low, high = ("?" if end is None else points(end) for end in one.difference[1:3])
    words = f"{one.arm.name} on {one.family}: {points(one.difference.value)} ({low} to {high})"
    return Tile(one.difference.value, points(one.difference.value), words, one.is_trained)


def _sentences(arms: list[Arm], found: list[Transfer]) -> Iterator[str]:
    for arm in arms:
        own, others = ([t.difference for t in found if t.arm is arm and t.is_trained is told] for told in (True, False))
        if own and others:
            yield f"{arm.name}: {_mean(own)} on what it was trained on, {_mean(others)} on the others."


def _mean(gaps: list[Estimate]) -> str:
    mean = mean_of(gaps)
    ends = "" if mean.low is None or mean.high is None else f" ({points(mean.low)} to {points(mean.high)})"
    return f"{points(mean.value)} points{ends}"
