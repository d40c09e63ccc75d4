"""The rollout browser's data: replies, verdicts, tokens and pictures of all runs, within a byte budget.

Chosen by rule and never by hand. Held-out questions: of every seed where they fit, else of each arm's first, else
evenly spaced questions of it. Training: all groups, or those of evenly spaced steps, ends included. Pictures: each
once, those of the shown questions first.

The page holds the records as gzip in base64, which no reader of HTML looks into; browser.js makes text nodes of them.
"""

import base64
import gzip
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pydantic import ValidationError

from firsthand.records import Judged, Rollout, Score, StopReason
from firsthand.report.arms import Arm
from firsthand.report.pictures import shot
from firsthand.report.pieces import Pieces, model_folders, utf16_length
from firsthand.report.runs import RunRecords
from firsthand.report.tokens import Changes

HELD_OUT_BYTES, TRAINING_BYTES, PICTURE_BYTES = 2_500_000, 5_000_000, 4_500_000
"""Ours: with everything else, a page below 15 MB. As they are on the page, in base64."""
_LONGEST_TEXT = 6_000
"""Characters of a text that are shown; of a longer one the first two thirds, and the last, where the answer is."""
_LONGEST_NOTE = 600
"""The same of what is said about a reply."""
_LEAST_LOGP = -99.99
_DENSITY = 32
"""Bytes of rollouts.jsonl that one byte of the page can hold at most; a real run's take 29 (measured)."""
_STEP = re.compile(rb'\{"step":\s*(\d+)')
CUT, DEMONSTRATION, DISTORTED, WITH_LOSS = 1, 2, 4, 8
"""Bits of what a reply is: cut at the length limit, given, written to a distorted picture, with loss on its tokens."""


@dataclass(frozen=True)
class BrowserData:
    """What the page embeds, and what it must say about it."""

    records: Markup
    """gzip of JSON, in base64: see `_Book.content`."""
    pictures: Markup
    """A JSON list of `[data URI, width, height, pixelated]`, or null for one that is not there."""
    has_any: bool
    said: tuple[str, ...]
    """What is left out, and why."""


def browser_data(arms: Sequence[Arm], trained: Sequence[Arm]) -> BrowserData:
    """Of the arms of all tables (`arms`), and of each arm with all its trainings (`trained`)."""
    book = _Book(arms)
    said = [*_add_held_out(book, arms), *_add_training(book, trained)]
    pictures, absent = _pictures(book.pictures, PICTURE_BYTES)
    if absent:
        said.append(
            f"{absent:,} of {len(book.pictures):,} pictures are left out, so that the page stays small: they are in "
            "the run directories."
        )
    if (book.held or book.groups) and not book.has_tokens:
        said.append("Tokens cannot be told apart: no tokenizer.json writes these replies.")
    packed = base64.b64encode(_packed(book.content())).decode()
    return BrowserData(Markup(packed), Markup(_json(pictures)), bool(book.held or book.groups), tuple(said))


