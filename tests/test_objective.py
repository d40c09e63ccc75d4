"""What is optimised: worked by hand, then its properties, then float64 and TRL as oracles."""

import itertools
import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from firsthand.objective import (
    GRPO,
    SFT,
    Table,
    Totals,
    clipped_surrogate,
    group_advantage,
    grpo,
    k3,
    sft,
    token_weights,
)

LENGTHS = (5, 1, 3, 4)
"""Tokens of the replies of `a_step`: ragged, and one of a single token."""


def mask_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def a_step() -> Table:
    """Four replies; log-probs and reference log-probs differ by up to a few nats."""
    draw = torch.Generator().manual_seed(7)
    mask_BT = mask_of(*LENGTHS)
    logp_BT, ref_logp_BT = -3 * torch.rand(2, *mask_BT.shape, generator=draw) * mask_BT
    advantage_B = torch.tensor([1.5, -0.5, 0.3, -0.7])  # a real group's cancel, and 0 compares with nothing
    return Table(logp_BT.requires_grad_(), mask_BT, advantage_B, ref_logp_BT)


def totals_of(mask_BT: Tensor) -> Totals:
    return Totals(replies=len(mask_BT), tokens=int(mask_BT.sum()))


def gradient(loss: Tensor, table: Table) -> Tensor:
    (found,) = torch.autograd.grad(loss, table.logp_BT)
    return found


# ---- worked by hand


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.5, 1.0, -1.2, 0.0),  # too eager on a good token: capped at 1 + clip_high, and no longer pulled
        (0.5, 1.0, -0.5, -0.5),  # too shy on a good token: not clipped, the gradient pulls it up
        (1.5, -1.0, 1.5, 1.5),  # too eager on a bad token: not clipped, the gradient pushes it down
        (0.5, -1.0, 0.8, 0.0),  # already low on a bad one: floored at 1 - clip_low, and no longer pushed
        (1.0, 2.0, -2.0, -2.0),  # on policy: plain policy gradient
    ],
)
def test_clip_table(ratio: float, advantage: float, loss: float, slope: float) -> None:
    logp_BT = torch.tensor([[math.log(ratio)]], requires_grad=True)
    found_BT = clipped_surrogate(logp_BT, torch.zeros(1, 1), torch.tensor([advantage]), clip_low=0.2, clip_high=0.2)
    found_BT.sum().backward()
    assert found_BT.item() == pytest.approx(loss)
    assert logp_BT.grad is not None and logp_BT.grad.item() == pytest.approx(slope)


def test_the_two_clips_are_separate_settings() -> None:
    def loss(ratio: float, advantage: float) -> float:
        logp_BT = torch.tensor([[math.log(ratio)]])
        return clipped_surrogate(
            logp_BT, torch.zeros(1, 1), torch.tensor([advantage]), clip_low=0.1, clip_high=0.3
        ).item()

    assert loss(1.5, 1.0) == pytest.approx(-1.3)
    assert loss(0.5, -1.0) == pytest.approx(0.9)


def test_advantages_are_relative_to_the_group_in_units_of_its_sample_deviation() -> None:
    # mean 1/4; squared deviations 9/16 + 3/16 = 3/4, over n - 1 = 3: deviation 1/2
    assert group_advantage([1.0, 0.0, 0.0, 0.0], scale="std") == pytest.approx([0.75 / 0.5001] + [-0.25 / 0.5001] * 3)
    assert group_advantage([1.0, 0.0, 0.0, 0.0], scale="none") == [0.75, -0.25, -0.25, -0.25]


def test_an_unmeasured_reward_is_left_out_and_gets_no_credit() -> None:
    whole = group_advantage([1.0, 0.0, 0.0, 0.0], scale="std")
    assert group_advantage([1.0, None, 0.0, 0.0, None, 0.0], scale="std") == [
        whole[0], 0.0, whole[1], whole[2], 0.0, whole[3],
    ]  # fmt: skip


