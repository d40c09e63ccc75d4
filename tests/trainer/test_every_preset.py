"""Every preset trains the model that ships here, and goes on after a stop as if there had been none."""

from pathlib import Path
from typing import Any

import pytest

from firsthand.objective import PRESETS
from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.trainer import train


def recipe(kind: str) -> Recipe:
    settings = PRESETS[kind].settings
    objective: dict[str, Any] = {"kind": kind, **({"style": "plain"} if settings.imitates else {})}
    if "group_size" in settings.model_fields:
        objective["group_size"] = 2
    return Recipe.model_validate(
        {
            "name": kind,
            "data": {"worlds": ["count", "digits"], "number": 16, "level": "easy"},
            "objective": objective,
            "sampling": {"max_new_tokens": 32},
            "optimizer": {"lr": 1e-4},
            "steps": 3,
            "prompts": 2,
            "checkpoint_every": 1,
            **({"teacher": {"model": "small", "suffix": " Think step by step."}} if settings.needs_teacher else {}),
        }
    )


def losses(run: Path) -> list[dict[str, float]]:
    return [Step.model_validate_json(line).metrics for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", PRESETS)
def test_every_preset_trains_and_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    whole = train(recipe(kind), tmp_path / "whole")

    def stop(step: Step) -> None:
        if step.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(kind), tmp_path / "broken", stop)
    broken = train(recipe(kind), tmp_path / "broken")
    assert losses(whole) == losses(broken)
    assert (whole / "model/model.safetensors").read_bytes() == (broken / "model/model.safetensors").read_bytes()
    assert any("optim/grad_norm" in line for line in losses(whole)), "nothing was learned from"
