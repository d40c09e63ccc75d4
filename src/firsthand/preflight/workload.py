"""How much one step of a recipe runs through the model: lengths of prompts, replies and pictures.

What the recipe's objective asks for is read in this file alone.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firsthand.dataset import Encoder, model_config
from firsthand.policy.head import Entropy
from firsthand.recipe import RENDERED, Recipe
from firsthand.records import Example, Trace
from firsthand.reward import Router
from firsthand.trainer.gather import check

SAMPLE = 32
"""Examples that are encoded (ours)."""
CHARACTERS_PER_TOKEN = 3
"""For folders without a tokenizer: English has about four (ours, on the careful side)."""
TEMPLATE_TOKENS = 40
"""Of the chat template, for folders without one (ours)."""

Grid = tuple[int, int, int]
Row = tuple[int, ...]
"""Tokens of a prompt, then of each of its replies; a demonstration comes last."""


@dataclass(frozen=True)
class Lengths:
    """What one example costs."""

    prompt: int
    """Tokens, those of pictures included."""
    grids: tuple[Grid, ...]
    """Patches (t, h, w) of each picture."""
    demonstration: int | None
    """Tokens of the reply that data gives; None when it gives none."""


@dataclass(frozen=True)
class Workload:
    """A recipe's examples, as far as memory and time depend on them."""

    lengths: tuple[Lengths, ...]
    examples: int
    """Examples in all, of which `lengths` has the first ones."""
    merge: int
    """Patches along each side of the square that becomes one token."""
    seconds_per_prompt: float | None
    """Cutting pictures and tokenizing, measured; None when the folder has no tokenizer."""

    @property
    def prompt(self) -> int:
        """Tokens of the mean prompt."""
        return round(statistics.fmean(one.prompt for one in self.lengths))

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt."""
        return max(one.prompt for one in self.lengths)

    @property
    def patches(self) -> float:
        """Patches of all pictures of the mean prompt."""
        return statistics.fmean(sum(map(_patches, one.grids)) for one in self.lengths)

    @property
    def image_tokens(self) -> int:
        """Tokens of all pictures of the mean prompt."""
        return round(self.patches / self.merge**2)

    @property
    def largest_picture(self) -> Grid | None:
        """The grid of the largest picture; None when there are none."""
        return max((grid for one in self.lengths for grid in one.grids), key=_patches, default=None)

    @property
    def demonstrations(self) -> tuple[int, ...]:
        """Tokens of each demonstration that data gives."""
        return tuple(one.demonstration for one in self.lengths if one.demonstration is not None)

    @property
    def source(self) -> str:
        """Where the lengths come from, in words."""
        if self.seconds_per_prompt is None:
            return (
                f"assumed from the first {len(self.lengths)} examples, because the model folder has no tokenizer: "
                f"{CHARACTERS_PER_TOKEN} characters per token, pictures at their full size"
            )
        return f"the first {len(self.lengths)} examples, encoded"


def samples(recipe: Recipe) -> int:
    """Replies sampled per prompt; 0 in methods that only imitate."""
    return recipe.objective.samples


def imitates(recipe: Recipe) -> bool:
    """Whether a demonstration joins each prompt's replies."""
    return recipe.objective.imitates


def needs_reference(recipe: Recipe) -> bool:
    """Whether each step also asks the policy at the start of training for its log-probs."""
    return not recipe.objective.kl.is_off


def entropy(recipe: Recipe) -> Entropy:
    """Whether log-probs come with entropies."""
    return recipe.objective.entropy


def worst_replies(recipe: Recipe, workload: Workload) -> list[int]:
    """The longest replies that a prompt's group can have, in tokens."""
    given = [max(workload.demonstrations)] if imitates(recipe) else []
    return [recipe.sampling.max_new_tokens] * samples(recipe) + given


