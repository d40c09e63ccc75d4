"""The examples of an optimizer step, and what to learn from each: demonstrations, and judged replies of the policy."""

import dataclasses
import math
import random
import time
from collections.abc import Sequence

from firsthand.errors import DataError, RecipeError
from firsthand.objective import Imitating, Mixed, Sampled, group_advantage
from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Recipe
from firsthand.records import Example, Judged, Reply, StopReason, Trace
from firsthand.reward import Router
from firsthand.rollout import OnReply, Sampler
from firsthand.trainer.scoring import Scoring

RESAMPLES = 8
"""Rounds of further prompts that a step may draw for silent groups (ours; DAPO draws until the batch is full)."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One example of a step, its encoded prompt, and its judged replies; a demonstration comes last."""

    example: Example
    prompt: Prompt
    group: tuple[Judged, ...]

    @property
    def is_silent(self) -> bool:
        """Whether no reply earned or lost any credit relative to its group."""
        return not any(judged.advantage for judged in self.group)

    @property
    def learnt(self) -> tuple[Judged, ...]:
        """The replies that losses and denominators count: demonstrations, and those with a reward."""
        return tuple(j for j in self.group if j.reply.is_demo or j.reward is not None)


class Gatherer:
    """Draws, encodes, samples and judges. Everything it does at a step is a function of the recipe and the step."""

    def __init__(
        self, recipe: Recipe, examples: Sequence[Example], encoder: Encoder, sampler: Sampler, router: Router
    ) -> None:
        """The examples must have passed `check`."""
        self._recipe = recipe
        self._method = recipe.objective
        self._examples = examples
        self._encoder = encoder
        self._sampler = sampler
        self._router = router
        self._seconds = {"rollout": 0.0, "reward": 0.0}

    def gather(self, step: int) -> tuple[list[Member], dict[str, float]]:
        """The batch of a step, and the seconds that its parts took.

        Raises RecipeError when silent groups are to be replaced, and no prompt that was drawn has a group with signal.
        """
        self._seconds = {"rollout": 0.0, "reward": 0.0}
        wanted = self._recipe.prompts
        batch = self._members(draw(len(self._examples), wanted, step, self._recipe.seed), step)
        if isinstance(self._method, Sampled) and self._method.zero_variance != "keep":
            batch = self._with_signal(batch, step, RESAMPLES if self._method.zero_variance == "resample" else 0)
        return batch, self._seconds if self._method.samples else {}

    def _with_signal(self, batch: list[Member], step: int, rounds: int) -> list[Member]:
        """Only groups with signal: as many as the recipe wants, if so many rounds of further prompts find them."""
        wanted, drawn = self._recipe.prompts, {member.example.id for member in batch}
        kept = [member for member in batch if not member.is_silent]
        for number in range(rounds):
            fresh = [i for i, example in enumerate(self._examples) if example.id not in drawn]
            if len(kept) >= wanted or not fresh:
                break
            rng = random.Random(f"{self._recipe.seed} {step} {number}")
            more = self._members(rng.sample(fresh, min(wanted, len(fresh))), step)
            drawn |= {member.example.id for member in more}
            kept += [member for member in more if not member.is_silent]
        if rounds and not kept:
            raise RecipeError(
                f"step {step}: expected at least one group whose replies score differently, got none from "
                f"{len(drawn)} prompts of {len(self._examples)}; the data is too hard or too easy for this model: "
                "choose other data, a larger objective.group_size, or start from a trained run"
            )
        return kept[:wanted]

    def _members(self, places: Sequence[int], step: int) -> list[Member]:
        """Examples with their groups, judged and credited."""
        examples = [self._examples[i] for i in places]
        prompts = [self._encoder.prompt(example, self._recipe.system) for example in examples]
        scoring = Scoring(self._router)
        groups = self._sampled(prompts, step, lambda i, j, reply: scoring.add((i, j), reply.text, examples[i]))
        if isinstance(self._method, Imitating):
            style = self._method.style
            groups = [(*group, self._demonstration(e, style)) for group, e in zip(groups, examples, strict=True)]
            for i, group in enumerate(groups):
                scoring.add((i, len(group) - 1), group[-1].text, examples[i])
        judged = self._judged(groups, scoring)
        return [Member(*parts) for parts in zip(examples, prompts, judged, strict=True)]

    def _sampled(self, prompts: Sequence[Prompt], step: int, on_reply: OnReply) -> list[tuple[Reply, ...]]:
        if not self._method.samples:
            return [()] * len(prompts)
        began = time.perf_counter()
        seed = self._recipe.seed * 1_000_003 + step
        groups = self._sampler.sample(prompts, self._method.samples, self._recipe.sampling, on_reply, seed=seed)
        _check_finite([reply for group in groups for reply in group], step)
        self._seconds["rollout"] += time.perf_counter() - began
        return groups

    def _demonstration(self, example: Example, style: str | None) -> Reply:
        text = _text(example, style)
        return Reply(text=text, token_ids=self._encoder.reply(text), stop=StopReason.GIVEN)

    def _judged(self, groups: Sequence[tuple[Reply, ...]], scoring: Scoring) -> list[tuple[Judged, ...]]:
        began = time.perf_counter()
        judged = []
        for i, group in enumerate(groups):
            found = [(reply, scoring.verdict((i, j))) for j, reply in enumerate(group)]
            longest = self._recipe.sampling.max_new_tokens
            rewards = [self._recipe.reward.of(reply, verdict, longest) for reply, verdict in found]
            credit = self._credit(group, rewards)
            judged.append(
                tuple(
                    Judged(reply=r, verdict=v, reward=w, advantage=a)
                    for (r, v), w, a in zip(found, rewards, credit, strict=True)
                )
            )
        self._seconds["reward"] += time.perf_counter() - began
        self._seconds |= scoring.timeline()
        return judged

    def _credit(self, group: Sequence[Reply], rewards: Sequence[float | None]) -> list[float | None]:
        """Advantages; a method that only imitates has none, and a demonstration may stand outside the baseline."""
        method = self._method
        if not isinstance(method, Sampled):
            return [None] * len(group)
        if isinstance(method, Mixed) and method.baseline == "sampled":
            inside = [None if reply.is_demo else reward for reply, reward in zip(group, rewards, strict=True)]
            return list(group_advantage(inside, scale=method.scale))
        return list(group_advantage(rewards, scale=method.scale))


