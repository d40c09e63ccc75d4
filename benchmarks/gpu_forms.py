"""The forms in which log-probs of replies are computed: those of the product, a wrong one, and candidates."""

import inspect
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import torch
from gpu_bench import Skipped
from torch import Tensor, nn

from firsthand.policy import Policy, PrefixGroup, attention, model, packing
from firsthand.policy.decoding import PlainDecoder
from firsthand.policy.packing import alone
from firsthand.processor import Prompt
from firsthand.rollout import LocalSampler, Sampling, grouped

FORMS = ("separate", "square", "blocks")
"""A row for each reply; packed rows under one dense mask; packed rows by their blocks that are not empty."""
VARLEN, FLEX = "varlen", "flex"
CANDIDATES = (VARLEN, FLEX)
"""What firsthand does not have, by PyTorch's kernels: sequences of many lengths; masks that leave blocks out."""
FUSED, FUSED_VARLEN, FUSED_ROTARY = "fused blocks", "fused varlen", "fused blocks and rotary"
"""Norms and gated layers, each compiled to one kernel; and the rotary embedding, too."""
LEAKY = "leaky"
"""A wrong form, in which replies see the replies before them: what a check must not let pass."""
SINGLE = "single"
"""The reference: one reply per forward."""


@contextmanager
def attention_form(form: str) -> Iterator[None]:
    """Let packed rows be computed in this form. Raises Skipped where a candidate does not exist."""
    worthwhile, mask, blocks = attention.WORTHWHILE, packing.block_mask, model.blocks
    attention.WORTHWHILE = 0.0 if form == "blocks" else math.inf
    packing.block_mask = _causal if form == LEAKY else mask
    if form in CANDIDATES:
        model.blocks = _varlen if form == VARLEN else _flex
    try:
        yield
    except NotImplementedError as error:  # what PyTorch raises where a kernel is not made for the device
        if form not in CANDIDATES:
            raise
        raise Skipped(f"{form}: {str(error)[:300]}") from error
    finally:
        attention.WORTHWHILE, packing.block_mask, model.blocks = worthwhile, mask, blocks


@contextmanager
def fused(policy: Policy, form: str) -> Iterator[str]:
    """Let the parts that a form's name says be compiled; the form of its attention."""
    if not form.startswith("fused"):
        yield form
        return
    layers = list(policy.model.get_decoder().modules())
    source = sys.modules[type(layers[0]).__module__]
    rotary = source.apply_rotary_pos_emb
    _fuse(policy.model)
    if form == FUSED_ROTARY:
        source.apply_rotary_pos_emb = _ROTARY.setdefault("compiled", torch.compile(rotary, dynamic=True))
    try:
        yield VARLEN if form == FUSED_VARLEN else "blocks"
    finally:
        source.apply_rotary_pos_emb = rotary
        for layer in layers:
            vars(layer).pop("forward", None)


_ROTARY: dict[str, Any] = {}
GATED = ("gate_proj", "up_proj", "down_proj", "act_fn")
"""What a gated feed-forward layer of transformers consists of."""


def _fuse(model: Any) -> None:
    """Replace the forward of norms and gated feed-forward layers.

    Tokens are given to the kernels as rows of a matrix, so that there is one kernel for all batches.
    """
    layers = list(model.get_decoder().modules())
    norms = [layer for layer in layers if type(layer).__name__.endswith("RMSNorm")]
    gated = [layer for layer in layers if all(hasattr(layer, name) for name in GATED)]
    for layer in norms:
        layer.forward = partial(_normed, layer, _compiled(type(layer).forward))
    for layer in gated:
        layer.forward = partial(_gated, layer, _compiled(_product))


@cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    compiled: Callable[..., Tensor] = torch.compile(function, dynamic=True)
    return compiled


def _normed(layer: nn.Module, forward: Callable[..., Tensor], hidden: Tensor) -> Tensor:
    return forward(layer, hidden.reshape(-1, hidden.shape[-1])).view(hidden.shape)


def _gated(layer: Any, product: Callable[..., Tensor], hidden: Tensor) -> Tensor:
    rows = hidden.reshape(-1, hidden.shape[-1])
    out: Tensor = layer.down_proj(product(layer.act_fn, layer.gate_proj(rows), layer.up_proj(rows)))
    return out.view(hidden.shape)


def _product(activation: Callable[[Tensor], Tensor], gate: Tensor, up: Tensor) -> Tensor:
    return activation(gate) * up


def _causal(segments_MN: Tensor) -> Tensor:
    M, N = segments_MN.shape
    return torch.ones(N, N, dtype=torch.bool, device=segments_MN.device).tril().expand(M, 1, N, N)


