"""The methods: settings, and pure functions `(table, totals, settings) -> {term: scalar}` whose sum is the loss.

Each term is logged under its own name, so what is plotted is what is optimised. A method is a preset: one of these
functions, its settings, and the values of its paper (`presets.py`).

Shape letters: B replies (demonstrations included), T tokens of the longest reply.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from firsthand.objective.divergence import kl_term
from firsthand.objective.kl import KL, Constant
from firsthand.objective.pieces import clipped_surrogate, sequence_mean, shaped_probability
from firsthand.objective.table import Count, LossAggMode, Table, Totals, required, token_weights
from firsthand.policy.head import Entropy
from firsthand.records import GrownRecord

AdvantageScale = Literal["std", "batch", "none", "loo"]
"""What a reward's distance from its group's mean is divided by."""


class Method(GrownRecord):
    """What the trainer asks of every method."""

    imitates: ClassVar[bool] = False
    """Whether a demonstration of the prompt joins each group; see `Imitating`."""
    needs_teacher: ClassVar[bool] = False
    """Whether `Table.teacher_logp_BT` is looked at, so that a recipe must name a teacher."""
    kind: str
    kl: KL = Constant()
    """Weight of the KL to the policy at the start of training; a number, or a schedule with its `kind`."""

    @property
    def samples(self) -> int:
        """Replies sampled per prompt; 0 only in methods that do nothing but imitate."""
        return 0

    @property
    def entropy(self) -> Entropy:
        """Whether the terms need the entropy of each token's distribution, and with its gradient."""
        return "none"

    @property
    def needs_advantage(self) -> bool:
        """Whether a group without any advantage changes nothing (but for its KL): it may then be left out."""
        return not self.imitates

    @property
    def surveys(self) -> bool:
        """Whether `survey` is asked, which costs another forward."""
        return False

    @property
    def masks(self) -> float:
        """The share of every picture that `Table.masked_logp_BT` does without; 0: there is no such column."""
        return 0.0

    @property
    def distorts(self) -> bool:
        """Whether half of each group is written to distorted pictures; see `noise_at`."""
        return False

    def noise_at(self, step: int, steps: int) -> int:
        """How strongly they are distorted in a step of so many: a level of `distort.noisy`."""
        return 0

    def survey(self, table: Table) -> Mapping[str, float]:
        """Numbers that depend on all tokens of an optimizer step, such as a quantile, from a table of the whole step.

        They are then in `Totals.survey`, so that no split of the step changes them.
        """
        return {}

    @model_validator(mode="after")
    def _has_what_its_kl_needs(self) -> "Method":
        if not self.samples and (self.kl.place == "reward" or self.kl.estimator == "k3-corrected"):
            raise ValueError(
                f"kl: {self.kind} samples no replies, so its KL can be neither a reward nor weighed by ratios; "
                "leave `place` out, and take k2 or k3"
            )
        return self


class Imitating(Method):
    """What all methods share that learn from a demonstration of each prompt."""

    imitates: ClassVar[bool] = True
    style: str | None = None
    """Which style of demonstration, such as `plain` or `expert`; None: the only one that the data has."""


class SFT(Imitating):
    """Supervised fine-tuning: imitate a demonstration of each prompt."""

    kind: str = "sft"
    dft: bool = False
    """Weigh each token's loss by its own probability, without gradient (DFT, arXiv:2508.05629)."""


class Sampled(Method):
    """What all methods share that learn from groups of sampled replies."""

    _later = frozenset(("correction", "correction_cap", "correction_level", "pass_k"))
    group_size: int = Field(default=8, ge=2)
    scale: AdvantageScale = "std"
    """Divide the advantage by the group's standard deviation (GRPO), by that of the batch's advantages (REINFORCE++),
    or not (Dr. GRPO); `loo` takes the mean of the other replies alone (RLOO)."""
    loss_agg_mode: LossAggMode = "seq-mean-token-mean"
    """Every reply weighs the same (GRPO), every token does (DAPO), or a constant divides the sum (Dr. GRPO)."""
    zero_variance: Literal["keep", "filter", "resample"] = "keep"
    """Groups whose scores agree: count them in the denominators, leave them out, or draw others for them (DAPO)."""

    correction: Literal["none", "truncate", "mask"] = "none"
    """Weigh sampled tokens by p_old / p_sampler, cut at a cap or left out beyond it: see `pieces.correction`."""
    correction_cap: float = Field(default=2.0, gt=1)
    correction_level: Literal["token", "sequence"] = "token"
    """Whether each token has its own weight, or all of a reply have the product of theirs."""
    pass_k: int | None = Field(default=None, ge=1)
    """Advantages are those of the best of so many replies (pass@k training, arXiv:2508.10751), which look at right and
    wrong alone; null: each reply's own."""

    @model_validator(mode="after")
    def _has_so_many(self) -> "Sampled":
        if self.pass_k is not None and self.pass_k > self.group_size:
            raise ValueError(f"pass_k must not exceed group_size: got {self.pass_k} and {self.group_size}")
        return self

    @property
    def samples(self) -> int:
        return self.group_size


