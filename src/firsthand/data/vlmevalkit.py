"""VLMEvalKit's tables: tab-separated values with pictures in them, in flat memory.

    index, question, answer, image (base64, a list of it, or another row's index) or image_path, A .. Z, hint,
    category, l2-category, split                          (VLMEvalKit, docs/en/Development.md)

Quotes and line ends within a cell are as pandas writes them. A row that cannot be read is told, and reading goes on at
the next line; so one quote that is never closed costs one row.
"""

import base64
import codecs
import csv
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from firsthand.answers.letters import LETTERS
from firsthand.answers.literals import literal
from firsthand.data.rows import Cells, Row, readable_file
from firsthand.errors import BadRow, DataError, shown

LONGEST_ROW = 64 * 2**20
"""Bytes of a row (ours): csv holds a cell in four bytes per character, so this is a quarter of a gigabyte at worst."""
_MOST_LINES = 100_000
"""Line ends within a row (ours)."""
_REFERENCE = 64
"""An image cell up to this length is another row's index: VLMEvalKit's own rule."""

_PICTURES = ("image", "image_path")
_CLOSED_WITHIN = re.compile(rb'(?:[^"]++|"")*+"[^\t\r\n]')
"""A line on which a quoted cell goes on, and ends in front of more words."""


def rows(path: Path) -> Iterator[Row]:
    """The rows of a table in the plain columns, counted from 1 below the header. Raises DataError."""
    return _rows(path, _plain_cells)


def rows_as_they_are(path: Path) -> Iterator[Row]:
    """The rows under the table's own column names, but the pictures, which are under `image` or `images`."""
    return _rows(path, lambda cells: {**{c: v for c, v in cells.items() if c not in _PICTURES}, **_pictures(cells)})


def _rows(path: Path, to_cells: Callable[[Cells], Cells]) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))
    with readable_file(path) as file:
        for number, found in enumerate(_Table(path, file, to_cells).rows(), start=1):
            yield Row(f"{path.name} row {number}", path.parent, found, path.name, number)


class _Table:
    """An open table. It knows where rows are only after a row has referred to another's picture."""

    def __init__(self, path: Path, file: BinaryIO, to_cells: Callable[[Cells], Cells]) -> None:
        self._file = file
        self._to_cells = to_cells
        self._offsets: dict[str, int] | None = None
        first = _record(file) or None
        try:
            self._header = _cells_of(first and first.removeprefix(codecs.BOM_UTF8))
            got = shown(self._header) if len(set(self._header)) != len(self._header) else ""
        except BadRow as bad:
            got = bad.got
        if got:
            raise DataError(f"{path}: expected a header of different column names, got {got}; export it again")
        self._start = file.tell()

    def rows(self) -> Iterator[Cells | BadRow]:
        """Every row in order, references resolved."""
        for _, record in self._records():
            try:
                yield self._to_cells(self._with_picture(self._cells(record)))
            except BadRow as bad:
                yield bad

    def _records(self) -> Iterator[tuple[int, bytes | None]]:
        """(offset, record) of all that are not blank, wherever the file is moved to meanwhile."""
        at = self._file.seek(self._start)
        while (record := _record(self._file)) != b"":
            after = self._file.tell()
            if record is None or record.strip():
                yield at, record
            at = self._file.seek(after)

    def _cells(self, record: bytes | None) -> Cells:
        values = _cells_of(record)
        if len(values) != len(self._header):
            got = f"{len(values)} in {shown(chr(9).join(values))}"
            raise BadRow(None, f"{len(self._header)} cells, as the header has", got, "quote tabs and line ends")
        return {column: value for column, value in zip(self._header, values, strict=True) if value.strip()}

    def _with_picture(self, cells: Cells) -> Cells:
        image = cells.get("image")
        if image is None or len(image) > _REFERENCE or image.startswith("["):
            return cells
        if self._offsets is None:
            self._offsets = self._find_rows()
        if image not in self._offsets:
            raise BadRow("image", "base64, or the index of a row", shown(image), "correct it")
        self._file.seek(self._offsets[image])
        found = self._cells(_record(self._file)).get("image", "")
        if len(found) <= _REFERENCE:
            got = f"row {shown(image)}, which has none of its own"
            raise BadRow("image", "the index of a row with a picture", got, "name the row that has it")
        return {**cells, "image": found}

    def _find_rows(self) -> dict[str, int]:
        """Index -> offset, the first of equal ones."""
        offsets: dict[str, int] = {}
        for offset, record in self._records():
            with suppress(BadRow, KeyError):
                offsets.setdefault(self._cells(record)["index"], offset)
        return offsets


