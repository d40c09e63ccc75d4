"""Writing replies in tensors that never change their shape: on a GPU, a step is then one CUDA graph.

A step of a 3B model launches some two thousand kernels, which takes the host 32 ms whatever they compute (measured on
an H200); reading the weights takes 1.5 ms. A graph is launched at once. Rows do not leave: one that has ended goes on,
unread, until all of its prompt's rows have ended and the slot gets the next prompt.

Shape letters: those of `decoding`; every prompt has all of its S slots, so B = M * S; C columns that are attended to.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from firsthand.policy.decoding import attend
from firsthand.policy.model import Policy
from firsthand.policy.packing import PrefixGroup
from firsthand.processor import Prompt

COLUMNS = 128
"""Reply tokens are attended to in steps of so many, with a graph for each (ours)."""


class SlotDecoder:
    """The state of S replies to each of up to M prompts, which may be of different ages.

    Use it in inference mode and with the model in eval mode. `with_graphs` needs a GPU.
    """

    def __init__(
        self, policy: Policy, prompts: int, n: int, *, prompt_tokens: int, max_new_tokens: int, with_graphs: bool
    ) -> None:
        """Room for so many prompts of at most `prompt_tokens`, and n replies to each of at most `max_new_tokens`."""
        self._policy = policy
        self._M, self._S, self._P, self._T = prompts, n, prompt_tokens, max_new_tokens
        device, rows = policy.model.device, prompts * n
        self._dtype = policy.model.get_input_embeddings().weight.dtype
        self._bias_M11P = torch.zeros(prompts, 1, 1, prompt_tokens, dtype=self._dtype, device=device)
        self._prompt: list[tuple[Tensor, Tensor]] = []
        self._written: list[tuple[Tensor, Tensor]] = []
        self._token_B = torch.zeros(rows, dtype=torch.long, device=device)
        self._length_B = torch.zeros(rows, dtype=torch.long, device=device)
        self._position_B1 = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self._row_B = torch.arange(rows, device=device)
        self._column_C = torch.arange(max_new_tokens, device=device)
        self._lengths = [0] * prompts
        self._graphs: dict[int, Any] | None = {} if with_graphs else None
        width = policy.model.config.get_text_config().hidden_size
        self.hidden_BD: Tensor = torch.zeros(rows, width, dtype=self._dtype, device=device)
        """What predicts each row's next token; of slots that were never filled, zeros."""

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
            self._prompt = [self._room(layer, self._M, self._P) for layer in layers]
            self._written = [self._room(layer, self._M * self._S, self._T) for layer in layers]
        width = rows.token_ids_MN.shape[1]
        for kept, found in zip(self._prompt, layers, strict=True):
            for buffer, new in zip(kept, found, strict=True):
                buffer[slot_K, :, :width] = new
        is_padding_KP = torch.arange(self._P, device=device) > last_K[:, None]
        self._bias_M11P[slot_K] = torch.where(is_padding_KP, -torch.inf, 0.0).to(self._dtype)[:, None, None]
        begin_K = rows.position_ids_3MN.amax(dim=(0, 2)) + 1
        self._of_slots(self._position_B1)[slot_K] = begin_K[:, None, None]
        self._of_slots(self._length_B)[slot_K] = 0
        hidden_KD = out.last_hidden_state[torch.arange(len(slots), device=device), last_K]
        self._of_slots(self.hidden_BD)[slot_K] = hidden_KD[:, None]
        for slot in slots:
            self._lengths[slot] = 0

    def free(self, slot: int) -> None:
        """Nothing of this slot is read any more: it need not be attended to over its whole length."""
        self._lengths[slot] = -1

    def step(self, token_B: Tensor) -> None:
        """Append one token to every row and find what predicts the next one."""
        self._token_B.copy_(token_B)
        columns = min(self._T, -(-(max(self._lengths) + 1) // COLUMNS) * COLUMNS)
        if self._graphs is None:
            self._run(columns)
        else:
            if columns not in self._graphs:
                self._graphs[columns] = self._captured(columns)
            self._graphs[columns].replay()
        self._lengths = [length + (length >= 0) for length in self._lengths]

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """A cache's role in transformers: store the newest keys and values [B, H, 1, E], return all of the replies'."""
        # A row of a free slot may have written all it has room for.
        at_B = self._length_B.clamp(max=self._T - 1)
        found = []
        for buffer, new in zip(self._written[layer], (key, value), strict=True):
            buffer[self._row_B, :, at_B] = new[:, :, 0]
            found.append(buffer[:, :, : self._columns])
        return found[0], found[1]

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, layer: int) -> Tensor:
        """Each row's newest token attends to its prompt and to all of its own reply."""
        prompt, bias = self._prompt[layer], self._bias_M11P
        return attend(
            *(query, key, value, prompt, bias, self._by_prompt, self._by_row),
            scaling=scaling,
            bias_B11T=self._bias_B11C,
        )

    def _run(self, columns: int) -> None:
        """A step; the same kernels on the same memory every time, but for the number of columns."""
        self._columns = columns
        is_later_BC = self._column_C[:columns] > self._length_B[:, None]
        self._bias_B11C = torch.where(is_later_BC, -torch.inf, 0.0).to(self._dtype)[:, None, None]
        out = self._policy.language(
            inputs_embeds=self._policy.model.get_input_embeddings()(self._token_B)[:, None],
            position_ids=self._policy.positions(self._position_B1.expand(3, -1, -1)),
            attention_mask=self._bias_M11P,  # four dimensions: transformers makes no mask of its own
            past_key_values=self,
            use_cache=True,
            shared=self,
        )
        self._length_B += 1
        self._position_B1 += 1
        self.hidden_BD.copy_(out.last_hidden_state[:, 0])

    def _captured(self, columns: int) -> Any:
        """The graph of a step; what running it to warm up has changed is put back."""
        state = (self._length_B, self._position_B1, self.hidden_BD)
        kept = [tensor.clone() for tensor in state]
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            self._run(columns)
        here.wait_stream(aside)
        for tensor, value in zip(state, kept, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._run(columns)
        return graph

    def _room(self, like: tuple[Tensor, Tensor], rows: int, tokens: int) -> tuple[Tensor, Tensor]:
        # Zeros: what is masked is multiplied by 0, and memory that is not written may hold nan.
        keys, values = (part.new_zeros(rows, part.shape[1], tokens, part.shape[3]) for part in like)
        return keys, values

    def _of_slots(self, rows_B: Tensor) -> Tensor:
        """[B, ...] -> [M, S, ...], a view."""
        return rows_B.view(self._M, self._S, *rows_B.shape[1:])

    def _by_prompt(self, rows_BHRX: Tensor) -> Tensor:
        """Rows laid out by prompt, [M, H, S * R, X]."""
        _, H, R, X = rows_BHRX.shape
        return rows_BHRX.reshape(self._M, self._S, H, R, X).transpose(1, 2).reshape(self._M, H, self._S * R, X)

    def _by_row(self, grid_MHYX: Tensor) -> Tensor:
        """The inverse of `_by_prompt`: [B, H, R, X]."""
        M, H, Y, X = grid_MHYX.shape
        grid = grid_MHYX.view(M, H, self._S, Y // self._S, X).transpose(1, 2)
        return grid.reshape(M * self._S, H, Y // self._S, X)
