"""Does an arm's gradient depend on how a step is split into forwards? It must not, and in widely used code it has.

An offloaded optimizer of DeepSpeed dropped micro-batches of a step, and a mean of micro-batches' means weighs short
ones as much as long ones (arXiv:2604.23747). Measured with the code, the objective and the batches of the arm itself:
those of its first steps, as its journal has them, so that nothing is sampled again.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from firsthand.findings import Check
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.records import Example, content_in
from firsthand.run import Run, recipe_of
from firsthand.study.checks import of_split
from firsthand.study.evidence import first_rollouts
from firsthand.trainer.batch import Group
from firsthand.trainer.state import State
from firsthand.trainer.update import gradient

BATCHES = 3
"""Of sixteen groups each, a loss of one forward in ten is missed by one study in 150: 0.9 ** 48."""
ROUNDED_APART = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""How far two orders of one sum may be apart, relative to it (docs/studies.md#health)."""
_WHOLE = 2**31
"""Tokens of one forward: as many as there are."""


def measure_split(recipe: Recipe, training: Path, root: Path) -> Check:
    """The check of a finished training, in a run directory of its own beside it; what is measured is only read.

    The recipe is settled. Raises what loading its data and its model raises.
    """
    decisive = {"name": recipe.name, "health_of": recipe_of(training)["id"], "batches": BATCHES}
    with Run.open(root, f"health-{recipe.name}", recipe.seed, decisive) as run:
        if not run.is_done:
            run.write_json("health.json", {"apart": _apart(State.load(recipe, run), recipe, training)})
            run.finish()
        apart: list[float] = content_in(run.folder / "health.json")["apart"]
    return of_split(apart, ROUNDED_APART[recipe.dtype])


def _apart(state: State, recipe: Recipe, training: Path) -> list[float]:
    """For each batch, how far its gradient with a group per forward is from that of one forward, relative to it."""
    found: list[float] = []
    examples = {example.id: example for example in recipe.data.unfiltered.load()}
    for step, groups in _batches(training, recipe, examples, state.encoder):
        if recipe.objective.needs_advantage and all(group.has_zero_variance for group in groups):
            continue  # at the start a KL is 0, and what is left of its gradient is rounding
        parts, whole = (
            gradient(state, groups, recipe.model_copy(update={"tokens_per_forward": tokens}), step)
            for tokens in (1, _WHOLE)
        )
        if any(bool(part.any()) for part in (*parts, *whole)):  # one of the two may have been lost whole
            found.append(relative_difference(parts, whole))
        if len(found) == BATCHES:
            break
    return found


class _Drawn(NamedTuple):
    step: int
    groups: Sequence[Group]


def _batches(training: Path, recipe: Recipe, examples: dict[str, Example], encoder: Encoder) -> Iterable[_Drawn]:
    """The batches of the first steps, as they were trained on."""
    for step, rollouts in first_rollouts(training, 4 * BATCHES):
        groups = [
            Group(example, encoder.prompt(example, recipe.system), rollout.group)
            for rollout in rollouts
            for example in (examples[rollout.example_id],)
        ]
        yield _Drawn(step, groups)


def relative_difference(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """||a - b|| / ||b|| over all tensors, in double precision; 1 where they are of other parameters, or b is 0."""
    size = math.fsum(float(y.double().square().sum()) for y in b)
    if len(a) != len(b) or size == 0:
        return 1.0
    apart = math.fsum(float((x.double() - y.double()).square().sum()) for x, y in zip(a, b, strict=True))
    return math.sqrt(apart / size)
