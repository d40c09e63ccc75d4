"""Do more demonstrations help, or hurt? Accuracy of arms that imitate by how many demonstrations they saw.

VLAA-Thinking (arXiv:2504.11468, tab. 2) loses 10 points with 25K demonstrations and 19 with 126K.
"""

import json
from typing import Any, NamedTuple

from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.tenths import samples
from firsthand.report.arms import Arm
from firsthand.report.panels import AnalysisPanel
from firsthand.report.plots import XY, Series, figure, legend_of, plots, xy_chart
from firsthand.stats import Estimate

_EXTENT = {"name", "seed", "id", "steps", "stop", "data_id"}
"""Keys of a recipe that arms of one kind may differ in, beside `data.number`."""


class Imitator(NamedTuple):
    """An arm that imitates, and how much."""

    arm: Arm
    seen: int
    """Demonstrations, with repetition."""
    different: int | None
    """Those of them that are not the same; None where the recipe takes a whole file."""
    accuracy: Estimate


def kinds(evidence: Evidence) -> list[list[Imitator]]:
    """Arms that imitate and differ in nothing but how much, in that order; of every kind two or more."""
    found: dict[str, list[Imitator]] = {}
    for arm in evidence.arms:
        recipe, run = arm.runs[0].recipe or {}, arm.runs[0]
        prompts = recipe.get("prompts")
        if arm.accuracy is None or not run.taken or samples(run) or not isinstance(prompts, int):
            continue
        seen, number = prompts * len(run.taken), run.data.get("number")
        different = min(seen, number) if isinstance(number, int) else None
        found.setdefault(_kind(recipe, run.data), []).append(Imitator(arm, seen, different, arm.accuracy))
    return [sorted(some, key=lambda one: one.seen) for some in found.values() if len(some) > 1]


def _kind(recipe: dict[str, Any], data: dict[str, Any]) -> str:
    own = {key: value for key, value in recipe.items() if key not in _EXTENT}
    own["data"] = {key: value for key, value in data.items() if key != "number"}
    return json.dumps(own, sort_keys=True)


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where no two arms imitate to different extents."""
    found = kinds(evidence)
    if not found:
        return None
    series = [
        Series(
            kind[0].arm.index,
            ", ".join(one.arm.name for one in kind),
            tuple(XY(one.seen, a.value, a.low, a.high, one.arm.name) for one in kind for a in [one.accuracy]),
        )
        for kind in found
    ]
    if (base := evidence.base) is not None and base.accuracy is not None:
        ends = min(one.seen for kind in found for one in kind), max(one.seen for kind in found for one in kind)
        level = tuple(XY(end, base.accuracy.value) for end in ends)
        series.append(Series(base.index, base.name, level))
    svg = xy_chart("Accuracy by demonstrations", "demonstrations seen", "held-out accuracy", series, log_x=True)
    return AnalysisPanel(
        name="scale",
        title="How many demonstrations",
        about=(
            "Arms that imitate and differ in the number of demonstrations or steps alone. VLAA-Thinking "
            "(arXiv:2504.11468) found that more of them hurt more; arXiv:2606.09059 that stopping early mends it."
        ),
        body=plots([figure("Accuracy by demonstrations", svg, legend_of(series), "95 % intervals")]),
        columns=("arm", "demonstrations seen", "different ones", "accuracy", "low", "high"),
        rows=tuple((one.arm.name, one.seen, one.different, *one.accuracy[:3]) for kind in found for one in kind),
    )
