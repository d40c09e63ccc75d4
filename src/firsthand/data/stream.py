"""The rows of a source, one after the other, a bad one as a value with its reason: what the forge reads."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from firsthand.answers.ground_truth import typed_answer
from firsthand.answers.options import option_texts
from firsthand.data import store
from firsthand.data.fields import fill_template, lookup, map_columns
from firsthand.data.formats import PlainRow, data_rows, plain_row
from firsthand.data.images import OnDecoded, PictureLimits, PictureLoader
from firsthand.data.loaded import Refused, refused_row
from firsthand.data.normalise import normalised_answer
from firsthand.data.plain_columns import RowReader
from firsthand.data.rows import Cells, Row, is_missing
from firsthand.data.source import Source
from firsthand.data.text import LONGEST_CELL, check_cells
from firsthand.errors import BadRow, DataError, shown
from firsthand.records import Example

_LONGEST_STORED = 10 * LONGEST_CELL
"""Characters of a cell of our own Parquet: demonstrations of several styles stand in one."""
_OURS = frozenset({"source", "caption", "side"})
"""Keys of `Example.meta` that are filled here."""


def stream_rows(
    source: Source, limits: PictureLimits | None = None, on_decoded: OnDecoded | None = None
) -> Iterator[Example | Refused]:
    """The rows of a source in order, in flat memory: an Example, or why there is none.

    An example has `meta["source"]`, and, where the source has them, `meta["caption"]` and `meta["side"]` (texts). Its
    id is the hash of its content; an id of the data's own is in `meta["source"]["id"]`. Image paths must stay in the
    source's folder of pictures, links followed; `on_decoded` is shown each picture that is decoded. Raises DataError
    when the source as a whole cannot be read.
    """
    loader = PictureLoader(limits or PictureLimits.of(source.max_picture_pixels), is_rooted=True, on_decoded=on_decoded)
    reader = RowReader(loader, source.kind)
    row = None
    for row in islice(chosen_rows(source), source.limit):
        origin: Cells = {"name": source.name, "file": row.file, "row": row.number}
        origin |= {"license": source.license, "origin": source.origin}
        try:
            yield _example(source, row, reader, loader, origin)
        except BadRow as bad:
            yield refused_row(row, bad, origin)
    if row is None:
        remedy = "check the path, and `only` if it is given"
        raise DataError(f"{source.path}: expected at least one row, got none; {remedy}")
    reader.warn_of_ignored(source.path)


def _example(source: Source, row: Row, reader: RowReader, loader: PictureLoader, origin: Cells) -> Example:
    if isinstance(row.cells, BadRow):
        raise row.cells
    root = Path(source.images).expanduser() if source.images is not None else row.folder
    if store.is_stored(row.cells):
        stored = store.stored_example(row._replace(folder=root), loader)
        check_cells(stored.model_dump(exclude={"images"}), _LONGEST_STORED)
        return stored.model_copy(update={"meta": {**stored.meta, "source": origin}})
    found = mapped_row(source, row.cells, root)
    cells = _own_columns(found.cells, source)
    folder = found.folder if source.images is None else root
    own = {"id": str(cells["id"])} if cells.get("id") not in (None, "") else {}
    try:
        example = reader.example({**cells, "id": None}, row._replace(folder=folder))
    except BadRow as bad:
        raise bad.renamed(found.names) from bad
    extra = {**_told(source, row.cells), "source": {**origin, **own}}
    return example.model_copy(update={"meta": {**example.meta, **extra}})


def chosen_rows(source: Source) -> Iterator[Row]:
    """The rows that are of a source, as they are written. Raises DataError."""
    return (row for row in data_rows(source.path, source.format) if _is_of(source, row.cells))


def mapped_row(source: Source, cells: Cells, folder: Path) -> PlainRow:
    """A row of a source in the plain columns, its gold answer as the source wants it. Raises BadRow."""
    known, names = map_columns(cells, source.fields)
    try:
        found = plain_row(known, folder, source.format, source.kind, source.fields)
    except BadRow as bad:
        raise bad.renamed(names) from bad
    names = {ours: names.get(theirs, theirs) for ours, theirs in {**names, **found.names}.items()}
    plain = found.cells
    if source.normalise and "answer" in plain:
        kind = str(plain.get("kind") or source.kind or "") or None
        plain = {**plain, "answer": normalised_answer(plain["answer"], kind)}
    return PlainRow(plain if source.otherwise is None else _with_kind(plain, source), names, found.folder)


def _with_kind(cells: Cells, source: Source) -> Cells:
    """The row with the source's last kind, where none is named, and none can be told."""
    is_named = source.kind is not None or not is_missing(cells.get("kind"))
    if is_named or option_texts(cells.get("options", cells.get("choices"))):
        return cells
    try:
        typed_answer(cells.get("answer"))
    except BadRow:
        return {**cells, "kind": source.otherwise}
    return cells


def _own_columns(cells: Cells, source: Source) -> Cells:
    """The cells that the reader takes: what would collide with our keys of `meta` renamed."""
    cells = {f"original_{c}" if c in _OURS else c: value for c, value in cells.items()}
    if isinstance(source.caption, str):
        cells.pop("original_caption" if source.caption == "caption" else source.caption, None)
    return cells


def _told(source: Source, cells: Cells) -> Cells:
    """Caption and side information. Raises BadRow when the caption that the source promises is missing."""
    told: Cells = {}
    if isinstance(source.caption, str):
        caption = lookup(cells, source.caption)
        if not isinstance(caption, str) or not caption.strip():
            remedy = "fill it in, or let the pictures be captioned with `caption: true`"
            raise BadRow(source.caption, "a caption", shown(caption), remedy)
        told["caption"] = caption.strip()
    side = fill_template(source.side, cells) if source.side else None
    told |= {"side": side} if side else {}
    check_cells(told)
    return told


def _is_of(source: Source, cells: Cells | BadRow) -> bool:
    """Whether a row is of this source; one that cannot be read may be, and is refused rather than passed over."""
    if isinstance(cells, BadRow):
        return True
    return all(str(lookup(cells, column)).startswith(start) for column, start in source.only.items())
