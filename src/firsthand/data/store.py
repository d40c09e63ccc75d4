"""Examples <-> our own Parquet file, the hand-over between stages. Pictures are embedded, so one file is all there is.

`datasets.load_dataset("parquet", data_files=...)` opens it and shows the pictures: `images` is a list of
`{bytes, path}`, and the schema says so in the words of that library. `answer`, `traces` and `meta` are JSON.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from pydantic import TypeAdapter, ValidationError

from firsthand.data import parquet
from firsthand.data.images import PictureLimits, PictureLoader
from firsthand.data.loaded import collect
from firsthand.data.rows import Cells, Row
from firsthand.errors import BadRow, DataError, shown
from firsthand.files import replacing
from firsthand.records import Answer, Example, Picture, Trace

IMAGES_TYPE = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
"""A column of pictures, as `datasets` has them."""
_TEXT = ("id", "question", "answer", "family", "traces", "system", "scene", "meta")
_COLUMNS = frozenset({*_TEXT, "images"})
_GROUP_BYTES = 64 * 2**20
"""Pictures buffered before they are written; a Parquet column chunk must stay far below 2 GiB."""

_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)
_TRACES: TypeAdapter[tuple[Trace, ...]] = TypeAdapter(tuple[Trace, ...])


def _schema() -> pa.Schema:
    fields = [*((name, pa.string()) for name in _TEXT), ("images", IMAGES_TYPE)]
    features = {**{name: {"dtype": "string", "_type": "Value"} for name in _TEXT}, "images": [{"_type": "Image"}]}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def write_examples(examples: Iterable[Example], path: Path | str) -> None:
    """Write examples to one Parquet file, replacing it in one move; memory stays bounded by a row group.

    Raises DataError when a picture is no longer the one that was loaded, or when `meta` is not JSON.
    """
    path = Path(path)
    schema = _schema()
    with replacing(path) as draft, pa.parquet.ParquetWriter(draft, schema) as writer:
        for group in _groups(examples):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def read_examples(path: Path | str) -> list[Example]:
    """The examples that `write_examples` wrote, pictures by value and checked again. Raises DataError."""
    path = Path(path)
    if set(parquet.columns(path)) != _COLUMNS:
        remedy = "read other files with load_examples"
        raise DataError(f"{path}: expected a file of write_examples, got columns {parquet.columns(path)}; {remedy}")
    loader = PictureLoader(PictureLimits())
    return collect(parquet.rows(path), str(path), lambda row: stored_example(row, loader))


def is_stored(cells: Cells) -> bool:
    """Whether a row comes from `write_examples`."""
    return cells.keys() == _COLUMNS


def stored_example(row: Row, loader: PictureLoader) -> Example:
    """One row of `write_examples` as an Example. Raises BadRow when it was changed into something else."""
    if isinstance(row.cells, BadRow):
        raise row.cells
    cells = row.cells
    images = tuple(loader.load(v, row.folder, f"images[{i}]") for i, v in enumerate(cells["images"]))
    try:
        return Example(
            **{name: cells[name] for name in ("id", "question", "family", "system", "scene")},
            images=images,
            answer=_ANSWER.validate_json(cells["answer"]),
            traces=_TRACES.validate_json(cells["traces"]),
            meta=json.loads(cells["meta"]),
        )
    except (ValidationError, ValueError, TypeError, RecursionError) as broken:
        got = shown(str(broken).replace("\n", " "))
        raise BadRow(None, "an example as write_examples wrote it", got, "write the file again") from broken


def _groups(examples: Iterable[Example]) -> Iterator[list[Cells]]:
    group: list[Cells] = []
    held = 0
    for example in examples:
        group.append(_cells(example))
        held += sum(len(image["bytes"]) for image in group[-1]["images"])
        if held >= _GROUP_BYTES or len(group) >= 1000:
            yield group
            group, held = [], 0
    if group:
        yield group


def _cells(example: Example) -> Cells:
    try:
        meta = json.dumps(example.meta, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as broken:
        raise DataError(f"example {example.id}: expected meta that JSON can hold, got: {broken}; remove it") from broken
    return {
        **{name: getattr(example, name) for name in ("id", "question", "family", "system", "scene")},
        "images": [{"bytes": encoded_picture(picture, example.id), "path": None} for picture in example.images],
        "answer": example.answer.model_dump_json(),
        "traces": _TRACES.dump_json(example.traces).decode(),
        "meta": meta,
    }


def encoded_picture(picture: Picture, example_id: str) -> bytes:
    """The picture's bytes. Raises DataError when they are no longer those that were loaded."""
    encoded = picture.encoded()
    if hashlib.sha256(encoded).hexdigest() != picture.sha256:
        got = f"other bytes in {picture.path}"
        raise DataError(f"example {example_id}: expected the picture that was loaded, got {got}; load the data again")
    return encoded
