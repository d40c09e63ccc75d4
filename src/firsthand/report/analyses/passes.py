"""Does RL only sharpen? pass@k of each arm and of the untrained model, and where the two cross.

A policy that only learnt to say first what the model could say anyway is above it at k = 1, and no longer at large k
(Yue et al., arXiv:2504.13837). pass@k is unbiased (`stats.pass_at`), from however many samples there are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firsthand.report.analyses.evidence import Evidence, evaluated_runs
from firsthand.report.arms import Arm
from firsthand.report.headline import points
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import XY, Series, figure, legend_of, plots, xy_chart
from firsthand.stats import FEWEST_PAIRS, ROUNDING, SUCCESS, Estimate, clustered_mean, paired_test, pass_at

LARGEST = 64
_DRAWS = 2000
"""Of the bootstrap over questions that a crossing's interval is from."""

_Matrix = NDArray[np.float64]


class Passes(NamedTuple):
    """pass@k of every question that all runs of an arm sampled in full."""

    questions: tuple[str, ...]
    at_SQK: _Matrix
    """Run, question, k - 1."""

    def only(self, questions: Sequence[str]) -> "Passes":
        """Of these questions."""
        places = {question: i for i, question in enumerate(self.questions)}
        return Passes(tuple(questions), self.at_SQK[:, [places[question] for question in questions]])

    def estimate(self, k: int) -> Estimate:
        """The mean of pass@k, by question and run."""
        runs, count, _ = self.at_SQK.shape
        run_ids = [run for run in range(runs) for _ in range(count)] if runs > 1 else None
        return clustered_mean(self.at_SQK[:, :, k - 1].ravel(), [*self.questions] * runs, run_ids)


def passes(arm: Arm) -> Passes | None:
    """None where an arm was not sampled. A question of which a sample has no score is left out."""
    tables = [_hits(arm, i) for i in range(len(evaluated_runs(arm)))]
    sizes = [n for table in tables for n, _ in table.values()]
    if not sizes or (n := max(sizes)) < 1:
        return None
    shared = sorted(set.intersection(*({q for q, (m, _) in table.items() if m == n} for table in tables)))
    if not shared:
        return None
    ks = range(1, min(n, LARGEST) + 1)
    return Passes(
        tuple(shared), np.array([[[pass_at(k, n, table[q][1]) for k in ks] for q in shared] for table in tables])
    )


def _hits(arm: Arm, run: int) -> dict[str, tuple[int, int]]:
    """question -> measured samples, right ones."""
    found = {}
    for score in evaluated_runs(arm)[run].scores:
        hits = [j.verdict.score >= SUCCESS for j in score.samples if j.verdict.score is not None]
        if hits:
            found[score.example_id] = (len(hits), sum(hits))
    return found


class Crossing(NamedTuple):
    """Of a tuned arm's pass@k with that of the untrained model."""

    first: Estimate
    """Tuned minus untrained at k = 1."""
    last: Estimate
    """At the largest k."""
    k: int
    """The largest k that both have."""
    at: int | None
    """The first k at which the untrained model is level or above, after it was below; None: nowhere up to `k`."""
    low: int | None
    """End of the 95 % interval over questions, as `high`; None where that end is beyond `k`."""
    high: int | None
    share: float
    """Of the draws, those with a crossing."""


def crossing(tuned: Passes, base: Passes) -> Crossing | None:
    """None where they share no question."""
    shared = sorted(set(tuned.questions) & set(base.questions))
    if not shared:
        return None
    ours, theirs = tuned.only(shared), base.only(shared)
    largest = min(ours.at_SQK.shape[2], theirs.at_SQK.shape[2])
    gaps_QK = ours.at_SQK.mean(axis=0)[:, :largest] - theirs.at_SQK.mean(axis=0)[:, :largest]
    rng = np.random.default_rng(0)
    counts_DQ = rng.multinomial(len(shared), np.full(len(shared), 1 / len(shared)), size=_DRAWS)
    drawn = [_crosses(gaps_K) for gaps_K in counts_DQ @ gaps_QK / len(shared)]
    places = sorted(largest + 1 if place is None else place for place in drawn)
    low, high = places[int(0.025 * _DRAWS)], places[int(0.975 * _DRAWS)]
    return Crossing(
        first=_difference(ours, theirs, 1),
        last=_difference(ours, theirs, largest),
        k=largest,
        at=_crosses(gaps_QK.mean(axis=0)),
        low=None if low > largest else low,
        high=None if high > largest else high,
        share=sum(place is not None for place in drawn) / _DRAWS,
    )


