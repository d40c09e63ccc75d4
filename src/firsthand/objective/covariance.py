"""Methods that hold entropy up where it falls: at tokens whose log-prob and advantage rise together (arXiv:2505.22617).

Shape letters: B replies, T tokens of the longest reply, N sampled tokens of the step.
"""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from firsthand.objective.divergence import kl_term
from firsthand.objective.methods import Sampled, step_weights
from firsthand.objective.pieces import clipped_surrogate, token_draws
from firsthand.objective.table import LossAggMode, Table, Totals, required


class _Covariance(Sampled):
    """What both share: a share of a step's sampled tokens is chosen by (A - mean A)(log p - mean log p)."""

    loss_agg_mode: LossAggMode = "token-mean"

    @property
    def surveys(self) -> bool:
        return True

    def survey(self, table: Table) -> Mapping[str, float]:
        """The means over the step's sampled tokens, and what `_choice` says of them."""
        if not bool(table.sampled_BT.any()):
            return {}
        advantage_BT = table.advantage_B[:, None].expand_as(table.logp_BT)
        means = {
            "advantage": float(advantage_BT[table.sampled_BT].mean()),
            "logp": float(table.logp_BT[table.sampled_BT].mean()),
        }
        return {**means, **self._choice(table, covariance(table, means))}

    def _choice(self, table: Table, covariance_BT: Tensor) -> Mapping[str, float]:
        raise NotImplementedError


class ClipCov(_Covariance):
    """A few tokens of high covariance are left out, drawn at random."""

    kind: str = "clip-cov"
    share: float = Field(default=2e-4, gt=0, le=1)
    """Of the step's sampled tokens; at least one is drawn."""
    cov_low: float = 1.0
    cov_high: float = 5.0
    """Between these a token's covariance must be to be drawn."""
    clip_low: float | None = Field(default=None, gt=0, lt=1)
    clip_high: float | None = Field(default=1.0, gt=0)
    """As in grpo; its script's 1 and 1 let a ratio go from 0 to 2."""

    def _choice(self, table: Table, covariance_BT: Tensor) -> Mapping[str, float]:
        """`drawn`: the largest draw of a token that is left out."""
        draws_C = table_draws(table)[_candidates(table, covariance_BT, self)].sort().values
        number = max(1, int(self.share * int(table.sampled_BT.sum())))
        return {"drawn": float(draws_C[:number][-1]) if len(draws_C) else -1.0}


class KLCov(_Covariance):
    """The tokens of highest covariance are held to the old policy."""

    kind: str = "kl-cov"
    share: float = Field(default=2e-3, gt=0, le=1)
    """Of the step's sampled tokens; at least one is held."""
    penalty: float = Field(default=1.0, ge=0)
    """Weight of |log p - log p_old| of these."""

    def _choice(self, table: Table, covariance_BT: Tensor) -> Mapping[str, float]:
        """`least`: half-way between the least covariance that is held and the next, so that no rounding decides."""
        sorted_N = covariance_BT[table.sampled_BT].sort(descending=True).values
        number = max(1, int(self.share * len(sorted_N)))
        return {"least": float(sorted_N[number - 1 : number + 1].mean())}


def clip_cov(table: Table, totals: Totals, settings: ClipCov) -> dict[str, Tensor]:
    """`policy`: the clipped surrogate without the tokens that are drawn, which the mean counts; `kl`: `kl_term`."""
    surrogate_BT = clipped_surrogate(
        table.log_ratio_BT, table.advantage_B, clip_low=settings.clip_low, clip_high=settings.clip_high
    )
    drawn_BT = _candidates(table, covariance(table, totals.survey), settings)
    drawn_BT = drawn_BT & (table_draws(table) <= totals.survey["drawn"])
    weight_BT = step_weights(table, totals, table.sampled_BT, totals.sampled, settings.loss_agg_mode)
    return {
        "policy": (weight_BT * surrogate_BT * ~drawn_BT).sum(),
        **kl_term(table, totals, settings.loss_agg_mode, settings.kl),
    }


def kl_cov(table: Table, totals: Totals, settings: KLCov) -> dict[str, Tensor]:
    """`policy`: -ratio A without a clip; `hold`: the penalty times |log ratio| of the tokens held; `kl`: `kl_term`."""
    log_ratio_BT = table.log_ratio_BT
    weight_BT = step_weights(table, totals, table.sampled_BT, totals.sampled, settings.loss_agg_mode)
    held_BT = covariance(table, totals.survey) >= totals.survey["least"]
    return {
        "policy": -(weight_BT * log_ratio_BT.exp() * table.advantage_B[:, None]).sum(),
        "hold": settings.penalty * (weight_BT * held_BT * log_ratio_BT.abs()).sum(),
        **kl_term(table, totals, settings.loss_agg_mode, settings.kl),
    }


def covariance(table: Table, means: Mapping[str, float]) -> Tensor:
    """Each token's share [B, T] in the covariance of advantage and log-prob over the step, without gradient."""
    return (table.advantage_B[:, None] - means["advantage"]) * (table.logp_BT.detach() - means["logp"])


def table_draws(table: Table) -> Tensor:
    """A number [B, T] in [0, 1) for each token, the same in every split of the step."""
    return token_draws(required(table.key_B, "the replies' keys"), table.logp_BT.shape[1])


def _candidates(table: Table, covariance_BT: Tensor, settings: ClipCov) -> Tensor:
    """bool [B, T]: tokens that may be drawn; none that the ratio's clip leaves out already."""
    free_BT = -table.log_ratio_BT.detach().exp() * table.advantage_B[:, None]
    clipped_BT = clipped_surrogate(
        table.log_ratio_BT.detach(), table.advantage_B, clip_low=settings.clip_low, clip_high=settings.clip_high
    )
    is_between_BT = (covariance_BT > settings.cov_low) & (covariance_BT < settings.cov_high)
    return table.sampled_BT & is_between_BT & ~(clipped_BT > free_BT)
