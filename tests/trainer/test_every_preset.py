"""Every preset trains the small model, in shared rows or not, and goes on after a stop as if there had been none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firsthand.objective import PRESETS
from firsthand.policy.sharing import Sharing
from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.trainer import train

STEPS = 20


def recipe(kind: str) -> Recipe:
    settings = PRESETS[kind].settings
    objective: dict[str, Any] = {"kind": kind, **({"style": "plain"} if settings.imitates else {})}
    if "group_size" in settings.model_fields:
        objective["group_size"] = 2
    if kind == "pass-at-k":
        objective |= {"group_size": 4, "pass_k": 2}  # in a group of two, two never fail where one is right
    return Recipe.model_validate(
        {
            "name": kind,
            "data": {"worlds": ["count", "digits"], "number": 40, "level": "easy"},
            "objective": objective,
            "sampling": {"max_new_tokens": 24},
            "optimizer": {"lr": 1e-4},
            "steps": STEPS,
            "prompts": 2,
            "checkpoint_every": STEPS // 2,
            **({"teacher": {"model": "small", "suffix": " Think step by step."}} if settings.needs_teacher else {}),
        }
    )


def losses(run: Path) -> list[dict[str, float]]:
    return [Step.model_validate_json(line).metrics for line in (run / "metrics.jsonl").read_text().splitlines()]


def stopping_at(last: int) -> Callable[[Step], None]:
    def stop(step: Step) -> None:
        if step.step == last:
            raise KeyboardInterrupt

    return stop


@pytest.mark.slow
@pytest.mark.parametrize("kind", PRESETS)
def test_every_preset_trains_and_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    whole = train(recipe(kind), tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        train(recipe(kind), tmp_path / "broken", stopping_at(STEPS // 2))
    broken = train(recipe(kind), tmp_path / "broken")
    assert losses(whole) == losses(broken)
    assert (whole / "model/model.safetensors").read_bytes() == (broken / "model/model.safetensors").read_bytes()
    assert any("optim/grad_norm" in line for line in losses(whole)), "nothing was learned from"


@pytest.mark.slow
@pytest.mark.parametrize("kind", PRESETS)
def test_every_preset_trains_without_a_shared_prefix(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(recipe(kind), tmp_path / "shared", stopping_at(0))
    [shared] = losses(next((tmp_path / "shared").glob("*/metrics.jsonl")).parent)
    monkeypatch.setattr(Sharing, "allows", lambda *_: False)
    apart = losses(train(recipe(kind), tmp_path / "apart"))
    assert len(apart) == STEPS
    assert any("optim/grad_norm" in line for line in apart), "nothing was learned from"
    assert apart[0] == pytest.approx(shared, rel=1e-3, abs=1e-5)
