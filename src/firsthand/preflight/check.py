"""A recipe -> what a step of it needs, whether that fits, and what to change where it does not."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firsthand.preflight.advice import Advice, advise
from firsthand.preflight.blueprint import Size
from firsthand.preflight.estimate import Cost, Estimator, Memory
from firsthand.preflight.machine import Machine, Rates, find_machine, measure
from firsthand.preflight.workload import Workload, examine_data, expected_rows, longest_row
from firsthand.recipe import Recipe

_SHORT = 0.25
"""The low end of the expected time has replies of this share of the expected length (ours)."""


@dataclass(frozen=True)
class Time:
    """A step's time, and where it goes."""

    seconds: tuple[float, float, float]
    """With short replies on a machine at its best, as expected, and at worst: replies as long as may be."""
    parts: Mapping[str, Cost]
    """At the expected lengths."""
    reply: float
    """Tokens of the mean reply."""
    rates: Rates


@dataclass(frozen=True)
class PreflightResult:
    """What preflight found out."""

    folder: Path
    machine: Machine
    workload: Workload
    sizes: Mapping[str, Size]
    memory: Memory
    other_activations: int
    """Bytes of activations with `gradient_checkpointing` turned the other way."""
    time: Time | None
    """None when the recipe does not fit: nothing is measured then."""
    advice: Sequence[Advice]
    """Empty when it fits."""

    @property
    def fits(self) -> bool:
        """Whether the worst moment of a step fits into free memory."""
        return self.memory.total <= self.machine.free


def preflight(recipe: Recipe) -> PreflightResult:
    """Examine a recipe. Raises DataError or RecipeError where training it would."""
    folder = recipe.model_folder()
    workload, machine = examine_data(recipe, folder), find_machine()
    estimator = Estimator(folder, workload, machine)
    memory = estimator.memory(recipe)
    other = recipe.model_copy(update={"gradient_checkpointing": not recipe.gradient_checkpointing})
    fits = memory.total <= machine.free
    return PreflightResult(
        folder,
        machine,
        workload,
        estimator.blueprint(recipe).sizes(),
        memory,
        other_activations=estimator.memory(other).phases["update"]["activations"],
        time=_time(recipe, estimator) if fits else None,
        advice=() if fits else advise(recipe, estimator, machine.free),
    )


def _time(recipe: Recipe, estimator: Estimator) -> Time:
    """The time of a step, from rates measured at the shapes of the update, and at those of writing replies."""
    workload, device, matrix = estimator.workload, estimator.machine.device, estimator.blueprint(recipe).matrix()
    learning = measure(device, estimator.budget(recipe), matrix)
    writing = measure(device, max(1, recipe.prompts * recipe.objective.samples), matrix)
    usual, worst = expected_rows(recipe, workload), [longest_row(recipe, workload)] * recipe.prompts
    rows = (expected_rows(recipe, workload, _SHORT), usual, worst)
    low, parts, high = (estimator.work(recipe, *step) for step in zip(rows, learning, writing, strict=True))
    seconds = [math.fsum(cost.seconds for cost in found.values()) for found in (low, parts, high)]
    replies = [length for row in usual for length in row[1:]]
    return Time((seconds[0], seconds[1], seconds[2]), parts, statistics.fmean(replies), learning[1])
