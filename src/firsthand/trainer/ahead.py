"""What is sampled for a step: when it begins, or by a server that much earlier as the recipe lets replies be stale."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from firsthand.recipe import Recipe
from firsthand.records import Example
from firsthand.rollout import Sampler
from firsthand.trainer.batch import Group
from firsthand.trainer.ranks import Ranks, dealt
from firsthand.trainer.sample import Samples, draws, sample

if TYPE_CHECKING:
    from firsthand.trainer.state import State


@final
class Ahead:
    """Begins to sample for `staleness` steps beyond the one that is trained, so that a server writes all the while.

    What is written then comes from weights that are behind by as many pushes at most; the sampler sees to that.
    """

    def __init__(self, examples: Sequence[Example], recipe: Recipe, state: "State", sampler: Sampler) -> None:
        self._examples, self._recipe, self._state, self._sampler = examples, recipe, state, sampler
        self._begun: dict[int, Samples] = {}

    def first(self, step: int, place: int) -> Samples:
        """This rank's part of what a step samples first; what it samples beyond is a matter of the step alone.

        `place` is the step's among the `steps` that schedules are planned for. Where they go by a budget, nobody knows
        that of a later step, and it is taken for this one's.
        """
        behind = step + self._recipe.staleness + 1
        for later in range(step, min(behind, self._recipe.taken)):
            if later not in self._begun:
                at = place if self._recipe.budget is not None else place + later - step
                self._begun[later] = sample(
                    self._mine(later), self._recipe, self._state.encoder, self._sampler, later, at
                )
        if behind < self._recipe.taken:
            self._state.encoder.prefetch(self._mine(behind))
        return self._begun.pop(step)

    def _mine(self, step: int) -> list[Example]:
        return mine(next(draws(self._examples, self._recipe, step)), self._state.ranks)


def mine(drawn: Sequence[Example], ranks: Ranks) -> list[Example]:
    """This rank's part of the examples."""
    return [drawn[i] for i in dealt([example.id for example in drawn], ranks)]


def of_staleness(groups: Sequence[Group]) -> dict[str, float]:
    """How many pushes lie between the oldest weights that wrote a token of a reply and those that learn from it."""
    stale = [j.reply.stale for group in groups for j in group.replies if not j.reply.is_demo]
    return {"reply/stale": statistics.fmean(stale), "reply/stale_max": float(max(stale))} if stale else {}
