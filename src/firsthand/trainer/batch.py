"""The records of a training step: a batch of groups, each an example with its judged replies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from firsthand.policy import PrefixGroup
from firsthand.processor import Prompt
from firsthand.records import Example, Judged


@dataclass(frozen=True)
class Group:
    """One example, its encoded prompt, and its judged replies; a demonstration comes last."""

    example: Example
    prompt: Prompt
    replies: tuple[Judged, ...]
    number: int = 0
    """Its place in the batch; see `placed`."""
    accuracy: float = 0.0
    """Mean score of its sampled replies, 0 where none was measured; see `placed`."""
    old_logprobs: tuple[tuple[float, ...], ...] | None = None
    """Of each trainable reply's tokens, under the policy before the batch's first update, where somebody asked."""

    def placed(self, number: int) -> "Group":
        """The group with its place, and what its parts cannot know of the whole."""
        scores = [j.verdict.score for j in self.replies if not j.reply.is_demo and j.verdict.score is not None]
        return replace(self, number=number, accuracy=math.fsum(scores) / len(scores) if scores else 0.0)

    def halves(self) -> tuple["Group", "Group"]:
        """The same replies in two groups, each with the whole prompt."""
        rows, old, middle = self.trainable, self.old_logprobs, len(self.trainable) // 2
        return (
            replace(self, replies=rows[:middle], old_logprobs=old and old[:middle]),
            replace(self, replies=rows[middle:], old_logprobs=old and old[middle:]),
        )

    @cached_property
    def has_zero_variance(self) -> bool:
        """Whether no reply has an advantage: their rewards agree, or fewer than two were measured."""
        return not any(judged.advantage for judged in self.replies)

    @cached_property
    def scores_agree(self) -> bool:
        """Whether all replies that count are as right as each other, whatever a recipe adds for format or length."""
        return len({judged.verdict.score for judged in self.replies if judged.reward is not None}) < 2

    @cached_property
    def trainable(self) -> tuple[Judged, ...]:
        """The replies that losses and denominators count: demonstrations, and those with a reward."""
        return tuple(j for j in self.replies if j.reply.is_demo or j.reward is not None)

    @cached_property
    def packed(self) -> PrefixGroup:
        """The trainable replies as the policy takes them."""
        return PrefixGroup(
            self.prompt,
            tuple(j.reply.token_ids for j in self.trainable),
            sampled_logprobs=tuple(() if j.reply.distorted else j.reply.logprobs for j in self.trainable),
            given=tuple(j.reply.is_demo for j in self.trainable),
        )


class LeftOut(NamedTuple):
    """A group that was sampled and scored, and is not trained on."""

    group: Group
    why: str


@dataclass(frozen=True)
class Batch:
    """The groups of a training step, and how long it took to get them."""

    groups: tuple[Group, ...] = ()
    sampled: tuple[Group, ...] = ()
    """All groups that there were: more where some were left out."""
    timing: Mapping[str, float] = field(default_factory=dict)
    """Seconds, see `records.Step`."""
    left_out: tuple[LeftOut, ...] = ()


def sampled_entropy(groups: Sequence[Group]) -> float | None:
    """The policy's mean entropy per sampled token (nats), estimated by -log-prob of what it sampled; None without."""
    replies = [j.reply for group in groups for j in group.replies if not (j.reply.is_demo or j.reply.distorted)]
    logps = [p for reply in replies for p in reply.logprobs]
    return -math.fsum(logps) / len(logps) if logps else None
