"""Second stage of a step: verdicts on its replies, their rewards, and advantages relative to their groups.

Replies are judged in the background, by worker processes of the router, while others are still being written.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

from firsthand.objective import Mixed, Sampled, group_advantage
from firsthand.objective.pieces import pass_at_k_advantage
from firsthand.recipe import Recipe
from firsthand.records import Example, Judged, Reply, Status, Verdict
from firsthand.reward import Router
from firsthand.trainer.batch import Batch, Group
from firsthand.trainer.sample import Samples
from firsthand.worlds.agreement import with_agreement

_UNSCORED = Verdict(score=None, status=Status.UNSCORED, why="free text needs a scorer (reward.open)")


def score(samples: Samples, recipe: Recipe, router: Router) -> Batch:
    """Write the replies, judging each as soon as it ends. Raises what sampling or a verifier raises."""
    judging = _Judging(router)
    written: list[list[tuple[int, Reply, Future[Verdict]]]] = [[] for _ in samples.examples]
    began = time.perf_counter()
    for place, number, reply in samples.replies:
        written[place].append((number, reply, judging.submit(reply.text, samples.examples[place])))
    ended = time.perf_counter()
    groups = []
    for example, prompt, replies in zip(samples.examples, samples.prompts, written, strict=True):
        replies.sort(key=lambda one: one[0])
        rule = recipe.reward.answer
        found = [(r, with_agreement(verdict.result(), r.text, example, rule)) for _, r, verdict in replies]
        groups.append(Group(example, prompt, _judged(found, recipe)))
    timing = {"rollout": ended - began, "reward": time.perf_counter() - ended, **judging.timeline()}
    return Batch(tuple(groups), tuple(groups), timing if recipe.objective.samples else {})


def _judged(found: Sequence[tuple[Reply, Verdict]], recipe: Recipe) -> tuple[Judged, ...]:
    """A group with its rewards and advantages."""
    longest = recipe.sampling.max_new_tokens
    rewards = [recipe.reward.of(reply, verdict, longest) for reply, verdict in found]
    advantages = _advantages(found, rewards, recipe)
    return tuple(
        Judged(reply=r, verdict=v, reward=w, advantage=a)
        for (r, v), w, a in zip(found, rewards, advantages, strict=True)
    )


def _advantages(
    found: Sequence[tuple[Reply, Verdict]], rewards: Sequence[float | None], recipe: Recipe
) -> Sequence[float | None]:
    """A method that only imitates has no advantages, and a demonstration may stand outside the baseline."""
    method = recipe.objective
    if not isinstance(method, Sampled):
        return [None] * len(found)
    splits = isinstance(method, Mixed) and method.baseline == "sampled"
    apart_G = [splits and reply.is_demo for reply, _ in found]
    if method.pass_k is not None:
        right_G = [None if w is None else (v.score or 0.0) >= 0.5 for (_, v), w in zip(found, rewards, strict=True)]
        return pass_at_k_advantage(right_G, method.pass_k, is_scaled=method.scale == "std", apart_G=apart_G)
    return group_advantage(rewards, scale="none" if method.scale == "batch" else method.scale, apart_G=apart_G)


class _Judging:
    """Verdicts that are being reached, and when they were asked for and known."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._began = time.perf_counter()
        self._asked: list[float] = []
        self._known: list[float] = []
        self._noted = threading.Semaphore(0)

    def submit(self, text: str, example: Example) -> Future[Verdict]:
        """Have a reply judged; a demonstration of free text stays unscored where the recipe names no scorer for it."""
        if example.answer.kind not in self._router.kinds:
            unscored: Future[Verdict] = Future()
            unscored.set_result(_UNSCORED)
            return unscored
        self._asked.append(time.perf_counter())
        verdict = self._router.submit(text, example)
        verdict.add_done_callback(self._note)
        return verdict

    def timeline(self) -> dict[str, float]:
        """Seconds after this object was made: the first reply handed over, and the last verdict known. Ask once."""
        for _ in self._asked:
            self._noted.acquire()  # a future tells its result before it calls back
        if not self._asked:
            return {}
        return {"judged_from": self._asked[0] - self._began, "judged_until": max(self._known) - self._began}

    def _note(self, verdict: Future[Verdict]) -> None:
        self._known.append(time.perf_counter())
        self._noted.release()
