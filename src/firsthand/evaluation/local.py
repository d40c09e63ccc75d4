"""Replies of a model folder in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch

from firsthand.evaluation.generator import Answered, asked
from firsthand.evaluation.protocol import Protocol
from firsthand.policy import Policy
from firsthand.policy.precision import STATED, Stated, stated
from firsthand.processor import Encoder
from firsthand.records import Example
from firsthand.rollout import Sampler, Sampling, grouped, sampler_for

_SPARE_TOKENS = 8192
"""Of a prompt beside its pictures, where a protocol bounds those."""
_LARGEST_PICTURES = 16_384 * 28 * 28
"""Pixels of a prompt's pictures where no protocol bounds them: the bound of Qwen's own folders."""
_PIXELS_PER_TOKEN = 28 * 28
"""Of Qwen's towers, the smallest that are common."""


@final
class LocalGenerator:
    """A model folder in this process."""

    def __init__(self, sampler: Sampler, encoder: Encoder) -> None:
        self._sampler, self._encoder = sampler, encoder

    @classmethod
    def load(cls, folder: Path, protocol: Protocol) -> "LocalGenerator":
        """Raises DataError when the model cannot be used, or does not take the protocol's pixel bounds."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        encoder = encoder_of(folder, protocol)
        policy = Policy.load(folder, dtype=STATED[precision_of(folder, protocol)], device=device)
        return cls(sampler_for(policy, encoder), encoder)

    def answer(self, examples: Sequence[Example], protocol: Protocol) -> list[tuple[Answered, ...]]:
        """See `Generator`."""
        prompts = [self._encoder.prompt(asked(example, protocol), protocol.system) for example in examples]
        settings = Sampling(max_new_tokens=protocol.max_new_tokens, temperature=protocol.temperature)
        replies = self._sampler.sample(prompts, protocol.samples, settings, seed=protocol.seed, greedy=protocol.greedy)
        return [*grouped(replies, len(prompts))]


def precision_of(folder: Path, protocol: Protocol) -> Stated:
    """What a folder's weights are held in: what the protocol says, or what suits the machine."""
    return stated(folder, protocol.precision)


def encoder_of(folder: Path, protocol: Protocol) -> Encoder:
    """What turns examples into prompts as a protocol has it. Raises DataError when the folder cannot be used."""
    most = (protocol.max_pixels or _LARGEST_PICTURES) // _PIXELS_PER_TOKEN + _SPARE_TOKENS
    return Encoder.load(folder, max_prompt_tokens=most, min_pixels=protocol.min_pixels, max_pixels=protocol.max_pixels)
