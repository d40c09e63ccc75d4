"""The table of reply tokens that every objective is computed from, and the means that it may take over them.

A mean is a weighting of one sum, and its denominator belongs to the whole optimizer step (`Totals`), never to a
micro-batch: splitting a step changes no gradient.

Shape letters: B replies (demonstrations included), T tokens of the longest reply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

import torch
from torch import Tensor

LossAggMode = Literal["seq-mean-token-mean", "token-mean", "seq-mean-token-sum-norm"]
"""Over what a loss is averaged, in verl's names; see `token_weights`."""


@dataclass(frozen=True)
class Table:
    """The tokens of some replies of one step. Tensors of [B, T] or [B], as their names say."""

    logp_BT: Tensor
    """Log-probs under the policy that is trained; carries the gradient."""
    mask_BT: Tensor
    """bool: real tokens."""
    advantage_B: Tensor
    """Of each reply, relative to its group; 0 where there is none."""
    score_B: Tensor
    """The verdict's score in [0, 1], without what a recipe adds to it for format or length; 0 where unmeasured."""
    is_demo_B: Tensor
    """bool: demonstrations, which nobody sampled."""
    old_logp_BT: Tensor | None = None
    """Log-probs of the policy before the batch's first update. None: it is the one that is trained; their ratio is 1.
    The sampler's are taken for them, unless a method corrects for the sampler: then they are the trainer's own."""
    ref_logp_BT: Tensor | None = None
    """Log-probs under the reference policy; only when the step has a KL weight."""
    entropy_BT: Tensor | None = None
    """Entropy (nats) of the distribution each token came from; only for methods that ask for it."""
    teacher_logp_BT: Tensor | None = None
    """Log-probs under the recipe's teacher; only for methods that need one."""
    masked_logp_BT: Tensor | None = None
    """Log-probs under the policy that sees masked pictures, without gradient; only for methods that mask some. After a
    prompt without pictures they are nearly the policy's own."""
    sampler_logp_BT: Tensor | None = None
    """What the sampler said of its tokens, in its own precision; of demonstrations, the policy's."""
    correction_BT: Tensor | None = None
    """What sampled tokens weigh for being another program's, without gradient: see `pieces.correction`. None: 1."""
    group_B: Tensor | None = None
    """int: the number of each reply's group in its batch; a group may be spread over several tables."""
    accuracy_B: Tensor | None = None
    """Mean score of the sampled replies of each reply's whole group; 0 where none was measured."""
    key_B: Tensor | None = None
    """int: a hash of each reply's tokens, for what is drawn by chance: see `pieces.token_draws`."""

    def __post_init__(self) -> None:
        """Broadcasting a column would be wrong and silent. Raises ValueError."""
        replies_B = self.logp_BT.sum(dim=-1)
        for name in TABLE_COLUMNS:
            if (column := getattr(self, name)) is not None:
                same_shape(self.logp_BT if name.endswith("_BT") else replies_B, column)

    @classmethod
    def joined(cls, tables: Sequence["Table"]) -> "Table":
        """The replies of several tables in one, without gradient: T becomes the longest of all."""
        longest = max(table.logp_BT.shape[1] for table in tables)

        def column(name: str) -> Tensor | None:
            parts = [getattr(table, name) for table in tables]
            if any(part is None for part in parts):
                return None
            if name.endswith("_BT"):
                parts = [torch.nn.functional.pad(part, (0, longest - part.shape[1])) for part in parts]
            return torch.cat([part.detach() for part in parts])

        return cls(**{name: column(name) for name in TABLE_COLUMNS})  # type: ignore[arg-type]

    def without_advantage(self, where_B: Tensor) -> "Table":
        """The table in which these replies have none."""
        return replace(self, advantage_B=self.advantage_B.masked_fill(where_B, 0.0))

    @property
    def demo_BT(self) -> Tensor:
        """bool: tokens of demonstrations."""
        return self.mask_BT & self.is_demo_B[:, None]

    @property
    def sampled_BT(self) -> Tensor:
        """bool: tokens that the policy sampled."""
        return self.mask_BT & ~self.is_demo_B[:, None]

    @property
    def log_ratio_BT(self) -> Tensor:
        """log(policy / old policy): 0 where the two are one, and with its gradient all the same.

        The stored log-probs come from another kernel: using them where the ratio is 1 would only add their rounding.
        """
        old_BT = self.logp_BT if self.old_logp_BT is None else self.old_logp_BT
        return self.logp_BT - old_BT.detach()


TABLE_COLUMNS = tuple(one.name for one in fields(Table))


@dataclass(frozen=True)
class Count:
    """How many replies, and tokens in them."""

    replies: int = 0
    tokens: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.replies + other.replies, self.tokens + other.tokens)


@dataclass(frozen=True)
class Totals:
    """What holds for a whole optimizer step, over all its micro-batches."""

    sampled: Count
    demos: Count = Count()
    max_tokens: int = 1
    """The longest that a sampled reply may be."""
    step: int = 0
    steps: int = 1
    """Optimizer steps of the run; `step` counts from 0."""
    kl_weight: float = 0.0
    """beta of this step, from the method's KL controller."""
    entropy: float | None = None
    """Mean entropy (nats) of the policy over the step's sampled tokens, as the sampled log-probs estimate it."""
    survey: Mapping[str, float] = field(default_factory=dict)
    """What the method wanted to know of all tokens of the step before any is learned from: see `Method.survey`."""

    @property
    def all(self) -> Count:
        """Sampled replies and demonstrations together."""
        return self.sampled + self.demos


def token_weights(
    mask_BT: Tensor, count: Count, *, mode: LossAggMode, max_tokens: int = 1, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Weights [B, T] such that `(weights * loss).sum()`, added up over micro-batches, is a mean over the whole step.

    `seq-mean-token-mean`: each reply counts once, whatever its length (GRPO). `token-mean`: each token counts once
    (SFT, DAPO). `seq-mean-token-sum-norm`: tokens are summed and divided by replies * max_tokens, a constant (Dr.
    GRPO). A step that holds none of the masked tokens has weights 0, not nan.
    """
    mask_BT_ = mask_BT.to(dtype)
    if mode == "token-mean":
        return mask_BT_ / max(1, count.tokens)
    if mode == "seq-mean-token-sum-norm":
        return mask_BT_ / max(1, count.replies * max_tokens)
    length_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return mask_BT_ / (length_B1 * max(1, count.replies))


def required(column: Tensor | None, what: str) -> Tensor:
    """A column that the settings need. Raises ValueError when the table lacks it."""
    if column is None:
        raise ValueError(f"the table needs {what}; got none")
    return column


def same_shape(a: Tensor, b: Tensor) -> None:
    """Broadcasting [B, T] with [B] or [T] would be wrong and silent. Raises ValueError."""
    if a.shape != b.shape:
        raise ValueError(f"expected two tensors of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
