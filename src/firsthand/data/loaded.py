"""What a file's rows came to: examples, each with its place, and refused rows, each with its reason.

    gather -> Loaded -> without(complaints of later checks) -> settled: one error that names all bad rows, or the rest

Later checks are those of verifiers and models, which this room does not know. They see examples, and no file; the place
of each, and what its columns are called there, is kept here.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from firsthand.data.rows import Cells, Row
from firsthand.errors import BadRow, DataError, shown
from firsthand.files import write_atomically
from firsthand.records import Example, Record, json_lines

OnBad = Literal["refuse", "drop"]
"""What becomes of a file that has bad rows: it is refused, or they are dropped, counted and listed."""

_SHOWN = 20
"""Bad rows that one error spells out; it always gives the total, and where all are listed."""
_DETAIL = 1000
"""Characters of a refused_row's detail: a column's name can be as long as its maker likes."""
_LOG = logging.getLogger(__name__)


class Refused(Record):
    """A row that cannot be used. Its place in the user's file, why, and a glance at what it holds."""

    place: str
    """`photos.jsonl line 4`"""
    reason: str
    """A row of a table: one of `rows.REASONS`."""
    detail: str
    """What was expected, what was got, what to do."""
    cells: dict[str, str]
    """Column -> the start of its value, at most about 80 characters; empty when the row could not be read."""
    source: dict[str, Any]
    """Where it is from: file and row. In a forge as `Example.meta["source"]`: name, license and origin, too."""


class Chosen(Record):
    """Which examples a pass rate has left, and of what: a run's pass_rate.json."""

    scores: str
    """Where the pass rates are from."""
    least: float
    most: float
    kept: int
    of: int
    """All that were evaluated."""
    unmeasured: int
    """Those of which no sample could be scored; they are left out."""
    rates: dict[str, int]
    """Share of right samples -> examples; 0 and 1 apart, the rest in tenths, each with its lower end."""

    @property
    def histogram(self) -> str:
        """The pass rates on a line."""
        told = ", ".join(f"{rate}: {number:,}" for rate, number in self.rates.items())
        return f"pass rates are {told}" + (f"; unmeasured: {self.unmeasured:,}" if self.unmeasured else "")


class Origin(NamedTuple):
    """Where an example is from."""

    order: int
    """Its number among all rows, so that bad ones are told in the order of the file whoever finds them."""
    place: str
    source: Cells
    columns: Mapping[str, str]
    """Our columns -> the user's, where they differ."""


@dataclass(frozen=True)
class Loaded:
    """The rows of a user's data: those that can be used so far, and those that cannot."""

    spec: str
    """The file or folder, as the user wrote it."""
    examples: Sequence[Example]
    origins: Sequence[Origin]
    """Of each example."""
    found: Mapping[int, Refused] = field(default_factory=dict)
    """Order -> a row that cannot be used."""
    chosen: Chosen | None = None
    """What a pass rate has left; None where none was asked for."""

    @property
    def refused(self) -> list[Refused]:
        """The rows that cannot be used, in the order of the file."""
        return [self.found[order] for order in sorted(self.found)]

    def first(self, number: int | None) -> "Loaded":
        """With so many examples at most."""
        return replace(self, examples=self.examples[:number], origins=self.origins[:number])

    def without(self, complaints: Sequence[BadRow | None]) -> "Loaded":
        """Without the examples that somebody complains of: one entry for each, None where nothing is wrong."""
        found, kept = dict(self.found), list[int]()
        for i, (example, origin, bad) in enumerate(zip(self.examples, self.origins, complaints, strict=True)):
            if bad is None:
                kept.append(i)
                continue
            cells = {"question": example.question, "answer": example.answer.text}
            row = Row(origin.place, Path(), cells)
            found[origin.order] = refused_row(row, bad.renamed(origin.columns), origin.source)
        return replace(
            self, examples=[self.examples[i] for i in kept], origins=[self.origins[i] for i in kept], found=found
        )

    def settled(self, on_bad: OnBad | None = None, folder: Path | None = None) -> list[Example]:
        """The examples to go on with.

        Raises DataError that names the bad rows, unless `on_bad` is `drop` and some are left; where they are too many
        for a message, all are listed in a file in `folder`. None refuses them, and offers nothing else.
        """
        if self.found and (on_bad != "drop" or not self.examples):
            raise DataError(self._told(on_bad, folder))
        if self.found:
            _LOG.warning("%s: %s, and are left out", self.spec, self.summary)
        return list(self.examples)

    @property
    def summary(self) -> str:
        """How many rows cannot be used, and why, on one line."""
        total = len(self.found) + len(self.examples)
        return f"{len(self.found):,} of {total:,} rows cannot be used ({count_reasons(self.refused)})"

    def list_refused(self, path: Path) -> None:
        """Write the bad rows to a JSONL file, and say so in the log; without one, no such file is left there."""
        if not self.found:
            path.unlink(missing_ok=True)
            return
        self._write(path)
        _LOG.warning("rows that are left out are listed in %s", path)

    def note_chosen(self, path: Path) -> None:
        """Write which examples a pass rate has left to a JSON file, and say so in the log; where none was asked for,
        nothing."""
        if (chosen := self.chosen) is None:
            return
        write_atomically(path, chosen.model_dump_json(indent=2) + "\n")
        _LOG.warning(
            "%s: trained on %s of %s examples, with a pass rate of %g to %g; %s",
            *(self.spec, f"{chosen.kept:,}", f"{chosen.of:,}", chosen.least, chosen.most, chosen.histogram),
        )

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json_lines(self.refused))

    def _told(self, on_bad: OnBad | None, folder: Path | None) -> str:
        rows = self.refused
        count = f"{len(rows):,} of {len(rows) + len(self.examples):,} rows"
        lines = [f"{self.spec}: {count} cannot be used, so nothing was loaded."]
        if len(rows) > _SHOWN:
            lines[0] += f" They are {count_reasons(rows)}."
        wrong = [row for row in rows if row.reason == "bad_encoding"][1:]  # of the file, whichever rows show it
        places: dict[str, list[str]] = {}
        for row in rows:
            if row not in wrong:
                places.setdefault(row.detail, []).append(row.place)
        if len(places) > _SHOWN:
            lines[0] += f" The first {_SHOWN}:"
        for detail, (first, *others) in list(places.items())[:_SHOWN]:
            more = f" and {len(others):,} more" if others else ""
            lines.append(f"  {first}{more}, {detail}")
        if len(rows) > _SHOWN and folder is not None:
            path = folder / f"{Path(self.spec).name.replace(':', '-')}.refused.jsonl"
            self._write(path)
            lines.append(f"All of them: {path}")
        if on_bad == "refuse" and self.examples:
            lines.append("Correct them, or have them dropped and counted with `on_bad: drop` (--on-bad drop).")
        return "\n".join(lines)


