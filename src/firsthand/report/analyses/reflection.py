"""Do models that hesitate in words answer better? Expressions of doubt, over training and per model.

VLAA-Thinking (arXiv:2504.11468) counts four expressions during GRPO and finds no relation with scores.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from markupsafe import Markup

from firsthand.report.analyses.evidence import Evidence, evaluated_runs
from firsthand.report.analyses.tally import Outcomes, ReplyTally, held_out_replies, tallied
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import XY, Bar, Series, bar_chart, figure, legend_of, plots, xy_chart


@dataclass(frozen=True)
class DoubtLine:
    """Right or wrong replies of one arm, in a part of its training or held out."""

    index: int
    arm: str
    when: float | None
    """Training step; None is held out."""
    outcome: str
    tally: ReplyTally


def lines(evidence: Evidence) -> list[DoubtLine]:
    """Per arm: each part of its training, then its held-out replies."""
    found: list[DoubtLine] = []
    for arm in evidence.arms:
        parts: list[tuple[float | None, Outcomes]] = list(evidence.training[arm.index])
        parts.append((None, tallied(held_out_replies(evaluated_runs(arm)), evidence.expressions)))
        found += [DoubtLine(arm.index, arm.name, when, *one) for when, both in parts for one in _named(both)]
    return found


def _named(both: Outcomes) -> Iterator[tuple[str, ReplyTally]]:
    return ((name, tally) for name, tally in zip(both._fields, both, strict=True) if tally.replies)


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where no reply has an expression of doubt, or nobody wrote any."""
    found = lines(evidence)
    if not any(line.tally.reflecting for line in found):
        return None
    expressions = [e for e in evidence.expressions.all if any(line.tally.places[e] for line in found)]
    return AnalysisPanel(
        name="reflection",
        title="Expressions of doubt",
        about=(
            f"Words such as {', '.join(expressions[:4])}, as whole words, in what the policy writes: if reflection "
            "helped, right replies would have more of it than wrong ones. VLAA-Thinking (arXiv:2504.11468) found that "
            "more of it does not go with higher scores."
        ),
        body=plots(_figures(found)),
        columns=("arm", "step", "outcome", "replies", "share of replies", "per 1,000 tokens", *expressions),
        rows=tuple(_row(line, expressions) for line in found),
    )


def _row(line: DoubtLine, expressions: Iterable[str]) -> tuple[Cell, ...]:
    tally = line.tally
    when = "held out" if line.when is None else line.when
    counts = (tally.places[expression] for expression in expressions)
    return (line.arm, when, line.outcome, tally.replies, tally.share_reflecting, tally.per_thousand, *counts)


def _figures(found: list[DoubtLine]) -> Iterator[Markup]:
    series = [
        one for index in dict.fromkeys(line.index for line in found) if (one := _over_training(found, index)).points
    ]
    if any(point.y for one in series for point in one.points):
        svg = xy_chart("Replies with an expression of doubt", "training step", "% of replies", series)
        yield figure("Over training", svg, legend_of(series), "Share of the sampled replies that have one")
    bars = [row for index in dict.fromkeys(line.index for line in found) if (row := _held_out(found, index))]
    if any(bar.value for row in bars for bar in row):
        svg = bar_chart("Expressions of doubt in held-out replies", "per 1,000 tokens", bars)
        yield figure("Held-out replies", svg, note="Above, of the right ones; below, of the wrong ones")


def _over_training(found: list[DoubtLine], index: int) -> Series:
    own = [line for line in found if line.index == index]
    by_step: dict[float, ReplyTally] = {}
    for line in own:
        if line.when is not None:
            by_step[line.when] = by_step.get(line.when, ReplyTally()) + line.tally
    points = tuple(XY(step, 100 * (tally.share_reflecting or 0.0)) for step, tally in by_step.items())
    return Series(index, own[0].arm, points, f"{points[-1].y:.1f} %" if points else "")


def _held_out(found: list[DoubtLine], index: int) -> list[Bar]:
    return [
        Bar(line.arm, line.tally.per_thousand, style="good" if line.outcome == "right" else "bad", words=_told(line))
        for line in found
        if line.index == index and line.when is None
    ]


def _told(line: DoubtLine) -> str:
    tally = line.tally
    return f"{line.arm}, {line.outcome}: {tally.places.total()} in {tally.replies:,} replies"
