"""How much one step of a recipe runs through the model: lengths of prompts, replies and pictures."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firsthand.objective import Imitating
from firsthand.policy.flops import Grid
from firsthand.processor import Encoder
from firsthand.recipe import RENDERED, Recipe
from firsthand.records import Example, Trace
from firsthand.reward.build import router_of
from firsthand.trainer.check import check_rows
from firsthand.trainer.teaching import check_teacher, seen_by_teacher

_EXAMPLES = 32
"""That are encoded (ours)."""
RowLengths = tuple[int, ...]
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
    taught: int = 0
    """Tokens of the prompt as a teacher sees it; 0 without one."""

    @property
    def patches(self) -> int:
        """Of all its pictures."""
        return sum(map(math.prod, self.grids))


@dataclass(frozen=True)
class Workload:
    """A recipe's examples, as far as memory and time depend on them."""

    lengths: tuple[Lengths, ...]
    examples: int
    """Examples in all, of which `lengths` has the first ones."""
    seconds_per_prompt: float
    """Cutting pictures and tokenizing, measured."""

    def mean(self, of: Callable[[Lengths], int]) -> float:
        """Over the examples that were looked at."""
        return statistics.fmean(map(of, self.lengths))

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt."""
        return max(one.prompt for one in self.lengths)

    @property
    def most_pictures(self) -> int:
        """Grids of the example that has most of them."""
        return max(len(one.grids) for one in self.lengths)

    @property
    def largest_picture(self) -> tuple[Grid, int] | None:
        """The grid of the largest picture, and the numbers that a patch consists of; None when there are no grids."""
        found = [(grid, one.pixel_bytes // 4 // one.patches) for one in self.lengths for grid in one.grids]  # float32
        return max(found, key=lambda pair: math.prod(pair[0]), default=None)

    @property
    def demonstrations(self) -> tuple[int, ...]:
        """Tokens of each demonstration that data gives."""
        return tuple(one.demonstration for one in self.lengths if one.demonstration is not None)


def longest_row(recipe: Recipe, workload: Workload) -> RowLengths:
    """The longest prompt, with replies as long as they may be."""
    given = (max(workload.demonstrations),) if recipe.objective.imitates else ()
    return (workload.longest_prompt, *[recipe.sampling.max_new_tokens] * recipe.objective.samples, *given)


def expected_rows(recipe: Recipe, workload: Workload, share: float = 1.0) -> list[RowLengths]:
    """The rows of a step to expect, one per prompt, from the examples that were looked at.

    Sampled replies are as long as data's demonstrations times `share`, or without any all of one length: that share of
    half of what is allowed.
    """
    longest = recipe.sampling.max_new_tokens
    known = workload.demonstrations or (longest // 2,)
    usual = [max(1, min(longest, round(length * share))) for length in known]
    rows: list[RowLengths] = []
    for i in range(recipe.prompts):
        one = workload.lengths[i % len(workload.lengths)]
        given = (one.demonstration,) if recipe.objective.imitates and one.demonstration else ()
        # Replies to one prompt differ in length as much as replies to several do.
        rows.append((one.prompt, *(usual[(i + j) % len(usual)] for j in range(recipe.objective.samples)), *given))
    return rows


def examine_data(recipe: Recipe, folder: Path) -> Workload:
    """Read the recipe's first examples, and encode them.

    Raises DataError when they cannot be read or encoded, or cannot serve the objective: as training would.
    """
    encoder, data = Encoder.load(folder), recipe.data
    check_teacher(recipe, encoder)
    teacher = None if recipe.teacher is None else Encoder.load(recipe.teacher.folder())
    total = data.number or RENDERED
    if data.path is None and data.pass_rate is None:
        loaded = data.model_copy(update={"number": min(total, _EXAMPLES)}).read()
    else:
        loaded = data.read()
        total, loaded = len(loaded.examples), loaded.first(_EXAMPLES)
    with router_of(recipe.reward) as router:
        examples = check_rows(recipe, loaded, router, encoder).settled(data.on_bad)
    began = time.perf_counter()
    lengths = tuple(_encoded(example, recipe, encoder, teacher) for example in examples)
    return Workload(lengths, total, (time.perf_counter() - began) / len(examples))


def _encoded(example: Example, recipe: Recipe, encoder: Encoder, teacher: Encoder | None) -> Lengths:
    prompt, trace = encoder.prompt(example, recipe.system), _demonstration(example, recipe)
    grids = () if prompt.grids is None else tuple((int(t), int(h), int(w)) for t, h, w in prompt.grids.tolist())
    pixels = [prompt.pixels] if prompt.pixels is not None else list((prompt.tensors or {}).values())
    return Lengths(
        prompt=len(prompt.token_ids),
        image_tokens=sum(token in encoder.banned_ids for token in prompt.token_ids),
        grids=grids,
        pixel_bytes=sum(tensor.nbytes for tensor in pixels),
        demonstration=len(encoder.reply(trace.text)) if trace else None,
        taught=0 if teacher is None else len(seen_by_teacher(example, recipe, teacher).token_ids),
    )


def _demonstration(example: Example, recipe: Recipe) -> Trace | None:
    """The demonstration that the recipe imitates; for one that imitates none, any that says how long answers are."""
    if isinstance(recipe.objective, Imitating) and recipe.objective.style is not None:
        return example.trace(recipe.objective.style)
    return max(example.traces, key=lambda trace: len(trace.text), default=None)
