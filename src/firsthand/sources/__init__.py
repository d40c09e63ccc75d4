"""The door through which a user's own data enters: files -> Example, every row checked, nothing dropped or cut.

Two doors: `load_examples` refuses a file that has one bad row; `stream_rows` gives every row of a `Source`, a bad one
as a value, in flat memory.

    source.py, presets.py   what a source is; the published ones
    stream.py    a source -> examples and refused rows
    rows.py      a row, what is wrong with it, and the one error that tells
    images.py    pictures: bounded, decoded once, by reference or by value
    text.py      text: bounded, without control characters
    answers.py   gold answers and their kinds; tidy.py: what stands around them in published data
    fields.py    a map from our columns to others, and values inside values
    common.py    a row in the plain columns -> Example
    trl.py, chats.py, vlaa.py   a row in TRL's, LLaVA's or VLAA-Thinking's format -> the plain columns
    formats.py   which of these a file and a row have
    jsonl.py, json_items.py, parquet.py, vlmevalkit.py, folder.py   where rows come from
    store.py     Example <-> our own Parquet

No pickle is ever read, nothing is fetched, and no torch is imported. docs/data.md has the formats with examples.
"""

import logging

from firsthand.errors import DataError
from firsthand.records import Example
from firsthand.sources import store
from firsthand.sources.answers import known_kind
from firsthand.sources.common import RowReader
from firsthand.sources.formats import data_rows, plain
from firsthand.sources.images import Limits, PictureDoor
from firsthand.sources.rows import REASONS, BadRow, Row, collect
from firsthand.sources.source import Source
from firsthand.sources.store import read_examples, write_examples
from firsthand.sources.stream import Refused, stream_rows
from firsthand.sources.vlaa import write_vlaa

__all__ = [
    "REASONS",
    "Limits",
    "Refused",
    "Source",
    "load_examples",
    "read_examples",
    "stream_rows",
    "write_examples",
    "write_vlaa",
]

_LOG = logging.getLogger(__name__)


def load_examples(spec: str, *, kind: str | None = None, limits: Limits | None = None) -> list[Example]:
    """The examples of a .jsonl or .parquet file, or of a folder in TRL's vision format, in order.

    `spec` is a path, or `FOLDER:SPLIT` where a folder holds several splits. `kind` is for rows that name no kind of
    their own. Columns that are not ours go to `Example.meta`; one that JSON cannot hold is left out, with a warning in
    the log. Raises DataError naming file, row, column and remedy; then nothing was loaded.
    """
    if kind is not None:
        _check_kind(kind)
    rows = data_rows(spec)
    door = PictureDoor(limits or Limits())
    reader = RowReader(door, kind)
    examples = collect(rows, spec, lambda row: _example(row, reader, door, kind))
    if not examples:
        raise DataError(f"{spec}: expected at least one row, got none; check that it is the right file")
    if reader.ignored:
        columns = ", ".join(f"{column} ({kind_of})" for column, kind_of in sorted(reader.ignored.items()))
        _LOG.warning("%s: columns that JSON cannot hold are not kept in meta: %s", spec, columns)
    return examples


def _example(row: Row, reader: RowReader, door: PictureDoor, kind: str | None) -> Example:
    """One row, read in the format that its columns show."""
    if isinstance(row.cells, BadRow):
        raise row.cells
    if store.is_stored(row.cells):
        return store.stored_example(row, door)
    found = plain(row.cells, row.folder, kind=kind)
    try:
        return reader.example(found.cells, row._replace(folder=found.folder))
    except BadRow as bad:
        raise bad.renamed(found.names) from bad


def _check_kind(kind: str) -> None:
    try:
        known_kind(kind)
    except BadRow as bad:
        raise DataError(f"kind: expected {bad.expected}, got {bad.got}; {bad.remedy}") from bad
