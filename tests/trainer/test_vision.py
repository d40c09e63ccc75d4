"""Methods that change what the policy sees: which pictures meet which log-probs, and what that costs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from firsthand.data.distort import masked, noisy
from firsthand.errors import DataError, ParityError
from firsthand.objective import Totals, parse
from firsthand.objective.table import Count
from firsthand.policy import Policy, PrefixGroup
from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Recipe
from firsthand.records import Example, Judged, Reply, Rollout, Status, Step, Verdict
from firsthand.rollout import LocalSampler, grouped
from firsthand.trainer import train
from firsthand.trainer.batch import Group
from firsthand.trainer.columns import read, with_old
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.sample import sample
from firsthand.trainer.state import State
from firsthand.trainer.update import PARITY, update
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


NOISY = {
    "kind": "noisy-rollout",
    "group_size": 4,
    "noise": 999,
    "noise_slope": 0.0,
    "loss_agg_mode": "seq-mean-token-mean",
}


def state_of(wanted: Recipe) -> State:
    policy, encoder = Policy.load(SMALL, trainable="language"), Encoder.load(SMALL)
    return State(policy, encoder, Updater(policy.parameters, wanted.optimizer), None, 0, 0.0)


def written(wanted: Recipe, state: State, examples: Sequence[Example], step: int) -> list[Group]:
    """The groups that the policy writes in a step, every second reply of each half a better one."""
    sampler = LocalSampler(state.policy, state.encoder)
    found = sample(examples, wanted, state.encoder, sampler, step)
    verdict = Verdict(score=1.0, status=Status.OK)
    return [
        Group(
            example,
            prompt,
            tuple(Judged(reply=r, verdict=verdict, reward=i % 2, advantage=i % 2 - 0.5) for i, r in enumerate(replies)),
        )
        for example, prompt, replies in zip(examples, found.prompts, grouped(found.replies, len(examples)), strict=True)
    ]


@pytest.fixture(scope="module")
def noisy_groups() -> list[Group]:
    wanted = recipe(NOISY)
    return written(wanted, state_of(wanted), wanted.data.load()[:2], 0)


def test_half_of_a_group_is_written_to_a_distorted_picture(noisy_groups: list[Group]) -> None:
    wanted = recipe(NOISY)
    state, level = state_of(wanted), parse(NOISY).noise_at(0, 1)
    plain = written(recipe({"kind": "grpo", "group_size": 2}), state, wanted.data.load()[:2], 0)
    for group, clean in zip(noisy_groups, plain, strict=True):
        replies = [judged.reply for judged in group.replies]
        assert [reply.distorted for reply in replies] == [False, False, True, True]
        assert replies[:2] == [judged.reply for judged in clean.replies]  # as if there were no others
        seen = state.encoder.prompt(noisy(group.example, level, "noise 0 0"))
        for prompt, is_seen in ((seen, True), (group.prompt, False)):
            with torch.no_grad():
                found = state.policy.logprobs([PrefixGroup(prompt, tuple(r.token_ids for r in replies[2:]))])
            gap = max(
                abs(a - b)
                for row, r in zip(found.logp_BT.tolist(), replies[2:], strict=True)
                for a, b in zip(row, r.logprobs, strict=False)
            )
            assert (gap < 1e-4) == is_seen, gap
            assert is_seen or gap > PARITY[torch.float32].max  # which would have stopped the run


def test_a_row_without_a_picture_has_nothing_to_distort() -> None:
    wanted = recipe(NOISY)
    blind = wanted.data.load()[0].model_copy(update={"images": (), "question": "How many?"})
    (group,) = written(wanted, state_of(wanted), [blind], 0)
    assert [judged.reply.distorted for judged in group.replies] == [False] * 4


def shifted(groups: Sequence[Group], by: float, *, distorted: bool) -> list[Group]:
    """The groups whose sampler said something else of the replies of one half."""

    def said(judged: Judged) -> Judged:
        reply = judged.reply
        logprobs = tuple(p + by * (reply.distorted == distorted) for p in reply.logprobs)
        return judged.model_copy(update={"reply": reply.model_copy(update={"logprobs": logprobs})})

    return [dataclasses.replace(group, replies=tuple(map(said, group.replies))) for group in groups]


def test_the_parity_check_compares_the_clean_half_alone_and_is_not_diluted(noisy_groups: list[Group]) -> None:
    wanted = recipe(NOISY, minibatches=1)
    found = update(state_of(wanted), shifted(noisy_groups, 5.0, distorted=True), wanted, 0)
    assert 0 < found["parity/max_abs"] < 1e-4
    replies = [judged.reply for group in noisy_groups for judged in group.replies]
    clean = sum(len(reply.token_ids) for reply in replies if not reply.distorted)
    share = clean / sum(len(reply.token_ids) for reply in replies)
    by = PARITY[torch.float32].mean * (1 + 1 / share) / 2  # too much on average, but over all replies it is not
    assert share * by < PARITY[torch.float32].mean < by < PARITY[torch.float32].max
    with pytest.raises(ParityError):
        update(state_of(wanted), shifted(noisy_groups, by, distorted=False), wanted, 0)


def test_the_update_sees_the_clean_picture_and_ratios_begin_at_one(noisy_groups: list[Group]) -> None:
    wanted = recipe(NOISY, minibatches=2)
    state, totals = state_of(wanted), Totals(Count(8, 80))
    (group,) = noisy_groups[:1]
    _, late = group.halves()  # all of them distorted, as where memory is short
    for is_on_policy, part in ((True, group), (False, with_old(state, group, wanted))):
        table, _ = read(state, [part], totals, wanted, is_on_policy)
        assert float(table.log_ratio_BT.detach().abs().max()) < 1e-5
    kept = with_old(state, late, wanted)
    assert late.packed.prompt is group.prompt and all(j.reply.distorted for j in late.trainable)
    moved = dataclasses.replace(kept, old_logprobs=tuple(tuple(p - 0.5 for p in r) for r in kept.old_logprobs or ()))
    table, _ = read(state, [moved], totals, wanted, is_on_policy=False)
    torch.testing.assert_close(table.log_ratio_BT.detach()[table.mask_BT], torch.full((int(table.mask_BT.sum()),), 0.5))


def test_ratios_of_distorted_replies_leave_one_in_later_minibatches(noisy_groups: list[Group]) -> None:
    wanted = recipe(NOISY, minibatches=2, optimizer={"lr": 1e-2, "warmup": 0.0})
    halves = [dataclasses.replace(group, replies=group.replies[2:]) for group in noisy_groups]
    found = update(state_of(wanted), halves, wanted, 0)
    assert "parity/max_abs" not in found  # nothing to compare
    assert abs(found["loss/policy"]) > 1e-3  # with ratios of 1 the better and the worse reply cancel


def test_later_minibatches_of_noisy_rollouts_meet_the_trainer_s_old_policy(tmp_path: Path) -> None:
    (one,) = metrics(train(recipe(NOISY, minibatches=2, optimizer={"lr": 1e-9}), tmp_path))
    assert abs(one["loss/policy"]) < 1e-6  # ratios of 1: the better and the worse replies of each group cancel
    (plain,) = metrics(train(recipe({"kind": "grpo", "group_size": 4}, minibatches=2), tmp_path))
    assert one["tokens/prompt"] == 2 * plain["tokens/prompt"]
    assert one["flops/vision"] == 2 * plain["flops/vision"]


@pytest.mark.parametrize("kind", ["papo", "noisy-rollout"])
def test_data_without_any_picture_are_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text('{"question": "1 + 1?", "answer": "2", "kind": "digit"}\n')
    with pytest.raises(
        DataError, match=rf"objective {kind} changes pictures: expected rows with some, got none among 1"
    ):
        train(recipe(kind, data={"path": str(tmp_path / "text.jsonl")}, prompts=1), tmp_path / "runs")


def test_a_frozen_tower_makes_the_same_bits_of_a_picture_whatever_it_knows_already() -> None:
    """A run that goes on knows no picture, and one that never stopped knows some of a step's."""
    encoder = Encoder.load(SMALL)
    prompts = [encoder.prompt(example) for example in recipe("grpo").data.load()]

    def made(*batches: Sequence[Prompt]) -> list[torch.Tensor]:
        tower = Policy.load(SMALL, trainable="language").tower
        for batch in batches:
            tower.encode(batch)
        found = tower.encode(prompts)
        assert found is not None
        pooled: list[torch.Tensor] = found["image"].pooler_output
        return pooled

    alone = made(*([prompt] for prompt in prompts))
    assert all(map(torch.equal, made(), alone))
    assert all(map(torch.equal, made(prompts[:1], prompts[3:8]), alone))
