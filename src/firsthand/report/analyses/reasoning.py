"""Does the reasoning lead to the answer? Steps that end elsewhere than the answer given, over training and per model.

arXiv:2604.18892: RL for right answers makes contradictions between the two more frequent. Steps can be read on worlds.
"""

from collections.abc import Iterator
from typing import NamedTuple

from markupsafe import Markup

from firsthand.records import Agreement
from firsthand.report.analyses.evidence import Evidence, evaluated_runs
from firsthand.report.analyses.tally import held_out_replies
from firsthand.report.analyses.tenths import tenths
from firsthand.report.arms import Arm
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import XY, Bar, Series, bar_chart, figure, legend_of, plots, xy_chart
from firsthand.stats import SUCCESS


class Reasoned(NamedTuple):
    """An arm's held-out replies of one outcome, by what their steps have to do with their answer."""

    arm: Arm
    outcome: str
    agrees: int
    disagrees: int
    unread: int

    @property
    def share(self) -> float | None:
        """Of the replies whose steps were read, those that lead to another answer."""
        read = self.agrees + self.disagrees
        return self.disagrees / read if read else None


def reasoned(arm: Arm) -> list[Reasoned]:
    """Right and wrong replies apart; those that nobody can tell, or that have no score, are in neither."""
    states: dict[str, list[Agreement]] = {"right": [], "wrong": []}
    for judged in held_out_replies(evaluated_runs(arm)):
        verdict = judged.verdict
        if verdict.agreement is not None and verdict.score is not None:
            states["right" if verdict.score >= SUCCESS else "wrong"].append(verdict.agreement)
    return [Reasoned(arm, outcome, *map(some.count, Agreement)) for outcome, some in states.items() if some]


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where no steps could be read."""
    found = [one for arm in evidence.arms for one in reasoned(arm)]
    if not any(one.share is not None for one in found):
        return None
    return AnalysisPanel(
        name="reasoning",
        title="Reasoning and answer",
        about=(
            "Of replies whose steps can be read, the share whose steps lead to another answer than the one given. Of "
            "right replies it says how often a right answer has wrong reasons. RL is said to make it worse "
            "(arXiv:2604.18892)."
        ),
        body=plots(_figures(evidence, found)),
        columns=("arm", "outcome", "steps agree", "disagree", "unread", "share that disagrees"),
        rows=tuple(map(_row, found)),
        wide=True,
    )


def _row(one: Reasoned) -> tuple[Cell, ...]:
    return one.arm.name, one.outcome, one.agrees, one.disagrees, one.unread, one.share


def _figures(evidence: Evidence, found: list[Reasoned]) -> Iterator[Markup]:
    for metric, title in (("steps/disagrees", "Steps lead elsewhere"), ("steps/agrees", "Steps lead to the answer")):
        series = [
            Series(arm.index, arm.name, tuple(XY(step, value) for step, value in line), f"{line[-1].value:.2f}")
            for arm in evidence.arms
            if (line := tenths(arm, metric))
        ]
        if series:
            svg = xy_chart(title, "training step", "share of replies", series)
            yield figure(f"{title}, over training", svg, legend_of(series))
    rows = [
        [_bar(one) for one in found if one.arm.index == index and one.share is not None]
        for index in dict.fromkeys(one.arm.index for one in found)
    ]
    svg = bar_chart("Steps that lead elsewhere", "% of the replies whose steps were read", [row for row in rows if row])
    yield figure("Held-out replies", svg, note="Above, of the right ones; below, of the wrong ones")


def _bar(one: Reasoned) -> Bar:
    style = "good" if one.outcome == "right" else "bad"
    words = f"{one.arm.name}, {one.outcome}: {one.disagrees} of {one.agrees + one.disagrees} lead elsewhere"
    return Bar(one.arm.name, 100 * (one.share or 0.0), style=style, words=words)
