"""A recipe -> what a step of it needs, whether that fits, and what to change where it does not."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from firsthand.config import build, override
from firsthand.policy import Lora
from firsthand.preflight.blueprint import Size
from firsthand.preflight.devices import Device, device_of
from firsthand.preflight.estimate import Cost, Estimator, Memory
from firsthand.preflight.machine import Machine, Rates, find_machine, measure
from firsthand.preflight.workload import Workload, examine_data, expected_rows, longest_row
from firsthand.recipe import Recipe

_SHORT = 0.25
"""The low end of the expected time has replies of this share of the expected length (ours)."""
_LEAST = 0.01
"""A change that saves a smaller share of the whole is not worth telling (ours)."""
_WAYS: Mapping[str, Mapping[str, object]] = {
    "all": {"trainable": "all", "adapter": None},
    "language": {"trainable": "language", "adapter": None},
    "adapter": {},
}
"""What can be trained of a model, the most first -> the settings of it."""


class Advice(NamedTuple):
    """One change, on top of those before it."""

    change: str
    """As `--set` takes it."""
    total: int
    """Bytes at the worst moment of a step with it."""


class Way(NamedTuple):
    """One way of training the recipe's model, and what it needs."""

    trained: str
    """`all` and `language`, as `trainable` says, or `adapter`."""
    gradient_checkpointing: bool
    total: int
    """Bytes at the worst moment of a step with one of the longest rows in a forward, and all else as it is."""
    most: int | None
    """The largest `tokens_per_forward` that fits, in whole longest rows; None when not even one of them does."""

    @property
    def fits(self) -> bool:
        """Whether a step does."""
        return self.most is not None


class Expected(NamedTuple):
    """What the whole run costs at the lengths to expect, counted as metrics.jsonl does."""

    prompt_tokens: int
    generated_tokens: int
    trained_tokens: int
    flops: int


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
    cost: Expected
    time: Time | None
    """None when the recipe does not fit, for nothing is measured then, or when the device's rates are not known."""
    advice: Sequence[Advice]
    """Empty when it fits."""
    ways: Sequence[Way] = ()
    """Of a device that was asked for by name."""

    @property
    def fits(self) -> bool:
        """Whether the worst moment of a step fits into free memory."""
        return self.memory.total <= self.machine.free


def preflight(recipe: Recipe, device: str | None = None, *, alone: bool = True) -> PreflightResult:
    """Examine a recipe for a card by name or size, as `device_of` takes it; None: for this machine.

    One that is not `alone`, but an arm of a study, is what it is: no other ways of training its model are tried.
    Raises DataError or RecipeError where training it would, and RecipeError for a card that nobody knows.
    """
    wanted = device_of(device) if device is not None else None
    folder = recipe.model_folder()
    workload, machine = examine_data(recipe, folder), wanted.machine if wanted else find_machine()
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
        cost=expected_cost(recipe, estimator),
        time=_time(recipe, estimator, wanted) if fits else None,
        advice=() if fits else advise(recipe, estimator, machine.free),
        ways=ways(recipe, estimator, machine.free) if wanted and alone else (),
    )


def expected_cost(recipe: Recipe, estimator: Estimator) -> Expected:
    """Tokens and operations of all steps; every group is taken to be trained on."""
    flops, n, workload = estimator.blueprint(recipe).flops, recipe.objective.samples, estimator.workload
    rows = expected_rows(recipe, workload)
    forwards = 1 if recipe.objective.kl.is_off else 2
    pictures = [workload.lengths[i % len(workload.lengths)] for i in range(recipe.prompts)]
    total = 0
    for (prompt, *replies), one in zip(rows, pictures, strict=True):
        tower = flops.pictures(one.grids)
        total += tower + flops.update(prompt, replies, forwards=forwards)
        if n:
            total += flops.rollout(prompt, replies[:n])
        if flops.patches.trained:
            total += tower * bool(n) + flops.pictures(one.grids, backward=True)
    return Expected(
        prompt_tokens=recipe.steps * sum(row[0] for row in rows),
        generated_tokens=recipe.steps * sum(sum(row[1 : 1 + n]) for row in rows),
        trained_tokens=recipe.steps * sum(sum(row[1:]) for row in rows),
        flops=recipe.steps * total,
    )


