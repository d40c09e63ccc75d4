"""What the arms of a study have cost, by every measure, and what was made equal between them."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from firsthand.cost import COST_UNITS, CostUnit, added, cost_of_run
from firsthand.study.plan import Study
from firsthand.study.results import ArmRuns

Costs = dict[CostUnit, float | None]


def budget_of(study: Study, by_arm: Mapping[str, Mapping[int, ArmRuns]]) -> dict[str, Any]:
    """`budget` of results.json, as means over the seeds.

    `arms`: with all that an arm is built on; `own`: its own training alone. None is what a run did not count. `match`
    and `of` or `amount` are absent where nothing was made equal.
    """
    alone = {arm: {seed: cost_of_run(run.training) for seed, run in runs.items()} for arm, runs in by_arm.items()}
    whole = {
        arm: {seed: _sum([alone[name][seed] for name in (arm, *study.built_on(arm))]) for seed in runs}
        for arm, runs in by_arm.items()
    }
    matched = (
        {} if study.budget is None else study.budget.model_dump(include={"match", "of", "amount"}, exclude_none=True)
    )
    found = {
        name: {arm: _mean(list(costs.values())) for arm, costs in table.items()}
        for name, table in (("arms", whole), ("own", alone))
    }
    return {**matched, **found}


def _sum(costs: Sequence[Costs]) -> Costs:
    return {unit: added(cost[unit] for cost in costs) for unit in COST_UNITS}


def _mean(costs: Sequence[Costs]) -> Costs:
    values = {unit: [cost[unit] for cost in costs] for unit in COST_UNITS}
    return {
        unit: None if None in found else fmean(value for value in found if value is not None)
        for unit, found in values.items()
    }
