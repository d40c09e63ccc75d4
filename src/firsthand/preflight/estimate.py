"""Memory and time of one optimizer step, put together from the blueprint's counts.

A step has three phases, each with a peak of its own: the rollout, the update, and the optimizer's own step. What is
held through all of them (weights, moments, the reference, picture features) counts in each; the largest phase decides.
Lengths are the worst that the recipe allows for memory, and the ones to expect for time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from firsthand.policy.vision import FEATURE_CACHE_BYTES
from firsthand.preflight.blueprint import Blueprint, Picture, Rollout, Size, Update
from firsthand.preflight.ledger import Kernel
from firsthand.preflight.machine import Machine, Rates
from firsthand.preflight.workload import (
    FLOAT,
    Row,
    Workload,
    entropy,
    needs_reference,
    samples,
    worst_replies,
)
from firsthand.processor import PIXEL_CACHE_BYTES
from firsthand.recipe import Recipe
from firsthand.trainer.update import forward_budget

RESERVE = 0.2
"""What kernels and the allocator take on top of a phase's tensors, as a share of them (measured on a CPU, ours)."""
MAX_ROWS = 256
"""Replies that `LocalSampler` writes at once."""
LEFT = 7 / 8
"""Share of the replies' keys that is copied, at most, when finished rows leave (`rollout.local.RETIRE`)."""


@dataclass(frozen=True)
class Memory:
    """Bytes of each component, under the phase that holds it."""

    held: Mapping[str, int]
    phases: Mapping[str, Mapping[str, int]]

    @property
    def total(self) -> int:
        """Bytes at the worst moment of a step."""
        return sum(self.held.values()) + max(sum(parts.values()) for parts in self.phases.values())

    @property
    def worst(self) -> str:
        """The phase of the worst moment."""
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))


class Cost(NamedTuple):
    """Arithmetic and time of one part of a step."""

    flops: int
    seconds: float


class Range(NamedTuple):
    """Seconds: with short replies on a machine at its best, as expected, and at worst: replies as long as may be."""

    low: float
    usual: float
    high: float


