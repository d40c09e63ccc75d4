"""Sampling in rows of a fixed number, which are handed from prompt to prompt: on a GPU, by CUDA graphs.

Shape letters: M slots of prompts, S rows of each, B = M * S, T tokens of the longest reply, V vocabulary.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from firsthand.policy import Limits, Policy
from firsthand.policy.head import Head
from firsthand.policy.memory import release
from firsthand.policy.slot_decoding import SlotDecoder
from firsthand.processor import Encoder, Prompt
from firsthand.rollout.local import RETIRE, LocalSampler, draw, first_replies, uniforms
from firsthand.rollout.sampler import IndexedReply, Sampling

PROMPT_STEP = 128
"""Prompts get room in steps of so many tokens, so that one set of graphs serves many steps."""
KEPT_BYTES = 2**29
"""What a sampler may hold from one call to the next: making its graphs again takes half a second."""
COMPILED_WEIGHTS = 500_000_000
"""Layers of more weights in all are compiled: that takes 8 s on an H100, which small models do not win back (ours)."""
_LOG = logging.getLogger(__name__)


class _Shape(NamedTuple):
    """What graphs are made for."""

    slots: int
    rows: int
    tokens: int
    temperature: float
    greedy: bool
    """Whether the first row of each slot is its prompt's likeliest reply."""
    stop_ids: tuple[int, ...]
    weights: int
    """Where all weights lie: a graph reads them there."""


def sampler_for(policy: Policy, encoder: Encoder, *, limits: Limits | None = None) -> LocalSampler:
    """The sampler of this process that suits the policy's device.

    Slots pay where launching kernels is what takes the time, and compiling layers where they have much to do.
    """
    is_quantised = any(type(module).__name__ == "Linear4bit" for module in policy.model.modules())
    # Four bits in a graph are not yet measured, and layers that FSDP2 watches wait for its streams.
    if policy.model.device.type != "cuda" or is_quantised or policy.is_divided:
        return LocalSampler(policy, encoder, limits=limits)
    weights = sum(parameter.numel() for parameter in policy.language.parameters())
    return SlotSampler(policy, encoder, limits=limits, is_compiled=weights > COMPILED_WEIGHTS and can_compile("cuda"))


@cache
def can_compile(device: str) -> bool:
    """Whether torch.compile works here: it wants a C compiler and, on a GPU, Triton. If not, a warning says why."""
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:  # a missing compiler shows in many ways, and all is well without it
        _LOG.warning("torch.compile does not work here (%s): replies are written without it.", error)
        return False
    return True


