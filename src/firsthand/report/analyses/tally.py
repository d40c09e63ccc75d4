"""Replies, counted: how many, how long, how right, how often they hesitate. Training replies by tenths of the training.

A training's rollouts are read one line at a time, so that a long run fits in memory.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from firsthand.records import Judged, Rollout
from firsthand.report.arms import Arm
from firsthand.report.runs import RunRecords
from firsthand.stats import SUCCESS

STRETCHES = 10
"""Into so many parts a training is cut."""
EXPRESSIONS = (
    "alternatively",
    "double-check",
    "i should check",
    "i should confirm",
    "wait",
    "hmm",
    "mistake",
    "check",
    "again",
)
"""What VLAA-Thinking (arXiv:2504.11468) counts during GRPO (the first three, and `wait`), and splits its data by."""


class Expressions:
    """Expressions of doubt as whole words in any case; where two overlap the longer one counts, once."""

    def __init__(self, expressions: Iterable[str] = EXPRESSIONS) -> None:
        self.all = tuple(dict.fromkeys(expression.lower() for expression in expressions))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.all, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")

    def found_in(self, text: str) -> list[str]:
        """Each place, in the order of the text."""
        return self._pattern.findall(text.lower()) if self.all else []


@dataclass
class ReplyTally:
    """What a number of replies add up to."""

    replies: int = 0
    score: float = 0.0
    """Sum."""
    counted: int = 0
    """Replies whose length is known."""
    tokens: int = 0
    reflecting: int = 0
    """Replies with an expression."""
    places: Counter[str] = field(default_factory=Counter)

    def add(self, judged: Judged, expressions: Expressions) -> None:
        """Count one more, which has a score."""
        found = expressions.found_in(judged.reply.text)
        self.replies += 1
        self.score += judged.verdict.score or 0.0
        self.counted += judged.reply.length is not None
        self.tokens += judged.reply.length or 0
        self.reflecting += bool(found)
        self.places.update(found)

    def __add__(self, other: "ReplyTally") -> "ReplyTally":
        return ReplyTally(
            self.replies + other.replies,
            self.score + other.score,
            self.counted + other.counted,
            self.tokens + other.tokens,
            self.reflecting + other.reflecting,
            self.places + other.places,
        )

    @property
    def mean_score(self) -> float | None:
        """None of no reply, as the others."""
        return self.score / self.replies if self.replies else None

    @property
    def mean_tokens(self) -> float | None:
        """Of the replies whose length is known."""
        return self.tokens / self.counted if self.counted else None

    @property
    def share_reflecting(self) -> float | None:
        """Of the replies."""
        return self.reflecting / self.replies if self.replies else None

    @property
    def per_thousand(self) -> float | None:
        """Expressions in 1,000 tokens; None where a length is not known."""
        return 1000 * self.places.total() / self.tokens if self.tokens and self.counted == self.replies else None


class Outcomes(NamedTuple):
    """Right replies and wrong ones, apart. A reply without a score is neither."""

    right: ReplyTally
    wrong: ReplyTally

    @property
    def all(self) -> ReplyTally:
        """Both."""
        return self.right + self.wrong


class Stretch(NamedTuple):
    """A part of a training: the sampled replies of all runs of an arm."""

    step: float
    """Its middle."""
    outcomes: Outcomes


def tallied(replies: Iterable[Judged], expressions: Expressions, onto: Outcomes | None = None) -> Outcomes:
    """Judged replies by outcome, on top of others where these are given. A box is right from IoU 0.5 on."""
    outcomes = Outcomes(ReplyTally(), ReplyTally()) if onto is None else onto
    for judged in replies:
        if judged.verdict.score is not None:
            outcomes[judged.verdict.score < SUCCESS].add(judged, expressions)
    return outcomes


def trained_on(arm: Arm, expressions: Expressions) -> list[Stretch]:
    """What the policy wrote in training, all runs together; demonstrations are nobody's replies. Empty: nothing."""
    last = max((step.step for run in arm.runs for step in run.taken), default=-1)
    if last < 0:
        return []
    found = [Outcomes(ReplyTally(), ReplyTally()) for _ in range(STRETCHES)]
    for folder in dict.fromkeys(run.folder for run in arm.runs):
        for rollout in rollouts(folder):
            written = (judged for judged in rollout.group if not judged.reply.is_demo)
            tallied(written, expressions, onto=found[min(STRETCHES - 1, STRETCHES * rollout.step // (last + 1))])
    width = (last + 1) / STRETCHES
    return [Stretch((i + 0.5) * width, outcomes) for i, outcomes in enumerate(found) if outcomes.all.replies]


def rollouts(folder: Path) -> Iterator[Rollout]:
    """The groups that a run was trained on, one at a time; lines that are none are in the run's notices already."""
    path = folder / "rollouts.jsonl"
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                rollout = Rollout.model_validate_json(line)
            except ValidationError:
                continue
            if not rollout.left_out:
                yield rollout


def held_out_replies(runs: Sequence[RunRecords]) -> Iterator[Judged]:
    """The greedy replies of an arm's evaluations; where there is none, the samples."""
    for run in runs:
        for score in run.scores:
            yield from (score.greedy,) if score.greedy is not None else score.samples
