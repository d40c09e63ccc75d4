"""How far a training is, which says when it ends, or pauses."""

from collections.abc import Iterable, Iterator
from typing import final

from firsthand.recipe import Recipe
from firsthand.records import Step


@final
class Pace:
    """Counts the steps of a run."""

    def __init__(self, recipe: Recipe, steps: Iterable[Step]) -> None:
        """`steps` are those that an interrupted run has journalled."""
        self._recipe = recipe
        self.taken = 0
        """Steps that are done."""
        for step in steps:
            self.note(step)

    def note(self, step: Step) -> None:
        """Count a step."""
        self.taken += step.trained

    def steps(self, pause: float | None) -> Iterator[int]:
        """The numbers of the steps that are left, or until that share of the training is done; `note` each."""
        while not self.is_over and (pause is None or self.share < pause):
            yield self.taken

    @property
    def share(self) -> float:
        """Of the training that the rate's schedule is planned for: what is done of it, from 0 to 1."""
        return self.taken / self._recipe.steps

    @property
    def is_over(self) -> bool:
        """Whether no step is left."""
        return self.taken >= self._recipe.taken
