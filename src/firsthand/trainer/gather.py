"""The examples of an optimizer step, and what to learn from each: demonstrations, or judged replies of the policy."""

import dataclasses
import math
import random
import statistics
import time
from collections.abc import Sequence

from firsthand.dataset import Encoder, Prompt
from firsthand.errors import DataError, RecipeError
from firsthand.objective import GRPO, SFT, group_advantage
from firsthand.recipe import Recipe
from firsthand.records import Example, Judged, Reply, Rollout, Status, StopReason, Verdict
from firsthand.reward import Router
from firsthand.rollout import Sampler


@dataclasses.dataclass(frozen=True)
class Member:
    """One example of a step, its encoded prompt, and its judged replies."""

    example: Example
    prompt: Prompt
    group: tuple[Judged, ...]

    @property
    def is_silent(self) -> bool:
        """Whether no reply earned or lost any credit relative to its group."""
        return not any(judged.advantage for judged in self.group)


class Gatherer:
    """Draws, encodes, samples and judges. Everything it does at a step is a function of the recipe and the step."""

    def __init__(
        self, recipe: Recipe, examples: Sequence[Example], encoder: Encoder, sampler: Sampler, router: Router
    ) -> None:
        """The examples must have passed `check`."""
        self._recipe = recipe
        self._examples = examples
        self._encoder = encoder
        self._sampler = sampler
        self._router = router

    def gather(self, step: int) -> tuple[list[Member], dict[str, float]]:
        """The batch of a step, and the seconds that its parts took."""
        drawn = draw(len(self._examples), self._recipe.prompts, step, self._recipe.seed)
        examples = [self._examples[i] for i in drawn]
        prompts = [self._encoder.prompt(example, self._recipe.system) for example in examples]
        if isinstance(self._recipe.objective, SFT):
            return self._demonstrations(examples, prompts, self._recipe.objective.trace), {}
        return self._rollouts(examples, prompts, self._recipe.objective, step)

    def _demonstrations(self, examples: list[Example], prompts: list[Prompt], style: str) -> list[Member]:
        texts = [trace.text for e in examples if (trace := e.trace(style)) is not None]
        verdicts = [self._verdict(t, e) for t, e in zip(texts, examples, strict=True)]
        replies = [Reply(text=t, token_ids=self._encoder.reply(t), stop=StopReason.GIVEN) for t in texts]
        groups = [(Judged(reply=r, verdict=v),) for r, v in zip(replies, verdicts, strict=True)]
        return [Member(*parts) for parts in zip(examples, prompts, groups, strict=True)]

    def _verdict(self, text: str, example: Example) -> Verdict:
        """A demonstration is imitated whatever its score; free text has none."""
        if example.answer.kind == "open":
            return Verdict(score=None, status=Status.UNSCORED, why="free text needs a judge")
        return self._router.judge(text, example.answer)

    def _rollouts(
        self, examples: list[Example], prompts: list[Prompt], objective: GRPO, step: int
    ) -> tuple[list[Member], dict[str, float]]:
        began = time.perf_counter()
        settings = self._recipe.sampling.model_copy(update={"seed": self._recipe.seed * 1_000_003 + step})
        groups = self._sampler.sample(prompts, objective.group_size, settings)
        _check_finite([reply for group in groups for reply in group], step)
        sampled = time.perf_counter()
        pairs = [(r.text, e.answer) for e, group in zip(examples, groups, strict=True) for r in group]
        verdicts = iter(self._router.judge_many(pairs))
        members = []
        for example, prompt, group in zip(examples, prompts, groups, strict=True):
            judged = [(reply, next(verdicts)) for reply in group]
            credit = group_advantage([verdict.score for _, verdict in judged], scale=objective.scale)
            rows = (Judged(reply=r, verdict=v, advantage=a) for (r, v), a in zip(judged, credit, strict=True))
            members.append(Member(example, prompt, tuple(rows)))
        return members, {"rollout": sampled - began, "reward": time.perf_counter() - sampled}


def check(recipe: Recipe, examples: Sequence[Example], router: Router) -> None:
    """Whether every example can serve the objective. Raises DataError naming those that cannot."""
    if not examples:
        raise DataError("expected at least one example to train on, got none")
    if isinstance(recipe.objective, GRPO):
        router.check(examples)
    else:
        _check_traces(examples, recipe.objective)


def draw(examples: int, prompts: int, step: int, seed: int) -> list[int]:
    """Indices of a step's examples: every epoch is a permutation of all, a function of (seed, epoch) alone."""
    places = range(step * prompts, (step + 1) * prompts)
    orders: dict[int, list[int]] = {}
    for epoch in {place // examples for place in places}:
        orders[epoch] = random.Random(f"{seed} {epoch}").sample(range(examples), examples)
    return [orders[place // examples][place % examples] for place in places]


def rollouts(batch: Sequence[Member], step: int) -> list[Rollout]:
    """The batch as lines of rollouts.jsonl."""
    return [
        Rollout(
            step=step,
            example_id=member.example.id,
            family=member.example.family,
            question=member.example.question,
            gold=member.example.answer.text,
            images=tuple(picture.sha256 for picture in member.example.images),
            group=member.group,
        )
        for member in batch
    ]


def summary(batch: Sequence[Member]) -> dict[str, float]:
    """What a batch measures: rewards, statuses, lengths. What it does not measure is absent."""
    judged = [j for member in batch for j in member.group]
    sampled = [j for j in judged if not j.reply.is_demo]
    metrics = {"reply/tokens": statistics.fmean(len(j.reply.token_ids) for j in judged)}
    metrics |= {f"status/{s}": sum(j.verdict.status is s for j in judged) / len(judged) for s in Status}
    if sampled:
        metrics["reply/truncated"] = sum(j.reply.stop is StopReason.LENGTH for j in sampled) / len(sampled)
        metrics["groups/silent"] = sum(member.is_silent for member in batch) / len(batch)
    return metrics | _rewards(batch)


def _rewards(batch: Sequence[Member]) -> dict[str, float]:
    """`reward/mean`, `reward/std` and `reward/<family>` over measured replies; for demonstrations, their own scores."""
    families = sorted({member.example.family for member in batch if member.example.family})
    scores = {
        name: [
            j.verdict.score
            for member in batch
            for j in member.group
            if j.verdict.score is not None and name in ("", member.example.family)
        ]
        for name in ("", *families)
    }
    metrics = {f"reward/{name or 'mean'}": statistics.fmean(known) for name, known in scores.items() if known}
    if len(scores[""]) > 1:
        metrics["reward/std"] = statistics.stdev(scores[""])
    return metrics


def _check_finite(replies: Sequence[Reply], step: int) -> None:
    """Weights that are not numbers write equal replies, whose groups are silent: nothing else would notice."""
    if not all(math.isfinite(logp) for reply in replies for logp in reply.logprobs):
        raise RecipeError(
            f"step {step}: expected finite log-probs of sampled tokens, got others: training has diverged; "
            "lower optimizer.lr or optimizer.max_grad_norm"
        )


def _check_traces(examples: Sequence[Example], objective: SFT) -> None:
    missing = [e for e in examples if e.trace(objective.trace) is None]
    if missing:
        styles = sorted({t.style for e in examples for t in e.traces})
        raise DataError(
            f"objective sft imitates traces of style {objective.trace!r}, which {len(missing)} of {len(examples)} "
            f"examples lack (first: {missing[0].id}); "
            + (f"set objective.trace to one of {styles}" if styles else "add a column `trace`")
        )
