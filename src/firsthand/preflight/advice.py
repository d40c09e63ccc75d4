"""What to change in a recipe that does not fit: every piece of advice is tried, and told with what it leads to."""

from dataclasses import dataclass

import torch

from firsthand.config import build, override
from firsthand.preflight.estimate import Estimator
from firsthand.preflight.machine import Machine
from firsthand.preflight.workload import Workload, needs_reference, samples, worst_replies
from firsthand.recipe import Recipe
from firsthand.trainer.update import forward_budget

LEAST = 0.01
"""A change that saves a smaller share of the whole is not worth telling (ours)."""
RANK = 16
"""Of the adapter that is advised (ours)."""


@dataclass(frozen=True)
class Advice:
    """One change, on top of those before it."""

    change: str
    """As `--set` takes it."""
    total: int
    """Bytes at the worst moment of a step with it."""


def advise(recipe: Recipe, estimator: Estimator, workload: Workload, machine: Machine) -> list[Advice]:
    """Changes in the order of what each saves on its own, until the recipe fits; all that help when it never does."""
    alone = {key: estimator.memory(changed(recipe, c)).total for key, c in changes(recipe, workload, machine).items()}
    before = total = estimator.memory(recipe).total
    advice: list[Advice] = []
    for key in sorted(alone, key=alone.__getitem__):
        change = changes(recipe, workload, machine).get(key)  # its value may have moved with the changes so far
        if change is None or total <= machine.free:
            continue
        tried = changed(recipe, change)
        after = estimator.memory(tried).total
        if total - after > LEAST * before:
            recipe, total = tried, after
            advice.append(Advice(change, total))
    return advice


def changes(recipe: Recipe, workload: Workload, machine: Machine) -> dict[str, str]:
    """What this recipe still admits: key -> assignment."""
    group, longest = samples(recipe), recipe.sampling.max_new_tokens
    row = workload.longest_prompt + sum(worst_replies(recipe, workload))
    admitted = {
        "gradient_checkpointing": (not recipe.gradient_checkpointing, "true"),
        "tokens_per_forward": (forward_budget(recipe, torch.device(machine.device)) > row, row),
        "prompts": (recipe.prompts // 2 >= recipe.minibatches, recipe.prompts // 2),
        "objective.group_size": (group > 2, max(2, group // 2)),
        "sampling.max_new_tokens": (bool(group) and longest > 1, longest // 2),
        "adapter": (recipe.adapter is None, f"{{rank: {RANK}}}"),
        "trainable": (recipe.trainable == "all" and recipe.adapter is None, "language"),
        "objective.kl": (needs_reference(recipe), 0),
    }
    return {key: f"{key}={value}" for key, (is_possible, value) in admitted.items() if is_possible}


def changed(recipe: Recipe, assignment: str) -> Recipe:
    """The recipe with one `KEY=VALUE` applied."""
    return build(Recipe, override(recipe.model_dump(mode="json"), [assignment]), assignment)
