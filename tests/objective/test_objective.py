"""What is optimised: worked by hand, then its properties, then float64 and TRL as oracles."""

import dataclasses
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

from firsthand.objective import CISPO, GRPO, PRESETS, SFT, Count, Method, Table, Totals, group_advantage, parse
from firsthand.objective.methods import grpo, sft
from firsthand.objective.pieces import batch_spread, clipped_surrogate, correction, k3
from firsthand.objective.table import token_weights

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
    return sampled_table(logp_BT.requires_grad_(), mask_BT, advantage_B, ref_logp_BT=ref_logp_BT)


def sampled_table(logp_BT: Tensor, mask_BT: Tensor, advantage_B: Tensor, **columns: Tensor | None) -> Table:
    """A table of sampled replies only."""
    none_B = torch.zeros(len(logp_BT), dtype=torch.bool)
    return Table(logp_BT, mask_BT, advantage_B, advantage_B.clamp(0, 1), none_B, **columns)


def count_of(mask_BT: Tensor) -> Count:
    return Count(len(mask_BT), int(mask_BT.sum()))


def totals_of(mask_BT: Tensor, kl_weight: float = 0.0) -> Totals:
    return Totals(sampled=count_of(mask_BT), max_tokens=8, kl_weight=kl_weight)


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
    found_BT = clipped_surrogate(logp_BT, torch.tensor([advantage]), clip_low=0.2, clip_high=0.2)
    found_BT.sum().backward()
    assert found_BT.item() == pytest.approx(loss)
    assert logp_BT.grad is not None and logp_BT.grad.item() == pytest.approx(slope)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (5.0, -1.0, 3.0, 0.0),  # a bad token that became far likelier: bounded, and no longer pushed
        (2.0, -1.0, 2.0, 2.0),  # likelier, within the bound
        (5.0, 1.0, -1.2, 0.0),  # a good token: only the usual clip
        (0.5, -1.0, 0.8, 0.0),
    ],
)
def test_dual_clip_table(ratio: float, advantage: float, loss: float, slope: float) -> None:
    logp_BT = torch.tensor([[math.log(ratio)]], requires_grad=True)
    found = clipped_surrogate(logp_BT, torch.tensor([advantage]), clip_low=0.2, clip_high=0.2, clip_dual=3.0)
    found.sum().backward()
    assert found.item() == pytest.approx(loss)
    assert logp_BT.grad is not None and logp_BT.grad.item() == pytest.approx(slope)


def test_the_two_clips_are_separate_settings() -> None:
    def loss(ratio: float, advantage: float) -> float:
        logp_BT = torch.tensor([[math.log(ratio)]])
        return clipped_surrogate(logp_BT, torch.tensor([advantage]), clip_low=0.1, clip_high=0.3).item()

    assert loss(1.5, 1.0) == pytest.approx(-1.3)
    assert loss(0.5, -1.0) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("clips", "ratio", "advantage", "loss"),
    [
        ((None, 0.2), 0.1, -1.0, 0.1),
        ((None, 0.2), 3.0, 1.0, -1.2),
        ((0.2, None), 3.0, 1.0, -3.0),
        ((None, None), 3.0, 1.0, -3.0),
    ],
)
def test_an_open_end_is_not_clipped(clips: tuple[Any, Any], ratio: float, advantage: float, loss: float) -> None:
    found = clipped_surrogate(
        torch.tensor([[math.log(ratio)]]), torch.tensor([advantage]), clip_low=clips[0], clip_high=clips[1]
    )
    assert found.item() == pytest.approx(loss)


def test_advantages_are_relative_to_the_group_in_units_of_its_sample_deviation() -> None:
    # mean 1/4; squared deviations 9/16 + 3/16 = 3/4, over n - 1 = 3: deviation 1/2
    assert group_advantage([1.0, 0.0, 0.0, 0.0], scale="std") == pytest.approx([0.75 / 0.5001] + [-0.25 / 0.5001] * 3)
    assert group_advantage([1.0, 0.0, 0.0, 0.0], scale="none") == [0.75, -0.25, -0.25, -0.25]


def test_an_unmeasured_reward_is_left_out_and_gets_no_credit() -> None:
    whole = group_advantage([1.0, 0.0, 0.0, 0.0], scale="std")
    assert group_advantage([1.0, None, 0.0, 0.0, None, 0.0], scale="std") == [
        whole[0], 0.0, whole[1], whole[2], 0.0, whole[3],
    ]  # fmt: skip


