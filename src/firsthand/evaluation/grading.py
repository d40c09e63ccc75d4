"""`firsthand reward`: replies that somebody else sampled, graded before a GPU hour is spent on the reward.

problems.jsonl, replies.jsonl -> verdicts.jsonl, a line per reply in the order of the replies, and a tally of each kind.
Replies are untrusted text. A row that cannot be used, in either file, costs that row: it is listed, what belongs to it
is `failed`, and the rest is judged. Only where nothing is left to judge is there an error.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from firsthand.answers.ground_truth import typed_answer
from firsthand.answers.literals import literal
from firsthand.batched import batched
from firsthand.data import Loaded, Refused, Source
from firsthand.data.fields import lookup
from firsthand.data.images import PictureLimits, PictureLoader
from firsthand.data.loaded import gather, refused_row
from firsthand.data.rows import Cells, Row
from firsthand.data.stream import chosen_rows, mapped_row
from firsthand.errors import BadRow, DataError, excerpt, shown
from firsthand.evaluation.generator import FiledReply, FileGenerator
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import OnProgress, score_examples
from firsthand.files import folder_for, replacing, write_atomically
from firsthand.records import KINDS, Example, Status, Verdict
from firsthand.reward import Reward, Router
from firsthand.reward.build import router_of, scorer_of
from firsthand.reward.open_ended import Calibration, ScoringFailed, calibrate
from firsthand.workers.pool import DeadlineExceeded

_BATCH = 256
"""Replies that are in memory at once, beside their verdicts' counts."""
_SHOWN = 20
"""Rows that cannot be used and are spelt out; all are in a file."""
_LONGEST_WHY = 300
"""Characters of a verdict's reason, where that is a row of the problems."""
_NEEDED = ("id", "question", "answer")
_COLUMNS = (*_NEEDED, "kind", "choices", "options", "scene", "size", "image", "images")
"""What is read of a problem; other columns, such as stringified metadata, go to `Example.meta`."""
_AS_GIVEN = Protocol(samples=0)
"""One reply to each example; how it was drawn is not known."""
UNKNOWN = "?"
"""Stands for a kind where a reply belongs to no problem, or to one whose kind cannot be read."""


@dataclass
class Tally:
    """What became of the replies to one kind of answer."""

    statuses: Counter[Status] = field(default_factory=Counter)
    scores: Counter[float] = field(default_factory=Counter)
    outside: Counter[bool] = field(default_factory=Counter)
    """Whether boxes leave their picture, where that is known."""

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.statuses[verdict.status] += 1
        if verdict.score is not None:
            self.scores[verdict.score] += 1
        if verdict.outside is not None:
            self.outside[verdict.outside] += 1

    @property
    def mean(self) -> float | None:
        """The mean score of the measured replies; None without one."""
        measured = self.scores.total()
        return sum(score * n for score, n in self.scores.items()) / measured if measured else None


@dataclass
class Refusals:
    """The rows that could not be used: how many and the first ones; a file has them all."""

    path: Path
    """A JSONL file of `data.Refused`; there is none where every row could be used."""
    count: int = 0
    first: list[Refused] = field(default_factory=list)


class Problems(NamedTuple):
    """The problems of a file, by id."""

    usable: dict[str, Example]
    unusable: dict[str, tuple[str, str]]
    """The kind and the place with the reason, of rows whose id can be read."""
    refused: list[Refused]


def refusals_of(out: Path) -> Path:
    """Where the rows are listed that could not be used for `out`: `V.refused.jsonl` beside `V.jsonl`."""
    return out.with_name(f"{out.stem}.refused.jsonl")


