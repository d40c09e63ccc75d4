"""Which questions, pictures and replies the page shows, chosen by rule and never by hand, within a byte budget."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from firsthand.records import Judged, Rollout, Score, StopReason
from firsthand.report.arms import Arm
from firsthand.report.pictures import Shot, shot

MOST_PER_FAMILY = 8
MOST_GROUPS_PER_ARM = 6
HELD_OUT_BYTES, TRAINING_BYTES = 2_600_000, 1_400_000
"""Ours: with the curves, a page below 5 MB."""
_LONGEST_TEXT = 2400
"""Characters of a text that are shown; of a longer one the first two thirds, and the last, where the answer is."""

_T = TypeVar("_T")


class ReplyOutcome(StrEnum):
    """What became of a reply, for the filter and the marks."""

    RIGHT = "right"
    PARTLY = "partly"
    WRONG = "wrong"
    UNMEASURED = "unmeasured"


@dataclass(frozen=True)
class ShownReply:
    """One reply as the page shows it."""

    pieces: tuple[tuple[str, str], ...]
    """(css class, text): the tags `<think>` and `<answer>` are set apart from what stands between them."""
    outcome: ReplyOutcome
    status: str
    score: float | None
    parsed: str | None
    why: str
    tokens: int | None
    """None where nobody has counted."""
    truncated: bool
    demo: bool
    advantage: float | None


@dataclass(frozen=True)
class ArmReplies:
    """One arm's greedy reply (None: not asked for) and its samples."""

    arm: Arm
    greedy: ShownReply | None
    samples: tuple[ShownReply, ...]

    @property
    def right(self) -> int:
        """How many samples are right."""
        return sum(reply.outcome is ReplyOutcome.RIGHT for reply in self.samples)


@dataclass(frozen=True)
class Card:
    """One card of the gallery: a held-out question under every arm, or one training group of one arm."""

    example_id: str
    family: str
    question: str
    gold: str
    shots: tuple[Shot | None, ...]
    """None for a picture that the run directories do not hold."""
    step: int | None
    by_arm: tuple[ArmReplies, ...]

    @property
    def outcomes(self) -> str:
        """`arm:outcome` words that the filter matches: of greedy replies, or in a training group of all replies."""
        told = {
            f"{one.arm.index}:{reply.outcome}"
            for one in self.by_arm
            for reply in ([one.greedy] if one.greedy is not None else one.samples)
        }
        return " ".join(sorted(told))

    @property
    def is_demonstrated(self) -> bool:
        """Whether a training group was given rather than sampled."""
        return all(reply.demo for one in self.by_arm for reply in one.samples)

    @property
    def has_no_variance(self) -> bool:
        """Whether a training group taught nothing, every advantage being 0; demonstrations have none and do teach."""
        credits = {reply.advantage for one in self.by_arm for reply in one.samples if reply.advantage is not None}
        return credits == {0.0}

    @property
    def disagree(self) -> bool:
        """Whether the greedy replies of two arms fared differently."""
        return len({one.greedy.outcome for one in self.by_arm if one.greedy is not None}) > 1


def held_out(arms: Sequence[Arm], budget: int = HELD_OUT_BYTES) -> tuple[list[Card], int]:
    """Per family, turn about: questions on which arms disagree, all wrong, all right, and the rest, in order of ids.

    Of the arms of one table. Also how many there were to choose from.
    """
    by_question: dict[str, dict[int, Score]] = defaultdict(dict)
    for arm in arms:
        for score in arm.first.scores:
            by_question[score.example_id][arm.index] = score
    families: dict[str, list[str]] = defaultdict(list)
    for example_id in sorted(by_question):
        families[next(iter(by_question[example_id].values())).family].append(example_id)
    picked = [_mixed(ids, by_question)[:MOST_PER_FAMILY] for _, ids in sorted(families.items())]
    items = (_held_out_card(by_question[example_id], arms) for example_id in _in_turn(picked))
    return sorted(_within(budget, items), key=lambda item: item.family), len(by_question)


def training(arms: Sequence[Arm]) -> list[Card]:
    """Per arm, groups from the first step to the last at even distance; one with signal where the step has one.

    Of an SFT arm these are its demonstrations.
    """
    picked = [[(arm, group) for group in _spread(arm.first.groups, MOST_GROUPS_PER_ARM)] for arm in arms]
    items = (
        _card(group, [arm.first.folder], [ArmReplies(arm, None, tuple(map(shown_reply, group.group)))], group.step)
        for arm, group in _in_turn(picked)
    )
    return sorted(_within(TRAINING_BYTES, items), key=lambda item: (item.by_arm[0].arm.index, item.step or 0))


