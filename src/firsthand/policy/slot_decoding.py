"""Writing replies in tensors that never change their shape: on a GPU, a step is then one CUDA graph.

A step of a 3B model launches some two thousand kernels, which takes the host 32 ms or more whatever they compute; a
graph of them takes an H100 11 ms, and 7.6 ms with the layers compiled; reading the weights takes 2.1 ms. Rows do not
leave: one that has ended goes on, unread, until all of its prompt's rows have ended and the slot gets the next prompt.

Shape letters: those of `decoding`; every prompt has all of its S slots, so B = M * S; C columns that are attended to.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from firsthand.policy.decoding import attend
from firsthand.policy.model import Policy
from firsthand.policy.packing import PrefixGroup
from firsthand.processor import Prompt

COLUMNS = 128
"""Reply tokens are attended to in steps of so many, with a graph for each (ours)."""


@dataclass(frozen=True)
class Written:
    """What one layer keeps of all slots, in the roles that transformers and `attention` give it: a cache, and `shared`.

    A step makes it anew: what it holds are views.
    """

    prompt: tuple[Tensor, Tensor]
    """Keys and values [M, H, P, E]."""
    replies: tuple[Tensor, Tensor]
    """Keys and values [B, H, C, E]."""
    bias_M11P: Tensor
    bias_B11C: Tensor
    row_B: Tensor
    at_B: Tensor
    """Each row, and the column of its newest token."""
    S: int

    def update(self, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """A cache's role: store the newest keys and values [B, H, 1, E], return all of the replies'."""
        for buffer, new in zip(self.replies, (key, value), strict=True):
            buffer[self.row_B, :, self.at_B] = new[:, :, 0]
        return self.replies

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, layer: int) -> Tensor:
        """Each row's newest token attends to its prompt and to all of its own reply."""
        return attend(
            *(query, key, value, self.prompt, self.bias_M11P, self._by_prompt, self._by_row),
            scaling=scaling,
            bias_B11T=self.bias_B11C,
        )

    def _by_prompt(self, rows_BHRX: Tensor) -> Tensor:
        """Rows laid out by prompt, [M, H, S * R, X]."""
        B, H, R, X = rows_BHRX.shape
        grid = rows_BHRX.reshape(B // self.S, self.S, H, R, X)
        return grid.transpose(1, 2).reshape(B // self.S, H, self.S * R, X)

    def _by_row(self, grid_MHYX: Tensor) -> Tensor:
        """The inverse of `_by_prompt`: [B, H, R, X]."""
        M, H, Y, X = grid_MHYX.shape
        grid = grid_MHYX.view(M, H, self.S, Y // self.S, X).transpose(1, 2)
        return grid.reshape(M * self.S, H, Y // self.S, X)


class SlotDecoder:
    """The state of S replies to each of up to M prompts, which may be of different ages.

    Use it in inference mode and with the model in eval mode.
    """

    def __init__(
        self,
        policy: Policy,
        prompts: int,
        n: int,
        *,
        prompt_tokens: int,
        max_new_tokens: int,
        draw: Callable[[Tensor], Tensor],
        state: Sequence[Tensor] = (),
        with_graphs: bool = False,
        is_compiled: bool = False,
    ) -> None:
        """Room for so many prompts of at most `prompt_tokens`, and n replies to each of at most `max_new_tokens`.

        Args:
            draw: [B, D] -> each row's next token [B], from tensors that stay where they are.
            state: the tensors that `draw` changes, in place.
            with_graphs: needs a GPU.
            is_compiled: whether torch.compile fuses the kernels of a layer.
        """
        self._policy, self._draw, self._is_compiled = policy, draw, is_compiled
        self._M, self._S, self.prompt_tokens, self._T = prompts, n, prompt_tokens, max_new_tokens
        device, rows = policy.model.device, prompts * n
        self._dtype = policy.model.get_input_embeddings().weight.dtype
        self._bias_M11P = torch.zeros(prompts, 1, 1, prompt_tokens, dtype=self._dtype, device=device)
        self._prompt: list[tuple[Tensor, Tensor]] = []
        self._written: list[tuple[Tensor, Tensor]] = []
        self._layers: list[Written] = []
        self._length_B = torch.zeros(rows, dtype=torch.long, device=device)
        self._position_B1 = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self._row_B = torch.arange(rows, device=device)
        self._column_C = torch.arange(max_new_tokens, device=device)
        self._lengths = [-1] * prompts
        self._graphs: dict[int, Any] | None = {} if with_graphs else None
        self._pool = torch.cuda.graph_pool_handle() if with_graphs else None
        width = policy.model.config.get_text_config().hidden_size
        self._hidden_BD = torch.zeros(rows, width, dtype=self._dtype, device=device)
        """What predicts each row's next token; of slots that were never filled, zeros."""
        self._state = (*state, self._length_B, self._position_B1, self._hidden_BD)

    @property
    def nbytes(self) -> int:
        """Of the keys and values that there is room for."""
        config = self._policy.model.config.get_text_config()
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        tokens = self._M * self.prompt_tokens + self._M * self._S * self._T
        per_layer: int = 2 * tokens * config.num_key_value_heads * size * self._dtype.itemsize
        return per_layer * int(config.num_hidden_layers)

    def fill(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> None:
        """Run these prompts, once each, and begin all rows of their slots anew."""
        groups = [PrefixGroup(prompt, ()) for prompt in prompts]
        rows = self._policy.rows(groups)
        out = self._policy.hidden(rows, groups, use_cache=True)
        device = rows.token_ids_MN.device
        slot_K = torch.tensor(slots, device=device)
        last_K = torch.tensor([len(prompt.token_ids) - 1 for prompt in prompts], device=device)
        layers = [(layer.keys, layer.values) for layer in out.past_key_values.layers]
        if not self._prompt:
            self._prompt = [self._room(layer, self._M, self.prompt_tokens) for layer in layers]
            self._written = [self._room(layer, self._M * self._S, self._T) for layer in layers]
        width = rows.token_ids_MN.shape[1]
        for kept, found in zip(self._prompt, layers, strict=True):
            for buffer, new in zip(kept, found, strict=True):
                buffer[slot_K, :, :width] = new
        is_padding_KP = torch.arange(self.prompt_tokens, device=device) > last_K[:, None]
        self._bias_M11P[slot_K] = torch.where(is_padding_KP, -torch.inf, 0.0).to(self._dtype)[:, None, None]
        begin_K = rows.position_ids_3MN.amax(dim=(0, 2)) + 1
        self._of_slots(self._position_B1)[slot_K] = begin_K[:, None, None]
        self._of_slots(self._length_B)[slot_K] = 0
        hidden_KD = out.last_hidden_state[torch.arange(len(slots), device=device), last_K]
        self._of_slots(self._hidden_BD)[slot_K] = hidden_KD[:, None]
        for slot in slots:
            self._lengths[slot] = 0

    def free(self, slot: int) -> None:
        """Nothing of this slot is read any more: it need not be attended to over its whole length."""
        self._lengths[slot] = -1

    def clear(self) -> None:
        """Free all slots."""
        self._lengths = [-1] * self._M

    def step(self) -> None:
        """Draw a token in every row, append it, and find what predicts the next one."""
        columns = min(self._T, -(-(max(self._lengths) + 1) // COLUMNS) * COLUMNS)
        if self._graphs is None:
            self._run(columns)
        else:
            if columns not in self._graphs:
                self._graphs[columns] = self._captured(columns)
            self._graphs[columns].replay()
        self._lengths = [length + (length >= 0) for length in self._lengths]

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """As `Written.update`, of this layer."""
        return self._layers[layer].update(key, value)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, layer: int) -> Tensor:
        """As `Written.attention`, of this layer."""
        return self._layers[layer].attention(query, key, value, scaling=scaling, layer=layer)

    def _run(self, columns: int) -> None:
        """A step; the same kernels on the same memory every time, but for the number of columns."""
        token_B = self._draw(self._hidden_BD)
        is_later_BC = self._column_C[:columns] > self._length_B[:, None]
        # Not `torch.where` with numbers: those it copies to the GPU, which a graph does not allow.
        bias_BC = torch.zeros(is_later_BC.shape, dtype=self._dtype, device=is_later_BC.device)
        bias_BC.masked_fill_(is_later_BC, -torch.inf)
        # A row of a free slot may have written all it has room for.
        at_B = self._length_B.clamp(max=self._T - 1)
        self._layers = [
            Written(
                prompt=prompt,
                replies=(keys[:, :, :columns], values[:, :, :columns]),
                bias_M11P=self._bias_M11P,
                bias_B11C=bias_BC[:, None, None],
                row_B=self._row_B,
                at_B=at_B,
                S=self._S,
            )
            for prompt, (keys, values) in zip(self._prompt, self._written, strict=True)
        ]
        with compiled(self._policy.model.get_decoder(), self._layers) if self._is_compiled else nullcontext():
            out = self._policy.language(
                inputs_embeds=self._policy.model.get_input_embeddings()(token_B)[:, None],
                position_ids=self._policy.positions(self._position_B1.expand(3, -1, -1)),
                attention_mask=self._bias_M11P,  # four dimensions: transformers makes no mask of its own
                past_key_values=self,
                use_cache=True,
                shared=self,
            )
        self._length_B += 1
        self._position_B1 += 1
        self._hidden_BD.copy_(out.last_hidden_state[:, 0])

    def _captured(self, columns: int) -> Any:
        """The graph of a step; what running it to warm up has changed is put back."""
        kept = [tensor.clone() for tensor in self._state]
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            self._run(columns)
        here.wait_stream(aside)
        for tensor, value in zip(self._state, kept, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        # One pool for all: no two graphs run at once, and none reads what another has left. Other threads may use CUDA.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            self._run(columns)
        return graph

    def _room(self, like: tuple[Tensor, Tensor], rows: int, tokens: int) -> tuple[Tensor, Tensor]:
        # Zeros: what is masked is multiplied by 0, and memory that is not written may hold nan.
        keys, values = (part.new_zeros(rows, part.shape[1], tokens, part.shape[3]) for part in like)
        return keys, values

    def _of_slots(self, rows_B: Tensor) -> Tensor:
        """[B, ...] -> [M, S, ...], a view."""
        return rows_B.view(self._M, self._S, *rows_B.shape[1:])


@contextmanager
def compiled(decoder: Any, written: Sequence[Written]) -> Iterator[None]:
    """Let the layers of a language model run as one compiled function, each with what it has written."""
    layers = list(decoder.layers)
    numbered = [(part, part.layer_idx) for layer in layers for part in layer.modules() if hasattr(part, "layer_idx")]
    for part, _ in numbered:
        part.layer_idx = 0  # nothing reads it here, but each number would be compiled for by itself
    for layer, kept in zip(layers, written, strict=True):
        layer.forward = partial(_through, layer, kept)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
        for part, number in numbered:
            part.layer_idx = number


def _through(layer: Any, written: Written, hidden: Tensor, **settings: Any) -> Tensor:
    """A layer's forward, by its compiled function."""
    given = {name: value for name, value in settings.items() if name not in ("past_key_values", "shared")}
    out: Tensor = _compiled_layer()(
        *(layer, hidden, given, *written.prompt, *written.replies),
        *(written.bias_M11P, written.bias_B11C, written.row_B, written.at_B, written.S),
    )
    return out


def _layer(
    layer: Any, hidden: Tensor, settings: dict[str, Any], pk: Tensor, pv: Tensor, rk: Tensor, rv: Tensor, *rest: Any
) -> Any:
    written = Written((pk, pv), (rk, rv), *rest)
    return type(layer).forward(layer, hidden, **settings, past_key_values=written, shared=written)


@cache  # here, for it imports a compiler
def _compiled_layer() -> Callable[..., Any]:
    return torch.compile(_layer)
