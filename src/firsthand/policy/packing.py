"""The shared-prefix row: a prompt and all its replies as one sequence `[prompt | r1 .. rG]`, the prompt only once.

It is exact, in values and in gradients: causal attention never lets a prompt see a reply, so its activations are the
same in G separate rows, and the gradient that G replies send into the prompt is the sum that autograd makes anyway
(PrefixGrouper, arXiv:2506.05433). Three things carry the proof, and each is a trap when it is wrong:

- positions restart for every reply at max(prompt positions) + 1, on all three mrope axes;
- a reply attends to the prompt and to itself, never to a sibling;
- the first token of every reply is predicted from the last *prompt* token.

Shape letters: M rows (one per group), N tokens of the longest row, B replies of all groups in order, T tokens of the
longest reply, K reply tokens that carry a loss (all rows, flat), P prompt tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firsthand.processor import Prompt


@dataclass(frozen=True)
class PrefixGroup:
    """A prompt and its replies' token ids, end-of-turn token included: what is packed as one row.

    `trained` says, reply by reply and token by token, which tokens carry a loss (None: all). A reply may thus be a
    whole further turn of conversation, of which only the answer is trained on.
    """

    prompt: Prompt
    replies: tuple[tuple[int, ...], ...]
    trained: tuple[tuple[bool, ...], ...] | None = None
    sampled_logprobs: tuple[tuple[float, ...], ...] = ()
    """Reply by reply, the log-probs that its tokens were sampled with; empty of a reply that nobody sampled."""
    given: tuple[bool, ...] = ()
    """Reply by reply, whether it is a demonstration, which is scored at temperature 1; empty: none is."""

    @property
    def tokens(self) -> int:
        """Length of the packed row: what this group costs in one forward."""
        return len(self.prompt.token_ids) + sum(len(reply) for reply in self.replies)

    @property
    def tokens_apart(self) -> int:
        """What it costs where replies cannot share a row: the prompt once for each, padded to the longest."""
        lengths = [len(reply) for reply in self.replies]
        return len(lengths) * (len(self.prompt.token_ids) + max(lengths))


@dataclass(frozen=True)
class PackedRows:
    """Groups as model input, and where each reply token that carries a loss is predicted. All on one device."""

    token_ids_MN: Tensor
    """int64; padded on the right."""
    position_ids_3MN: Tensor
    """int64 mrope positions (temporal, height, width)."""
    segments_MN: Tensor
    """int64: 0 prompt, i > 0 the row's i-th reply, -1 padding."""
    row_K: Tensor
    source_K: Tensor
    """The column of `row_K` whose hidden state predicts the token."""
    target_K: Tensor
    """The token id to predict."""
    reply_K: Tensor
    place_K: Tensor
    """Reply b and place t in it: the token's cell in a [B, T] result."""
    shape_BT: tuple[int, int]
    sampled_logp_BT: Tensor | None
    """float32: the log-probs that tokens were sampled with, 0 where there are none; None when nobody sampled any."""
    is_sampled_B: Tensor
    """bool: replies that have such log-probs."""
    is_given_B: Tensor
    """bool: demonstrations."""

    @property
    def attend_M1NN(self) -> Tensor:
        """bool, [m, 0, query, key]: True where a query may attend. Padding is seen by nothing but itself."""
        return block_mask(self.segments_MN)

    @property
    def mask_BT(self) -> Tensor:
        """bool [B, T]: the cells that carry a loss."""
        return self.unpack(torch.ones_like(self.reply_K, dtype=torch.bool), False)

    def unpack(self, values_K: Tensor, fill: float | bool = 0.0) -> Tensor:
        """Scatter one value per loss-carrying token into [B, T]; differentiable. Other cells hold `fill`."""
        values_BT = values_K.new_full(self.shape_BT, fill)
        return values_BT.index_put((self.reply_K, self.place_K), values_K)


def alone(groups: Sequence[PrefixGroup]) -> list[PrefixGroup]:
    """The same replies in the same order, each with a prompt of its own; a group without replies stays as it is."""
    apart = []
    for group in groups:
        flags = group.trained or (None,) * len(group.replies)
        logprobs = group.sampled_logprobs or ((),) * len(group.replies)
        rows = [
            PrefixGroup(group.prompt, (reply,), None if trained is None else (trained,), (logps,), (is_given,))
            for reply, trained, logps, is_given in zip(group.replies, flags, logprobs, _given(group), strict=True)
        ]
        apart += rows or [group]
    return apart


def prompt_positions(model: Any, prompt: Prompt, image_token_id: int | None) -> Tensor:
    """Positions of a prompt, int64 [3, P] on the CPU, as transformers' base model itself lays them out.

    Tokens are counted, on all axes alike, but for mrope: there an image of h x w merged patches advances the position
    by only max(h, w), so positions are not token indices.
    """
    if prompt.grids is None or image_token_id is None:
        return torch.arange(len(prompt.token_ids)).expand(3, -1)
    token_ids = torch.tensor([prompt.token_ids])
    # 1 marks an image token, 0 text (2 would be video); the model reads image extents from the grids in this order.
    is_image = (token_ids == image_token_id).int()
    positions: Tensor = model.get_rope_index(token_ids, is_image, image_grid_thw=prompt.grids.cpu())[0]
    return positions[:, 0]


