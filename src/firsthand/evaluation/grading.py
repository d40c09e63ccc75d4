"""`firsthand reward`: replies that somebody else sampled, graded before a GPU hour is spent on the reward.

problems.jsonl, replies.jsonl -> verdicts.jsonl, a line per reply in the order of the replies, and a tally of each kind.
Problems are ours to trust, and checked row by row; replies are untrusted text.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from firsthand.answers.ground_truth import typed_answer
from firsthand.answers.literals import literal
from firsthand.batched import batched
from firsthand.data import jsonl
from firsthand.data.images import PictureLimits, PictureLoader
from firsthand.data.rows import Row, collect
from firsthand.errors import BadRow, DataError, shown
from firsthand.evaluation.generator import FiledReply, FileGenerator
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import OnProgress, score_examples
from firsthand.files import replacing, write_atomically
from firsthand.records import Example, Status, Verdict
from firsthand.reward import Reward, Router
from firsthand.reward.build import router_of, scorer_of
from firsthand.reward.open_ended import Calibration, ScoringFailed, calibrate
from firsthand.workers.pool import DeadlineExceeded

_BATCH = 256
"""Replies that are in memory at once, beside their verdicts' counts."""
_SHOWN = 5
"""Bad rows that one error spells out; it always gives the total."""
_NEEDED = ("id", "question", "answer", "kind")
_COLUMNS = (*_NEEDED, "choices", "scene", "size", "image", "images")
"""What is read of a problem; other columns, such as stringified metadata, go to `Example.meta`."""
_AS_GIVEN = Protocol(samples=0)
"""One reply to each example; how it was drawn is not known."""


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


def grade(
    problems: Path,
    replies: Path,
    out: Path,
    reward: Reward,
    *,
    workers: int,
    deadline_s: float,
    on_progress: OnProgress = lambda done, total: None,
) -> dict[str, Tally]:
    """Write a verdict for every reply; the tally of each kind. `out` appears when all verdicts are there.

    Raises DataError naming file and row, before anything is judged, when a row cannot be used.
    """
    examples, places = read_problems(problems)
    total = _count_replies(replies, examples.keys())
    tallies: dict[str, Tally] = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        router_of(reward, workers, deadline_s, folder=out.parent) as router,
        replacing(out) as draft,
        draft.open("w", encoding="ascii") as lines,
    ):
        _refuse_bad_ground_truth(problems, examples, places, router)
        done = 0
        accepted = (found for _, found in _lines(replies) if isinstance(found, FiledReply))
        for batch in batched(accepted, _BATCH):
            asked = [examples[str(reply.id)] for reply in batch]
            scores = score_examples(asked, FileGenerator(batch), partial(_verdicts, router), _AS_GIVEN)
            for reply, example, scored in zip(batch, asked, scores, strict=True):
                assert scored.greedy is not None
                verdict = scored.greedy.verdict
                tallies.setdefault(example.answer.kind, Tally()).add(verdict)
                lines.write(json.dumps({"id": reply.id, **verdict.model_dump(mode="json")}) + "\n")
            done += len(batch)
            on_progress(done, total)
    return tallies


