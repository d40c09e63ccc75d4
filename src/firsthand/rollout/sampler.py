"""The seam to sampling: prompts in, groups of replies out."""

from collections.abc import Callable, Sequence
from typing import Protocol

from pydantic import Field

from firsthand.processor import Prompt
from firsthand.records import Record, Reply


class Sampling(Record):
    """How replies are drawn."""

    max_new_tokens: int = Field(default=512, gt=0)
    """A reply that has not ended by then is cut, and says so (`StopReason.LENGTH`)."""
    temperature: float = Field(default=1.0, ge=0.0)
    """Divides the logits; 0 takes the likeliest token. 1.0 is GRPO's (DeepSeekMath, arXiv:2402.03300)."""


OnReply = Callable[[int, int, Reply], None]
"""Called with (prompt's place, reply's number, reply) as soon as a reply is written, in the order of their ends."""


def ignore(prompt: int, number: int, reply: Reply) -> None:
    """What is done with a reply that has ended, where nobody waits for it."""


class Sampler(Protocol):
    """Anything that answers prompts: the policy itself, an inference server, a script."""

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int,
        settings: Sampling,
        on_reply: OnReply = ignore,
        *,
        seed: int = 0,
        greedy: bool = False,
    ) -> list[tuple[Reply, ...]]:
        """n replies to each prompt, in the order of the prompts; each was given to `on_reply` when it ended.

        `seed` names the draw: reply i to an example is the same function of (seed, example, i) in every batch.
        `greedy` puts one of the likeliest tokens before them: the prompt is run once for all.
        """
        ...
