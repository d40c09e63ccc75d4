"""Runs of one recipe become an arm, and an arm becomes a row of each table in which it was evaluated."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from firsthand.evaluation.joined import named_apart
from firsthand.evaluation.pairing import mean_of_runs, pair_units
from firsthand.evaluation.table import tabulate
from firsthand.records import Agreement, Score, Unit
from firsthand.report.runs import Evaluation, FamilyResult, RunRecords
from firsthand.stats import Estimate, Finding, Paired


@dataclass(frozen=True)
class Arm:
    """One row of a table: the runs of one recipe, averaged over their seeds. None is unmeasured."""

    index: int
    """Place in the report, which fixes the colour; the same in every table."""
    name: str
    table: str
    """The title of the table; empty where the arm was not evaluated."""
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
    tagged: float | None
    """Share of the replies that state their answer in tags."""
    agreement: dict[str, float]
    """Shares of the replies whose steps agree with their answer, disagree with it, or cannot be read; of worlds."""
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
        """The run that stands for the arm where not all fit: of the first seed that was evaluated."""
        return next((run for run in self.runs if run.scores), self.runs[0])


def make_arms(runs: Sequence[RunRecords]) -> list[Arm]:
    """Group runs whose recipes differ in nothing but the seed, table by table, in the order of their first run.

    Two recipes under one name stay two arms, told apart by a run's id.
    """
    together: dict[tuple[str, str], list[RunRecords]] = defaultdict(list)
    for run in runs:
        together[run.table, run.who.arm].append(run)
    names = named_apart([run.who for run in runs])
    by_id = {run.id: run.name for run in runs}
    return [
        _arm(list(names).index(key), names[key], sorted(group, key=lambda run: (run.seed is None, run.seed)), by_id)
        for (_, key), group in together.items()
    ]


def reference(arms: Sequence[Arm]) -> Arm:
    """What the others are measured against: the arm named `base`, else one that was not trained, else the first."""
    named = [arm for arm in arms if arm.name == "base"]
    untrained = [arm for arm in arms if arm.planned_steps == 0]
    return [*named, *untrained, *arms][0]


@dataclass(frozen=True)
class Comparison:
    """`first - second`, on the questions that all runs of both measured."""

    first: Arm
    second: Arm
    paired: Paired

    @property
    def estimate(self) -> Estimate:
        """The difference."""
        return self.paired.difference

    @property
    def finding(self) -> Finding:
        """Better or worse, if the evidence says so."""
        return self.paired.finding


def compare_arms(first: Arm, second: Arm, family: str | None = None) -> Comparison | None:
    """None where the two have no measured question in common, and always across tables."""
    if first.table != second.table:
        return None
    paired = pair_units(_units(second.runs, family), _units(first.runs, family), first.table).paired
    return None if paired is None else Comparison(first, second, paired)


def _units(runs: Sequence[RunRecords], family: str | None = None) -> list[list[Unit]]:
    """Those of each training run; draws of one model under several seeds count together."""
    by_run: dict[str, list[Unit]] = defaultdict(list)
    for run in runs:
        families = {score.example_id: score.family for score in run.scores}
        by_run[run.who.run] += [u for u in run.units if family in (None, families.get(u.cluster))]
    return list(by_run.values())


def _measure(runs: Sequence[RunRecords]) -> str:
    """What a benchmark's number is called: accuracy, worst case ...; empty for runs of no benchmark."""
    named = [run.evaluation.strict.get("headline", "") for run in runs if run.evaluation and run.evaluation.strict]
    return str(named[0]) if len(named) == len(runs) else ""


def summarise(scores: Sequence[Score]) -> Evaluation:
    """What evaluation.json would say, from the replies themselves; without pass@k."""
    return Evaluation.model_validate(tabulate(scores, 0)) if scores else Evaluation()


def _arm(index: int, name: str, runs: Sequence[RunRecords], names_by_id: dict[str, str]) -> Arm:
    results = [run.evaluation or summarise(run.scores) for run in runs]
    families = {
        family: _estimate([result.families.get(family, FamilyResult()) for result in results], runs, family)
        for family in sorted({family for result in results for family in result.families})
    }
    trainings = list({run.folder: run for run in runs}.values())  # one may have been evaluated under several seeds
    start = runs[0].recipe.get("start") if runs[0].recipe else None
    unmeasured = [result.unmeasured for result in results if result.unmeasured is not None]
    ks = sorted({k for result in results for k in result.pass_at})
    passes = {k: _mean(result.pass_at.get(k) for result in results) for k in ks}
    measure = _measure(runs)
    return Arm(
        index=index,
        name=name,
        table=runs[0].table,
        runs=tuple(runs),
        starts_from=names_by_id.get(start, start) if isinstance(start, str) else None,
        measure=measure,
        accuracy=mean_of_runs(_units(runs)) if measure else _estimate(results, runs, None),
        families={family: estimate for family, estimate in families.items() if estimate is not None},
        sampled=_mean(result.sampled_accuracy for result in results),
        pass_at={k: value for k, value in passes.items() if value is not None},
        reply_tokens=_mean(result.reply_tokens for result in results),
        truncated=_mean(result.truncated for result in results),
        unparsed=_mean(result.unparsed for result in results),
        tagged=_mean(result.tagged for result in results),
        agreement={
            state: value for state in Agreement if (value := _mean(r.steps.get(state) for r in results)) is not None
        },
        unmeasured=sum(unmeasured) if unmeasured else None,
        steps=_mean(len(run.taken) if run.taken or run.planned_steps == 0 else None for run in trainings),
        planned_steps=_mean(run.planned_steps for run in trainings),
        seconds=_mean(sum(step.seconds for step in run.taken) if run.taken else None for run in trainings),
    )


def _estimate(results: Sequence[FamilyResult], runs: Sequence[RunRecords], family: str | None) -> Estimate | None:
    """One run: what its evaluation says. Several: what all of them measured."""
    [first, *others] = results
    if others and (found := mean_of_runs(_units(runs, family))) is not None:
        return found
    mean = _mean(result.accuracy for result in results)
    if mean is None:
        return None
    low, high = first.ci95 if first.ci95 and not others else (None, None)
    return Estimate(mean, low, high, min(r.questions or r.n for r in results if r.accuracy is not None))


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of what was measured; None when nothing was."""
    measured = [value for value in values if value is not None]
    return fmean(measured) if measured else None