def test_a_reply_that_stands_apart_is_measured_by_the_others() -> None:
    """By hand: 0, 0, 1 have mean 1/3 and deviation 0.57735."""
    apart = [False, False, False, True]
    assert group_advantage([0.0, 0.0, 1.0, 1.0], scale="none", apart_G=apart)[3] == pytest.approx(2 / 3)
    found = group_advantage([0.0, 0.0, 1.0, 1.0], scale="std", apart_G=apart)
    assert found[3] == found[2] == pytest.approx((2 / 3) / (3**-0.5 + 1e-4))
    for scale in ("none", "std"):  # where the others agree there is no deviation to divide by
        assert group_advantage([0.0, 0.0, 0.0, 1.0], scale=scale, apart_G=apart) == [0.0, 0.0, 0.0, 1.0]  # type: ignore[arg-type]
    assert group_advantage([1.0, None, None, 1.0], scale="std", apart_G=apart) == [0.0] * 4


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
    assert token_weights(mask_BT, Count(2, 3), mode="seq-mean-token-mean").tolist() == [[0.25, 0.25], [0.5, 0.0]]
    torch.testing.assert_close(
        token_weights(mask_BT, Count(2, 3), mode="token-mean"), torch.tensor([[1 / 3, 1 / 3], [1 / 3, 0.0]])
    )


def test_a_budget_divides_every_token_by_the_same_constant() -> None:
    weight_BT = token_weights(mask_of(2, 1), Count(2, 3), mode="seq-mean-token-sum-norm", max_tokens=4)
    assert weight_BT.tolist() == [[0.125, 0.125], [0.125, 0.0]]


@pytest.mark.parametrize("mode", ["seq-mean-token-mean", "token-mean", "seq-mean-token-sum-norm"])
def test_a_step_without_such_tokens_has_weights_of_zero_and_not_nan(mode: Any) -> None:
    nothing_BT = torch.zeros(2, 3, dtype=torch.bool)
    assert (token_weights(nothing_BT, Count(), mode=mode, max_tokens=4) == 0).all()


def test_a_reply_without_tokens_has_no_weight_and_is_not_nan() -> None:
    mask_BT = torch.tensor([[True, True], [False, False]])
    assert token_weights(mask_BT, Count(2, 2), mode="seq-mean-token-mean").tolist() == [[0.25, 0.25], [0.0, 0.0]]


def test_sft_is_the_mean_negative_log_likelihood_per_token() -> None:
    demos = Table(
        torch.tensor([[-1.0, -2.0], [-6.0, 0.0]]), mask_of(2, 1), torch.zeros(2), torch.ones(2), torch.ones(2).bool()
    )
    assert sft(demos, Totals(Count(), Count(2, 3)), SFT())["nll"].item() == pytest.approx(3.0)


def test_grpo_without_a_kl_has_one_term_and_with_one_needs_a_reference() -> None:
    table = sampled_table(torch.tensor([[-1.0]]), torch.tensor([[True]]), torch.tensor([0.5]))
    assert {name: term.item() for name, term in grpo(table, Totals(Count(1, 1)), GRPO()).items()} == {"policy": -0.5}
    with pytest.raises(ValueError, match=r"needs reference log-probs \(the KL weight is 0.1\); got none"):
        grpo(table, Totals(Count(1, 1), kl_weight=0.1), GRPO())


# ---- properties


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 3), (1, 1)])
def test_shapes_that_would_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected two tensors of one shape, got \(2, 3\) and"):
        k3(torch.zeros(2, 3), torch.zeros(shape))


@pytest.mark.parametrize(
    ("field", "shape"),
    [
        ("mask_BT", (1, 3)),
        ("mask_BT", (2, 1)),
        ("ref_logp_BT", (3,)),
        ("old_logp_BT", (2, 1)),
        ("entropy_BT", (2, 1)),
        ("advantage_B", (1,)),
        ("advantage_B", (2, 1)),
        ("score_B", (1,)),
        ("is_demo_B", (2, 1)),
    ],
)
def test_a_table_whose_columns_would_broadcast_is_refused(field: str, shape: tuple[int, ...]) -> None:
    columns = {
        "logp_BT": torch.zeros(2, 3),
        "mask_BT": torch.ones(2, 3, dtype=torch.bool),
        "advantage_B": torch.zeros(2),
        "score_B": torch.zeros(2),
        "is_demo_B": torch.zeros(2, dtype=torch.bool),
        "ref_logp_BT": torch.zeros(2, 3),
        "old_logp_BT": torch.zeros(2, 3),
        "entropy_BT": torch.zeros(2, 3),
    }
    with pytest.raises(ValueError, match="of one shape"):
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