def pack(
    groups: Sequence[PrefixGroup], positions: Sequence[Tensor], *, pad_id: int, device: torch.device | str = "cpu"
) -> PackedRows:
    """Lay out one row per group; `positions` are those of `prompt_positions`.

    `pad_id` fills the shorter rows: any id that is not an image placeholder. A group without replies is a row of its
    prompt alone.

    Raises ValueError when a reply is empty, or its `trained` flags or log-probs do not match its tokens.
    """
    for group in groups:
        _check(group)
    N = max(group.tokens for group in groups)
    ids = torch.full((len(groups), N), pad_id)
    places = torch.zeros((3, len(groups), N), dtype=torch.long)
    segments = torch.full((len(groups), N), -1)
    for m, (group, prompt_3P) in enumerate(zip(groups, positions, strict=True)):
        ids[m, : group.tokens] = torch.tensor([*group.prompt.token_ids, *(t for r in group.replies for t in r)])
        places[:, m, : group.tokens] = row_positions(prompt_3P, [len(r) for r in group.replies])
        lengths = [len(group.prompt.token_ids), *(len(r) for r in group.replies)]
        segments[m, : group.tokens] = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    row, source, target, reply, place = torch.tensor(_loss_cells(groups), dtype=torch.long).reshape(-1, 5).T
    replies = [reply for group in groups for reply in group.replies]
    shape_BT = (len(replies), max((len(reply) for reply in replies), default=0))
    logprobs = [logps for group in groups for logps in group.sampled_logprobs or ((),) * len(group.replies)]
    sampled_BT = torch.zeros(shape_BT)
    for b, logps in enumerate(logprobs):
        sampled_BT[b, : len(logps)] = torch.tensor(logps)
    return PackedRows(
        token_ids_MN=ids.to(device),
        position_ids_3MN=places.to(device),
        segments_MN=segments.to(device),
        row_K=row.to(device),
        source_K=source.to(device),
        target_K=target.to(device),
        reply_K=reply.to(device),
        place_K=place.to(device),
        shape_BT=shape_BT,
        sampled_logp_BT=sampled_BT.to(device) if any(logprobs) else None,
        is_sampled_B=torch.tensor([bool(logps) for logps in logprobs], dtype=torch.bool).to(device),
        is_given_B=torch.tensor([flag for group in groups for flag in _given(group)], dtype=torch.bool).to(device),
    )


def row_positions(prompt_3P: Tensor, reply_lengths: Sequence[int]) -> Tensor:
    """Positions of a whole row, int64 [3, P + sum of lengths]: every reply restarts right after the prompt."""
    start = int(prompt_3P.max()) + 1
    replies = [torch.arange(start, start + length).expand(3, -1) for length in reply_lengths]
    return torch.cat([prompt_3P, *replies], dim=1)


def block_mask(segments_MN: Tensor) -> Tensor:
    """Who attends to whom, bool [M, 1, N, N], from each token's segment (0 prompt, i > 0 a reply, -1 padding)."""
    N = segments_MN.shape[1]
    causal = torch.ones(N, N, dtype=torch.bool, device=segments_MN.device).tril()
    query, key = segments_MN[:, :, None], segments_MN[:, None, :]
    allowed = causal & ((key == 0) | (key == query)) & (key >= 0)
    return (allowed | torch.eye(N, dtype=torch.bool, device=segments_MN.device))[:, None]


def _loss_cells(groups: Sequence[PrefixGroup]) -> list[tuple[int, int, int, int, int]]:
    """(row, source, target, reply, place) of every token that carries a loss, in reading order."""
    cells = []
    b = 0
    for m, group in enumerate(groups):
        last_prompt = len(group.prompt.token_ids) - 1
        start = last_prompt + 1
        flags = group.trained or [(True,) * len(reply) for reply in group.replies]
        for reply, trained in zip(group.replies, flags, strict=True):
            sources = (last_prompt, *range(start, start + len(reply) - 1))
            cells += [(m, sources[t], token, b, t) for t, token in enumerate(reply) if trained[t]]
            start += len(reply)
            b += 1
    return cells


def _given(group: PrefixGroup) -> tuple[bool, ...]:
    return group.given or (False,) * len(group.replies)


def _check(group: PrefixGroup) -> None:
    where = f"example {group.prompt.example_id}"
    if not all(group.replies):
        raise ValueError(f"{where}: every reply must have at least one token, got an empty one; leave it out")
    if group.trained is not None:
        wanted, got = [len(reply) for reply in group.replies], [len(flags) for flags in group.trained]
        if wanted != got:
            raise ValueError(f"{where}: `trained` needs one flag per reply token, expected {wanted}, got {got}")
    for reply, logps in zip(group.replies, group.sampled_logprobs, strict=bool(group.sampled_logprobs)):
        if logps and len(logps) != len(reply):
            raise ValueError(f"{where}: expected a log-prob per token, {len(reply)}, or none, got {len(logps)}")
