"""What every analysis starts from: arms whose numbers compare, the untrained one, and what each training began with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from firsthand.report.analyses.tally import Expressions, Stretch, trained_on
from firsthand.report.arms import Arm, reference
from firsthand.report.runs import RunRecords


@dataclass(frozen=True)
class Evidence:
    """The arms of a report, each once."""

    arms: Sequence[Arm]
    expressions: Expressions
    everywhere: Sequence[Arm] = ()
    """The same, once for each table that they have a number in; empty where nobody said."""

    @cached_property
    def base(self) -> Arm | None:
        """What the others are measured against; None where nothing was evaluated or only trained arms were."""
        evaluated = [arm for arm in self.arms if arm.accuracy is not None]
        found = reference(evaluated) if evaluated else None
        return found if found is not None and (found.name == "base" or found.planned_steps == 0) else None

    @cached_property
    def training(self) -> dict[int, list[Stretch]]:
        """arm's index -> what its policy wrote in training; read once."""
        return {arm.index: trained_on(arm, self.expressions) for arm in self.arms}

    @cached_property
    def by_id(self) -> dict[str, RunRecords]:
        """All trainings."""
        return {run.id: run for arm in self.arms for run in arm.runs}

    def chain(self, run: RunRecords) -> Iterator[RunRecords]:
        """The run, the one that it started from, and so on, as far as they are there, each once."""
        found: RunRecords | None = run
        passed: set[str] = set()
        while found is not None and found.id not in passed:  # damaged records may say that a run started from itself
            yield found
            passed.add(found.id)
            start = (found.recipe or {}).get("start")
            found = self.by_id.get(start) if isinstance(start, str) else None

    def is_whole(self, run: RunRecords) -> bool:
        """Whether every run of its chain is there."""
        *_, first = self.chain(run)
        return (first.recipe or {}).get("start") is None


def evaluated_runs(arm: Arm) -> list[RunRecords]:
    """The runs whose evaluations are of the arm's table."""
    return [run for run in arm.runs if run.scores and run.table == arm.table]
