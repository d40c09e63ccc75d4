"""The two files of an audit. Problems are ours to trust and checked row by row; replies are untrusted text."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from firsthand.answers.ground_truth import typed_answer
from firsthand.answers.literals import literal
from firsthand.data import jsonl
from firsthand.data.images import PictureLimits, PictureLoader
from firsthand.errors import BadRow, DataError, shown
from firsthand.records import Example, Picture

REPORTED = 5
"""Bad rows that one error spells out; it always gives the total."""
COLUMNS = ("id", "question", "answer", "kind", "choices", "scene", "size", "image", "images")
"""What is read of a problem; other columns, such as stringified metadata, go to `Example.meta`."""


class Problem(NamedTuple):
    """A row of the problems."""

    place: str
    example: Example


class ReplyRow(NamedTuple):
    """A row of the replies."""

    id: str | int
    reply: str

    @property
    def key(self) -> str:
        """The id as problems are found by: 7 and "7" are one."""
        return str(self.id)


def read_problems(file: Path) -> dict[str, Problem]:
    """Every problem by its id. Raises DataError that names the file and its bad rows."""
    loader = PictureLoader(PictureLimits())
    problems: dict[str, Problem] = {}
    bad: list[str] = []
    for row in jsonl.rows(file):
        try:
            if isinstance(row.cells, BadRow):
                raise row.cells
            example = _example(row.cells, row.folder, loader)
            if example.id in problems:
                raise DataError(f"id: expected one of its own, got {example.id!r} again; {problems[example.id].place}")
        except (BadRow, DataError) as error:
            bad.append(f"  {row.place}: {error}")
        else:
            problems[example.id] = Problem(row.place, example)
    if bad:
        raise DataError(_report(file, bad, len(bad) + len(problems)))
    if not problems:
        raise DataError(f'{file}: expected problems, got none; write lines such as {{"id": ..., "question": ..., ...}}')
    return problems


def count_replies(file: Path, known: Collection[str]) -> int:
    """How many replies there are. Raises DataError that names the file and the rows that are no replies."""
    bad: list[str] = []
    number = 0
    for number, found in enumerate(_rows(file), start=1):
        if isinstance(found, str):
            bad.append(f"  {found}")
        elif found.key not in known:
            bad.append(f"  {file.name} reply {number}: id: expected that of a problem, got {shown(found.id)}")
    if bad:
        raise DataError(_report(file, bad, number))
    if not number:
        raise DataError(f'{file}: expected replies, got none; write lines such as {{"id": "1", "reply": "..."}}')
    return number


def read_replies(file: Path) -> Iterator[ReplyRow]:
    """The replies of a file that `count_replies` has accepted, one at a time."""
    for found in _rows(file):
        assert isinstance(found, ReplyRow)
        yield found


def _example(cells: dict[str, Any], folder: Path, loader: PictureLoader) -> Example:
    missing = [name for name in ("id", "question", "answer", "kind") if cells.get(name) is None]
    if missing:
        raise DataError(f"expected {', '.join(COLUMNS[:4])}, got no {missing[0]!r}; fill it in")
    for name in ("question", "scene"):
        if not isinstance(cells.get(name, ""), str):
            raise DataError(f"{name}: expected text, got {shown(cells[name])}; write it as a string")
    if not isinstance(cells["id"], str | int) or isinstance(cells["id"], bool):
        raise DataError(f"id: expected text or a whole number, got {shown(cells['id'])}; correct it")
    return Example(
        id=str(cells["id"]),
        question=cells["question"],
        answer=typed_answer(cells["answer"], cells["kind"], cells.get("choices"), cells.get("size")),
        images=_pictures(cells, folder, loader),
        scene=cells.get("scene"),
        meta={name: literal(value) for name, value in cells.items() if name not in COLUMNS},
    )


def _pictures(cells: dict[str, Any], folder: Path, loader: PictureLoader) -> tuple[Picture, ...]:
    values = cells.get("images") or cells.get("image") or []
    values = values if isinstance(values, list) else [values]
    return tuple(loader.load(value, folder, "image") for value in values)


def _rows(file: Path) -> Iterator[ReplyRow | str]:
    """Each reply, or what is wrong with its line. Bytes that are not UTF-8 become U+FFFD: replies may hold anything."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _reply(line, f"{file.name} line {number}", "utf-8-sig" if number == 1 else "utf-8")
    except OSError as broken:
        raise DataError(f"{file}: expected a readable file, got: {broken.strerror}; check its path") from broken


def _reply(line: bytes, place: str, encoding: str) -> ReplyRow | str:
    try:
        cells = json.loads(line.decode(encoding, "replace"))
    except (ValueError, RecursionError) as error:
        return f"{place}: expected one JSON object per line, got {shown(line[:60].decode(errors='replace'))} ({error})"
    if not isinstance(cells, dict):
        return f'{place}: expected {{"id": ..., "reply": ...}}, got a {type(cells).__name__}'
    found, text = cells.get("id"), cells.get("reply")
    if not isinstance(found, str | int) or isinstance(found, bool):
        return f"{place}: id: expected text or a whole number, got {shown(found)}"
    return ReplyRow(found, text) if isinstance(text, str) else f"{place}: reply: expected text, got {shown(text)}"


def _report(file: Path, bad: list[str], rows: int) -> str:
    first = f" The first {REPORTED}:" if len(bad) > REPORTED else ""
    headline = f"{file}: {len(bad):,} of {rows:,} rows cannot be used, so nothing was judged.{first}"
    return "\n".join([headline, *bad[:REPORTED]])
