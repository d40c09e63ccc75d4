"""Memory of one optimizer step: what the blueprint counts, and what the optimizer and the process hold beside it.

A step has phases with a peak each; the largest decides. What is held through all of them (weights, the optimizer's
state, the reference, picture features) counts in each. Lengths are the longest that the recipe allows.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from firsthand.policy.vision import FEATURE_CACHE_BYTES
from firsthand.preflight.blueprint import Blueprint, PictureCost, RolloutCost, UpdateCost
from firsthand.preflight.kernels import KernelCounter
from firsthand.preflight.machine import Machine
from firsthand.preflight.teacher import TeacherBlueprint
from firsthand.preflight.workload import RowLengths, Workload, longest_row
from firsthand.processor import PIXEL_CACHE_BYTES
from firsthand.recipe import Optimizer, Recipe
from firsthand.rollout.local import MAX_ROWS
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.update import forward_budget, split

_FIRST_STEP = 32 * 2**20
"""That a process gains in its first step: pages of libraries' code that run for the first time, and small objects
(measured with the small model, whatever the optimizer)."""
_KERNELS = 1024
"""On a CPU, oneDNN makes code for every shape of a product of bfloat16, attention's and linear layers' alike, and keeps
so many; nothing in float32 (measured)."""
_EIGHT_BIT = 20
"""Bytes of a number that bitsandbytes steps on a CPU: both moments, the gradient, a root and a quotient in float32."""
_JOINED = 4
"""Bytes of a number whose halves are joined on a CPU: PyTorch first converts one of two operands of different types."""
_SAMPLE = 2**20
"""Numbers of the parameter with which optimizers are tried."""
Counted = TypeVar("Counted")


@dataclass(frozen=True)
class Memory:
    """Bytes of each component, under the phase that holds it."""

    held: Mapping[str, int]
    phases: Mapping[str, Mapping[str, int]]

    def of(self, phase: str) -> int:
        """Bytes at the worst moment of a phase."""
        return sum(self.held.values()) + sum(self.phases[phase].values())

    @property
    def worst(self) -> str:
        """The phase of the worst moment."""
        return max(self.phases, key=self.of)

    @property
    def total(self) -> int:
        """Bytes at the worst moment of a step."""
        return self.of(self.worst)


class PerWeight(NamedTuple):
    """Bytes that training holds of a trained weight, beside itself."""

    state: float
    """Between steps."""
    gradient: float
    """Where the forwards of a step add it up."""
    workspace: float
    """While the weight's own tensor is stepped."""


