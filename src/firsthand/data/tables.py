"""Tables: values separated by commas, semicolons or tabs, with or without pictures in them, in flat memory.

A table with the columns `index`, and `image` or `image_path`, is one of VLMEvalKit's:

    index, question, answer, image (base64, a list of it, or another row's index) or image_path, A .. Z, hint,
    category, l2-category, split                          (VLMEvalKit, docs/en/Development.md)

Others have the plain columns. Quotes and line ends within a cell are as pandas writes them. A row that cannot be read
is told, and reading goes on at the next line; so one quote that is never closed costs one row.
"""

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from firsthand.answers.literals import literal
from firsthand.data.images import decoded_base64
from firsthand.data.rows import Cells, Row, not_utf8, readable_file
from firsthand.errors import BadRow, DataError, shown

LONGEST_ROW = 64 * 2**20
"""Bytes of a row (ours): csv holds a cell in four bytes per character, so this is a quarter of a gigabyte at worst."""
_MOST_LINES = 100_000
"""Line ends within a row (ours)."""
_REFERENCE = 64
"""An image cell up to this length is another row's index: VLMEvalKit's own rule."""

_PICTURES = ("image", "images", "image_path")
_SEPARATORS = {".csv": ",;\t", ".tsv": "\t,;"}
"""What a table's cells may stand between: the first that its header has."""
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}


def rows(path: Path) -> Iterator[Row]:
    """The rows of a table, counted from 1 below the header; VLMEvalKit's in the plain columns. Raises DataError."""
    return _rows(path, _with_pictures, _plain_cells)


def rows_as_they_are(path: Path) -> Iterator[Row]:
    """The rows under the table's own column names, but the pictures, which are under `image` or `images`."""
    return _rows(path, _with_pictures)


