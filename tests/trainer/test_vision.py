"""Methods that change what the policy sees: which pictures meet which log-probs, and what that costs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from firsthand.data.distort import masked
from firsthand.errors import DataError
from firsthand.objective import Totals
from firsthand.objective.table import Count
from firsthand.policy import Policy, PrefixGroup
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.records import Judged, Reply, Rollout, Status, Step, Verdict
from firsthand.trainer import train
from firsthand.trainer.batch import Group
from firsthand.trainer.columns import read
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.state import State
from firsthand.worlds import SMALL


def recipe(objective: Any, **more: Any) -> Recipe:
    content = {
        "name": "seeing",
        "data": {"worlds": ["count", "chart"], "number": 16, "level": "easy"},
        "objective": objective,
        "sampling": {"max_new_tokens": 24},
        "optimizer": {"lr": 1e-4},
        "steps": 1,
        "prompts": 2,
        **more,
    }
    return Recipe.model_validate(content)


def metrics(run: Path) -> list[dict[str, float]]:
    return [Step.model_validate_json(line).metrics for line in (run / "metrics.jsonl").read_text().splitlines()]


def group_of(example: Any, encoder: Encoder) -> Group:
    """Two replies to it, one of them better."""
    ids = [encoder.reply(text) for text in ("<think>two</think><answer>3</answer>", "<answer>4</answer>")]
    verdict = Verdict(score=1.0, status=Status.OK)
    judged = [
        Judged(
            reply=Reply(text="", token_ids=each, logprobs=(-1.0,) * len(each)),
            verdict=verdict,
            reward=float(i),
            advantage=i - 0.5,
        )
        for i, each in enumerate(ids)
    ]
    return Group(example, encoder.prompt(example), tuple(judged))


def test_the_masked_column_is_the_policy_s_after_the_step_s_masked_pictures() -> None:
    wanted = recipe("papo", seed=3)
    policy, encoder = Policy.load(SMALL, trainable="language"), Encoder.load(SMALL)
    state = State(policy, encoder, Updater(policy.parameters, wanted.optimizer), None, 0, 0.0)
    example = wanted.data.load()[0]
    blind = example.model_copy(update={"images": (), "question": "How many?"})
    groups = [group_of(example, encoder), group_of(blind, encoder)]
    table, _ = read(state, groups, Totals(Count(4, 40), step=7), wanted, is_on_policy=True)
    assert table.masked_logp_BT is not None and not table.masked_logp_BT.requires_grad
    shown = [encoder.prompt(masked(example, 0.6, "mask 3 7")), encoder.prompt(blind)]
    with torch.no_grad():
        found = policy.logprobs([PrefixGroup(p, g.packed.replies) for p, g in zip(shown, groups, strict=True)])
    torch.testing.assert_close(table.masked_logp_BT, found.logp_BT)
    away_B = (table.masked_logp_BT - table.logp_BT).abs().sum(dim=1)
    assert away_B[:2].min() > 0.1 and away_B[2:].max() < 1e-4  # without a picture there is nothing to mask


def test_papo_learns_where_all_replies_agree_and_pays_for_its_second_forward(tmp_path: Path) -> None:
    objective = {"kind": "papo", "group_size": 2, "kl": 0.01}
    runs = [train(recipe(o, minibatches=1), tmp_path) for o in (objective, {**objective, "gamma": 0.0})]
    (papo,), (grpo,) = map(metrics, runs)
    assert papo["loss/perception"] < 0 and "loss/perception" not in grpo
    assert papo["flops/rollout"] == grpo["flops/rollout"]
    policy, encoder = Policy.load(SMALL, trainable="language"), Encoder.load(SMALL)
    prompts = {e.id: encoder.prompt(e) for e in recipe(objective).data.load()}
    rollouts = [Rollout.model_validate_json(line) for line in (runs[0] / "rollouts.jsonl").read_text().splitlines()]
    more = sum(
        policy.flops.scoring(len(prompts[r.example_id].token_ids), [len(j.reply.token_ids) for j in r.group])
        + policy.flops.of_prompt(prompts[r.example_id])
        for r in rollouts
    )
    assert papo["flops/update"] == grpo["flops/update"] + more


def test_data_without_any_picture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text('{"question": "1 + 1?", "answer": "2", "kind": "digit"}\n')
    with pytest.raises(DataError, match=r"objective papo masks pictures: expected rows with some, got none among 1"):
        train(recipe("papo", data={"path": str(tmp_path / "text.jsonl")}, prompts=1), tmp_path / "runs")
