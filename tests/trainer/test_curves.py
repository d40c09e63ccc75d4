"""The small model learns in every precision, by every optimizer, as it learns in float32 by AdamW."""

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.trainer import optimizer, train

RECIPE: dict[str, Any] = {
    "name": "curve",
    "data": {"worlds": ["count", "digits", "chart", "geometry"], "number": 48, "seed": 11},
    "objective": {"kind": "sft", "style": "expert"},
    "steps": 12,
    "prompts": 4,
}
RATE = 2e-5
"""In twelve steps a weight moves by a fraction of what bfloat16 could tell apart: nothing else makes it this hard."""
LAST = 4
"""Steps at the end, over which losses are averaged."""


def losses(root: Path, precision: str, **settings: Any) -> list[float]:
    how = {"lr": RATE, "warmup": 0.1, "floor": 0.1, **settings}
    folder = train(Recipe.model_validate({**RECIPE, "precision": precision, "optimizer": how}), root)
    return [
        Step.model_validate_json(x).metrics["loss/nll"] for x in (folder / "metrics.jsonl").read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses in float32, by AdamW."""
    return losses(tmp_path_factory.mktemp("plain"), "float32")


def behind(found: list[float], plain: list[float]) -> float:
    """How much of float32's way is not gone at the end: 0 is as far, 1 is nothing learnt."""
    way = statistics.fmean(plain[:2]) - statistics.fmean(plain[-LAST:])
    return (statistics.fmean(found[-LAST:]) - statistics.fmean(plain[-LAST:])) / way


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "settings"),
    [
        ("float32", {"kind": "adamw-8bit"}),
        ("bfloat16", {}),
        ("bfloat16", {"kind": "adamw-8bit"}),
        ("bfloat16", {"offload": True}),
        ("bfloat16-pure", {}),
    ],
    ids=["float32-8bit", "bfloat16", "bfloat16-8bit", "bfloat16-offload", "bfloat16-pure"],
)
def test_every_optimizer_goes_as_far_as_adamw_in_float32(
    precision: str, settings: dict[str, Any], plain: list[float], tmp_path: Path
) -> None:
    assert abs(behind(losses(tmp_path, precision, **settings), plain)) < 0.05


@pytest.mark.slow
def test_weights_that_begin_on_what_bfloat16_can_hold_stay_behind(
    plain: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizer, "dithered", lambda high: torch.zeros_like(high, dtype=torch.int16))
    assert behind(losses(tmp_path, "bfloat16"), plain) > 0.25