def _crosses(gaps_K: _Matrix) -> int | None:
    """The first k at which a gap that was positive no longer is."""
    below = False
    for k, gap in enumerate(gaps_K, start=1):
        if below and gap < ROUNDING:
            return k
        below = below or bool(gap >= ROUNDING)
    return None


def _difference(ours: Passes, theirs: Passes, k: int) -> Estimate:
    return paired_test(ours.at_SQK[:, :, k - 1], theirs.at_SQK[:, :, k - 1]).difference


def on_sharpening(arm: str, base: str, found: Crossing) -> str:
    """What a crossing says about sharpening."""
    if found.first.n < FEWEST_PAIRS:
        return f"{arm} and {base}: {found.first.n} questions are too few to say anything."
    first, last = found.first, found.last
    if first.high is not None and first.high < 0:
        return f"{arm} is below {base} at k = 1, {_said(first)}: there is no gain to explain."
    if first.low is None or first.low <= 0:
        return f"{arm}: no gain over {base} at k = 1 is resolved, {_said(first)}: there is nothing to explain."
    gain = f"{arm} beside {base}: {_said(first)} at k = 1"
    if found.k == 1:
        return f"{gain}; one sample does not show whether it only sharpens."
    if last.low is not None and last.low > 0:
        return f"{gain} and still {_said(last)} at k = {found.k}: more than sharpening, as far as k reaches."
    where = _where(found, base)
    if last.high is not None and last.high < 0:
        return f"{gain} and {_said(last)} at k = {found.k}: it sharpens, and loses breadth. {where}"
    return (
        f"{gain}, and at k = {found.k} no difference is resolved ({_said(last)}): consistent with sharpening. {where}"
    )


def _where(found: Crossing, base: str) -> str:
    if found.at is None:
        return f"Up to k = {found.k} the two do not cross."
    ends = f"{found.low or f'beyond {found.k}'} to {found.high or f'beyond {found.k}'}"
    return f"{base} draws level at k = {found.at} (95 % interval over questions: {ends})."


def _said(gap: Estimate) -> str:
    low, high = ("?" if end is None else points(end) for end in (gap.low, gap.high))
    return f"{points(gap.value)} points ({low} to {high})"


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where no arm was sampled twice or more for a question."""
    found = {arm.index: some for arm in evidence.arms if (some := passes(arm)) is not None and some.at_SQK.shape[2] > 1}
    if not found:
        return None
    names = {arm.index: arm.name for arm in evidence.arms}
    rows = [
        (names[index], k, len(some.questions), *some.estimate(k)[:3])
        for index, some in found.items()
        for k in _shown(some.at_SQK.shape[2])
    ]
    series = [
        Series(i, names[i], tuple(XY(float(k), v, low, high) for arm, k, _, v, low, high in rows if arm == names[i]))
        for i in found
    ]
    svg = xy_chart("pass@k", "k samples", "chance that one is right", series, log_x=True)
    return AnalysisPanel(
        name="pass-at-k",
        title="Does training only sharpen?",
        about=(
            "The chance that one of k samples is right. A policy that only learnt to say first what the untrained "
            "model could say anyway starts above it and meets it at large k (arXiv:2504.13837)."
        ),
        body=plots([figure("pass@k", svg, legend_of(series), "95 % intervals")], _sentences(evidence, found)),
        columns=("arm", "k", "questions", "pass@k", "low", "high"),
        rows=tuple[tuple[Cell, ...], ...](rows),
    )


def _shown(largest: int) -> list[int]:
    """Powers of two, and the largest."""
    return sorted({*(2**i for i in range(7) if 2**i <= largest), largest})


def _sentences(evidence: Evidence, found: dict[int, Passes]) -> list[str]:
    base = evidence.base
    if base is None or base.index not in found:
        return []
    others = [arm for arm in evidence.arms if arm.index in found and arm is not base and arm.table == base.table]
    crossings = [(arm.name, crossing(found[arm.index], found[base.index])) for arm in others]
    return [on_sharpening(name, base.name, one) for name, one in crossings if one is not None]