@dataclass(frozen=True)
class Varlen:
    """Packed rows as sequences: each prompt, and each reply, whose keys are its prompt's and then its own.

    Where a sequence has more keys than queries, the last query sees the last key (causal from the bottom right).
    """

    kernel: Callable[..., Tensor]
    """Queries, keys and values, then the four fields at the end, and `scale`."""
    query_Q: Tensor
    """int64: the token of [M * N] of each query, sequence by sequence."""
    key_K: Tensor
    edges_q: Tensor
    """int32: where sequences begin and end among the queries."""
    edges_k: Tensor
    longest_q: int
    longest_k: int

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, layer: int) -> Tensor:
        """As `firsthand.policy.attention.Shared` says."""
        M, heads, N, E = query.shape
        query_QHE = query.transpose(1, 2).flatten(0, 1).index_select(0, self.query_Q)
        keys, values = (part.transpose(1, 2).flatten(0, 1).index_select(0, self.key_K) for part in (key, value))
        lengths = (self.edges_q, self.edges_k, self.longest_q, self.longest_k)
        out = self.kernel(query_QHE, keys, values, *lengths, scale=scaling)
        return out.new_zeros(M * N, heads, E).index_copy(0, self.query_Q, out).view(M, N, heads, E)


def _varlen(groups: Sequence[PrefixGroup], queries_per_key: int, device: torch.device, dtype: torch.dtype) -> Varlen:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as error:
        raise Skipped(f"varlen: {error}") from error
    return sequences(groups, _causal_kernel(varlen_attn), device)


def _causal_kernel(varlen_attn: Any) -> Callable[..., Tensor]:
    """PyTorch's function as `Varlen` wants it, by the arguments that this version has."""
    known = inspect.signature(varlen_attn).parameters
    causal: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "enable_gqa" in known:
        return partial(varlen_attn, enable_gqa=True, **causal)

    def with_copies(query_QHE: Tensor, key: Tensor, value: Tensor, *lengths: Any, scale: float) -> Tensor:
        times = query_QHE.shape[1] // key.shape[1]
        keys, values = (part.repeat_interleave(times, dim=1) for part in (key, value))
        return cast(Tensor, varlen_attn(query_QHE, keys, values, *lengths, scale=scale, **causal))

    return with_copies


def sequences(groups: Sequence[PrefixGroup], kernel: Callable[..., Tensor], device: torch.device | str) -> Varlen:
    """What each sequence of these groups' packed rows consists of."""
    N = max(group.tokens for group in groups)
    queries, keys = [], []
    for m, group in enumerate(groups):
        prompt = range(m * N, m * N + len(group.prompt.token_ids))
        queries.append(list(prompt))
        keys.append(list(prompt))
        column = prompt.stop
        for reply in group.replies:
            queries.append(list(range(column, column + len(reply))))
            keys.append([*prompt, *queries[-1]])
            column += len(reply)

    def edges(parts: list[list[int]]) -> Tensor:
        return torch.tensor([0, *itertools.accumulate(map(len, parts))], dtype=torch.int32, device=device)

    def flat(parts: list[list[int]]) -> Tensor:
        return torch.tensor([place for part in parts for place in part], device=device)

    longest = [max(map(len, parts)) for parts in (queries, keys)]
    return Varlen(kernel, flat(queries), flat(keys), edges(queries), edges(keys), *longest)


@dataclass(frozen=True)
class Flex:
    """Packed rows under the mask of `packing.block_mask`, blocks of 128 x 128 that are empty left out."""

    kernel: Callable[..., Tensor]
    mask: Any

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, layer: int) -> Tensor:
        """As `firsthand.policy.attention.Shared` says."""
        shares = query.shape[1] > key.shape[1]
        out = self.kernel(query, key, value, block_mask=self.mask, scale=scaling, enable_gqa=shares)
        return out.transpose(1, 2)


_FLEX: dict[str, Any] = {}
"""The compiled kernel, made once: compiling takes longer than what is measured."""


