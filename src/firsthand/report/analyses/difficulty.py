"""Is RL's edge a filter for medium difficulty? Arms on examples of some pass rate, beside all examples and beside RL.

arXiv:2602.10815 reports that SFT on examples of medium difficulty surpasses RL out of domain.
"""

from collections.abc import Iterator
from typing import NamedTuple

from markupsafe import Markup
from pydantic import ValidationError

from firsthand.data.loaded import Chosen
from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.tenths import samples
from firsthand.report.arms import Arm, compare_arms
from firsthand.report.headline import points
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import Tile, figure, plots, tile_chart
from firsthand.run import CHOSEN
from firsthand.stats import Estimate

ALL_EXAMPLES, RL = "the same on all examples", "RL on all examples"
_ALL = "all"
"""What stands in a family's place for all questions."""


class Beside(NamedTuple):
    """A filtered arm and one that is not, on questions of one family, or on all."""

    arm: Arm
    other: Arm
    which: str
    """What the other one is: one of the two above."""
    family: str
    difference: Estimate
    """The filtered arm's accuracy less the other's."""

    @property
    def accuracies(self) -> tuple[float | None, float | None]:
        """Of either."""
        first, second = (_accuracy(arm, self.family) for arm in (self.arm, self.other))
        return first, second


def is_filtered(arm: Arm) -> bool:
    """Whether it was trained on examples of some pass rate."""
    return bool(arm.runs[0].data.get("pass_rate")) and bool(arm.runs[0].taken)


def pairs(evidence: Evidence) -> list[tuple[Arm, Arm, str]]:
    """Each filtered arm, what stands beside it, and what that is."""
    filtered = [arm for arm in evidence.arms if is_filtered(arm)]
    trained = [arm for arm in evidence.arms if arm.runs[0].taken and not is_filtered(arm)]
    return [(arm, other, which) for arm in filtered for other in trained if (which := _which(arm, other))]


def _which(arm: Arm, other: Arm) -> str:
    """Empty where the other one is neither."""
    (own, others), starts = [one.runs[0].recipe or {} for one in (arm, other)], (arm.starts_from, other.starts_from)
    if own.get("objective") == others.get("objective") and starts[0] == starts[1]:
        return ALL_EXAMPLES
    return RL if samples(other.runs[0]) else ""


def beside_the_filtered(evidence: Evidence) -> list[Beside]:
    """On the questions of every table that both have a number in: all of them, then by family."""
    everywhere = evidence.everywhere or evidence.arms
    found = []
    for arm, other, which in pairs(evidence):
        for first in (one for one in everywhere if one.index == arm.index):
            for second in (one for one in everywhere if (one.index, one.table) == (other.index, first.table)):
                families = sorted(first.families) if len(first.families) > 1 else []
                for family in (None, *families):
                    if (one := compare_arms(first, second, family)) is not None:
                        found.append(Beside(first, second, which, family or _ALL, one.estimate))
    return found


def chosen(arm: Arm) -> Chosen | None:
    """What the filter has left of the first run's examples; None where that is not there."""
    try:
        return Chosen.model_validate_json((arm.runs[0].folder / CHOSEN).read_bytes())
    except (FileNotFoundError, ValidationError):  # a run that was killed early, or a file that somebody changed
        return None


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where no arm is filtered, or nothing stands beside it."""
    found = beside_the_filtered(evidence)
    if not found:
        return None
    return AnalysisPanel(
        name="difficulty",
        title="Filtered by difficulty",
        about=(
            "Arms that were trained on examples of some pass rate alone, beside the same method on all of them and "
            "beside RL: points gained by the filtered arm. arXiv:2602.10815 says that RL's edge is such a filter, and "
            "that filtered SFT surpasses it. Fewer examples are seen more often, which is part of the difference."
        ),
        body=plots(_figures(found), _sentences(found)),
        columns=(
            *("evaluation", "filtered arm", "against", "which is", "questions"),
            *("accuracy", "its accuracy", "difference", "low", "high", "kept", "of"),
        ),
        rows=tuple(map(_row, found)),
        wide=True,
    )


def _row(one: Beside) -> tuple[Cell, ...]:
    kept = chosen(one.arm)
    extent = (None, None) if kept is None else (kept.kept, kept.of)
    named = one.arm.table, one.arm.name, one.other.name, one.which, one.family
    return (*named, *one.accuracies, *one.difference[:3], *extent)


def _figures(found: list[Beside]) -> Iterator[Markup]:
    """One for each evaluation."""
    for table in dict.fromkeys(one.arm.table for one in found):
        here = [one for one in found if one.arm.table == table]
        families = list(dict.fromkeys(one.family for one in here))
        lines: dict[str, dict[str, Beside]] = {}
        for one in here:
            lines.setdefault(f"{one.arm.name} - {one.other.name}", {})[one.family] = one
        grid = [(name, [_tile(name, line.get(family)) for family in families]) for name, line in lines.items()]
        title = f"Points gained: {table}" if table else "Points gained"
        yield figure(title, tile_chart(title, grid, families))


def _tile(name: str, one: Beside | None) -> Tile:
    if one is None:
        return Tile(None, "—")
    gain = points(one.difference.value)
    return Tile(one.difference.value, gain, f"{name} on {one.family}: {gain}{_ends(one.difference)}")


def _ends(difference: Estimate) -> str:
    low, high = difference.low, difference.high
    return "" if low is None or high is None else f" ({points(low)} to {points(high)})"


def _sentences(found: list[Beside]) -> Iterator[str]:
    for arm in {one.arm.index: one.arm for one in found}.values():
        if (kept := chosen(arm)) is not None:
            share = f"{kept.kept:,} of {kept.of:,} examples ({kept.kept / kept.of:.0%})"
            yield f"{arm.name} was trained on {share}, with a pass rate of {kept.least:g} to {kept.most:g}."
    for one in found:
        if one.family == _ALL:
            gain = f"{points(one.difference.value)} points{_ends(one.difference)}"
            where = f" on {one.arm.table}" if one.arm.table else ""
            yield f"{one.arm.name} against {one.other.name}, {one.which}: {gain}{where}."


def _accuracy(arm: Arm, family: str) -> float | None:
    found = arm.accuracy if family == _ALL else arm.families.get(family)
    return None if found is None else found.value
