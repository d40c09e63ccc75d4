"""A recipe -> what a step of it needs, whether that fits, and what to change where it does not."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from firsthand.preflight.advice import Advice, advise
from firsthand.preflight.blueprint import Size
from firsthand.preflight.estimate import Cost, Estimator, Memory, Range
from firsthand.preflight.machine import Machine, Rates, find_machine, measure
from firsthand.preflight.workload import Workload, examine_data, expected_rows, samples, worst_rows
from firsthand.recipe import Recipe
from firsthand.trainer.update import forward_budget

SHORT = 0.25
"""The low end of the expected time has replies of this share of the expected length (ours)."""


@dataclass(frozen=True)
class Time:
    """A step's time, and where it goes."""

    seconds: Range
    parts: Mapping[str, Cost]
    """At the expected lengths."""
    reply: float
    """Tokens of the mean reply."""
    rates: Rates


@dataclass(frozen=True)
class Plan:
    """What preflight found out."""

    folder: Path
    machine: Machine
    workload: Workload
    sizes: Mapping[str, Size]
    memory: Memory
    turned: int
    """Bytes of activations with `gradient_checkpointing` turned the other way."""
    time: Time | None
    """None when the recipe does not fit: nothing is measured then."""
    advice: tuple[Advice, ...]
    """Empty when it fits."""

    @property
    def fits(self) -> bool:
        """Whether the worst moment of a step fits into free memory."""
        return self.memory.total <= self.machine.free


def preflight(recipe: Recipe) -> Plan:
    """Examine a recipe. Raises DataError or RecipeError where training it would."""
    folder = recipe.model_folder()
    workload = examine_data(recipe, folder)
    machine = find_machine()
    estimator = Estimator(folder, workload, machine)
    memory = estimator.memory(recipe)
    fits = memory.total <= machine.free
    return Plan(
        folder=folder,
        machine=machine,
        workload=workload,
        sizes=estimator.sizes(recipe),
        memory=memory,
        turned=estimator.turned(recipe),
        time=_time(recipe, estimator, workload, machine) if fits else None,
        advice=() if fits else tuple(advise(recipe, estimator, workload, machine)),
    )


def _time(recipe: Recipe, estimator: Estimator, workload: Workload, machine: Machine) -> Time:
    """The time of a step, from rates measured at the shapes of the update, and at those of writing replies."""
    matrix = estimator.blueprint(recipe).matrix()
    learning = measure(machine, forward_budget(recipe, torch.device(machine.device)), matrix, matrix[0])
    writing = measure(machine, max(1, recipe.prompts * samples(recipe)), matrix, matrix[0])
    usual = expected_rows(recipe, workload)
    rows = (expected_rows(recipe, workload, SHORT), usual, worst_rows(recipe, workload))
    low, parts, high = (
        estimator.work(recipe, step, update, rollout)
        for step, update, rollout in zip(rows, learning.moods, writing.moods, strict=True)
    )
    seconds = Range(*(math.fsum(cost.seconds for cost in found.values()) for found in (low, parts, high)))
    replies = [length for row in usual for length in row[1:]]
    return Time(seconds, parts, statistics.fmean(replies), learning.usual)
