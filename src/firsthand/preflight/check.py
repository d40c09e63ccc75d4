"""A recipe -> what a step of it needs, whether that fits, and what to change where it does not."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from firsthand.config import build, override
from firsthand.policy import Lora
from firsthand.preflight.blueprint import Size
from firsthand.preflight.estimate import Estimator, Memory, prompts_at_once
from firsthand.preflight.machine import Machine, Rates, find_machine, machine_of, measure
from firsthand.preflight.workload import RowLengths, Workload, examine_data, expected_rows, longest_row
from firsthand.recipe import Recipe
from firsthand.trainer.columns import keeps_old
from firsthand.trainer.update import forward_budget

_SHORT = 0.25
"""The low end of the expected time has replies of this share of the expected length (ours)."""
_LEAST = 0.01
"""A change that saves a smaller share of the whole is not worth telling (ours)."""


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
    precision: str
    """And what else of the optimizer or the adapter says how weights are held."""
    gradient_checkpointing: bool
    total: int
    """Bytes at the worst moment of a step with one of the longest rows in a forward, and all else as it is."""


class Expected(NamedTuple):
    """What the whole run costs at the lengths to expect, counted as metrics.jsonl does."""

    prompt_tokens: int
    generated_tokens: int
    trained_tokens: int
    flops: int


class Cost(NamedTuple):
    """Arithmetic and time of one part of a step."""

    flops: int
    seconds: float


@dataclass(frozen=True)
class Time:
    """A step's time, and where it goes."""

    seconds: tuple[float, float, float]
    """With short replies, as expected, and with replies as long as may be."""
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
    settled: Recipe
    """With the precision and the optimizer that it has there."""
    sizes: Mapping[str, Size]
    memory: Memory
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
    """Examine a recipe for a card by name or size, as `machine_of` takes it; None: for this machine.

    One that is not `alone`, but an arm of a study, is what it is: no other ways of training its model are tried.
    Raises DataError or RecipeError where training it would, and RecipeError for a card that nobody knows.
    """
    machine = machine_of(device) if device is not None else find_machine()
    folder = recipe.model_folder()
    estimator = Estimator(folder, examine_data(recipe, folder), machine)
    settled = estimator.settled(recipe)
    if device is None:
        estimator.import_all(settled)
        estimator.machine = machine = find_machine()  # with what training imports in memory
    memory = estimator.memory(recipe)
    fits = memory.total <= machine.free
    return PreflightResult(
        folder,
        machine,
        estimator.workload,
        settled,
        estimator.blueprint(settled).sizes(),
        memory,
        cost=expected_cost(settled, estimator),
        time=_time(settled, estimator) if fits else None,
        advice=() if fits else advise(recipe, estimator, machine.free),
        ways=list(ways(recipe, estimator)) if device is not None and alone else (),
    )


def expected_cost(recipe: Recipe, estimator: Estimator) -> Expected:
    """Tokens and operations of all steps of a settled recipe; every group is taken to be trained on."""
    n, rows = recipe.objective.samples, expected_rows(recipe, estimator.workload)
    views = 1 + recipe.objective.distorts
    return Expected(
        prompt_tokens=recipe.taken * views * sum(row[0] for row in rows),
        generated_tokens=recipe.taken * sum(sum(row[1 : 1 + n]) for row in rows),
        trained_tokens=recipe.taken * sum(sum(row[1:]) for row in rows),
        flops=recipe.taken * sum(_flops(recipe, estimator, rows).values()),
    )


def _flops(recipe: Recipe, estimator: Estimator, rows: Sequence[RowLengths], recomputed: int = 0) -> dict[str, int]:
    """Operations of a step's parts; layers that are computed again, so many times, are not among metrics.jsonl's."""
    flops, n, lengths = estimator.blueprint(recipe).flops, recipe.objective.samples, estimator.workload.lengths
    forwards = 1 + (not recipe.objective.kl.is_off) + recipe.objective.surveys + recomputed
    views = 1 + recipe.objective.distorts  # what a group is written to
    found = {"pictures": 0, "replies": 0, "update": 0}
    for i, (prompt, *replies) in enumerate(rows):
        grids = lengths[i % len(lengths)].grids
        found["pictures"] += views * flops.pictures(grids)
        if flops.patches.trained:
            found["pictures"] += flops.pictures(grids) * bool(n) + flops.pictures(grids, backward=True)
        found["replies"] += sum(flops.rollout(prompt, replies[v:n:views]) for v in range(views)) if n else 0
        again = keeps_old(recipe.objective) and i >= len(rows) // recipe.minibatches  # not the first minibatch
        found["update"] += flops.update(prompt, replies, forwards=forwards + again)
        if recipe.objective.masks:
            found["update"] += flops.scoring(prompt, replies) + flops.pictures(grids)
        if recipe.teacher:
            teacher = estimator.teacher(recipe).flops
            found["update"] += teacher.scoring(lengths[i % len(lengths)].taught, replies) + teacher.pictures(grids)
    return found


