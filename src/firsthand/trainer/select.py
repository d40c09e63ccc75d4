"""Third stage of a step: which groups are trained on."""

from firsthand.errors import RecipeError
from firsthand.objective import Sampled
from firsthand.recipe import Recipe
from firsthand.trainer.batch import Batch

_TOTALS = ("rollout", "reward")
"""Timings that add up over rounds of sampling; the others are those of the last round."""


def select(batch: Batch, scored: Batch, recipe: Recipe) -> Batch:
    """The batch with what was scored since: all groups, or those whose scores differ, no more than the recipe wants."""
    method = recipe.objective
    keeps_all = not isinstance(method, Sampled) or method.zero_variance == "keep"
    fresh = [group for group in scored.groups if keeps_all or not group.scores_agree]
    totals = {name: batch.timing.get(name, 0.0) + scored.timing[name] for name in _TOTALS if name in scored.timing}
    return Batch(
        groups=(*batch.groups, *fresh)[: recipe.prompts],
        sampled=(*batch.sampled, *scored.sampled),
        timing={**batch.timing, **scored.timing, **totals},
    )


def check_variance(batch: Batch, recipe: Recipe, examples: int, step: int) -> None:
    """Raises RecipeError when zero-variance groups were to be replaced, and every group was one."""
    method = recipe.objective
    if isinstance(method, Sampled) and method.zero_variance == "resample" and not batch.groups:
        raise RecipeError(
            f"step {step}: expected at least one group whose replies score differently, got none from "
            f"{len(batch.sampled)} prompts of {examples}; the data is too hard or too easy for this model: "
            "choose other data, a larger objective.group_size, or start from a trained run"
        )
