"""Who writes a run's replies: the policy in this process, or a server that is given its weights before every step."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

from firsthand.recipe import Recipe
from firsthand.records import Example
from firsthand.rollout import Sampler, ServedSampler, sampler_for
from firsthand.rollout.served import HELD_OUT, Follower

if TYPE_CHECKING:
    from firsthand.trainer.state import State

PUSH_GAP = "parity/push"


@final
class Writer:
    """A sampler, and what keeps its weights those of the policy."""

    def __init__(self, sampler: Sampler, state: "State", follower: Follower | None = None) -> None:
        self.sampler = sampler
        self._state, self._follower = state, follower

    def follow(self, step: int) -> tuple[dict[str, float], dict[str, float]]:
        """Before a step: have a server take the weights, which are whole; what was measured, and seconds.

        Rank 0 does it while the others wait. Raises ParityError where the server has others then, and Outage.
        """
        if not isinstance(self.sampler, ServedSampler):
            return {}, {}
        began, version, found = time.perf_counter(), f"step-{step}", dict[str, float]()

        def push() -> None:
            assert self._follower is not None, "rank 0 has one"
            found[PUSH_GAP] = self._follower.follow(version).max

        self._state.ranks.on_first(push)
        self.sampler.expect(version)
        return found, {"push": time.perf_counter() - began}


@contextmanager
def writer_of(recipe: Recipe, state: "State", examples: Sequence[Example]) -> Iterator[Writer]:
    """Who writes the replies of a run. Raises Outage or RecipeError where its server does not answer as it should."""
    if recipe.rollout is None:
        yield Writer(sampler_for(state.policy, state.encoder, limits=state.limits), state)
        return
    with ServedSampler(recipe.rollout, state.encoder, recipe.staleness) as sampler:
        follower = None
        if state.ranks.is_first:
            prompts = [state.encoder.prompt(example, recipe.system) for example in examples[:HELD_OUT]]
            follower = Follower(sampler, state.policy, prompts, recipe.sampling)
        yield Writer(sampler, state, follower)
