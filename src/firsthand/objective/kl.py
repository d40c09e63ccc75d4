"""How the weight of the KL term moves during training: one seam, whose state is one number.

A controller says the weight of the first step, and of every next one from the last: a run that is resumed needs to keep
that number and nothing else. `kl` and `accuracy` are what the last step measured; None is unmeasured, not 0.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from firsthand.records import GrownRecord

KLEstimator = Literal["k1", "k2", "k3", "k3-corrected"]
"""Of KL(policy || reference); see `divergence.estimate`."""


@dataclass(frozen=True)
class Seen:
    """What the optimizer step before measured."""

    kl: float | None
    """Mean k3 estimate per sampled token, or per demonstration's where nothing is sampled; None when no reference pass
    ran."""
    accuracy: float | None
    """Mean score of the sampled replies."""
    replies: int
    """Sampled replies."""


class Controller(GrownRecord):
    """A moving KL weight, and what it weighs; one that looks at nothing but the step says it in `at` alone."""

    _later = frozenset(("estimator", "place"))
    kind: str
    estimator: KLEstimator = "k3"
    """k3 is DeepSeekMath's, and has the gradient of KL(reference || policy); `k3-corrected` weighs it by the ratio, and
    has that of KL(policy || reference)."""
    place: Literal["loss", "reward"] = "loss"
    """A term that is differentiated, or a penalty on tokens that is earned by what comes before."""

    @model_validator(mode="after")
    def _has_a_gradient(self) -> "Controller":
        if self.place == "loss" and self.estimator == "k1":
            raise ValueError("k1 in the loss has an expected gradient of 0; take k2 or k3-corrected, or place: reward")
        if self.place == "reward" and self.estimator == "k3-corrected":
            raise ValueError("a reward is weighed by the ratio as it is; take k1, whose gradient has no bias")
        return self

    @property
    def is_off(self) -> bool:
        """Whether the weight is 0 in every step, so that no reference is needed."""
        return False

    def at(self, step: float, steps: float) -> float:
        """The weight of a step of `steps` (> 0)."""
        raise NotImplementedError

    def first(self, steps: int) -> float:
        """The weight of step 0 of a run of `steps`."""
        return self.at(0, max(1, steps))

    def next(self, weight: float, step: int, steps: int, seen: Seen) -> float:
        """The weight of `step` (> 0), from the weight of the step before and what that measured."""
        return self.at(step, steps)


class Constant(Controller):
    """The same weight in every step."""

    kind: Literal["constant"] = "constant"
    beta: float = Field(default=0.0, ge=0)
    """0 runs no reference pass (TRL's default; DeepSeekMath used 0.04)."""

    @property
    def is_off(self) -> bool:
        return self.beta == 0

    def at(self, step: float, steps: float) -> float:
        return self.beta


class Linear(Controller):
    """A straight line from `start` in the first step to `end` in the last."""

    kind: Literal["linear"] = "linear"
    start: float = Field(ge=0)
    end: float = Field(ge=0)

    @property
    def is_off(self) -> bool:
        return self.start == self.end == 0

    def at(self, step: float, steps: float) -> float:
        return self.start + (self.end - self.start) * step / max(1, steps - 1)


class GRPOD(Controller):
    """GRPO-D's piecewise-linear schedule (OThink-MR1, arXiv:2503.16081).

    The paper's formula starts half-way, falls to `low` over the first `explore` of the steps, and rises to `high` at
    the end; its prose says that the weight "starts from a small value and gradually increases". The formula is the
    default, the prose is `monotone`.
    """

    kind: Literal["grpo-d"] = "grpo-d"
    low: float = Field(default=0.0, ge=0)
    high: float = Field(default=0.02, ge=0)
    """0 to 0.02 is the paper's range for geometry; for counting it is 0.04 to 0.10."""
    explore: float = Field(default=0.3, gt=0, lt=1)
    """w / t: 0.3 in both tasks of the paper."""
    monotone: bool = False
    """From `low` straight to `high`, as the prose has it."""

    @model_validator(mode="after")
    def _low_is_lower(self) -> "GRPOD":
        if self.low > self.high:
            raise ValueError(f"low must not exceed high: got {self.low} and {self.high}; swap them")
        return self

    @property
    def is_off(self) -> bool:
        return self.high == 0

    def at(self, step: float, steps: float) -> float:
        """The weight of a step: exact at step = 0, step = explore * steps and step = steps."""
        if self.monotone:
            return self.low + (self.high - self.low) * step / steps
        turn = self.explore * steps
        middle = (self.low + self.high) / 2
        if step <= turn:
            return middle - (middle - self.low) * step / turn
        return self.low + (self.high - self.low) * (step - turn) / (steps - turn)


class Adaptive(Controller):
    """Steers the measured KL to a target (Ziegler et al., arXiv:1909.08593, §2.2), as OpenRLHF does it.

    `weight *= 1 + clip(kl / target - 1, -0.2, 0.2) * replies / horizon` after every step that measured a KL.
    """

    kind: Literal["adaptive"] = "adaptive"
    init: float = Field(default=1e-3, gt=0)
    target: float = Field(default=5e-4, gt=0)
    """VLAA-Thinking's better setting (KL2; KL1 is 1e-2 and 5e-3)."""
    horizon: float = Field(default=10_000, gt=0)
    """Replies over which the weight may change by about a fifth (OpenRLHF's default)."""

    def first(self, steps: int) -> float:
        return self.init

    def next(self, weight: float, step: int, steps: int, seen: Seen) -> float:
        if seen.kl is None or not math.isfinite(seen.kl):
            return weight
        error = min(0.2, max(-0.2, seen.kl / self.target - 1))
        return weight * (1 + error * seen.replies / self.horizon)


class ByAccuracy(Controller):
    """`low` where the last batch was all wrong, `high` where it was all right, and in proportion between.

    The accuracy-driven relative of GRPO-D: explore while the task is hard, stay close once it is solved (ours).
    """

    kind: Literal["accuracy"] = "accuracy"
    low: float = Field(default=0.0, ge=0)
    high: float = Field(default=0.02, ge=0)

    @property
    def is_off(self) -> bool:
        return self.low == self.high == 0

    def first(self, steps: int) -> float:
        return self.low

    def next(self, weight: float, step: int, steps: int, seen: Seen) -> float:
        return weight if seen.accuracy is None else self.low + (self.high - self.low) * seen.accuracy


def _plain_number(value: Any) -> Any:
    """`kl: 0.04` is short for a constant weight."""
    return {"kind": "constant", "beta": value} if isinstance(value, int | float) else value


KL = Annotated[
    Annotated[Constant | Linear | GRPOD | Adaptive | ByAccuracy, Field(discriminator="kind")],
    BeforeValidator(_plain_number),
]
"""A KL controller in a recipe: its settings, or a number for a constant weight."""
