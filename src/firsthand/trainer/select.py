"""Third stage of a step: which groups are trained on."""

from dataclasses import replace

from firsthand.errors import RecipeError
from firsthand.objective import Sampled
from firsthand.objective.pieces import batch_spread
from firsthand.recipe import Recipe
from firsthand.trainer.batch import Batch, Group, LeftOut

_TOTALS = ("rollout", "reward")
"""Timings that add up over rounds of sampling; the others are those of the last round."""


def select(batch: Batch, scored: Batch, recipe: Recipe) -> Batch:
    """The batch with what was scored since: all groups, or those whose scores differ, no more than the recipe wants."""
    method = recipe.objective
    keeps_all = not isinstance(method, Sampled) or method.zero_variance == "keep"
    fresh = [group for group in scored.groups if keeps_all or not group.scores_agree]
    agreeing = [LeftOut(group, _agreement(group)) for group in scored.groups if not keeps_all and group.scores_agree]
    groups = (*batch.groups, *fresh)
    surplus = [LeftOut(group, "surplus: the step has its groups already") for group in groups[recipe.prompts :]]
    totals = {name: batch.timing.get(name, 0.0) + scored.timing[name] for name in _TOTALS if name in scored.timing}
    return Batch(
        groups=groups[: recipe.prompts],
        sampled=(*batch.sampled, *scored.sampled),
        left_out=(*batch.left_out, *agreeing, *surplus),
        timing={**batch.timing, **scored.timing, **totals},
    )


def _agreement(group: Group) -> str:
    """Why a group whose scores agree is left out."""
    scores = [judged.verdict.score for judged in group.replies if judged.reward is not None]
    if len(scores) < 2:
        return f"unmeasured: {len(scores)} of its replies count, and there is nothing to compare"
    return f"zero variance: all replies that count score {scores[0]:g}"


def in_batch_units(batch: Batch, recipe: Recipe) -> Batch:
    """The batch with its advantages divided by their deviation, where the method scales by the whole batch."""
    method = recipe.objective
    if not isinstance(method, Sampled) or method.scale != "batch":
        return batch
    spread = batch_spread([j.advantage or 0.0 for g in batch.groups for j in g.trainable if not j.reply.is_demo])
    return replace(batch, groups=tuple(_divided(group, spread) for group in batch.groups))


def _divided(group: Group, spread: float) -> Group:
    scaled = [None if j.advantage is None else j.advantage / spread for j in group.replies]
    rows = zip(group.replies, scaled, strict=True)
    return replace(group, replies=tuple(j.model_copy(update={"advantage": a}) for j, a in rows))


def check_variance(batch: Batch, recipe: Recipe, examples: int, step: int) -> None:
    """Raises RecipeError when zero-variance groups were to be replaced, and every group was one."""
    method = recipe.objective
    if isinstance(method, Sampled) and method.zero_variance == "resample" and not batch.groups:
        raise RecipeError(
            f"step {step}: expected at least one group whose replies score differently, got none from "
            f"{len(batch.sampled)} prompts of {examples}; the data is too hard or too easy for this model: "
            "choose other data, a larger objective.group_size, or start from a trained run"
        )
