"""What a healthy arm shows, as its runs have it.

Where chance has a part, an arm fails only beyond it: its seeds are taken together, and bounds are one-sided at 95 %.
What nobody measured is unmeasured, and says what would measure it. The limits, and how often they err, are measured in
docs/studies.md.
"""

import statistics
from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from firsthand.findings import Check, CheckState, Tuned
from firsthand.records import Judged, Status, StopReason
from firsthand.stats import SUCCESS, Estimate, clustered_mean
from firsthand.study.evidence import Asked, Training, mean_curve
from firsthand.study.loops import loops
from firsthand.trainer.probe import NLL, SCORE

TURNED = 0.05
"""A held-out loss that ends above its lowest by more than this share of it has turned."""
SPARE = 0.05
"""An arm may have so many more degenerate replies than its base, as a share of all (ours)."""
ACCEPTED = 0.95
"""The share of demonstrations that their own verifier must accept (ours)."""
LEVEL = 0.05
"""How often chance alone may fail an arm in a check where it has a part."""
FEWEST_PROBES = 5
"""The first, the last, and what lies between: with fewer, a rise would be missed."""
FEWEST_STEPS = 8
"""From so many steps on, the first quarter and the last are compared."""
_PASSED, _FAILED, _UNMEASURED = CheckState.PASSED, CheckState.FAILED, CheckState.UNMEASURED
_VALIDATION = "give the study `validation:`"


def coverage(trainings: Sequence[Training]) -> Check:
    """Whether every step was taken, and trained on all the tokens that its rollouts hold for it."""
    name = "coverage"
    if any("tokens/trained" not in step.metrics for training in trainings for step in training.steps):
        return Check(name=name, state=_UNMEASURED, what="Nobody counted the tokens that were trained on.")
    found = [_covered(training) for training in trainings]
    due, trained = sum(one.due for one in found), sum(one.trained for one in found)
    taken, wanted = sum(one.taken for one in found), sum(one.wanted for one in found)
    whole = due * wanted / taken if taken else 0.0
    share = trained / whole if whole else None
    bad = next((one.complaint for one in found if one.complaint), None)
    what = f"{trained:,} of {due:,} tokens that were due were trained on, in {taken} of {wanted} steps"
    if bad is None:
        return Check(name=name, state=_PASSED, what=f"{what}.", value=share, limit=1.0)
    remedy = "Find where a step's groups are left out between rollouts.jsonl and the update, and train again."
    return Check(name=name, state=_FAILED, what=f"{what}: {bad}.", value=share, limit=1.0, remedy=remedy)


class _Covered(NamedTuple):
    due: int
    trained: int
    taken: int
    wanted: int
    complaint: str | None


def _covered(training: Training) -> _Covered:
    """One training's steps and tokens; the first thing that is amiss."""
    recipe, wanted = training.recipe, training.wanted
    due = [training.due(step) for step in training.steps]
    trained = [round(step.metrics["tokens/trained"]) for step in training.steps]
    complaint = None
    if len(due) != wanted:
        complaint = f"seed {recipe.seed} has {len(due)} steps, and its recipe {wanted}"
    for step, tokens, got in zip(training.steps, due, trained, strict=True):
        if tokens != got and complaint is None:
            complaint = f"step {step.step} of seed {recipe.seed} trained on {got:,} of {tokens:,}"
    for step in training.steps:
        if training.is_short(step) and complaint is None:
            groups = len(training.rollouts.groups.get(step.step, ()))
            complaint = f"step {step.step} of seed {recipe.seed} had {groups} groups of {recipe.prompts}"
    return _Covered(sum(due), sum(trained), len(due), wanted, complaint)


class _Change(NamedTuple):
    first: float
    last: float
    noise: float
    """The standard error of their difference, from how much steps differ."""


def _change(trainings: Sequence[Training], metric: str) -> _Change | None:
    """From the first quarter of the steps to the last; None where there are too few."""
    values = list(mean_curve(trainings, metric).values())
    if len(values) < FEWEST_STEPS:
        return None
    size = len(values) // 4
    parts = values[:size], values[-size:]
    noise = sqrt(sum(statistics.variance(part) / size for part in parts))
    return _Change(statistics.fmean(parts[0]), statistics.fmean(parts[1]), noise)