def _time(recipe: Recipe, estimator: Estimator, wanted: Device | None) -> Time | None:
    """The time of a step, from rates measured at the shapes of the update, and at those of writing replies.

    Those of a card that is not here are looked up.
    """
    workload, device, matrix = estimator.workload, estimator.machine.device, estimator.blueprint(recipe).matrix()
    if wanted is not None:
        if wanted.rates is None:  # a size alone
            return None
        learning = writing = wanted.rates
    else:
        learning = measure(device, estimator.budget(recipe), matrix)
        writing = measure(device, max(1, recipe.prompts * recipe.objective.samples), matrix)
    usual, worst = expected_rows(recipe, workload), [longest_row(recipe, workload)] * recipe.prompts
    rows = (expected_rows(recipe, workload, _SHORT), usual, worst)
    low, parts, high = (estimator.work(recipe, *step) for step in zip(rows, learning, writing, strict=True))
    seconds = [math.fsum(cost.seconds for cost in found.values()) for found in (low, parts, high)]
    replies = [length for row in usual for length in row[1:]]
    return Time((seconds[0], seconds[1], seconds[2]), parts, statistics.fmean(replies), learning[1])


def advise(recipe: Recipe, estimator: Estimator, free: int) -> list[Advice]:
    """Changes in the order of what each saves on its own, until the recipe fits; all that help when it never does."""
    alone = {key: estimator.memory(changed(recipe, c)).total for key, c in changes(recipe, estimator).items()}
    total = estimator.memory(recipe).total
    advice: list[Advice] = []
    untried = sorted(alone, key=alone.__getitem__)
    while untried and total > free:
        left = []
        for key in untried:
            change = changes(recipe, estimator).get(key)  # its value may have moved with the changes so far
            if change is None or total <= free:
                continue
            tried = changed(recipe, change)
            after = estimator.memory(tried).total
            if total - after > _LEAST * total:
                recipe, total = tried, after
                advice.append(Advice(change, total))
            else:
                left.append(key)  # it may help yet, once another phase is the largest no more
        if len(left) == len(untried):
            break
        untried = left
    return advice


def changes(recipe: Recipe, estimator: Estimator) -> dict[str, str]:
    """What this recipe still admits: key -> assignment."""
    group, longest = recipe.objective.samples, recipe.sampling.max_new_tokens
    row = sum(longest_row(recipe, estimator.workload))
    admitted = {
        "gradient_checkpointing": (not recipe.gradient_checkpointing, "true"),
        "tokens_per_forward": (estimator.budget(recipe) > row, row),
        "prompts": (recipe.prompts // 2 >= recipe.minibatches, recipe.prompts // 2),
        "objective.group_size": (group > 2, max(2, group // 2)),
        "sampling.max_new_tokens": (group > 0 and longest > 1, longest // 2),
        "adapter": (recipe.adapter is None, "{rank: 16}"),
        "trainable": (recipe.trainable == "all" and recipe.adapter is None, "language"),
        "objective.kl": (not recipe.objective.kl.is_off, 0),
    }
    return {key: f"{key}={value}" for key, (is_possible, value) in admitted.items() if is_possible}


def changed(recipe: Recipe, assignment: str) -> Recipe:
    """The recipe with one `KEY=VALUE` applied: to what it says, for a default that is said may be refused."""
    return build(Recipe, override(recipe.model_dump(mode="json", exclude_unset=True), [assignment]), assignment)


def ways(recipe: Recipe, estimator: Estimator, free: int) -> list[Way]:
    """Whole weights, those of the language, and adapters, with gradients checkpointed and not: what each needs."""
    row = sum(longest_row(recipe, estimator.workload))
    found = []
    for trained, settings in _WAYS.items():
        for checkpointing in (False, True):
            update = {**settings, "gradient_checkpointing": checkpointing, "tokens_per_forward": row}
            if trained == "adapter":
                update["adapter"] = recipe.adapter or Lora()
            memory = estimator.memory(recipe.model_copy(update=update))
            more = memory.more_rows(free)
            found.append(Way(trained, checkpointing, memory.total, None if more is None else (1 + more) * row))
    return found
