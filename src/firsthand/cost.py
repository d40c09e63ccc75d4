"""What a training run has cost so far: the sums over its steps."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, get_args

from pydantic import Field

from firsthand.records import Record, Step, records_in

CostUnit = Literal["steps", "generated", "trained", "flops", "seconds"]
"""What trainings are matched by: optimizer steps, tokens that were sampled, tokens that carried a loss, floating-point
operations, or wall time. Probes and evaluations count in none."""
COST_UNITS: tuple[CostUnit, ...] = get_args(CostUnit)

USED = "budget/used"
"""Metric of a step: the share of its run's budget that it and all before it have used."""
FLOPS = ("flops/vision", "flops/rollout", "flops/update")
"""Metrics of a step: floating-point operations by the formula of `policy.flops`."""

HEADERS = ("prompt tokens", "generated", "trained on", "TFLOP", "minutes")
"""Of `RunCost.cells`."""


class TrainingBudget(Record):
    """How much a training may cost."""

    unit: CostUnit
    amount: float = Field(gt=0)


def cost_of(step: Step, unit: CostUnit) -> float | None:
    """Of one step; None where it was not counted, as in version 0.1.0."""
    if unit == "steps" or not step.trained:
        return float(step.trained)
    if unit == "seconds":
        return step.seconds - step.timing.get("probe", 0.0)
    names = FLOPS if unit == "flops" else (f"tokens/{unit}",)
    found = [step.metrics[name] for name in names if name in step.metrics]
    return sum(found) if found else None


def cost_of_run(run: Path) -> dict[CostUnit, float | None]:
    """Of a run directory alone, not of the one that it started from; what a step did not count is None."""
    steps = steps_of(run)
    return {unit: added(cost_of(step, unit) for step in steps) for unit in COST_UNITS}


def added(costs: Iterable[float | None]) -> float | None:
    """Their sum, in their order; None where one is None."""
    total = 0.0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


def steps_of(run: Path) -> list[Step]:
    """The lines of a run's metrics.jsonl, which another process may be writing. Raises DataError where one is bad."""
    return list(records_in(run / "metrics.jsonl", Step, may_be_torn=True))


class RunCost(Record):
    """Of one run alone, not of the one that it started from. None: its steps did not count it, as in version 0.1.0."""

    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    trained_tokens: int | None = None
    flops: float | None = None
    """Floating-point operations."""
    minutes: float
    """Wall time of the steps, without checkpoints, probes and evaluation."""

    @classmethod
    def of(cls, steps: Iterable[Step]) -> "RunCost":
        """The cost of these steps."""
        steps = [step for step in steps if step.trained]
        prompt = added(step.metrics.get("tokens/prompt") for step in steps)
        generated, trained, flops, seconds = (added(cost_of(step, unit) for step in steps) for unit in COST_UNITS[1:])
        assert seconds is not None, "every step has its seconds"
        return cls(
            prompt_tokens=None if prompt is None else int(prompt),
            generated_tokens=None if generated is None else int(generated),
            trained_tokens=None if trained is None else int(trained),
            flops=flops,
            minutes=seconds / 60,
        )

    @classmethod
    def read(cls, run: Path) -> "RunCost":
        """That of a run directory."""
        return cls.of(steps_of(run))

    @classmethod
    def mean(cls, costs: Sequence["RunCost"]) -> "RunCost":
        """The mean over an arm's seeds (at least one); a number that one of them lacks is None."""

        def over(values: Sequence[float | None]) -> float | None:
            measured = [value for value in values if value is not None]
            return fmean(measured) if len(measured) == len(values) else None

        prompt, generated, trained = (
            None if (value := over([getattr(cost, name) for cost in costs])) is None else round(value)
            for name in ("prompt_tokens", "generated_tokens", "trained_tokens")
        )
        return cls(
            prompt_tokens=prompt,
            generated_tokens=generated,
            trained_tokens=trained,
            flops=over([cost.flops for cost in costs]),
            minutes=fmean(cost.minutes for cost in costs),
        )

    def cells(self) -> list[str]:
        """As a row of a table, under `HEADERS`: a dash is what was not counted, which is not 0."""
        tokens = (self.prompt_tokens, self.generated_tokens, self.trained_tokens)
        counted = ["-" if number is None else f"{number:,}" for number in tokens]
        flops = "-" if self.flops is None else f"{self.flops / 1e12:,.3g}"
        return [*counted, flops, f"{self.minutes:,.1f}"]
