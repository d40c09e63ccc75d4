"""JSON Lines: one object per line, UTF-8. Blank lines hold nothing and are passed over, but they count as lines.

Memory is bounded: a line that is longer than `LONGEST_LINE` is a bad row, and never held whole.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from firsthand.data.rows import Cells, Row, not_utf8, readable_file
from firsthand.errors import BadRow, shown

LONGEST_LINE = 128 * 2**20
"""Bytes of a line, ours: pictures of 90 MiB as base64, and text. Larger ones are read from files."""


def rows(path: Path) -> Iterator[Row]:
    """The lines of a file; a bad line becomes a Row with its BadRow. Raises DataError when the file cannot be read."""
    with readable_file(path) as file:  # as bytes: only \n ends a line, and only its own line is not UTF-8
        for number, line in enumerate(bounded_lines(file), start=1):
            if line is None or line.strip():
                cells = _cells(line, is_first=number == 1)
                yield Row(f"{path.name} line {number}", path.parent, cells, path.name, number)


def bounded_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file; None for one that is longer than `LONGEST_LINE`."""
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) <= LONGEST_LINE:
            yield line
            continue
        while not line.endswith(b"\n") and (line := file.readline(LONGEST_LINE)):
            pass
        yield None


def _cells(line: bytes | None, *, is_first: bool) -> Cells | BadRow:
    if line is None:
        expected, got = f"one JSON object of at most {LONGEST_LINE // 2**20} MiB per line", "a longer line"
        return BadRow(None, expected, got, "keep pictures in files, and give their paths", "text_too_large")
    try:
        value = json.loads(line.decode("utf-8-sig" if is_first else "utf-8"), object_pairs_hook=unique_keys)
    except UnicodeDecodeError as broken:
        return not_utf8(broken)
    except (ValueError, RecursionError) as broken:
        got = f"{shown(line[:60].decode(errors='replace'))} ({broken})"
        return BadRow(None, "one JSON object per line", got, "repair it")
    if isinstance(value, dict):
        return value
    return BadRow(None, "one JSON object per line", f"a {type(value).__name__}", 'write {"question": ..., ...}')


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON would let the last of two equal keys win without a word."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"key {shown(next(k for k, count in Counter(keys).items() if count > 1))} is there twice")
    return dict(pairs)