class GRPO(Sampled):
    """Group-relative policy optimisation (DeepSeekMath, arXiv:2402.03300, eq. 3)."""

    _later = Sampled._later | {"clip_dual", "top_entropy"}
    kind: str = "grpo"
    ratio: Literal["token", "sequence", "reply"] = "token"
    """One probability ratio per token, or per reply: the geometric mean of its tokens' (`sequence`: GSPO,
    arXiv:2507.18071), or their product (`reply`: RLOO, arXiv:2402.14740)."""
    clip_low: float | None = Field(default=0.2, gt=0, lt=1)
    clip_high: float | None = Field(default=0.2, gt=0)
    """The ratio is clipped to [1 - clip_low, 1 + clip_high] (PPO, arXiv:1707.06347); null leaves an end open."""
    clip_dual: float | None = Field(default=None, gt=1)
    """A bad token's loss is at most so many times its loss on policy (dual clip, arXiv:1912.09729); null: no bound."""
    top_entropy: float = Field(default=1.0, gt=0, le=1)
    """Only this share of the step's sampled tokens learns from rewards, the ones of most entropy (arXiv:2506.01939)."""

    @property
    def entropy(self) -> Entropy:
        return "value" if self.top_entropy < 1 else "none"

    @property
    def surveys(self) -> bool:
        return self.top_entropy < 1

    def survey(self, table: Table) -> Mapping[str, float]:
        """`entropy`: the least that a token must have."""
        entropy_K = required(table.entropy_BT, "entropies")[table.sampled_BT]
        return {"entropy": float(entropy_K.float().quantile(1 - self.top_entropy))} if len(entropy_K) else {}


class CISPO(Sampled):
    """Clipped importance weights: every token keeps its gradient (MiniMax-M1, arXiv:2506.13585, eq. 4)."""

    kind: str = "cispo"
    loss_agg_mode: LossAggMode = "token-mean"
    cap: float = Field(default=5.0, gt=0)
    """The ratio is cut at this value, without gradient (ScaleRL, arXiv:2510.13786)."""


class OPD(Sampled):
    """On-policy distillation: the teacher's log-probs of the policy's own replies (arXiv:2306.13649, reverse KL).

    Rewards are not looked at: data need answers only for what is plotted.
    """

    kind: str = "opd"
    needs_teacher: ClassVar[bool] = True
    group_size: int = Field(default=4, ge=1)
    loss_agg_mode: LossAggMode = "token-mean"

    @property
    def needs_advantage(self) -> bool:
        return False


class Mixed(Sampled, Imitating):
    """What methods share whose groups hold a demonstration beside the sampled replies."""

    baseline: Literal["mixed", "sampled"] = "mixed"
    """Whether the demonstration's reward counts in the group's mean and standard deviation, or is measured by those of
    the sampled replies."""


class LUFFY(Mixed):
    """Off-policy guidance with policy shaping (arXiv:2504.14945, eq. 6 and 8)."""

    kind: str = "luffy"
    group_size: int = Field(default=7, ge=2)
    scale: AdvantageScale = "none"
    loss_agg_mode: LossAggMode = "token-mean"
    gamma: float = Field(default=0.1, gt=0)
    entropy_bonus: float = Field(default=0.0005, ge=0)
    """Weight of the mean entropy of all reply tokens: the script's 0.001, in the scale of its loss. That divides a sum
    over a forward's tokens by 8,192 where this one divides by their number, 16,384 or more: 0.001 * 8192 / 16384."""

    @property
    def entropy(self) -> Entropy:
        return "gradient" if self.entropy_bonus else "none"


class SRFT(Mixed):
    """Single-stage supervised and reinforcement fine-tuning (arXiv:2506.19767, eq. 8 to 13)."""

    kind: str = "srft"
    loss_agg_mode: LossAggMode = "token-mean"
    entropy_of: Literal["sequence", "token", "batch"] = "sequence"
    """Over what the entropy H in the two weights is taken."""
    sft_scale: float = Field(default=0.5, ge=0)
    """w_SFT = sft_scale * exp(-H)."""
    rl_scale: float = Field(default=0.1, ge=0)
    """w_RL = rl_scale * exp(H)."""

    @property
    def entropy(self) -> Entropy:
        return "none" if self.entropy_of == "batch" else "value"