def _time(recipe: Recipe, estimator: Estimator) -> Time | None:
    """The time of a step, from rates measured here, or those of a card that is not here."""
    workload, machine, model = estimator.workload, estimator.machine, estimator.blueprint(recipe)
    rates = machine.rates(recipe.dtype)
    if machine.is_here:
        rates = measure(machine.device, sum(longest_row(recipe, workload)), model.matrix(), recipe.dtype)
    if rates is None:
        return None
    usual = expected_rows(recipe, workload)
    rows = (expected_rows(recipe, workload, _SHORT), usual, [longest_row(recipe, workload)] * recipe.prompts)
    low, parts, high = (_work(recipe, estimator, step, rates) for step in rows)
    low_s, usual_s, high_s = (math.fsum(cost.seconds for cost in found.values()) for found in (low, parts, high))
    return Time((low_s, usual_s, high_s), parts, statistics.fmean(r for row in usual for r in row[1:]), rates)


def _work(recipe: Recipe, estimator: Estimator, rows: list[RowLengths], rates: Rates) -> dict[str, Cost]:
    """A step's parts: their arithmetic at the rate of matrix products, or the calls of their kernels if that is more.

    A written token reads all weights, too. The optimizer's step is not counted.
    """
    flops = _flops(recipe, estimator, rows, recomputed=int(bool(recipe.gradient_checkpointing)))
    seconds = {name: size / rates.flops for name, size in flops.items()}
    seconds["pictures"] += estimator.workload.seconds_per_prompt * recipe.prompts
    calls = len(estimator.forwards(recipe, rows)) * estimator.update(recipe).calls
    seconds["update"] = max(seconds["update"], calls * rates.launch)
    if n := recipe.objective.samples:
        tokens = math.ceil(len(rows) / prompts_at_once(recipe)) * max(max(row[1 : 1 + n]) for row in rows)
        read = estimator.blueprint(recipe).weights / rates.bytes
        seconds["replies"] += tokens * max(read, estimator.rollout(recipe).calls * rates.launch)
    return {name: Cost(size, seconds[name]) for name, size in flops.items() if size}


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
    row, settled = sum(longest_row(recipe, estimator.workload)), estimator.settled(recipe)
    budget = forward_budget(recipe, torch.device(estimator.machine.device))
    is_pure = settled.precision == "bfloat16-pure"
    admitted = {
        "precision": (estimator.machine.card is not None and not is_pure, "bfloat16-pure"),
        "gradient_checkpointing": (not settled.gradient_checkpointing, "true"),
        "tokens_per_forward": (budget > row, row),
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


def ways(recipe: Recipe, estimator: Estimator) -> Iterator[Way]:
    """The whole model, its language and adapters, in each precision, with gradients checkpointed and not."""
    row = sum(longest_row(recipe, estimator.workload))
    lora = recipe.adapter or Lora()
    for trained, held, settings in _ways(lora):
        card = estimator.machine.card
        if "bfloat16" in held and card is not None and not card.has_bfloat16:
            continue
        optimizer = recipe.optimizer.model_copy(update={"kind": None, "offload": "offload" in held, "weight_decay": 0})
        for checkpointing in (False, True):
            more = {"optimizer": optimizer, "gradient_checkpointing": checkpointing, "tokens_per_forward": row}
            memory = estimator.memory(recipe.model_copy(update={**settings, **more}))
            yield Way(trained, held, checkpointing, memory.total)


def _ways(lora: Lora) -> Iterator[tuple[str, str, dict[str, object]]]:
    """What is trained, in which precision, and the settings of it."""
    for trained in ("all", "language"):
        for held in ("float32", "bfloat16", "bfloat16, offload", "bfloat16-pure"):
            yield trained, held, {"trainable": trained, "adapter": None, "precision": held.split(",")[0]}
    for held, precision, quantize in (
        ("float32", "float32", None),
        ("bfloat16", "bfloat16", None),
        ("bfloat16, nf4", "bfloat16", "nf4"),
    ):
        yield "adapter", held, {"adapter": lora.model_copy(update={"quantize": quantize}), "precision": precision}