def _rows(
    path: Path, to_cells: Callable[[Cells], Cells], to_known: Callable[[Cells], Cells] | None = None
) -> Iterator[Row]:
    """`to_known` is for the rows of VLMEvalKit's tables."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))
    with readable_file(path) as file:
        table = _Table(path, file)
        change = to_known if to_known and table.is_vlmevalkit else to_cells
        for number, found in enumerate(table.rows(change), start=1):
            yield Row(f"{path.name} row {number}", path.parent, found, path.name, number)


class _Table:
    """An open table. It knows where rows are only after a row has referred to another's picture."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._file = file
        self._offsets: dict[str, int] | None = None
        start = file.readline(LONGEST_ROW).removeprefix(codecs.BOM_UTF8)
        known = _SEPARATORS.get(path.suffix.lower(), "\t,;")
        self._separator = next((sign for sign in known if sign.encode() in start), known[0])
        self._closed_within = re.compile(rb'(?:[^"]++|"")*+"[^%b\r\n]' % self._separator.encode())
        file.seek(0)
        first = self._record() or None
        try:
            self._header = [*map(str.strip, self._cells_of(first and first.removeprefix(codecs.BOM_UTF8)))]
            got = shown(self._header) if len(set(self._header)) != len(self._header) else ""
        except BadRow as bad:
            if bad.reason == "bad_encoding":
                raise DataError(f"{path}: {bad}") from bad
            got = bad.got
        if got:
            raise DataError(f"{path}: expected a header of different column names, got {got}; export it again")
        self.is_vlmevalkit = "index" in self._header and any(column in self._header for column in _PICTURES)
        self._start = file.tell()

    def rows(self, change: Callable[[Cells], Cells]) -> Iterator[Cells | BadRow]:
        """Every row in order, references resolved, as `change` makes it."""
        for _, record in self._records():
            try:
                yield change(self._with_picture(self._cells(record)))
            except BadRow as bad:
                yield bad

    def _records(self) -> Iterator[tuple[int, bytes | None]]:
        """(offset, record) of all that are not blank, wherever the file is moved to meanwhile."""
        at = self._file.seek(self._start)
        while (record := self._record()) != b"":
            after = self._file.tell()
            if record is None or record.strip():
                yield at, record
            at = self._file.seek(after)

    def _cells(self, record: bytes | None) -> Cells:
        values = self._cells_of(record)
        if len(values) != len(self._header):
            got = f"{len(values)} in {shown(self._separator.join(values))}"
            remedy = f"quote {_NAMES[self._separator]} and line ends"
            raise BadRow(None, f"{len(self._header)} cells, as the header has", got, remedy)
        if self._separator != "\t":
            values = [value.strip() for value in values]
        return {column: value for column, value in zip(self._header, values, strict=True) if column and value.strip()}

    def _with_picture(self, cells: Cells) -> Cells:
        image = cells.get("image")
        if not self.is_vlmevalkit or image is None or len(image) > _REFERENCE or image.startswith("["):
            return cells
        if self._offsets is None:
            self._offsets = self._find_rows()
        if image not in self._offsets:
            if "." in image:
                return cells  # a path
            raise BadRow("image", "base64, a path, or the index of a row", shown(image), "correct it")
        self._file.seek(self._offsets[image])
        found = self._cells(self._record()).get("image", "")
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

    def _record(self) -> bytes | None:
        """A line, or several that a quoted cell joins; empty at the end of the file.

        None where a quote is not closed within the bounds, or in the middle of a later line's words, for then it was
        never meant to open a cell: reading goes on after its line.
        """
        file = self._file
        start = file.tell()
        lines: list[bytes] = []

        def asked_for() -> Iterator[str]:
            """The lines that csv needs to end the row; a last one that is empty shows that it needs more."""
            while file.tell() - start <= LONGEST_ROW and len(lines) <= _MOST_LINES:
                line = file.readline(LONGEST_ROW + 1)
                if not line or (lines and self._closed_within.match(line)):
                    break
                lines.append(line)
                yield line.decode("latin-1").replace("\r", " ")  # quotes, tabs and line ends are those of UTF-8
            lines.append(b"")

        with suppress(csv.Error):  # a cell that is longer than a row may be
            next(self._reader(asked_for()), None)
        if (lines[-1] or len(lines) == 1) and file.tell() - start <= LONGEST_ROW:
            return b"".join(lines)
        line = lines[0]
        file.seek(start + len(line))
        while not line.endswith(b"\n") and (line := file.readline(LONGEST_ROW)):
            pass
        return None

    def _reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._separator, skipinitialspace=self._separator != "\t")

    def _cells_of(self, record: bytes | None) -> list[str]:
        if record is None:
            expected = f"a row of at most {LONGEST_ROW // 2**20} MiB and {_MOST_LINES:,} lines, its quotes closed"
            raise BadRow(None, expected, "none", "double the quotes within cells, as pandas does", "bad_row")
        try:
            return next(self._reader([record.decode().rstrip("\r\n")]), [])
        except UnicodeDecodeError as broken:
            raise not_utf8(broken) from broken
        except csv.Error as broken:
            got = f"{shown(record[:60].decode(errors='replace'))} ({broken})"
            raise BadRow(None, f"cells with {_NAMES[self._separator]} between them", got, "export it again") from broken


def _plain_cells(cells: Cells) -> Cells:
    """A row of VLMEvalKit's in the plain columns; options stay in columns of their own."""
    plain = {column: value for column, value in cells.items() if column not in ("index", "category", "hint")}
    if "hint" in cells and "question" in cells:
        plain["question"] = f"{cells['hint']}\n{cells['question']}"
    named = {"index": "id", "category": "family"}
    return {**{ours: cells[theirs] for theirs, ours in named.items() if theirs in cells}, **_with_pictures(plain)}


def _with_pictures(cells: Cells) -> Cells:
    """The row with its pictures, base64 or paths, under a column that is ours."""
    column = next((column for column in _PICTURES if column in cells), None)
    if column is None:
        return cells
    value = cells[column]
    found: object = value
    if len(value) <= 10_000:
        found = literal(value)
    elif value.startswith("["):  # nothing but base64 is in its quotes, so nothing has to be parsed
        found = re.findall(r"[A-Za-z0-9+/=]{5,}", value)
    pictures = [_decoded(picture) for picture in (found if isinstance(found, list) else [value])]
    rest = {column: value for column, value in cells.items() if column not in _PICTURES}
    return {**rest, **({"image": pictures[0]} if len(pictures) == 1 else {"images": pictures})}


def _decoded(picture: object) -> object:
    """Base64 as bytes; what is short, or has a dot as base64 has none, is a path."""
    if not isinstance(picture, str) or len(picture) <= _REFERENCE or "." in picture or picture.startswith("data:"):
        return picture
    try:
        return decoded_base64(picture)
    except BadRow as bad:
        raise BadRow("image", bad.expected, f"{shown(picture)}{bad.got}", bad.remedy) from bad