@pytest.mark.parametrize("mode", ["seq-mean-token-mean", "token-mean"])
def test_weights_sum_to_one_over_a_step_however_it_is_split(mode: Any) -> None:
    whole_BT = mask_of(*LENGTHS)
    count = count_of(whole_BT)
    for cut in range(1, len(LENGTHS)):
        # Each micro-batch is as long as its own longest reply.
        parts = [mask_of(*LENGTHS[:cut]), mask_of(*LENGTHS[cut:])]
        weights = [token_weights(part, count, mode=mode) for part in parts]
        assert sum(w.sum().item() for w in weights) == pytest.approx(1.0)
        assert all((w[~part] == 0).all() for w, part in zip(weights, parts, strict=True))
        flat = torch.cat([w[part] for w, part in zip(weights, parts, strict=True)])
        torch.testing.assert_close(flat, token_weights(whole_BT, count, mode=mode)[whole_BT])


def test_per_sequence_every_reply_weighs_the_same() -> None:
    mask_BT = mask_of(*LENGTHS)
    per_reply_B = token_weights(mask_BT, count_of(mask_BT), mode="seq-mean-token-mean").sum(1)
    torch.testing.assert_close(per_reply_B, torch.full((4,), 0.25))


# ---- oracles


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("mode", ["seq-mean-token-mean", "token-mean"])
def test_grpo_equals_a_recomputation_in_float64(mode: Any, beta: float) -> None:
    table = a_step()
    assert table.ref_logp_BT is not None
    terms = grpo(table, totals_of(table.mask_BT, beta), GRPO(loss_agg_mode=mode))
    policy, kl, slopes = 0.0, 0.0, torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.float64)
    for b, length in enumerate(LENGTHS):
        weight = 1 / (length * len(LENGTHS)) if mode == "seq-mean-token-mean" else 1 / sum(LENGTHS)
        advantage = table.advantage_B[b].item()
        for t in range(length):
            gap = table.ref_logp_BT[b, t].item() - table.logp_BT[b, t].item()
            policy -= weight * advantage  # on policy the ratio is 1
            kl += weight * beta * (math.exp(gap) - gap - 1)
            slopes[b, t] = weight * (-advantage + beta * (1 - math.exp(gap)))
    assert terms["policy"].item() == pytest.approx(policy, rel=1e-6)
    assert set(terms) == ({"policy", "kl"} if beta else {"policy"})
    if beta:
        assert terms["kl"].item() == pytest.approx(kl, rel=1e-6)
    found = gradient(torch.stack(list(terms.values())).sum(), table)
    torch.testing.assert_close(found, slopes.float(), rtol=1e-6, atol=1e-7)


def trl_loss(
    table: Table,
    flags: dict[str, Any],
    *,
    beta: float = 0.0,
    micro: int = 1,
    tokens: int | None = None,
    trainer: Any = None,
) -> Tensor:
    """TRL 1.16's loss on our tensors: its own `GRPOTrainer._compute_loss`, of which only the forward is ours.

    Left alone unless `flags` say otherwise: use_bias_correction_kl=False (it multiplies the KL by the ratio), no
    delta, no entropy quantile, no off-policy mask, no entropy bonus, one process. `micro` forwards make a step, which
    holds so many `tokens`.
    """
    from trl.trainer.grpo_trainer import GRPOTrainer

    logp_BT = table.logp_BT
    usual = {"importance_sampling_level": "token", "epsilon_low": 0.2, "epsilon_high": 0.2, "top_entropy_quantile": 1.0}
    is_corrected = flags.get("use_bias_correction_kl", False)
    entropy_BT = flags.get("entropies", torch.zeros_like(logp_BT))
    settings = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logp_BT, entropy_BT, None),
        args=SimpleNamespace(
            use_bias_correction_kl=is_corrected,
            delta=None,
            steps_per_generation=micro,
            sapo_temperature_pos=1.0,
            sapo_temperature_neg=1.05,
        ),
        accelerator=SimpleNamespace(
            num_processes=1,
            gather=lambda x: x,
            reduce=lambda x, reduction: x,
            pad_across_processes=lambda x, dim, pad_index: x,
        ),
        model=SimpleNamespace(training=True),
        beta=beta,
        max_completion_length=8,
        current_gradient_accumulation_steps=micro,
        aux_loss_enabled=False,
        off_policy_mask_threshold=None,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        **{**usual, **flags},
    )
    settings.get_high_entropy_mask = lambda *given: GRPOTrainer.get_high_entropy_mask(settings, *given)
    inputs = {
        "prompt_ids": torch.zeros(len(logp_BT), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(logp_BT), 1, dtype=torch.long),
        "completion_ids": torch.zeros(logp_BT.shape, dtype=torch.long),
        "completion_mask": table.mask_BT.long(),
        "advantages": table.advantage_B,
        "ref_per_token_logps": table.ref_logp_BT,
        "old_per_token_logps": table.old_logp_BT,
        "old_logps": None if table.old_logp_BT is None else (table.old_logp_BT * table.mask_BT).sum(1),
        "num_items_in_batch": table.mask_BT.sum() if tokens is None else torch.tensor(float(tokens)),
    }
    return (trainer or GRPOTrainer)._compute_loss(settings, None, inputs)


