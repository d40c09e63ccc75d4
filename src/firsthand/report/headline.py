"""What the runs say, in sentences with numbers and intervals, and what speaks against taking them at their word."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from firsthand.answers.stated import Rule
from firsthand.evaluation.guessing import guesses
from firsthand.report.arms import Arm, Comparison, compare_arms, reference, summarise
from firsthand.report.runs import RunRecords
from firsthand.reward.alarms import alarms, unread_remedy
from firsthand.stats import FEWEST_PAIRS, Estimate, Finding


@dataclass(frozen=True)
class Headline:
    """The page's first words: `lead` is the answer, `rest` qualifies it, `comparisons` are the rows behind both."""

    lead: Markup
    rest: tuple[Markup, ...]
    comparisons: tuple[Comparison, ...]


def headline(arms: Sequence[Arm]) -> Headline:
    """Say which arm of one table is best and by how much; too few questions rank nothing.

    Arms with a run that has not ended take part only if all have one.
    """
    evaluated = [arm for arm in arms if arm.accuracy is not None]
    if not evaluated:
        return Headline(Markup("No run has been evaluated yet: there is nothing to compare."), (), ())
    finished = [arm for arm in evaluated if arm.done]
    ranked = sorted(finished or evaluated, key=_value, reverse=True)
    base = reference(ranked)
    comparisons = _comparisons(ranked, base)
    caveats = _caveats(arms, ranked, comparisons)
    if len(ranked) > 1 and _fewest(ranked, comparisons) < FEWEST_PAIRS:
        said = _listed([Markup("<b>{}</b> answers {}").format(arm.name, _accuracy(arm)) for arm in ranked])
        return Headline(Markup("Too few questions to rank the arms: {}.").format(said), caveats, tuple(comparisons))
    rest = [*_sentences(ranked, base, comparisons), *caveats]
    return Headline(_lead(ranked, base, comparisons), tuple(rest), tuple(comparisons))


def _fewest(ranked: Sequence[Arm], comparisons: Sequence[Comparison]) -> int:
    """Questions behind the weakest comparison that the headline would speak of; 0 where two arms share none."""
    best, base = ranked[0], reference(ranked)
    wanted = {frozenset((arm.index, base.index)) for arm in ranked if arm is not base}
    wanted |= {frozenset((arm.index, best.index)) for arm in ranked if arm is not best}
    counts = {frozenset((c.first.index, c.second.index)): c.estimate.n for c in comparisons}
    return min(counts.get(pair, 0) for pair in wanted)


def doubts(run: RunRecords) -> list[str]:
    """The run's notices, its rewards' alarms, and whether its two accounts of the same evaluation disagree."""
    said = run.evaluation.accuracy if run.evaluation is not None else None
    found = summarise(run.scores).accuracy
    # A run that samples nothing has no rewards to watch.
    sampled = [step.metrics for step in run.steps if "groups/zero_variance" in step.metrics]
    warnings = [
        f"ALARM in the last steps of training: {alarm.text}. The rollouts below show such replies"
        for alarm in alarms(sampled, _rule(run))
    ]
    unread = None if run.evaluation is None else unread_remedy(run.evaluation.model_dump())
    notices = [*run.notices, *warnings, *([] if unread is None else [f"evaluation: {unread}"])]
    notices += [f"evaluation: {guess.line(family)}" for family, guess in guesses(run.scores).items()]
    if said is None or found is None or abs(said - found) < 0.0005:
        return notices
    return [
        *notices,
        f"evaluation.json gives an accuracy of {percent(said)}, but the mean greedy score in scores.jsonl is "
        f"{percent(found)}: the table shows the first, paired differences are of the second",
    ]


def _rule(run: RunRecords) -> Rule:
    """The one by which a training has read answers."""
    reward = (run.recipe or {}).get("reward")
    return "stated" if isinstance(reward, dict) and reward.get("answer") == "stated" else "tags"


def percent(value: float) -> str:
    """A fraction as percent, one decimal: `62.1 %` with a no-break space."""
    return f"{100 * value:.1f}\u00a0%"


def points(value: float) -> str:
    """A difference of fractions in signed points: `+21.5`, `−3.0`."""
    return f"{100 * value:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")


def _comparisons(ranked: Sequence[Arm], base: Arm) -> list[Comparison]:
    """Every arm against the reference, then the best against every other."""
    best = ranked[0]
    pairs = [(arm, base) for arm in ranked if arm is not base]
    if best is not base:
        pairs += [(best, arm) for arm in ranked if arm is not best and arm is not base]
    return [found for first, second in pairs if (found := compare_arms(first, second)) is not None]


