"""Do longer replies score higher? Length against score over training, and against being right, reply by reply.

VLAA-Thinking (arXiv:2504.11468, fig. 6): the model that wrote most earned least.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from firsthand.records import Judged
from firsthand.report.analyses.evidence import Evidence, evaluated_runs
from firsthand.report.analyses.tally import Stretch
from firsthand.report.arms import Arm
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import XY, Series, figure, legend_of, plots, xy_chart
from firsthand.stats import FEWEST_PAIRS, SUCCESS, Estimate, clustered_mean, student95

BINS = 6
"""Of length, each with as many replies of all arms together."""


class Told(NamedTuple):
    """A held-out reply: its question, its length, and whether it is right."""

    question: str
    tokens: int
    right: bool


class Bin(NamedTuple):
    """Replies of about one length."""

    low: float
    high: float
    replies: int
    tokens: float
    """Mean."""
    right: Estimate
    """Share; clustered by question."""


def told(arm: Arm) -> list[Told]:
    """All held-out replies of an arm, greedy and sampled, that have a length and a score."""
    return [
        Told(score.example_id, tokens, judged.verdict.score >= SUCCESS)
        for run in evaluated_runs(arm)
        for score in run.scores
        for judged in _all(score.greedy, score.samples)
        if (tokens := judged.reply.length) is not None and judged.verdict.score is not None
    ]


def _all(greedy: Judged | None, samples: Sequence[Judged]) -> Sequence[Judged]:
    return samples if greedy is None else (greedy, *samples)


def edges(arms: Sequence[Sequence[Told]]) -> list[float]:
    """Ends of the bins: quantiles of the lengths of all arms together; fewer where many replies are as long."""
    lengths = [reply.tokens for replies in arms for reply in replies]
    found = sorted({float(edge) for edge in np.quantile(lengths, np.linspace(0, 1, BINS + 1))})
    return found if len(found) > 1 else found * 2


def binned(replies: Sequence[Told], ends: Sequence[float]) -> list[Bin]:
    """Bins that hold a reply; each holds its lower end, the last one both."""
    found = []
    for low, high in pairwise(ends):
        inside = [r for r in replies if low <= r.tokens < high or r.tokens == high == ends[-1]]
        if inside:
            share = clustered_mean([float(r.right) for r in inside], [r.question for r in inside])
            found.append(Bin(low, high, len(inside), fmean(r.tokens for r in inside), share))
    return found


def within_questions(replies: Sequence[Told]) -> Estimate | None:
    """How many tokens longer right replies are than wrong ones to the same question: the mean over questions.

    Of the questions that have both; the difficulty of a question cannot make this difference. None below two.
    """
    by_question: dict[str, tuple[list[int], list[int]]] = {}
    for reply in replies:
        by_question.setdefault(reply.question, ([], []))[reply.right].append(reply.tokens)
    gaps = [fmean(right) - fmean(wrong) for wrong, right in by_question.values() if right and wrong]
    if len(gaps) < 2:
        return None
    reach = student95(len(gaps) - 1) * stdev(gaps) / len(gaps) ** 0.5
    return Estimate(fmean(gaps), fmean(gaps) - reach, fmean(gaps) + reach, len(gaps))


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where no reply has a length and a score."""
    replies = {arm.index: told(arm) for arm in evidence.arms}
    ends = edges(list(replies.values())) if any(replies.values()) else []
    bins = {index: binned(some, ends) for index, some in replies.items()}
    training = evidence.training
    rows = [row for arm in evidence.arms for row in _rows(arm.name, training[arm.index], bins[arm.index])]
    figures = [*_over_training(evidence), *_by_length(evidence.arms, bins)]
    if not figures:
        return None
    return AnalysisPanel(
        name="length",
        title="Length, reward and accuracy",
        about=(
            "Whether longer replies score higher. Harder questions have longer replies, so the sentences compare "
            "right and wrong replies to the same question. VLAA-Thinking (arXiv:2504.11468) found that length, reward "
            "and benchmark score need not go together."
        ),
        body=plots(figures, [said for arm in evidence.arms if (said := _said(arm.name, replies[arm.index]))]),
        columns=("arm", "from", "of", "to", "replies", "mean tokens", "mean score or share right", "low", "high"),
        rows=tuple(rows),
    )


def _rows(arm: str, stretches: Sequence[Stretch], bins: Sequence[Bin]) -> Iterator[tuple[Cell, ...]]:
    for step, outcomes in stretches:
        both = outcomes.all
        yield (
            arm,
            "training",
            f"around step {step:g}",
            None,
            both.replies,
            both.mean_tokens,
            both.mean_score,
            None,
            None,
        )
    for one in bins:
        yield arm, "held out", one.low, one.high, one.replies, one.tokens, *one.right[:3]


def _over_training(evidence: Evidence) -> Iterator[Markup]:
    series = [
        Series(arm.index, arm.name, points, f"{points[0].x:.0f} to {points[-1].x:.0f} tokens")
        for arm in evidence.arms
        if (points := tuple(_path(evidence.training[arm.index])))
    ]
    if series:
        svg = xy_chart("Length and score over training", "mean tokens of a reply", "mean score", series)
        yield figure("Over training", svg, legend_of(series), "A dot for each tenth of the training; point at it")


def _path(stretches: Sequence[Stretch]) -> Iterator[XY]:
    for step, outcomes in stretches:
        both = outcomes.all
        if both.mean_tokens is not None and both.mean_score is not None:
            yield XY(both.mean_tokens, both.mean_score, words=f"around step {step:g}: {both.mean_tokens:.1f} tokens")


def _by_length(arms: Sequence[Arm], bins: dict[int, list[Bin]]) -> Iterator[Markup]:
    series = [
        Series(
            arm.index, arm.name, tuple(XY(b.tokens, b.right.value, b.right.low, b.right.high) for b in bins[arm.index])
        )
        for arm in arms
        if bins[arm.index]
    ]
    if series:
        svg = xy_chart("Share right by length", "tokens", "share right", series, y_range=(0.0, 1.0))
        yield figure("Reply by reply", svg, legend_of(series), "Held-out replies in bins of length, 95 % intervals")


def _said(arm: str, replies: Sequence[Told]) -> str:
    found = within_questions(replies)
    if found is None or found.n < FEWEST_PAIRS or found.low is None or found.high is None:
        return ""
    resolved = "" if found.low > 0 or found.high < 0 else ", not resolved"
    return (
        f"{arm}: to the same question, right replies are {abs(found.value):.1f} tokens "
        f"{'longer' if found.value >= 0 else 'shorter'} than wrong ones (95 % interval {_signed(found.low)} to "
        f"{_signed(found.high)} over {found.n:,} questions{resolved})."
    )


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
