"""Memory and time of one optimizer step, put together from what the blueprint counts.

A step has three phases, each with a peak of its own: the rollout, the update, and the optimizer's own step. What is
held through all of them (weights, moments, the reference, picture features) counts in each; the largest phase decides.
Lengths are the worst that the recipe allows for memory, and the ones to expect for time.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from firsthand.policy.quantising import BYTES_PER_WEIGHT
from firsthand.policy.vision import FEATURE_CACHE_BYTES
from firsthand.preflight.blueprint import Blueprint, PictureCost, RolloutCost, UpdateCost
from firsthand.preflight.kernels import Kernel
from firsthand.preflight.machine import Machine, Rates
from firsthand.preflight.workload import FLOAT, RowLengths, Workload, longest_row
from firsthand.processor import PIXEL_CACHE_BYTES
from firsthand.recipe import Recipe
from firsthand.rollout.local import MAX_ROWS, RETIRE
from firsthand.trainer.update import forward_budget, split

_RESERVE = 0.2
"""What kernels and the allocator take on top of a phase's tensors, as a share of them (measured on a CPU, ours)."""

Counted = TypeVar("Counted")


@dataclass(frozen=True)
class Memory:
    """Bytes of each component, under the phase that holds it."""

    held: Mapping[str, int]
    phases: Mapping[str, Mapping[str, int]]

    @property
    def total(self) -> int:
        """Bytes at the worst moment of a step."""
        return sum(self.held.values()) + sum(self.phases[self.worst].values())

    def more_rows(self, free: int) -> int | None:
        """Of an update on one row: how many like it fit beside it, if what it needs grows with them; None: not it."""
        if self.total > free:
            return None
        update = self.phases["update"]
        grows = sum(update[name] for name in ("activations", "output layer", "workspace"))
        left = free - sum(self.held.values()) - sum(update.values())
        return int(left / (grows * (1 + _RESERVE)))

    @property
    def worst(self) -> str:
        """The phase of the worst moment."""
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))


class Cost(NamedTuple):
    """Arithmetic and time of one part of a step."""

    flops: int
    seconds: float


