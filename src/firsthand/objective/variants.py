"""Methods beside those of methods.py, of the same form: settings, and a function of at most 40 lines each.

Shape letters: B replies (demonstrations included), T tokens of the longest reply.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from firsthand.objective.divergence import kl_term
from firsthand.objective.methods import GRPO, Mixed, Sampled, grpo, step_weights
from firsthand.objective.pieces import clipped_surrogate, sequence_mean
from firsthand.objective.table import LossAggMode, Table, Totals, required


class GMPO(Sampled):
    """Geometric-mean policy optimisation (arXiv:2507.20673, eq. 4)."""

    kind: str = "gmpo"
    clip_low: float = Field(default=0.4, gt=0)
    clip_high: float = Field(default=0.4, gt=0)
    """Each token's ratio is clipped to [exp(-clip_low), exp(clip_high)] before the mean is taken."""


class SAPO(Sampled):
    """Soft adaptive policy optimisation (arXiv:2511.20347): a gate in place of a clip."""

    kind: str = "sapo"
    tau_positive: float = Field(default=1.0, gt=0)
    tau_negative: float = Field(default=1.05, gt=0)
    """How fast the gate closes as a ratio leaves 1, on replies above and below their group's mean."""


class NSR(GRPO):
    """Negative sample reinforcement (arXiv:2506.01347): wrong replies are made less likely, whatever their group."""

    kind: str = "nsr"
    loss_agg_mode: LossAggMode = "token-mean"
    positive: float = Field(default=0.0, ge=0)
    """What a right reply earns, where a wrong one earns -1: 0 is NSR, 0.1 W-REINFORCE, 1 plain REINFORCE."""

    @property
    def needs_advantage(self) -> bool:
        return False


class HPT(Mixed, GRPO):
    """Hybrid post-training (arXiv:2509.04419): imitate where the policy fails, else learn from its own replies."""

    _later = GRPO._later
    kind: str = "hpt"
    baseline: Literal["mixed", "sampled"] = "sampled"
    gate: float = Field(default=0.0, ge=0, lt=1)
    """The share of right replies up to which a prompt's demonstration is imitated."""
    sft_weight: float = Field(default=1.0, ge=0)


def gmpo(table: Table, totals: Totals, settings: GMPO) -> dict[str, Tensor]:
    """`policy`: -A times the geometric mean of a reply's clipped token ratios; `kl`: see `kl_term`."""
    log_ratio_BT, advantage_B1 = table.log_ratio_BT, table.advantage_B[:, None]
    clamped_BT = log_ratio_BT.clamp(-settings.clip_low, settings.clip_high)
    pessimistic_BT = torch.where(
        advantage_B1 > 0, torch.minimum(log_ratio_BT, clamped_BT), torch.maximum(log_ratio_BT, clamped_BT)
    )
    ratio_B1 = sequence_mean(pessimistic_BT, table.mask_BT).exp()
    weight_BT = step_weights(table, totals, table.sampled_BT, totals.sampled, settings.loss_agg_mode)
    return {
        "policy": -(weight_BT * ratio_B1 * advantage_B1).sum(),
        **kl_term(table, totals, settings.loss_agg_mode, settings.kl),
    }


def sapo(table: Table, totals: Totals, settings: SAPO) -> dict[str, Tensor]:
    """`policy`: -(4 / tau) sigmoid(tau (ratio - 1)) A, whose slope on policy is that of the ratio; `kl`: `kl_term`."""
    advantage_B1 = table.advantage_B[:, None]
    tau_B1 = torch.where(advantage_B1 > 0, settings.tau_positive, settings.tau_negative)
    gate_BT = torch.sigmoid(tau_B1 * (table.log_ratio_BT.exp() - 1)) * 4 / tau_B1
    weight_BT = step_weights(table, totals, table.sampled_BT, totals.sampled, settings.loss_agg_mode)
    return {
        "policy": -(weight_BT * gate_BT * advantage_B1).sum(),
        **kl_term(table, totals, settings.loss_agg_mode, settings.kl),
    }


def nsr(table: Table, totals: Totals, settings: NSR) -> dict[str, Tensor]:
    """`policy`: the clipped surrogate, where a wrong reply's advantage is -1 and a right one's `positive`; `kl`."""
    worth_B = torch.where(table.score_B >= 0.5, settings.positive, -1.0).to(table.logp_BT.dtype)
    surrogate_BT = clipped_surrogate(
        table.log_ratio_BT, worth_B, clip_low=settings.clip_low, clip_high=settings.clip_high
    )
    weight_BT = step_weights(table, totals, table.sampled_BT, totals.sampled, settings.loss_agg_mode)
    return {
        "policy": (weight_BT * surrogate_BT).sum(),
        **kl_term(table, totals, settings.loss_agg_mode, settings.kl),
    }


def hpt(table: Table, totals: Totals, settings: HPT) -> dict[str, Tensor]:
    """`sft`: the NLL of demonstrations of prompts up to the gate, over all the step's; GRPO's terms, on the others."""
    fails_B = required(table.accuracy_B, "the groups' accuracy") <= settings.gate
    weight_BT = step_weights(table, totals, table.demo_BT, totals.demos, "token-mean") * fails_B[:, None]
    masked = table.without_advantage(fails_B)
    return {
        **grpo(masked, totals, settings),
        "sft": -settings.sft_weight * (weight_BT * table.logp_BT).sum(),
    }
