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
from firsthand.study.evidence import ItemReply, Training, mean_curve
from firsthand.study.loops import loops
from firsthand.trainer.pace import Pace
from firsthand.trainer.probe import NLL, SCORE

TURNED = 0.05
"""A held-out loss that ends above its lowest by more than this share of it has turned."""
OVERSHOT = 2.0
"""A held-out loss that ever reaches so many times its start has overshot (ours): healthy trainings reached 1.3 times,
those at ten times their rate 10 times and more."""
SPARE = 0.05
"""An arm may have so many more degenerate replies than its base, as a share of all (ours)."""
ACCEPTED = 0.95
"""The share of demonstrations that their own verifier must accept (ours)."""
CHANCE = 0.05
"""How often chance alone may fail an arm in a check where it has a part."""
FEWEST_PROBES = 5
"""The first, the last, and what lies between: with fewer, a rise would be missed."""
FEWEST_STEPS = 8
"""From so many steps on, the first quarter and the last are compared."""
_VALIDATION = "give the study `validation:`"


def _judged(
    name: str, is_well: bool, what: str, complaint: str, remedy: str, value: float | None, limit: float | None = None
) -> Check:
    """A check that was made: passed, or failed with what is amiss and what to try."""
    state, said, tried = (CheckState.PASSED, what, "") if is_well else (CheckState.FAILED, what + complaint, remedy)
    return Check(name=name, state=state, what=said, value=value, limit=limit, remedy=tried)


def _unmeasured(name: str, why: str) -> Check:
    return Check(name=name, state=CheckState.UNMEASURED, what=why)


def coverage(trainings: Sequence[Training]) -> Check:
    """Whether every step was taken, and trained on all the tokens that its rollouts hold for it."""
    if any("tokens/trained" not in step.metrics for training in trainings for step in training.steps):
        return _unmeasured("coverage", "nobody counted the tokens that were trained on")
    found = [_covered(training) for training in trainings]
    due, trained = sum(one.due for one in found), sum(one.trained for one in found)
    taken, wanted = sum(one.taken for one in found), sum(one.wanted for one in found)
    complaint = next((one.complaint for one in found if one.complaint), None)
    what = f"{trained:,} of {due:,} tokens that were due were trained on, in {taken} of {wanted} steps"
    remedy = "find where groups are lost between rollouts.jsonl and the update, and train again"
    share = trained * taken / (due * wanted) if due else None
    return _judged("coverage", complaint is None, what, f": {complaint}", remedy, share, 1.0)


class _Covered(NamedTuple):
    due: int
    trained: int
    taken: int
    wanted: int
    complaint: str | None


def _covered(training: Training) -> _Covered:
    """One training's steps and tokens, and the first thing that is amiss."""
    recipe = training.recipe
    due = [training.due(step) for step in training.steps]
    trained = [round(step.metrics["tokens/trained"]) for step in training.steps]
    complaints = []
    is_spent = recipe.budget is not None and Pace(recipe, training.steps).is_over
    wanted = len(due) if is_spent else recipe.taken
    if len(due) != wanted:
        complaints.append(f"seed {recipe.seed} has {len(due)} steps, and its recipe {wanted}")
    for step, tokens, got in zip(training.steps, due, trained, strict=True):
        where = f"step {step.step} of seed {recipe.seed}"
        if tokens != got:
            complaints.append(f"{where} trained on {got:,} of {tokens:,}")
        if training.is_short(step):
            groups = len(training.rollouts.groups.get(step.step, ()))
            complaints.append(f"{where} had {groups} groups of {recipe.prompts}")
    return _Covered(sum(due), sum(trained), len(due), wanted, complaints[0] if complaints else None)


def of_split(apart: Sequence[float], limit: float) -> Check:
    """Whether the gradient is one, however a step is split; `apart` has each batch's relative difference."""
    if not apart:
        return _unmeasured("micro-batches", "no batch had a gradient")
    worst = max(apart)
    what = (
        f"one forward and one for each group give gradients that differ by {worst:.1g} of theirs ({len(apart)} batches)"
    )
    complaint = f": more than rounding explains, {limit:g}"
    remedy = "look for forwards whose gradient is dropped, or means of means, where a step is split"
    return _judged("micro-batches", worst <= limit, what, complaint, remedy, worst, limit)


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
    change = _change(trainings, "loss/nll")
    if change is None:
        return _unmeasured("training loss", f"fewer than {FEWEST_STEPS} steps show no trend")
    limit = change.first + _quantile(CHANCE) * change.noise
    what = f"{change.first:.3f} nats per token in the first quarter of the steps, {change.last:.3f} in the last"
    return _judged("training loss", change.last <= limit, what, ": it rises", "lower optimizer.lr", change.last, limit)


