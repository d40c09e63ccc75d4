"""How much one step of a recipe runs through the model: lengths of prompts, replies and pictures.

What the recipe's objective asks for is read in this file alone.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firsthand.objective import Imitating
from firsthand.policy.head import Entropy
from firsthand.processor import Encoder, family_of, model_config
from firsthand.recipe import RENDERED, Recipe
from firsthand.records import Example, Trace
from firsthand.reward.build import router_of
from firsthand.trainer.check import check_examples

SAMPLE = 32
"""Examples that are encoded (ours)."""
CHARACTERS_PER_TOKEN = 3
"""For folders without a tokenizer: English has about four (ours, on the careful side)."""
PICTURE_TOKENS = 256
"""Of a picture, for folders without an image processor whose family does not cut pictures into a grid (ours)."""
TEMPLATE_TOKENS = 40
"""Of the chat template, for folders without one (ours)."""

ENCODER_FILES = ("tokenizer_config.json", "preprocessor_config.json")
FLOAT = 4
"""Bytes of a float32."""

Grid = tuple[int, int, int]
Row = tuple[int, ...]
"""Tokens of a prompt, then of each of its replies; a demonstration comes last."""


@dataclass(frozen=True)
class Lengths:
    """What one example costs."""

    prompt: int
    """Tokens, those of pictures included."""
    image_tokens: int
    grids: tuple[Grid, ...]
    """Patches (t, h, w) of each picture; empty in families that do not cut pictures into a grid."""
    pixel_bytes: int
    """Of all its pictures, as the vision tower takes them."""
    demonstration: int | None
    """Tokens of the reply that data gives; None when it gives none."""


@dataclass(frozen=True)
class Workload:
    """A recipe's examples, as far as memory and time depend on them."""

    lengths: tuple[Lengths, ...]
    examples: int
    """Examples in all, of which `lengths` has the first ones."""
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
    def image_tokens(self) -> int:
        """Tokens of all pictures of the mean prompt."""
        return round(statistics.fmean(one.image_tokens for one in self.lengths))

    @property
    def pixel_bytes(self) -> float:
        """Of all pictures of the mean prompt."""
        return statistics.fmean(one.pixel_bytes for one in self.lengths)

    @property
    def patches(self) -> float:
        """Patches of all pictures of the mean prompt."""
        return statistics.fmean(sum(map(_patches, one.grids)) for one in self.lengths)

    @property
    def most_pictures(self) -> int:
        """Grids of the example that has most of them."""
        return max(len(one.grids) for one in self.lengths)

    @property
    def largest_picture(self) -> tuple[Grid, int] | None:
        """The grid of the largest picture, and the numbers that a patch consists of; None when there are no grids."""
        found = [(grid, one) for one in self.lengths for grid in one.grids]
        if not found:
            return None
        grid, one = max(found, key=lambda pair: _patches(pair[0]))
        return grid, one.pixel_bytes // FLOAT // sum(map(_patches, one.grids))

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
                f"{CHARACTERS_PER_TOKEN} characters per token, and pictures at their full size"
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
    config = model_config(folder)
    examples, total = _first(recipe)
    with router_of(recipe.reward) as router:
        check_examples(recipe, examples, router)
    wanted = ("tokenizer_config.json",) if family_of(config).reads == "text" else ENCODER_FILES
    if not all((folder / name).is_file() for name in wanted):
        return Workload(tuple(_assumed(e, recipe, config) for e in examples), total, None)
    encoder = Encoder.load(folder)
    began = time.perf_counter()
    lengths = tuple(_encoded(e, recipe, encoder) for e in examples)
    return Workload(lengths, total, (time.perf_counter() - began) / len(examples))


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
    pixels = [prompt.pixels] if prompt.pixels is not None else list((prompt.tensors or {}).values())
    trace = _demonstration(example, recipe)
    return Lengths(
        prompt=len(prompt.token_ids),
        image_tokens=sum(token in encoder.banned_ids for token in prompt.token_ids),
        grids=grids,
        pixel_bytes=sum(tensor.nbytes for tensor in pixels),
        demonstration=len(encoder.reply(trace.text)) if trace else None,
    )


def _assumed(example: Example, recipe: Recipe, config: Any) -> Lengths:
    text = TEMPLATE_TOKENS + len(example.question + (example.system or recipe.system or "")) // CHARACTERS_PER_TOKEN
    trace = _demonstration(example, recipe)
    reply = max(1, len(trace.text) // CHARACTERS_PER_TOKEN) if trace else None
    if family_of(config).reads != "grids":
        image_tokens = PICTURE_TOKENS * len(example.images)
        return Lengths(text + image_tokens, image_tokens, (), 0, reply)
    vision = config.vision_config
    merge, side = vision.spatial_merge_size, vision.patch_size * vision.spatial_merge_size
    grids = tuple((1, *(merge * max(1, round(n / side)) for n in (p.height, p.width))) for p in example.images)
    patches = sum(h * w for _, h, w in grids)
    numbers = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    return Lengths(text + patches // merge**2, patches // merge**2, grids, patches * numbers * FLOAT, reply)


def _demonstration(example: Example, recipe: Recipe) -> Trace | None:
    """The demonstration that the recipe imitates; for one that imitates none, any that says how long answers are."""
    if isinstance(recipe.objective, Imitating) and recipe.objective.style is not None:
        return example.trace(recipe.objective.style)
    return max(example.traces, key=lambda trace: len(trace.text), default=None)


def _patches(grid: Grid) -> int:
    return grid[0] * grid[1] * grid[2]
