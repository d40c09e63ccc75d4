"""Methods that are about pictures: what a policy writes should depend on what it sees.

Shape letters: B replies, T tokens of the longest reply.
"""

import math

from pydantic import Field, model_validator
from torch import Tensor

from firsthand.objective.methods import GRPO, grpo, step_weights
from firsthand.objective.pieces import k3
from firsthand.objective.table import Table, Totals, required

PERCEPTION_CAP = 10.0
"""The most that a token's divergence counts, for what is made larger has no bound of its own (PAPO's code)."""


class PAPO(GRPO):
    """Perception-aware policy optimisation (arXiv:2507.06448, eq. 2): PAPO-G."""

    kind: str = "papo"
    gamma: float = Field(default=0.02, ge=0)
    """Weight of the KL to the policy that sees the masked pictures, which is made larger; 0 makes no such forward."""
    mask_ratio: float = Field(default=0.6, gt=0, le=1)
    """The share of each picture's squares that are black in it."""
    eta: float = Field(default=0.0, ge=0)
    """Weight of the entropy, which is made smaller: 0.05 for the paper's 7B model, 0 for its 3B."""

    @property
    def needs_advantage(self) -> bool:
        return self.gamma == 0 and self.eta == 0

    @property
    def masks(self) -> float:
        return self.mask_ratio if self.gamma else 0.0


class NoisyRollout(GRPO):
    """GRPO whose groups are half written to distorted pictures, and learned from with clean ones (arXiv:2504.13055)."""

    kind: str = "noisy-rollout"
    group_size: int = Field(default=12, ge=2, multiple_of=2)
    noise: int = Field(default=500, ge=0, lt=1000)
    """Steps of diffusion, of 1,000, that distort a picture at the start."""
    noise_slope: float = Field(default=30.0, ge=0)
    """How suddenly the noise falls, along a sigmoid of the run's share that is done."""
    noise_middle: float = Field(default=2 / 3, ge=0, le=1)
    """The share of the run at which half of it is left."""

    @property
    def distorts(self) -> bool:
        return True

    def noise_at(self, step: int, steps: int) -> int:
        """`noise` times 1 - sigmoid(slope * (share done - middle)), the step itself counting as done (its code)."""
        late = self.noise_slope * ((step + 1) / steps - self.noise_middle)
        return int(self.noise / (1 + math.exp(late)))

    @model_validator(mode="after")
    def _has_no_other_correction(self) -> "NoisyRollout":
        if self.correction != "none":
            raise ValueError(
                f"correction: {self.correction} would weigh replies to distorted pictures by what the sampler said of "
                "them under another prompt; leave it out"
            )
        return self


def papo(table: Table, totals: Totals, settings: PAPO) -> dict[str, Tensor]:
    """GRPO's terms; `perception`: -gamma KL(policy || policy that sees less), as k3, the second without gradient;
    `entropy`: eta times the mean of -log p, the authors' estimate."""
    weight_BT = step_weights(table, totals, table.sampled_BT, totals.sampled, settings.loss_agg_mode)
    terms = grpo(table, totals, settings)
    if settings.gamma:
        masked_BT = required(table.masked_logp_BT, "log-probs under masked pictures").detach()
        away_BT = k3(table.logp_BT, masked_BT).clamp(max=PERCEPTION_CAP)
        terms["perception"] = -settings.gamma * (weight_BT * away_BT).sum()
    if settings.eta:
        terms["entropy"] = -settings.eta * (weight_BT * table.logp_BT).sum()
    return terms
