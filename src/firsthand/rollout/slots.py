"""Sampling in rows of a fixed number, which are handed from prompt to prompt: on a GPU, by CUDA graphs.

Shape letters: M slots of prompts, S rows of each, B = M * S, T tokens of the longest reply.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from firsthand.policy.slot_decoding import SlotDecoder
from firsthand.processor import Prompt
from firsthand.rollout.local import RETIRE, LocalSampler, first_replies, uniforms
from firsthand.rollout.sampler import IndexedReply, Sampling


class SlotSampler(LocalSampler):
    """Writes what `LocalSampler` writes, all of it in tensors of one shape. Out of memory ends it."""

    @torch.inference_mode()
    def sample(
        self, prompts: Sequence[Prompt], n: int, settings: Sampling, *, seed: int = 0, greedy: bool = False
    ) -> Iterator[IndexedReply]:
        """As `LocalSampler.sample` says. Raises ValueError when the model's replies cannot share a prompt."""
        longest = max((len(prompt.token_ids) for prompt in prompts), default=0)
        if not self._policy.sharing.allows(longest + settings.max_new_tokens):
            raise ValueError("expected a model whose replies share their prompt's keys and values; use LocalSampler")
        was_training = self._policy.model.training
        self._policy.model.eval()
        try:
            if prompts:
                yield from self._write_in_slots(prompts, n, settings, seed, greedy=greedy)
        finally:
            self._policy.model.train(was_training)

    def _write_in_slots(
        self, prompts: Sequence[Prompt], n: int, settings: Sampling, seed: int, *, greedy: bool
    ) -> Iterator[IndexedReply]:
        """Short prompts come first, so that those which share a forward are of similar length."""
        S, T, device = n + greedy, settings.max_new_tokens, self._policy.model.device
        M, longest = min(max(1, self._limits.rows // S), len(prompts)), max(len(p.token_ids) for p in prompts)
        is_graph = device.type == "cuda"
        decoder = SlotDecoder(self._policy, M, S, prompt_tokens=longest, max_new_tokens=T, with_graphs=is_graph)
        slots, first = Slots(M, S, T, device), first_replies(prompts, n)
        waiting = deque(sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids)))
        greedy_B = torch.tensor([settings.temperature == 0 or (greedy and j == 0) for _ in range(M) for j in range(S)])
        greedy_B, stop = greedy_B.to(device), torch.tensor(self.stop_ids, dtype=torch.long, device=device)
        while waiting or not slots.are_free:
            taken = slots.free[: len(waiting)]
            # Running a prompt holds up all rows for as long as writing many tokens: not for every slot by itself.
            if taken and (len(taken) >= RETIRE * M or slots.are_free):
                for slot in taken:
                    i = waiting.popleft()
                    names = [(prompts[i].example_id, first[i] + j - greedy) for j in range(S)]
                    slots.begin(slot, i, uniforms(seed, names, T))
                decoder.fill(taken, [prompts[slots.prompt(slot)] for slot in taken])
            drawn = self._draw(decoder.hidden_BD, slots.uniform_B, settings.temperature, greedy_B)
            for row, tokens, logprobs in slots.write(*drawn, stop):
                yield IndexedReply(slots.prompt(row // S), row % S, self._reply(tokens, logprobs))
            for slot in slots.release():
                decoder.free(slot)
            if not slots.are_free:
                decoder.step(drawn[0])


class Slots:
    """What is written in each row, and what of it is still being written."""

    def __init__(self, slots: int, rows: int, tokens: int, device: torch.device) -> None:
        B = slots * rows
        self._prompts: list[int | None] = [None] * slots
        self.S, self.T = rows, tokens
        self._uniform_BT = torch.zeros(B, tokens, device=device)
        self._logp_BT = torch.zeros(B, tokens, device=device)
        self._token_BT = torch.zeros(B, tokens, dtype=torch.long, device=device)
        self._age_B1 = torch.zeros(B, 1, dtype=torch.long, device=device)
        self._is_writing_B = torch.zeros(B, dtype=torch.bool, device=device)

    @property
    def free(self) -> list[int]:
        """The slots without a prompt."""
        return [slot for slot, prompt in enumerate(self._prompts) if prompt is None]

    @property
    def are_free(self) -> bool:
        """Whether all of them are."""
        return all(prompt is None for prompt in self._prompts)

    def prompt(self, slot: int) -> int:
        """Which prompt a slot has. Raises ValueError when it is free."""
        if (prompt := self._prompts[slot]) is None:
            raise ValueError(f"slot {slot}: expected a prompt, got none")
        return prompt

    @property
    def uniform_B(self) -> Tensor:
        """The number with which each row draws its next token."""
        return self._uniform_BT.gather(1, self._age_B1)[:, 0]

    def begin(self, slot: int, prompt: int, uniform_ST: Tensor) -> None:
        """Give a slot to a prompt, with the numbers that its rows draw tokens with."""
        rows = slice(slot * self.S, (slot + 1) * self.S)
        self._prompts[slot] = prompt
        self._uniform_BT[rows] = uniform_ST.to(self._uniform_BT.device)
        self._age_B1[rows], self._is_writing_B[rows] = 0, True

    def write(self, token_B: Tensor, logp_B: Tensor, stop: Tensor) -> Iterator[tuple[int, list[int], list[float]]]:
        """Note what was drawn; the rows that have ended with it, their tokens, and these tokens' log-probs."""
        self._token_BT.scatter_(1, self._age_B1, token_B[:, None])
        self._logp_BT.scatter_(1, self._age_B1, logp_B[:, None])
        ends_B = (torch.isin(token_B, stop) | (self._age_B1[:, 0] + 1 == self.T)) & self._is_writing_B
        self._is_writing_B &= ~ends_B
        for row in ends_B.nonzero()[:, 0].tolist():
            length = int(self._age_B1[row]) + 1
            yield row, self._token_BT[row, :length].tolist(), self._logp_BT[row, :length].tolist()
        self._age_B1 = (self._age_B1 + 1).clamp(max=self.T - 1)

    def release(self) -> list[int]:
        """Free the slots whose rows have all ended; which they are."""
        is_writing_M = self._is_writing_B.view(-1, self.S).any(1).tolist()
        ended = [slot for slot, p in enumerate(self._prompts) if p is not None and not is_writing_M[slot]]
        for slot in ended:
            self._prompts[slot] = None
        return ended