class Estimator:
    """Estimates for one folder, workload and machine. What several recipes have in common is counted once."""

    def __init__(self, folder: Path, workload: Workload, machine: Machine) -> None:
        self.workload = workload
        self.machine = machine
        self._folder = folder
        self._counted: dict[Hashable, Any] = {}

    def blueprint(self, recipe: Recipe) -> Blueprint:
        """The model of a settled recipe, without its weights."""
        return self._once("model", recipe, (), lambda: Blueprint(recipe, self._folder))

    def teacher(self, recipe: Recipe) -> TeacherBlueprint:
        """The model of a settled recipe's teacher, without its weights."""
        return self._once("teacher", recipe, recipe.teacher, lambda: TeacherBlueprint(recipe))

    def settled(self, recipe: Recipe) -> Recipe:
        """With the precision and the optimizer that it has on this machine."""
        return recipe.settled(self.machine.card, tell=False)

    def import_all(self, recipe: Recipe) -> None:
        """Import what training a settled recipe does. Raises RecipeError when a library is not installed."""
        per_weight(recipe)
        self.blueprint(recipe)

    def forwards(self, recipe: Recipe, rows: list[RowLengths]) -> list[list[RowLengths]]:
        """What goes through the model at once."""
        return list(split(rows, forward_budget(recipe, torch.device(self.machine.device)), sum))

    def memory(self, asked: Recipe) -> Memory:
        """Bytes at the longest lengths that the recipe allows."""
        recipe = self.settled(asked)
        model, on_cpu = self.blueprint(recipe), self.machine.device == "cpu"
        trained = sum(size.trained for size in model.sizes().values())
        kept = per_weight(recipe) if on_cpu or not recipe.optimizer.offload else PerWeight(0, 0, 0)
        gradients = int(kept.gradient * trained)
        cut = int(self._shown(recipe) * self.workload.mean(lambda one: one.pixel_bytes))
        held = {
            "weights": model.weights,
            "optimizer's state": int(kept.state * trained),
            # Beside an adapter the reference is the same model with its adapters off.
            "reference policy": model.weights * (not recipe.objective.kl.is_off and recipe.adapter is None),
            "teacher": self.teacher(recipe).weights if recipe.teacher else 0,
            "picture features": self._features(recipe),
            # Libraries, and on a CPU the cache of cut pictures.
            "process": (self.machine.process + _FIRST_STEP + min(PIXEL_CACHE_BYTES, cut)) * on_cpu,
            "kernels": self._kernels(recipe) * on_cpu,
        }
        workspace = kept.workspace + _inside(recipe) * on_cpu
        phases = {
            "update": self._update_phase(recipe, kept, gradients),
            "optimizer": {"gradients": gradients, "workspace": int(workspace * model.largest)},
        }
        if recipe.teacher:
            phases["teacher"] = {"gradients": gradients, "activations": self._teacher_forward(recipe)}
        tower = self._tower(recipe)
        if recipe.objective.samples:
            phases["rollout"] = self._rollout_phase(recipe)
            if tower:  # after the forwards, which had the features of the rollout
                phases["vision tower"] = {"gradients": gradients, "activations": tower}
        elif tower:
            phases["update"]["vision tower"] = tower
        return Memory(held, phases)

    def update(self, recipe: Recipe) -> UpdateCost:
        """Of a settled recipe's largest forward."""
        largest = self.forwards(recipe, self._minibatch(recipe))[0]
        reference = not recipe.objective.kl.is_off
        model, entropy = self.blueprint(recipe), recipe.objective.entropy
        return self._once(
            "update", recipe, (tuple(largest), reference), lambda: model.update(largest, entropy, reference=reference)
        )

    def rollout(self, recipe: Recipe) -> RolloutCost:
        """Of the prompts that a settled recipe answers at once (`LocalSampler.sample`)."""
        n, tokens, model = recipe.objective.samples, recipe.sampling.max_new_tokens, self.blueprint(recipe)
        prompts = [self.workload.longest_prompt] * prompts_at_once(recipe)
        key = (len(prompts), n, tokens)
        return self._once("rollout", recipe, key, lambda: model.rollout(prompts, n, tokens))

    def _teacher_forward(self, recipe: Recipe) -> int:
        longest = max(one.taught for one in self.workload.lengths)
        rows = [(longest, *row[1:]) for row in self.forwards(recipe, self._minibatch(recipe))[0]]
        teacher = self.teacher(recipe)
        return self._once("scoring", recipe, (tuple(rows), recipe.teacher), lambda: teacher.scoring(rows))

    def _kernels(self, recipe: Recipe) -> int:
        """Bytes of the code that oneDNN has made by the end: rows of other steps have other lengths."""
        forwards = len(self.forwards(recipe, self._minibatch(recipe))) * recipe.minibatches
        made = recipe.taken * forwards * self.update(recipe).products
        if recipe.objective.samples:
            made += self.rollout(recipe).products
        return self.machine.kernel * min(_KERNELS, made)

    def _minibatch(self, recipe: Recipe) -> list[RowLengths]:
        return [longest_row(recipe, self.workload)] * math.ceil(recipe.prompts / recipe.minibatches)

    def _update_phase(self, recipe: Recipe, kept: PerWeight, gradients: int) -> dict[str, int]:
        found, model = self.update(recipe), self.blueprint(recipe)
        if len(self.forwards(recipe, self._minibatch(recipe))) > 1:  # those of the forwards before are there
            peak = gradients + max(moment.held for moment in found.moments)
        else:
            # Where gradients are added up apart, each lies beside its place for a moment.
            moments = found.moments[:: 1 if kept.gradient > recipe.dtype.itemsize else 2]
            peak = max(moment.held + int(kept.gradient * moment.done) for moment in moments)
        return {
            "activations": found.activations,
            "gradients and workspace": peak - found.activations + model.unpacked,
        }

    def _rollout_phase(self, recipe: Recipe) -> dict[str, int]:
        found = self.rollout(recipe)
        pictures = self._pictures(recipe, prompts_at_once(recipe) * self.workload.most_pictures)
        peak = max(found.peak + self.blueprint(recipe).unpacked, pictures.peak)
        return {"keys and values": found.cache, "workspace": peak - found.cache}

    def _features(self, recipe: Recipe) -> int:
        """A frozen tower's, of all pictures at some time; a trained one's of a step's, with their gradients."""
        one, largest = self._pictures(recipe, 1).features, self.workload.largest_picture
        if largest is None:
            return 0
        mean = one * self.workload.mean(lambda example: example.patches) / math.prod(largest[0])
        if self._learns(recipe):
            return int(2 * mean * recipe.prompts)
        return min(FEATURE_CACHE_BYTES, int(mean * self._shown(recipe)))

    def _shown(self, recipe: Recipe) -> int:
        """Examples whose pictures are seen: those of data, and those that a method changes anew in each step."""
        changes = recipe.objective.masks > 0 or recipe.objective.distorts
        return self.workload.examples + recipe.taken * recipe.prompts * changes

    def _tower(self, recipe: Recipe) -> int:
        """A trained tower's forward and backward on as many pictures as it sees at once (`Tower.once`)."""
        largest, rows = self.workload.largest_picture, self._minibatch(recipe)
        if largest is None or not self._learns(recipe):
            return 0
        budget = forward_budget(recipe, torch.device(self.machine.device)) // math.prod(largest[0])
        in_forward = len(self.forwards(recipe, rows)[0]) * self.workload.most_pictures
        together = min(budget, len(rows) * self.workload.most_pictures) if recipe.objective.samples else in_forward
        return self._pictures(recipe, max(1, together), learn=True).peak

    def _learns(self, recipe: Recipe) -> bool:
        return self.blueprint(recipe).sizes()["vision tower"].trained > 0

    def _pictures(self, recipe: Recipe, count: int, *, learn: bool = False) -> PictureCost:
        """The largest picture's cost, so many times; nothing where there are none."""
        largest, model = self.workload.largest_picture, self.blueprint(recipe)
        if largest is None:
            return PictureCost(0, 0)
        return self._once("pictures", recipe, (count, learn), lambda: model.pictures(*largest, count, learn=learn))

    def _once(self, what: str, recipe: Recipe, more: Hashable, count: Callable[[], Counted]) -> Counted:
        """Counted of a recipe's model, whatever else the recipe says."""
        key = (what, recipe.dtype, recipe.gradient_checkpointing, recipe.adapter, recipe.trainable, more)
        if key not in self._counted:
            self._counted[key] = count()
        found: Counted = self._counted[key]
        return found


