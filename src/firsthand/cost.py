"""What a training run has cost so far: the sums over its steps."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from firsthand.records import Record, Step

TOKENS = ("tokens/prompt", "tokens/generated", "tokens/trained")
"""Metrics of a step: tokens of the prompts, of sampled replies, and those that carried a loss."""
FLOPS = ("flops/vision", "flops/rollout", "flops/update")
"""Metrics of a step: floating-point operations by the formula of `policy.flops`."""

HEADERS = ("prompt tokens", "generated", "trained on", "TFLOP", "minutes")
"""Of `RunCost.cells`."""


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

        def total(names: Iterable[str]) -> float | None:
            found = [[step.metrics[name] for name in names if name in step.metrics] for step in steps]
            return sum(map(sum, found)) if all(found) else None

        prompt, generated, trained = (total([name]) for name in TOKENS)
        return cls(
            prompt_tokens=None if prompt is None else int(prompt),
            generated_tokens=None if generated is None else int(generated),
            trained_tokens=None if trained is None else int(trained),
            flops=total(FLOPS),
            minutes=sum(step.seconds - step.timing.get("probe", 0.0) for step in steps) / 60,
        )

    @classmethod
    def read(cls, run: Path) -> "RunCost":
        """That of a run directory."""
        lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
        return cls.of(Step.model_validate_json(line) for line in lines)

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
