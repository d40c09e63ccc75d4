"""What the runs of an arm say about its health: small facts, read from files that are never written again.

A training's rollouts may be hundreds of megabytes: they are read line by line and once, and only sums are kept.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from firsthand.objective import Sampled
from firsthand.recipe import Recipe
from firsthand.records import Judged, Rollout, Score, Step, records_in


class ItemReply(NamedTuple):
    """A question of an evaluation, and the reply that counts."""

    question: str
    """The example's id."""
    reply: Judged


class Learnt(NamedTuple):
    """What a line of rollouts.jsonl, a group, has to learn from."""

    tokens: int
    """Of demonstrations, and of the replies that have a reward."""
    has_advantage: bool
    """Whether a reply of it has one other than 0."""


class Sums(NamedTuple):
    """What is kept of rollouts.jsonl."""

    groups: Mapping[int, Sequence[Learnt]]
    """By step, those that were to be trained on."""
    demonstrations: Mapping[str, float | None]
    """Example -> its demonstration's score; None was not measured."""


class Training(NamedTuple):
    """A finished training of an arm."""

    folder: Path
    recipe: Recipe
    steps: Sequence[Step]
    """Those that were trained."""
    last_probe: Mapping[str, float]
    """What the probe found after the last step; empty where there was none."""
    rollouts: Sums

    @classmethod
    def read(cls, folder: Path, recipe: Recipe) -> "Training":
        """That of a finished run, which did what the recipe says."""
        steps = list(records_in(folder / "metrics.jsonl", Step))
        after = [step.metrics for step in steps if not step.trained]
        trained = [step for step in steps if step.trained]
        return cls(folder, recipe, trained, after[-1] if after else {}, _sums(folder))

    @property
    def probed(self) -> int:
        """Questions of its probe; 0 without one."""
        probe = self.recipe.probe
        return 0 if probe is None else probe.data.number or len(probe.data.load())

    def is_short(self, step: Step) -> bool:
        """Whether a step has fewer groups than its recipe asks for, though none is ever left out for what it scores."""
        method = self.recipe.objective
        may_be = isinstance(method, Sampled) and method.zero_variance != "keep"
        return not may_be and len(self.rollouts.groups.get(step.step, ())) != self.recipe.prompts

    def curve(self, metric: str) -> dict[int, float]:
        """Steps taken before it was measured -> a metric; what the probe found at the end among them."""
        found = {step.step: step.metrics[metric] for step in self.steps if metric in step.metrics}
        if metric in self.last_probe:
            found[len(self.steps)] = self.last_probe[metric]
        return found

    def due(self, step: Step) -> int:
        """Tokens that a step had to learn from: those of the groups that could change a parameter."""
        method = self.recipe.objective
        looks_at_all = bool(step.metrics.get("policy/kl_weight")) or method.surveys or not method.needs_advantage
        groups = self.rollouts.groups.get(step.step, ())
        return sum(group.tokens for group in groups if group.has_advantage or looks_at_all)


def mean_curve(trainings: Sequence[Training], metric: str) -> dict[int, float]:
    """The mean over trainings, at the steps where all have it, and at their ends, which a budget sets apart."""
    curves = [training.curve(metric) for training in trainings]
    shared = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    found = {step: fmean(curve[step] for curve in curves) for step in sorted(shared)}
    ends = [training.last_probe[metric] for training in trainings if metric in training.last_probe]
    if ends and len(ends) == len(trainings):
        found[max(len(training.steps) for training in trainings)] = fmean(ends)
    return found


def first_rollouts(folder: Path, steps: int) -> Iterator[tuple[int, list[Rollout]]]:
    """The groups that the first steps of a training were to learn from, step by step."""
    for step, some in groupby(_trained_on(folder), lambda rollout: rollout.step):
        if step >= steps:
            return
        yield step, list(some)


@cache
def counted(evaluation: Path) -> Sequence[ItemReply]:
    """What an evaluation's accuracy is about: greedy replies, or where there are none, all samples."""
    found: list[ItemReply] = []
    for score in records_in(evaluation / "scores.jsonl", Score):
        counting = score.samples if score.greedy is None else (score.greedy,)
        found += [ItemReply(score.example_id, reply) for reply in counting]
    return found


@cache
def _sums(folder: Path) -> Sums:
    groups: dict[int, list[Learnt]] = defaultdict(list)
    demonstrations: dict[str, float | None] = {}
    for rollout in _trained_on(folder):
        learnt = [j for j in rollout.group if j.reply.is_demo or j.reward is not None]
        tokens = sum(len(j.reply.token_ids) for j in learnt)
        groups[rollout.step].append(Learnt(tokens, any(j.advantage for j in rollout.group)))
        scores = [j.verdict.score for j in rollout.group if j.reply.is_demo]
        if scores:
            demonstrations[rollout.example_id] = scores[-1]
    return Sums(groups, demonstrations)


def _trained_on(folder: Path) -> Iterator[Rollout]:
    return (rollout for rollout in records_in(folder / "rollouts.jsonl", Rollout) if not rollout.left_out)