def _lead(ranked: Sequence[Arm], base: Arm, comparisons: Sequence[Comparison]) -> Markup:
    """Who is first, by how much against the reference, and which arms its lead does not settle."""
    best = ranked[0]
    if len(ranked) == 1:
        return Markup("<b>{}</b> answers {}.").format(best.name, _accuracy(best))
    if len(equals := [arm for arm in ranked if percent(_value(arm)) == percent(_value(best))]) > 1:
        names = _listed([Markup("<b>{}</b>").format(arm.name) for arm in equals])
        return Markup("{} score the same, and no arm scores higher: <b>{}</b> answers {}.").format(
            names, best.name, _accuracy(best)
        )
    gap = Markup().join(
        Markup(", <b>{:.1f}&nbsp;points</b> {} {} <span>({})</span>").format(*_gap(c))
        for c in comparisons
        if c.first is best and c.second is base
    )
    pairs = [(c.first, c.second) for c in comparisons if c.finding is not Finding.OPEN]
    settled = {arm.index for pair in pairs if best in pair for arm in pair}
    close = [arm.name for arm in ranked[1:] if arm.index not in settled]
    doubt = Markup("; its lead over {} is not resolved").format(_listed(close)) if close else Markup()
    claim = "scores highest" if close else "is best"
    return Markup("<b>{}</b> {}: it answers {}{}{}.").format(best.name, claim, _accuracy(best), gap, doubt)


def _value(arm: Arm) -> float:
    return arm.accuracy.value if arm.accuracy else 0.0


def _listed(names: Sequence[str]) -> Markup:
    return Markup(" and ").join([Markup(", ").join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _sentences(ranked: Sequence[Arm], base: Arm, comparisons: Sequence[Comparison]) -> list[Markup]:
    """What the lead does not say: the best against the runner-up, and every arm that is worse than the reference."""
    best = ranked[0]
    if len(ranked) == 1:
        return [Markup("There is no other finished arm to compare it with.")]
    of_best = [c for c in comparisons if c.first is best and c.second is not base][:1]
    beaten = [c for c in comparisons if c.first is not best and c.second is base]
    if best is base:
        return [Markup("No other arm scores above <b>{}</b>.").format(base.name), *map(_sentence, beaten)]
    return [_sentence(c) for c in (*of_best, *(c for c in beaten if c.finding is Finding.WORSE))]


def _sentence(comparison: Comparison) -> Markup:
    return Markup("<b>{}</b> is {:.1f}&nbsp;points {} <b>{}</b> ({}).").format(comparison.first.name, *_gap(comparison))


def _gap(comparison: Comparison) -> tuple[float, str, str, Markup]:
    """How many points, on which side, of whom, and the evidence."""
    estimate = comparison.estimate
    evidence = Markup("{}, paired on {:,} questions: <em>{}</em>").format(
        _interval(estimate, points), estimate.n, comparison.finding.value
    )
    side = "above" if estimate.value >= 0 else "below"
    return abs(100 * estimate.value), side, comparison.second.name, evidence


def _accuracy(arm: Arm) -> Markup:
    estimate = arm.accuracy
    assert estimate is not None, f"{arm.name} was ranked without an accuracy"
    said = percent(estimate.value), estimate.n, _interval(estimate, lambda v: f"{100 * v:.1f}")
    if arm.measure in ("", "accuracy"):
        return Markup("<b>{}</b> of {:,} held-out questions right <span>({})</span>").format(*said)
    return Markup("<b>{}</b> ({}) over {:,} held-out questions <span>({})</span>").format(
        said[0], arm.measure, *said[1:]
    )


def _interval(estimate: Estimate, words: Callable[[float], str]) -> str:
    if estimate.low is None or estimate.high is None:
        return "no interval was measured"
    return f"95\u00a0%\u00a0interval {words(estimate.low)} to {words(estimate.high)} over {estimate.covers}"


def _caveats(arms: Sequence[Arm], ranked: Sequence[Arm], comparisons: Sequence[Comparison]) -> tuple[Markup, ...]:
    left_out = [arm.name for arm in arms if arm not in ranked]
    caveats = []
    if left_out:
        caveats.append(Markup("Not ranked, because not finished or not evaluated: {}.").format(", ".join(left_out)))
    if not all(arm.done for arm in ranked):
        caveats.append(Markup("No arm is finished: every number here is provisional."))
    if all(len(arm.runs) == 1 for arm in ranked):
        caveats.append(
            Markup("One run per arm: the intervals cover the choice of questions, not the luck of training.")
        )
    if len(ranked) > 1 and any(arm.accuracy.n < FEWEST_PAIRS for arm in ranked if arm.accuracy is not None):
        caveats.append(Markup("Below {} questions no difference is called better or worse.").format(FEWEST_PAIRS))
    if any(c.estimate.n < arm.accuracy.n for c in comparisons for arm in (c.first, c.second) if arm.accuracy):
        caveats.append(Markup("Not every arm has measured every question: differences are over those that both have."))
    return tuple(caveats)
