"""The questions of a study -> helps, hurts, not resolved, or baseline not healthy; each in a sentence.

The difference is paired by item and seed: both sides answer the same items, and under one seed they are trained on the
same data in the same order. Its interval and p-value are those of `crossed`, and the p-values are corrected for the
number of questions. Of one seed nothing is resolved: how far two trainings of an arm are apart is not known then.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from firsthand.crossed import Crossed, corrected, crossed, needed_items, needed_seeds
from firsthand.evaluation.replies import read_journal
from firsthand.findings import Effect, Health, StudyVerdict
from firsthand.records import Score
from firsthand.stats import FEWEST_PAIRS, LEVEL, Covers
from firsthand.study.plan import Measure, Study, StudyQuestion
from firsthand.study.results import ArmRuns

FEWEST_SEEDS = 3
"""To ask for, where there was one: two leave an interval that hardly anything resolves."""

BySeed = Mapping[int, ArmRuns]


class _Found(NamedTuple):
    """What was measured for a question; the difference is None where no item was."""

    name: str
    question: StudyQuestion
    difference: Crossed | None


def verdicts_of(
    study: Study, runs: Mapping[str, BySeed], health: Mapping[str, Health] | None = None
) -> list[StudyVerdict]:
    """The verdict on every question; `health` has the arms whose health was measured."""
    asked = {arm for question in study.asked.values() for arm in question.arms}
    measured = {arm: {seed: _measured(run) for seed, run in runs[arm].items()} for arm in runs if arm in asked}
    found = [_Found(name, question, _difference(question, measured)) for name, question in study.asked.items()]
    ps = {one.name: one.difference.p for one in found if one.difference is not None}
    holm = dict(zip(ps, corrected(list(ps.values())), strict=True))
    # what a further one has to reach, given those that are resolved
    level = LEVEL / max(1, len(ps) - sum(p <= LEVEL for p in holm.values()))
    return [_verdict(one, _Standing.of(study, one.question, health or {}), holm, level) for one in found]


def _measured(runs: ArmRuns) -> dict[Measure, dict[str, float]]:
    scores = read_journal(runs.evaluation / "scores.jsonl")
    return {"greedy": _accuracies(scores, "greedy"), "sampled": _accuracies(scores, "sampled")}


def _accuracies(scores: Sequence[Score], measure: Measure) -> dict[str, float]:
    """Item -> the mean score of its replies; without the items of which some reply has no score."""
    replies: dict[str, list[float | None]] = defaultdict(list)
    for score in scores:
        judged = score.samples if measure == "sampled" else () if score.greedy is None else (score.greedy,)
        replies[score.example_id] += [one.verdict.score for one in judged]
    measured = {item: [value for value in values if value is not None] for item, values in replies.items()}
    return {item: fmean(known) for item, known in measured.items() if known and len(known) == len(replies[item])}


def _difference(
    question: StudyQuestion, measured: Mapping[str, Mapping[int, Mapping[Measure, Mapping[str, float]]]]
) -> Crossed | None:
    """On the seeds of all arms and the items that each of their runs measured; None where there are none."""
    assert question.measure is not None
    seeds = sorted(set.intersection(*(set(measured[arm]) for arm in question.arms)))
    tables = {arm: [measured[arm][seed][question.measure] for seed in seeds] for arm in question.arms}
    items = sorted(set.intersection(*(set(table) for some in tables.values() for table in some)) if seeds else ())
    if not items:
        return None
    first, second = (
        np.mean([[[table[item] for item in items] for table in tables[arm]] for arm in side], axis=0)
        for side in (question.arm, question.against)
    )
    return crossed(first - second)


class _Standing(NamedTuple):
    """What is known of the health that a verdict rests on."""

    unhealthy: tuple[Health, ...]
    unmeasured: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, question: StudyQuestion, health: Mapping[str, Health]) -> "_Standing":
        """That of both sides, and of what they are built on; an untrained arm needs none."""
        arms = dict.fromkeys(name for arm in question.arms for name in (*study.built_on(arm)[::-1], arm))
        known = [health[arm] for arm in arms if arm in health]
        unmeasured = (arm for arm in arms if arm not in health and study.is_trained(arm))
        return cls(tuple(one for one in known if not one.is_healthy), tuple(unmeasured))


def _verdict(found: _Found, standing: _Standing, holm: Mapping[str, float], level: float) -> StudyVerdict:
    name, question, difference = found
    assert question.measure is not None
    p = holm.get(name)
    effect = _effect(difference, p, standing)
    verdict = StudyVerdict(
        name=name,
        ask=question.words,
        arms=question.arm,
        against=question.against,
        measure=question.measure,
        effect=effect,
        sentence="",
        difference=None,
        low=None,
        high=None,
        p=None,
        p_corrected=p,
        items=0,
        seeds=0,
        unhealthy=tuple(one.arm for one in standing.unhealthy),
        unmeasured=standing.unmeasured,
    )
    if difference is not None:
        is_open = effect is Effect.OPEN
        verdict = verdict.model_copy(
            update={
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "p": difference.p,
                "items": difference.items,
                "seeds": difference.seeds,
                "covers": Covers.QUESTIONS if difference.by_seed is None else Covers.BOTH,
                "needed_items": needed_items(difference, level) if is_open else None,
                "needed_seeds": needed_seeds(difference, level) if is_open else None,
            }
        )
    return verdict.model_copy(update={"sentence": sentence(verdict, len(holm), standing.unhealthy)})


def _effect(difference: Crossed | None, p: float | None, standing: _Standing) -> Effect:
    if standing.unhealthy:
        return Effect.UNHEALTHY
    if difference is None or p is None or difference.by_seed is None or difference.items < FEWEST_PAIRS or p > LEVEL:
        return Effect.OPEN
    return Effect.HELPS if difference.value > 0 else Effect.HURTS


def sentence(verdict: StudyVerdict, questions: int, unhealthy: Sequence[Health]) -> str:
    """A verdict in words; it was corrected for so many `questions`."""
    sides = f"{' and '.join(verdict.arms)} against {' and '.join(verdict.against)}, {verdict.measure}"
    parts = [f"{_opening(verdict)} ({sides}): {_numbers(verdict, questions)}"]
    if verdict.effect is Effect.OPEN:
        parts.append(_what_would_resolve(verdict))
    parts += [f"{one.arm} has failed {_reasons(one)}" for one in unhealthy]
    if verdict.unmeasured:
        parts.append(f"health of {' and '.join(verdict.unmeasured)} not measured")
    return "; ".join(part for part in parts if part) + "."


_RESOLVED = (Effect.HELPS, Effect.HURTS)


def _opening(verdict: StudyVerdict) -> str:
    """`SFT before RL helps` of `Does SFT before RL help?`; the question's name where it asks otherwise."""
    asked = re.fullmatch(r"(Do|Does) (.+?),? help\b.*\?", verdict.ask)
    subject = asked[2] if asked else verdict.name
    if verdict.effect not in _RESOLVED:
        return f"{subject}: {verdict.effect}"
    is_plural = asked is not None and asked[1] == "Do"
    return f"{subject} {verdict.effect.removesuffix('s') if is_plural else verdict.effect}"


