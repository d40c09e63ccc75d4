"""When a run that teaches nothing stops: its replies have earned nothing, from the first step on.

No reward, no difference within a group, no gradient: a thousand steps of it end where they began. A start that is slow
but real is another thing: at a success rate of 0.5 %, at which a run has been seen to learn, 1,024 replies without any
success happen in 0.6 % of runs.
"""

from collections.abc import Iterable, Mapping
from typing import final

from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.reward.alarms import EARNING, as_seen, remedy_of


@final
class Patience:
    """Counts the replies of a run until one of them has earned something."""

    def __init__(self, recipe: Recipe, steps: Iterable[Step]) -> None:
        """`steps` are those that an interrupted run has journalled."""
        self._per_step = recipe.prompts * recipe.objective.samples
        # A demonstration beside them teaches, or a teacher, whatever sampled replies earn.
        self._is_on = recipe.patience > 0 and self._per_step > 0 and recipe.objective.needs_advantage
        self._most = recipe.patience
        self._rule = recipe.reward.answer
        self._seen: list[Mapping[str, float]] = []
        for step in steps:
            self._note(step.metrics)

    def after(self, metrics: Mapping[str, float]) -> str | None:
        """Count a step; why the run should stop, and what to do, or None."""
        self._note(metrics)
        replies = len(self._seen) * self._per_step
        if not self._is_on or replies < self._most:
            return None
        seen = as_seen(self._seen) or "all alike"
        return (
            f"none of the first {replies:,} replies earned anything ({seen}), so there is nothing to learn from; "
            f"{remedy_of(self._seen, self._rule)}. The same command with --set patience=0 goes on from here"
        )

    def _note(self, metrics: Mapping[str, float]) -> None:
        earned = metrics.get(EARNING, metrics.get("reward/mean", 0.0))  # the first version logged no share
        self._is_on = self._is_on and earned <= 0
        self._seen = [*self._seen, metrics] if self._is_on else []
