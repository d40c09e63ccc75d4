"""Rows on their way in: a row knows its place in the user's file, and a bad row is told in words, never dropped.

Readers (`jsonl`, `parquet`, ...) yield `Row`s; a function turns each into an Example or raises `BadRow`; `gather` keeps
the examples and the bad rows apart, `loaded.py` tells of the latter; `stream_rows` hands them on as values.
"""

import codecs
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from firsthand.errors import BadRow, DataError

Cells = dict[str, Any]
"""One row as it was read: column -> value."""

REASONS = {
    "bad_row": "it cannot be read as a row, or a column holds what it must not",
    "bad_question": "no question, or one that does not fit its pictures",
    "bad_answer": "no gold answer, or one that is not of its kind",
    "bad_trace": "a demonstration without one answer block at its end",
    "bad_encoding": "bytes that are not UTF-8",
    "bad_text": "control characters, or halves of characters",
    "text_too_large": "more text in a cell than a model could read",
    "bad_image": "no picture: damaged, or of another format than its name says",
    "image_missing": "no file where the path leads, or none that can be read",
    "image_outside_root": "a path or a link that leads out of the folder of pictures",
    "image_too_large": "more bytes or pixels than the limits allow",
    "image_too_small": "fewer pixels a side than a model can be shown",
    "image_moves": "several frames",
    "image_not_8_bit": "16 bits or more per channel",
    "no_pass_rate": "not among the scores that `pass_rate` names",
}
"""Why a row is refused, in words that stay the same: a row of the funnel's table each."""


class Row(NamedTuple):
    """One row of a user's data, or the reason why it could not even be read."""

    place: str
    """`photos.jsonl line 4`, `train.parquet row 12`; both count from 1."""
    folder: Path
    """What relative image paths start from."""
    cells: Cells | BadRow
    file: str = ""
    """The data file's name."""
    number: int = 0
    """The line, row or item of `place`."""


@contextmanager
def readable_file(path: Path) -> Iterator[BinaryIO]:
    """A user's text file to read. Raises DataError where that fails, now or later, and for UTF-16."""
    try:
        with path.open("rb") as file:
            if (name := _wide_encoding(file.read(4))) is not None:
                remedy = f"save it as UTF-8, e.g. iconv -f {name} -t UTF-8 {path.name}"
                raise DataError(f"{path}: expected a file in UTF-8, got {name}; {remedy}")
            file.seek(0)
            yield file
    except OSError as broken:
        raise DataError(f"{path}: expected a readable file, got: {broken.strerror}; check its rights") from broken


def _wide_encoding(start: bytes) -> str | None:
    """The encoding of a file that does not spend one byte on a letter; None for all others."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    zeros = [byte == 0 for byte in start]
    is_wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "UTF-16" if is_wide or zeros in ([True, False] * 2, [False, True] * 2) else None


def not_utf8(broken: UnicodeDecodeError) -> BadRow:
    """What is wrong with a row that is not UTF-8."""
    first, second = (*broken.object[broken.start : broken.start + 2], 0)[:2]
    likely = "GB18030" if second >= 0x80 else "LATIN1"  # a Chinese character, or a letter with an accent
    got = f"the byte 0x{first:02X}, as {likely} or another encoding has it"
    remedy = f"save the file as UTF-8, e.g. iconv -f {likely} -t UTF-8"
    return BadRow(None, "text in UTF-8", got, remedy, "bad_encoding")


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing. Data frames write NaN where a value is missing."""
    return value is None or (isinstance(value, float) and math.isnan(value))
