"""A benchmark's numbers by its scorers, as evaluation.json has them: strict rules, and a leaderboard's way."""

from collections.abc import Sequence
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
            strict = ScorerTable.model_validate(found.strict)
            rows = _rows(found.benchmark)
            lines.append(Benchmarked(arm, run.seed, "strict", strict.headline, strict.estimate, _notes(strict, rows)))
            for content in found.leaderboard.values():
                table = ScorerTable.model_validate(content)
                scorer = f"leaderboard, judged by {table.judge['model']}" if table.judge else "leaderboard, rules alone"
                headline = table.headline or strict.headline
                lines.append(Benchmarked(arm, run.seed, scorer, headline, table.estimate, _notes(table, rows)))
    return lines


def _rows(benchmark: dict[str, object]) -> tuple[str, ...]:
    if "published_rows" not in benchmark:
        return ()
    return (f"{benchmark['rows']} rows, where the published file has {benchmark['published_rows']}",)


def _notes(table: ScorerTable, rows: tuple[str, ...]) -> tuple[str, ...]:
    absent = (f"not given: {table.absent}",) if table.absent else ()
    left_out = (f"{table.unmeasured:,} replies without a mark",) if table.unmeasured else ()
    differ = (f"differs from strict on {table.disagreements:,} replies",) if table.disagreements else ()
    return (*rows, *absent, *left_out, *differ)