class SlotSampler(LocalSampler):
    """Writes what `LocalSampler` writes, in tensors of one shape where the model's replies can share a prompt."""

    def __init__(
        self, policy: Policy, encoder: Encoder, *, limits: Limits | None = None, is_compiled: bool = False
    ) -> None:
        """As `LocalSampler`; `is_compiled` lets torch.compile fuse the layers' kernels."""
        super().__init__(policy, encoder, limits=limits)
        self._is_compiled = is_compiled
        self._kept: tuple[_Shape, SlotDecoder, Slots] | None = None

    @torch.inference_mode()
    def sample(
        self, prompts: Sequence[Prompt], n: int, settings: Sampling, *, seed: int = 0, greedy: bool = False
    ) -> Iterator[IndexedReply]:
        """As `LocalSampler.sample` says."""
        longest = max((len(prompt.token_ids) for prompt in prompts), default=0)
        rows = n + greedy
        missing = {(i, j) for i in range(len(prompts)) for j in range(rows)}
        first, was_training = first_replies(prompts, n), self._policy.model.training
        self._policy.model.eval()
        try:
            shares = self._policy.sharing.allows(longest + settings.max_new_tokens)
            while missing and shares and self._limits.rows >= rows:
                asked = sorted({i for i, _ in missing}, key=lambda i: len(prompts[i].token_ids))
                shape = self._shape(len(asked), rows, settings, greedy=greedy)
                try:
                    for indexed in self._write_in_slots(shape, prompts, asked, first, seed):
                        if indexed[:2] in missing:
                            missing.remove(indexed[:2])
                            yield indexed
                except (RuntimeError, MemoryError) as error:
                    self._kept = None
                    self._write_fewer(shape.slots * rows, error)
                else:
                    return
                release()  # here, where no error holds what was in use
        finally:
            self._policy.model.train(was_training)
        if missing:  # a row for each reply of one prompt is too much, or replies cannot share a prompt
            yield from (r for r in super().sample(prompts, n, settings, seed=seed, greedy=greedy) if r[:2] in missing)

    def _shape(self, prompts: int, rows: int, settings: Sampling, *, greedy: bool) -> _Shape:
        slots = min(self._limits.rows // rows, prompts)
        weights = hash(tuple(parameter.data_ptr() for parameter in self._policy.model.parameters()))
        return _Shape(slots, rows, settings.max_new_tokens, settings.temperature, greedy, (*self.stop_ids,), weights)

    def _write_in_slots(
        self, shape: _Shape, prompts: Sequence[Prompt], asked: Sequence[int], first: Sequence[int], seed: int
    ) -> Iterator[IndexedReply]:
        """All replies to the prompts asked for. Short ones come first: those that share a forward are alike then."""
        decoder, slots = self._decoder(shape, len(prompts[asked[-1]].token_ids))
        waiting = deque(asked)
        while waiting or not slots.are_free:
            taken = slots.free[: len(waiting)]
            # Running a prompt holds up all rows for as long as writing many tokens: not for every slot by itself.
            if taken and (len(taken) >= RETIRE * shape.slots or slots.are_free):
                for slot in taken:
                    i = waiting.popleft()
                    names = [(prompts[i].example_id, first[i] + j - shape.greedy) for j in range(shape.rows)]
                    slots.begin(slot, i, uniforms(seed, names, shape.tokens))
                decoder.fill(taken, [prompts[slots.prompt(slot)] for slot in taken])
            decoder.step()
            for row, tokens, logprobs in slots.ended():
                yield IndexedReply(slots.prompt(row // slots.S), row % slots.S, self._reply(tokens, logprobs))
            for slot in slots.release():
                decoder.free(slot)

    def _decoder(self, shape: _Shape, longest: int) -> tuple[SlotDecoder, "Slots"]:
        """One that was kept, if it has this shape and room for such prompts; all of its slots are free."""
        if self._kept and self._kept[0] == shape and self._kept[1].prompt_tokens >= longest:
            _, decoder, slots = self._kept
            slots.clear()
            decoder.clear()
            return decoder, slots
        room = max(-(-longest // PROMPT_STEP) * PROMPT_STEP, self._kept[1].prompt_tokens if self._kept else 0)
        self._kept = None
        head, device = self._policy.head, self._policy.model.device
        slots = Slots(shape, head, device)
        decoder = SlotDecoder(
            *(self._policy, shape.slots, shape.rows),
            prompt_tokens=room,
            max_new_tokens=shape.tokens,
            draw=slots.draw,
            state=slots.state,
            with_graphs=device.type == "cuda",
            is_compiled=self._is_compiled,
        )
        if decoder.nbytes <= KEPT_BYTES:
            self._kept = (shape, decoder, slots)
        return decoder, slots


class Slots:
    """What is written in each row, and what is still being written; its tensors change in place, as graphs want it."""

    def __init__(self, shape: _Shape, head: Head, device: torch.device) -> None:
        B, T = shape.slots * shape.rows, shape.tokens
        self.S, self._T, self._temperature, self._head = shape.rows, T, shape.temperature, head
        self._prompts: list[int | None] = [None] * shape.slots
        self._writing = Counter[int]()
        greedy = [b for b in range(B) if shape.temperature == 0 or (shape.greedy and b % shape.rows == 0)]
        self._greedy_K = torch.tensor(greedy, dtype=torch.long, device=device)
        self._stop = torch.tensor(shape.stop_ids, dtype=torch.long, device=device)
        self._uniform_BT = torch.zeros(B, T, device=device)
        self._logp_BT = torch.zeros(B, T, device=device)
        self._token_BT = torch.zeros(B, T, dtype=torch.long, device=device)
        self._age_B1 = torch.zeros(B, 1, dtype=torch.long, device=device)
        self._is_writing_B = torch.zeros(B, dtype=torch.bool, device=device)
        self._length_B = torch.zeros(B, dtype=torch.long, device=device)
        """Tokens of a reply that has just ended; 0 in all other rows."""

    @property
    def state(self) -> list[Tensor]:
        """What `draw` changes."""
        return [self._logp_BT, self._token_BT, self._age_B1, self._is_writing_B, self._length_B]

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

    def clear(self) -> None:
        """Free all slots, as a call leaves them that was not read to its end."""
        self._prompts = [None] * len(self._prompts)
        self._is_writing_B.zero_()

    def begin(self, slot: int, prompt: int, uniform_ST: Tensor) -> None:
        """Give a slot to a prompt, with the numbers that its rows draw tokens with."""
        rows = slice(slot * self.S, (slot + 1) * self.S)
        self._prompts[slot], self._writing[slot] = prompt, self.S
        self._uniform_BT[rows] = uniform_ST.to(self._uniform_BT.device)
        self._age_B1[rows], self._is_writing_B[rows] = 0, True

    def draw(self, hidden_BD: Tensor) -> Tensor:
        """Draw a token in each row, and note it, and which replies end with it. The CPU is not asked."""
        uniform_B = self._uniform_BT.gather(1, self._age_B1)[:, 0]
        token_B, logp_B = draw(self._head, hidden_BD, uniform_B, self._temperature, self._greedy_K)
        self._token_BT.scatter_(1, self._age_B1, token_B[:, None])
        self._logp_BT.scatter_(1, self._age_B1, logp_B[:, None])
        self._age_B1 += 1
        length_B = self._age_B1[:, 0]
        ends_B = (torch.isin(token_B, self._stop) | (length_B == self._T)) & self._is_writing_B
        self._is_writing_B &= ~ends_B
        self._length_B.copy_(length_B * ends_B)
        self._age_B1.clamp_(max=self._T - 1)
        return token_B

    def ended(self) -> Iterator[tuple[int, list[int], list[float]]]:
        """The rows that have just ended, their tokens, and these tokens' log-probs."""
        for row, length in enumerate(self._length_B.tolist()):
            if length:
                self._writing[row // self.S] -= 1
                yield row, self._token_BT[row, :length].tolist(), self._logp_BT[row, :length].tolist()

    def release(self) -> list[int]:
        """Free the slots whose rows have all ended; which they are."""
        ended = [slot for slot, p in enumerate(self._prompts) if p is not None and not self._writing[slot]]
        for slot in ended:
            self._prompts[slot] = None
        return ended
