"""Columnar files: Parquet, and the Arrow streams that `datasets.save_to_disk` writes.

Another process reads and validates each part of a file first (workers/columnar.py): what is damaged may end that one.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

import firsthand.workers
from firsthand.data.rows import Cells, Row
from firsthand.errors import BadRow, DataError, shown
from firsthand.workers import columnar
from firsthand.workers.pool import DeadlineExceeded, WorkerDied, shared_pool

VALIDATED_WITHIN_S = 120.0
"""Of a second's batches, or one that takes longer (ours): a batch of an Arrow stream may hold gigabytes."""
_TASK = str(Path(firsthand.workers.__file__).with_name("columnar.py"))


def columns(path: Path) -> list[str]:
    """The names of a Parquet file's columns. Raises DataError when it is not Parquet."""
    _validated(path, 0)
    try:
        return list(pa.parquet.read_schema(path).names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as broken:
        raise _unreadable(path, broken) from broken


def rows(path: Path) -> Iterator[Row]:
    """The rows of a .parquet or .arrow file, counted from 1. Raises DataError when the file is damaged."""
    number = 0
    for batch in batches(path):
        if len(set(batch.schema.names)) != len(batch.schema.names):
            raise DataError(f"{path}: expected columns with different names, got {batch.schema.names}; rename one")
        for cells in _cells(_exact_decimals(batch)):
            number += 1
            yield Row(f"{path.name} row {number}", path.parent, cells, path.name, number)


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a .parquet or .arrow file, each validated by another process first.

    Raises DataError when the file is damaged: at the first part of it that is.
    """
    number, until, is_all = 0, 0, False
    try:
        with closing(columnar.batches_of(path)) as found:
            while number < until or not is_all:
                if number == until:
                    until, is_all = _validated(path, number)
                    continue
                if (batch := next(found, None)) is None:
                    return
                number += 1
                yield batch
    except (pa.ArrowException, OSError, UnicodeDecodeError) as broken:
        raise _unreadable(path, broken) from broken


def _validated(path: Path, start: int) -> tuple[int, bool]:
    """How many batches are whole, with more than `start` among them, or all. Raises DataError."""
    try:
        answer = shared_pool(_TASK, VALIDATED_WITHIN_S).ask({"path": str(path.absolute()), "start": start})
    except DeadlineExceeded as error:
        raise _unreadable(path, f"one that is not read within {VALIDATED_WITHIN_S:g} s") from error
    except WorkerDied as error:
        raise _unreadable(path, f"one that ends the process that reads it ({error})") from error
    if "until" not in answer:
        raise _unreadable(path, answer.get("damaged") or answer.get("error"))
    return int(answer["until"]), bool(answer["is_all"])


def _cells(batch: pa.RecordBatch) -> Iterator[Cells | BadRow]:
    """The rows of a batch; one with a value that Python cannot hold, such as text that is no UTF-8, is a bad row."""
    for i in range(batch.num_rows):
        try:
            yield batch.slice(i, 1).to_pylist()[0]
        except (ValueError, OverflowError) as broken:
            got = f"a value that cannot be read ({shown(str(broken))})"
            yield BadRow(None, "text in UTF-8, and dates that exist", got, "export it again")


def _exact_decimals(batch: pa.RecordBatch) -> pa.RecordBatch:
    """float32 columns as the shortest decimals that mean them: a gold answer 0.1 must not become 0.10000000149."""
    short = [i for i, field in enumerate(batch.schema) if pa.types.is_float32(field.type)]
    for i in short:
        batch = batch.set_column(i, batch.schema.names[i], batch.column(i).cast(pa.string()).cast(pa.float64()))
    return batch


def _unreadable(path: Path, broken: object) -> DataError:
    kind = "Parquet" if path.suffix == ".parquet" else "Arrow stream"
    return DataError(f"{path}: expected a readable {kind} file, got: {broken}; fetch or export it again")
