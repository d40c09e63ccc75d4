"""A user's file as examples, all of it or nothing."""

from firsthand.answers.ground_truth import known_kind
from firsthand.data import store
from firsthand.data.formats import data_rows, plain_row
from firsthand.data.images import PictureLimits, PictureLoader
from firsthand.data.plain_columns import RowReader
from firsthand.data.rows import Row, collect
from firsthand.errors import BadRow, DataError
from firsthand.records import Example


def load_examples(spec: str, *, kind: str | None = None, limits: PictureLimits | None = None) -> list[Example]:
    """The examples of a .jsonl or .parquet file, or of a folder in TRL's vision format, in order.

    `spec` is a path, or `FOLDER:SPLIT` where a folder holds several splits. `kind` is for rows that name no kind of
    their own. Columns that are not ours go to `Example.meta`; one that JSON cannot hold is left out, with a warning in
    the log. Raises DataError naming file, row, column and remedy; then nothing was loaded.
    """
    try:
        if kind is not None:
            known_kind(kind)
    except BadRow as bad:
        raise DataError(f"kind: expected {bad.expected}, got {bad.got}; {bad.remedy}") from bad
    rows = data_rows(spec)
    loader = PictureLoader(limits or PictureLimits())
    reader = RowReader(loader, kind)
    examples = collect(rows, spec, lambda row: _example(row, reader, loader, kind))
    if not examples:
        raise DataError(f"{spec}: expected at least one row, got none; check that it is the right file")
    reader.warn_of_ignored(spec)
    return examples


def _example(row: Row, reader: RowReader, loader: PictureLoader, kind: str | None) -> Example:
    """One row, read in the format that its columns show."""
    if isinstance(row.cells, BadRow):
        raise row.cells
    if store.is_stored(row.cells):
        return store.stored_example(row, loader)
    found = plain_row(row.cells, row.folder, kind=kind)
    try:
        return reader.example(found.cells, row._replace(folder=found.folder))
    except BadRow as bad:
        raise bad.renamed(found.names) from bad
