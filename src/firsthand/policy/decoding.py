"""Writing many replies at once: each prompt is run once, and its keys and values are held once.

Every row (a reply being written) reads its prompt's keys and values where they are, so memory and memory traffic do
not grow with the number of replies per prompt, and the scores against a prompt are one matrix product for all of its
replies. Only what a reply itself has written is stored per row. This is the inference twin of `packing`; the idea is
Hydragen's (arXiv:2402.05099).

Models that need more than that (see `sharing`) write with their own cache, in a `PlainDecoder`.

Shape letters: M prompts, S slots (most rows that any prompt has), B rows, P prompt tokens (padded on the right),
T reply tokens, H key-value heads, R query heads per key-value head, E size of a head, D hidden size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from firsthand.policy.model import Policy
from firsthand.policy.packing import PrefixGroup
from firsthand.processor import Prompt


class Decoder:
    """The state of B replies to M prompts. Rows belong to prompts in order; all rows are equally long.

    Use it in inference mode and with the model in eval mode (layers that checkpoint gradients refuse a cache).
    """

    def __init__(self, policy: Policy, prompts: Sequence[Prompt], n: int, max_new_tokens: int) -> None:
        """Run each prompt once, and open n rows for it, each with room for `max_new_tokens` tokens."""
        self._policy = policy
        groups = [PrefixGroup(prompt, ()) for prompt in prompts]
        rows = policy.rows(groups)
        out = policy.hidden(rows, groups, use_cache=True)
        lengths_M = torch.tensor([len(prompt.token_ids) for prompt in prompts], device=rows.token_ids_MN.device)
        M, P = rows.token_ids_MN.shape
        is_padding_MP = torch.arange(P, device=lengths_M.device) >= lengths_M[:, None]
        dtype = out.last_hidden_state.dtype
        self._bias_M11P = torch.zeros(M, 1, 1, P, dtype=dtype, device=lengths_M.device)
        self._bias_M11P.masked_fill_(is_padding_MP[:, None, None], -torch.inf)
        self._prompt = [(layer.keys, layer.values) for layer in out.past_key_values.layers]
        self._written = [tuple(_room(part, M * n, max_new_tokens) for part in layer) for layer in self._prompt]
        self.length = 0
        """Tokens that every row has written."""
        self._place(torch.arange(M, device=lengths_M.device).repeat_interleave(n))
        last_M = lengths_M - 1
        positions_M = rows.position_ids_3MN.max(dim=2).values.max(dim=0).values + 1
        self._position_B1 = positions_M.repeat_interleave(n)[:, None]
        self.hidden_BD: Tensor = out.last_hidden_state[torch.arange(M, device=last_M.device), last_M].repeat_interleave(
            n, dim=0
        )
        """What predicts each row's next token."""

    def step(self, token_B: Tensor) -> None:
        """Append one token to every row and find what predicts the next one."""
        out = self._policy.language(
            inputs_embeds=self._policy.model.get_input_embeddings()(token_B)[:, None],
            position_ids=self._policy.positions(self._position_B1.expand(3, -1, -1)),
            attention_mask=self._bias_M11P,  # four dimensions: transformers makes no mask of its own
            past_key_values=self,
            use_cache=True,
            shared=self,
        )
        self.length += 1
        self._position_B1 = self._position_B1 + 1
        self.hidden_BD = out.last_hidden_state[:, 0]

    def keep(self, rows_K: Tensor) -> None:
        """Go on with these rows only (int64, ascending); prompts without rows are dropped too."""
        prompts_K = self._prompt_B[rows_K]
        alive, renumbered_K = torch.unique_consecutive(prompts_K, return_inverse=True)
        if len(alive) < len(self._bias_M11P):
            self._prompt = [(keys[alive], values[alive]) for keys, values in self._prompt]
            self._bias_M11P = self._bias_M11P[alive]
        for i, layer in enumerate(self._written):  # one by one, so that no two copies of all are held
            self._written[i] = tuple(_selected(part, rows_K, self.length) for part in layer)
        self._position_B1 = self._position_B1[rows_K]
        self.hidden_BD = self.hidden_BD[rows_K]
        self._place(renumbered_K)

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """A cache's role in transformers: store the newest keys and values [B, H, 1, E], return all of the replies'."""
        found = []
        for buffer, new in zip(self._written[layer], (key, value), strict=True):
            buffer[:, :, self.length] = new[:, :, 0]
            found.append(buffer[:, :, : self.length + 1])
        return found[0], found[1]

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, layer: int) -> Tensor:
        """Each row's newest token attends to its prompt and to all of its own reply."""
        return attend(query, key, value, self._prompt[layer], self._bias_M11P, self._grid, self._rows, scaling=scaling)

    def _place(self, prompt_B: Tensor) -> None:
        """Give every row a slot at its prompt; rows are ordered by prompt."""
        self._prompt_B = prompt_B
        counts = torch.bincount(prompt_B)
        starts = counts.cumsum(0) - counts
        self._slot_B = torch.arange(len(prompt_B), device=prompt_B.device) - starts[prompt_B]
        self._slots = int(counts.max())
        self._is_full = self._slots * len(counts) == len(prompt_B)

    def _grid(self, rows_BHRX: Tensor) -> Tensor:
        """Rows laid out by prompt, [M, H, S * R, X]; free slots hold zeros."""
        _, H, R, X = rows_BHRX.shape
        M, S = len(self._bias_M11P), self._slots
        if self._is_full:
            grid = rows_BHRX.view(M, S, H, R, X)
        else:
            grid = rows_BHRX.new_zeros(M, S, H, R, X)
            grid[self._prompt_B, self._slot_B] = rows_BHRX
        return grid.transpose(1, 2).reshape(M, H, S * R, X)

    def _rows(self, grid_MHYX: Tensor) -> Tensor:
        """The inverse of `_grid`: [B, H, R, X]."""
        M, H, Y, X = grid_MHYX.shape
        grid = grid_MHYX.view(M, H, self._slots, Y // self._slots, X).transpose(1, 2)
        return grid.reshape(-1, *grid.shape[2:]) if self._is_full else grid[self._prompt_B, self._slot_B]


class PlainDecoder:
    """The state of n replies to each of several prompts of one length, in the model's own cache.

    For models whose layers keep more than keys and values, or do not attend to all of them. Nothing is padded: padding
    before a reply would run through a recurrent layer. Use it as `Decoder` is used.
    """

    def __init__(self, policy: Policy, prompts: Sequence[Prompt], n: int) -> None:
        """Run each prompt once, and open n rows for it. Raises ValueError when prompts differ in length."""
        lengths = {len(prompt.token_ids) for prompt in prompts}
        if len(lengths) != 1:
            raise ValueError(f"expected prompts of one length, got {sorted(lengths)}; write them one after the other")
        self._policy = policy
        groups = [PrefixGroup(prompt, ()) for prompt in prompts]
        rows = policy.rows(groups)
        out = policy.hidden(rows, groups, use_cache=True)
        self._cache = out.past_key_values
        self._position_B1 = rows.position_ids_3MN.amax(dim=(0, 2))[:, None] + 1
        self.hidden_BD: Tensor = out.last_hidden_state[:, -1]
        """What predicts each row's next token."""
        self.keep(torch.arange(len(prompts), device=self.hidden_BD.device).repeat_interleave(n))

    def step(self, token_B: Tensor) -> None:
        """Append one token to every row and find what predicts the next one."""
        out = self._policy.language(
            inputs_embeds=self._policy.model.get_input_embeddings()(token_B)[:, None],
            position_ids=self._policy.positions(self._position_B1.expand(3, -1, -1)),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._position_B1 = self._position_B1 + 1
        self.hidden_BD = out.last_hidden_state[:, 0]

    def keep(self, rows_K: Tensor) -> None:
        """Go on with these rows only (int64); a row named several times is copied."""
        self._cache.reorder_cache(rows_K)
        self._position_B1 = self._position_B1[rows_K]
        self.hidden_BD = self.hidden_BD[rows_K]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prompt: tuple[Tensor, Tensor],
    bias_M11P: Tensor,
    by_prompt: Callable[[Tensor], Tensor],
    by_row: Callable[[Tensor], Tensor],
    *,
    scaling: float,
    bias_B11T: Tensor | None = None,
) -> Tensor:
    """Of each row's newest token to its prompt and to all of its own reply; [B, 1, H * R, E]. Softmax in float32.

    Args:
        query: [B, H * R, 1, E].
        key, value: of the replies, [B, H, T, E].
        prompt: keys and values of the prompts, [M, H, P, E].
        by_prompt: lays out [B, H, R, X] by prompt, as [M, H, S * R, X]; `by_row` is its inverse.
        bias_M11P, bias_B11T: added to the scores, -inf where there is nothing to see.
    """
    B, heads, _, E = query.shape
    keys_MHPE, values_MHPE = prompt
    query_BHRE = (query * scaling).view(B, key.shape[1], -1, E)
    to_prompt_MHXP = by_prompt(query_BHRE) @ keys_MHPE.transpose(2, 3) + bias_M11P
    to_reply_BHRT = query_BHRE @ key.transpose(2, 3)
    if bias_B11T is not None:
        to_reply_BHRT = to_reply_BHRT + bias_B11T
    scores_BHRX = torch.cat([by_row(to_prompt_MHXP), to_reply_BHRT], dim=-1)
    weights = scores_BHRX.softmax(-1, dtype=torch.float32).to(value.dtype)
    from_prompt, from_reply = weights.split([keys_MHPE.shape[2], key.shape[2]], dim=-1)
    out_BHRE: Tensor = by_row(by_prompt(from_prompt) @ values_MHPE) + from_reply @ value
    return out_BHRE.reshape(B, 1, heads, E)


def _room(like: Tensor, rows: int, tokens: int) -> Tensor:
    """An uninitialised buffer [rows, H, tokens, E] for keys or values like `like`."""
    return like.new_empty(rows, like.shape[1], tokens, like.shape[3])


def _selected(buffer: Tensor, rows_K: Tensor, length: int) -> Tensor:
    """A buffer of the same room with only these rows; what is not written yet is not copied."""
    selected = _room(buffer, len(rows_K), buffer.shape[2])
    selected[:, :, :length] = buffer[rows_K, :, :length]
    return selected
