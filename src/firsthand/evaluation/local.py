"""Replies of a model folder: in this process, or from a vLLM server that is given its weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self, final

import torch

from firsthand.evaluation.generator import Answered, asked
from firsthand.evaluation.protocol import Protocol
from firsthand.identity import folder_id
from firsthand.policy import Policy
from firsthand.policy.precision import STATED, Stated, stated, stored_precision
from firsthand.policy.stored import stored_tensors
from firsthand.processor import Encoder, Prompt
from firsthand.records import Example
from firsthand.rollout import Sampler, Sampling, ServedSampler, grouped, sampler_for
from firsthand.rollout.served import HELD_OUT, Follower
from firsthand.teacher import Served

_SPARE_TOKENS = 8192
"""Of a prompt beside its pictures, where a protocol bounds those."""
_LARGEST_PICTURES = 16_384 * 28 * 28
"""Pixels of a prompt's pictures where no protocol bounds them: the bound of Qwen's own folders."""
_PIXELS_PER_TOKEN = 28 * 28
"""Of Qwen's towers, the smallest that are common."""
_ROOM = 1.5
"""Times its weights' size, what a folder takes beside a server on its card: with what a short forward needs (ours)."""


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
        prompts = _prompts(self._encoder, examples, protocol)
        settings = _sampling(protocol)
        replies = self._sampler.sample(prompts, protocol.samples, settings, seed=protocol.seed, greedy=protocol.greedy)
        return [*grouped(replies, len(prompts))]


@final
class ServedGenerator:
    """A model folder behind a server, which is given its weights before the first question. A context manager."""

    def __init__(self, folder: Path, precision: Stated, sampler: ServedSampler, encoder: Encoder) -> None:
        self._folder, self._precision, self._sampler, self._encoder = folder, precision, sampler, encoder
        self._generator = LocalGenerator(sampler, encoder)

    @classmethod
    def load(cls, folder: Path, protocol: Protocol) -> "ServedGenerator":
        """Raises DataError when the folder cannot be used. The protocol says where the server is."""
        assert isinstance(protocol.rollout, Served), "see `settled`"
        encoder = encoder_of(folder, protocol)
        return cls(folder, precision_of(folder, protocol), ServedSampler(protocol.rollout, encoder), encoder)

    def __enter__(self) -> Self:
        """Raises Outage where nobody answers, and RecipeError where it is not such a server."""
        self._sampler.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sampler.__exit__()

    def answer(self, examples: Sequence[Example], protocol: Protocol) -> list[tuple[Answered, ...]]:
        """See `Generator`. Raises ParityError where the server computes with other weights, and Outage."""
        if not self._sampler.has_weights:
            self._give(examples[:HELD_OUT], protocol)
        return self._generator.answer(examples, protocol)

    def _give(self, examples: Sequence[Example], protocol: Protocol) -> None:
        """Push the weights, and compare what the server makes of them with what they make here."""
        policy = Policy.load(self._folder, dtype=STATED[self._precision], device=_with_room(self._folder))
        follower = Follower(self._sampler, policy, _prompts(self._encoder, examples, protocol), _sampling(protocol))
        follower.follow(f"evaluation-{folder_id(self._folder)[:16]}")


def _prompts(encoder: Encoder, examples: Sequence[Example], protocol: Protocol) -> list[Prompt]:
    return [encoder.prompt(asked(example, protocol), protocol.system) for example in examples]


def _sampling(protocol: Protocol) -> Sampling:
    return Sampling(max_new_tokens=protocol.max_new_tokens, temperature=protocol.temperature)


def _with_room(folder: Path) -> str:
    """The GPU, unless the server has taken it, or there is none."""
    if not torch.cuda.is_available():
        return "cpu"
    size = sum(file.stat().st_size for file in {tensor.file for tensor in stored_tensors(folder).values()})
    free, _ = torch.cuda.mem_get_info()
    return "cuda" if free > _ROOM * size else "cpu"


def precision_of(folder: Path, protocol: Protocol) -> Stated:
    """What a folder's weights are held in: what the protocol says, or what suits the machine.

    On a server that takes weights it is what they are stored in, as vLLM has it.
    """
    if protocol.rollout is not None and protocol.precision == "auto":
        return stored_precision(folder)
    return stated(folder, protocol.precision)


def encoder_of(folder: Path, protocol: Protocol) -> Encoder:
    """What turns examples into prompts as a protocol has it. Raises DataError when the folder cannot be used."""
    most = (protocol.max_pixels or _LARGEST_PICTURES) // _PIXELS_PER_TOKEN + _SPARE_TOKENS
    return Encoder.load(folder, max_prompt_tokens=most, min_pixels=protocol.min_pixels, max_pixels=protocol.max_pixels)
