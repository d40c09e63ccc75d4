"""What it takes to get as far: minutes, tokens and floating-point operations to one score, of two arms.

Single-stage training is said to be 2.28 times as fast as SFT before RL. A ratio means something only where both arms
get anywhere: where either does not end above the untrained model on held-out questions, there is none, and the reason.
A run pays for the runs that it started from.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import exp, log
from statistics import fmean, stdev
from typing import NamedTuple

from markupsafe import Markup

from firsthand.cost import FLOPS
from firsthand.records import Step
from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.tenths import samples
from firsthand.report.arms import Arm, compare_arms
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import XY, Series, figure, legend_of, plots, xy_chart
from firsthand.report.runs import RunRecords
from firsthand.stats import Finding, student95

PROBE, TRAINING = "probe/score", "score/mean"
WINDOW = {PROBE: 1, TRAINING: 10}
"""Measurements that a score is the mean of (ours): a training step is of few questions, others in each."""
_PROBES = 8
"""Of a run, from which on probes are preferred to training scores: between fewer, arrivals are too coarse (ours)."""
SPENT = ("minutes", "tokens", "TFLOP")
"""Tokens are those generated and those trained on."""
_TOKENS = ("tokens/generated", "tokens/trained")

_Spent = tuple[float | None, float | None, float | None]
"""By `SPENT`; None where a step did not count it."""


class Mile(NamedTuple):
    """How far a run was when it had spent so much."""

    spent: _Spent
    score: float
    """The mean of the last `WINDOW` measurements."""


class Ratio(NamedTuple):
    """The slower arm's cost over the faster one's, to the same score; geometric mean over seeds."""

    value: float
    low: float | None
    """End of the 95 % t interval over seeds, as `high`; None with one seed."""
    high: float | None


class Race(NamedTuple):
    """`first` beside `second`: how many times as much the second spends to the same score. Or why nobody can say."""

    first: Arm
    second: Arm
    measure: str
    goal: float | None
    """Mean over seeds."""
    spent: tuple[_Spent, _Spent] | None
    """Of either to the goal: the mean over seeds."""
    ratios: dict[str, Ratio]
    reason: str
    """Empty where there is a ratio."""


def miles(evidence: Evidence, run: RunRecords, measure: str) -> list[Mile]:
    """The run's smoothed score, and what it and the runs before it had spent by then."""
    spent = _sum([_spent(other.taken) for other in list(evidence.chain(run))[1:]])
    values: list[float] = []
    found = []
    for step in run.steps:
        before, spent = spent, _sum([spent, _spent([step])]) if step.trained else spent
        if measure in step.metrics:
            values.append(step.metrics[measure])
            if len(values) >= WINDOW[measure]:  # a probe is of the policy before its step
                found.append(Mile(before if measure == PROBE else spent, fmean(values[-WINDOW[measure] :])))
    return found


def _spent(steps: Sequence[Step]) -> _Spent:
    return sum(step.seconds for step in steps) / 60, _total(steps, _TOKENS, 1.0), _total(steps, FLOPS, 1e12)


def _total(steps: Sequence[Step], names: Sequence[str], unit: float) -> float | None:
    found = [[step.metrics[name] for name in names if name in step.metrics] for step in steps]
    return sum(map(sum, found)) / unit if all(found) else None


def _sum(spent: Sequence[_Spent]) -> _Spent:
    minutes, tokens, flops = (_known([one[i] for one in spent]) for i in range(3))
    return minutes, tokens, flops


def _known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def race(evidence: Evidence, first: Arm, second: Arm) -> Race:
    """To the lower one of the two scores at the end, seed by seed."""
    measure = _measure((first, second))
    if reason := _why_not(evidence, (first, second)):
        return Race(first, second, measure, None, None, {}, reason)
    runs = [{run.seed: run for run in arm.runs} for arm in (first, second)]
    seeds = [seed for seed in runs[0] if seed in runs[1]]
    goals, arrivals = [], []
    for seed in seeds:
        both = [miles(evidence, side[seed], measure) for side in runs]
        if not all(both):
            continue
        goal = min(line[-1].score for line in both)
        goals.append(goal)
        arrivals.append([arrival(line, goal) for line in both])
    if not goals:
        return Race(first, second, measure, None, None, {}, f"no seed has {WINDOW[measure]} measurements of both")
    spent = (_mean([one[0] for one in arrivals]), _mean([one[1] for one in arrivals]))
    ratios = {what: found for i, what in enumerate(SPENT) if (found := _ratio([(a[i], b[i]) for a, b in arrivals]))}
    return Race(first, second, measure, fmean(goals), spent, ratios, "" if ratios else "a cost was not counted")


def arrival(line: Sequence[Mile], goal: float) -> _Spent:
    """What was spent when the score was first as high as the goal, read between the measurements around it."""
    place = next(i for i, mile in enumerate(line) if mile.score >= goal)
    if place == 0:
        return line[0].spent
    before, after = line[place - 1], line[place]
    share = (goal - before.score) / (after.score - before.score)
    minutes, tokens, flops = (
        None if a is None or b is None else a + share * (b - a) for a, b in zip(before.spent, after.spent, strict=True)
    )
    return minutes, tokens, flops


