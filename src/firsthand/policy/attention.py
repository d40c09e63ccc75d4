"""Attention that knows about shared prefixes, plugged into transformers' models without touching their code.

The language model asks this file for attention. Who passes `shared=` to its forward answers for itself: packed rows in
training (`Blocks`, below) and replies being written (`decoding.Decoder`). Everyone else gets transformers' SDPA.

A packed row leaves most of the [N, N] square empty: siblings do not see each other. `Blocks` computes only the blocks
that are not: every prompt with itself, and every reply with its prompt and itself. The results are the same numbers.

Shape letters: M rows, N tokens of a row, P tokens of the longest prompt, S replies of the largest group, T tokens of
the longest reply; H key-value heads, R query heads per key-value head, E size of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from firsthand.policy.packing import PrefixGroup

ATTENTION = "firsthand_shared_prefix"
"""The name under which transformers finds it."""
WORTHWHILE = 2.0
"""How many times smaller than the whole square the blocks must be to pay for gathering them (measured, ours)."""


class Shared(Protocol):
    """Something that knows what a layer's queries may attend to."""

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, layer: int) -> Tensor:
        """query [batch, H * R, tokens, E], key and value [batch, H, keys, E] -> [batch, tokens, H * R, E]."""
        ...


@dataclass(frozen=True)
class Blocks:
    """The blocks of packed rows that are not empty."""

    P: int
    S: int
    T: int
    reply_token_MST: Tensor
    """int64, flat: the token of [M * N] at each place of each reply; free places name token 0 of their row."""
    home_MN: Tensor
    """int64, flat: where each token's result lies in [M * P prompt places, then M * S * T reply places]."""
    bias_Z1QK: Tensor
    """[M * S, 1, R * T, P + T]: 0 where a query of a reply may attend, -inf elsewhere."""

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, layer: int) -> Tensor:
        """Prompts attend causally to themselves, replies to their prompt and causally to themselves."""
        M, heads, N, E = query.shape
        H, P, S, T = key.shape[1], self.P, self.S, self.T
        q, k, v = (part[:, :, :P] for part in (query, key, value))
        out_prompt = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=heads > H)
        # The R query heads of a key head become further queries of it: keys and values need no copies.
        query_ZHQE = self._replies(query).view(M * S, T, H, -1, E).permute(0, 2, 3, 1, 4).reshape(M * S, H, -1, E)
        keys, values = (self._keys(part) for part in (key, value))
        out = scaled_dot_product_attention(query_ZHQE, keys, values, attn_mask=self.bias_Z1QK, scale=scaling)
        out_reply = out.view(M * S, H, -1, T, E).permute(0, 3, 1, 2, 4).reshape(M * S * T, heads, E)
        everything = torch.cat([out_prompt.transpose(1, 2).reshape(M * P, heads, E), out_reply])
        return everything.index_select(0, self.home_MN).view(M, N, heads, E)

    def _replies(self, part: Tensor) -> Tensor:
        """[M, heads, N, E] -> [M * S * T, heads, E]: the tokens of the replies."""
        return part.transpose(1, 2).flatten(0, 1).index_select(0, self.reply_token_MST)

    def _keys(self, part: Tensor) -> Tensor:
        """[M, H, N, E] -> [M * S, H, P + T, E]: for each reply its prompt's keys (or values), then its own."""
        M, H, _, E = part.shape
        prompt = part[:, None, :, : self.P].expand(M, self.S, H, self.P, E).flatten(0, 1)
        return torch.cat([prompt, self._replies(part).view(M * self.S, self.T, H, E).transpose(1, 2)], dim=2)


def additive(attend: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as what is added to scores: 0 where a query may attend, -inf elsewhere.

    Of a bool mask every layer would make that by itself, and keep it for the backward. Rows begin at multiples of 16
    numbers, because CUDA's kernel copies those that do not.
    """
    keys = attend.shape[-1]
    room = attend.new_zeros((*attend.shape[:-1], -(-keys // 16) * 16), dtype=dtype)
    return room[..., :keys].masked_fill_(~attend, -torch.inf)


def blocks(
    groups: Sequence[PrefixGroup], queries_per_key: int, device: torch.device, dtype: torch.dtype
) -> Blocks | None:
    """The blocks of these groups' packed rows; None when the square costs little more: few or very uneven replies."""
    N = max(group.tokens for group in groups)
    P = max(len(group.prompt.token_ids) for group in groups)
    S = max(len(group.replies) for group in groups)
    T = max((len(reply) for group in groups for reply in group.replies), default=0)
    if (P * P + S * T * (P + T)) * WORTHWHILE > N * N:
        return None
    M = len(groups)
    reply_token = (torch.arange(M)[:, None, None] * N).repeat(1, S, T)
    home = torch.zeros(M, N, dtype=torch.long)
    is_prompt_MP = torch.zeros(M, P, dtype=torch.bool)
    for m, group in enumerate(groups):
        column = len(group.prompt.token_ids)
        is_prompt_MP[m, :column] = True
        home[m, :column] = m * P + torch.arange(column)
        for s, reply in enumerate(group.replies):
            columns = torch.arange(column, column + len(reply))
            reply_token[m, s, : len(reply)] = m * N + columns
            home[m, columns] = M * P + (m * S + s) * T + torch.arange(len(reply))
            column += len(reply)
    causal = torch.ones(T, T, dtype=torch.bool).tril().expand(M, S, T, T)
    attend = torch.cat([is_prompt_MP[:, None, None].expand(M, S, T, P), causal], dim=-1).reshape(M * S, 1, T, P + T)
    return Blocks(
        P=P,
        S=S,
        T=T,
        reply_token_MST=reply_token.flatten().to(device),
        home_MN=home.flatten().to(device),
        bias_Z1QK=additive(attend.to(device).repeat(1, 1, queries_per_key, 1), dtype),
    )


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    shared: Shared | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """transformers' signature of an attention function."""
    if shared is not None:
        return shared.attention(query, key, value, scaling=scaling, layer=module.layer_idx), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)


AttentionInterface.register(ATTENTION, _attention)
# Without a mask function of the same name transformers would drop masks without a word.
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