def _record(file: BinaryIO) -> bytes | None:
    """A line, or several that a quoted cell joins; empty at the end of the file.

    None where a quote is not closed within the bounds, or in the middle of a later line's words, for then it was never
    meant to open a cell: reading goes on after its line.
    """
    start = file.tell()
    lines: list[bytes] = []

    def asked_for() -> Iterator[str]:
        """The lines that csv needs to end the row; a last one that is empty shows that it needs more."""
        while file.tell() - start <= LONGEST_ROW and len(lines) <= _MOST_LINES:
            line = file.readline(LONGEST_ROW + 1)
            if not line or (lines and _CLOSED_WITHIN.match(line)):
                break
            lines.append(line)
            yield line.decode("latin-1").replace("\r", " ")  # quotes, tabs and line ends are those of UTF-8
        lines.append(b"")

    with suppress(csv.Error):  # a cell that is longer than a row may be
        next(csv.reader(asked_for(), delimiter="\t"), None)
    if (lines[-1] or len(lines) == 1) and file.tell() - start <= LONGEST_ROW:
        return b"".join(lines)
    line = lines[0]
    file.seek(start + len(line))
    while not line.endswith(b"\n") and (line := file.readline(LONGEST_ROW)):
        pass
    return None


def _cells_of(record: bytes | None) -> list[str]:
    if record is None:
        expected = f"a row of at most {LONGEST_ROW // 2**20} MiB and {_MOST_LINES:,} lines, its quotes closed"
        raise BadRow(None, expected, "none", "double the quotes within cells, as pandas does", "bad_row")
    try:
        return next(csv.reader([record.decode().rstrip("\r\n")], delimiter="\t"), [])
    except (csv.Error, UnicodeDecodeError) as broken:
        got = f"{shown(record[:60].decode(errors='replace'))} ({broken})"
        raise BadRow(None, "tab-separated values in UTF-8", got, "export it again") from broken


def _plain_cells(cells: Cells) -> Cells:
    """The row in the plain columns. Raises BadRow."""
    letters = [column for column in cells if len(column) == 1 and column in LETTERS]
    if sorted(letters) != list(LETTERS[: len(letters)]):
        raise BadRow("options", "options A, B, C ... without a gap", ", ".join(sorted(letters)), "fill them in")
    ours = {"index", "image", "image_path", "hint", "category", *letters}
    plain = {column: value for column, value in cells.items() if column not in ours}
    if "hint" in cells and "question" in cells:
        plain["question"] = f"{cells['hint']}\n{cells['question']}"
    if letters:
        plain["options"] = [cells[letter] for letter in sorted(letters)]
    named = {"index": "id", "category": "family"}
    return {**{ours: cells[theirs] for theirs, ours in named.items() if theirs in cells}, **plain, **_pictures(cells)}


def _pictures(cells: Cells) -> Cells:
    """Bytes, or paths, under the plain column."""
    column = "image" if "image" in cells else "image_path"
    if column not in cells:
        return {}
    value = cells[column]
    found: object = value
    if len(value) <= 10_000:
        found = literal(value)
    elif value.startswith("["):  # nothing but base64 is in its quotes, so nothing has to be parsed
        found = re.findall(r"[A-Za-z0-9+/=]{5,}", value)
    values = found if isinstance(found, list) else [value]
    pictures = [_decoded(v) if column == "image" else v for v in values]
    return {"image": pictures[0]} if len(pictures) == 1 else {"images": pictures}


def _decoded(value: object) -> bytes:
    if isinstance(value, str) and value.startswith("data:"):
        value = value.partition(",")[2]
    try:
        return base64.b64decode(str(value), validate=True)
    except ValueError as broken:
        got = f"{shown(value)} ({broken})"
        raise BadRow("image", "a picture as base64", got, "encode the file's bytes as base64") from broken