class _Book:
    """The records as the page has them; questions, pictures and texts that come again are written once."""

    def __init__(self, arms: Sequence[Arm]) -> None:
        self.arms = {arm.index: arm.name for arm in sorted(arms, key=lambda arm: arm.index)}
        self.tables = list(dict.fromkeys(arm.table for arm in arms))
        self.questions: dict[tuple[Any, ...], int] = {}
        self.pictures: dict[str, tuple[Path, ...]] = {}
        """sha256 -> the directories that may hold it, in the order of their places."""
        self.held: list[list[Any]] = []
        self.groups: list[list[Any]] = []
        self.runs: list[list[Any]] = []
        self.has_tokens = False
        self.changes = Changes(run for arm in arms for run in arm.runs)
        self._pieces: dict[Path, Pieces] = {}
        self._folders = [
            folder
            for arm in arms
            for run in arm.runs
            for folder in model_folders(run.folder, (run.recipe or {}).get("model"))
        ]

    def content(self) -> dict[str, Any]:
        """Everything, as browser.js reads it."""
        places = {sha256: place for place, sha256 in enumerate(self.pictures)}
        return {
            "arms": list(self.arms.items()),
            "tables": self.tables,
            "runs": self.runs,
            "questions": [[*key[:4], [places[sha256] for sha256 in key[4]]] for key in self.questions],
            "held": self.held,
            "groups": self.groups,
            "tuned": self.changes.names,
        }

    def question(self, shown: Score | Rollout, folders: Sequence[Path]) -> int:
        """The place of a question; new ones are written down."""
        for sha256 in shown.images:
            self.pictures[sha256] = tuple(dict.fromkeys((*self.pictures.get(sha256, ()), *folders)))
        question, gold = _shortened(shown.question), _shortened(shown.gold, _LONGEST_NOTE)
        key = (shown.example_id, shown.family, question, gold, shown.images)
        return self.questions.setdefault(key, len(self.questions))

    def reply(self, judged: Judged, example_id: str, run: RunRecords, *, trained: bool = False) -> list[Any]:
        """One judged reply: what was written, what was made of it, and its tokens where they can be told apart."""
        reply, verdict = judged.reply, judged.verdict
        change = self.changes.of(run, example_id, reply.text)
        lengths = self._pieces_of(run).lengths(reply.text, reply.token_ids) if reply.token_ids else None
        logps = [_hundredths(logp) for logp in reply.logprobs]
        if change is not None:
            told = list(map(utf16_length, change.pieces))
            lengths, logps = (told, []) if lengths is None else (lengths, logps)
            change = change if told == lengths else None
        text, lengths = _cut(reply.text, lengths)
        self.has_tokens |= lengths is not None
        flags = CUT * (reply.stop is StopReason.LENGTH) + DEMONSTRATION * reply.is_demo + DISTORTED * reply.distorted
        row = [
            text,
            _rounded(verdict.score),
            verdict.status.value.replace("_", " "),
            None if verdict.parsed is None else _shortened(verdict.parsed, _LONGEST_NOTE),
            _shortened(verdict.why, _LONGEST_NOTE),
            _rounded(judged.reward),
            _rounded(judged.advantage),
            flags + WITH_LOSS * trained,
            reply.length,
        ]
        if lengths is None:
            return row
        shown = len(lengths)
        return [*row, lengths, logps[:shown], *([change.run, change.hundredths[:shown]] if change else [])]

    def _pieces_of(self, run: RunRecords) -> Pieces:
        own = model_folders(run.folder, (run.recipe or {}).get("model"))
        if run.folder not in self._pieces:
            self._pieces[run.folder] = Pieces.of([*own, *self._folders])
        return self._pieces[run.folder]


# ---- held-out questions


def _add_held_out(book: _Book, arms: Sequence[Arm]) -> Iterator[str]:
    """Write down what fits; yields what does not."""
    runs = [(arm, run) for arm in arms for run in arm.runs if run.scores]
    first = [(arm, run) for arm, run in runs if run is arm.first]
    ids = sorted({(score.family, score.example_id) for _, run in runs for score in run.scores})
    _hold(book, runs, None)
    if len(runs) > len(first) and _size(book.held) > HELD_OUT_BYTES:
        yield "Held-out replies are those of each arm's first seed: the other seeds' are in their scores.jsonl."
        _hold(book, first, None)
    count = len(ids)
    while count > 1 and (size := _size(book.held)) > HELD_OUT_BYTES:
        count = min(count - 1, int(0.95 * count * HELD_OUT_BYTES / size) or 1)
        _hold(book, first, {example_id for _, example_id in _spread(ids, count)})
    if count < len(ids):
        yield f"{count:,} of {len(ids):,} held-out questions are here, evenly over families and ids."


def _hold(book: _Book, runs: Sequence[tuple[Arm, RunRecords]], kept: set[str] | None) -> None:
    """Start the book with `[arm, seed, table, question, greedy, samples]` for every run and kept question."""
    book.questions, book.pictures, book.held = {}, {}, []
    for arm, run in runs:
        for score in run.scores:
            if kept is not None and score.example_id not in kept:
                continue
            place = book.question(score, (run.evaluated_in, run.folder))
            greedy = None if score.greedy is None else book.reply(score.greedy, score.example_id, run)
            samples = [book.reply(sample, score.example_id, run) for sample in score.samples]
            book.held.append([arm.index, run.seed, book.tables.index(arm.table), place, greedy, samples])


# ---- training groups


@dataclass
class _Training:
    """The journal of one run, and how many of its steps are kept."""

    arm: Arm
    run: RunRecords
    path: Path
    steps: list[int] = field(default_factory=list)