def _mixed(ids: Sequence[str], by_question: dict[str, dict[int, Score]]) -> list[str]:
    """Turn about between the ways in which the arms' greedy replies fared."""
    kinds: dict[str, list[str]] = {"disagree": [], "wrong": [], "right": [], "other": []}
    for example_id in ids:
        fared = {outcome_of(s.greedy) for s in by_question[example_id].values() if s.greedy is not None}
        only = next(iter(fared)).value if len(fared) == 1 else "disagree" if fared else "other"
        kinds[only if only in kinds else "other"].append(example_id)
    return list(_in_turn(list(kinds.values())))


def _held_out_card(scores: dict[int, Score], arms: Sequence[Arm]) -> Card:
    folders = [folder for arm in arms for folder in (arm.first.evaluated_in, arm.first.folder)]
    by_arm = [
        ArmReplies(
            arm,
            shown_reply(score.greedy) if score.greedy is not None else None,
            tuple(map(shown_reply, score.samples)),
        )
        for arm in arms
        if (score := scores.get(arm.index)) is not None
    ]
    return _card(next(iter(scores.values())), folders, by_arm)


def _card(
    shown: Score | Rollout, folders: Sequence[Path], by_arm: Sequence[ArmReplies], step: int | None = None
) -> Card:
    return Card(
        example_id=shown.example_id,
        family=shown.family,
        question=_shortened(shown.question),
        gold=_shortened(shown.gold),
        shots=tuple(shot(folders, sha256) for sha256 in shown.images),
        step=step,
        by_arm=tuple(by_arm),
    )


def shown_reply(judged: Judged) -> ShownReply:
    """What the page shows of a judged reply."""
    reply, verdict = judged.reply, judged.verdict
    return ShownReply(
        pieces=tuple(_pieces(_shortened(reply.text))),
        outcome=outcome_of(judged),
        status=verdict.status.value.replace("_", " "),
        score=verdict.score,
        parsed=None if verdict.parsed is None else _shortened(verdict.parsed),
        why=_shortened(verdict.why),
        tokens=reply.length,
        truncated=reply.stop is StopReason.LENGTH,
        demo=reply.is_demo,
        advantage=judged.advantage,
    )


def outcome_of(judged: Judged) -> ReplyOutcome:
    """Right is a full score and wrong is 0; what lies between, such as a box's overlap, is partly right."""
    score = judged.verdict.score
    if score is None:
        return ReplyOutcome.UNMEASURED
    return ReplyOutcome.RIGHT if score >= 1 else ReplyOutcome.PARTLY if score > 0 else ReplyOutcome.WRONG


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Cut a reply at its tags; the text before a closing tag is what its opening tag promised."""
    inside = ""
    for i, piece in enumerate(re.split("(</?(?:think|answer)>)", text)):
        yield "tag" if i % 2 else inside, piece
        if i % 2:
            inside = "" if piece.startswith("</") else piece.strip("<>")


def _shortened(text: str) -> str:
    cut = len(text) - _LONGEST_TEXT
    if cut <= 0:
        return text
    tail = _LONGEST_TEXT // 3
    return f"{text[: _LONGEST_TEXT - tail]}\n[... {cut:,} characters are not shown ...]\n{text[-tail:]}"


def _within(budget: int, items: Iterable[Card]) -> Iterator[Card]:
    """Items until the budget is spent; the first is always shown."""
    spent = 0
    for item in items:
        size = _bytes(item)
        if spent and spent + size > budget:
            return
        spent += size
        yield item


def _bytes(item: Card) -> int:
    """About how much of the page an item takes, from measured cards: its pictures, its texts, and the markup around."""
    replies = [reply for one in item.by_arm for reply in (one.greedy, *one.samples) if reply is not None]
    texts = [item.question, item.gold]
    for reply in replies:
        texts += [*(piece for _, piece in reply.pieces), reply.why, reply.parsed or ""]
    pictures = sum(len(picture.uri) for picture in item.shots if picture is not None)
    return pictures + sum(len(escape(text).encode()) for text in texts) + 900 * len(replies) + 1500


def _spread(groups: Sequence[Rollout], most: int) -> list[Rollout]:
    """At most `most`, evenly, ends included."""
    if len(groups) <= most:
        return list(groups)
    return [groups[round(i * (len(groups) - 1) / (most - 1))] for i in range(most)]


def _in_turn(queues: Sequence[Sequence[_T]]) -> Iterator[_T]:
    """The first of each, then the second of each, and so on."""
    return (item for turn in zip_longest(*queues) for item in turn if item is not None)