def held_out_loss(trainings: Sequence[Training]) -> Check:
    """Whether demonstrations that were held out surprise less at the end than before, and no more than in between."""
    name, curve = "held-out loss", mean_curve(trainings, NLL)
    if len(curve) < 2:
        return _unmeasured(name, f"no held-out demonstrations were probed; {_VALIDATION}")
    first, *_, last = curve.values()
    at, least = min(curve.items(), key=lambda pair: pair[1])
    limit = min(first, least * (1 + TURNED))
    what = f"{first:.3f} nats per token before training, {last:.3f} after it"
    if last > first:
        remedy = "lower optimizer.lr, or take demonstrations that are nearer to what is asked"
        return _judged(name, False, what, ": it rose", remedy, last, limit)
    complaint, remedy = f", and {least:.3f} after {at} steps: it turned", f"stop: {at}, or a lower optimizer.lr"
    return _judged(name, last <= limit, what, complaint, remedy, last, limit)


def overshoot(trainings: Sequence[Training], tuned: Tuned | None = None) -> Check:
    """Whether the held-out loss ever rose far above where training began: the mark of a rate that is too high.

    It falls again as the rate does, so the end of a training does not show it. It stands in for tuning: a rate that
    held-out accuracy has chosen, with lower ones beside it, is not too high, whatever the loss did on the way.
    """
    name, curve = "overshoot", mean_curve(trainings, NLL)
    if len(curve) < FEWEST_PROBES:
        return _unmeasured(name, f"held-out demonstrations were probed fewer than {FEWEST_PROBES} times; {_VALIDATION}")
    first = next(iter(curve.values()))
    at, worst = max(curve.items(), key=lambda pair: pair[1])
    limit = first * OVERSHOT
    what = f"the held-out loss began at {first:.3f}, and was never above {worst:.3f}"
    if worst > limit and tuned_rate(trainings, tuned).state is CheckState.PASSED:
        what += f", which it reached after {at} steps: so it does at this rate, which tuning chose for its accuracy"
        return _judged(name, True, what, "", "", worst, limit)
    complaint = f", which it reached after {at} steps: the rate is too high"
    remedy = "a third of optimizer.lr, until the loss hardly rises; or tune it"
    return _judged(name, worst <= limit, what, complaint, remedy, worst, limit)


def held_out_accuracy(trainings: Sequence[Training]) -> Check:
    """Whether validation accuracy ends below its peak by more than chance, the choice of the peak included."""
    name, curve, asked = "held-out accuracy", mean_curve(trainings, SCORE), trainings[0].probed
    if len(curve) < 2 or not asked:
        return _unmeasured(name, f"no validation questions were probed; {_VALIDATION}")
    at, peak = max(curve.items(), key=lambda pair: pair[1])
    *_, last = curve.values()
    noise = sqrt((peak * (1 - peak) + last * (1 - last)) / asked)
    limit = peak - _quantile(CHANCE / (len(curve) - 1)) * noise
    what = f"{last:.3f} at the end, {peak:.3f} at best, after {at} of {len(trainings[0].steps)} steps ({asked} items)"
    remedy = f"stop: {at}, or a lower optimizer.lr"
    return _judged(name, last >= limit, what, ": it peaked early", remedy, last, limit)