@pytest.mark.parametrize("scale", ["std", "none"])
@pytest.mark.parametrize("rewards", [[1.0] * 4, [0.1] * 3, [0.0, 0.0], [None, 1.0], [None, None], [0.3, None, 0.3]])
def test_a_group_that_agrees_teaches_nothing(rewards: list[float | None], scale: Any) -> None:
    assert group_advantage(rewards, scale=scale) == [0.0] * len(rewards)  # and not nan


@pytest.mark.parametrize(
    ("policy", "reference", "kl"),
    [
        (0.5, 0.5, 0.0),
        (0.5, 0.25, 0.5 + math.log(2) - 1),  # q/p = 1/2
        (0.5, 1.0, 2 - math.log(2) - 1),  # q/p = 2
    ],
)
def test_k3_by_hand(policy: float, reference: float, kl: float) -> None:
    found_BT = k3(torch.tensor([[math.log(policy)]]), torch.tensor([[math.log(reference)]]))
    assert found_BT.item() == pytest.approx(kl, abs=1e-7)


def test_weights_give_every_reply_or_every_token_the_same_say() -> None:
    mask_BT = mask_of(2, 1)
    totals = Totals(replies=2, tokens=3)
    assert token_weights(mask_BT, totals, per="sequence").tolist() == [[0.25, 0.25], [0.5, 0.0]]
    torch.testing.assert_close(
        token_weights(mask_BT, totals, per="token"), torch.tensor([[1 / 3, 1 / 3], [1 / 3, 0.0]])
    )


def test_a_reply_without_tokens_has_no_weight_and_is_not_nan() -> None:
    mask_BT = torch.tensor([[True, True], [False, False]])
    assert token_weights(mask_BT, Totals(2, 2), per="sequence").tolist() == [[0.25, 0.25], [0.0, 0.0]]


def test_sft_is_the_mean_negative_log_likelihood_per_token() -> None:
    table = Table(torch.tensor([[-1.0, -2.0], [-6.0, 0.0]]), mask_of(2, 1), torch.zeros(2))
    assert sft(table, Totals(2, 3), SFT())["nll"].item() == pytest.approx(3.0)


def test_grpo_without_a_kl_has_one_term_and_with_one_needs_a_reference() -> None:
    table = Table(torch.tensor([[-1.0]]), torch.tensor([[True]]), torch.tensor([0.5]))
    assert {name: term.item() for name, term in grpo(table, Totals(1, 1), GRPO()).items()} == {"policy": -0.5}
    with pytest.raises(ValueError, match=r"beta is 0.1, so the table needs reference log-probs; got none"):
        grpo(table, Totals(1, 1), GRPO(beta=0.1))


# ---- properties


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 3), (1, 1)])
def test_shapes_that_would_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    logp_BT, other, advantage_B = torch.zeros(2, 3), torch.zeros(shape), torch.zeros(2)
    with pytest.raises(ValueError, match=r"expected two tensors of one shape, got \(2, 3\) and"):
        k3(logp_BT, other)
    with pytest.raises(ValueError, match=r"expected two tensors of one shape, got \(2, 3\) and"):
        clipped_surrogate(logp_BT, other, advantage_B, clip_low=0.2, clip_high=0.2)


@pytest.mark.parametrize(
    ("field", "shape"),
    [("mask_BT", (1, 3)), ("mask_BT", (2, 1)), ("ref_logp_BT", (3,)), ("advantage_B", (1,)), ("advantage_B", (2, 1))],
)
def test_a_table_whose_columns_would_broadcast_is_refused(field: str, shape: tuple[int, ...]) -> None:
    columns = {
        "logp_BT": torch.zeros(2, 3),
        "mask_BT": torch.ones(2, 3, dtype=torch.bool),
        "advantage_B": torch.zeros(2),
        "ref_logp_BT": torch.zeros(2, 3),
    }
    with pytest.raises(ValueError, match=r"of one shape|one advantage for each of 2 replies"):
        Table(**{**columns, field: torch.ones(shape, dtype=columns[field].dtype)})


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=16), st.sampled_from(["std", "none"]))
def test_advantages_cancel_and_keep_the_order_of_the_rewards(rewards: list[float | None], scale: Any) -> None:
    found = group_advantage(rewards, scale=scale)
    assert sum(found) == pytest.approx(0.0, abs=1e-9)
    known = [(r, a) for r, a in zip(rewards, found, strict=True) if r is not None]
    assert all(a1 <= a2 for (r1, a1), (r2, a2) in itertools.product(known, repeat=2) if r1 < r2)
    assert all(a == 0 for r, a in zip(rewards, found, strict=True) if r is None)


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k3_is_never_negative(policy: float, reference: float) -> None:
    logp_BT, ref_logp_BT = (torch.tensor([[x]], dtype=torch.float64) for x in (policy, reference))
    assert k3(logp_BT, ref_logp_BT).item() >= 0


