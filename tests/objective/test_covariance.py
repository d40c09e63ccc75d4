"""Clip-Cov, KL-Cov and the advantages of pass@k, worked by hand."""

import itertools
import statistics
from typing import Any

import pytest
import torch
from torch import Tensor

from firsthand.errors import RecipeError
from firsthand.objective import PRESETS, Count, Table, Totals, group_advantage, parse
from firsthand.objective.pieces import pass_at_k_advantage, token_draws
from firsthand.recipe import Recipe
from firsthand.records import Reply, Status, Verdict
from firsthand.trainer.score import _judged

LN2 = 0.6931471805599453


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def a_table(**columns: Any) -> Table:
    """A good and a bad reply; means are 0 and -2, so that the covariances are 1, -0.5 and 0, 0.5."""
    return Table(
        **{
            "logp_BT": tensor([[-1.0, -2.5], [-2.0, -2.5]]),
            "mask_BT": torch.ones(2, 2, dtype=torch.bool),
            "advantage_B": tensor([1.0, -1.0]),
            "score_B": tensor([1.0, 0.0]),
            "is_demo_B": torch.tensor([False, False]),
            "key_B": torch.tensor([1, 2]),
            **columns,
        }
    )


def slopes(kind: str, table: Table, **settings: Any) -> tuple[dict[str, float], Tensor]:
    """The terms, and the gradient of their sum with respect to each token."""
    method = parse({"kind": kind, **settings})
    logp_BT = table.logp_BT.clone().requires_grad_()
    # The survey is made of a forward of its own.
    totals = Totals(Count(2, int(table.mask_BT.sum())), survey=method.survey(table))
    columns = {name: getattr(table, name) for name in ("mask_BT", "advantage_B", "score_B", "is_demo_B", "key_B")}
    own = Table(logp_BT=logp_BT, old_logp_BT=table.old_logp_BT, **columns)
    terms = PRESETS[kind].terms(own, totals, method)
    (slope_BT,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), logp_BT)
    return {name: term.item() for name, term in terms.items()}, slope_BT


def test_clip_cov_leaves_out_tokens_whose_covariance_is_within_its_bounds() -> None:
    """Both tokens of 0.4 to 5 with a share of a half: the others are pushed by A / 4, up or down."""
    terms, slope_BT = slopes("clip-cov", a_table(), share=0.5, cov_low=0.4)
    torch.testing.assert_close(slope_BT, tensor([[0.0, -0.25], [0.25, 0.0]]))
    assert terms == pytest.approx({"policy": 0.0})
    _, slope_BT = slopes("clip-cov", a_table())  # from 1 on, and no covariance is larger than 1
    torch.testing.assert_close(slope_BT, tensor([[-0.25, -0.25], [0.25, 0.25]]))


def test_clip_cov_draws_as_many_as_its_share_says_and_at_least_one() -> None:
    draws_BT = token_draws(torch.tensor([1, 2]), 2)
    first = min([(0, 0), (1, 1)], key=lambda place: float(draws_BT[place]))
    _, slope_BT = slopes("clip-cov", a_table(), share=1e-3, cov_low=0.4)
    assert [tuple(place) for place in (slope_BT == 0).nonzero().tolist()] == [first]


def test_a_token_that_the_clip_leaves_out_is_not_drawn() -> None:
    """The good reply's ratios are e, beyond 2: only the bad one's token of 0.5 is left to be drawn."""
    clipped = a_table(old_logp_BT=tensor([[-2.0, -3.5], [-2.0, -2.5]]))
    _, slope_BT = slopes("clip-cov", clipped, share=0.5, cov_low=0.4)
    torch.testing.assert_close(slope_BT, tensor([[0.0, 0.0], [0.25, 0.0]]))
    _, slope_BT = slopes("clip-cov", clipped, share=1e-3, cov_low=0.4)
    torch.testing.assert_close(slope_BT, tensor([[0.0, 0.0], [0.25, 0.0]]))


