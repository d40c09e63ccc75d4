"""What a step is: every row that goes in comes out once, kept or dropped with a reason.

A step sees its input in shards of some hundred rows. It says for each row what to ask a teacher, if anything, and
decides when the outcome is there. It never sees where answers come from, in what order they arrive, or which were paid
before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from firsthand.data.loaded import Refused
from firsthand.forge.draft import Draft
from firsthand.forge.templates import PromptTemplate
from firsthand.teacher import Completion, Failure, Outcome, Request, SamplingParameters

STEP_NAMES = ("collect", "caption", "distill", "rewrite", "verify", "split")


@dataclass(frozen=True)
class Asked:
    """A row, and what to ask about it (None: nothing)."""

    draft: Draft
    request: Request | None = None


@dataclass(frozen=True)
class Kept:
    """The row goes on, perhaps changed."""

    draft: Draft


@dataclass(frozen=True)
class Dropped:
    """The row stays behind. `reason` is a row of the funnel table, such as `duplicate`; `detail` is a sentence."""

    draft: Draft | Refused
    reason: str
    detail: str = ""


Decision = Kept | Dropped


class ForgeStep(Protocol):
    """One of the six."""

    name: str

    def identity(self) -> dict[str, Any]:
        """What decides the step's results beside its input, as JSON: change it, and the step is done again."""
        ...

    def ask(self, drafts: Sequence[Draft]) -> Iterable[Asked]:
        """Each row of a shard, in order, with what to ask about it; by default nothing."""
        return map(Asked, drafts)

    def decide(self, asked: Asked, completion: Completion | None) -> Decision:
        """Keep or drop; `completion` is None where nothing was asked."""
        ...


def decision(step: ForgeStep, asked: Asked, outcome: Outcome | None) -> Decision:
    """What a step decides; a row whose request has no usable answer is dropped."""
    if isinstance(outcome, Failure):
        return Dropped(asked.draft, f"teacher_{outcome.reason}", outcome.detail)
    return step.decide(asked, outcome)


def asking_identity(sampling: SamplingParameters, template: PromptTemplate) -> dict[str, Any]:
    """What a step's answers depend on. Where the model is reached is no part of it."""
    fields = ("model", "temperature", "max_tokens", "extra")
    return {**{name: getattr(sampling, name) for name in fields}, "prompt": template.id}