class Estimator:
    """Estimates for one folder, workload and machine. Counts that several recipes have in common are made once."""

    def __init__(self, folder: Path, workload: Workload, machine: Machine) -> None:
        self._folder = folder
        self._workload = workload
        self._machine = machine
        self._blueprints: dict[str, Blueprint] = {}
        self._updates: dict[str, Update] = {}
        self._rollouts: dict[str, Rollout] = {}
        self._pictures: dict[str, Picture] = {}

    def blueprint(self, recipe: Recipe) -> Blueprint:
        """The recipe's model, without its weights."""
        key = _key(recipe, "trainable")
        if key not in self._blueprints:
            self._blueprints[key] = Blueprint(recipe, self._folder, self._machine.device)
        return self._blueprints[key]

    def sizes(self, recipe: Recipe) -> dict[str, Size]:
        """Parameters of each part of the model."""
        return self.blueprint(recipe).sizes()

    def memory(self, recipe: Recipe) -> Memory:
        """Bytes at the longest lengths that the recipe allows."""
        sizes = self.sizes(recipe).values()
        trained, everything = (sum(s.trained for s in sizes), sum(s.trained + s.frozen for s in sizes))
        row = (self._workload.longest_prompt, *worst_replies(recipe, self._workload))
        budget = forward_budget(recipe, torch.device(self._machine.device))
        rows = batches([row] * math.ceil(recipe.prompts / recipe.minibatches), budget)[0]
        update = self._update(recipe, rows)
        picture = self._picture(recipe)
        tower = picture.kept * len(rows) * self._workload.most_pictures if picture and picture.backward else 0
        held = {
            "weights": everything * FLOAT,
            "AdamW's moments": 2 * trained * FLOAT,
            # Beside an adapter the reference is the same model with its adapters off.
            "reference policy": everything * FLOAT * (needs_reference(recipe) and recipe.adapter is None),
            "picture features": self._features(recipe, picture),
            "process": self._process(),
        }
        phases = {
            "update": {
                "gradients": trained * FLOAT,
                "activations": update.activations + tower,
                "output layer": update.head,
                "workspace": update.workspace,
            },
            "optimizer": {
                "gradients": trained * FLOAT,
                # torch's AdamW treats all parameters at once on a GPU, and one after the other on a CPU.
                "workspace": trained * FLOAT * (self._machine.device == "cuda"),
            },
        }
        if samples(recipe):
            phases["rollout"] = self._rollout_memory(recipe, picture)
        return Memory(held, {name: {**parts, "reserve": _reserve(parts)} for name, parts in phases.items()})

    def turned(self, recipe: Recipe) -> int:
        """What layers would keep for the backward with `gradient_checkpointing` turned the other way (bytes)."""
        other = recipe.model_copy(update={"gradient_checkpointing": not recipe.gradient_checkpointing})
        return self.memory(other).phases["update"]["activations"]

    def work(self, recipe: Recipe, rows: Sequence[Row], update: Rates, writing: Rates) -> dict[str, Cost]:
        """The parts of a step on rows of these lengths, one per prompt; one rate for learning, one for writing."""
        # The middle one of the forwards stands for all of them: tracing each would take longer than it is worth.
        forwards = batches(rows, forward_budget(recipe, torch.device(self._machine.device)))
        middle = forwards[len(forwards) // 2]
        found = self._update(recipe, middle)
        times = sum(map(sum, rows)) / sum(map(sum, middle))
        parts = {"pictures": self._tower(recipe, update)}
        if samples(recipe):
            parts |= self._writing(recipe, rows, writing)
        parts["forward and backward"] = _cost(found.kernels, update, times)
        if needs_reference(recipe):
            parts["reference"] = _cost(found.reference, update, times)
        parts["AdamW"] = _cost([self._descent(recipe)], update, recipe.minibatches)
        return parts

    def _writing(self, recipe: Recipe, rows: Sequence[Row], rates: Rates) -> dict[str, Cost]:
        """Running the prompts, and writing the sampled replies of these rows."""
        n, chunk = samples(recipe), rollout_rows(recipe)
        chunks = len(rows) / chunk
        found = self._rollout(recipe, [max(row[0] for row in rows)] * chunk, n)
        replies = [length for row in rows for length in row[1 : 1 + n]]
        mean, longest = math.fsum(replies) / len(replies), max(replies)
        # The traced token is the first one; later ones also read what the reply holds so far, half of it on average.
        step = [*found.step, Kernel(0, int(chunk * n * found.bytes_per_token * mean / 2))]
        written = _cost(step, rates, chunks * mean)
        # Finished rows leave, but the last one takes its steps, whatever little is to be computed in them.
        waiting = len(step) * rates.launch * chunks * (longest - mean)
        return {
            "prompts": _cost(found.prefill, rates, chunks),
            "replies": Cost(written.flops, written.seconds + waiting),
        }

    def _tower(self, recipe: Recipe, rates: Rates) -> Cost:
        """Pictures are cut, and go through the tower; a trained one also sees them in the update, and learns."""
        picture, workload = self._picture(recipe), self._workload
        cutting = (workload.seconds_per_prompt or 0.0) * recipe.prompts
        if picture is None:
            return Cost(0, cutting)
        again = picture.forward if picture.backward and samples(recipe) else ()
        kernels = [*picture.forward, *again, *picture.backward]
        found = _cost(kernels, rates, recipe.prompts * workload.patches / picture.patches)
        return Cost(found.flops, found.seconds + cutting)

    def _descent(self, recipe: Recipe) -> Kernel:
        """AdamW reads weight, gradient and two moments, and writes three of them; the norm reads gradients twice."""
        trained = sum(size.trained for size in self.sizes(recipe).values())
        return Kernel(0, 9 * FLOAT * trained)

    def _rollout_memory(self, recipe: Recipe, picture: Picture | None) -> dict[str, int]:
        n, prompt = samples(recipe), self._workload.longest_prompt
        chunk = rollout_rows(recipe)
        found = self._rollout(recipe, [prompt] * chunk, n)
        replies = chunk * n * recipe.sampling.max_new_tokens * found.bytes_per_token
        tower = 0 if picture is None else chunk * self._workload.most_pictures * picture.workspace
        return {
            "KV cache of prompts": chunk * prompt * found.bytes_per_token * (1 if found.shares else n),
            "KV cache of replies": replies,
            "workspace": max(found.prefill_workspace, found.step_workspace, int(LEFT * replies), tower),
        }

    def _features(self, recipe: Recipe, picture: Picture | None) -> int:
        """The cache of a frozen tower's features, full."""
        if picture is None or picture.backward:
            return 0
        return min(FEATURE_CACHE_BYTES, self._workload.examples * self._workload.most_pictures * picture.features)

    def _process(self) -> int:
        """What the process holds besides: libraries, and on a CPU the cache of cut pictures."""
        cache = min(PIXEL_CACHE_BYTES, int(self._workload.examples * self._workload.pixel_bytes))
        return self._machine.process + cache * (self._machine.device == "cpu")

    def _update(self, recipe: Recipe, rows: Sequence[Row]) -> Update:
        key = f"{_key(recipe)} {list(rows)} {needs_reference(recipe)}"
        if key not in self._updates:
            made = self.blueprint(recipe).update(rows, entropy(recipe), reference=needs_reference(recipe))
            self._updates[key] = made
        return self._updates[key]

    def _rollout(self, recipe: Recipe, prompts: list[int], n: int) -> Rollout:
        key = f"{recipe.adapter} {prompts} {n}"
        if key not in self._rollouts:
            self._rollouts[key] = self.blueprint(recipe).rollout(prompts, n)
        return self._rollouts[key]

    def _picture(self, recipe: Recipe) -> Picture | None:
        largest = self._workload.largest_picture
        if largest is None:
            return None
        key = _key(recipe, "trainable")
        if key not in self._pictures:
            self._pictures[key] = self.blueprint(recipe).picture(*largest)
        return self._pictures[key]


def batches(rows: Sequence[Row], budget: int) -> list[list[Row]]:
    """Rows as the update's forwards take them: like lengths together, padded to the longest (see `update.split`)."""
    made: list[list[Row]] = [[]]
    for row in sorted(rows, key=sum):
        if made[-1] and (len(made[-1]) + 1) * sum(row) > budget:
            made.append([])
        made[-1].append(row)
    return made


def rollout_rows(recipe: Recipe) -> int:
    """How many prompts are answered at once (`LocalSampler.sample`)."""
    return max(1, min(recipe.prompts, MAX_ROWS // samples(recipe)))


def _key(recipe: Recipe, *more: str) -> str:
    """Recipes with equal keys have equal blueprints, but for the settings that are not named."""
    return str(recipe.model_dump(include={"gradient_checkpointing", "adapter", *more}))


def _reserve(parts: Mapping[str, int]) -> int:
    """Gradients stay where they are from step to step, so no reserve is needed for them."""
    return int(RESERVE * sum(size for name, size in parts.items() if name != "gradients"))


def _cost(kernels: Sequence[Kernel], rates: Rates, times: float) -> Cost:
    return Cost(round(sum(k.flops for k in kernels) * times), rates.seconds(kernels) * times)