def _add_training(book: _Book, trained: Sequence[Arm]) -> Iterator[str]:
    """Write down the groups of as many steps as fit; yields what does not."""
    journals = [
        _Training(arm, run, path, journal_steps(path))
        for arm in trained
        for run in arm.runs
        if (path := run.folder / "rollouts.jsonl").is_file()
    ]
    share = min(1.0, _DENSITY * TRAINING_BYTES / max(1, sum(journal.path.stat().st_size for journal in journals)))
    known, seen = dict(book.questions), dict(book.pictures)
    while True:
        book.questions, book.pictures, book.groups, book.runs = dict(known), dict(seen), [], []
        for journal in journals:
            _add_journal(book, journal, share)
        size = _size(book.groups)
        if size <= TRAINING_BYTES or share < 1e-6:
            break
        share *= 0.95 * TRAINING_BYTES / size
    kept, all_steps = sum(run[3] for run in book.runs), sum(run[4] for run in book.runs)
    if kept < all_steps:
        yield (
            f"{kept:,} of {all_steps:,} training steps are here with all their groups, evenly from the first to the "
            "last of each run: the others are in rollouts.jsonl."
        )


def journal_steps(path: Path) -> list[int]:
    """The steps that a rollouts.jsonl has groups of, in order."""
    with path.open("rb") as file:
        return sorted({step for line in file if (step := _step_of(line)) is not None})


def _step_of(line: bytes) -> int | None:
    found = _STEP.match(line)
    return int(found[1]) if found else None


def _add_journal(book: _Book, journal: _Training, share: float) -> None:
    steps = set(_spread(journal.steps, max(1, round(share * len(journal.steps)))))
    number = len(book.runs)
    arm, run = journal.arm, journal.run
    book.runs.append([arm.index, run.seed, run.folder.name, len(steps), len(journal.steps)])
    places: dict[int, int] = defaultdict(int)
    with journal.path.open("rb") as file:
        for line in file:
            step = _step_of(line)
            if step not in steps or (rollout := _rollout(line)) is None:
                continue
            question = book.question(rollout, (run.folder,))
            book.groups.append([number, step, places[rollout.step], question, *_group(book, rollout, run)])
            places[rollout.step] += 1


def _rollout(line: bytes) -> Rollout | None:
    """None for a line that is none: `read_run` has said so."""
    try:
        return Rollout.model_validate_json(line)
    except ValidationError:
        return None


def _group(book: _Book, rollout: Rollout, run: RunRecords) -> list[Any]:
    """Why the group was left out (empty where it was not), and its replies."""
    replies = [
        book.reply(judged, rollout.example_id, run, trained=not rollout.left_out and _counts(judged))
        for judged in rollout.group
    ]
    return [rollout.left_out, replies]


def _counts(judged: Judged) -> bool:
    """Whether losses counted the reply's tokens; early versions wrote no reward."""
    return judged.reply.is_demo or judged.reward is not None or judged.advantage is not None


# ---- pictures, sizes, texts


def _pictures(where: Mapping[str, Sequence[Path]], budget: int) -> tuple[list[list[Any] | None], int]:
    """The pictures until the budget is spent, in their order; and how many had to go."""
    found: list[list[Any] | None] = []
    absent = 0
    for sha256, folders in where.items():
        picture = shot(folders, sha256) if budget > 0 else None
        if budget <= 0:
            absent += 1
        elif picture is not None:
            budget -= len(picture.uri)
        found.append(None if picture is None else [picture.uri, picture.width, picture.height, picture.pixelated])
    return found, absent


def _size(rows: object) -> int:
    """About how many bytes of the page these rows take."""
    return len(_packed(rows)) * 4 // 3


def _packed(content: object) -> bytes:
    return gzip.compress(_json(content).encode(), compresslevel=6, mtime=0)


def _json(content: object) -> str:
    """JSON that ends no script element, whatever is in it."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _cut(text: str, lengths: list[int] | None) -> tuple[str, list[int] | None]:
    """The text shortened, with the tokens of the part before the cut."""
    shown = _shortened(text)
    if lengths is None or shown is text:
        return shown, lengths
    left = utf16_length(text[: _LONGEST_TEXT * 2 // 3])
    kept = []
    for length in lengths:
        left -= length
        if left < 0:
            break
        kept.append(length)
    return shown, kept


def _shortened(text: str, longest: int = _LONGEST_TEXT) -> str:
    cut = len(text) - longest
    if cut <= 0:
        return text
    tail = longest // 3
    return f"{text[: longest - tail]}\n[... {cut:,} characters are not shown ...]\n{text[-tail:]}"


def _hundredths(logp: float) -> int:
    """Minus the log-prob, in hundredths of a nat."""
    return 0 if math.isnan(logp) else round(-100 * max(logp, _LEAST_LOGP))


def _rounded(value: float | None) -> float | None:
    """JSON knows finite numbers alone."""
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most`, evenly, ends included."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[0]]
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