def worst_rows(recipe: Recipe, workload: Workload) -> list[Row]:
    """A step in which everybody writes as much as they may."""
    return [(workload.longest_prompt, *worst_replies(recipe, workload))] * recipe.prompts


def expected_rows(recipe: Recipe, workload: Workload, share: float = 1.0) -> list[Row]:
    """The rows of a step to expect, one per prompt, from the examples that were looked at.

    Sampled replies are as long as data's demonstrations times `share`, or without any all of one length: that share of
    half of what is allowed.
    """
    longest = recipe.sampling.max_new_tokens
    known = workload.demonstrations or (longest // 2,)
    usual = [max(1, min(longest, round(length * share))) for length in known]
    n = samples(recipe)
    rows: list[Row] = []
    for i in range(recipe.prompts):
        one = workload.lengths[i % len(workload.lengths)]
        given = (one.demonstration,) if imitates(recipe) and one.demonstration else ()
        # Replies to one prompt differ in length as much as replies to several do.
        rows.append((one.prompt, *(usual[(i + j) % len(usual)] for j in range(n)), *given))
    return rows


def examine_data(recipe: Recipe, folder: Path) -> Workload:
    """Read the recipe's first examples, and encode them where the folder has what that needs.

    Raises DataError when the data cannot be read, or cannot serve the objective: as training would.
    """
    examples, total = _first(recipe)
    with Router() as router:
        check(recipe, examples, router)
    config = model_config(folder)
    merge = int(config.vision_config.spatial_merge_size)
    has_encoder = all((folder / name).is_file() for name in ("tokenizer_config.json", "preprocessor_config.json"))
    began = time.perf_counter()
    if has_encoder:
        encoder = Encoder.load(folder)
        began = time.perf_counter()
        lengths = tuple(_encoded(e, recipe, encoder) for e in examples)
    else:
        lengths = tuple(_assumed(e, recipe, config.vision_config) for e in examples)
    seconds = (time.perf_counter() - began) / len(examples) if has_encoder else None
    return Workload(lengths, total, merge, seconds)


def _first(recipe: Recipe) -> tuple[Sequence[Example], int]:
    """The first examples, and how many there are in all."""
    if recipe.data.path is None:
        total = recipe.data.number or RENDERED
        return recipe.data.model_copy(update={"number": min(total, SAMPLE)}).load(), total
    everything = recipe.data.load()
    return everything[:SAMPLE], len(everything)


def _encoded(example: Example, recipe: Recipe, encoder: Encoder) -> Lengths:
    prompt = encoder.prompt(example, recipe.system)
    grids = () if prompt.grids is None else tuple((int(t), int(h), int(w)) for t, h, w in prompt.grids.tolist())
    trace = _demonstration(example, recipe)
    return Lengths(len(prompt.token_ids), grids, len(encoder.reply(trace.text)) if trace else None)


def _assumed(example: Example, recipe: Recipe, vision: Any) -> Lengths:
    side = vision.patch_size * vision.spatial_merge_size
    tokens = [(max(1, round(p.height / side)), max(1, round(p.width / side))) for p in example.images]
    text = len(example.question) + len(example.system or recipe.system or "")
    trace = _demonstration(example, recipe)
    merge = vision.spatial_merge_size
    return Lengths(
        TEMPLATE_TOKENS + text // CHARACTERS_PER_TOKEN + sum(h * w for h, w in tokens),
        tuple((1, h * merge, w * merge) for h, w in tokens),
        max(1, len(trace.text) // CHARACTERS_PER_TOKEN) if trace else None,
    )


def _demonstration(example: Example, recipe: Recipe) -> Trace | None:
    """The demonstration that the recipe imitates; for one that imitates none, any that says how long answers are."""
    style = recipe.objective.style
    if style is not None:
        return example.trace(style)
    return max(example.traces, key=lambda trace: len(trace.text), default=None)


def _patches(grid: Grid) -> int:
    return grid[0] * grid[1] * grid[2]