def training_loss(trainings: Sequence[Training]) -> Check:
    """Whether the loss of demonstrations falls; it fails where it rises by more than batches differ."""
    name = "training loss"
    change = _change(trainings, "loss/nll")
    if change is None:
        return Check(name=name, state=_UNMEASURED, what=f"Fewer than {FEWEST_STEPS} steps show no trend.")
    first, last, noise = change
    limit = first + _quantile(LEVEL) * noise
    what = f"{first:.3f} nats per token in the first quarter of the steps, {last:.3f} in the last"
    if last <= limit:
        return Check(name=name, state=_PASSED, what=f"{what}.", value=last, limit=limit)
    remedy = "Lower optimizer.lr."
    return Check(name=name, state=_FAILED, what=f"{what}: it rises.", value=last, limit=limit, remedy=remedy)


def held_out_loss(trainings: Sequence[Training]) -> Check:
    """Whether demonstrations that were held out surprise less at the end than before, and no more than in between."""
    name = "held-out loss"
    curve = mean_curve(trainings, NLL)
    if len(curve) < 2:
        return Check(name=name, state=_UNMEASURED, what=f"No held-out demonstrations were probed; {_VALIDATION}.")
    first, *_, last = curve.values()
    at, least = min(curve.items(), key=lambda pair: pair[1])
    limit = min(first, least * (1 + TURNED))
    what = f"{first:.3f} nats per token before training, {last:.3f} after it"
    if last > first:
        remedy = "Lower optimizer.lr, or train on demonstrations that are nearer to what is asked."
        return Check(name=name, state=_FAILED, what=f"{what}: it rose.", value=last, limit=limit, remedy=remedy)
    if last > limit:
        what = f"{what}, and {least:.3f} after {at} steps: it turned"
        remedy = f"End there (stop: {at}), or lower optimizer.lr."
        return Check(name=name, state=_FAILED, what=f"{what}.", value=last, limit=limit, remedy=remedy)
    return Check(name=name, state=_PASSED, what=f"{what}.", value=last, limit=limit)


def held_out_accuracy(trainings: Sequence[Training]) -> Check:
    """Whether validation accuracy ends below its peak by more than chance, the choice of the peak included."""
    name = "held-out accuracy"
    curve, asked = mean_curve(trainings, SCORE), trainings[0].probed
    if len(curve) < 2 or not asked:
        return Check(name=name, state=_UNMEASURED, what=f"No validation questions were probed; {_VALIDATION}.")
    at, peak = max(curve.items(), key=lambda pair: pair[1])
    *_, last = curve.values()
    noise = sqrt((peak * (1 - peak) + last * (1 - last)) / asked)
    limit = peak - _quantile(LEVEL / (len(curve) - 1)) * noise
    what = f"{last:.3f} at the end, {peak:.3f} at best, after {at} of {trainings[0].wanted} steps ({asked} items)"
    if last >= limit:
        return Check(name=name, state=_PASSED, what=f"{what}.", value=last, limit=limit)
    remedy = f"End there (stop: {at}), or lower optimizer.lr."
    return Check(name=name, state=_FAILED, what=f"{what}: it peaked early.", value=last, limit=limit, remedy=remedy)


def replies(arm: Sequence[Sequence[Asked]], base: Sequence[Sequence[Asked]]) -> Check:
    """Whether more replies to the test items loop, are cut or state no answer than the base's (one list per seed)."""
    name = "replies"
    rows = [(one.question, one.reply, seed) for seed, some in enumerate(arm) for one in some]
    if not rows:
        return Check(name=name, state=_UNMEASURED, what="Nobody evaluated it.")
    share = _share_degenerate(rows)
    of_base = [one.reply for some in base for one in some]
    had = statistics.fmean(map(is_degenerate, of_base)) if of_base else 0.0
    limit = had + SPARE
    parts = ", ".join(f"{_percent(found)} {kind}" for kind, found in _kinds([reply for _, reply, _ in rows]))
    beside = f"base: {_percent(had)}" if of_base else "no untrained arm beside it"
    what = f"{_percent(share.value)} of the replies are degenerate ({parts}; {beside})"
    lowest = share.value if share.low is None else share.low
    if lowest <= limit:
        return Check(name=name, state=_PASSED, what=f"{what}.", value=share.value, limit=limit)
    remedy = (
        "Read them; lower optimizer.lr or train for fewer steps, raise max_new_tokens where they are cut, or take "
        "demonstrations in the model's own words."
    )
    return Check(name=name, state=_FAILED, what=f"{what}.", value=share.value, limit=limit, remedy=remedy)


