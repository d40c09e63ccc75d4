"""What a scorer is: a generator that asks a judge where rules are not enough, and returns a score.

A scorer knows nothing of servers. It yields a `JudgeQuestion`, is sent the judge's text, and returns a
`ReplyScore`; whoever drives it may ask many judges at once, or none.
"""

import re
from collections.abc import Generator, Mapping
from typing import Literal, NamedTuple

from pydantic import AliasChoices, Field

from firsthand.records import Record

TextCells = Mapping[str, str]
"""A benchmark's row: column -> text, as the TSV has it; empty cells are absent."""

QUIRKS = {
    "never_right": "MathVista compares neither lists nor text: whatever is answered, it is wrong",
    "zero_is_asked": "a bare 0 that is right is not seen by the rules, and the judge is asked for it",
    "name_a": "MathVision evaluates the answer as Python beside its own variable `a`, which holds the gold answer",
    "not_in_time": "a comparison that does not end in 30 s is wrong",
    "empty_is_right": "DynaMath takes an empty text as part of the gold answer, and so as right",
    "part_is_right": "DynaMath takes any part of the gold text as right",
    "letter_anywhere": "DynaMath takes the only letter from A to E in a whole reply, within words too, as the option",
    "first_characters": "DynaMath counts a reply that nobody could read as right when its first three characters "
    "hold the gold letter",
    "option_is_missing": "WeMath's options `None` and `NA` are read as missing, so nobody can choose them",
    "chance": "WeMath guesses an option at random where the judge names none",
    "unread_verdict": "what the judge says is neither 0 nor 1, or no capital letters, five times: wrong",
}
"""How VLMEvalKit's scoring differs from what a reader would expect. The key stands with every score that it decided."""

_NANS = ("NaN", "-NaN", "nan", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN")
_MISSING = frozenset(("", "NA", "N/A", "n/a", "<NA>", "#NA", "#N/A", "#N/A N/A", "NULL", "null", "None", *_NANS))
"""Text that pandas reads as a missing value; VLMEvalKit then sees `nan`, because tables pass through files."""
LONGEST_WORKBOOK_CELL = 32_767
"""Characters of a workbook's cell, in UTF-16: Excel's own limit."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")


class JudgeQuestion(NamedTuple):
    """What the judge is asked. Another `attempt` is another draw, even at temperature 0."""

    text: str
    attempt: int = 0
    temperature: float = 0.0
    max_tokens: int = 128
    system: str = ""


class ReplyScore(Record):
    """A leaderboard's score of one reply."""

    right: bool
    extracted: str | None
    """The answer as it was compared; None when none was found."""
    by: Literal["rules", "judge", "chance"] = "rules"
    """Who found the answer."""
    quirk: str = Field(default="", validation_alias=AliasChoices("quirk", "oddity"))
    """The key of `QUIRKS` that decided the outcome, if one did. Up to version 0.1 it was an `oddity`."""


ScorerRun = Generator[JudgeQuestion, str, ReplyScore]
"""A scorer at work. A judge that gives no answer ends it from outside: then there is no score, and nothing is wrong."""


def through_a_file(text: str) -> str:
    """What becomes of a cell that VLMEvalKit writes to a workbook and reads back with pandas.

    Missing values become `nan`, what is longer than a cell is cut, and control characters come back as `_x000D_`.
    """
    if text in _MISSING:
        return "nan"
    return _CONTROL.sub(lambda sign: f"_x{ord(sign[0]):04X}_", text[:LONGEST_WORKBOOK_CELL])