def replies(arm: Sequence[Sequence[ItemReply]], base: Sequence[Sequence[ItemReply]]) -> Check:
    """Whether more replies to the test items loop, are cut or state no answer than the base's (one list per seed)."""
    rows = [(one.question, one.reply, seed) for seed, some in enumerate(arm) for one in some]
    if not rows:
        return _unmeasured("replies", "nobody evaluated it")
    share = _share_degenerate(rows)
    of_base = [one.reply for some in base for one in some]
    had = statistics.fmean(map(is_degenerate, of_base)) if of_base else 0.0
    parts = ", ".join(f"{_percent(found)} {kind}" for kind, found in _kinds([reply for _, reply, _ in rows]))
    beside = f"base: {_percent(had)}" if of_base else "no untrained arm beside it"
    what = f"{_percent(share.value)} of the replies are degenerate ({parts}; {beside})"
    remedy = (
        "a lower optimizer.lr or fewer steps, a larger max_new_tokens where they are cut, or demonstrations in the "
        "model's own words"
    )
    lowest = share.value if share.low is None else share.low
    return _judged("replies", lowest <= had + SPARE, what, "", remedy, share.value, had + SPARE)


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
    scores = {key: score for training in trainings for key, score in training.rollouts.demonstrations.items()}
    known = [score >= SUCCESS for score in scores.values() if score is not None]
    if not known:
        return _unmeasured("demonstrations", "no verifier judged one")
    share = statistics.fmean(known)
    what = f"their own verifier accepts {_percent(share)} of {len(known):,}"
    remedy = "correct or leave out the others: a forge drops what its verifier rejects"
    return _judged("demonstrations", share >= ACCEPTED, what, "", remedy, share, ACCEPTED)


def reward(trainings: Sequence[Training]) -> Check:
    """Whether the reward rises; it fails where it falls by more than batches differ."""
    change = _change(trainings, "reward/mean")
    if change is None:
        return _unmeasured("reward", f"fewer than {FEWEST_STEPS} steps show no trend")
    limit = change.first - _quantile(CHANCE) * change.noise
    what = f"{change.first:.3f} in the first quarter of the steps, {change.last:.3f} in the last"
    remedy = "a lower optimizer.lr, a larger KL weight, or questions that the policy answers now and then"
    return _judged("reward", change.last >= limit, what, ": it falls", remedy, change.last, limit)


def groups(trainings: Sequence[Training]) -> Check:
    """How many groups taught nothing because their replies scored the same; it fails where all did."""
    curve = mean_curve(trainings, "groups/zero_variance")
    if not curve:
        return _unmeasured("groups", "none was sampled")
    share = statistics.fmean(curve.values())
    what = f"the replies of {_percent(share)} of the groups were all worth the same, which teaches nothing"
    remedy = "questions that the model answers now and then, or a larger objective.group_size"
    return _judged("groups", share < 1, what, "", remedy, share, 1.0)


def parity(trainings: Sequence[Training], bound: float) -> Check:
    """Whether sampler and trainer agreed about the sampled tokens in all steps, not the first one alone.

    Of stale replies they need not: there it is held-out tokens after each push.
    """
    is_stale = trainings[0].recipe.staleness > 0
    key, token = ("parity/push", "held-out") if is_stale else ("parity/max_abs", "sampled")
    gaps = [step.metrics[key] for t in trainings for step in t.steps if key in step.metrics]
    if not gaps:
        return _unmeasured("parity", "no step compared rollout and training")
    what = f"rollout and training differ by at most {max(gaps):.2g} nats about a {token} token"
    remedy = "look for two versions of the weights, or two precisions, in sampler and trainer"
    return _judged("parity", max(gaps) <= bound, what, "", remedy, max(gaps), bound)


def tuned_rate(trainings: Sequence[Training], tuned: Tuned | None) -> Check:
    """Whether the rate is the one that tuning chose, and not at an end of what there was to choose from."""
    name, key = "learning rate", "optimizer.lr"
    rate = trainings[0].recipe.optimizer.lr
    if tuned is None or key not in tuned.settings:
        return _unmeasured(name, f"nobody tuned it; it is {rate:g}")
    chosen = float(tuned.settings[key])
    if chosen != rate:
        what, remedy = f"it is {rate:g}, and tuning chose {chosen:g}", f"{key}={chosen:g}, or tune again"
        return _judged(name, False, what, "", remedy, rate, chosen)
    what = f"tuning chose {rate:g} among {', '.join(f'{float(one):g}' for one in tuned.grid.get(key, ()))}"
    complaint, remedy = ", an end of it: a better one may lie beyond", "tune over a wider grid"
    return _judged(name, key not in tuned.edges, what, complaint, remedy, rate)


def distance(relative: float) -> Check:
    """How far training went from where it began, as a share of the norm of the weights; 0 is no training."""
    what = f"the weights are {relative:.2g} of their norm away from where training began"
    remedy = "look whether the optimizer has parameters, gradients and a rate above 0"
    return _judged("distance", relative > 0, what, ": nothing was trained", remedy, relative)


def _quantile(level: float) -> float:
    """The one-sided quantile of the standard normal distribution."""
    return statistics.NormalDist().inv_cdf(1 - level)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