def is_degenerate(judged: Judged) -> bool:
    """Whether a reply goes round in circles, was cut, or states no answer."""
    return _is_cut(judged) or _is_unstated(judged) or loops(judged.reply)


def _is_cut(judged: Judged) -> bool:
    return judged.reply.stop is StopReason.LENGTH


def _is_unstated(judged: Judged) -> bool:
    return judged.verdict.status is Status.WRONG_FORMAT


def _kinds(judged: Sequence[Judged]) -> list[tuple[str, float]]:
    return [
        ("loop", statistics.fmean(loops(one.reply) for one in judged)),
        ("are cut", statistics.fmean(map(_is_cut, judged))),
        ("state no answer", statistics.fmean(map(_is_unstated, judged))),
    ]


def _share_degenerate(rows: Sequence[tuple[str, Judged, int]]) -> Estimate:
    values = [float(is_degenerate(reply)) for _, reply, _ in rows]
    seeds = [seed for _, _, seed in rows]
    return clustered_mean(values, [question for question, _, _ in rows], seeds if len(set(seeds)) > 1 else None)


def demonstrations(trainings: Sequence[Training]) -> Check:
    """Whether the verifier of their own question accepts the demonstrations that were imitated."""
    name = "demonstrations"
    scores = {key: score for training in trainings for key, score in training.rollouts.demonstrations.items()}
    known = [score >= SUCCESS for score in scores.values() if score is not None]
    if not known:
        return Check(name=name, state=_UNMEASURED, what="No verifier judged a demonstration.")
    share = statistics.fmean(known)
    what = f"Their own verifier accepts {_percent(share)} of {len(known):,} demonstrations"
    if share >= ACCEPTED:
        return Check(name=name, state=_PASSED, what=f"{what}.", value=share, limit=ACCEPTED)
    remedy = "Correct or leave out the others: `firsthand forge` drops what its verifier rejects."
    return Check(name=name, state=_FAILED, what=f"{what}.", value=share, limit=ACCEPTED, remedy=remedy)


def reward(trainings: Sequence[Training]) -> Check:
    """Whether the reward rises; it fails where it falls by more than batches differ."""
    name = "reward"
    change = _change(trainings, "reward/mean")
    if change is None:
        return Check(name=name, state=_UNMEASURED, what=f"Fewer than {FEWEST_STEPS} steps show no trend.")
    first, last, noise = change
    limit = first - _quantile(LEVEL) * noise
    what = f"{first:.3f} in the first quarter of the steps, {last:.3f} in the last"
    if last >= limit:
        return Check(name=name, state=_PASSED, what=f"{what}.", value=last, limit=limit)
    remedy = "Lower optimizer.lr, raise the KL weight, or give the policy questions that it sometimes answers."
    return Check(name=name, state=_FAILED, what=f"{what}: it falls.", value=last, limit=limit, remedy=remedy)


def groups(trainings: Sequence[Training]) -> Check:
    """How many groups taught nothing because their replies scored the same; it fails where all did."""
    name = "groups"
    curve = mean_curve(trainings, "groups/zero_variance")
    if not curve:
        return Check(name=name, state=_UNMEASURED, what="No group was sampled.")
    share = statistics.fmean(curve.values())
    what = f"The replies of {_percent(share)} of the groups were all worth the same, which teaches nothing"
    if share < 1:
        return Check(name=name, state=_PASSED, what=f"{what}.", value=share, limit=1.0)
    remedy = "Take questions that the model answers now and then, or a larger objective.group_size."
    return Check(name=name, state=_FAILED, what=f"{what}.", value=share, limit=1.0, remedy=remedy)


