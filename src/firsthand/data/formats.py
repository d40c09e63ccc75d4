"""Which reader takes a file, and which format a row has: the one place that knows them all.

A file is told by its ending, a row by its columns, so a folder may hold several formats of rows.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from firsthand.data import json_items, jsonl, parquet, tables, vlaa
from firsthand.data.columns import in_our_columns
from firsthand.data.folder import data_files
from firsthand.data.messages import exchange, message_column, with_pictures_apart
from firsthand.data.rows import Cells, Row
from firsthand.data.text import check_cells
from firsthand.errors import DataError

Format = Literal["auto", "jsonl", "parquet", "folder", "csv", "vlmevalkit", "vlaa"]

_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": jsonl.rows,
    ".json": json_items.rows,
    ".parquet": parquet.rows,
    ".arrow": parquet.rows,
    ".csv": tables.rows,
    ".tsv": tables.rows,
}
_BY_FORMAT: dict[str, Callable[[Path], Iterator[Row]]] = {
    "jsonl": jsonl.rows,
    "csv": tables.rows,
    "vlmevalkit": tables.rows,
    "vlaa": json_items.rows,
}
"""How a file with another ending is read."""


class PlainRow(NamedTuple):
    """A row in the plain columns."""

    cells: Cells
    names: dict[str, str]
    """Our columns -> the user's, for errors."""
    folder: Path
    """What its image paths start from."""


def data_rows(spec: str, form: Format = "auto") -> Iterator[Row]:
    """The rows of a file, a folder or FOLDER:SPLIT, as they are written. Raises DataError."""
    return chain.from_iterable(_rows(file, form) for file in _files(spec))


def plain_row(
    cells: Cells, folder: Path, form: Format = "auto", kind: str | None = None, mapped: Collection[str] = ()
) -> PlainRow:
    """A row of any format in the plain columns. Raises BadRow.

    `kind` is for rows that name none; `mapped` are our columns which the user has filled.
    """
    asked = message_column(cells)
    names: dict[str, str] = {}
    if asked is not None:
        cells, names = with_pictures_apart(cells, asked)
    check_cells(cells)  # before any pattern is searched in them
    if form == "vlaa" or vlaa.is_vlaa(cells):
        images = folder / "images"  # beside the data file, where it is there
        return PlainRow(*vlaa.plain_cells(cells, kind), images if images.is_dir() else folder)
    reply = None
    if asked is not None:
        cells, ours, reply = exchange(cells, asked)
        names |= ours
    return PlainRow(*in_our_columns(cells, names, reply, mapped, kind), folder)


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


def _rows(file: Path, form: Format) -> Iterable[Row]:
    reader = _READERS.get(file.suffix.lower()) or _BY_FORMAT.get(form)
    if reader is not None:
        return reader(file)
    got, known = f"`{file.suffix or file.name}`", ", ".join(_READERS)
    raise DataError(f"{file}: expected a file that ends in {known}, or a folder, got {got}; convert it to one of these")
