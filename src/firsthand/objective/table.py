"""What is optimised: every objective is a sum of named terms over one table of reply tokens.

An objective is a pure function `(table, totals, settings) -> {term: scalar}`; the loss is the sum of its terms, and
each is logged under its own name, so what is plotted is what is optimised. A term is a weighted sum over tokens whose
weights come from the whole optimizer step (`Totals`), never from a micro-batch: splitting a step changes no gradient.

Shape letters: B replies (demonstrations included), T tokens of the longest reply, G replies of one prompt.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from firsthand.records import Record


@dataclass(frozen=True)
class Table:
    """The tokens of some replies of one step."""

    logp_BT: Tensor
    """Log-probs under the policy that is trained; carries the gradient."""
    mask_BT: Tensor
    """bool: real tokens."""
    advantage_B: Tensor
    """Group-relative credit of each reply; 0 where there is none."""
    ref_logp_BT: Tensor | None = None
    """Log-probs under the reference policy; only when the objective needs them."""

    def __post_init__(self) -> None:
        """Broadcasting a column would be wrong and silent. Raises ValueError."""
        _same_shape(self.logp_BT, self.mask_BT)
        _same_shape(self.mask_BT.any(dim=1), self.advantage_B)
        if self.ref_logp_BT is not None:
            _same_shape(self.logp_BT, self.ref_logp_BT)


@dataclass(frozen=True)
class Totals:
    """What a whole optimizer step holds, over all its micro-batches: the denominators of every mean."""

    replies: int
    tokens: int


class SFT(Record):
    """Supervised fine-tuning: imitate a demonstration of each prompt."""

    kind: Literal["sft"] = "sft"
    trace: str = "expert"
    """Which demonstration to imitate: `plain` or `expert` in the worlds; `plain` in a user's own data."""


class GRPO(Record):
    """Group-relative policy optimisation (DeepSeekMath, arXiv:2402.03300, eq. 3)."""

    kind: Literal["grpo"] = "grpo"
    group_size: int = Field(default=8, ge=2)
    """Replies per prompt (R1-V's setting)."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.2, gt=0)
    """The ratio is clipped to [1 - clip_low, 1 + clip_high] (PPO, arXiv:1707.06347)."""
    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL to the start of training; 0 runs no reference pass (TRL's default; DeepSeekMath used 0.04)."""
    scale: Literal["std", "none"] = "std"
    """Divide the advantage by the group's standard deviation (GRPO), or not (Dr. GRPO, arXiv:2503.20783)."""
    per: Literal["sequence", "token"] = "sequence"
    """Every reply weighs the same (GRPO), or every token does (DAPO, arXiv:2503.14476)."""


Objective = Annotated[SFT | GRPO, Field(discriminator="kind")]

EPSILON = 1e-4
"""Added to the standard deviation of a group's rewards (R1-V and TRL)."""


def sft(table: Table, totals: Totals, settings: SFT) -> dict[str, Tensor]:
    """`nll`: the mean negative log-likelihood per demonstration token."""
    weight_BT = token_weights(table.mask_BT, totals, per="token", dtype=table.logp_BT.dtype)
    return {"nll": -(weight_BT * table.logp_BT).sum()}


def grpo(table: Table, totals: Totals, settings: GRPO) -> dict[str, Tensor]:
    """`policy`: the clipped surrogate; `kl`: beta times the k3 estimate of the KL to the reference, if beta > 0.

    One optimizer step per rollout, so the sampling policy is the current one and its log-probs are `logp.detach()`:
    a stored value from another kernel would put rounding into the ratio.
    """
    weight_BT = token_weights(table.mask_BT, totals, per=settings.per, dtype=table.logp_BT.dtype)
    surrogate_BT = clipped_surrogate(
        table.logp_BT,
        table.logp_BT.detach(),
        table.advantage_B,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
    )
    terms = {"policy": (weight_BT * surrogate_BT).sum()}
    if settings.beta > 0:
        if table.ref_logp_BT is None:
            raise ValueError(f"beta is {settings.beta}, so the table needs reference log-probs; got none")
        terms["kl"] = settings.beta * (weight_BT * k3(table.logp_BT, table.ref_logp_BT)).sum()
    return terms


TERMS: dict[str, Callable[..., dict[str, Tensor]]] = {"sft": sft, "grpo": grpo}
"""An objective's kind -> the function that computes its terms."""


def group_advantage(rewards_G: Sequence[float | None], *, scale: Literal["std", "none"]) -> list[float]:
    """Each reply's reward relative to its group: `(r - mean) / (std + 1e-4)` (DeepSeekMath §4.1.2).

    An unmeasured reward (None) is left out of mean and std, and its reply gets 0: it teaches nothing. A group whose
    rewards agree teaches nothing either. The standard deviation is the sample's (n - 1), as in TRL.
    """
    known = [r for r in rewards_G if r is not None]
    if len(known) < 2 or max(known) == min(known):
        return [0.0] * len(rewards_G)
    mean = math.fsum(known) / len(known)
    spread = 1.0
    if scale == "std":
        spread = math.sqrt(math.fsum((r - mean) ** 2 for r in known) / (len(known) - 1)) + EPSILON
    return [0.0 if r is None else (r - mean) / spread for r in rewards_G]


def clipped_surrogate(
    logp_BT: Tensor, sampled_logp_BT: Tensor, advantage_B: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """PPO's clipped surrogate per token [B, T], as a loss (arXiv:1707.06347, eq. 7)."""
    _same_shape(logp_BT, sampled_logp_BT)
    ratio_BT = (logp_BT - sampled_logp_BT).exp()
    advantage_B1 = advantage_B[:, None]
    clipped_BT = ratio_BT.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio_BT * advantage_B1, clipped_BT * advantage_B1)


def k3(logp_BT: Tensor, ref_logp_BT: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(policy || reference) per token [B, T]: `q/p - log(q/p) - 1`, never negative."""
    _same_shape(logp_BT, ref_logp_BT)
    log_ratio_BT = ref_logp_BT - logp_BT
    return log_ratio_BT.exp() - log_ratio_BT - 1


def token_weights(
    mask_BT: Tensor, totals: Totals, *, per: Literal["sequence", "token"], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Weights [B, T] such that `(weights * loss).sum()`, added up over micro-batches, is a mean over the whole step.

    `sequence`: each reply counts once, whatever its length (GRPO). `token`: each token counts once (SFT, DAPO).
    """
    if per == "token":
        return mask_BT.to(dtype) / totals.tokens
    length_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return mask_BT.to(dtype) / (length_B1 * totals.replies)


def _same_shape(a: Tensor, b: Tensor) -> None:
    """Broadcasting [B, T] with [B] or [T] would be wrong and silent."""
    if a.shape != b.shape:
        raise ValueError(f"expected two tensors of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
