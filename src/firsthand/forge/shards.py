"""A step's results on disk: parts of some hundred rows, each one Parquet file that appears whole or not at all.

A part is what one part of the step before became, so that a killed run goes on at the first part that is missing.
Pictures are by reference here: they are embedded once, when the data set is written.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from firsthand.data.stream import Refused
from firsthand.errors import DataError
from firsthand.files import write_atomically
from firsthand.forge.step import Decision, Dropped, Kept, source_of
from firsthand.records import Example

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("refused", pa.bool_()),
        ("row", pa.string()),
    ]
)


class Parts:
    """The folder of one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_done(self) -> bool:
        """Whether every part is there."""
        return (self.folder / "DONE").exists()

    def finish(self, rows: int) -> None:
        """Declare the step complete; `rows` go on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "DONE", f"{rows}\n")

    @property
    def rows(self) -> int:
        """How many rows go on, of a step that is complete."""
        return int((self.folder / "DONE").read_text())

    @property
    def number(self) -> int:
        """How many parts are there."""
        count = 0
        while self._path(count).exists():
            count += 1
        return count

    def write(self, number: int, decisions: Sequence[Decision]) -> None:
        """Write one part."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / ".partial"
        pa.parquet.write_table(pa.Table.from_pylist([_cells(d) for d in decisions], schema=_SCHEMA), partial)
        partial.replace(self._path(number))

    def read(self, number: int, kept: bool | None = None) -> list[Decision]:
        """The decisions of one part: all, what goes on, or what does not. Raises DataError when its file is damaged."""
        path = self._path(number)
        try:
            cells = pa.parquet.read_table(path, filters=None if kept is None else [("kept", "=", kept)]).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path}: expected a readable part, got: {error}; delete the folder {path.parent}"
            ) from error
        return [_decision(row) for row in cells]

    def decisions(self) -> Iterator[list[Decision]]:
        """The parts that are there, in order."""
        return map(self.read, range(self.number))

    def kept(self, first: int = 0) -> Iterator[list[Example]]:
        """What goes on, part by part, from part `first` on."""
        for number in range(first, self.number):
            yield [d.example for d in self.read(number, kept=True) if isinstance(d, Kept)]

    def dropped(self) -> Iterator[Dropped]:
        """What stays behind."""
        for number in range(self.number):
            yield from (d for d in self.read(number, kept=False) if isinstance(d, Dropped))

    def counts(self) -> Counter[tuple[str, str]]:
        """(source, reason) -> rows; the reason of what goes on is empty."""
        found: Counter[tuple[str, str]] = Counter()
        for number in range(self.number):
            columns = pa.parquet.read_table(self._path(number), columns=["source", "reason"]).to_pydict()
            found.update(zip(columns["source"], columns["reason"], strict=True))
        return found

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.parquet"


def flat(parts: Iterable[list[Example]]) -> Iterator[Example]:
    """The rows of parts, one after the other."""
    return (example for part in parts for example in part)


def _cells(decision: Decision) -> dict[str, object]:
    row = decision.example
    is_refused = isinstance(row, Refused)
    return {
        "id": row.place if isinstance(row, Refused) else row.id,
        "source": source_of(row),
        "kept": isinstance(decision, Kept),
        "reason": decision.reason if isinstance(decision, Dropped) else "",
        "detail": decision.detail if isinstance(decision, Dropped) else "",
        "refused": is_refused,
        "row": json.dumps(row.model_dump(mode="json"), ensure_ascii=False),
    }


def _decision(cells: dict[str, object]) -> Decision:
    row = (
        Refused.model_validate_json(str(cells["row"]))
        if cells["refused"]
        else Example.model_validate_json(str(cells["row"]))
    )
    if cells["kept"]:
        assert isinstance(row, Example)
        return Kept(row)
    return Dropped(row, str(cells["reason"]), str(cells["detail"]))
