"""KL(policy || reference) as a term of the loss: four estimators, in the loss itself or as a reward.

Which gradient each has is in docs/methods.md, and a test enumerates it.

Shape letters: B replies, T tokens of the longest reply.
"""

import torch
from torch import Tensor

from firsthand.objective.kl import Controller, KLEstimator
from firsthand.objective.pieces import k3
from firsthand.objective.table import LossAggMode, Table, Totals, required, same_shape, token_weights


def estimate(estimator: KLEstimator, logp_BT: Tensor, ref_logp_BT: Tensor) -> Tensor:
    """An estimate of KL(policy || reference) per token [B, T] (Schulman, joschu.net/blog/kl-approx.html).

    With d = log p - log q: `k1` is d, `k2` is d^2 / 2, and `k3`, whose correction is not in here, is exp(-d) + d - 1.
    """
    same_shape(logp_BT, ref_logp_BT)
    if estimator == "k1":
        return logp_BT - ref_logp_BT
    if estimator == "k2":
        return (logp_BT - ref_logp_BT).square() / 2
    return k3(logp_BT, ref_logp_BT)


def kl_term(table: Table, totals: Totals, mode: LossAggMode, kl: Controller) -> dict[str, Tensor]:
    """`kl`: the step's weight times the estimate, over sampled tokens, or over demonstrations where that is all.

    Empty when the step's weight is 0. Raises ValueError when it is not, and the table has no reference log-probs.
    """
    if totals.kl_weight == 0:
        return {}
    ref_logp_BT = required(table.ref_logp_BT, f"reference log-probs (the KL weight is {totals.kl_weight})")
    if kl.place == "reward":
        each_BT = _as_reward(table, ref_logp_BT, kl.estimator)
    else:
        each_BT = estimate(kl.estimator, table.logp_BT, ref_logp_BT)
    if kl.estimator == "k3-corrected":
        each_BT = table.log_ratio_BT.exp() * each_BT
    return {"kl": totals.kl_weight * (kl_weights(table, totals, mode) * each_BT).sum()}


def measured_kl(table: Table, totals: Totals) -> Tensor | None:
    """The mean k3 per token that controllers are steered by, without gradient; None without a reference."""
    if table.ref_logp_BT is None:
        return None
    return (kl_weights(table, totals, "token-mean") * k3(table.logp_BT.detach(), table.ref_logp_BT)).sum()


def kl_weights(table: Table, totals: Totals, mode: LossAggMode) -> Tensor:
    """Weights [B, T] of a mean over the step's sampled tokens; where nothing was sampled, over demonstrations'."""
    mask_BT, count = table.sampled_BT, totals.sampled
    if not totals.sampled.replies:
        mask_BT, count, mode = table.mask_BT, totals.demos, "token-mean"
    return token_weights(mask_BT, count, mode=mode, max_tokens=totals.max_tokens, dtype=table.logp_BT.dtype)


def _as_reward(table: Table, ref_logp_BT: Tensor, estimator: KLEstimator) -> Tensor:
    """The policy-gradient surrogate of a penalty: the ratio times what the old policy's tokens cost from here on."""
    log_ratio_BT = table.log_ratio_BT
    cost_BT = estimate(estimator, (table.logp_BT - log_ratio_BT).detach(), ref_logp_BT) * table.sampled_BT
    return log_ratio_BT.exp() * torch.flip(torch.flip(cost_BT, (1,)).cumsum(1), (1,))
