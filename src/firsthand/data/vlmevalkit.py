"""VLMEvalKit's tables: tab-separated values with pictures in them, in flat memory.

    index, question, answer, image (base64, a list of it, or another row's index) or image_path, A .. Z, hint,
    category, l2-category, split                          (VLMEvalKit, docs/en/Development.md)

Quotes and line ends within a cell are as pandas writes them. A row that cannot be read is told, and reading goes on at
the next line; so one quote that is never closed costs one row.
"""

import base64
import binascii
import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from firsthand.answers.letters import LETTERS
from firsthand.answers.literals import literal
from firsthand.data.rows import Cells, Row
from firsthand.errors import BadRow, DataError, shown

LONGEST_ROW = 64 * 2**20
"""Bytes of a row (ours): csv holds a cell in four bytes per character, so this is a quarter of a gigabyte at worst."""
_MOST_LINES = 100_000
"""Line ends within a row (ours)."""
_REFERENCE = 64
"""An image cell up to this length is another row's index: VLMEvalKit's own rule."""

_PICTURES = ("image", "image_path")

_OPENING = re.compile(rb'(?:^|\t)"')
_CLOSING = re.compile(rb'(?:[^"]++|"")*+"')


def rows(path: Path) -> Iterator[Row]:
    """The rows of a table in the plain columns, counted from 1 below the header. Raises DataError."""
    return _rows(path, _plain_cells)


def rows_as_they_are(path: Path) -> Iterator[Row]:
    """The rows under the table's own column names, but the pictures, which are under `image` or `images`."""
    return _rows(path, lambda cells: {**{c: v for c, v in cells.items() if c not in _PICTURES}, **_pictures(cells)})


def _rows(path: Path, to_cells: Callable[[Cells], Cells]) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))
    try:
        with path.open("rb") as file:
            table = _Table(path, file, to_cells)
            for number, found in enumerate(table.rows(), start=1):
                yield Row(f"{path.name} row {number}", path.parent, found, path.name, number)
    except OSError as broken:
        raise DataError(f"{path}: expected a readable file, got: {broken.strerror}; check its rights") from broken


class _Broken(Exception):
    """A quoted cell that ends in the middle of a line's words."""


class _Table:
    """An open table. It knows where rows are only after a row has referred to another's picture."""

    def __init__(self, path: Path, file: BinaryIO, to_cells: Callable[[Cells], Cells]) -> None:
        self._file = file
        self._to_cells = to_cells
        self._offsets: dict[str, int] | None = None
        first = next(_records(file), (0, None))[1]
        header = _cells_of(first.removeprefix(b"\xef\xbb\xbf")) if first is not None else BadRow(None, "", "none", "")
        if isinstance(header, BadRow) or len(set(header)) != len(header):
            got = header.got if isinstance(header, BadRow) else shown(header)
            raise DataError(f"{path}: expected a header of different column names, got {got}; export it again")
        self._header = header
        self._start = file.tell()

    def rows(self) -> Iterator[Cells | BadRow]:
        """Every row in order, references resolved."""
        at = self._start
        while True:
            self._file.seek(at)
            record = next(_records(self._file), None)
            if record is None:
                return
            at = self._file.tell()  # resolving a reference moves it
            if record[1] is None or record[1].strip():
                yield self._plain(record[1])

    def _plain(self, record: bytes | None) -> Cells | BadRow:
        cells = self._cells(record)
        if isinstance(cells, BadRow):
            return cells
        try:
            return self._to_cells(self._with_picture(cells))
        except BadRow as bad:
            return bad

    def _cells(self, record: bytes | None) -> Cells | BadRow:
        values = _cells_of(record)
        if isinstance(values, BadRow):
            return values
        if len(values) != len(self._header):
            got = f"{len(values)} in {shown(chr(9).join(values))}"
            return BadRow(None, f"{len(self._header)} cells, as the header has", got, "quote tabs and line ends")
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
        other = self._cells(next(_records(self._file), (0, None))[1])
        found = other.get("image", "") if isinstance(other, dict) else ""
        if len(found) <= _REFERENCE:
            got = f"row {shown(image)}, which has none of its own"
            raise BadRow("image", "the index of a row with a picture", got, "name the row that has it")
        return {**cells, "image": found}

    def _find_rows(self) -> dict[str, int]:
        """Index -> offset, the first of equal ones."""
        self._file.seek(self._start)
        offsets: dict[str, int] = {}
        for offset, record in _records(self._file):
            cells = self._cells(record)
            if isinstance(cells, dict) and "index" in cells:
                offsets.setdefault(cells["index"], offset)
        return offsets


