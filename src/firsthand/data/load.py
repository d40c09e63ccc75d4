"""A user's file as examples, all of it or nothing; or its rows, the bad ones apart."""

from collections.abc import Mapping
from typing import Any

from firsthand.answers.ground_truth import known_kind
from firsthand.config import build
from firsthand.data import store
from firsthand.data.images import PictureLimits, PictureLoader
from firsthand.data.loaded import Loaded, OnBad, gather
from firsthand.data.plain_columns import RowReader
from firsthand.data.rows import Row
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
    on_bad: OnBad = "refuse",
) -> list[Example]:
    """The examples of a file or a folder in one of the formats of docs/data.md, in order.

    `spec` is a path, or `FOLDER:SPLIT` where a folder holds several splits. `kind` is for rows that name no kind of
    their own; `fields` and `preset` are as in a `Source`. Columns that are not ours go to `Example.meta`; one that JSON
    cannot hold is left out, with a warning in the log. Raises DataError naming every bad row with file, row, column and
    remedy, and RecipeError for names that nobody knows; then nothing was loaded. With `on_bad` `drop` bad rows are left
    out, unless no row is good.
    """
    loaded = load_rows(spec, kind=kind, fields=fields, preset=preset, limits=limits)
    return loaded.settled("drop" if on_bad == "drop" else None)


def load_rows(
    spec: str,
    *,
    kind: str | None = None,
    fields: Mapping[str, str] | None = None,
    preset: str | None = None,
    limits: PictureLimits | None = None,
) -> Loaded:
    """As `load_examples`, with the bad rows beside the good ones. Raises DataError where there is no row at all."""
    try:
        if kind is not None:
            known_kind(kind)
    except BadRow as bad:
        raise DataError(f"kind: expected {bad.expected}, got {bad.got}; {bad.remedy}") from bad
    source = as_source(spec, kind=kind, fields=fields, preset=preset)
    loader = PictureLoader(limits or PictureLimits())
    reader = RowReader(loader, source.kind)
    columns: dict[str, Mapping[str, str]] = {}
    shared: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}

    def to_example(row: Row) -> Example:
        example, names = _example(source, row, reader, loader)
        if names:  # most rows of a file have equal ones, and a file may have a million rows
            columns[example.id] = shared.setdefault(tuple(names.items()), names)
        return example

    loaded = gather(chosen_rows(source), spec, to_example, columns)
    if not loaded.examples and not loaded.found:
        raise DataError(f"{spec}: expected at least one row, got none; check that it is the right file")
    reader.warn_of_ignored(spec)
    return loaded


def as_source(spec: str, **given: Any) -> Source:
    """A file of a user's as a source. Raises RecipeError."""
    said = {key: value for key, value in given.items() if value}
    return build(Source, {"name": "data", **said, "path": spec}, "data")


def _example(source: Source, row: Row, reader: RowReader, loader: PictureLoader) -> tuple[Example, Mapping[str, str]]:
    """One row, read in the format that its columns show; and what its columns are called there, where they differ."""
    if isinstance(row.cells, BadRow):
        raise row.cells
    if store.is_stored(row.cells):
        return store.stored_example(row, loader), {}
    found = mapped_row(source, row.cells, row.folder)
    try:
        return reader.example(found.cells, row._replace(folder=found.folder)), found.names
    except BadRow as bad:
        raise bad.renamed(found.names) from bad
