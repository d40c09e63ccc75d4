"""What `auto` takes, and what the choice rests on."""

import pytest

from firsthand.policy import Policy
from firsthand.policy.precision import Accelerator, OptimizerKind, ParameterCount, Precision, auto
from firsthand.recipe import Recipe
from firsthand.worlds import SMALL

A_3B = ParameterCount(all=3_750_000_000, trained=3_090_000_000)
"""Qwen2.5-VL-3B, its language layers trained: 48 GiB in float32 halves, moments and gradients."""


def taken(
    card: Accelerator | None, weights: ParameterCount = A_3B, kind: OptimizerKind | None = None, **fields: object
) -> Precision:
    settings = {"offload": False, "weight_decay": 0.0, "is_adapter": False, "copies": 0, **fields}
    return auto(card, kind, weights=lambda: weights, **settings)


def card(gib: int, has_bfloat16: bool = True) -> Accelerator:
    return Accelerator(gib * 2**30, has_bfloat16)


@pytest.mark.parametrize(
    ("card", "precision"),
    [
        (None, "float32"),  # a CPU
        (card(80, has_bfloat16=False), "float32"),
        (card(80), "bfloat16"),
        (card(24), "bfloat16-pure"),
    ],
)
def test_auto_takes_what_fits(card: Accelerator | None, precision: Precision) -> None:
    assert taken(card) == precision


def test_auto_counts_a_reference_and_what_is_frozen() -> None:
    assert taken(card(64), copies=0) == "bfloat16"
    assert taken(card(64), copies=1) == "bfloat16-pure"
    assert taken(card(80), A_3B._replace(trained=A_3B.all)) == "bfloat16"


def test_auto_keeps_to_what_else_the_recipe_says() -> None:
    assert taken(card(24), kind="adamw-8bit") == taken(card(24), offload=True) == "bfloat16"
    assert taken(card(24), weight_decay=0.1) == taken(card(8), is_adapter=True) == "bfloat16"
    assert taken(card(80), kind="adamw-kahan") == "bfloat16-pure"


def test_auto_says_what_it_took_on_a_gpu_and_why(caplog: pytest.LogCaptureFixture) -> None:
    taken(card(24))
    needed = (3_090_000_000 * 16 + 660_000_000 * 2) / 2**30
    assert f"precision: bfloat16-pure, for weights, gradients and moments of bfloat16 take {needed:.1f}" in caplog.text


def test_gradients_are_checkpointed_on_a_gpu_unless_a_recipe_says_otherwise() -> None:
    content = {"name": "x", "data": {"worlds": ["count"]}, "objective": "grpo", "precision": "bfloat16"}
    recipe, without = (Recipe.model_validate(content | more) for more in ({}, {"gradient_checkpointing": False}))
    assert recipe.settled(card(24)).gradient_checkpointing is True
    assert without.settled(card(24)).gradient_checkpointing is recipe.settled(None).gradient_checkpointing is False
    assert recipe.settled(None).identity([]) == without.identity([])  # as before the default was left open


@pytest.mark.parametrize("trainable", ["all", "language"])
def test_weights_are_counted_from_a_config_as_they_are_loaded(trainable: str) -> None:
    policy = Policy.load(SMALL, trainable=trainable)
    counted = ParameterCount.of(SMALL, trainable)
    assert counted == (sum(p.numel() for p in policy.model.parameters()), sum(p.numel() for p in policy.parameters))


def test_bfloat16_on_a_cpu_without_instructions_for_it_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"name": "x", "data": {"worlds": ["count"]}, "objective": "grpo", "precision": "bfloat16"}
    half = Recipe.model_validate(content)
    monkeypatch.setattr("firsthand.policy.precision.cpu_multiplies_bfloat16", lambda: True)
    half.settled(None)
    monkeypatch.setattr("firsthand.policy.precision.cpu_multiplies_bfloat16", lambda: False)
    half.settled(card(24))
    half.settled(None, tell=False)
    half.identity([])
    half.model_copy(update={"precision": "float32"}).settled(None)
    assert "instructions" not in caplog.text
    half.settled(None)
    assert "expect each step to take tens of times as long as in float32; set precision to float32" in caplog.text
