"""Which type of task does a reward teach? The score of each family of questions over training."""

from collections.abc import Iterator

from markupsafe import Markup

from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.tenths import samples, tenths
from firsthand.report.panels import AnalysisPanel
from firsthand.report.plots import XY, Series, figure, legend_of, plots, xy_chart

MEANS = {"mean", "std"}
"""What stands behind `score/` beside families."""


def families_of(evidence: Evidence) -> list[str]:
    """Those that some policy was scored on in training."""
    runs = [run for arm in evidence.arms for run in arm.runs if samples(run)]
    names = {name for run in runs for step in run.steps for name in step.metrics if name.startswith("score/")}
    return sorted({name.removeprefix("score/") for name in names} - MEANS)


def rows(evidence: Evidence) -> list[tuple[str, str, float, float]]:
    """arm, family, step, mean score of its sampled replies."""
    return [
        (arm.name, family, step, value)
        for arm in evidence.arms
        if any(map(samples, arm.runs))
        for family in families_of(evidence)
        for step, value in tenths(arm, f"score/{family}")
    ]


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None below two families."""
    if len(families_of(evidence)) < 2:
        return None
    return AnalysisPanel(
        name="families",
        title="Score by type of task over training",
        about=(
            "Each family of questions by itself, in tenths of the training: a mean that rises may hide a family that "
            "falls, or one that the reward never reaches. VLAA-Thinking and OThink-MR1 draw their rewards so."
        ),
        body=plots(_figures(evidence)),
        columns=("arm", "family", "step", "mean score"),
        rows=tuple(rows(evidence)),
        wide=True,
    )


def _figures(evidence: Evidence) -> Iterator[Markup]:
    for family in families_of(evidence):
        series = [
            Series(arm.index, arm.name, tuple(XY(step, value) for step, value in line), f"{line[-1].value:.2f}")
            for arm in evidence.arms
            if any(map(samples, arm.runs)) and (line := tenths(arm, f"score/{family}"))
        ]
        svg = xy_chart(f"Score on {family}", "training step", "score", series, y_range=(0.0, 1.0))
        yield figure(family, svg, legend_of(series))