def _measure(arms: Sequence[Arm]) -> str:
    """The probe where all runs have it often enough, or where one samples nothing."""
    runs = [run for arm in arms for run in arm.runs]
    fewest = min(sum(PROBE in step.metrics for step in run.steps) for run in runs)
    return PROBE if fewest >= _PROBES or (fewest > 1 and not all(map(samples, runs))) else TRAINING


def _why_not(evidence: Evidence, arms: Sequence[Arm]) -> str:
    base = evidence.base
    if base is None:
        return "no untrained model was evaluated"
    for arm in arms:
        against = compare_arms(arm, base)
        if against is None:
            return f"{arm.name} and {base.name} were not evaluated on the same questions"
        if against.finding is not Finding.BETTER:
            return f"{arm.name} does not end above {base.name} on held-out questions"
        if not all(evidence.is_whole(run) for run in arm.runs):
            return f"the run that {arm.name} started from is not there"
        if _measure(arms) == TRAINING and not all(samples(run) for run in arm.runs):
            return f"{arm.name} samples nothing in training, and has no probe"
    return ""


def _mean(spent: Sequence[_Spent]) -> _Spent:
    minutes, tokens, flops = _sum(spent)
    n = len(spent)
    return None if minutes is None else minutes / n, None if tokens is None else tokens / n, flops and flops / n


def _ratio(pairs: Sequence[tuple[float | None, float | None]]) -> Ratio | None:
    logs = [log(second / first) for first, second in pairs if first and second]
    if len(logs) < len(pairs):
        return None
    middle = fmean(logs)
    if len(logs) == 1:
        return Ratio(exp(middle), None, None)
    reach = student95(len(logs) - 1) * stdev(logs) / len(logs) ** 0.5
    return Ratio(exp(middle), exp(middle - reach), exp(middle + reach))


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None below two arms that were trained."""
    trained = [arm for arm in evidence.arms if any(run.steps for run in arm.runs)]
    if len(trained) < 2:
        return None
    races = [race(evidence, *pair) for pair in combinations(trained, 2)]
    return AnalysisPanel(
        name="race",
        title="Time, tokens and operations to the same score",
        about=(
            "What two arms spend until both are where the lower one ends, the runs that they started from included. "
            "Where either does not end above the untrained model there is no ratio: nobody needs to be early there. "
            "For SRFT against SFT before RL, 2.28 is said; this is what it is here."
        ),
        body=plots(_figures(evidence, trained), _sentences(races)),
        columns=(
            "arm",
            "against",
            "measured by",
            "score reached",
            *(f"{who}: {what}" for who in ("arm", "against") for what in SPENT),
            *(f"{what}{end}" for what in SPENT for end in (" ratio", " low", " high")),
            "why no ratio",
        ),
        rows=tuple(map(_row, races)),
        wide=True,
    )


def _row(one: Race) -> tuple[Cell, ...]:
    spent: list[Cell] = [None] * 6 if one.spent is None else [*one.spent[0], *one.spent[1]]
    ratios: list[Cell] = [end for what in SPENT for end in one.ratios.get(what, (None, None, None))]
    return (one.first.name, one.second.name, one.measure, one.goal, *spent, *ratios, one.reason)


def _sentences(races: Sequence[Race]) -> list[str]:
    """Of single stages beside arms that start from another: that is the claim."""
    told = []
    for one in races:
        single, chained = sorted((one.first, one.second), key=lambda arm: arm.starts_from is not None)
        if single.starts_from is not None or chained.starts_from is None or not one.ratios:
            continue
        turned = one.first is not single
        ratios = {what: _inverse(ratio) if turned else ratio for what, ratio in one.ratios.items()}
        costs = ", ".join(_said(what, ratio) for what, ratio in ratios.items())
        told.append(f"To a score of {one.goal:.2f}, {chained.name} takes {costs} of {single.name}.")
    return told


def _inverse(one: Ratio) -> Ratio:
    return Ratio(1 / one.value, one.high and 1 / one.high, one.low and 1 / one.low)


def _said(what: str, one: Ratio) -> str:
    ends = "" if one.low is None or one.high is None else f" (95 % interval {one.low:.2f} to {one.high:.2f} over seeds)"
    return f"{one.value:.2f} times the {what}{ends}"


def _figures(evidence: Evidence, trained: Sequence[Arm]) -> Iterator[Markup]:
    measure = _measure(trained)
    lines = [
        (arm, miles(evidence, arm.runs[0], measure))
        for arm in trained
        if measure == PROBE or all(map(samples, arm.runs))
    ]
    for i, what in enumerate(SPENT):
        series = [
            Series(arm.index, arm.name, points)
            for arm, line in lines
            if (points := tuple(XY(at, mile.score) for mile in line if (at := mile.spent[i]) is not None))
        ]
        if series:
            svg = xy_chart(f"Score by {what}", what, "score", series)
            note = "Probe" if measure == PROBE else "Training score, the mean of ten steps"
            yield figure(f"By {what}", svg, legend_of(series), f"{note}; each arm's first seed")
