"""A benchmark's numbers by its scorers, as evaluation.json has them: strict rules, and a leaderboard's way."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from firsthand.report.arms import Arm
from firsthand.stats import Estimate


class ScorerTable(BaseModel):
    """What one scorer has found. Only what the page shows is read; None was not measured."""

    model_config = ConfigDict(frozen=True)

    headline: str = ""
    value: float | None = None
    ci95: tuple[float | None, float | None] = (None, None)
    n: int = 0
    unmeasured: int = 0
    absent: str = ""
    undecided: dict[str, int] = {}
    disagreements: int | None = None
    judge: dict[str, object] = {}

    @property
    def estimate(self) -> Estimate | None:
        """The number with its interval."""
        return None if self.value is None else Estimate(self.value, *self.ci95, n=self.n)


class Benchmarked(NamedTuple):
    """One line: a run's number by one scorer, and what a reader must know of it."""

    arm: Arm
    seed: int | None
    scorer: str
    headline: str
    estimate: Estimate | None
    notes: tuple[str, ...]


def by_scorer(arms: Sequence[Arm]) -> list[Benchmarked]:
    """The lines of all runs of benchmarks; none where only a user's own data was evaluated."""
    lines = []
    for arm in arms:
        for run in arm.runs:
            found = run.evaluation
            if found is None or found.strict is None:
                continue
            strict, *others = (ScorerTable.model_validate(part) for part in (found.strict, *found.leaderboard.values()))
            for table in (strict, *others):
                judged = f"judged by {table.judge['model']}" if table.judge else "rules alone"
                scorer = "strict" if table is strict else f"leaderboard, {judged}"
                headline, notes = table.headline or strict.headline, tuple(_notes(table, found.benchmark))
                lines.append(Benchmarked(arm, run.seed, scorer, headline, table.estimate, notes))
    return lines


def _notes(table: ScorerTable, benchmark: Mapping[str, object]) -> Iterator[str]:
    if "published_rows" in benchmark:
        yield f"{benchmark['rows']} rows, where the published file has {benchmark['published_rows']}"
    if table.absent:
        yield f"not given: {table.absent}"
    if table.unmeasured:
        yield f"{table.unmeasured:,} replies without a mark"
    if table.disagreements:
        yield f"differs from strict on {table.disagreements:,} replies"
