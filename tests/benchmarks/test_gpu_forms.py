"""Candidates for attention on a GPU: on a CPU, where their kernels do not run backward, they give the right numbers."""

from collections.abc import Callable
from dataclasses import replace

import gpu_forms
import pytest
import torch
from gpu_workload import TINY, policy_of, random_group, random_model
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from firsthand.policy import Policy, PrefixGroup, model


@pytest.fixture(scope="module")
def policy() -> Policy:
    return policy_of(random_model(TINY, "cpu").float())


@pytest.fixture(scope="module")
def groups() -> list[PrefixGroup]:
    """Rows of different lengths, so that one has padding, and replies of different lengths."""
    short = random_group(TINY, 0, 2, 4)
    long = random_group(replace(TINY, words=9), 1, 3, 5)
    return [short, PrefixGroup(long.prompt, (*long.replies[:2], long.replies[2][:2]))]


def plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    edges_q: Tensor,
    edges_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    """What PyTorch's `varlen_attn` says that it computes, one sequence after the other."""
    assert window_size == (-1, 0) and enable_gqa
    assert (max_q, max_k) == (int(edges_q.diff().max()), int(edges_k.diff().max()))
    found = []
    for i in range(len(edges_q) - 1):
        q, k, v = (
            part[edges[i] : edges[i + 1]].transpose(0, 1)[None]
            for part, edges in ((query, edges_q), (key, edges_k), (value, edges_k))
        )
        Q, K = q.shape[2], k.shape[2]
        seen_QK = torch.ones(Q, K, dtype=torch.bool).tril(K - Q)  # the last query sees the last key
        out = scaled_dot_product_attention(q, k, v, attn_mask=seen_QK, scale=scale, enable_gqa=True)
        found.append(out[0].transpose(0, 1))
    return torch.cat(found)


def older(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    edges_q: Tensor,
    edges_k: Tensor,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
    *,
    scale: float,
) -> Tensor:
    """The same with as many key heads as query heads."""
    assert is_causal and key.shape[1] == query.shape[1]
    lengths = (edges_q, edges_k, max_q, max_k)
    return plain(query, key, value, *lengths, scale=scale, window_size=(-1, 0), enable_gqa=True)


@pytest.mark.parametrize("kernel", [plain, older])
def test_varlen_sequences_compute_what_the_square_does(
    policy: Policy, groups: list[PrefixGroup], monkeypatch: pytest.MonkeyPatch, kernel: Callable[..., Tensor]
) -> None:
    expected = gpu_forms.learn(policy, groups, "square")
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    found = gpu_forms.learn(policy, groups, gpu_forms.VARLEN).beside(expected)
    assert found["logp"]["max"] < 1e-5 and found["gradient"]["all"] < 1e-5


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flex_computes_what_the_square_does(policy: Policy, groups: list[PrefixGroup]) -> None:
    found = []
    for form in ("square", gpu_forms.FLEX):
        with torch.no_grad(), gpu_forms.attention_form(form):
            found.append(policy.logprobs(groups).logp_BT)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", gpu_forms.CANDIDATES)
def test_a_candidate_without_a_kernel_is_skipped_and_leaves_nothing_behind(
    policy: Policy, groups: list[PrefixGroup], form: str
) -> None:
    before = model.blocks
    with pytest.raises(gpu_forms.Skipped, match=form):
        gpu_forms.learn(policy, groups, form)
    assert model.blocks is before