def test_the_expectation_of_k3_is_the_kl() -> None:
    logp_BT, ref_logp_BT = torch.randn(2, 4, 9, dtype=torch.float64).log_softmax(-1)
    expected_B = (logp_BT.exp() * (logp_BT - ref_logp_BT)).sum(-1)
    torch.testing.assert_close((logp_BT.exp() * k3(logp_BT, ref_logp_BT)).sum(-1), expected_B)


@pytest.mark.parametrize("per", ["sequence", "token"])
def test_weights_sum_to_one_over_a_step_however_it_is_split(per: Any) -> None:
    whole_BT = mask_of(*LENGTHS)
    totals = totals_of(whole_BT)
    for cut in range(1, len(LENGTHS)):
        # Each micro-batch is as long as its own longest reply.
        parts = [mask_of(*LENGTHS[:cut]), mask_of(*LENGTHS[cut:])]
        weights = [token_weights(part, totals, per=per) for part in parts]
        assert sum(w.sum().item() for w in weights) == pytest.approx(1.0)
        assert all((w[~part] == 0).all() for w, part in zip(weights, parts, strict=True))
        flat = torch.cat([w[part] for w, part in zip(weights, parts, strict=True)])
        torch.testing.assert_close(flat, token_weights(whole_BT, totals, per=per)[whole_BT])


def test_per_sequence_every_reply_weighs_the_same() -> None:
    mask_BT = mask_of(*LENGTHS)
    per_reply_B = token_weights(mask_BT, totals_of(mask_BT), per="sequence").sum(1)
    torch.testing.assert_close(per_reply_B, torch.full((4,), 0.25))


# ---- oracles


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("per", ["sequence", "token"])
def test_grpo_equals_a_recomputation_in_float64(per: Any, beta: float) -> None:
    table = a_step()
    assert table.ref_logp_BT is not None
    terms = grpo(table, totals_of(table.mask_BT), GRPO(beta=beta, per=per))
    policy, kl, slopes = 0.0, 0.0, torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.float64)
    for b, length in enumerate(LENGTHS):
        weight = 1 / (length * len(LENGTHS)) if per == "sequence" else 1 / sum(LENGTHS)
        credit = table.advantage_B[b].item()
        for t in range(length):
            gap = table.ref_logp_BT[b, t].item() - table.logp_BT[b, t].item()
            policy -= weight * credit  # on policy the ratio is 1
            kl += weight * beta * (math.exp(gap) - gap - 1)
            slopes[b, t] = weight * (-credit + beta * (1 - math.exp(gap)))
    assert terms["policy"].item() == pytest.approx(policy, rel=1e-6)
    assert set(terms) == ({"policy", "kl"} if beta else {"policy"})
    if beta:
        assert terms["kl"].item() == pytest.approx(kl, rel=1e-6)
    found = gradient(torch.stack(list(terms.values())).sum(), table)
    torch.testing.assert_close(found, slopes.float(), rtol=1e-6, atol=1e-7)


