"""The door through which a user's own data enters: files -> Example, every row checked, nothing dropped or cut.

    rows.py      a row, what is wrong with it, and the one error that tells
    images.py    pictures: bounded, decoded once, by reference or by value
    answers.py   gold answers and their kinds
    common.py    a row in the plain columns -> Example
    trl.py       a row in TRL's conversational vision format -> the plain columns
    jsonl.py, parquet.py, folder.py   where rows come from
    store.py     Example <-> our own Parquet

No pickle is ever read, nothing is fetched, and no torch is imported. docs/data.md has the formats with examples.
"""

import itertools
import logging
from collections.abc import Iterable
from pathlib import Path

from firsthand.errors import DataError
from firsthand.records import Example
from firsthand.sources import jsonl, parquet, store, trl
from firsthand.sources.answers import known_kind
from firsthand.sources.common import RowReader
from firsthand.sources.folder import data_files
from firsthand.sources.images import Limits, PictureDoor
from firsthand.sources.rows import BadRow, Row, collect
from firsthand.sources.store import read_examples, write_examples

__all__ = ["Limits", "load_examples", "read_examples", "write_examples"]

_LOG = logging.getLogger(__name__)


def load_examples(spec: str, *, kind: str | None = None, limits: Limits | None = None) -> list[Example]:
    """The examples of a .jsonl or .parquet file, or of a folder in TRL's vision format, in order.

    `spec` is a path, or `FOLDER:SPLIT` where a folder holds several splits. `kind` is for rows that name no kind of
    their own. Columns that are not ours go to `Example.meta`; one that JSON cannot hold is left out, with a warning in
    the log. Raises DataError naming file, row, column and remedy; then nothing was loaded.
    """
    if kind is not None:
        _check_kind(kind)
    files = _files(spec)
    door = PictureDoor(limits or Limits())
    reader = RowReader(door, kind)
    rows = itertools.chain.from_iterable(_rows(file) for file in files)
    examples = collect(rows, spec, lambda row: _example(row, reader, door))
    if not examples:
        raise DataError(f"{spec}: expected at least one row, got none; check that it is the right file")
    if reader.ignored:
        columns = ", ".join(f"{column} ({kind_of})" for column, kind_of in sorted(reader.ignored.items()))
        _LOG.warning("%s: columns that JSON cannot hold are not kept in meta: %s", spec, columns)
    return examples


def _example(row: Row, reader: RowReader, door: PictureDoor) -> Example:
    """One row, read in the format that its columns show."""
    if isinstance(row.cells, BadRow):
        raise row.cells
    if store.is_stored(row.cells):
        return store.stored_example(row, door)
    if not trl.is_conversational(row.cells):
        return reader.example(row.cells, row)
    cells, names = trl.plain_cells(row.cells)
    try:
        return reader.example(cells, row)
    except BadRow as bad:
        raise bad.renamed(names) from bad


def _files(spec: str) -> list[Path]:
    path = Path(spec).expanduser()
    if path.is_dir():
        return data_files(path, None)
    if path.is_file():
        return [path]
    head, _, split = spec.rpartition(":")
    folder = Path(head).expanduser()
    if head and folder.is_dir():
        return data_files(folder, split)
    raise DataError(
        f"{spec}: expected a data file, a folder or FOLDER:SPLIT, got a path that does not exist; correct it"
    )


def _rows(file: Path) -> Iterable[Row]:
    if file.suffix in (".parquet", ".arrow"):
        return parquet.rows(file)
    if file.suffix == ".jsonl":
        return jsonl.rows(file)
    got = f"`{file.suffix or file.name}`"
    raise DataError(f"{file}: expected a .jsonl or .parquet file, or a folder, got {got}; convert it to one of these")


def _check_kind(kind: str) -> None:
    try:
        known_kind(kind)
    except BadRow as bad:
        raise DataError(f"kind: expected {bad.expected}, got {bad.got}; {bad.remedy}") from bad