def check(recipe: Recipe, examples: Sequence[Example], router: Router) -> None:
    """Whether every example can serve the objective. Raises DataError naming those that cannot."""
    if not examples:
        raise DataError("expected at least one example to train on, got none")
    method = recipe.objective
    if method.samples:
        router.check(examples)
    if isinstance(method, Imitating):
        _check_traces(examples, method.style)
    if isinstance(method, Mixed):
        _check_demonstrations(examples, method.style, router)


def _check_demonstrations(examples: Sequence[Example], style: str | None, router: Router) -> None:
    """A demonstration that its own verifier rejects would be pushed away from, as a reply with negative credit."""
    verdicts = router.judge_many([(_text(e, style), e) for e in examples])
    wrong = [
        f"{e.id} ({v.status}: {v.why})" for e, v in zip(examples, verdicts, strict=True) if not v.score or v.score < 0.5
    ]
    if wrong:
        raise DataError(
            f"expected demonstrations that score at least 0.5 against their gold answers, got {len(wrong)} of "
            f"{len(examples)} that do not (first: {wrong[0]}); correct them or leave these examples out"
        )


def _check_traces(examples: Sequence[Example], style: str | None) -> None:
    missing = [e for e in examples if _trace(e, style) is None]
    if missing:
        styles = sorted({t.style for e in examples for t in e.traces})
        wanted = "one demonstration each" if style is None else f"a demonstration of style {style!r}"
        raise DataError(
            f"expected {wanted}, which {len(missing)} of {len(examples)} examples lack (first: {missing[0].id}); "
            + (f"set objective.style to one of {styles}" if styles else "add a column `trace`")
        )


def _trace(example: Example, style: str | None) -> Trace | None:
    """The demonstration to imitate: the one of that style, or without a style the only one."""
    if style is None:
        return example.traces[0] if len(example.traces) == 1 else None
    return example.trace(style)


def _text(example: Example, style: str | None) -> str:
    """What `_trace` says of an example that has passed `check`."""
    trace = _trace(example, style)
    assert trace is not None
    return trace.text


def draw(examples: int, prompts: int, step: int, seed: int) -> list[int]:
    """Indices of a step's examples: every epoch is a permutation of all, a function of (seed, epoch) alone."""
    places = range(step * prompts, (step + 1) * prompts)
    orders: dict[int, list[int]] = {}
    for epoch in {place // examples for place in places}:
        orders[epoch] = random.Random(f"{seed} {epoch}").sample(range(examples), examples)
    return [orders[place // examples][place % examples] for place in places]


def _check_finite(replies: Sequence[Reply], step: int) -> None:
    """Weights that are not numbers write equal replies, whose groups are silent: nothing else would notice."""
    if not all(math.isfinite(logp) for reply in replies for logp in reply.logprobs):
        raise RecipeError(
            f"step {step}: expected finite log-probs of sampled tokens, got others: training has diverged; "
            "lower optimizer.lr or optimizer.max_grad_norm"
        )