def gather(
    rows: Iterable[Row], spec: str, to_example: Callable[[Row], Example], columns: Mapping[str, Mapping[str, str]] = {}
) -> Loaded:
    """The rows as examples, in order, and those of which `to_example` raises BadRow, or that share another's id.

    `columns` says what our columns are called in the row of an example, by its id.
    """
    examples, origins, found = list[Example](), list[Origin](), dict[int, Refused]()
    places: dict[str, str] = {}
    for order, row in enumerate(rows):
        source: Cells = {"file": row.file, "row": row.number}
        try:
            example = to_example(row)
            _refuse_copy(row, example, places)
        except BadRow as bad:
            found[order] = refused_row(row, bad, source)
            continue
        places[example.id] = row.place
        examples.append(example)
        origins.append(Origin(order, row.place, source, columns.get(example.id, {})))
    return Loaded(spec, examples, origins, found)


def of_examples(spec: str, examples: Sequence[Example]) -> Loaded:
    """Examples that come from no file: each is called by its id."""
    origins = [
        Origin(i, f"example {example.id}", {"file": spec, "row": i + 1}, {}) for i, example in enumerate(examples)
    ]
    return Loaded(spec, examples, origins)


def collect(rows: Iterable[Row], spec: str, to_example: Callable[[Row], Example]) -> list[Example]:
    """All rows as examples, in order. Raises one DataError that names the bad rows, or two that share an id."""
    return gather(rows, spec, to_example).settled()


def refused_row(row: Row, bad: BadRow, source: Cells) -> Refused:
    """A bad row, as it is kept."""
    return Refused(
        place=row.place, reason=bad.reason, detail=str(bad)[:_DETAIL], cells=_glance(row.cells), source=source
    )


def _refuse_copy(row: Row, example: Example, places: Mapping[str, str]) -> None:
    earlier = places.get(example.id)
    if earlier is None:
        return
    if isinstance(row.cells, dict) and row.cells.get("id") is not None:
        got = f"{shown(example.id)}, which {earlier} has as well"
        raise BadRow("id", "an id that no other row has", got, "give each row its own id, or leave the column out")
    got = f"a copy of {earlier}"
    raise BadRow(None, "a row that differs in question, images or answer", got, "delete one, or give each row an `id`")


def _glance(cells: Cells | BadRow) -> dict[str, str]:
    if isinstance(cells, BadRow):
        return {}
    return {ascii(column)[1:-1][:80]: shown(value) for column, value in list(cells.items())[:12]}


def count_reasons(rows: Iterable[Refused]) -> str:
    """Each reason with its number of rows, the commonest first."""
    counts = sorted(Counter(row.reason for row in rows).items(), key=lambda found: (-found[1], found[0]))
    return ", ".join(f"{count:,} {reason}" for reason, count in counts)
