"""Runs of one recipe become an arm, and an arm becomes a row of the table."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from firsthand.evaluation.table import tabulate
from firsthand.records import Score, content_id
from firsthand.report.runs import Evaluation, FamilyResult, RunRecords
from firsthand.stats import (
    Estimate,
    Matrix,
    bootstrap_mean,
    clustered_mean,
    paired_difference,
    paired_test,
    unpaired_difference,
)

PASS_AT = (1, 2, 4, 8)
PER_SEED = {"seed", "id", "start"}
"""What may differ between two runs of one arm: a run that starts from another names that other's seed in `start`."""


@dataclass(frozen=True)
class Arm:
    """One row of the table: the runs of one recipe, averaged over their seeds. None is unmeasured."""

    index: int
    """Place in the report, which fixes the colour."""
    name: str
    runs: tuple[RunRecords, ...]
    starts_from: str | None
    measure: str
    """What a benchmark's number is called; empty for runs of no benchmark, whose number is the greedy accuracy."""
    accuracy: Estimate | None
    families: dict[str, Estimate]
    sampled: float | None
    pass_at: dict[int, float]
    reply_tokens: float | None
    truncated: float | None
    unparsed: float | None
    unmeasured: int | None
    steps: float | None
    """Mean over the runs; a run that plans none has taken 0."""
    planned_steps: float | None
    seconds: float | None

    @property
    def done(self) -> bool:
        """Whether every run of the arm is complete."""
        return all(run.done for run in self.runs)

    @property
    def first(self) -> RunRecords:
        """The run whose replies the gallery shows: of the first seed that wrote any."""
        return next((run for run in self.runs if run.scores or run.groups), self.runs[0])


def make_arms(runs: Sequence[RunRecords]) -> list[Arm]:
    """Group runs whose recipes differ in nothing but the seed, in the order of their first run.

    Two recipes under one name stay two arms, told apart by a run's id.
    """
    together: dict[str, list[RunRecords]] = defaultdict(list)
    for run in runs:
        settings = {k: v for k, v in (run.recipe or {}).items() if k not in PER_SEED}
        if isinstance(drawn := settings.get("protocol"), dict):  # an evaluation's seed is in its protocol
            settings["protocol"] = {k: v for k, v in drawn.items() if k != "seed"}
        together[content_id(run.name, settings if run.recipe else run.id)].append(run)
    groups = [sorted(group, key=lambda run: (run.seed is None, run.seed)) for group in together.values()]
    names = [group[0].name for group in groups]
    by_id = {run.id: run.name for run in runs}
    return [
        _arm(i, name if names.count(name) == 1 else f"{name} ({group[0].id[:6]})", group, by_id)
        for i, (name, group) in enumerate(zip(names, groups, strict=True))
    ]


def reference(arms: Sequence[Arm]) -> Arm:
    """What the others are measured against: the arm named `base`, else one that was not trained, else the first."""
    named = [arm for arm in arms if arm.name == "base"]
    untrained = [arm for arm in arms if arm.planned_steps == 0]
    return [*named, *untrained, *arms][0]


@dataclass(frozen=True)
class Comparison:
    """`first - second` in mean greedy score; `paired` on the `estimate.n` questions that both measured."""

    first: Arm
    second: Arm
    estimate: Estimate
    paired: bool


def compare_arms(first: Arm, second: Arm, family: str | None = None) -> Comparison | None:
    """Paired where the arms share questions, else from their separate intervals; None when either is unmeasured."""
    of_benchmarks = bool(first.measure and second.measure)
    if of_benchmarks and family is not None:
        return None
    paired = _paired_units(first, second) if of_benchmarks else _paired_scores(first, second, family)
    if paired is not None:
        return Comparison(first, second, paired, paired=True)
    ours, theirs = (arm.accuracy if family is None else arm.families.get(family) for arm in (first, second))
    if ours is None or theirs is None:
        return None
    return Comparison(first, second, unpaired_difference(ours, theirs), paired=False)


def _paired_scores(first: Arm, second: Arm, family: str | None) -> Estimate | None:
    ids = _questions((*first.runs, *second.runs), family)
    return paired_difference(_matrix(first.runs, ids), _matrix(second.runs, ids)) if ids else None


def _paired_units(first: Arm, second: Arm) -> Estimate | None:
    """Benchmarks are compared on what their number is the mean of: a question's variants and draws belong together."""
    ours, theirs = _units(first), _units(second)
    shared = [(*ours[unit], theirs[unit][1]) for unit in sorted(ours.keys() & theirs.keys())]
    if not shared:
        return None
    clusters, values, other_values = zip(*shared, strict=True)
    return paired_test(values, other_values, clusters).difference


