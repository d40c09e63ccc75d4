"""Read Parquet files and Arrow streams, and validate all values. A task of zygote.py; data/parquet.py reads by it, too.

A request {"path", "start"} gets {"until", "is_all"}: how many batches are whole, after a second of them from number
`start` on, and whether the file has no more. Or {"damaged": why}. Offsets and lengths of a damaged file lead anywhere:
whoever asks reads the same batches after this process has, and not where it has died of them.
"""

import resource
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from firsthand.workers.limits import limit

ROWS = 32
"""Of a batch: they are held as Python objects; each may carry several pictures."""
_MEMORY = 8 * 2**30
"""Bytes of a worker (ours): four columns of 2 GiB, which is the most that Arrow's text has in a batch."""
MOST_VALUES = 2**24
"""Of a batch, with those in lists (ours): a file of a few bytes may mean billions of nothing."""
_PATIENCE_S = 1.0
_MOST_OPEN = 8
"""Files that are read by turns; one that is left in the middle stays open for so long."""
_DAMAGES = (pa.ArrowException, OSError, UnicodeDecodeError)

_open: OrderedDict[tuple[str, int], Iterator[pa.RecordBatch]] = OrderedDict()
"""(path, number of its next batch) -> what is left of it."""


def before_fork() -> None:
    """Nothing: what is slow is imported above."""


def prepare(_: str) -> None:
    """Bound the memory; threads take some each, however many cores there are."""
    pa.set_cpu_count(2)
    pa.set_io_thread_count(2)
    limit(resource.RLIMIT_AS, _MEMORY)


def answer(request: dict[str, Any]) -> dict[str, object]:
    """Go on with a file, or begin again where nobody has it open."""
    path, number = request["path"], request["start"]
    left = _open.pop((path, number), None)
    if left is None:
        left, number = batches_of(Path(path), check=_validate), 0
    end = time.monotonic() + _PATIENCE_S
    try:
        while number <= request["start"] or time.monotonic() < end:
            if (batch := next(left, None)) is None:
                return {"until": number, "is_all": True}
            if (values := number_of_values(batch)) > MOST_VALUES:
                return {"damaged": f"{values:,} values in {batch.num_rows} rows, and {MOST_VALUES:,} are the most"}
            number += 1
    except MemoryError:
        return {"damaged": f"rows that take more than {_MEMORY // 2**30} GiB"}
    except _DAMAGES as broken:
        return {"damaged": str(broken)[:500]}
    _open[path, number] = left
    if len(_open) > _MOST_OPEN:
        _open.popitem(last=False)
    return {"until": number, "is_all": False}


def batches_of(
    path: Path, check: Callable[[pa.RecordBatch], None] = lambda batch: None
) -> Generator[pa.RecordBatch, None, None]:
    """The batches of a .parquet or .arrow file, of at most `ROWS` rows. Raises what Arrow and `check` raise."""
    if path.suffix == ".parquet":
        # With a buffer, pages are read as they are needed; without one, whole columns of a row group, pictures and all.
        with pa.parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                check(batch)
                yield batch
        return
    # No memory map: what is read beyond the end of one that is cut ends the process.
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            check(batch)  # at once: of an object's slice, Arrow checks the whole
            yield from (batch.slice(start, ROWS) for start in range(0, batch.num_rows, ROWS))


def _validate(batch: pa.RecordBatch) -> None:
    """All but whether text is UTF-8: what is not costs a row, and not the file. Raises ArrowInvalid."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as broken:
        if "UTF8" not in str(broken):
            raise
        for column in batch.columns:
            column.cast(_in_bytes(column.type)).validate(full=True)


def _in_bytes(kind: pa.DataType) -> pa.DataType:
    """A type with bytes where it has text."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_bytes(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_bytes(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_in_bytes(kind.value_type)))
    return kind


def number_of_values(batch: pa.RecordBatch) -> int:
    """Of all columns, with those in lists and objects: what Python objects would be made of."""
    return sum(map(_values, batch.columns))


def _values(array: pa.Array) -> int:
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _values(array.storage)
    if pa.types.is_fixed_size_list(kind):
        return len(array) + len(array) * max(1, int(kind.list_size)) * (_values(array.values[:1]) or 1)
    if pa.types.is_union(kind):
        return len(array) + sum(_values(array.field(i)) for i in range(kind.num_fields))
    if pa.types.is_nested(kind) and hasattr(array, "flatten"):
        parts = array.flatten()
        return len(array) + sum(map(_values, parts if isinstance(parts, list) else [parts]))
    return len(array)