TRL: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "dr-grpo": {"loss_type": "dr_grpo"},  # and scale_rewards="none": the advantages are given here
    "gspo": {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon_low": 3e-4,
        "epsilon_high": 4e-4,
    },
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0},
    "sapo": {"loss_type": "sapo"},
}
"""The flags with which TRL computes what a preset of ours computes."""


def total(kind: str, table: Table, totals: Totals) -> Tensor:
    """The loss of a preset: the sum of its terms."""
    return torch.stack(list(PRESETS[kind].terms(table, totals, parse(kind)).values())).sum()


def off_policy(table: Table, width: float) -> Table:
    """The table with log-probs of a sampling policy that is up to `width` nats away, so that clips act."""
    shift_BT = torch.linspace(-width, width, table.mask_BT.numel()).reshape(table.mask_BT.shape)
    return dataclasses.replace(table, old_logp_BT=table.logp_BT.detach() + shift_BT)


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("width", [0.0, 0.6, 2.5])
@pytest.mark.parametrize("kind", TRL)
def test_presets_equal_trl_on_the_same_tensors(kind: str, width: float, beta: float) -> None:
    table = off_policy(a_step(), width)
    ours, theirs = total(kind, table, totals_of(table.mask_BT, beta)), trl_loss(table, TRL[kind], beta=beta)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient(ours, table), gradient(theirs, table), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("width", [0.0, 0.6, 2.5])