def trl_loss(
    logp_BT: Tensor, table: Table, *, loss_type: str, beta: float, clips: tuple[float, float] = (0.2, 0.2), **rest: Any
) -> Tensor:
    """TRL 1.16's loss on our tensors: its own `GRPOTrainer._compute_loss`, of which only the forward is ours.

    The flags that must agree: loss_type "grpo" is our per="sequence" and "dapo" our per="token";
    epsilon and epsilon_high are the clips; importance_sampling_level="token"; use_bias_correction_kl=False (it would
    multiply the KL by the ratio); no delta, no entropy quantile, no off-policy mask, no entropy bonus; one process.
    """
    from trl.trainer.grpo_trainer import GRPOTrainer

    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logp_BT, torch.zeros_like(logp_BT), None),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=rest.get("micro", 1)),
        accelerator=SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x),
        model=SimpleNamespace(training=True),
        loss_type=loss_type,
        beta=beta,
        epsilon_low=clips[0],
        epsilon_high=clips[1],
        importance_sampling_level="token",
        current_gradient_accumulation_steps=rest.get("micro", 1),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    inputs = {
        "prompt_ids": torch.zeros(len(logp_BT), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(logp_BT), 1, dtype=torch.long),
        "completion_ids": torch.zeros(logp_BT.shape, dtype=torch.long),
        "completion_mask": table.mask_BT.long(),
        "advantages": table.advantage_B,
        "ref_per_token_logps": table.ref_logp_BT,
        "old_per_token_logps": rest.get("sampled_logp_BT"),
        "num_items_in_batch": rest.get("tokens", table.mask_BT.sum()),
    }
    return GRPOTrainer._compute_loss(trainer, None, inputs)


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize(("per", "loss_type"), [("sequence", "grpo"), ("token", "dapo")])
def test_grpo_equals_trl_on_the_same_tensors(per: Any, loss_type: str, beta: float) -> None:
    table = a_step()
    ours = torch.stack(list(grpo(table, totals_of(table.mask_BT), GRPO(beta=beta, per=per)).values())).sum()
    theirs = trl_loss(table.logp_BT, table, loss_type=loss_type, beta=beta)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient(ours, table), gradient(theirs, table), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("clips", [(0.2, 0.2), (0.1, 0.28)])
def test_the_clipped_surrogate_equals_trl_off_policy(clips: tuple[float, float]) -> None:
    table = a_step()
    shift_BT = torch.linspace(-0.6, 0.6, table.mask_BT.numel()).reshape(table.mask_BT.shape)
    sampled_logp_BT = table.logp_BT.detach() + shift_BT
    surrogate_BT = clipped_surrogate(
        table.logp_BT, sampled_logp_BT, table.advantage_B, clip_low=clips[0], clip_high=clips[1]
    )
    ours = (token_weights(table.mask_BT, totals_of(table.mask_BT), per="sequence") * surrogate_BT).sum()
    theirs = trl_loss(table.logp_BT, table, loss_type="grpo", beta=0.0, clips=clips, sampled_logp_BT=sampled_logp_BT)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient(ours, table), gradient(theirs, table), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("per", "loss_type"), [("sequence", "grpo"), ("token", "dapo")])
def test_two_micro_batches_add_up_to_trl_accumulating_them(per: Any, loss_type: str) -> None:
    table = a_step()
    assert table.ref_logp_BT is not None
    totals = totals_of(table.mask_BT)
    ours, theirs = torch.zeros(()), torch.zeros(())
    for rows in (slice(0, 2), slice(2, 4)):
        part = Table(table.logp_BT[rows], table.mask_BT[rows], table.advantage_B[rows], table.ref_logp_BT[rows])
        ours = ours + torch.stack(list(grpo(part, totals, GRPO(beta=0.04, per=per)).values())).sum()
        theirs = theirs + trl_loss(
            part.logp_BT, part, loss_type=loss_type, beta=0.04, micro=2, tokens=torch.tensor(float(totals.tokens))
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient(ours, table), gradient(theirs, table), rtol=1e-6, atol=1e-8)


@given(st.lists(st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=8))
def test_advantages_equal_trls(rewards: list[float | None]) -> None:
    from trl.trainer.utils import nanstd

    # scale_rewards="group", multi_objective_aggregation="sum_then_normalize": TRL computes this inside a long method.
    rewards_1G = torch.tensor([[math.nan if r is None else r for r in rewards]], dtype=torch.float64)
    relative_1G = (rewards_1G - rewards_1G.nanmean(dim=1, keepdim=True)) / (nanstd(rewards_1G, dim=1)[:, None] + 1e-4)
    assert group_advantage(rewards, scale="std") == pytest.approx(relative_1G.nan_to_num(nan=0.0)[0].tolist())
