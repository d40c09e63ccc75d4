"""Columnar files: Parquet, and the Arrow streams that `datasets.save_to_disk` writes."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from firsthand.data.rows import Cells, Row
from firsthand.errors import BadRow, DataError, shown

_BATCH = 32
"""Rows held as Python objects at a time; each may carry several pictures."""


def columns(path: Path) -> list[str]:
    """The names of a Parquet file's columns. Raises DataError when it is not Parquet."""
    try:
        return list(pa.parquet.read_schema(path).names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as broken:
        raise _unreadable(path, broken) from broken


def rows(path: Path) -> Iterator[Row]:
    """The rows of a .parquet or .arrow file, counted from 1. Raises DataError when the file is damaged."""
    number = 0
    try:
        for batch in _batches(path):
            if len(set(batch.schema.names)) != len(batch.schema.names):
                raise DataError(f"{path}: expected columns with different names, got {batch.schema.names}; rename one")
            for cells in _cells(_exact_decimals(batch)):
                number += 1
                yield Row(f"{path.name} row {number}", path.parent, cells, path.name, number)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as broken:
        raise _unreadable(path, broken) from broken


def _cells(batch: pa.RecordBatch) -> Iterator[Cells | BadRow]:
    """The rows of a batch; one with a value that Python cannot hold, such as text that is no UTF-8, is a bad row."""
    for i in range(batch.num_rows):
        try:
            yield batch.slice(i, 1).to_pylist()[0]
        except (ValueError, OverflowError) as broken:
            got = f"a value that cannot be read ({shown(str(broken))})"
            yield BadRow(None, "text in UTF-8, and dates that exist", got, "export it again")


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".parquet":
        # With a buffer, pages are read as they are needed; without one, whole columns of a row group, pictures and all.
        with pa.parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            yield from file.iter_batches(batch_size=_BATCH)
        return
    # No memory map: what is read beyond the end of one that is cut ends the process.
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            batch.validate(full=True)  # offsets of a damaged file lead anywhere, and Arrow follows them
            yield from (batch.slice(start, _BATCH) for start in range(0, batch.num_rows, _BATCH))


def _exact_decimals(batch: pa.RecordBatch) -> pa.RecordBatch:
    """float32 columns as the shortest decimals that mean them: a gold answer 0.1 must not become 0.10000000149."""
    short = [i for i, field in enumerate(batch.schema) if pa.types.is_float32(field.type)]
    for i in short:
        batch = batch.set_column(i, batch.schema.names[i], batch.column(i).cast(pa.string()).cast(pa.float64()))
    return batch


def _unreadable(path: Path, broken: Exception) -> DataError:
    kind = "Parquet" if path.suffix == ".parquet" else "Arrow stream"
    return DataError(f"{path}: expected a readable {kind} file, got: {broken}; fetch or export it again")