def grade(
    problems: Path | Source,
    replies: Path,
    out: Path,
    reward: Reward,
    *,
    workers: int,
    deadline_s: float,
    limits: PictureLimits | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> tuple[dict[str, Tally], Refusals]:
    """Write a verdict for every reply; the tally of each kind, and the rows that could not be used.

    `out` appears when all verdicts are there, and `refusals_of(out)` with it. Raises DataError when nothing can be
    judged.
    """
    tallies: dict[str, Tally] = {}
    with folder_for(out), router_of(reward, workers, deadline_s, folder=out.parent) as router:
        source = _source(problems)
        known = read_problems(source, router, limits)
        total = _count_replies(replies, known, source.path)
        with _listing(out) as (refusals, refuse), replacing(out) as draft, draft.open("w", encoding="ascii") as lines:
            for row in known.refused:
                refuse(row)
            done = 0
            for batch in batched(_lines(replies), _BATCH):
                for reply, verdict, kind in _judged(batch, known, router):
                    tallies.setdefault(kind, Tally()).add(verdict)
                    lines.write(json.dumps({"id": reply, **verdict.model_dump(mode="json")}) + "\n")
                for row in filter(None, (_refused_reply(line, known) for line in batch)):
                    refuse(row)
                done += len(batch)
                on_progress(done, total)
    return tallies, refusals


def calibration(
    problems: Path | Source, out: Path, reward: Reward, limits: PictureLimits | None = None
) -> tuple[Calibration, Refusals]:
    """Find beta for the scorer on the references of a file's open-ended rows, and write it to `out`.

    Raises DataError when they do not allow it, or when the scorer gives no score for one.
    """
    if reward.open is None:
        raise DataError("expected a scorer to calibrate, got `open` without one; set open.scorer")
    source = _source(problems)
    known = read_problems(source, None, limits)
    try:
        with scorer_of(reward.open, out.parent) as scorer:
            found = calibrate(scorer, list(known.usable.values()))
    except (ScoringFailed, DeadlineExceeded) as error:
        raise DataError(f"{source.path}: expected a score for every reference, got: {error}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, found.model_dump_json(indent=2) + "\n")
    with _listing(out) as (refusals, refuse):
        for row in known.refused:
            refuse(row)
    return found, refusals


def read_problems(
    problems: Path | Source, router: Router | None = None, limits: PictureLimits | None = None
) -> Problems:
    """The problems of a file; with a router, without those whose ground truth it rejects.

    Without one no reply is joined to a problem, so that a row needs no id. Free text is not checked: its reference is
    scored with the first reply, and a judge may be dear.
    Raises DataError that names the bad rows where no row can be used.
    """
    source = _source(problems)
    file = source.path
    loader = PictureLoader(limits or PictureLimits())
    columns: dict[str, Mapping[str, str]] = {}
    names: dict[str, tuple[str, str]] = {}
    first: dict[str, Example] = {}
    twice: dict[str, str] = {}

    def problem(row: Row) -> Example:
        if isinstance(row.cells, BadRow):
            raise row.cells
        given = lookup(row.cells, source.fields.get("id", "id"))
        if _is_id(given):
            kind = lookup(row.cells, source.fields.get("kind", "kind")) or source.kind
            names[row.place] = str(given), str(kind) if kind in KINDS else UNKNOWN
        found = mapped_row(source, row.cells, row.folder)
        cells = found.cells if router is not None else {"id": row.place, **found.cells}
        try:
            example = _problem(cells, source.kind, found.folder, loader)
        except BadRow as bad:
            raise bad.renamed(found.names) from bad
        columns[example.id] = found.names
        if first.setdefault(example.id, example) != example:
            twice.setdefault(example.id, row.place)
        return example

    loaded = gather(chosen_rows(source), file, problem, columns)
    if not loaded.examples and not loaded.found:
        raise DataError(f'{file}: expected problems, got none; write lines such as {{"id": ..., "question": ..., ...}}')
    loaded = loaded.without([_one_of_two(example, twice) for example in loaded.examples])
    if router is not None:
        loaded = loaded.without(_bad_ground_truths(loaded, router))
    if not loaded.examples:
        loaded.settled()
    usable = {example.id: example for example in loaded.examples}
    unusable: dict[str, tuple[str, str]] = {}
    for row in loaded.refused:
        if row.place in names and names[row.place][0] not in usable:
            name, kind = names[row.place]
            unusable.setdefault(name, (kind, f"{row.place} cannot be used: {row.detail}"))
    return Problems(usable, unusable, loaded.refused)


def _one_of_two(example: Example, twice: Mapping[str, str]) -> BadRow | None:
    """Two problems of one id: a reply to it may mean either."""
    if example.id not in twice:
        return None
    got = f"{shown(example.id)}, which {twice[example.id]} has with other content"
    return BadRow("id", "an id that no other row has", got, "give each row its own id")


def _bad_ground_truths(loaded: Loaded, router: Router) -> list[BadRow | None]:
    checked = [example for example in loaded.examples if example.answer.kind != "open"]
    found = iter(router.bad_ground_truths(checked))
    return [next(found) if example.answer.kind != "open" else None for example in loaded.examples]


def _source(problems: Path | Source) -> Source:
    """Problems as a source: JSON Lines where their ending does not tell."""
    return problems if isinstance(problems, Source) else Source(path=str(problems), name="problems", format="jsonl")


def _problem(cells: Cells, kind: str | None, folder: Path, loader: PictureLoader) -> Example:
    if missing := [name for name in _NEEDED if cells.get(name) is None]:
        raise BadRow(None, ", ".join(_NEEDED), f"no {missing[0]!r}", "fill it in")
    for name in ("question", "scene"):
        if not isinstance(cells.get(name, ""), str):
            raise BadRow(name, "text", shown(cells[name]), "write it as a string")
    if not _is_id(cells["id"]):
        raise BadRow("id", "text or a whole number", shown(cells["id"]), "correct it")
    pictures = cells.get("images") or cells.get("image") or []
    images = [loader.load(value, folder, "image") for value in (pictures if isinstance(pictures, list) else [pictures])]
    size = [images[0].width, images[0].height] if len(images) == 1 else None
    options = cells.get("choices", cells.get("options"))
    return Example(
        id=str(cells["id"]),
        question=cells["question"],
        answer=typed_answer(cells["answer"], cells.get("kind", kind), options, size, cells),
        images=tuple(images),
        scene=cells.get("scene"),
        meta={name: literal(value) for name, value in cells.items() if name not in _COLUMNS},
    )


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


class _Line(NamedTuple):
    """A line of the replies."""

    place: str
    number: int
    id: str | int | None
    """None where it cannot be read."""
    found: FiledReply | BadRow


def _count_replies(file: Path, known: Problems, problems: str) -> int:
    """How many lines there are. Raises DataError that names the first ones where none can be judged."""
    bad: list[str] = []
    number = 0
    is_any = False
    for line in _lines(file):
        number += 1
        is_any |= isinstance(line.found, FiledReply) and str(line.found.id) in known.usable
        if not is_any and len(bad) < _SHOWN:
            row = _refused_reply(line, known)
            why = known.unusable[str(line.id)][1] if row is None else row.detail
            bad.append(f"  {line.place}, {why}")
    if not number:
        raise DataError(f'{file}: expected replies, got none; write lines such as {{"id": "1", "reply": "..."}}')
    if not is_any:
        first = f" The first {_SHOWN}:" if number > _SHOWN else ""
        headline = f"{file}: {number:,} of {number:,} rows cannot be judged by {problems}, so nothing was.{first}"
        raise DataError("\n".join([headline, *bad]))
    return number


def _refused_reply(line: _Line, known: Problems) -> Refused | None:
    """Why a line is no reply to any problem; None where it is one, be the problem of use or not."""
    found, cells = line.found, dict[str, Any]()
    if isinstance(found, FiledReply):
        if str(found.id) in known.usable or str(found.id) in known.unusable:
            return None
        cells = {"id": found.id, "reply": found.text}
        found = BadRow("id", "that of a problem", shown(found.id), "correct it, or add the problem")
    file, _, _ = line.place.rpartition(" line ")
    return refused_row(Row(line.place, Path(), cells), found, {"file": file, "row": line.number})


def _lines(file: Path) -> Iterator[_Line]:
    """Each line's place, and its reply. Bytes that are not UTF-8 become U+FFFD: replies may hold anything."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
                    yield _Line(f"{file.name} line {number}", number, *_reply(text))
    except OSError as broken:
        raise DataError(f"{file}: expected a readable file, got: {broken.strerror}; check its path") from broken


def _reply(line: str) -> tuple[str | int | None, FiledReply | BadRow]:
    """The id, where there is one, and the reply."""
    try:
        cells: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, BadRow(None, "one JSON object per line", f"{shown(line[:60])} ({error})", "repair it")
    if not isinstance(cells, dict):
        got = f"a {type(cells).__name__}"
        return None, BadRow(None, 'one JSON object, {"id": ..., "reply": ...}', got, "repair it")
    found, text = cells.get("id"), cells.get("reply")
    if not isinstance(found, str | int) or isinstance(found, bool):
        return None, BadRow("id", "text or a whole number", shown(found), "correct it")
    return found, FiledReply(found, text) if isinstance(text, str) else BadRow(
        "reply", "text", shown(text), "fill it in"
    )


def _judged(lines: Sequence[_Line], known: Problems, router: Router) -> Iterator[tuple[str | int | None, Verdict, str]]:
    """The id, the verdict and the kind of each line, in order."""
    filed = [line.found for line in lines if isinstance(line.found, FiledReply)]
    replies = [reply for reply in filed if str(reply.id) in known.usable]
    asked = [known.usable[str(reply.id)] for reply in replies]
    scores = iter(score_examples(asked, FileGenerator(replies), partial(_verdicts, router), _AS_GIVEN))
    for line in lines:
        if isinstance(line.found, BadRow):
            yield line.id, _failed(f"{line.place} cannot be used: {line.found}"), UNKNOWN
        elif (example := known.usable.get(name := str(line.found.id))) is not None:
            scored = next(scores).greedy
            assert scored is not None
            yield line.found.id, scored.verdict, example.answer.kind
        elif name in known.unusable:
            kind, why = known.unusable[name]
            yield line.found.id, _failed(why), kind
        else:
            yield line.found.id, _failed(f"no problem has the id {shown(line.found.id)}"), UNKNOWN


def _failed(why: str) -> Verdict:
    return Verdict(score=None, status=Status.FAILED, why=excerpt(why, _LONGEST_WHY))


@contextmanager
def _listing(out: Path) -> Iterator[tuple[Refusals, Callable[[Refused], None]]]:
    """Rows are listed beside `out` as they are handed over; without one, no file stays there."""
    refusals = Refusals(refusals_of(out))
    with replacing(refusals.path) as draft, draft.open("w", encoding="utf-8") as lines:

        def refuse(row: Refused) -> None:
            refusals.count += 1
            if len(refusals.first) < _SHOWN:
                refusals.first.append(row)
            lines.write(row.model_dump_json() + "\n")

        yield refusals, refuse
    if not refusals.count:
        refusals.path.unlink()


def _verdicts(router: Router, pairs: Sequence[tuple[str, Example]]) -> list[Verdict]:
    """The verdict on each (reply, example); none is measured of a kind that has no verifier."""
    judged = iter(router.judge_many([pair for pair in pairs if pair[1].answer.kind in router.kinds]))
    nobody = Verdict(score=None, status=Status.FAILED, why="free text needs a scorer: --set open.scorer=...")
    return [next(judged) if example.answer.kind in router.kinds else nobody for _, example in pairs]
