"""A step's results on disk: shards of some hundred rows, each one Parquet file that appears whole or not at all.

A shard holds what became of the rows that one shard of the step before kept, so that a killed run goes on at the first
that is missing. A step that is done says so with the hash of each, so that one that is lost or damaged later is told,
and made again. The row itself is written once, by the first step; the others write what they know of it. Pictures are
by reference here: they are embedded once, when the data set is written.
"""

import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from firsthand.data.loaded import Refused
from firsthand.errors import DataError
from firsthand.files import object_in, replacing, sha256_of, write_atomically
from firsthand.forge.draft import DataPart, Draft, source_of
from firsthand.forge.step import Decision, Dropped, Kept
from firsthand.records import Example

_LOG = logging.getLogger(__name__)

SHARD_FORMAT = 2
"""Part of every step's identity: what was written in another format is made again."""

_OTHER_TYPES = {"is_explored_only": pa.bool_(), "mentions_left": pa.int64()}
_FOUND = {f.name: _OTHER_TYPES.get(f.name, pa.string()) for f in fields(Draft) if f.name not in ("example", "hashes")}
_READ = {"row": pa.string(), "hashes": pa.list_(pa.binary())}
"""What the first step alone writes: the row as JSON, and the hashes of its pictures."""
_SCHEMA = pa.schema(
    {
        "place": pa.int32(),  # of the row in the first step's shard of the same number
        "source": pa.string(),
        "reason": pa.string(),  # empty where the row goes on
        "detail": pa.string(),
        "is_refused": pa.bool_(),
        **_READ,
        **_FOUND,
    }
)


class StepShards:
    """The folder of one step."""

    def __init__(self, folder: Path, before: "StepShards | None" = None) -> None:
        """`before`: the step whose kept rows this one reads; None for the first."""
        self.folder, self.before = folder, before
        self._first: StepShards = before._first if before else self

    @property
    def is_done(self) -> bool:
        """Whether every shard is there."""
        return (self.folder / "DONE").exists()

    def finish(self) -> None:
        """Declare the step complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        hashes = [sha256_of(self._path(number)) for number in range(self.number)]
        write_atomically(self.folder / "DONE", json.dumps({"shards": hashes}) + "\n")

    def discard_damaged(self) -> None:
        """Where a shard of a complete step is lost or is not what was written: say so, so that it is made again.

        Its requests are not: their answers are in the log. An earlier version wrote no hashes, and is believed.
        """
        if not self.is_done:
            return
        hashes = object_in(self.folder / "DONE").get("shards", [])
        paths = [self._path(number) for number in range(len(hashes))]
        bad = [path for path, known in zip(paths, hashes, strict=True) if not path.exists() or sha256_of(path) != known]
        if not bad:
            return
        (self.folder / "DONE").unlink()
        for path in bad:
            got = "other bytes" if path.exists() else "no such file"
            _LOG.warning("%s: expected the shard that was written, got %s; it is made again", path, got)
            path.unlink(missing_ok=True)

    @property
    def rows(self) -> int:
        """How many rows go on."""
        return sum(number for (_, reason), number in self.counts().items() if not reason)

    @property
    def number(self) -> int:
        """How many shards are there."""
        return next(number for number in itertools.count() if not self._path(number).exists())

    def write(self, number: int, decisions: Sequence[Decision]) -> None:
        """Write one shard: what became of each row that the step before kept in its own, in order."""
        places: Sequence[int] = range(len(decisions))
        if self.before:
            places = self.before._table(number, ["place"], [("reason", "=", "")]).column("place").to_pylist()
        cells = [self._cells(place, decision) for place, decision in zip(places, decisions, strict=True)]
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._path(number)) as draft:
            pa.parquet.write_table(pa.Table.from_pylist(cells, schema=_SCHEMA), draft)

    def kept(self, first: int = 0, part: DataPart | None = None) -> Iterator[list[Draft]]:
        """What goes on, shard by shard, from shard `first` on; of a part of the data set, or all."""
        wanted = [("reason", "=", ""), *([("part", "=", part)] if part else [])]
        for number in range(first, self.number):
            yield [d.draft for d in self._read(number, wanted) if isinstance(d, Kept)]

    def dropped(self) -> Iterator[Dropped]:
        """What stays behind."""
        for number in range(self.number):
            yield from (d for d in self._read(number, [("reason", "!=", "")]) if isinstance(d, Dropped))

    def counts(self) -> Counter[tuple[str, str]]:
        """(source, reason) -> rows; the reason of what goes on is empty."""
        found: Counter[tuple[str, str]] = Counter()
        for number in range(self.number):
            columns = self._table(number, ["source", "reason"]).to_pydict()
            found.update(zip(columns["source"], columns["reason"], strict=True))
        return found

    def _cells(self, place: int, decision: Decision) -> dict[str, Any]:
        row = decision.draft
        cells: dict[str, Any] = {"place": place, "source": source_of(row), "reason": "", "detail": ""}
        if isinstance(decision, Dropped):
            cells |= {"reason": decision.reason, "detail": decision.detail}
        if isinstance(row, Refused):
            return {**cells, "is_refused": True, "row": row.model_dump_json()}
        if self._first is self:
            cells |= {"row": row.example.model_dump_json(), "hashes": row.hashes}
        return {**cells, "is_refused": False, **{name: getattr(row, name) for name in _FOUND}}

    def _read(self, number: int, wanted: list[tuple[str, str, str]]) -> list[Decision]:
        table = self._table(number, filters=wanted)
        read = self._first._table(number, list(_READ)).take(table.column("place"))
        return [_decision({**cells, **row}) for cells, row in zip(table.to_pylist(), read.to_pylist(), strict=True)]

    def _table(
        self, number: int, columns: list[str] | None = None, filters: list[tuple[str, str, str]] | None = None
    ) -> pa.Table:
        """Raises DataError when the file is damaged."""
        path = self._path(number)
        try:
            return pa.parquet.read_table(path, columns=columns, filters=filters)
        except (pa.ArrowException, OSError) as error:
            remedy = f"delete the folder {path.parent}"
            raise DataError(f"{path}: expected a readable shard, got: {error}; {remedy}") from error

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.parquet"


def _decision(cells: dict[str, Any]) -> Decision:
    if cells["is_refused"]:
        return Dropped(Refused.model_validate_json(cells["row"]), cells["reason"], cells["detail"])
    found = {name: cells[name] for name in _FOUND}
    draft = Draft(Example.model_validate_json(cells["row"]), tuple(cells["hashes"]), **found)
    return Dropped(draft, cells["reason"], cells["detail"]) if cells["reason"] else Kept(draft)
