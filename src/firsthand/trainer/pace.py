"""How far a training is: it ends, pauses and lowers its rate by that. By its steps, or by what they have cost."""

from collections.abc import Iterable, Iterator
from typing import final

from firsthand.cost import USED, cost_of
from firsthand.recipe import Recipe
from firsthand.records import Step


@final
class Pace:
    """Counts the steps of a run, and what they cost."""

    def __init__(self, recipe: Recipe, steps: Iterable[Step]) -> None:
        """`steps` are those that an interrupted run has journalled."""
        self._recipe, self._budget = recipe, recipe.budget
        self._spent = 0.0
        self.taken = 0
        """Steps that are done."""
        for step in steps:
            self.note(step)

    def note(self, step: Step) -> Step:
        """Count a step; it, with the share of the budget where there is one."""
        self.taken += step.trained
        if self._budget is None:
            return step
        cost = cost_of(step, self._budget.unit)
        assert cost is not None, "every step of this version counts all costs"
        self._spent += cost
        return step.model_copy(update={"metrics": {**step.metrics, USED: self._spent / self._budget.amount}})

    def steps(self, pause: float | None) -> Iterator[int]:
        """The numbers of the steps that are left, or until that share of the training is done; `note` each."""
        while not self.is_over and (pause is None or self.share < pause):
            yield self.taken

    @property
    def share(self) -> float:
        """Of the training that the rate's schedule is planned for: what is done of it, from 0 to 1."""
        by_steps = self.taken / self._recipe.steps
        return by_steps if self._budget is None else min(1.0, max(by_steps, self._spent / self._budget.amount))

    @property
    def place(self) -> int:
        """The next step's place among the `steps` that schedules are planned for: its number, unless there is a
        budget."""
        return self.taken if self._budget is None else int(self.share * self._recipe.steps)

    @property
    def is_over(self) -> bool:
        """Whether no step is left."""
        is_spent = self._budget is not None and self._spent >= self._budget.amount
        return is_spent or self.taken >= self._recipe.taken
