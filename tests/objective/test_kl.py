"""KL weights that move: the published schedules exactly, the adaptive rule by hand, and a run that is resumed."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from firsthand.objective import GRPO, Seen
from firsthand.objective.kl import GRPOD, Adaptive, ByAccuracy, Constant, Controller, Linear
from firsthand.recipe import Recipe
from firsthand.trainer import train

NOTHING = Seen(kl=None, accuracy=None, replies=0)


@pytest.mark.parametrize(
    ("low", "high", "start", "turn", "end"),
    [(0.04, 0.10, 0.07, 0.04, 0.10), (0.0, 0.02, 0.01, 0.0, 0.02)],  # OThink-MR1: counting, geometry
)
def test_grpo_d_has_the_published_values_at_the_corners(
    low: float, high: float, start: float, turn: float, end: float
) -> None:
    schedule = GRPOD(low=low, high=high)
    t = 100
    assert (schedule.at(0, t), schedule.at(0.3 * t, t), schedule.at(t, t)) == (
        pytest.approx(start, abs=1e-15),
        turn,
        end,
    )
    assert schedule.at(15, t) == pytest.approx((start + turn) / 2)  # straight lines between
    assert schedule.at(65, t) == pytest.approx((turn + end) / 2)


def test_the_prose_of_grpo_d_rises_all_the_way() -> None:
    weights = [GRPOD(low=0.04, high=0.1, monotone=True).at(s, 10) for s in range(11)]
    assert (weights[0], weights[10]) == (0.04, 0.1)
    assert weights == sorted(weights) and weights[5] == pytest.approx(0.07)


def walk(controller: Controller, steps: int, seen: Seen = NOTHING) -> list[float]:
    weights = [controller.first(steps)]
    for step in range(1, steps):
        weights.append(controller.next(weights[-1], step, steps, seen))
    return weights


def test_schedules_walk_their_line() -> None:
    assert walk(Constant(beta=0.3), 3) == [0.3] * 3
    assert walk(Linear(start=0.0, end=0.4), 5) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert walk(GRPOD(low=0.0, high=0.02, explore=0.4), 5) == pytest.approx([0.01, 0.005, 0.0, 0.02 / 3, 0.04 / 3])


@pytest.mark.parametrize(
    ("kl", "factor"),
    [(5e-4, 1.0), (5.5e-4, 1.02048), (1.0, 1 + 0.2 * 0.2048), (0.0, 1 - 0.2 * 0.2048), (None, 1.0)],
)
def test_the_adaptive_weight_follows_openrlhfs_rule(kl: float | None, factor: float) -> None:
    found = Adaptive().next(1e-3, 1, 49, Seen(kl=kl, accuracy=0.5, replies=2048))
    assert found == pytest.approx(1e-3 * factor)


def test_a_weight_by_accuracy_is_low_while_the_task_is_hard() -> None:
    controller = ByAccuracy(low=0.01, high=0.03)
    assert walk(controller, 2, Seen(None, 0.0, 8))[1] == 0.01
    assert controller.next(0.5, 1, 9, Seen(None, 0.25, 8)) == pytest.approx(0.015)
    assert controller.next(0.5, 1, 9, NOTHING) == 0.5  # unmeasured is not 0


@pytest.mark.parametrize(
    "controller", [Constant(), Linear(start=0, end=0), GRPOD(low=0, high=0), ByAccuracy(low=0, high=0)]
)
def test_a_weight_that_is_always_zero_needs_no_reference(controller: Controller) -> None:
    assert controller.is_off


@pytest.mark.parametrize("controller", [Constant(beta=1e-9), Linear(start=0, end=1), GRPOD(), ByAccuracy(), Adaptive()])
def test_any_other_does(controller: Controller) -> None:
    assert not controller.is_off


def test_a_number_is_short_for_a_constant_weight() -> None:
    assert GRPO(kl=0.04).kl == Constant(beta=0.04)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        GRPO(kl=-1)  # type: ignore[arg-type]


@pytest.mark.parametrize("kl", [{"kind": "grpo-d", "low": 0.04, "high": 0.1}, {"kind": "adaptive", "horizon": 10}])
def test_a_run_that_is_resumed_goes_on_with_its_weight(
    tmp_path: Path, kl: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {
        "name": "kl",
        "data": {"worlds": ["count"], "number": 8},
        "objective": {"kind": "grpo", "group_size": 2, "kl": kl},
        "steps": 4,
        "prompts": 2,
        "sampling": {"max_new_tokens": 16},
        "optimizer": {"lr": 1e-3},
        "checkpoint_every": 2,
    }
    recipe = Recipe.model_validate(content)
    torch.set_num_threads(1)

    def stop(step: object) -> None:
        if getattr(step, "step", 0) == 2:  # after the checkpoint of step 2, before the next
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "cut", stop)
    (state,) = (tmp_path / "cut").glob("*/checkpoints/step-*/state.json")
    kept = json.loads(state.read_text())["kl_weight"]
    folders = [train(recipe, tmp_path / name) for name in ("cut", "whole")]
    lines = [[json.loads(x)["metrics"] for x in (f / "metrics.jsonl").read_text().splitlines()] for f in folders]
    assert lines[0] == lines[1]
    weights = [metrics["policy/kl_weight"] for metrics in lines[1]]
    assert weights[2] == kept
    assert len(set(weights)) == 4  # it moved in every step
