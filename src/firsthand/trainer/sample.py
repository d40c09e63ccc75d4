"""First stage of a step: its examples, their prompts, and the replies to them, sampled or given."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from firsthand.data.distort import noisy
from firsthand.errors import RecipeError
from firsthand.objective import Imitating, Sampled
from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Recipe
from firsthand.records import Example, Reply, StopReason, Trace
from firsthand.rollout import IndexedReply, Sampler

RESAMPLES = 8
"""Rounds of further prompts that a step may draw for zero-variance groups (ours; DAPO draws until the batch is
full)."""


@dataclass(frozen=True)
class Samples:
    """Prompts, and the replies to them as they are being written."""

    examples: Sequence[Example]
    prompts: Sequence[Prompt]
    replies: Iterator[IndexedReply]
    """In the order of their ends, so that they can be judged while others are still being written; then
    demonstrations, each the last of its group."""


def draws(examples: Sequence[Example], recipe: Recipe, step: int) -> Iterator[list[Example]]:
    """A step's examples; where zero-variance groups are resampled, then others, none of them twice."""
    drawn = [examples[i] for i in draw_indices(len(examples), recipe.prompts, step, recipe.seed)]
    yield drawn
    method = recipe.objective
    if not isinstance(method, Sampled) or method.zero_variance != "resample":
        return
    known = {example.id for example in drawn}
    for number in range(RESAMPLES):
        fresh = [i for i, example in enumerate(examples) if example.id not in known]
        if not fresh:
            return
        rng = random.Random(f"{recipe.seed} {step} {number}")
        drawn = [examples[i] for i in rng.sample(fresh, min(recipe.prompts, len(fresh)))]
        known |= {example.id for example in drawn}
        yield drawn


def draw_indices(examples: int, prompts: int, step: int, seed: int) -> list[int]:
    """Indices of a step's examples: every epoch is a permutation of all, a function of (seed, epoch) alone."""
    places = range(step * prompts, (step + 1) * prompts)
    orders: dict[int, list[int]] = {}
    for epoch in {place // examples for place in places}:
        orders[epoch] = random.Random(f"{seed} {epoch}").sample(range(examples), examples)
    return [orders[place // examples][place % examples] for place in places]


def sample(
    examples: Sequence[Example],
    recipe: Recipe,
    encoder: Encoder,
    sampler: Sampler,
    step: int,
    place: int | None = None,
) -> Samples:
    """Encode the examples; replies are written when `replies` is read, or by a server from now on.

    A function of the recipe and the step.

    `place` is the step's among the `steps` that schedules are planned for, where it is not its number.
    Reading raises RecipeError when a sampled token has no finite log-prob.
    """
    method = recipe.objective
    prompts = [encoder.prompt(example, recipe.system) for example in examples]
    replies: Iterator[IndexedReply] = iter(())
    if method.samples:
        place = step if place is None else place
        replies = _finite(_written(examples, prompts, recipe, encoder, sampler, step, place), step)
    if isinstance(method, Imitating):
        replies = itertools.chain(replies, _demonstrations(examples, method, encoder))
    return Samples(examples, prompts, replies)


def _written(
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    recipe: Recipe,
    encoder: Encoder,
    sampler: Sampler,
    step: int,
    place: int,
) -> Iterator[IndexedReply]:
    """What the policy writes; the second half of each group to distorted pictures, where the method distorts some."""
    method, seed = recipe.objective, recipe.seed * 1_000_003 + step
    if not method.distorts:
        return sampler.sample(prompts, method.samples, recipe.sampling, seed=seed)
    level, half = method.noise_at(place, recipe.steps), method.samples // 2
    distorted = [noisy(example, level, f"noise {recipe.seed} {step}") for example in examples]
    shown = [*prompts, *(encoder.prompt(example, recipe.system) for example in distorted)]
    return _grouped(sampler.sample(shown, half, recipe.sampling, seed=seed), examples, half)


def _grouped(written: Iterator[IndexedReply], examples: Sequence[Example], half: int) -> Iterator[IndexedReply]:
    """Replies to the examples, and then to distorted ones, as those of one group for each."""
    for i, number, reply in written:
        again, first = divmod(i, len(examples))
        if again and examples[first].images:
            reply = reply.model_copy(update={"distorted": True})
        yield IndexedReply(first, number + again * half, reply)


def demonstration(example: Example, style: str | None) -> Trace | None:
    """The demonstration to imitate: the one of that style, or without a style the only one."""
    if style is None:
        return example.traces[0] if len(example.traces) == 1 else None
    return example.trace(style)


def _demonstrations(examples: Sequence[Example], method: Imitating, encoder: Encoder) -> Iterator[IndexedReply]:
    for i, example in enumerate(examples):
        trace = demonstration(example, method.style)
        assert trace is not None, "the examples have passed `check_examples`"
        reply = Reply(text=trace.text, token_ids=encoder.reply(trace.text), stop=StopReason.GIVEN)
        yield IndexedReply(i, method.samples, reply)


def _finite(replies: Iterator[IndexedReply], step: int) -> Iterator[IndexedReply]:
    """Weights that are not numbers write equal replies, whose groups have no variance: nothing else would notice."""
    for indexed in replies:
        if not all(map(math.isfinite, indexed.reply.logprobs)):
            raise RecipeError(
                f"step {step}: expected finite log-probs of sampled tokens, got others: training has diverged; "
                "lower optimizer.lr or optimizer.max_grad_norm"
            )
        yield indexed
