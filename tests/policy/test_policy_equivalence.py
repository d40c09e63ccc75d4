"""The shared-prefix row is exact: its log-probs and gradients are those of one plain row per reply.

Three wrong ways to share a prefix must fail the very same check (`equivalence`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from equivalence import assert_equivalent, leaky_mask, picture_groups
from tiny import FAMILIES
from torch import Tensor

from firsthand.policy import Policy, attention, head, packing
from firsthand.policy.packing import alone


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("trainable", ["all", "language"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("attention_by")
def test_packed_rows_equal_plain_rows_in_values_and_gradients(
    folders: dict[str, Path], family: str, trainable: Any, gradient_checkpointing: bool
) -> None:
    policy = Policy.load(folders[family], trainable=trainable, gradient_checkpointing=gradient_checkpointing)
    assert_equivalent(policy, picture_groups(folders[family]))


def test_temperature_divides_the_logits_in_training_too(folders: dict[str, Path]) -> None:
    policy = Policy.load(folders["qwen2_5_vl"])
    assert_equivalent(policy, picture_groups(folders["qwen2_5_vl"]), temperature=0.6)


@pytest.mark.parametrize("shares", [True, False])
def test_demonstrations_are_scored_at_temperature_1(folders: dict[str, Path], shares: bool) -> None:
    policy = Policy.load(folders["qwen2_5_vl"])
    groups = picture_groups(folders["qwen2_5_vl"])
    mixed = [replace(g, given=tuple(i == 0 for i in range(len(g.replies)))) for g in groups]  # the first of each
    found = policy.logprobs(mixed if shares else alone(mixed), temperature=0.6, entropy="value")
    given_B = torch.tensor([flag for group in mixed for flag in group.given])
    for is_given, temperature in ((True, 1.0), (False, 0.6)):
        expected = policy.logprobs(groups, temperature=temperature, entropy="value")
        for one, other in ((found.logp_BT, expected.logp_BT), (found.entropy_BT, expected.entropy_BT)):
            assert one is not None and other is not None
            torch.testing.assert_close(one[given_B == is_given], other[given_B == is_given], rtol=1e-4, atol=1e-5)
    slopes = []
    for forward in (mixed, groups):
        policy.model.zero_grad()
        policy.logprobs(forward, temperature=1.0 if forward is groups else 0.6).logp_BT[given_B].sum().backward()
        slopes.append(torch.cat([p.grad.flatten() for p in policy.parameters if p.grad is not None]))
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-4)


def test_the_output_layer_may_work_in_chunks(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOGITS_PER_CHUNK", 2000)  # 7 tokens at a time
    policy = Policy.load(folders["qwen2_5_vl"])
    assert_equivalent(policy, picture_groups(folders["qwen2_5_vl"]))


@pytest.mark.usefixtures("attention_by")
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_positions_that_run_on_across_replies_fail_the_check(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_on(prompt_3P: Tensor, lengths: Sequence[int]) -> Tensor:
        start = int(prompt_3P.max()) + 1
        return torch.cat([prompt_3P, torch.arange(start, start + sum(lengths)).expand(3, -1)], dim=1)

    monkeypatch.setattr(packing, "row_positions", run_on)
    with pytest.raises(AssertionError):
        assert_equivalent(Policy.load(folders[family]), picture_groups(folders[family]))


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_replies_that_see_each_other_fail_the_check(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "block_mask", leaky_mask)
    monkeypatch.setattr(attention, "WORTHWHILE", torch.inf)
    with pytest.raises(AssertionError):
        assert_equivalent(Policy.load(folders[family]), picture_groups(folders[family]))


@pytest.mark.usefixtures("attention_by")
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_prefix_without_gradient_changes_no_log_prob_and_fails_the_check(
    folders: dict[str, Path], family: str
) -> None:
    groups = picture_groups(folders[family])
    policy = Policy.load(folders[family])
    before = policy.logprobs(groups).logp_BT
    lengths = torch.tensor([len(group.prompt.token_ids) for group in groups])

    def detach_prompts(module: Any, args: Any, output: Tensor) -> Tensor:
        if len(output) != len(groups):
            return output  # a plain row
        is_prompt = torch.arange(output.shape[1]) < lengths[:, None]
        return torch.where(is_prompt[..., None], output.detach(), output)

    language = policy.model.model.language_model
    for layer in language.layers:
        layer.self_attn.k_proj.register_forward_hook(detach_prompts)
        layer.self_attn.v_proj.register_forward_hook(detach_prompts)
    language.norm.register_forward_hook(detach_prompts)
    torch.testing.assert_close(policy.logprobs(groups).logp_BT, before, atol=0, rtol=0)
    with pytest.raises(AssertionError, match="cosine"):
        assert_equivalent(policy, groups)
