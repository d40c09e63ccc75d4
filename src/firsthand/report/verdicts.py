"""What the study found, laid out: a card for each verdict, a matrix of arms and checks, what was tuned, the budgets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from firsthand.findings import Check, CheckState, Effect, Health, StudyVerdict, Tuned
from firsthand.report.arms import Arm
from firsthand.report.charts import against_zero
from firsthand.report.headline import points
from firsthand.report.results import StudyResults

MEASURES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "steps": ("optimizer steps", lambda v: f"{v:,.0f}"),
    "generated": ("tokens generated", lambda v: f"{v:,.0f}"),
    "trained": ("tokens trained on", lambda v: f"{v:,.0f}"),
    "flops": ("TFLOP", lambda v: f"{v / 1e12:,.4g}"),
    "seconds": ("minutes", lambda v: f"{v / 60:,.1f}"),
}
"""What a budget is told in: key of results.json -> header, words."""


class Side(NamedTuple):
    """An arm that a verdict speaks of."""

    name: str
    arm: Arm | None
    """None where the page has no run of it."""
    health: int | None
    """Its row in the matrix of health, which says more of it; None where nobody examined it."""
    is_healthy: bool | None


class VerdictCard(NamedTuple):
    """One question, its answer, and what stands behind it."""

    verdict: StudyVerdict
    picture: Markup
    """The interval against zero; empty where nothing was measured."""
    arms: tuple[Side, ...]
    against: tuple[Side, ...]
    facts: tuple[tuple[str, str], ...]


class HealthRow(NamedTuple):
    """An arm's checks, in the matrix' columns; None where the arm has no such check."""

    name: str
    arm: Arm | None
    health: Health
    cells: tuple[Check | None, ...]

    def count(self, state: CheckState) -> int:
        """How many checks came out so."""
        return sum(check.state == state for check in self.health.checks)


class TunedRow(NamedTuple):
    """What an arm chose: setting -> (what was to choose from, what was chosen, whether that is at an end)."""

    tuned: Tuned
    arm: Arm | None
    settings: tuple[tuple[str, tuple[str, ...], str, bool], ...]


class BudgetRow(NamedTuple):
    """What an arm has used, by measure: the number, its words and, where that differs, those of its own training.

    None was not measured.
    """

    name: str
    arm: Arm | None
    cells: tuple[tuple[float, str, str] | None, ...]
    ratio: float | None
    """Of the matched measure, to the arm that the others were given as much as."""


class Found(NamedTuple):
    """All of it; every part may be empty."""

    summary: str
    cards: Sequence[VerdictCard]
    checks: Sequence[str]
    health: Sequence[HealthRow]
    tuned: Sequence[TunedRow]
    measures: Sequence[str]
    budget: Sequence[BudgetRow]
    matched: str
    """The header of the measure that was matched; empty where none was."""
    matched_to: str


def lay_out(results: StudyResults | None, arms: Sequence[Arm]) -> Found:
    """The study's findings as the page shows them, each arm with the colour that it has elsewhere."""
    results = results or StudyResults()
    by_name = {arm.name: arm for arm in arms}
    checks = list(dict.fromkeys(check.name for health in results.health for check in health.checks))
    measures = [name for name in MEASURES if results.budget and any(name in b for b in results.budget.arms.values())]
    budget = results.budget
    return Found(
        summary=_summary(results.verdicts),
        cards=_cards(results, by_name),
        checks=checks,
        health=[_health_row(health, checks, by_name) for health in results.health],
        tuned=[_tuned_row(tuned, by_name) for tuned in results.tuned],
        measures=[MEASURES[name][0] for name in measures],
        budget=_budget_rows(results, measures, by_name),
        matched=MEASURES[budget.match][0] if budget and budget.match in MEASURES else "",
        matched_to=(budget.of or "") if budget else "",
    )


def _summary(verdicts: Sequence[StudyVerdict]) -> str:
    """How many questions came out how: `3 questions: 1 helps, 2 not resolved`."""
    counts = [(effect, sum(v.effect is effect for v in verdicts)) for effect in Effect]
    told = ", ".join(f"{n} {effect}" for effect, n in counts if n)
    return f"{len(verdicts)} {'question' if len(verdicts) == 1 else 'questions'}: {told}" if verdicts else ""


def _cards(results: StudyResults, by_name: Mapping[str, Arm]) -> list[VerdictCard]:
    ends = [v for one in results.verdicts for v in (one.difference, one.low, one.high) if v is not None]
    reach = max((abs(end) for end in ends), default=0.0) or 0.01
    rows = {health.arm: (i, health) for i, health in enumerate(results.health)}

    def sides(names: Iterable[str]) -> tuple[Side, ...]:
        found = ((name, *rows.get(name, (None, None))) for name in names)
        return tuple(
            Side(name, by_name.get(name), row, None if health is None else health.is_healthy)
            for name, row, health in found
        )

    return [
        VerdictCard(one, against_zero(one.difference, one.low, one.high, reach), sides(one.arms), sides(one.against),
                    tuple(_facts(one)))
        for one in results.verdicts
    ]  # fmt: skip


def _facts(verdict: StudyVerdict) -> Iterable[tuple[str, str]]:
    if verdict.difference is not None:
        yield "difference", f"{points(verdict.difference)} points of {verdict.measure} accuracy"
    if verdict.low is not None and verdict.high is not None:
        yield "95 % interval", f"{points(verdict.low)} to {points(verdict.high)}, over {verdict.covers}"
    if verdict.p_corrected is not None:
        alone = "" if verdict.p is None else f" ({_p(verdict.p)} alone)"
        yield "p, corrected", f"{_p(verdict.p_corrected)}{alone}"
    yield (
        "measured on",
        f"{verdict.items:,} {_many('item', verdict.items)}, {verdict.seeds:,} {_many('seed', verdict.seeds)}",
    )
    needed = [
        f"{number:,} {_many(what, number)} with as many {others} as there are"
        for number, what, others in ((verdict.needed_items, "item", "seeds"), (verdict.needed_seeds, "seed", "items"))
        if number is not None
    ]
    if needed:
        yield "would resolve it", ", or ".join(needed)


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _many(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"


def _health_row(health: Health, checks: Sequence[str], by_name: Mapping[str, Arm]) -> HealthRow:
    by_check = {check.name: check for check in health.checks}
    return HealthRow(health.arm, by_name.get(health.arm), health, tuple(by_check.get(name) for name in checks))


def _tuned_row(tuned: Tuned, by_name: Mapping[str, Arm]) -> TunedRow:
    settings = tuple(
        (name, tuple(map(str, tuned.grid.get(name, ()))), str(value), name in tuned.edges)
        for name, value in tuned.settings.items()
    )
    return TunedRow(tuned, by_name.get(tuned.arm), settings)


def _budget_rows(results: StudyResults, measures: Sequence[str], by_name: Mapping[str, Arm]) -> list[BudgetRow]:
    budget = results.budget
    if budget is None:
        return []
    goal = budget.amount or budget.arms.get(budget.of or "", {}).get(budget.match)
    rows = []
    for name, used in budget.arms.items():
        own = budget.own.get(name, used)
        cells = tuple(_budget_cell(m, used.get(m), own.get(m)) for m in measures)
        mine = used.get(budget.match)
        rows.append(BudgetRow(name, by_name.get(name), cells, mine / goal if goal and mine is not None else None))
    return rows


def _budget_cell(measure: str, whole: float | None, own: float | None) -> tuple[float, str, str] | None:
    if whole is None:
        return None
    words = MEASURES[measure][1]
    return whole, words(whole), words(own) if own is not None and words(own) != words(whole) else ""