class CHORD(Mixed, GRPO):
    """SFT as a moving auxiliary term of GRPO (arXiv:2508.11408): (1 - mu) * GRPO + mu * SFT."""

    _later = Sampled._later | {"top_entropy"}
    kind: str = "chord"
    loss_agg_mode: LossAggMode = "token-mean"
    clip_dual: float | None = Field(default=3.0, gt=1)
    baseline: Literal["mixed", "sampled"] = "sampled"
    mu_peak: float = Field(default=0.9, ge=0, le=1)
    mu_valley: float = Field(default=0.05, ge=0, le=1)
    mu_warmup_steps: int = Field(default=0, ge=0)
    """Steps over which mu rises from 0."""
    mu_decay_steps: int = Field(default=200, ge=0)
    """Steps after these until mu has reached its valley."""
    phi: bool = False
    """Weigh each demonstration token by p(1 - p), without gradient: little where it is known, or out of reach."""


def sft(table: Table, totals: Totals, settings: SFT) -> dict[str, Tensor]:
    """`nll`: the mean negative log-likelihood per demonstration token; `kl`: see `kl_term`."""
    weight_BT = step_weights(table, totals, table.mask_BT, totals.demos, "token-mean")
    if settings.dft:
        weight_BT = weight_BT * table.logp_BT.detach().exp()
    return {"nll": -(weight_BT * table.logp_BT).sum(), **kl_term(table, totals, "token-mean", settings.kl)}


def grpo(table: Table, totals: Totals, settings: GRPO) -> dict[str, Tensor]:
    """`policy`: the clipped surrogate; `kl`: see `kl_term`."""
    surrogate_BT = clipped_surrogate(
        _log_ratio(table, settings),
        table.advantage_B,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        clip_dual=settings.clip_dual,
    )
    if settings.top_entropy < 1:
        surrogate_BT = surrogate_BT * (required(table.entropy_BT, "entropies") >= totals.survey["entropy"])
    return {
        "policy": (_sampled_weights(table, totals, settings.loss_agg_mode) * surrogate_BT).sum(),
        **kl_term(table, totals, settings.loss_agg_mode, settings.kl),
    }


def _log_ratio(table: Table, settings: GRPO) -> Tensor:
    """[B, T]: of each token, or of its reply."""
    log_ratio_BT = table.log_ratio_BT
    if settings.ratio == "sequence":
        return sequence_mean(log_ratio_BT, table.mask_BT).expand_as(log_ratio_BT)
    if settings.ratio == "reply":
        return (log_ratio_BT * table.mask_BT).sum(dim=1, keepdim=True).expand_as(log_ratio_BT)
    return log_ratio_BT


def clipped_share(table: Table, totals: Totals, settings: object) -> Tensor | None:
    """The share of the step's sampled tokens whose gradient the clip of `grpo` takes away.

    None of other methods, and on policy, where every ratio is 1.
    """
    if not isinstance(settings, GRPO) or table.old_logp_BT is None:
        return None
    log_ratio_BT, advantage_B = _log_ratio(table, settings).detach(), table.advantage_B
    clipped_BT = clipped_surrogate(
        log_ratio_BT, advantage_B, clip_low=settings.clip_low, clip_high=settings.clip_high
    ) > clipped_surrogate(log_ratio_BT, advantage_B, clip_low=None, clip_high=None)
    return (_sampled_weights(table, totals, "token-mean") * clipped_BT).sum()


def cispo(table: Table, totals: Totals, settings: CISPO) -> dict[str, Tensor]:
    """`policy`: -min(ratio, cap) * advantage * log-prob, the first factor without gradient; `kl`: see `kl_term`."""
    weight_BT = _sampled_weights(table, totals, settings.loss_agg_mode) * table.log_ratio_BT.detach().exp().clamp(
        max=settings.cap
    )
    return {
        "policy": -(weight_BT * table.advantage_B[:, None] * table.logp_BT).sum(),
        **kl_term(table, totals, settings.loss_agg_mode, settings.kl),
    }


def opd(table: Table, totals: Totals, settings: OPD) -> dict[str, Tensor]:
    """`distill`: -ratio * A, where A = log teacher - log old policy of each sampled token, without gradient.

    A token answers for itself alone: its expected gradient is that of KL(policy || teacher) of the next token.
    """
    log_ratio_BT = table.log_ratio_BT
    old_BT = (table.logp_BT - log_ratio_BT).detach()
    advantage_BT = required(table.teacher_logp_BT, "the teacher's log-probs") - old_BT
    weight_BT = _sampled_weights(table, totals, settings.loss_agg_mode)
    return {
        "distill": -(weight_BT * log_ratio_BT.exp() * advantage_BT).sum(),
        **kl_term(table, totals, settings.loss_agg_mode, settings.kl),
    }


