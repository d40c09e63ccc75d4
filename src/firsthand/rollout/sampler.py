"""The seam to sampling: prompts in, replies out, each as soon as it is written."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from pydantic import Field

from firsthand.processor import Prompt
from firsthand.records import Record, Reply


class Sampling(Record):
    """How replies are drawn."""

    max_new_tokens: int = Field(default=512, gt=0)
    """A reply that has not ended by then is cut, and says so (`StopReason.LENGTH`)."""
    temperature: float = Field(default=1.0, ge=0.0)
    """Divides the logits; 0 takes the likeliest token. 1.0 is GRPO's (DeepSeekMath, arXiv:2402.03300)."""


class IndexedReply(NamedTuple):
    """A reply, and what it answers."""

    prompt: int
    """Index of its prompt."""
    number: int
    """Which of the prompt's replies it is."""
    reply: Reply


class Sampler(Protocol):
    """Anything that answers prompts: the policy itself, an inference server, a script."""

    def sample(
        self, prompts: Sequence[Prompt], n: int, settings: Sampling, *, seed: int = 0, greedy: bool = False
    ) -> Iterator[IndexedReply]:
        """n replies to each prompt, in the order of their ends; they are written as the iterator is read.

        `seed` names the draw: reply i to an example is the same function of (seed, example, i) in every batch.
        `greedy` puts one of the likeliest tokens before them, as number 0: the prompt is run once for all.
        """
        ...


def grouped(replies: Iterable[IndexedReply], prompts: int) -> list[tuple[Reply, ...]]:
    """All replies of so many prompts, by prompt and number."""
    groups: list[list[IndexedReply]] = [[] for _ in range(prompts)]
    for indexed in replies:
        groups[indexed.prompt].append(indexed)
    return [tuple(one.reply for one in sorted(group, key=lambda one: one.number)) for group in groups]
