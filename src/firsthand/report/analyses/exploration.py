"""Does a warm start change more than entropy? Entropy, KL and clipping over training, and entropy beside accuracy.

arXiv:2606.09059 finds that warm starts end at one accuracy with different entropies; in SRFT
(arXiv:2506.19767) that of GRPO collapses.
"""

from collections.abc import Iterator
from typing import NamedTuple

from markupsafe import Markup

from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.tenths import tenths
from firsthand.report.arms import Arm, Comparison, compare_arms
from firsthand.report.headline import points
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import XY, Series, figure, legend_of, plots, xy_chart

METRICS = {
    "policy/entropy": ("Entropy", "nats per token"),
    "policy/kl": ("KL from the reference", "nats per token"),
    "policy/clipped": ("Clipped tokens", "share"),
    "optim/grad_norm": ("Gradient norm", "norm"),
}
"""metric -> title, unit."""
_OWN = {"name", "seed", "id", "start"}
"""Keys of a recipe that a warm start and its counterpart differ in."""


def rows(evidence: Evidence) -> list[tuple[str, str, float, float]]:
    """arm, metric, step, mean over the tenth of the training around it."""
    return [(arm.name, metric, *one) for metric in METRICS for arm in evidence.arms for one in tenths(arm, metric)]


class WarmStart(NamedTuple):
    """An arm that starts from another one, and the arm that does the same without."""

    warm: Arm
    cold: Arm
    entropy: tuple[tuple[float, float], tuple[float, float]]
    """Of the warm one and of the cold one: in the first tenth of the training, and in the last."""
    difference: Comparison
    """Warm minus cold, held out."""


def warm_starts(evidence: Evidence) -> list[WarmStart]:
    """Those of which both arms have an entropy and were evaluated on the same questions."""
    cold = {_settings(arm): arm for arm in evidence.arms if not _start(arm)}
    pairs = [(arm, cold.get(_settings(arm))) for arm in evidence.arms if _start(arm)]
    found = []
    for warm, other in pairs:
        lines = [[] if arm is None else tenths(arm, "policy/entropy") for arm in (warm, other)]
        if other is not None and all(lines) and (difference := compare_arms(warm, other)) is not None:
            ends = [(line[0].value, line[-1].value) for line in lines]
            found.append(WarmStart(warm, other, (ends[0], ends[1]), difference))
    return found


def _start(arm: Arm) -> bool:
    return bool((arm.runs[0].recipe or {}).get("start"))


def _settings(arm: Arm) -> str:
    return repr(sorted((key, value) for key, value in (arm.runs[0].recipe or {}).items() if key not in _OWN))


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where nobody measured an entropy or a KL."""
    found = rows(evidence)
    if not any(metric.startswith("policy/") for _, metric, _, _ in found):
        return None
    return AnalysisPanel(
        name="exploration",
        title="Entropy, KL and clipping",
        about=(
            "How undecided each policy is, how far it has moved and how often its updates are clipped, in tenths of "
            "the training; and whether what is left of the entropy goes with accuracy. Warm starts are said to "
            "differ in entropy alone (arXiv:2606.09059)."
        ),
        body=plots(_figures(evidence), map(_said, warm_starts(evidence))),
        columns=("arm", "metric", "step", "mean"),
        rows=tuple[tuple[Cell, ...], ...](found),
        wide=True,
    )


def _figures(evidence: Evidence) -> Iterator[Markup]:
    for metric, (title, unit) in METRICS.items():
        series = [
            Series(arm.index, arm.name, tuple(XY(step, value) for step, value in line), f"{line[-1].value:.3g}")
            for arm in evidence.arms
            if (line := tenths(arm, metric))
        ]
        if series:
            yield figure(title, xy_chart(title, "training step", unit, series), legend_of(series))
    ends = [
        Series(arm.index, arm.name, (XY(line[-1].value, a.value, a.low, a.high, f"{arm.name}: {line[-1].value:.3g}"),))
        for arm in evidence.arms
        if (line := tenths(arm, "policy/entropy")) and (a := arm.accuracy) is not None
    ]
    if len(ends) > 1:
        svg = xy_chart("Entropy and accuracy", "entropy in the last tenth", "held-out accuracy", ends, lines=False)
        yield figure("What is left of it, beside accuracy", svg, legend_of(ends), "95 % intervals")


def _said(one: WarmStart) -> str:
    (warm_first, warm_last), (cold_first, cold_last) = one.entropy
    gap = one.difference.estimate
    ends = "" if gap.low is None or gap.high is None else f" ({points(gap.low)} to {points(gap.high)})"
    return (
        f"{one.warm.name} begins with an entropy of {warm_first:.3g} and ends with {warm_last:.3g}; {one.cold.name}, "
        f"which does the same without a start, with {cold_first:.3g} and {cold_last:.3g}. Their accuracies differ by "
        f"{points(gap.value)} points{ends}: {one.difference.finding.value}."
    )
