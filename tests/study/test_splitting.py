"""The gradient of an arm's own batches is one, however they are split; where it is not, the arm is not healthy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_folder

from firsthand.evaluation.joined import run_directories
from firsthand.findings import CheckState
from firsthand.recipe import Recipe
from firsthand.study.splitting import ROUNDED_APART, measure_split, relative_difference
from firsthand.trainer import train, update

SETTINGS: dict[str, Any] = {
    "data": {"worlds": ["count", "digits"], "number": 16},
    "sampling": {"max_new_tokens": 8},
    "optimizer": {"lr": 1e-3},
    "prompts": 4,
    "steps": 4,
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "sft": {"kind": "sft", "style": "plain"},
    "grpo": {"kind": "grpo", "group_size": 4, "kl": 0.1},
    "luffy": {"kind": "luffy", "style": "plain", "group_size": 3},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("models") / "tiny", "qwen2_5_vl", layers=1))


def trained(name: str, model: str, root: Path) -> tuple[Recipe, Path]:
    """An arm's recipe, and its finished run."""
    content = SETTINGS | {"name": name, "model": model, "objective": OBJECTIVES[name]}
    if name == "grpo":  # of random weights no reply is right
        content |= {"model": "small", "sampling": {"max_new_tokens": 32}}
    recipe = Recipe.model_validate(content).settled(None)
    return recipe, train(recipe, root)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_gradient_that_does_not_depend_on_the_split_passes_and_is_measured_once(
    name: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = trained(name, model, tmp_path)
    check = measure_split(recipe, run, tmp_path)
    assert check.state is CheckState.PASSED and check.value is not None and check.value < 1e-5, check
    [kept] = tmp_path.glob(f"health-{name}-s0-*")
    assert json.loads((kept / "recipe.json").read_text())["health_of"] in (run / "recipe.json").read_text()
    assert run_directories([tmp_path]) == [run.resolve()]  # what was measured of a run is no run of its own
    monkeypatch.setattr("firsthand.study.splitting.gradient", lambda *_: pytest.fail("measured again"))
    assert measure_split(recipe, run, tmp_path) == check


def one_in(number: int, whole: Callable[..., Any]) -> Callable[..., Any]:
    """The trainer's own accumulation, which loses the gradient of one forward in so many, as an offload once did."""
    calls = 0

    def broken(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % number:
            return whole(*arguments)
        parameters = arguments[0].policy.parameters
        kept = [p.grad if p.grad is None else p.grad.clone() for p in parameters]
        measured = whole(*arguments)
        for parameter, grad in zip(parameters, kept, strict=True):
            parameter.grad = grad
        return measured

    return broken


def test_forwards_whose_gradient_is_lost_are_seen(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "_accumulate", one_in(10, update._accumulate))
    recipe, run = trained("sft", model, tmp_path)
    check = measure_split(recipe, run, tmp_path)
    assert check.state is CheckState.FAILED and check.remedy, check
    assert check.value is not None and check.value > ROUNDED_APART[torch.bfloat16]


def test_means_of_means_are_seen(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean over each forward's own tokens, as where the denominator is that of a micro-batch."""
    whole = update._forward

    def own_mean(state: Any, forward: Any, totals: Any, *others: Any) -> Any:
        terms, measured, gap = whole(state, forward, totals, *others)
        own = sum(group.packed.tokens - len(group.prompt.token_ids) for group in forward)
        return {name: term * totals.all.tokens / own / 4 for name, term in terms.items()}, measured, gap

    recipe, run = trained("sft", model, tmp_path)
    monkeypatch.setattr(update, "_forward", own_mean)
    assert measure_split(recipe, run, tmp_path).state is CheckState.FAILED


def test_a_run_whose_replies_all_agree_has_nothing_to_measure(model: str, tmp_path: Path) -> None:
    content = SETTINGS | {"name": "flat", "model": model, "objective": {"kind": "grpo", "group_size": 2}, "patience": 0}
    recipe = Recipe.model_validate(content).settled(None)
    check = measure_split(recipe, train(recipe, tmp_path), tmp_path)
    assert check.state is CheckState.UNMEASURED  # an untrained model of random weights is never right


def test_gradients_of_other_parameters_have_nothing_in_common() -> None:
    one = torch.ones(3)
    assert relative_difference([one], [one]) == 0
    assert (
        relative_difference([], [one]) == relative_difference([one], []) == relative_difference([one], [0 * one]) == 1
    )
    assert relative_difference([one, 2 * one], [one, one]) == pytest.approx((3 / 6) ** 0.5)
