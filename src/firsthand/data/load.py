"""A user's file as examples, all of it or nothing."""

from collections.abc import Mapping
from typing import Any

from firsthand.answers.ground_truth import known_kind
from firsthand.config import build
from firsthand.data import store
from firsthand.data.images import PictureLimits, PictureLoader
from firsthand.data.plain_columns import RowReader
from firsthand.data.rows import Row, collect
from firsthand.data.source import Source
from firsthand.data.stream import chosen_rows, mapped_row
from firsthand.errors import BadRow, DataError
from firsthand.records import Example


def load_examples(
    spec: str,
    *,
    kind: str | None = None,
    fields: Mapping[str, str] | None = None,
    preset: str | None = None,
    limits: PictureLimits | None = None,
) -> list[Example]:
    """The examples of a file or a folder in one of the formats of docs/data.md, in order.

    `spec` is a path, or `FOLDER:SPLIT` where a folder holds several splits. `kind` is for rows that name no kind of
    their own; `fields` and `preset` are as in a `Source`. Columns that are not ours go to `Example.meta`; one that JSON
    cannot hold is left out, with a warning in the log. Raises DataError naming file, row, column and remedy, and
    RecipeError for names that nobody knows; then nothing was loaded.
    """
    try:
        if kind is not None:
            known_kind(kind)
    except BadRow as bad:
        raise DataError(f"kind: expected {bad.expected}, got {bad.got}; {bad.remedy}") from bad
    source = as_source(spec, kind=kind, fields=fields, preset=preset)
    loader = PictureLoader(limits or PictureLimits())
    reader = RowReader(loader, source.kind)
    examples = collect(chosen_rows(source), spec, lambda row: _example(source, row, reader, loader))
    if not examples:
        raise DataError(f"{spec}: expected at least one row, got none; check that it is the right file")
    reader.warn_of_ignored(spec)
    return examples


def as_source(spec: str, **given: Any) -> Source:
    """A file of a user's as a source. Raises RecipeError."""
    said = {key: value for key, value in given.items() if value}
    return build(Source, {"name": "data", **said, "path": spec}, "data")


def _example(source: Source, row: Row, reader: RowReader, loader: PictureLoader) -> Example:
    """One row, read in the format that its columns show."""
    if isinstance(row.cells, BadRow):
        raise row.cells
    if store.is_stored(row.cells):
        return store.stored_example(row, loader)
    found = mapped_row(source, row.cells, row.folder)
    try:
        return reader.example(found.cells, row._replace(folder=found.folder))
    except BadRow as bad:
        raise bad.renamed(found.names) from bad
