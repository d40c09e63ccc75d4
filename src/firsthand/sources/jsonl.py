"""JSON Lines: one object per line, UTF-8. Blank lines hold nothing and are passed over, but they count as lines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firsthand.errors import DataError
from firsthand.sources.rows import BadRow, Cells, Row, shown


def rows(path: Path) -> Iterator[Row]:
    """The lines of a file; a bad line becomes a Row with its BadRow. Raises DataError when the file cannot be read."""
    try:
        with path.open("rb") as lines:  # as bytes: only \n ends a line, and only its own line is not UTF-8
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield Row(f"{path.name} line {number}", path.parent, _cells(line, is_first=number == 1))
    except OSError as broken:
        raise DataError(f"{path}: expected a readable file, got: {broken.strerror}; check its rights") from broken


def _cells(line: bytes, *, is_first: bool) -> Cells | BadRow:
    try:
        value = json.loads(line.decode("utf-8-sig" if is_first else "utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as broken:
        return BadRow(
            None, "one JSON object per line", f"{shown(line[:60].decode(errors='replace'))} ({broken})", "repair it"
        )
    if isinstance(value, dict):
        return value
    return BadRow(None, "one JSON object per line", f"a {type(value).__name__}", 'write {"question": ..., ...}')


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON would let the last of two equal keys win without a word."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return dict(pairs)
