"""Text on its way in: bounded, and of characters that a model, a terminal and a file of UTF-8 can hold.

A control character is refused rather than removed, for it mostly shows that something else is wrong: in JSON,
`"\\frac12"` written with one backslash is a form feed and `rac12`.
"""

import re
from collections.abc import Iterator
from itertools import chain

from firsthand.data.rows import Cells
from firsthand.errors import BadRow, shown

LONGEST_CELL = 200_000
"""Characters of a cell, in all its parts (ours): more than any model's context holds."""
_DEEPEST = 32
"""Lists and objects inside each other (ours)."""
PICTURE_COLUMNS = ("image", "images")
"""Columns whose text may be a picture; `images.PictureLimits` bounds them."""

# NEL (0x85) is a line end of mainframes and harmless; halves of characters (surrogates) cannot be written as UTF-8.
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")


def check_cells(cells: Cells, longest: int = LONGEST_CELL) -> None:
    """Raises BadRow for the first cell that is too large or too deep, or holds a character that is no text."""
    for column, value in cells.items():
        _check_characters(column, None)
        if column in PICTURE_COLUMNS:
            continue
        size = 0
        for part in _parts(value, column):
            size += len(part) if isinstance(part, str) else 1
            if size > longest:
                got = f"{shown(value)}, which has more"
                remedy = "shorten it, or leave the column out"
                raise BadRow(column, f"at most {longest:,} characters in a cell", got, remedy, "text_too_large")
            if isinstance(part, str):
                _check_characters(part, column)


def _check_characters(text: str, column: str | None) -> None:
    if found := _UNREADABLE.search(text):
        got = f"U+{ord(found.group()):04X} in {text[max(0, found.start() - 20) : found.end() + 20]!a}"
        remedy = r"correct it: in JSON a backslash is written \\, as in \\frac"
        raise BadRow(column, "text without control characters", got, remedy, "bad_text")


def _parts(value: object, column: str) -> Iterator[object]:
    """Texts, keys and other leaves of a value, without recursion: a row does not decide how deep Python's stack is."""
    waiting: list[Iterator[object]] = [iter((value,))]
    while waiting:
        part = next(waiting[-1], waiting)
        if part is waiting:
            waiting.pop()
        elif isinstance(part, dict | list | tuple):
            if len(waiting) > _DEEPEST:
                got, remedy = "more levels", "flatten it, or leave the column out"
                raise BadRow(column, f"at most {_DEEPEST} levels of lists and objects", got, remedy, "text_too_large")
            yield None
            waiting.append(chain.from_iterable(part.items()) if isinstance(part, dict) else iter(part))
        elif not isinstance(part, bytes):  # bytes are no text, and no column of text keeps them
            yield part
