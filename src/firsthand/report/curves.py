"""Which measurements are drawn, in which order, in which words; smoothing and thinning of the lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from markupsafe import Markup

from firsthand.records import Step
from firsthand.report.arms import Arm
from firsthand.report.charts import Curve, Point, line_chart, outside

MOST_POINTS = 240
"""Per line. Longer runs are thinned to the lowest and the highest value of each stretch, so that spikes survive."""

PANELS: dict[str, tuple[str, str, str]] = {
    "score/mean": ("Score", "score", "Mean verdict of the replies; of an SFT arm, of its demonstrations"),
    "reward/mean": ("Reward", "reward", "What is trained on: the score, and what the recipe adds for format or length"),
    "reply/tokens": ("Reply length", "tokens", "Mean length of a reply; of an SFT arm, of a demonstration"),
    "policy/entropy": ("Entropy", "nats per token", "How undecided the policy is at each token it writes"),
    "policy/kl": ("KL", "nats per token", "How far the policy has moved from its reference"),
    "groups/zero_variance": (
        "Zero-variance groups",
        "fraction",
        "Groups whose replies all scored the same: they teach nothing",
    ),
    "optim/grad_norm": ("Gradient norm", "norm", "Before clipping"),
    "probe/score": ("Probe", "score", "Mean score of greedy replies to the recipe's probe, before the step"),
    "loss/total": ("Loss", "loss", "The sum of the terms that are optimised"),
}
"""metric -> title, unit, explanation; in the page's order. Each loss term follows, then everything else, folded."""

UNITS = {
    "score": "score",
    "reward": "reward",
    "status": "fraction",
    "boxes": "fraction",
    "groups": "fraction",
    "steps": "fraction",
    "probe": "score",
    "loss": "loss",
    "timing": "seconds",
}
"""What the metrics of a group are measured in, where no panel says; a metric of another group is its own unit."""

EXPLAINED: dict[str, str] = {
    "policy/clipped": "Fraction of sampled tokens whose gradient the ratio's clip takes away",
    "reply/truncated": "Fraction of replies cut at the length limit",
    "score/std": "Standard deviation of the scores in a step",
    "reward/std": "Standard deviation of the rewards in a step",
    "parity/max_abs": "Largest gap between rollout and training log-probabilities",
    "optim/lr": "Learning rate",
    "reward/earning": "Fraction of all sampled replies whose reward is above 0",
    "status/ok": "Fraction of replies that were read and compared",
    "status/wrong_format": "Fraction of replies without one answer block",
    "status/unparsed": "Fraction of replies whose answer is not of the right kind",
    "status/timed_out": "Fraction of replies whose comparison did not end in time: unmeasured",
    "status/failed": "Fraction of replies on which the verifier broke: unmeasured",
    "probe/blind-gray": "The probe's score beside gray pictures",
    "probe/blind-shuffled": "The probe's score beside the pictures of other questions",
    "probe/blind-none": "The probe's score without pictures",
    "steps/agrees": "Fraction of replies to worlds whose steps lead to the answer that they give",
    "steps/disagrees": "Fraction of replies to worlds whose steps lead to another answer than the one given",
    "steps/unread": "Fraction of replies to worlds whose steps, or whose answer, cannot be read",
    "boxes/outside": "Fraction of box replies that leave their picture",
}


@dataclass(frozen=True)
class Panel:
    """One chart of the page."""

    title: str
    about: str
    svg: Markup
    curves: tuple[Curve, ...]
    outside: int


def curve_panels(arms: Sequence[Arm]) -> tuple[list[Panel], list[Panel]]:
    """The charts that open with the page, and those that are folded. A metric nobody measured has no chart."""
    metrics = {name for arm in arms for run in arm.runs for step in run.steps for name in _measured(step)}
    losses = sorted(name for name in metrics if name.startswith("loss/") and name not in PANELS)
    main = [name for name in (*PANELS, *losses) if name in metrics]
    rest = sorted(metrics.difference(main))
    opened = [panel for name in main if (panel := _panel(name, arms)) is not None]
    folded = [panel for name in rest if (panel := _panel(name, arms)) is not None]
    return opened, folded


def _panel(metric: str, arms: Sequence[Arm]) -> Panel | None:
    drawn = [curve for arm in arms if (curve := _curve(metric, arm)) is not None]
    if not drawn:
        return None
    group, _, name = metric.partition("/")
    title, unit, about = PANELS.get(metric, (metric, UNITS.get(group, name or group), EXPLAINED.get(metric, "")))
    svg = line_chart(title, unit, drawn)
    return Panel(title, about, svg, tuple(drawn), outside(drawn))


def _curve(metric: str, arm: Arm) -> Curve | None:
    """None when the arm has no finite value of that metric."""
    runs = [
        tuple(Point(step.step, values[metric]) for step in run.steps if metric in (values := _measured(step)))
        for run in arm.runs
    ]
    runs = [line for line in runs if any(isfinite(point.y) for point in line)]
    if not runs:
        return None
    return Curve(arm.index, arm.name, tuple(_thinned(line) for line in runs), _thinned(_smoothed(_mean(runs))))


def _measured(step: Step) -> dict[str, float]:
    """Everything measured in a step, its times as the group `timing`; a probe after the last step has none."""
    if not step.trained:
        return step.metrics
    return {**step.metrics, "timing/step": step.seconds, **{f"timing/{part}": s for part, s in step.timing.items()}}


def _mean(runs: Sequence[Sequence[Point]]) -> tuple[Point, ...]:
    """Mean over the runs at the steps that all of them reached: no jump where one was killed."""
    tables = [{point.x: point.y for point in line} for line in runs]
    shared = sorted(set.intersection(*(set(table) for table in tables)))
    return tuple(Point(x, sum(table[x] for table in tables) / len(tables)) for x in shared)


def _smoothed(line: Sequence[Point]) -> tuple[Point, ...]:
    """A centred moving average over about a tenth of the line; values that are not finite do not enter it."""
    reach = len(line) // 20
    ys = np.array([point.y for point in line])
    usable = np.isfinite(ys)
    return tuple(
        Point(point.x, float(ys[lo:hi][usable[lo:hi]].mean()) if usable[lo:hi].any() else float("nan"))
        for i, point in enumerate(line)
        for lo, hi in [(max(0, i - reach), i + reach + 1)]
    )


def _thinned(line: Sequence[Point]) -> tuple[Point, ...]:
    if len(line) <= MOST_POINTS:
        return tuple(line)
    kept: list[Point] = []
    for stretch in np.array_split(np.arange(len(line)), MOST_POINTS // 2):
        points = [line[i] for i in stretch]
        ends = {min(points, key=lambda p: p.y), max(points, key=lambda p: p.y)}
        kept.extend(sorted(ends))
    return (*kept, line[-1]) if kept[-1] != line[-1] else tuple(kept)