def _inside(recipe: Recipe) -> int:
    """Bytes of a number that kernels of an optimizer hold on a CPU without showing them."""
    if recipe.optimizer.kind == "adamw-8bit":
        return _EIGHT_BIT
    return _JOINED if recipe.precision == "bfloat16" and not recipe.optimizer.offload else 0


def prompts_at_once(recipe: Recipe) -> int:
    """How many prompts are answered at once (`LocalSampler.sample`)."""
    return max(1, min(recipe.prompts, MAX_ROWS // recipe.objective.samples))


def per_weight(recipe: Recipe) -> PerWeight:
    """What training a settled recipe's weights holds, tried on one parameter."""
    return _tried(recipe.dtype, recipe.optimizer.model_copy(update={"lr": 1.0}))


@cache
def _tried(dtype: torch.dtype, settings: Optimizer) -> PerWeight:
    """Raises RecipeError where the optimizer's library is not installed."""
    parameter = nn.Parameter(torch.zeros(_SAMPLE, dtype=dtype))
    with KernelCounter() as counter:
        updater = Updater([parameter], settings)
        for _ in range(2):  # the first step makes the moments
            parameter.mul(1).sum().backward()
            gradient = counter.live
            updater.clip(1.0)
            counter.mark()
            updater.step(1.0)
            state = counter.live
    gradient -= state
    return PerWeight(state / _SAMPLE, gradient / _SAMPLE, (counter.peak - state - gradient) / _SAMPLE)
