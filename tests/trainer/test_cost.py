"""What a run has cost is in its metrics: tokens and arithmetic by formula, equal in equal runs."""

import json
from pathlib import Path

import pytest

from firsthand.config import build
from firsthand.cost import FLOPS, RunCost
from firsthand.policy import Policy
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.records import Rollout, Step
from firsthand.trainer import train
from firsthand.worlds import SMALL

GRPO = {
    "name": "cost",
    "data": {"worlds": ["count"], "number": 8, "level": "easy"},
    "objective": {"kind": "grpo", "group_size": 2, "kl": 0.1},
    "prompts": 2,
    "minibatches": 2,
    "steps": 2,
    "sampling": {"max_new_tokens": 8},
}


def steps_of(folder: Path) -> list[Step]:
    return [Step.model_validate_json(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def groups_of(folder: Path, step: int) -> list[Rollout]:
    found = [Rollout.model_validate_json(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    return [rollout for rollout in found if rollout.step == step]


def test_a_step_s_metrics_hold_its_tokens_and_its_arithmetic(tmp_path: Path) -> None:
    recipe = build(Recipe, GRPO, "test")
    folder = train(recipe, tmp_path)
    flops, encoder = Policy.load(SMALL, trainable="language").flops, Encoder.load(SMALL)
    prompts = {example.id: encoder.prompt(example) for example in recipe.data.load()}
    for step in steps_of(folder):
        groups = groups_of(folder, step.step)
        asked = [prompts[group.example_id] for group in groups]
        rows = [
            (len(prompt.token_ids), [len(judged.reply.token_ids) for judged in group.group])
            for prompt, group in zip(asked, groups, strict=True)
        ]
        expected = {
            "tokens/prompt": sum(prompt for prompt, _ in rows),
            "tokens/generated": sum(sum(replies) for _, replies in rows),
            "tokens/trained": sum(sum(replies) for _, replies in rows),
            "flops/vision": sum(map(flops.of_prompt, asked)),
            "flops/rollout": sum(flops.rollout(*row) for row in rows),
            # With a KL weight the reference runs forward too, and no group is left out.
            "flops/update": sum(flops.update(*row, forwards=2) for row in rows),
        }
        assert {name: step.metrics[name] for name in expected} == expected
        assert 0 <= step.metrics["policy/clipped"] <= 1  # of the second of two updates


def test_demonstrations_are_not_generated(tmp_path: Path) -> None:
    sft = {**GRPO, "objective": {"kind": "sft", "style": "plain"}, "minibatches": 1, "steps": 1}
    (step,) = steps_of(train(build(Recipe, sft, "test"), tmp_path))
    assert step.metrics["tokens/generated"] == step.metrics["flops/rollout"] == 0
    assert step.metrics["tokens/trained"] > 0
    assert "policy/clipped" not in step.metrics
    assert step.metrics["flops/update"] > step.metrics["flops/vision"] > 0


def test_replies_of_groups_that_were_replaced_are_paid_for(tmp_path: Path) -> None:
    objective = {"kind": "grpo", "group_size": 2, "zero_variance": "resample"}
    dapo = {**GRPO, "objective": objective, "minibatches": 1, "steps": 1, "seed": 3}
    folder = train(build(Recipe, dapo, "test"), tmp_path)
    (step,) = steps_of(folder)
    told = groups_of(folder, 0)
    kept, everything = (
        sum(len(judged.reply.token_ids) for group in some for judged in group.group)
        for some in ([group for group in told if not group.left_out], told)
    )
    assert step.metrics["tokens/trained"] == kept < step.metrics["tokens/generated"] == everything


def test_a_trained_tower_costs_its_forward_again_and_its_backward(tmp_path: Path) -> None:
    content = {**GRPO, "objective": {**GRPO["objective"], "kl": 0.1}, "steps": 1}
    frozen, trained = (
        steps_of(train(build(Recipe, {**content, "trainable": which}, "test"), tmp_path))[0].metrics
        for which in ("language", "all")
    )
    assert frozen["flops/vision"] == trained["flops/vision"]
    more = trained["flops/update"] - frozen["flops/update"]
    assert more == pytest.approx(3 * frozen["flops/vision"], rel=1e-12)


def test_a_run_s_cost_is_the_sum_over_its_steps(tmp_path: Path) -> None:
    tokens = ("tokens/prompt", "tokens/generated", "tokens/trained")
    metrics = dict(zip((*tokens, *FLOPS), (5.0, 7.0, 6.0, 1e9, 2e9, 3e15), strict=True))
    steps = [Step(step=i, metrics={**metrics, "loss/total": 1.0}, seconds=90.0) for i in range(2)]
    expected = RunCost(prompt_tokens=10, generated_tokens=14, trained_tokens=12, flops=2 * (3e15 + 3e9), minutes=3.0)
    assert RunCost.of(steps) == expected
    (tmp_path / "metrics.jsonl").write_text("".join(step.model_dump_json() + "\n" for step in steps))
    assert RunCost.read(tmp_path) == expected


def test_a_run_that_did_not_count_has_no_cost_rather_than_none(tmp_path: Path) -> None:
    line = json.dumps({"step": 0, "metrics": {"loss/total": 1.0}, "seconds": 60.0, "timing": {}})
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    found = RunCost.read(tmp_path)
    assert (found.prompt_tokens, found.flops, found.minutes) == (None, None, 1.0)
    assert RunCost.of([]).minutes == 0