class Estimator:
    """Estimates for one folder, workload and machine. What several recipes have in common is counted once."""

    def __init__(self, folder: Path, workload: Workload, machine: Machine) -> None:
        self.workload = workload
        self.machine = machine
        self._folder = folder
        self._counted: dict[Hashable, Any] = {}

    def blueprint(self, recipe: Recipe) -> Blueprint:
        """The recipe's model, without its weights."""
        key = (recipe.gradient_checkpointing, recipe.adapter, recipe.trainable)
        # Without a GPU at hand, what a GPU's kernels hold is counted by those of a CPU.
        device = self.machine.device if torch.cuda.is_available() else "cpu"
        return self._once(key, lambda: Blueprint(recipe, self._folder, device))

    def budget(self, recipe: Recipe) -> int:
        """Tokens of one forward of an update."""
        return forward_budget(recipe, torch.device(self.machine.device))

    def memory(self, recipe: Recipe) -> Memory:
        """Bytes at the longest lengths that the recipe allows."""
        sizes = self.blueprint(recipe).sizes().values()
        trained = FLOAT * sum(size.trained for size in sizes)
        quantized = self.blueprint(recipe).quantized
        weights = FLOAT * sum(size.trained + size.frozen for size in sizes)
        weights -= int((FLOAT - BYTES_PER_WEIGHT) * sum(quantized))
        rows = [longest_row(recipe, self.workload)] * math.ceil(recipe.prompts / recipe.minibatches)
        forward = next(split(rows, self.budget(recipe), sum))
        update = self._update(recipe, forward)
        whole = FLOAT * max(quantized, default=0)  # of the layer that is made of its four bits just now
        picture = self._picture(recipe)  # after the update: a trained tower's gradients are there to be added to
        # A trained tower keeps activations; a frozen one's features are cached, and at some time all of them.
        tower = picture.kept * len(forward) * self.workload.most_pictures if picture.backward else 0
        features = 0 if picture.backward else picture.features * self.workload.most_pictures * self.workload.examples
        cut = int(self.workload.examples * self.workload.mean(lambda one: one.pixel_bytes))
        on_gpu = self.machine.device == "cuda"
        held = {
            "weights": weights,
            "AdamW's moments": 2 * trained,
            # Beside an adapter the reference is the same model with its adapters off.
            "reference policy": weights * (not recipe.objective.kl.is_off and recipe.adapter is None),
            "picture features": min(FEATURE_CACHE_BYTES, features),
            # Libraries, and on a CPU the cache of cut pictures.
            "process": self.machine.process + min(PIXEL_CACHE_BYTES, cut) * (not on_gpu),
        }
        phases = {
            "update": {
                "gradients": trained,
                "activations": update.activations + tower,
                "output layer": update.head,
                "workspace": update.workspace + whole,
            },
            # torch's AdamW treats all parameters at once on a GPU, and one after the other on a CPU.
            "optimizer": {"gradients": trained, "workspace": trained * on_gpu},
        }
        if recipe.objective.samples:
            phases["rollout"] = self._rollout_memory(recipe, picture, whole)
        for parts in phases.values():  # gradients stay where they are from step to step
            parts["reserve"] = int(_RESERVE * (sum(parts.values()) - parts.get("gradients", 0)))
        return Memory(held, phases)

    def work(self, recipe: Recipe, rows: Sequence[RowLengths], update: Rates, writing: Rates) -> dict[str, Cost]:
        """The parts of a step on rows of these lengths, one per prompt; one rate for learning, one for writing."""
        # The middle one of the forwards stands for all of them: tracing each would take longer than it is worth.
        forwards = list(split(rows, self.budget(recipe), sum))
        middle = forwards[len(forwards) // 2]
        found = self._update(recipe, middle)
        times = sum(map(sum, rows)) / sum(map(sum, middle))
        parts = {"pictures": self._tower(recipe, update)}
        if recipe.objective.samples:
            parts |= self._writing(recipe, rows, writing)
        parts["forward and backward"] = _cost(found.kernels, update, times)
        if found.reference:
            parts["reference"] = _cost(found.reference, update, times)
        # AdamW reads weight, gradient and two moments, and writes three of them; the norm reads gradients twice.
        trained = sum(size.trained for size in self.blueprint(recipe).sizes().values())
        parts["AdamW"] = _cost([Kernel(0, 9 * FLOAT * trained)], update, recipe.minibatches)
        return parts

    def _writing(self, recipe: Recipe, rows: Sequence[RowLengths], rates: Rates) -> dict[str, Cost]:
        """Running the prompts, and writing the sampled replies of these rows."""
        n, chunk = recipe.objective.samples, _prompts_at_once(recipe)
        chunks = len(rows) / chunk
        found = self._rollout(recipe, max(row[0] for row in rows))
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
        picture = self._picture(recipe)
        cutting = (self.workload.seconds_per_prompt or 0.0) * recipe.prompts
        again = picture.forward if picture.backward and recipe.objective.samples else ()
        pictures = recipe.prompts * self.workload.mean(lambda one: one.patches) / picture.patches
        found = _cost([*picture.forward, *again, *picture.backward], rates, pictures)
        return Cost(found.flops, found.seconds + cutting)

    def _rollout_memory(self, recipe: Recipe, picture: PictureCost, whole: int) -> dict[str, int]:
        n, chunk, prompt = recipe.objective.samples, _prompts_at_once(recipe), self.workload.longest_prompt
        found = self._rollout(recipe, prompt)
        replies = chunk * n * recipe.sampling.max_new_tokens * found.bytes_per_token
        tower = chunk * self.workload.most_pictures * picture.workspace
        copied = int((1 - RETIRE) * replies)  # at most, when finished rows leave
        return {
            "KV cache of prompts": chunk * prompt * found.bytes_per_token * (1 if found.shares else n),
            "KV cache of replies": replies,
            "workspace": max(found.workspace + whole, copied, tower),
        }

    def _update(self, recipe: Recipe, rows: Sequence[RowLengths]) -> UpdateCost:
        reference = not recipe.objective.kl.is_off
        key = (recipe.gradient_checkpointing, recipe.adapter, tuple(rows), reference)
        trace = self.blueprint(recipe).update
        return self._once(key, lambda: trace(rows, recipe.objective.entropy, reference=reference))

    def _rollout(self, recipe: Recipe, prompt: int) -> RolloutCost:
        prompts, n = [prompt] * _prompts_at_once(recipe), recipe.objective.samples
        key = (recipe.adapter, tuple(prompts), n)
        return self._once(key, lambda: self.blueprint(recipe).rollout(prompts, n))

    def _picture(self, recipe: Recipe) -> PictureCost:
        """The largest picture's cost; nothing where there are none."""
        largest = self.workload.largest_picture
        if largest is None:
            return PictureCost(1, 0, 0, 0, (), ())
        key = ("picture", recipe.gradient_checkpointing, recipe.adapter, recipe.trainable)
        return self._once(key, lambda: self.blueprint(recipe).picture(*largest))

    def _once(self, key: Hashable, count: Callable[[], Counted]) -> Counted:
        if key not in self._counted:
            self._counted[key] = count()
        found: Counted = self._counted[key]
        return found


def _prompts_at_once(recipe: Recipe) -> int:
    """How many prompts are answered at once (`LocalSampler.sample`)."""
    return max(1, min(recipe.prompts, MAX_ROWS // recipe.objective.samples))


def _cost(kernels: Sequence[Kernel], rates: Rates, times: float) -> Cost:
    return Cost(round(sum(kernel.flops for kernel in kernels) * times), rates.seconds(kernels) * times)