def _records(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """(offset, a line, or several that a quoted cell joins); None where a quote is not closed within the bounds."""
    while True:
        start = file.tell()
        first = file.readline(LONGEST_ROW + 1)
        if not first:
            return
        record = _joined(first, file)
        if record is None:
            file.seek(start + len(first))
            while not first.endswith(b"\n") and (first := file.readline(LONGEST_ROW)):
                pass
        yield start, record


def _joined(first: bytes, file: BinaryIO) -> bytes | None:
    """A line with those that its quoted cells go on in; None where a quote is not closed within the bounds."""
    parts, size, is_open = [first], len(first), _ends_inside(first, inside=False)
    while is_open and size <= LONGEST_ROW and len(parts) <= _MOST_LINES and (line := file.readline(LONGEST_ROW + 1)):
        parts.append(line)
        size += len(line)
        try:
            is_open = _ends_inside(line, inside=True)
        except _Broken:
            return None
    return None if is_open or size > LONGEST_ROW else b"".join(parts)


def _ends_inside(line: bytes, *, inside: bool) -> bool:
    """Whether a quoted cell goes on after this line. Only a quote at the start of a cell opens one.

    Raises _Broken when a cell that began on an earlier line is closed in the middle: its quote was never meant to open.
    """
    at = 0
    while True:
        if inside:
            closing = _CLOSING.match(line, at)
            if closing is None:
                return True
            if at == 0 and line[closing.end() : closing.end() + 1] not in (b"\t", b"\r", b"\n", b""):
                raise _Broken
            at = closing.end()
        opening = _OPENING.search(line, at)
        if opening is None:
            return False
        at, inside = opening.end(), True


def _cells_of(record: bytes | None) -> list[str] | BadRow:
    if record is None:
        expected = f"a row of at most {LONGEST_ROW // 2**20} MiB and {_MOST_LINES:,} lines, its quotes closed"
        return BadRow(None, expected, "none", "double the quotes within cells, as pandas does", "bad_row")
    try:
        return next(csv.reader([record.decode().rstrip("\r\n")], delimiter="\t"), [])
    except (csv.Error, UnicodeDecodeError) as broken:
        got = f"{shown(record[:60].decode(errors='replace'))} ({broken})"
        return BadRow(None, "tab-separated values in UTF-8", got, "export it again")


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
    found = literal(value) if len(value) <= 10_000 else _long_list(value)
    values = found if isinstance(found, list) else [value]
    pictures = [_decoded(v) if column == "image" else v for v in values]
    return {"image": pictures[0]} if len(pictures) == 1 else {"images": pictures}


def _long_list(value: str) -> object:
    """A list of base64 as Python shows it. Nothing but base64 is in its quotes, so nothing has to be parsed."""
    if not value.startswith("["):
        return value
    return re.findall(r"[A-Za-z0-9+/=]{5,}", value)


def _decoded(value: object) -> bytes:
    if isinstance(value, str) and value.startswith("data:"):
        value = value.partition(",")[2]
    try:
        return base64.b64decode(str(value), validate=True)
    except (ValueError, binascii.Error) as broken:
        got = f"{shown(value)} ({broken})"
        raise BadRow("image", "a picture as base64", got, "encode the file's bytes as base64") from broken