@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
def test_gmpo_and_rloo_equal_trl_on_the_same_tensors(width: float) -> None:
    from trl.experimental.gmpo import GMPOTrainer
    from trl.trainer.rloo_trainer import RLOOTrainer

    table = off_policy(a_step(), width)
    clips = {"epsilon_low": 0.4, "epsilon_high": 0.4}
    for kind, flags, trainer in (("gmpo", clips, GMPOTrainer), ("rloo", {}, RLOOTrainer)):
        ours, theirs = total(kind, table, totals_of(table.mask_BT)), trl_loss(table, flags, trainer=trainer)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(gradient(ours, table), gradient(theirs, table), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_tokens_of_most_entropy_are_trls(share: float) -> None:
    entropy_BT = torch.rand(4, 5, generator=torch.Generator().manual_seed(3))
    table = dataclasses.replace(off_policy(a_step(), 0.6), entropy_BT=entropy_BT)
    settings = parse({"kind": "dapo", "top_entropy": share})
    totals = dataclasses.replace(totals_of(table.mask_BT), survey=settings.survey(table))
    ours = torch.stack(list(PRESETS["dapo"].terms(table, totals, settings).values())).sum()
    theirs = trl_loss(table, {**TRL["dapo"], "top_entropy_quantile": share, "entropies": entropy_BT})
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    slopes = gradient(ours, table)
    torch.testing.assert_close(slopes, gradient(theirs, table), rtol=1e-6, atol=1e-7)
    assert 0 < int((slopes != 0).sum()) <= math.ceil(share * sum(LENGTHS))


@pytest.mark.parametrize(("how", "weights"), [("truncate", [1.0, 2.0, 0.25]), ("mask", [1.0, 0.0, 0.0])])
def test_a_correction_by_hand(how: Any, weights: list[float]) -> None:
    old, sampler = torch.tensor([[0.5, 0.9, 0.1]]).log(), torch.tensor([[0.5, 0.3, 0.4]]).log()  # 1, 3, 1/4
    torch.testing.assert_close(correction(old, sampler, how=how, cap=2.0), torch.tensor([weights]))
    assert correction(old, sampler, how="mask", cap=5.0).tolist()[0] == pytest.approx([1.0, 3.0, 0.25])


def test_a_correction_of_whole_replies_by_hand() -> None:
    """Ratios 3 and 1/4 of one reply make 3/4 of both its tokens; 3 of the other is beyond the cap."""
    old, sampler = torch.tensor([[0.9, 0.1], [0.9, 1.0]]).log(), torch.tensor([[0.3, 0.4], [0.3, 1.0]]).log()
    found = {how: correction(old, sampler, how=how, cap=2.0, level="sequence") for how in ("truncate", "mask")}
    torch.testing.assert_close(found["truncate"], torch.tensor([[0.75, 0.75], [2.0, 2.0]]))
    torch.testing.assert_close(found["mask"], torch.tensor([[0.75, 0.75], [0.0, 0.0]]))


def test_the_deviation_of_a_batch_by_hand() -> None:
    """Rewards 1, 0 and 1, 1: centred 1/2, -1/2, 0, 0, of which the squares add up to 1/2, over n - 1 = 3."""
    centred = [*group_advantage([1.0, 0.0], scale="none"), *group_advantage([1.0, 1.0], scale="none")]
    assert batch_spread(centred) == pytest.approx(math.sqrt(1 / 6) + 1e-4)
    assert batch_spread([0.0, 0.0]) == 1.0


@pytest.mark.parametrize("width", [0.0, 0.6, 2.5])
def test_a_corrected_kl_equals_trls(width: float) -> None:
    table = off_policy(a_step(), width)
    settings = parse({"kind": "grpo", "kl": {"kind": "constant", "beta": 0.5, "estimator": "k3-corrected"}})
    ours = torch.stack(list(PRESETS["grpo"].terms(table, totals_of(table.mask_BT, 0.5), settings).values())).sum()
    theirs = trl_loss(table, {**TRL["grpo"], "use_bias_correction_kl": True}, beta=0.5)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient(ours, table), gradient(theirs, table), rtol=1e-6, atol=1e-7)


def test_the_clips_of_the_oracle_act() -> None:
    open_ended: dict[str, Method] = {
        "grpo": GRPO(clip_low=None, clip_high=None),
        "dapo": GRPO(clip_low=None, clip_high=None, loss_agg_mode="token-mean"),
        "gspo": GRPO(clip_low=None, clip_high=None, ratio="sequence"),
        "cispo": CISPO(cap=1e9),
    }
    table = off_policy(a_step(), 2.5)
    for kind, settings in open_ended.items():
        loose = PRESETS[kind].terms(table, totals_of(table.mask_BT), settings)["policy"]
        assert abs(loose - total(kind, table, totals_of(table.mask_BT))) > 1e-3, kind


@pytest.mark.parametrize("kind", ["grpo", "dapo"])
def test_two_micro_batches_add_up_to_trl_accumulating_them(kind: str) -> None:
    table = a_step()
    totals = totals_of(table.mask_BT, 0.04)
    ours, theirs = torch.zeros(()), torch.zeros(())
    for rows in (slice(0, 2), slice(2, 4)):
        columns = {f.name: getattr(table, f.name) for f in dataclasses.fields(table)}
        part = Table(**{name: None if column is None else column[rows] for name, column in columns.items()})
        ours = ours + total(kind, part, totals)
        theirs = theirs + trl_loss(part, TRL[kind], beta=0.04, micro=2, tokens=totals.sampled.tokens)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient(ours, table), gradient(theirs, table), rtol=1e-6, atol=1e-8)


@given(st.lists(st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=8))
def test_advantages_equal_trls(rewards: list[float | None]) -> None:
    from trl.trainer.utils import nanstd

    # scale_rewards="group", multi_objective_aggregation="sum_then_normalize": TRL computes this inside a long method.
    rewards_1G = torch.tensor([[math.nan if r is None else r for r in rewards]], dtype=torch.float64)
    relative_1G = (rewards_1G - rewards_1G.nanmean(dim=1, keepdim=True)) / (nanstd(rewards_1G, dim=1)[:, None] + 1e-4)
    assert group_advantage(rewards, scale="std") == pytest.approx(relative_1G.nan_to_num(nan=0.0)[0].tolist())
