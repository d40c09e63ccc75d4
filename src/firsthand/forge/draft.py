"""What the forge knows of a row on its way through the six steps."""

import base64
from dataclasses import dataclass, fields
from typing import Any, Literal

from firsthand.answers.stated import CLOSE, OPEN
from firsthand.data.loaded import Refused
from firsthand.records import Example, Trace

FORGED_STYLE = "distilled"
"""The style of a forged demonstration."""

Ruling = Literal["yes", "no", "undecided"]
DataPart = Literal["sft", "rl"]
DATA_PARTS: tuple[DataPart, ...] = ("sft", "rl")

_UNPUBLISHED = ("example", "hashes", "is_explored_only", "thinking", "part")
"""Fields of a draft that its example does not have in `meta["forge"]`; the others are there in their order."""


@dataclass(frozen=True)
class Draft:
    """A row in the making: the example as its source has it, and what the steps have found. None is not known yet."""

    example: Example
    hashes: tuple[bytes, ...] = ()
    """The perceptual hash of each picture."""
    caption: str | None = None
    captioned_by: str | None = None
    is_explored_only: bool = False
    """Whether its source is never imitated, so that it gets no demonstration."""
    thinking: str | None = None
    answer: str | None = None
    """The reasoner's; the thinking and it are put together only when the example is written."""
    distilled_by: str | None = None
    rewritten_by: str | None = None
    mentions_left: int | None = None
    """How often the rewritten thinking still mentions a caption or a description."""
    rules: Ruling | None = None
    """Whether the answer agrees with the gold, by rules."""
    rules_why: str | None = None
    judge: str | None = None
    """What the judge said: `yes`, `no`, or the start of something else."""
    judged_by: str | None = None
    part: DataPart | None = None

    @classmethod
    def of(cls, example: Example, hashes: tuple[bytes, ...] = ()) -> "Draft":
        """The draft of a row that has just been read; a row of another forge keeps its caption."""
        caption = _earlier(example).get("caption")
        return cls(example, hashes, caption if isinstance(caption, str) else None)

    def finished(self) -> Example:
        """The example as the data set has it."""
        return self._example({})

    def left_behind(self) -> Example:
        """The example as it is written when a step drops it: with its hashes, which may be the reason."""
        return self._example({"looks": [base64.b64encode(one).decode("ascii") for one in self.hashes]})

    def _example(self, first: dict[str, Any]) -> Example:
        named = [field.name for field in fields(self) if field.name not in _UNPUBLISHED]
        found = {name: value for name in named if (value := getattr(self, name)) is not None}
        meta = {**self.example.meta, "forge": {**_earlier(self.example), **first, **found}}
        return self.example.model_copy(update={"traces": self._traces(), "meta": meta})

    def _traces(self) -> tuple[Trace, ...]:
        if self.is_explored_only:
            return ()
        if self.answer is None:
            return self.example.traces
        text = f"<think>\n{self.thinking}\n</think>\n{OPEN}{self.answer}{CLOSE}"
        return (Trace(style=FORGED_STYLE, text=text),)


def source_of(row: Draft | Refused) -> str:
    """The name of the source that a row came from."""
    source = row.source if isinstance(row, Refused) else row.example.meta.get("source", {})
    return str(source.get("name", ""))


def _earlier(example: Example) -> dict[str, Any]:
    """What another forge has noted of the row."""
    noted = example.meta.get("forge")
    return noted if isinstance(noted, dict) else {}
