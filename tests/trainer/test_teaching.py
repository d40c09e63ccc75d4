"""A teacher scores what the policy has sampled, each reply after the prompt that the teacher sees."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_folder

from firsthand.errors import RecipeError
from firsthand.policy import Policy, PrefixGroup
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.records import Judged, Reply, Status, Step, Verdict
from firsthand.run import Run
from firsthand.trainer import train
from firsthand.trainer.batch import Group
from firsthand.trainer.state import State
from firsthand.trainer.teaching import TeacherReader
from firsthand.worlds import SMALL

STEPWISE = {"model": "small", "suffix": " Think step by step."}
OPD: dict[str, Any] = {
    "name": "opd",
    "data": {"worlds": ["count", "chart"], "number": 24, "level": "easy"},
    "objective": {"kind": "opd", "group_size": 4},
    "teacher": STEPWISE,
    "sampling": {"max_new_tokens": 48},
    "optimizer": {"lr": 1e-3},
    "steps": 3,
    "prompts": 2,
    "minibatches": 2,
    "checkpoint_every": 1,
}


def recipe(**more: Any) -> Recipe:
    return Recipe.model_validate({**OPD, **more})


def measured(run: Path) -> list[dict[str, float]]:
    return [Step.model_validate_json(line).metrics for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_teacher_scores_each_reply_after_its_own_prompt() -> None:
    wanted = recipe(teacher={**STEPWISE, "system": "Look."})
    example = wanted.data.load()[0]
    encoder, policy = Encoder.load(SMALL), Policy.load(SMALL)
    replies = [encoder.reply(text) for text in ("<think>two and one</think><answer>3</answer>", "<answer>4</answer>")]
    verdict = Verdict(score=1.0, status=Status.OK)
    judged = [Judged(reply=Reply(text="", token_ids=ids, logprobs=(-1.0,) * len(ids)), verdict=verdict, reward=1.0)
              for ids in replies]  # fmt: skip
    teacher = TeacherReader.load(wanted, "cpu")
    assert teacher is not None
    found_BT = teacher.logprobs([Group(example, encoder.prompt(example), tuple(judged))], 1.0)
    asked = example.model_copy(update={"question": example.question + " Think step by step."})
    seen, unseen = encoder.prompt(asked, "Look."), encoder.prompt(example)
    with torch.no_grad():
        expected, other = (policy.logprobs([PrefixGroup(prompt, tuple(replies))]).logp_BT for prompt in (seen, unseen))
    torch.testing.assert_close(found_BT, expected)
    assert (found_BT - other).abs().max() > 0.1
    assert not found_BT.requires_grad and not teacher.policy.parameters


@pytest.mark.slow
def test_a_run_with_a_teacher_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = train(recipe(), tmp_path / "whole")

    def stop(step: Step) -> None:
        if step.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path / "broken", stop)
    broken = train(recipe(), tmp_path / "broken")
    assert measured(whole) == measured(broken)
    assert (whole / "model/model.safetensors").read_bytes() == (broken / "model/model.safetensors").read_bytes()


def test_a_policy_taught_by_itself_under_the_same_prompt_learns_nothing(tmp_path: Path) -> None:
    (only,) = measured(train(recipe(teacher="small", steps=1, minibatches=1), tmp_path))
    assert abs(only["loss/distill"]) < 1e-6 and only["optim/grad_norm"] < 1e-4
    (taught,) = measured(train(recipe(steps=1, minibatches=1), tmp_path))
    assert taught["optim/grad_norm"] > 0.1
    assert taught["flops/update"] > only["flops/update"]  # a longer prompt, in a forward of its own


def test_a_teacher_in_another_precision_is_held_in_it(tmp_path: Path) -> None:
    wanted = recipe(teacher={**STEPWISE, "precision": "bfloat16"}).settled(None)
    with Run.open(tmp_path, "opd", 0, {}) as run:
        state = State.load(wanted, run)
    assert state.teacher is not None and state.teacher.policy.model.dtype == torch.bfloat16
    assert state.policy.model.dtype == torch.float32


def test_a_finished_run_is_a_teacher(tmp_path: Path) -> None:
    sft = {"name": "sft", "data": OPD["data"], "objective": {"kind": "sft", "style": "plain"}, "steps": 1, "prompts": 2}
    run = train(Recipe.model_validate(sft), tmp_path)
    taught = train(recipe(teacher=str(run), steps=1), tmp_path)
    assert measured(taught)[0]["loss/distill"] != 0


def test_a_teacher_that_writes_with_other_tokens_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    other = tiny_folder(tmp_path / "other", "qwen2_5_vl", layers=1)
    with pytest.raises(RecipeError, match=r"teacher: expected a model with the tokenizer of the policy, .* differ"):
        train(recipe(teacher=str(other)), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
