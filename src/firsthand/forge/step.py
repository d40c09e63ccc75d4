"""What a step is: every example that goes in comes out once, kept or dropped with a reason."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from firsthand.records import Example, Record


@dataclass(frozen=True)
class Kept:
    """The example goes on, perhaps changed."""

    example: Example


@dataclass(frozen=True)
class Dropped:
    """The example stays behind; `reason` is a row of the funnel table, such as `duplicate`."""

    example: Example
    reason: str


Outcome = Kept | Dropped


@dataclass(frozen=True)
class ForgeStep:
    """A named step; `outcomes` yields one outcome per example, and may remember what it saw before."""

    name: str
    outcomes: Callable[[Iterable[Example]], Iterator[Outcome]]


class Funnel(Record):
    """The counts of one step: read = kept + all that was dropped."""

    step: str
    read: int
    kept: int
    dropped: dict[str, int]
    """Reason -> count; a reason that never occurred is absent."""


def run_step(step: ForgeStep, examples: Iterable[Example]) -> tuple[list[Example], list[Dropped], Funnel]:
    """Run one step; both lists are in input order. Raises ValueError when the step loses or invents an example."""
    given = list(examples)
    outcomes = list(step.outcomes(given))
    if len(outcomes) != len(given):
        raise ValueError(f"step {step.name!r} must keep or drop each example once: {len(given)=}, {len(outcomes)=}")
    kept = [outcome.example for outcome in outcomes if isinstance(outcome, Kept)]
    dropped = [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
    reasons = Counter(outcome.reason for outcome in dropped)
    return kept, dropped, Funnel(step=step.name, read=len(given), kept=len(kept), dropped=dict(reasons))
