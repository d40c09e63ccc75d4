"""How far a training is, by its steps or by what they cost; it ends, pauses and lowers its rate by that."""

from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_folder

from firsthand.cost import USED, CostUnit, RunCost, cost_of, cost_of_run, steps_of
from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.trainer import train
from firsthand.trainer.pace import Pace
from firsthand.trainer.update import learning_rate

ONE: dict[str, Any] = {"name": "one", "data": {"worlds": ["count"]}, "objective": {"kind": "sft", "style": "plain"}}


def step(number: int, seconds: float = 3.0, *, trained: bool = True) -> Step:
    """One that generates 10 tokens, trains on 4, computes 1 + 2 + 3, and is probed for a second."""
    metrics = {"tokens/generated": 10.0, "tokens/trained": 4.0}
    metrics |= {"flops/vision": 1.0, "flops/rollout": 2.0, "flops/update": 3.0}
    return Step(step=number, metrics=metrics, seconds=seconds, timing={"probe": 1.0}, trained=trained)


@pytest.mark.parametrize(
    ("unit", "cost"), [("steps", 1.0), ("generated", 10.0), ("trained", 4.0), ("flops", 6.0), ("seconds", 2.0)]
)
def test_what_a_step_costs(unit: CostUnit, cost: float) -> None:
    assert cost_of(step(0), unit) == cost
    assert cost_of(step(0, trained=False), unit) == 0  # the probe after the last step
    uncounted = Step(step=0, metrics={}, seconds=3.0)
    assert cost_of(uncounted, unit) == {"steps": 1.0, "seconds": 3.0}.get(unit)


def test_a_pace_by_steps() -> None:
    recipe = Recipe.model_validate({**ONE, "steps": 4, "stop": 3})
    pace = Pace(recipe, [step(0)])
    assert (pace.taken, pace.place, pace.share, pace.is_over) == (1, 1, 0.25, False)
    assert pace.note(step(1)) == step(1)  # no share of a budget
    assert list(zip(pace.steps(0.5), [None], strict=False)) == []  # half of the four are done
    pace.note(step(2))
    assert (pace.share, pace.is_over, list(pace.steps(None))) == (0.75, True, [])


@pytest.mark.parametrize(("amount", "ends_after"), [(11.9, 2), (12.0, 2), (12.1, 3), (1000.0, 4)])
def test_a_pace_by_cost_ends_with_the_step_that_reaches_it(amount: float, ends_after: int) -> None:
    recipe = Recipe.model_validate({**ONE, "steps": 4, "budget": {"unit": "flops", "amount": amount}})
    pace = Pace(recipe, ())
    taken = []
    for number in pace.steps(None):
        taken.append(number)
        assert pace.note(step(number)).metrics[USED] == pytest.approx(6 * (number + 1) / amount)
    assert len(taken) == ends_after == pace.taken


def test_the_place_in_a_schedule_is_the_share_that_is_used() -> None:
    recipe = Recipe.model_validate(
        {**ONE, "optimizer": {"warmup": 0}, "steps": 1000, "budget": {"unit": "seconds", "amount": 8.0}}
    )
    pace = Pace(recipe, ())
    places = []
    for number in pace.steps(None):
        places.append(pace.place)
        pace.note(step(number))
    assert places == [0, 250, 500, 750]  # two seconds each
    rates = [learning_rate(place, 1000, recipe.optimizer) for place in places]
    by_steps = [learning_rate(place, 4, recipe.optimizer) for place in range(4)]
    assert rates == pytest.approx(by_steps)


def test_a_budget_of_what_a_method_never_does_is_refused() -> None:
    with pytest.raises(ValueError, match="sft generates nothing; take trained, flops or seconds"):
        Recipe.model_validate({**ONE, "budget": {"unit": "generated", "amount": 5}})


@pytest.mark.parametrize("unit", ["flops", "seconds"])
def test_a_training_with_a_budget_goes_on_as_if_it_had_not_been_stopped(unit: CostUnit, tmp_path: Path) -> None:
    tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)
    shared = {**ONE, "model": str(tmp_path / "tiny"), "prompts": 1, "steps": 6, "checkpoint_every": 1}
    costs = [cost_of(one, unit) or 0.0 for one in steps_of(train(Recipe.model_validate(shared), tmp_path / "plain"))]
    amount = sum(costs[:3]) + costs[3] / 2 if unit == "flops" else 1e-9
    recipe = Recipe.model_validate({**shared, "steps": 1000, "budget": {"unit": unit, "amount": amount}})
    whole = steps_of(train(recipe, tmp_path / "whole"))
    assert whole[-1].metrics[USED] >= 1 > (whole[-2].metrics[USED] if len(whole) > 1 else 0)
    if unit == "seconds":
        return  # no two runs take as long

    class Stopped(Exception):
        pass

    def stop(record: Step) -> None:
        if record.step == 1:
            raise Stopped

    with pytest.raises(Stopped):
        train(recipe, tmp_path / "parts", stop)
    parts = train(recipe, tmp_path / "parts")
    assert [one.metrics for one in steps_of(parts)] == [one.metrics for one in whole]
    rates = [one.metrics["optim/lr"] for one in whole]
    assert rates == sorted(rates, reverse=True) or rates[1:] == sorted(rates[1:], reverse=True)
    used = cost_of_run(parts)
    assert used["steps"] == len(whole) and used["seconds"] == pytest.approx(60 * RunCost.read(parts).minutes)