def calibration(problems: Path, out: Path, reward: Reward) -> Calibration:
    """Find beta for the scorer on the references of a file's open-ended rows, and write it to `out`.

    Raises DataError when they do not allow it, or when the scorer gives no score for one.
    """
    if reward.open is None:
        raise DataError("expected a scorer to calibrate, got `open` without one; set open.scorer")
    examples, _ = read_problems(problems)
    try:
        with scorer_of(reward.open, out.parent) as scorer:
            found = calibrate(scorer, list(examples.values()))
    except (ScoringFailed, DeadlineExceeded) as error:
        raise DataError(f"{problems}: expected a score for every reference, got: {error}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, found.model_dump_json(indent=2) + "\n")
    return found


def read_problems(file: Path) -> tuple[dict[str, Example], dict[str, str]]:
    """Every problem, and its place in the file, by id. Raises DataError that names the file and its bad rows."""
    loader, places = PictureLoader(PictureLimits()), dict[str, str]()

    def problem(row: Row) -> Example:
        example = _problem(row, loader)
        places.setdefault(example.id, row.place)
        return example

    examples = {example.id: example for example in collect(jsonl.rows(file), str(file), problem)}
    if not examples:
        raise DataError(f'{file}: expected problems, got none; write lines such as {{"id": ..., "question": ..., ...}}')
    return examples, places


def _problem(row: Row, loader: PictureLoader) -> Example:
    cells = row.cells
    if isinstance(cells, BadRow):
        raise cells
    if missing := [name for name in _NEEDED if cells.get(name) is None]:
        raise BadRow(None, ", ".join(_NEEDED), f"no {missing[0]!r}", "fill it in")
    for name in ("question", "scene"):
        if not isinstance(cells.get(name, ""), str):
            raise BadRow(name, "text", shown(cells[name]), "write it as a string")
    if not isinstance(cells["id"], str | int) or isinstance(cells["id"], bool):
        raise BadRow("id", "text or a whole number", shown(cells["id"]), "correct it")
    pictures = cells.get("images") or cells.get("image") or []
    pictures = pictures if isinstance(pictures, list) else [pictures]
    return Example(
        id=str(cells["id"]),
        question=cells["question"],
        answer=typed_answer(cells["answer"], cells["kind"], cells.get("choices"), cells.get("size"), cells),
        images=tuple(loader.load(value, row.folder, "image") for value in pictures),
        scene=cells.get("scene"),
        meta={name: literal(value) for name, value in cells.items() if name not in _COLUMNS},
    )


def _count_replies(file: Path, known: Collection[str]) -> int:
    """How many replies there are. Raises DataError that names the file and the rows that are no replies."""
    bad: list[str] = []
    number = 0
    for place, found in _lines(file):
        number += 1
        if isinstance(found, FiledReply) and str(found.id) not in known:
            found = BadRow("id", "that of a problem", shown(found.id), "correct it, or add the problem")
        if isinstance(found, BadRow):
            bad.append(f"  {place}, {found}")
    if bad:
        first = f" The first {_SHOWN}:" if len(bad) > _SHOWN else ""
        headline = f"{file}: {len(bad):,} of {number:,} rows cannot be used, so nothing was judged.{first}"
        raise DataError("\n".join([headline, *bad[:_SHOWN]]))
    if not number:
        raise DataError(f'{file}: expected replies, got none; write lines such as {{"id": "1", "reply": "..."}}')
    return number


def _lines(file: Path) -> Iterator[tuple[str, FiledReply | BadRow]]:
    """Each line's place, and its reply. Bytes that are not UTF-8 become U+FFFD: replies may hold anything."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
                    yield f"{file.name} line {number}", _reply(text)
    except OSError as broken:
        raise DataError(f"{file}: expected a readable file, got: {broken.strerror}; check its path") from broken


def _reply(line: str) -> FiledReply | BadRow:
    try:
        cells: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow(None, "one JSON object per line", f"{shown(line[:60])} ({error})", "repair it")
    if not isinstance(cells, dict):
        return BadRow(None, 'one JSON object, {"id": ..., "reply": ...}', f"a {type(cells).__name__}", "repair it")
    found, text = cells.get("id"), cells.get("reply")
    if not isinstance(found, str | int) or isinstance(found, bool):
        return BadRow("id", "text or a whole number", shown(found), "correct it")
    return FiledReply(found, text) if isinstance(text, str) else BadRow("reply", "text", shown(text), "fill it in")


def _refuse_bad_ground_truth(
    file: Path, examples: Mapping[str, Example], places: Mapping[str, str], router: Router
) -> None:
    """Free text is not checked: its reference is scored with the first reply, and a judge may be dear."""
    checked = [example for example in examples.values() if example.answer.kind != "open"]
    rejected = [
        f"  {places[e.id]}: {e.answer.kind} {e.answer.text!r} is `{verdict.status}` ({verdict.why})"
        for e, verdict in zip(checked, router.truth_verdicts(checked), strict=True)
        if not router.accepts(e.answer, verdict)
    ]
    if rejected:
        raise DataError(
            f"{file}: expected every gold answer to score 1 against itself, got {len(rejected)} that do not; "
            "correct these rows or leave them out:\n" + "\n".join(rejected[:_SHOWN])
        )


def _verdicts(router: Router, pairs: Sequence[tuple[str, Example]]) -> list[Verdict]:
    """The verdict on each (reply, example); none is measured of a kind that has no verifier."""
    judged = iter(router.judge_many([pair for pair in pairs if pair[1].answer.kind in router.kinds]))
    nobody = Verdict(score=None, status=Status.FAILED, why="free text needs a scorer: --set open.scorer=...")
    return [next(judged) if example.answer.kind in router.kinds else nobody for _, example in pairs]
