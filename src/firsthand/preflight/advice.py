"""What to change in a recipe that does not fit: every piece of advice is tried, and told with what it leads to."""

from typing import NamedTuple

from firsthand.config import build, override
from firsthand.preflight.estimate import Estimator
from firsthand.preflight.workload import longest_row
from firsthand.recipe import Recipe

_LEAST = 0.01
"""A change that saves a smaller share of the whole is not worth telling (ours)."""
_RANK = 16
"""Of the adapter that is advised (ours)."""


class Advice(NamedTuple):
    """One change, on top of those before it."""

    change: str
    """As `--set` takes it."""
    total: int
    """Bytes at the worst moment of a step with it."""


def advise(recipe: Recipe, estimator: Estimator, free: int) -> list[Advice]:
    """Changes in the order of what each saves on its own, until the recipe fits; all that help when it never does."""
    alone = {key: estimator.memory(changed(recipe, c)).total for key, c in changes(recipe, estimator).items()}
    before = total = estimator.memory(recipe).total
    advice: list[Advice] = []
    for key in sorted(alone, key=alone.__getitem__):
        change = changes(recipe, estimator).get(key)  # its value may have moved with the changes so far
        if change is None or total <= free:
            continue
        tried = changed(recipe, change)
        after = estimator.memory(tried).total
        if total - after > _LEAST * before:
            recipe, total = tried, after
            advice.append(Advice(change, total))
    return advice


def changes(recipe: Recipe, estimator: Estimator) -> dict[str, str]:
    """What this recipe still admits: key -> assignment."""
    group, longest, row = (
        recipe.objective.samples,
        recipe.sampling.max_new_tokens,
        longest_row(recipe, estimator.workload),
    )
    admitted = {
        "gradient_checkpointing": (not recipe.gradient_checkpointing, "true"),
        "tokens_per_forward": (estimator.budget(recipe) > sum(row), sum(row)),
        "prompts": (recipe.prompts // 2 >= recipe.minibatches, recipe.prompts // 2),
        "objective.group_size": (group > 2, max(2, group // 2)),
        "sampling.max_new_tokens": (group > 0 and longest > 1, longest // 2),
        "adapter": (recipe.adapter is None, f"{{rank: {_RANK}}}"),
        "trainable": (recipe.trainable == "all" and recipe.adapter is None, "language"),
        "objective.kl": (not recipe.objective.kl.is_off, 0),
    }
    return {key: f"{key}={value}" for key, (is_possible, value) in admitted.items() if is_possible}


def changed(recipe: Recipe, assignment: str) -> Recipe:
    """The recipe with one `KEY=VALUE` applied."""
    return build(Recipe, override(recipe.model_dump(mode="json"), [assignment]), assignment)