def parity(trainings: Sequence[Training], bound: float) -> Check:
    """Whether sampler and trainer agreed about the sampled tokens in all steps, not the first one alone."""
    name = "parity"
    gaps = [step.metrics["parity/max_abs"] for t in trainings for step in t.steps if "parity/max_abs" in step.metrics]
    if not gaps:
        return Check(name=name, state=_UNMEASURED, what="No step compared rollout and training.")
    worst = max(gaps)
    what = f"Rollout and training differ by at most {worst:.2g} nats about a sampled token"
    if worst <= bound:
        return Check(name=name, state=_PASSED, what=f"{what}.", value=worst, limit=bound)
    remedy = "Look for two versions of the weights, or two precisions, in sampler and trainer."
    return Check(name=name, state=_FAILED, what=f"{what}.", value=worst, limit=bound, remedy=remedy)


def overshoot(trainings: Sequence[Training]) -> Check:
    """Whether the held-out loss ever rose above where training began: the mark of a rate that is too high.

    It falls again as the rate does, so the end of a training does not show it.
    """
    name = "overshoot"
    curve = mean_curve(trainings, NLL)
    if len(curve) < FEWEST_PROBES:
        what = f"Held-out demonstrations were measured fewer than {FEWEST_PROBES} times; {_VALIDATION}."
        return Check(name=name, state=_UNMEASURED, what=what)
    first = next(iter(curve.values()))
    at, worst = max(curve.items(), key=lambda pair: pair[1])
    limit = first * (1 + TURNED)
    if worst <= limit:
        what = f"The held-out loss never rose above the {first:.3f} where it began."
        return Check(name=name, state=_PASSED, what=what, value=worst, limit=limit)
    what = f"The held-out loss rose from {first:.3f} to {worst:.3f} after {at} steps: the rate is too high."
    remedy = "Lower optimizer.lr to a third, again and again until it does not, or tune it."
    return Check(name=name, state=_FAILED, what=what, value=worst, limit=limit, remedy=remedy)


def learning_rate(trainings: Sequence[Training], tuned: Tuned | None) -> Check:
    """Whether the rate is the one that tuning chose, and not at an end of what there was to choose from."""
    name, key = "learning rate", "optimizer.lr"
    rate = trainings[0].recipe.optimizer.lr
    if tuned is None or key not in tuned.settings:
        return Check(name=name, state=_UNMEASURED, what=f"Nobody tuned it; it is {rate:g}.", value=rate)
    chosen = float(tuned.settings[key])
    tried = ", ".join(f"{float(one):g}" for one in tuned.grid.get(key, ()))
    if chosen != rate:
        what, remedy = f"It is {rate:g}, and tuning chose {chosen:g}.", f"Set {key}={chosen:g}, or tune again."
        return Check(name=name, state=_FAILED, what=what, value=rate, limit=chosen, remedy=remedy)
    if key in tuned.edges:
        what = f"Tuning chose {rate:g}, at an end of {tried}: a better one may lie beyond."
        return Check(name=name, state=_FAILED, what=what, value=rate, remedy="Tune over a wider grid.")
    return Check(name=name, state=_PASSED, what=f"Tuning chose {rate:g} among {tried}.", value=rate)


def distance(relative: float) -> Check:
    """How far training went from where it began, as a share of the norm of the weights; 0 is no training."""
    name = "distance"
    what = f"The weights are {relative:.2g} of their norm away from where training began"
    if relative > 0:
        return Check(name=name, state=_PASSED, what=f"{what}.", value=relative)
    remedy = "Look whether the optimizer has parameters, gradients and a rate above 0."
    return Check(name=name, state=_FAILED, what=f"{what}: nothing was trained.", value=relative, remedy=remedy)


def _quantile(level: float) -> float:
    """The one-sided quantile of the standard normal distribution."""
    return statistics.NormalDist().inv_cdf(1 - level)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