@pytest.mark.parametrize(("share", "held"), [(1e-3, 1), (0.25, 1), (0.5, 2), (1.0, 4)])
def test_kl_cov_holds_the_tokens_of_highest_covariance(share: float, held: int) -> None:
    """Every ratio is 2: -(2 + 2 - 2 - 2) / 4, and ln 2 / 4 for each token that is held, half of that at a half."""
    table = a_table(old_logp_BT=a_table().logp_BT - LN2)
    terms, slope_BT = slopes("kl-cov", table, share=share, penalty=0.5)
    assert terms == pytest.approx({"policy": 0.0, "hold": 0.5 * held * LN2 / 4})
    pushed_BT = tensor([[-0.5, -0.5], [0.5, 0.5]])
    order = [(0, 0), (1, 1), (1, 0), (0, 1)]
    for place in order[:held]:
        pushed_BT[place] += 0.5 / 4
    torch.testing.assert_close(slope_BT, pushed_BT)


def test_on_policy_kl_cov_is_plain_reinforce() -> None:
    _, slope_BT = slopes("kl-cov", a_table(), share=1.0)
    torch.testing.assert_close(slope_BT, tensor([[-0.25, -0.25], [0.25, 0.25]]))


def test_draws_are_even_and_each_token_s_own() -> None:
    draws_BT = token_draws(torch.arange(1000), 100)
    assert float(draws_BT.mean()) == pytest.approx(0.5, abs=0.005)
    assert float((draws_BT < 0.1).double().mean()) == pytest.approx(0.1, abs=0.005)
    assert torch.equal(draws_BT[5:6, :3], token_draws(torch.tensor([5]), 3))


def test_pass_at_k_by_hand() -> None:
    """One of four is right and k = 2: half of all pairs fail, two of three with a wrong reply in them."""
    assert pass_at_k_advantage([True, False, False, False], 2) == pytest.approx([1.0, *[-1 / 3] * 3], abs=1e-5)
    assert pass_at_k_advantage([True] * 4, 2) == pass_at_k_advantage([False] * 4, 2) == [0.0] * 4
    assert pass_at_k_advantage([True, True, True, False], 2) == [0.0] * 4  # no pair fails
    assert pass_at_k_advantage([True, None, False], 1, is_scaled=False) == [0.5, 0.0, -0.5]
    apart = pass_at_k_advantage([True, False, True], 1, is_scaled=False, apart_G=[False, False, True])
    assert apart == [0.5, -0.5, 0.5]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("right", [1, 2, 4])
def test_pass_at_k_is_the_mean_advantage_of_all_subsets(right: int, k: int) -> None:
    """A reply's advantage is that of the k-subsets it is in, among all of them, each earning 1 if one is right."""
    replies = [i < right for i in range(6)]
    subsets = list(itertools.combinations(range(6), k))
    earned = [float(any(replies[i] for i in subset)) for subset in subsets]
    mean, spread = statistics.fmean(earned), statistics.pstdev(earned)
    expected = [
        statistics.fmean(e - mean for e, subset in zip(earned, subsets, strict=True) if i in subset) / (spread + 1e-6)
        for i in range(6)
    ]
    assert pass_at_k_advantage(replies, k) == pytest.approx(expected, abs=1e-9)


def test_a_recipe_s_groups_have_the_advantages_of_pass_at_k() -> None:
    recipe = Recipe.model_validate(
        {
            "name": "a",
            "data": {"worlds": ["count"]},
            "objective": {"kind": "pass-at-k", "pass_k": 2},
            "reward": {"format": 1.0},
        }
    )
    found = [
        (Reply(text="", token_ids=(1,), logprobs=(0.0,)), Verdict(score=score, status=Status.OK))
        for score in (0.8, 0.2, 0.0, 0.0)
    ]
    advantages = [judged.advantage for judged in _judged(found, recipe)]
    assert advantages == pytest.approx([1.0, *[-1 / 3] * 3], abs=1e-5)
    assert advantages != pytest.approx(group_advantage([0.8, 0.2, 0.0, 0.0], scale="std"))


def test_more_replies_than_a_group_has_are_refused() -> None:
    with pytest.raises(RecipeError, match="pass_k must not exceed group_size: got 9 and 8"):
        parse({"kind": "pass-at-k", "pass_k": 9})
