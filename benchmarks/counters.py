"""How much work a step is: counted where the models do it, and predicted by formula.

Seconds depend on the machine and on what else it does; these numbers do not.
"""

import importlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from firsthand.policy.flops import Flops
from firsthand.processor import Prompt
from firsthand.recipe import Recipe
from firsthand.trainer.batch import Group
from firsthand.trainer.update import forward_budget, split

_UTILS: Any = importlib.import_module("trl.trainer.utils")


@dataclass
class Counts:
    """The work of one step. Tokens and rows include padding: it is computed like the rest."""

    images_processed: int = 0
    """Pictures that went through the image processor."""
    tower_images: int = 0
    """Pictures that went through the vision tower."""
    prefill_tokens: int = 0
    decode_steps: int = 0
    decode_rows: int = 0
    """Replies, added up over the decode steps."""
    training_tokens: int = 0
    """Tokens that went through the language model with gradient."""
    training_head_rows: int = 0
    """Tokens that went through the output layer with gradient."""


@dataclass(frozen=True)
class Operations:
    """Of a step's matrix products, by `policy.flops`; padding left out. TRL does everything once per reply."""

    prompt_tokens: float
    """Of the mean prompt."""
    image_tokens: float
    our_update: int
    trl_update: int
    our_full_step: int
    trl_full_step: int
    update_ratio: float
    full_step_ratio: float

    @classmethod
    def of(cls, flops: Flops, prompts: Sequence[Prompt], group: int, tokens: int, *, frozen: bool) -> "Operations":
        """Of these prompts, with so many replies to each of so many tokens; `frozen` is the vision tower."""
        lengths = [len(prompt.token_ids) for prompt in prompts]
        tower = sum(flops.of_prompt(prompt) for prompt in prompts)
        learning = tower if frozen else tower + sum(flops.of_prompt(prompt, backward=True) for prompt in prompts)
        ours = learning + sum(flops.update(length, [tokens] * group) for length in lengths)
        theirs = group * (learning + sum(flops.update(length, [tokens]) for length in lengths))
        # A frozen tower's features are kept from the rollout, and not in the update that is measured alone.
        our_step = ours + sum(flops.rollout(length, [tokens] * group) for length in lengths) + (0 if frozen else tower)
        trl_step = theirs + group * (tower + sum(flops.rollout(length, [tokens]) for length in lengths))
        return cls(
            prompt_tokens=statistics.fmean(lengths),
            image_tokens=statistics.fmean(prompt.token_ids.count(flops.image_token or -1) for prompt in prompts),
            our_update=ours,
            trl_update=theirs,
            our_full_step=our_step,
            trl_full_step=trl_step,
            update_ratio=theirs / ours,
            full_step_ratio=trl_step / our_step,
        )


@contextmanager
def counting(model: Any, image_processor: Any) -> Iterator[Counts]:
    """Count what passes through a model and an image processor while the context lasts."""
    counts = Counts()
    inner = model.model
    handles = [
        inner.visual.register_forward_pre_hook(_tower(counts), with_kwargs=True),
        inner.language_model.register_forward_pre_hook(_language(counts), with_kwargs=True),
        model.lm_head.register_forward_pre_hook(_head(counts)),
    ]
    preprocess, fused = image_processor._preprocess, _UTILS._ChunkedLogProbFunction

    def counted(images: list[Any], *args: Any, **kwargs: Any) -> Any:
        counts.images_processed += len(images)
        return preprocess(images, *args, **kwargs)

    class Counted:
        """TRL's output layer in training, which does not call the module."""

        @staticmethod
        def apply(hidden: torch.Tensor, *rest: Any) -> Any:
            counts.training_head_rows += len(hidden)
            return fused.apply(hidden, *rest)

    image_processor._preprocess = counted
    _UTILS._ChunkedLogProbFunction = Counted
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()
        del image_processor._preprocess
        _UTILS._ChunkedLogProbFunction = fused


Hook = Callable[..., None]


def _tower(counts: Counts) -> Hook:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        counts.tower_images += len(kwargs["grid_thw"])

    return hook


def _language(counts: Counts) -> Hook:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows, tokens = kwargs["inputs_embeds"].shape[:2]
        if torch.is_grad_enabled():
            counts.training_tokens += rows * tokens
        elif tokens > 1:
            counts.prefill_tokens += rows * tokens
        else:
            counts.decode_steps += 1
            counts.decode_rows += rows

    return hook


def _head(counts: Counts) -> Hook:
    def hook(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            counts.training_head_rows += args[0].shape[:-1].numel()

    return hook


def expected_ours(batch: Sequence[Group], recipe: Recipe) -> Counts:
    """A full step of ours: every prompt and picture once in rollout and once in training.

    A frozen tower sees a picture only once. Without padding, `training_tokens` would be sum(P) + B * G * R.
    """
    B, G, P, R = _sizes(batch)
    forwards = split(batch, forward_budget(recipe, torch.device("cpu")), lambda group: group.packed.tokens)
    return Counts(
        images_processed=B,
        tower_images=B if recipe.trainable == "language" else 2 * B,
        prefill_tokens=B * P,
        decode_steps=R - 1,
        decode_rows=(R - 1) * B * G,
        training_tokens=sum(len(forward) * forward[-1].packed.tokens for forward in forwards),
        training_head_rows=B * G * R,
    )


def expected_trl(batch: Sequence[Group]) -> Counts:
    """A full step of TRL's on the same prompts: everything once per reply, pictures in generation and in training."""
    B, G, P, R = _sizes(batch)
    return Counts(
        images_processed=2 * B * G,
        tower_images=2 * B * G,
        prefill_tokens=B * G * P,
        decode_steps=R - 1,
        decode_rows=(R - 1) * B * G,
        training_tokens=B * G * (P + R),
        training_head_rows=B * G * R,
    )


def _sizes(batch: Sequence[Group]) -> tuple[int, int, int, int]:
    """Prompts, replies of each, tokens of the longest prompt, tokens of every reply."""
    longest = max(len(group.prompt.token_ids) for group in batch)
    return len(batch), len(batch[0].replies), longest, len(batch[0].replies[0].reply.token_ids)
