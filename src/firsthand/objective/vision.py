"""Methods that are about pictures: what a policy writes should depend on what it sees.

Shape letters: B replies, T tokens of the longest reply.
"""

from pydantic import Field
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
