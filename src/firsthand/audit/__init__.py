"""`firsthand reward`: judge replies that somebody else sampled, before a GPU hour is spent on the reward.

problems.jsonl, replies.jsonl -> verdicts.jsonl, one line per reply in the order of the replies, and a table.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firsthand.audit.files import ReplyRow, count_replies, read_problems, read_replies
from firsthand.batched import batched
from firsthand.errors import DataError
from firsthand.records import Example, Status, Verdict
from firsthand.reward import Reward, Router
from firsthand.reward.build import router_of, scorer_of
from firsthand.reward.open_ended import Calibration, ScoringFailed, calibrate
from firsthand.workers.pool import DeadlineExceeded

BATCH = 256
"""Replies that are in memory at once, beside their verdicts' counts."""
ENOUGH = 20
"""Measured replies of a kind from which an equal score for all is worth a warning (ours)."""
SHARE = 0.05
"""Share of a kind's replies from which a status other than `ok` is worth a warning."""

OnProgress = Callable[[int, int], None]


@dataclass
class Tally:
    """What became of the replies to one kind of answer."""

    statuses: Counter[Status] = field(default_factory=Counter)
    scores: Counter[float] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.statuses[verdict.status] += 1
        if verdict.score is not None:
            self.scores[verdict.score] += 1

    @property
    def mean(self) -> float | None:
        """The mean score of the measured replies; None without one."""
        measured = self.scores.total()
        return sum(score * n for score, n in self.scores.items()) / measured if measured else None


def audit(
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
    examples = read_problems(problems)
    total = count_replies(replies, examples.keys())
    tallies: dict[str, Tally] = {}
    part = out.with_name(out.name + ".part")
    out.parent.mkdir(parents=True, exist_ok=True)
    with router_of(reward, workers, deadline_s, folder=out.parent) as router, part.open("w", encoding="ascii") as lines:
        _check_golds(problems, [(row.place, row.example) for row in examples.values()], router)
        done = 0
        for batch in batched(read_replies(replies), BATCH):
            golds = [examples[row.key].example for row in batch]
            for row, gold, verdict in zip(batch, golds, _verdicts(router, batch, golds), strict=True):
                tallies.setdefault(gold.answer.kind, Tally()).add(verdict)
                lines.write(json.dumps(_line(row, verdict)) + "\n")
            done += len(batch)
            on_progress(done, total)
    part.replace(out)
    return tallies


def calibration(problems: Path, out: Path, reward: Reward) -> Calibration:
    """Find beta for the scorer on the references of a file's open-ended rows, and write it to `out`.

    Raises DataError when they do not allow it, or when the scorer gives no score for one.
    """
    if reward.open is None:
        raise DataError("expected a scorer to calibrate, got `open` without one; set open.scorer")
    examples = [row.example for row in read_problems(problems).values()]
    try:
        with scorer_of(reward.open, out.parent) as scorer:
            found = calibrate(scorer, examples)
    except (ScoringFailed, DeadlineExceeded) as error:
        raise DataError(f"{problems}: expected a score for every reference, got: {error}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return found


def warnings(kind: str, tally: Tally) -> list[str]:
    """What is suspicious about the verdicts on one kind."""
    replies = tally.statuses.total()
    shares = {status: n / replies for status, n in tally.statuses.items() if status is not Status.OK}
    found = [f"{kind}: {share:.0%} of the replies are `{status}`" for status, share in shares.items() if share > SHARE]
    if tally.scores.total() >= ENOUGH and len(tally.scores) == 1:
        found.append(f"{kind}: every reply scores {next(iter(tally.scores)):g}, so there is nothing to learn from")
    return found


def _check_golds(file: Path, rows: Sequence[tuple[str, Example]], router: Router) -> None:
    """Free text is not checked: its reference is scored with the first reply, and a judge may be dear."""
    rows = [row for row in rows if row[1].answer.kind != "open"]
    verdicts = router.gold_verdicts([example for _, example in rows])
    rejected = [
        f"  {place}: {example.answer.kind} {example.answer.text!r} is `{verdict.status}` ({verdict.why})"
        for (place, example), verdict in zip(rows, verdicts, strict=True)
        if not router.accepts(example.answer, verdict)
    ]
    if rejected:
        raise DataError(
            f"{file}: expected every gold answer to score 1 against itself, got {len(rejected)} that do not; "
            "correct these rows or leave them out:\n" + "\n".join(rejected[:5])
        )


def _verdicts(router: Router, batch: Sequence[ReplyRow], golds: Sequence[Example]) -> list[Verdict]:
    can = [gold.answer.kind in router.kinds for gold in golds]
    judged = iter(router.judge_many([(r.reply, g) for r, g, ok in zip(batch, golds, can, strict=True) if ok]))
    nobody = Verdict(score=None, status=Status.FAILED, why="free text needs a scorer: --set open.scorer=...")
    return [next(judged) if ok else nobody for ok in can]


def _line(row: ReplyRow, verdict: Verdict) -> dict[str, object]:
    shown = {"score": verdict.score, "status": str(verdict.status), "parsed": verdict.parsed, "why": verdict.why}
    return {"id": row.id, **shown}
