"""What objectives are put together from: advantages relative to a group, ratios, clips, divergences, weights of tokens.

Shape letters: B replies, T tokens of the longest reply, G replies of one prompt.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from firsthand.objective.table import same_shape

EPSILON = 1e-4
"""Added to the standard deviation of a group's rewards (R1-V and TRL)."""


def group_advantage(
    rewards_G: Sequence[float | None], *, scale: Literal["std", "none", "loo"], apart_G: Sequence[bool] | None = None
) -> list[float]:
    """Each reply's reward relative to its group: `(r - mean) / (std + 1e-4)` (DeepSeekMath §4.1.2).

    `none` leaves the division out (Dr. GRPO, arXiv:2503.20783), `loo` measures a reply by the mean of the others (RLOO,
    arXiv:2402.14740), which is n / (n - 1) times that, and so does a group whose rewards agree: all its
    replies get 0. A reply that stands apart counts in neither mean nor std, and is measured by them all the same (the
    split form of LUFFY's code). An unmeasured reward (None) counts in neither, and its reply gets 0, as all do where
    fewer than two count. The standard deviation is the sample's (n - 1), as in TRL.
    """
    apart_G = apart_G or [False] * len(rewards_G)
    known = [r for r, is_apart in zip(rewards_G, apart_G, strict=True) if r is not None and not is_apart]
    if len(known) < 2:
        return [0.0] * len(rewards_G)
    agree = max(known) == min(known)
    mean = known[0] if agree else math.fsum(known) / len(known)  # exact where they agree
    spread = 1.0 if scale != "loo" else (len(known) - 1) / len(known)
    if scale == "std" and not agree:
        spread = math.sqrt(math.fsum((r - mean) ** 2 for r in known) / (len(known) - 1)) + EPSILON
    return [0.0 if r is None else (r - mean) / spread for r in rewards_G]


def correction(
    old_logp_BT: Tensor,
    sampler_logp_BT: Tensor,
    *,
    how: Literal["truncate", "mask"],
    cap: float,
    level: Literal["token", "sequence"] = "token",
) -> Tensor:
    """Weights [B, T] of tokens that another program, or precision, has sampled: w = p_old / p_sampler, cut at `cap`.

    `truncate` takes min(w, cap) (truncated importance sampling, fengyao.notion.site/off-policy-rl); `mask` leaves out
    the tokens whose w is above `cap` or below 1 / cap, and weighs the others by w. Under `sequence` all tokens of a
    reply have the product of their w. The two columns agree behind a reply's end. Not to be confused with the ratio of
    the policy to the old one, which has the gradient.
    """
    same_shape(old_logp_BT, sampler_logp_BT)
    apart_BT = (old_logp_BT - sampler_logp_BT).detach()
    if level == "sequence":
        apart_BT = apart_BT.sum(dim=1, keepdim=True).expand_as(apart_BT)
    weight_BT = apart_BT.exp()
    if how == "truncate":
        return weight_BT.clamp(max=cap)
    return weight_BT * ((weight_BT <= cap) & (weight_BT >= 1 / cap))


def pass_at_k_advantage(
    right_G: Sequence[bool | None], k: int, *, is_scaled: bool = True, apart_G: Sequence[bool] | None = None
) -> list[float]:
    """Each reply's part in the chance that k of the group hold a right one (arXiv:2508.10751, its code).

    Of n replies, w of them wrong, k are all wrong with chance f = C(w, k) / C(n, k); a right reply earns f and a wrong
    one f - C(w - 1, k - 1) / C(n - 1, k - 1), divided by sqrt(f (1 - f)) + 1e-6 where it is scaled. k = 1 is GRPO's,
    with the deviation over n. Replies that stand apart, and unmeasured ones (None), are as in `group_advantage`.
    """
    apart_G = apart_G or [False] * len(right_G)
    known = [r for r, is_apart in zip(right_G, apart_G, strict=True) if r is not None and not is_apart]
    n, wrong = len(known), known.count(False)
    if n < 2:
        return [0.0] * len(right_G)
    k = min(k, n)
    failing = math.comb(wrong, k) / math.comb(n, k)
    others_fail = math.comb(wrong - 1, k - 1) / math.comb(n - 1, k - 1) if wrong else 0.0
    spread = math.sqrt(failing * (1 - failing)) + 1e-6 if is_scaled else 1.0
    return [0.0 if r is None else (failing - (0.0 if r else others_fail)) / spread for r in right_G]


def token_draws(key_B: Tensor, tokens: int) -> Tensor:
    """A number float64 [B, T] in [0, 1) for each token of replies with these keys, by a mix of 32 bits (lowbias32)."""
    place_T = torch.arange(tokens, device=key_B.device)
    x_BT = (key_B[:, None] * 0x9E3779B1 + place_T * 0x85EBCA77) & 0xFFFFFFFF
    x_BT = ((x_BT ^ (x_BT >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    x_BT = ((x_BT ^ (x_BT >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return (x_BT ^ (x_BT >> 16)).double() / 2**32


def batch_spread(advantages: Sequence[float]) -> float:
    """What divides the centred rewards of a whole batch: their deviation (n - 1) + 1e-4; 1 where all are 0.

    REINFORCE++ with a baseline, arXiv:2501.03262.
    """
    if not any(advantages):
        return 1.0
    mean = math.fsum(advantages) / len(advantages)
    return math.sqrt(math.fsum((a - mean) ** 2 for a in advantages) / (len(advantages) - 1)) + EPSILON


def clipped_surrogate(
    log_ratio_BT: Tensor,
    advantage_B: Tensor,
    *,
    clip_low: float | None,
    clip_high: float | None,
    clip_dual: float | None = None,
) -> Tensor:
    """PPO's clipped surrogate per token [B, T], as a loss (arXiv:1707.06347, eq. 7).

    clip_high > clip_low is DAPO's clip-higher; None leaves that end open. `clip_dual` bounds the loss of a bad token,
    whose ratio has no upper end, at so many times its loss on policy (dual clip, arXiv:1912.09729, eq. 5).
    """
    ratio_BT = log_ratio_BT.exp()
    advantage_B1 = advantage_B[:, None]
    loss_BT = -ratio_BT * advantage_B1
    if clip_low is not None or clip_high is not None:
        low = None if clip_low is None else 1 - clip_low
        high = None if clip_high is None else 1 + clip_high
        loss_BT = torch.maximum(loss_BT, -ratio_BT.clamp(low, high) * advantage_B1)
    if clip_dual is not None:
        loss_BT = torch.where(advantage_B1 < 0, torch.minimum(loss_BT, -clip_dual * advantage_B1), loss_BT)
    return loss_BT


def k3(logp_BT: Tensor, ref_logp_BT: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(policy || reference) per token [B, T]: `q/p - log(q/p) - 1`, never negative."""
    same_shape(logp_BT, ref_logp_BT)
    log_ratio_BT = ref_logp_BT - logp_BT
    return log_ratio_BT.exp() - log_ratio_BT - 1


def sequence_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over each reply's own tokens, [B, 1]; 0 for a reply that has none."""
    same_shape(values_BT, mask_BT)
    mask = mask_BT.to(values_BT.dtype)
    return (values_BT * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def shaped_probability(logp_BT: Tensor, gamma: float) -> Tensor:
    """LUFFY's policy shaping f(p) = p / (p + gamma) of each token's probability (arXiv:2504.14945, §3.2).

    Its slope gamma / (p + gamma)^2 gives tokens that the policy finds unlikely a gradient that p itself denies them.
    """
    prob_BT = logp_BT.exp()
    return prob_BT / (prob_BT + gamma)
