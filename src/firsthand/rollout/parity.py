"""Whether a server samples from the policy that is trained: the log-probs of tokens that nobody trains on.

A server may keep old weights (a tied output layer that is not loaded again), half of the new ones, or states that were
computed with others. All of them answer, and fluently; only numbers tell.

Shape letter: K held-out tokens.
"""

from typing import NamedTuple

import torch

from firsthand.errors import ParityError
from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.head import Head

PLAIN = 4.0
"""How many times as far as rounding the policy must have moved before it can be told which of two it is (ours)."""
_ROUNDING = 1e-6
"""Of a log-prob in float32, nats."""


class Gap(NamedTuple):
    """How far tokens' log-probs in rollout and in training are apart (nats)."""

    max: float
    mean: float

    @classmethod
    def between(cls, a_K: torch.Tensor, b_K: torch.Tensor) -> "Gap":
        """Of two columns of log-probs; nan where one has it."""
        gap_K = (a_K.double() - b_K.double()).abs()
        return cls(float(gap_K.max()), float(gap_K.mean()))

    def within(self, bound: "Gap") -> bool:
        """Whether both are at most the bound's; false for nan."""
        return self.max <= bound.max and self.mean <= bound.mean


PARITY = {torch.float32: Gap(1e-3, 1e-4), torch.bfloat16: Gap(1.0, 0.1), torch.float16: Gap(1.0, 0.1)}
"""What rounding explains in a forward, by what weights are. The most that any had: 1e-5 and 1e-7 in float32, and 0.05
and 2e-3 in bfloat16 with the small model; 1e-4 and 1e-5, and 0.31 and 0.05, with random weights in the shape of
Qwen2.5-VL-3B on an H200 (docs/precision.md). float16 is not measured, and rounds less than bfloat16."""


class _Push(NamedTuple):
    server_K: torch.Tensor
    trainer_K: torch.Tensor


class Watch:
    """Compares a server's log-probs of the same tokens with the trainer's, push after push."""

    def __init__(self, bound: Gap) -> None:
        self._bound = bound
        self._last: _Push | None = None
        self._anchor: _Push | None = None
        """The last push whose weights could be told from the ones before."""

    def check(self, server_K: torch.Tensor, trainer_K: torch.Tensor) -> Gap:
        """How far the two are apart after a push.

        Raises ParityError when that is more than rounding, when the trainer has moved and the server has not, to the
        bit, or when the server is nearer to what the trainer was than to what it is.
        """
        gap = Gap.between(server_K, trainer_K)
        if not gap.within(self._bound):
            raise _stale(
                f"differ by {gap.max:.2g} nats at most, and by {gap.mean:.2g} on average (bounds: {self._bound})"
            )
        new = _Push(server_K, trainer_K)
        if self._last is not None:
            has_moved = not torch.equal(trainer_K, self._last.trainer_K)
            if has_moved and torch.equal(server_K, self._last.server_K):
                raise _stale("are, to the bit, what they were before the push, and the trainer's are not")
        if self._anchor is None:
            self._anchor = new
        moved, noise = Gap.between(trainer_K, self._anchor.trainer_K).mean, Gap.between(*self._anchor).mean
        if moved > PLAIN * max(noise, _ROUNDING):
            past = Gap.between(server_K, self._anchor.trainer_K)
            if past.mean < gap.mean:
                raise _stale(
                    f"are nearer to the log-probs of weights before ({past.mean:.2g} nats) than to the trainer's now "
                    f"({gap.mean:.2g})"
                )
            self._anchor = new
        self._last = new
        return gap


def _stale(found: str) -> ParityError:
    return ParityError(
        f"after a push of weights, the server's log-probs of held-out tokens {found}: it holds other weights than "
        "the trainer, or half of them. Nothing was trained on that. Is the server the one that vllm_server.py starts, "
        "on the recipe's own model, in its precision (--dtype)? A tied output layer is known to stay "
        "stale: untie it. Restart the server, and give the command again: the run goes on"
    )


@torch.no_grad()
def trainer_logprobs(policy: Policy, groups: list[PrefixGroup]) -> torch.Tensor:
    """Log-probs [K] of all reply tokens at temperature 1 over the whole vocabulary, as a server scores a prompt's."""
    rows = policy.rows(groups)
    hidden_KD = policy.hidden(rows, groups).last_hidden_state[rows.row_K, rows.source_K]
    head = Head(policy.model.get_output_embeddings(), (), policy.model.config.get_text_config().vocab_size)
    return head.logprobs(hidden_KD, rows.target_K, 1.0, "none").logp_K.cpu()