def luffy(table: Table, totals: Totals, settings: LUFFY) -> dict[str, Tensor]:
    """`off_policy`: the shaped probability of demonstration tokens times their advantage; `on_policy`: the unclipped
    ratio of sampled ones; both over one denominator. `entropy`: the bonus, over all of them (as in its code).

    The demonstration's behaviour probability is taken as 1, and neither part is clipped (the paper's "NoClip").
    """
    weight_BT = step_weights(table, totals, table.mask_BT, totals.all, settings.loss_agg_mode)
    weighted_BT = weight_BT * table.advantage_B[:, None]
    terms = {
        "off_policy": -(weighted_BT * table.demo_BT * shaped_probability(table.logp_BT, settings.gamma)).sum(),
        "on_policy": -(weighted_BT * table.sampled_BT * table.log_ratio_BT.exp()).sum(),
    }
    if settings.entropy_bonus:
        weight_BT = step_weights(table, totals, table.mask_BT, totals.all, "token-mean")
        bonus_BT = weight_BT * required(table.entropy_BT, "entropies")
        terms["entropy"] = -settings.entropy_bonus * bonus_BT.sum()
    return terms | kl_term(table, totals, settings.loss_agg_mode, settings.kl)


def srft(table: Table, totals: Totals, settings: SRFT) -> dict[str, Tensor]:
    """`sft_demo` (eq. 9), `rl_demo` with behaviour probability 1 and no clip, `rl_self`: positives boosted (eq. 12).

    A sampled reply is positive when its score is at least a half: the paper's rewards are 0 and 1, a box's are not.
    """
    entropy_BT = _entropy(table, totals, settings)
    demo_BT = step_weights(table, totals, table.demo_BT, totals.demos, settings.loss_agg_mode)
    self_BT = _sampled_weights(table, totals, settings.loss_agg_mode)
    sft_weight_BT = settings.sft_scale * (-entropy_BT).exp()
    is_right_B1 = table.score_B[:, None] >= 0.5
    self_weight_BT = torch.where(is_right_B1, settings.rl_scale * entropy_BT.exp(), -1.0)
    return {
        "sft_demo": -(demo_BT * sft_weight_BT * table.logp_BT).sum(),
        "rl_demo": -(demo_BT * table.advantage_B[:, None] * table.logp_BT.exp()).sum(),
        "rl_self": -(self_BT * self_weight_BT * table.logp_BT).sum(),
        **kl_term(table, totals, settings.loss_agg_mode, settings.kl),
    }


def chord(table: Table, totals: Totals, settings: CHORD) -> dict[str, Tensor]:
    """`policy` and `kl`: (1 - mu) times GRPO's; `sft`: mu times the (weighted) mean NLL of demonstration tokens."""
    mu = chord_mu(totals.step, settings)
    weight_BT = step_weights(table, totals, table.demo_BT, totals.demos, "token-mean")
    if settings.phi:
        prob_BT = table.logp_BT.detach().exp()
        weight_BT = weight_BT * prob_BT * (1 - prob_BT)
    rewarded = {name: (1 - mu) * value for name, value in grpo(table, totals, settings).items()}
    return {**rewarded, "sft": -mu * (weight_BT * table.logp_BT).sum()}


def chord_mu(step: int, settings: CHORD) -> float:
    """mu of a step: a linear rise to the peak, then a cosine down to the valley (its code, Trinity-RFT)."""
    fallen = step - settings.mu_warmup_steps
    if fallen < 0:
        return settings.mu_peak * step / settings.mu_warmup_steps
    if fallen >= settings.mu_decay_steps:
        return settings.mu_valley
    share = 0.5 * (1 + math.cos(math.pi * fallen / settings.mu_decay_steps))
    return settings.mu_valley + (settings.mu_peak - settings.mu_valley) * share


def _sampled_weights(table: Table, totals: Totals, mode: LossAggMode) -> Tensor:
    """Weights [B, T] of a mean over the step's sampled replies."""
    return step_weights(table, totals, table.sampled_BT, totals.sampled, mode)


def step_weights(table: Table, totals: Totals, mask_BT: Tensor, count: Count, mode: LossAggMode) -> Tensor:
    """Weights [B, T] of a mean over some replies of the step, corrected for the sampler where that is wanted."""
    weight_BT = token_weights(mask_BT, count, mode=mode, max_tokens=totals.max_tokens, dtype=table.logp_BT.dtype)
    return weight_BT if table.correction_BT is None else weight_BT * table.correction_BT


def _entropy(table: Table, totals: Totals, settings: SRFT) -> Tensor:
    """H of SRFT's weights for each token [B, T], without gradient."""
    if settings.entropy_of == "batch":
        if totals.entropy is None:
            raise ValueError("entropy_of is batch, so the totals need the step's entropy; got none")
        return table.logp_BT.detach().new_full(table.logp_BT.shape, totals.entropy)
    entropy_BT = required(table.entropy_BT, "entropies").detach()
    if settings.entropy_of == "token":
        return entropy_BT
    return sequence_mean(entropy_BT, table.mask_BT).expand_as(entropy_BT)