def _flex(groups: Sequence[PrefixGroup], queries_per_key: int, device: torch.device, dtype: torch.dtype) -> Flex:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    N = max(group.tokens for group in groups)
    segments_MN = segments(groups).to(device)

    def attend(m: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        own = (segments_MN[m, k] == 0) | (segments_MN[m, k] == segments_MN[m, q])
        return ((q >= k) & own & (segments_MN[m, k] >= 0)) | (q == k)

    mask = create_block_mask(attend, len(groups), None, N, N, device=str(device))
    if device.type == "cpu":
        return Flex(flex_attention, mask)
    if "kernel" not in _FLEX:
        _FLEX["kernel"] = torch.compile(flex_attention)
    return Flex(_FLEX["kernel"], mask)


def segments(groups: Sequence[PrefixGroup]) -> Tensor:
    """Each token's part of its row, as packed rows have it: 0 the prompt, i > 0 a reply, -1 padding."""
    found = torch.full((len(groups), max(group.tokens for group in groups)), -1)
    for m, group in enumerate(groups):
        lengths = torch.tensor([len(group.prompt.token_ids), *map(len, group.replies)])
        found[m, : group.tokens] = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return found


class Learnt(NamedTuple):
    """What a form makes of replies: the log-probs of their tokens, and the gradients of a loss."""

    logp_K: Tensor
    gradients: dict[str, Tensor]

    def beside(self, other: "Learnt") -> dict[str, Any]:
        """How far the log-probs are from another's, and the gradients, relative to it, by group of parameters."""
        squares: dict[str, list[float]] = {}
        for name, gradient in other.gradients.items():
            expected = gradient.float()
            gap = self.gradients[name].to(expected.device).float() - expected
            for group in ("all", _group_of(name)):
                both = squares.setdefault(group, [0.0, 0.0])
                both[0] += float(gap.square().sum())
                both[1] += float(expected.square().sum())
        relative = {group: math.sqrt(gap / whole) for group, (gap, whole) in sorted(squares.items())}
        return {"logp": gap_of(self.logp_K, other.logp_K), "gradient": relative}


def learn(policy: Policy, groups: Sequence[PrefixGroup], form: str) -> Learnt:
    """Forward and backward of a loss that weighs every token differently, so that no two errors can cancel."""
    policy.model.zero_grad(set_to_none=True)
    parts = {SINGLE: [[g] for g in alone(groups)], "separate": [alone(groups)]}.get(form, [list(groups)])
    weights = torch.randn(sum(len(r) for g in groups for r in g.replies), generator=torch.Generator().manual_seed(1))
    found: list[Tensor] = []
    with fused(policy, form) as attention, attention_form(attention):
        for part in parts:
            logprobs = policy.logprobs(part)
            logp_K = logprobs.logp_BT[logprobs.mask_BT]
            weights_K, weights = weights[: len(logp_K)], weights[len(logp_K) :]
            (logp_K * weights_K.to(logp_K.device)).sum().backward()
            found.append(logp_K.detach())
    gradients = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad(set_to_none=True)
    return Learnt(torch.cat(found), gradients)


def _group_of(name: str) -> str:
    """A parameter's group: the kind of its layer, or `vision`."""
    return "vision" if "visual" in name else name.split(".")[-2]


def gap_of(found_K: Tensor, expected_K: Tensor) -> dict[str, float]:
    """Differences of log-probs in nats: the largest, the 99th percentile, and the mean size."""
    gap_K = (found_K.float().cpu() - expected_K.float().cpu()).abs()
    return {"max": float(gap_K.max()), "p99": float(gap_K.quantile(0.99)), "mean": float(gap_K.mean())}


def parity(policy: Policy, encoder: Any, prompts: Sequence[Prompt], n: int, tokens: int) -> dict[str, Any]:
    """Log-probs of sampled tokens where they were sampled, beside those of training and of the model's own cache."""
    written = LocalSampler(policy, encoder).sample(prompts, n, Sampling(max_new_tokens=tokens))
    sampled = grouped(written, len(prompts))
    logp_K = torch.tensor([p for group in sampled for reply in group for p in reply.logprobs])
    groups = [PrefixGroup(p, tuple(r.token_ids for r in group)) for p, group in zip(prompts, sampled, strict=True)]
    found: dict[str, Any] = {"tokens": len(logp_K), "entropy": -float(logp_K.mean())}
    for form in FORMS:
        with torch.no_grad(), attention_form(form):
            logprobs = policy.logprobs(alone(groups) if form == "separate" else groups)
        found[f"rollout to {form}"] = gap_of(logprobs.logp_BT[logprobs.mask_BT], logp_K)
        if form == "separate":
            plain_K = torch.cat([forced(policy, group) for group in groups])
            found["plain cache to separate"] = gap_of(plain_K, logprobs.logp_BT[logprobs.mask_BT])
    return found | {"rollout to plain cache": gap_of(plain_K, logp_K)}


@torch.inference_mode()
def forced(policy: Policy, group: PrefixGroup) -> Tensor:
    """Log-probs [K] of a group's replies, written token by token into transformers' own cache."""
    policy.model.eval()
    longest = max(map(len, group.replies))
    token_GR = torch.tensor([[*reply, *[0] * (longest - len(reply))] for reply in group.replies])
    is_token_GR = torch.tensor([[i < len(reply) for i in range(longest)] for reply in group.replies])
    decoder = PlainDecoder(policy, [group.prompt], len(group.replies))
    columns = []
    for token_G in token_GR.to(policy.model.device).T:
        logp_GV = policy.head.logits(decoder.hidden_BD, 1.0).log_softmax(-1)
        columns.append(logp_GV.gather(1, token_G[:, None])[:, 0])
        decoder.step(token_G)
    policy.model.train()
    return torch.stack(columns, dim=1).cpu()[is_token_GR]


def words_only() -> Any:
    """What a sampler needs of an encoder when replies have no text, and no end before their time."""
    return SimpleNamespace(stop_ids=(), text=lambda token_ids: "")
