"""Every error that firsthand raises on purpose; anything else that reaches a user is a bug of ours.

FirsthandError
|-- DataError     (ValueError)  a user's data is not what a format promises; the message names file, row and remedy
|-- RecipeError   (ValueError)  a recipe asks for something unknown or impossible
|   `-- Diverged                training under this recipe has come to numbers that are not finite
|-- NothingEarned               training whose replies earn nothing from its first step on teaches nothing
`-- ParityError                 two computations of the same quantity disagree; going on would train on a lie

BadRow is none of these: it says what is wrong with one row, and whoever reads the file makes a DataError of it. `shown`
and `excerpt` are how messages quote what others wrote.
"""

import reprlib
from collections.abc import Mapping

LONGEST_EXCERPT = 200
"""Characters of others' text that a verdict or a message quotes (ours); verdicts are kept by the million."""

_BY_COLUMN = {
    **dict.fromkeys(("image", "images"), "bad_image"),
    **dict.fromkeys(("question", "prompt", "messages", "conversations", "conversation"), "bad_question"),
    **dict.fromkeys(("answer", "kind", "choices", "options", "ground_truth", "gt"), "bad_answer"),
    **dict.fromkeys(("trace", "solution", "completion"), "bad_trace"),
}
"""The reason that a column stands for, where a complaint names none."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


class FirsthandError(Exception):
    """Base of every error raised on purpose."""

    exit_status = 2
    """Of a command that ends with it."""


class DataError(FirsthandError, ValueError):
    """Data that cannot be used as it is: what was expected, what was got, what to do."""


class RecipeError(FirsthandError, ValueError):
    """A recipe that cannot be run as it is: what was expected, what was got, what to do."""


class Diverged(RecipeError):
    """Training that has begun, and whose gradients or weights are no longer finite."""


class NothingEarned(FirsthandError):
    """Training that has begun, and of whose replies none earned anything: what they are instead, and what to do."""

    exit_status = 1


class ParityError(FirsthandError):
    """Two ways to compute one quantity differ by more than rounding, e.g. log-probs in rollout and in training."""


class BadRow(Exception):
    """Why one row cannot be used. It never reaches a user: it becomes part of a DataError, or a `data.Refused`.

    `column` is None when the row as a whole could not be read. `reason` is one of `data.REASONS`, by default the one
    that the column stands for.
    """

    def __init__(self, column: str | None, expected: str, got: str, remedy: str, reason: str | None = None) -> None:
        super().__init__(column, expected, got, remedy)
        self.column, self.expected, self.got, self.remedy = column, expected, got, remedy
        self.reason = reason or _BY_COLUMN.get((column or "").partition("[")[0], "bad_row")

    def __str__(self) -> str:
        where = "" if self.column is None else f"column `{self.column}`: "
        return f"{where}expected {self.expected}, got {self.got}; {self.remedy}"

    def renamed(self, names: Mapping[str, str]) -> "BadRow":
        """The same complaint in the words of the user's file; `names` maps our column names to theirs."""
        column, bracket, index = (self.column or "").partition("[")
        column = names.get(f"{column}{bracket}{index}") or f"{names.get(column, column)}{bracket}{index}"
        return BadRow(column or None, self.expected, self.got, self.remedy, self.reason)


def shown(value: object) -> str:
    """A value as an error quotes it, at most about 80 characters long."""
    return f"{len(value):,} bytes" if isinstance(value, bytes) else _SHORT.repr(value)


def excerpt(text: str | bytes, longest: int = LONGEST_EXCERPT) -> str:
    """The start of untrusted text, without quotes around it: valid Unicode, for a record refuses lone surrogates.

    Bytes, which are what a server said, are put on one line.
    """
    if isinstance(text, bytes):
        text = " ".join(text[: 4 * longest].decode("utf-8", "replace").split())
    text = text if len(text) <= longest else text[:longest] + "..."
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