def _numbers(verdict: StudyVerdict, questions: int) -> str:
    if verdict.difference is None or verdict.low is None or verdict.high is None or verdict.p_corrected is None:
        return "no item was measured in all of their runs"
    value, low, high = (100 * number for number in (verdict.difference, verdict.low, verdict.high))
    p = "p < 0.001" if verdict.p_corrected < 0.001 else f"p {verdict.p_corrected:.2g}"
    correction = f" after correction for {questions} questions" if questions > 1 else ""
    return (
        f"{value:+.1f} points ({low:+.1f} to {high:+.1f}) over {_many(verdict.items, 'item')} and "
        f"{_many(verdict.seeds, 'seed')}, {p}{correction}"
    )


def _what_would_resolve(verdict: StudyVerdict) -> str:
    if verdict.difference is None:
        return ""
    if verdict.covers is Covers.QUESTIONS:
        seeds = " ".join(map(str, range(FEWEST_SEEDS)))
        return (
            "interval and p are of the items alone, for one seed cannot tell a method from the luck of one training: "
            f"train under {FEWEST_SEEDS} or more (firsthand study --seeds {seeds})"
        )
    if verdict.items < FEWEST_PAIRS:
        return f"fewer than {FEWEST_PAIRS} items are too few"
    needed = {"item": verdict.needed_items, "seed": verdict.needed_seeds}
    enough = [_many(number, what) for what, number in needed.items() if number is not None]
    if not enough:
        return "no number of items alone, nor of seeds alone, would resolve a difference of this size"
    without = [f"no number of {what}s alone would" for what, number in needed.items() if number is None]
    return ", ".join([f"{' or '.join(enough)} would resolve a difference of this size", *without])


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _reasons(health: Health) -> str:
    """What speaks against an arm, and what to try."""
    said = [
        f"{one.name}: {one.what.rstrip('.')}" + f" (try: {one.remedy.rstrip('.')})" * bool(one.remedy)
        for one in health.failed
    ]
    return ", and ".join(said)
