"""What presets set beside their loss: their ratios act, in the recipe that a method's name stands for."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from firsthand.objective import PRESETS
from firsthand.recipe import Recipe
from firsthand.trainer import train

SHARED = ("group_size", "scale", "loss_agg_mode", "zero_variance", "kl")
"""Settings that plain grpo has, too."""


def recipe(kind: str, **fields: Any) -> Recipe:
    small: dict[str, Any] = {
        "name": kind,
        "data": {"worlds": ["count", "digits", "chart", "geometry"], "number": 16},
        "objective": {"kind": kind, "group_size": 4, "zero_variance": "keep"},
        "steps": 1,
        "prompts": 8,
        "sampling": {"max_new_tokens": 64},
        "optimizer": {"lr": 2e-3, "warmup": 0.0},  # far enough for ratios between the clips of grpo and of dapo
    }
    return Recipe.model_validate({**small, **fields})


def as_grpo(one: Recipe) -> Recipe:
    """The same recipe with the loss of plain grpo."""
    objective = {"kind": "grpo", **{key: getattr(one.objective, key) for key in SHARED}}
    return Recipe.model_validate({**one.model_dump(), "name": "grpo", "objective": objective})


def distance(one: Recipe, other: Recipe, root: Path) -> float:
    """The largest difference between the weights that the two end with."""
    a, b = (load_file(train(r, root) / "model/model.safetensors") for r in (one, other))
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def norm(one: Recipe, root: Path) -> float:
    """Of the gradient of its step."""
    (line,) = (train(one, root) / "metrics.jsonl").read_text().splitlines()
    return float(json.loads(line)["metrics"]["optim/grad_norm"])


@pytest.mark.parametrize("kind", ["gspo", "cispo", "dapo"])
def test_a_method_with_a_ratio_of_its_own_is_another_one_than_grpo(kind: str, tmp_path: Path) -> None:
    one = recipe(kind)
    assert one.minibatches == min(8, PRESETS[kind].recipe["minibatches"]) > 1
    assert distance(one, as_grpo(one), tmp_path) > 1e-4


@pytest.mark.parametrize("kind", ["gspo", "cispo", "dapo"])
def test_with_one_step_per_batch_no_ratio_acts(kind: str, tmp_path: Path) -> None:
    one = recipe(kind, minibatches=1)
    norms = [norm(r, tmp_path) for r in (one, as_grpo(one))]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