def _units(arm: Arm) -> dict[tuple[str, int | None], tuple[str, float]]:
    """Cluster and value of the measured ones of all seeds."""
    return {
        (unit.question, run.seed): (unit.cluster, unit.value)
        for run in arm.runs
        for unit in run.units
        if unit.value is not None
    }


def _headline(runs: Sequence[RunRecords]) -> Estimate | None:
    """A benchmark's number over all seeds, its interval over questions."""
    known = [(unit.value, unit.cluster) for run in runs for unit in run.units if unit.value is not None]
    return clustered_mean(*zip(*known, strict=True)) if known else None


def _measure(runs: Sequence[RunRecords]) -> str:
    """What a benchmark's number is called: accuracy, worst case ...; empty for runs of no benchmark."""
    named = [run.evaluation.strict.get("headline", "") for run in runs if run.evaluation and run.evaluation.strict]
    return str(named[0]) if len(named) == len(runs) and all(run.units for run in runs) else ""


def summarise(scores: Sequence[Score]) -> Evaluation:
    """What evaluation.json would say, from the replies themselves; without pass@k."""
    return Evaluation.model_validate(tabulate(scores, 0)) if scores else Evaluation()


def _arm(index: int, name: str, runs: Sequence[RunRecords], names_by_id: dict[str, str]) -> Arm:
    results = [run.evaluation or summarise(run.scores) for run in runs]
    families = {
        family: _estimate([result.families.get(family, FamilyResult()) for result in results], runs, family)
        for family in sorted({family for result in results for family in result.families})
    }
    start = runs[0].recipe.get("start") if runs[0].recipe else None
    unmeasured = [result.unmeasured for result in results if result.unmeasured is not None]
    passes = {k: _mean(result.pass_at.get(k) for result in results) for k in PASS_AT}
    measure = _measure(runs)
    return Arm(
        index=index,
        name=name,
        runs=tuple(runs),
        starts_from=names_by_id.get(start, start) if isinstance(start, str) else None,
        measure=measure,
        accuracy=_headline(runs) if measure else _estimate(results, runs, None),
        families={family: estimate for family, estimate in families.items() if estimate is not None},
        sampled=_mean(result.sampled_accuracy for result in results),
        pass_at={k: value for k, value in passes.items() if value is not None},
        reply_tokens=_mean(result.reply_tokens for result in results),
        truncated=_mean(result.truncated for result in results),
        unparsed=_mean(result.unparsed for result in results),
        unmeasured=sum(unmeasured) if unmeasured else None,
        steps=_mean(len(run.steps) if run.steps or run.planned_steps == 0 else None for run in runs),
        planned_steps=_mean(run.planned_steps for run in runs),
        seconds=_mean(sum(step.seconds for step in run.steps) if run.steps else None for run in runs),
    )


def _estimate(results: Sequence[FamilyResult], runs: Sequence[RunRecords], family: str | None) -> Estimate | None:
    """One run: what its evaluation says. Several: their mean, with questions and runs both drawn again."""
    mean = _mean(result.accuracy for result in results)
    if mean is None:
        return None
    n = min(result.n for result in results if result.accuracy is not None)
    if len(results) == 1:
        low, high = results[0].ci95 or (None, None)
        return Estimate(mean, low, high, n)
    ids = _questions(runs, family)
    if not ids:
        return Estimate(mean, None, None, n)
    return bootstrap_mean(_matrix(runs, ids))._replace(value=mean, n=n)


def _questions(runs: Sequence[RunRecords], family: str | None) -> list[str]:
    """What every run measured."""
    return sorted(set.intersection(*(set(_greedy_scores(run, family)) for run in runs)))


def _greedy_scores(run: RunRecords, family: str | None = None) -> dict[str, float]:
    return {
        s.example_id: score
        for s in run.scores
        if family in (None, s.family) and s.greedy is not None and (score := s.greedy.verdict.score) is not None
    }


def _matrix(runs: Sequence[RunRecords], ids: Sequence[str]) -> Matrix:
    """Greedy scores [S runs, N ids]; every id was measured by every run."""
    tables = [_greedy_scores(run) for run in runs]
    return np.array([[table[i] for i in ids] for table in tables], dtype=np.float64)


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of what was measured; None when nothing was."""
    measured = [value for value in values if value is not None]
    return fmean(measured) if measured else None
