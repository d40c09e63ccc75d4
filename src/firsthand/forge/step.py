"""What a step is: every row that goes in comes out once, kept or dropped with a reason.

A step sees its input in parts of some hundred rows. It says for each row what to ask a teacher, if anything, and
decides when the outcome is there. It never sees where answers come from, in what order they arrive, or which were paid
before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from firsthand.data.stream import Refused
from firsthand.records import Example
from firsthand.teacher import Failure, Outcome, Request

STEP_NAMES = ("collect", "caption", "distill", "rewrite", "verify", "split")


@dataclass(frozen=True)
class Asked:
    """A row, what to ask about it (None: nothing), and what the step wants to know again when it decides."""

    example: Example
    request: Request | None = None
    note: Any = None


@dataclass(frozen=True)
class Kept:
    """The row goes on, perhaps changed."""

    example: Example


@dataclass(frozen=True)
class Dropped:
    """The row stays behind. `reason` is a row of the funnel table, such as `duplicate`; `detail` is a sentence."""

    example: Example | Refused
    reason: str
    detail: str = ""


Decision = Kept | Dropped


class Step(Protocol):
    """One of the six."""

    name: str

    def identity(self) -> dict[str, Any]:
        """What decides the step's results beside its input, as JSON: change it, and the step is done again."""
        ...

    def ask(self, examples: Sequence[Example]) -> Iterable[Asked]:
        """Each row of a part, in order, with what to ask about it."""
        ...

    def decide(self, asked: Asked, outcome: Outcome | None) -> Decision:
        """Keep or drop; `outcome` is None where nothing was asked."""
        ...


def noted(example: Example, **fields: Any) -> Example:
    """The example with what the forge knows of it: `meta["forge"]`."""
    return example.model_copy(update={"meta": {**example.meta, "forge": {**notes(example), **fields}}})


def notes(example: Example) -> dict[str, Any]:
    """What the forge has noted of an example."""
    return dict(example.meta.get("forge", {}))


def source_of(example: Example | Refused) -> str:
    """The name of the source that a row came from."""
    source = example.source if isinstance(example, Refused) else example.meta.get("source", {})
    return str(source.get("name", ""))


def dropped_by(example: Example, failure: Failure) -> Dropped:
    """The drop of a row whose request has no usable answer."""
    return Dropped(example, f"teacher_{failure.reason}", failure.detail)
