"""What exactness means here: log-probs and gradients of a policy against one plain row per reply, in fp32.

Log-probs alone prove nothing (a prefix without gradient leaves every log-prob as it is), so gradients are compared too,
parameter by parameter.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tiny import picture
from torch import Tensor

from firsthand.policy import Policy, PrefixGroup
from firsthand.processor import Encoder, Prompt
from firsthand.records import Digit, Example

LENGTHS = ((5, 1, 9), (4, 7), (3, 3))


def random_replies() -> list[tuple[tuple[int, ...], ...]]:
    """Replies of different lengths to three prompts."""
    draw = torch.Generator().manual_seed(0)
    return [tuple(tuple(torch.randint(0, 250, (n,), generator=draw).tolist()) for n in row) for row in LENGTHS]


def ragged_groups(encoder: Encoder, examples: Sequence[Any]) -> list[PrefixGroup]:
    """Three prompts with replies of different lengths."""
    prompts = [encoder.prompt(example, system="Look.") for example in examples]
    return [PrefixGroup(prompt, replies) for prompt, replies in zip(prompts, random_replies(), strict=True)]


def picture_groups(folder: Path) -> list[PrefixGroup]:
    """A prompt with two images, one with one image and one with none, with replies of different lengths."""
    pictures = [picture(64, 64, 1), picture(56, 112, 2), picture(84, 56, 3)]
    examples = [
        Example(question="Which is larger?", images=tuple(pictures[:2]), answer=Digit(value="1")),
        Example(question="How many?", images=(pictures[2],), answer=Digit(value="2")),
        Example(question="What is 1 + 2?", images=(), answer=Digit(value="3")),
    ]
    return ragged_groups(Encoder.load(folder), examples)


def plain_inputs(model: Any, prompt: Prompt, row: Tensor) -> dict[str, Any]:
    """What transformers' own forward takes for one row: its pictures, and marks where a family wants them."""
    found: dict[str, Any] = dict(prompt.tensors or {})
    if prompt.pixels is not None:
        found = {"pixel_values": prompt.pixels, "image_grid_thw": prompt.grids}
    is_image = (row == getattr(model.config, "image_token_id", None)).int() if found else torch.zeros_like(row).int()
    if prompt.grids is not None or model.config.model_type.endswith(("_vl", "qwen3_5")):
        model.model.rope_deltas = None
        found["mm_token_type_ids"] = is_image
    if model.config.model_type == "gemma3":
        found["token_type_ids"] = is_image
    return found


def plain_logprobs(
    model: Any, banned_ids: Sequence[int], groups: Sequence[PrefixGroup], temperature: float = 1.0
) -> tuple[list[Tensor], list[Tensor]]:
    """The reference: one row per reply, positions found by the model itself. Log-probs and entropies."""
    logps, entropies = [], []
    for group in groups:
        for reply in group.replies:
            row = torch.tensor([[*group.prompt.token_ids, *reply]])
            logits = model(input_ids=row, use_cache=False, **plain_inputs(model, group.prompt, row)).logits[0]
            logits = logits[len(group.prompt.token_ids) - 1 : -1] / temperature
            logits[:, list(banned_ids)] = -torch.inf
            logp = logits.log_softmax(-1)
            logps.append(logp.gather(1, torch.tensor(reply)[:, None])[:, 0])
            entropies.append(torch.distributions.Categorical(logits=logits).entropy().detach())
    return logps, entropies


def gradients(model: Any, logps: Sequence[Tensor]) -> dict[str, Tensor]:
    """Gradients of a loss that weights every token differently, so that no two errors can cancel."""
    model.zero_grad()
    weights = torch.Generator().manual_seed(1)
    torch.stack([(logp * torch.randn(len(logp), generator=weights)).sum() for logp in logps]).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def leaky_mask(segments_MN: Tensor) -> Tensor:
    """A wrong `block_mask`: replies of a row see those before them."""
    M, N = segments_MN.shape
    return torch.ones(N, N, dtype=torch.bool).tril().expand(M, 1, N, N)


def assert_equivalent(
    policy: Policy, groups: Sequence[PrefixGroup], temperature: float = 1.0, *, plain: Any = None
) -> None:
    """The policy and plain rows agree: log-probs, entropies, and the gradient of every parameter that is trained.

    `plain` is a model of the same weights that nobody touched; the policy's own without it.
    """
    plain = policy.model if plain is None else plain
    expected, expected_entropy = plain_logprobs(plain, policy.banned_ids, groups, temperature)
    expected_grads = gradients(plain, expected)
    found = policy.logprobs(groups, temperature=temperature, entropy="value")
    logps = [logp[mask] for logp, mask in zip(found.logp_BT, found.mask_BT, strict=True)]
    grads = gradients(policy.model, logps)
    torch.testing.assert_close(torch.cat(logps), torch.cat(expected), atol=1e-5, rtol=0)
    assert found.entropy_BT is not None
    torch.testing.assert_close(found.entropy_BT[found.mask_BT], torch.cat(expected_entropy), atol=1e-4, rtol=0)
    trained = {name for name, parameter in policy.model.named_parameters() if parameter.requires_grad}
    assert grads.keys() == expected_grads.keys() & trained
    for name, grad in grads.items():
        expected_grad = expected_grads[name]
        if "vision" in name and name.endswith("k_proj.bias"):
            # Without rotary positions a key's bias adds the same to all scores: its gradient is 0 but for rounding.
            queries = expected_grads[name.replace("k_proj", "q_proj")].norm()
            assert grad.norm() < 1e-4 * queries and expected_grad.norm() < 1e-4 * queries, name
            continue
        gap = (grad - expected_grad).norm() / expected_grad.norm()
        cosine = torch.cosine_similarity(grad.double().flatten(), expected_grad.double().flatten(), dim=0)
        assert cosine > 0.99999, f"{name}: cosine {cosine}"
        assert gap < 1e-4, f"{name}: relative gap {gap}"


def check_adapted(policy: Policy, groups: Sequence[PrefixGroup]) -> None:
    """That the packed row has the log-probs of plain rows, and the gradients of what is trained."""
    found = policy.logprobs(groups)
    packed = torch.autograd.grad(found.logp_BT[found.mask_BT].square().sum(), policy.parameters)
    plain = torch.cat(plain_logprobs(policy.model, policy.banned_ids, groups)[0])
    expected = torch.autograd.grad(plain.square().sum(), policy.parameters)
    torch.testing.assert_close(found.logp_BT[found.mask_BT], plain, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(packed, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
