"""Attention of vision towers that read many sequences of patches in one row: windows of a picture, and whole pictures.

transformers' SDPA runs such sequences one by one: 56 windows in each of 28 layers for a picture of 800 tokens, which
takes a GPU 105 ms for 8 ms of arithmetic (measured on an H100). Sequences of one length go together here.

Shape letters: N patches of all sequences, H heads, E size of a head; W sequences of L patches each.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

WINDOWS = "firsthand_flash_windows"
"""The name under which transformers finds it. It hands over where sequences end only to names that have "flash"."""


def set_up_windows(model: Any) -> None:
    """Let towers whose attention is told where sequences end use this file."""
    for module in model.modules():
        if "cu_seqlens" in inspect.signature(type(module).forward).parameters and hasattr(module, "config"):
            module.config._attn_implementation = WINDOWS


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' signature of an attention function: query, key and value [1, H, N, E] -> [1, N, H, E].

    `cu_seq_lens_q` says where sequences begin, and then where the last one ends.
    """
    parts = [part[0].transpose(0, 1) for part in (query, key, value)]
    kinds = _by_length(cu_seq_lens_q)
    if len(kinds) == 1:
        return _together(parts, kinds[0][0], scaling)[None], None
    out_NHE = torch.empty_like(parts[0])
    for length, patch_WL in kinds:
        out_NHE = out_NHE.index_copy(0, patch_WL, _together([part[patch_WL] for part in parts], length, scaling))
    return out_NHE[None], None


def _together(parts: Sequence[Tensor], length: int, scaling: float) -> Tensor:
    """Queries, keys and values [W * L, H, E] -> [W * L, H, E]."""
    q, k, v = (part.unflatten(0, (-1, length)).transpose(1, 2) for part in parts)
    return scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2).flatten(0, 1)


def _by_length(edges: Tensor) -> list[tuple[int, Tensor]]:
    """Each length, and the patches [W * L] of the sequences that have it; found once for all layers of a forward."""
    if not hasattr(edges, "by_length"):
        starts, lengths = edges[:-1].long(), edges.diff()
        edges.by_length = [  # type: ignore[attr-defined]
            (length, (starts[lengths == length, None] + torch.arange(length, device=edges.device)).flatten())
            for length in sorted(set(lengths.tolist()))
        ]
    found: list[tuple[int, Tensor]] = edges.by_length  # type: ignore[attr-defined]
    return found


AttentionInterface.register(WINDOWS, _attention)
