"""The shared-prefix row is exact: its log-probs and gradients are those of one plain row per reply.

Log-probs alone prove nothing (a prefix without gradient leaves every log-prob as it is), so gradients are compared,
parameter by parameter, in fp32; and three wrong ways to share a prefix must fail the very same check.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FAMILIES, picture, tiny_folder
from torch import Tensor

from firsthand.dataset import Encoder
from firsthand.policy import Group, Policy, attention, head, packing
from firsthand.records import Digit, Example

LENGTHS = ((5, 1, 9), (4, 7), (3, 3))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model folder per family."""
    root = tmp_path_factory.mktemp("models")
    return {family: tiny_folder(root / family, family) for family in FAMILIES}


def ragged_groups(folder: Path) -> list[Group]:
    """A prompt with two images, one with one image and one with none, with replies of different lengths."""
    encoder = Encoder.load(folder)
    pictures = [picture(64, 64, 1), picture(56, 112, 2), picture(84, 56, 3)]
    examples = [
        Example(question="Which is larger?", images=tuple(pictures[:2]), answer=Digit(value="1")),
        Example(question="How many?", images=(pictures[2],), answer=Digit(value="2")),
        Example(question="What is 1 + 2?", images=(), answer=Digit(value="3")),
    ]
    draw = torch.Generator().manual_seed(0)
    replies = [tuple(tuple(torch.randint(0, 250, (n,), generator=draw).tolist()) for n in row) for row in LENGTHS]
    return [Group(encoder.prompt(e, system="Look."), r) for e, r in zip(examples, replies, strict=True)]


def plain_logprobs(
    policy: Policy, groups: Sequence[Group], temperature: float = 1.0
) -> tuple[list[Tensor], list[Tensor]]:
    """The reference: one row per reply, positions found by the model itself. Log-probs and entropies."""
    logps, entropies = [], []
    for group in groups:
        for reply in group.replies:
            row = torch.tensor([[*group.prompt.token_ids, *reply]])
            images: dict[str, Any] = {}
            if group.prompt.pixels is not None:
                images = {"pixel_values": group.prompt.pixels, "image_grid_thw": group.prompt.grids}
            is_image = (row == policy.model.config.image_token_id).int()
            policy.model.model.rope_deltas = None
            logits = policy.model(input_ids=row, mm_token_type_ids=is_image, use_cache=False, **images).logits[0]
            logits = logits[len(group.prompt.token_ids) - 1 : -1] / temperature
            logits[:, list(policy.banned_ids)] = -torch.inf
            logp = logits.log_softmax(-1)
            logps.append(logp.gather(1, torch.tensor(reply)[:, None])[:, 0])
            entropies.append(torch.distributions.Categorical(logits=logits).entropy().detach())
    return logps, entropies


def gradients(policy: Policy, logps: Sequence[Tensor]) -> dict[str, Tensor]:
    """Gradients of a loss that weights every token differently, so that no two errors can cancel."""
    policy.model.zero_grad()
    weights = torch.Generator().manual_seed(1)
    torch.stack([(logp * torch.randn(len(logp), generator=weights)).sum() for logp in logps]).sum().backward()
    return {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}


def assert_equivalent(policy: Policy, groups: Sequence[Group], temperature: float = 1.0) -> None:
    """Packed rows and plain rows agree: log-probs, entropies, and the gradient of every parameter."""
    expected, expected_entropy = plain_logprobs(policy, groups, temperature)
    expected_grads = gradients(policy, expected)
    found = policy.logprobs(groups, temperature=temperature, entropy="value")
    logps = [logp[mask] for logp, mask in zip(found.logp_BT, found.mask_BT, strict=True)]
    grads = gradients(policy, logps)
    torch.testing.assert_close(torch.cat(logps), torch.cat(expected), atol=1e-5, rtol=0)
    assert found.entropy_BT is not None
    torch.testing.assert_close(found.entropy_BT[found.mask_BT], torch.cat(expected_entropy), atol=1e-4, rtol=0)
    assert grads.keys() == expected_grads.keys()
    for name, expected_grad in expected_grads.items():
        gap = (grads[name] - expected_grad).norm() / expected_grad.norm()
        cosine = torch.cosine_similarity(grads[name].double().flatten(), expected_grad.double().flatten(), dim=0)
        assert cosine > 0.99999, f"{name}: cosine {cosine}"
        assert gap < 1e-4, f"{name}: relative gap {gap}"


@pytest.fixture(params=["square", "blocks"])
def attention_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute attention in one masked square per row, or only its blocks that are not empty."""
    monkeypatch.setattr(attention, "WORTHWHILE", {"square": torch.inf, "blocks": 0.0}[request.param])
    return str(request.param)


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("trainable", ["all", "language"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("attention_by")
def test_packed_rows_equal_plain_rows_in_values_and_gradients(
    folders: dict[str, Path], family: str, trainable: Any, gradient_checkpointing: bool
) -> None:
    policy = Policy.load(folders[family], trainable=trainable, gradient_checkpointing=gradient_checkpointing)
    assert_equivalent(policy, ragged_groups(folders[family]))


def test_temperature_divides_the_logits_in_training_too(folders: dict[str, Path]) -> None:
    policy = Policy.load(folders["qwen2_5_vl"])
    assert_equivalent(policy, ragged_groups(folders["qwen2_5_vl"]), temperature=0.6)


def test_the_output_layer_may_work_in_chunks(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOGITS_PER_CHUNK", 2000)  # 7 tokens at a time
    policy = Policy.load(folders["qwen2_5_vl"])
    assert_equivalent(policy, ragged_groups(folders["qwen2_5_vl"]))


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
        assert_equivalent(Policy.load(folders[family]), ragged_groups(folders[family]))


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_replies_that_see_each_other_fail_the_check(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def causal(segments_MN: Tensor) -> Tensor:
        M, N = segments_MN.shape
        return torch.ones(N, N, dtype=torch.bool).tril().expand(M, 1, N, N)

    monkeypatch.setattr(packing, "block_mask", causal)
    monkeypatch.setattr(attention, "WORTHWHILE", torch.inf)
    with pytest.raises(AssertionError):
        assert_equivalent(Policy.load(folders[family]), ragged_groups(folders[family]))


@pytest.mark.usefixtures("attention_by")
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_prefix_without_gradient_changes_no_log_prob_and_fails_the_check(
    folders: dict[str, Path], family: str
) -> None:
    groups = ragged_groups(folders[family])
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
