"""One optimizer step: however it is split and whatever is left out of the forward, the gradient is the same."""

import dataclasses
import functools
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from short_of_memory import fail_in_backward_when, fail_when
from tiny import FAMILIES, picture, tiny_folder
from tiny_families import family_folder
from torch import Tensor

from firsthand.errors import ParityError, RecipeError
from firsthand.objective import (
    CHORD,
    CISPO,
    GRPO,
    LUFFY,
    PRESETS,
    SFT,
    SRFT,
    Count,
    Method,
    Table,
    Totals,
    group_advantage,
    register,
)
from firsthand.objective.covariance import ClipCov, KLCov
from firsthand.objective.methods import grpo
from firsthand.objective.variants import GMPO, HPT, NSR, SAPO
from firsthand.policy import Limits, Policy, PrefixGroup
from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Data, Optimizer, Recipe
from firsthand.records import Digit, Example, Judged, Reply, Status, StopReason, Verdict
from firsthand.run import Run
from firsthand.teacher import Served
from firsthand.trainer.batch import Group
from firsthand.trainer.columns import read, table_of, with_old
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.state import State
from firsthand.trainer.update import (
    _forward,
    divided,
    learning_rate,
    minibatches,
    needs_forward,
    split,
    totals_of,
    update,
)

UNCLIPPED = 1e9
"""A gradient norm that is never reached: what is compared are the gradients themselves."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models") / "qwen2_5_vl", "qwen2_5_vl", layers=2)


def state_of(folder: Path, kl: float = 0.0) -> State:
    policy = Policy.load(folder, trainable="language")
    optimizer = Updater(policy.parameters, Optimizer())
    return State(policy, Encoder.load(folder), optimizer, Policy.load(folder) if kl else None, 0, kl)


def recipe(objective: Method, **fields: Any) -> Recipe:
    optimizer = Optimizer(lr=1e-3, warmup=0, max_grad_norm=UNCLIPPED)
    return Recipe(name="a", data=Data(worlds=("count",)), objective=objective, **{"optimizer": optimizer, **fields})


def gradients(
    state: State, batch: Sequence[Group], wanted: Recipe, step: int = 0, metrics: dict[str, float] | None = None
) -> list[Tensor]:
    """What AdamW is given, parameter by parameter; zeros when there is no step. `metrics` takes what was measured."""
    found = [torch.zeros_like(p) for p in state.policy.parameters]

    def keep(*_: object) -> None:
        for kept, parameter in zip(found, state.policy.parameters, strict=True):
            if parameter.grad is not None:
                kept.copy_(parameter.grad)

    handle = state.optimizer.optimizers[0].register_step_pre_hook(keep)
    measured = update(state, batch, wanted, step)
    handle.remove()
    if metrics is not None:
        metrics |= measured
    return found


def difference(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Largest distance of two gradients in any parameter, relative to the whole gradient."""
    whole = math.sqrt(sum(float(x.square().sum()) for x in b))
    assert whole > 1e-3, "without a gradient nothing is compared"
    return max(float((x - y).norm()) for x, y in zip(a, b, strict=True)) / whole


@functools.cache
def scored(folder: Path, temperature: float = 1.0) -> list[Group]:
    """Five groups of up to four replies, prompts with and without image; rewards differ but in group 3."""
    policy, encoder = Policy.load(folder), Encoder.load(folder)
    rewards: list[list[float | None]] = [[1, 0, 0, 0.5], [0, 1], [1, 1, 1], [0, 0.3, 1], [1, 0]]
    asked = ["How many?", "Which is larger, and why?", "Is it?", "What is 1 + 2?", "Where?"]
    draw = torch.Generator().manual_seed(0)
    groups = []
    for i, (question, row) in enumerate(zip(asked, rewards, strict=True)):
        images = (picture(56, 56, seed=i),) if i % 2 == 0 else ()
        example = Example(question=question, images=images, answer=Digit(value="7"))
        tokens = [torch.randint(0, 250, (int(torch.randint(1, 9, (), generator=draw)),), generator=draw) for _ in row]
        groups.append(sampled(policy, example, encoder.prompt(example), [t.tolist() for t in tokens], row, temperature))
    return groups


def sampled(
    policy: Policy,
    example: Example,
    prompt: Prompt,
    tokens: Sequence[Sequence[int]],
    rewards: Sequence[float | None],
    temperature: float = 1.0,
) -> Group:
    """A group whose log-probs are the policy's, as a sampler would have stored them."""
    with torch.no_grad():
        logp_BT = policy.logprobs([PrefixGroup(prompt, tuple(map(tuple, tokens)))], temperature=temperature).logp_BT
    replies = [
        Reply(text="", token_ids=tuple(ids), logprobs=tuple(row[: len(ids)].tolist()))
        for ids, row in zip(tokens, logp_BT, strict=True)
    ]
    return Group(example, prompt, judged(replies, rewards))


def judged(replies: Sequence[Reply], rewards: Sequence[float | None]) -> tuple[Judged, ...]:
    advantages = group_advantage(rewards, scale="std")
    status = [Status.FAILED if r is None else Status.OK for r in rewards]
    return tuple(
        Judged(reply=reply, verdict=Verdict(score=r, status=s), reward=r, advantage=a)
        for reply, r, s, a in zip(replies, rewards, status, advantages, strict=True)
    )


def given_demos(groups: Sequence[Group]) -> list[Group]:
    """The first reply of each group as a demonstration; one of them could not be scored."""
    demos = []
    for i, group in enumerate(groups):
        reply = Reply(text="", token_ids=group.replies[0].reply.token_ids, stop=StopReason.GIVEN)
        verdict = Verdict(score=None, status=Status.UNSCORED) if i == 0 else Verdict(score=1.0, status=Status.OK)
        demos.append(Group(group.example, group.prompt, (Judged(reply=reply, verdict=verdict),)))
    return demos


def with_demos(groups: Sequence[Group]) -> list[Group]:
    """The groups, each with a demonstration beside the sampled replies."""
    mixed = []
    for group in groups:
        ids = tuple(reversed(group.replies[0].reply.token_ids)) * 2
        replies = [*(j.reply for j in group.replies), Reply(text="", token_ids=ids, stop=StopReason.GIVEN)]
        mixed.append(Group(group.example, group.prompt, judged(replies, [*(j.reward for j in group.replies), 1.0])))
    return mixed


def batch_for(objective: Method, folder: Path) -> list[Group]:
    """What sampling and scoring would have made for a method."""
    if not objective.samples:
        return given_demos(scored(folder))
    return with_demos(scored(folder)) if objective.imitates else scored(folder)


def packed(group: Group) -> int:
    """Tokens of a group in a row of its own."""
    return group.packed.tokens


def apart(group: Group) -> int:
    """Tokens of a group with a row for each reply."""
    return group.packed.tokens_apart


# ---- splitting

METHODS = {
    "grpo": GRPO(),
    "token": GRPO(loss_agg_mode="token-mean", scale="none"),
    "budget": GRPO(loss_agg_mode="seq-mean-token-sum-norm"),
    "kl": GRPO(kl=0.5),
    "k3 times the ratio": GRPO(kl={"kind": "constant", "beta": 0.5, "estimator": "k3-corrected"}),
    "kl as a reward": GRPO(kl={"kind": "constant", "beta": 0.5, "estimator": "k1", "place": "reward"}),
    "80/20": GRPO(top_entropy=0.2),
    "gspo": GRPO(ratio="sequence"),
    "cispo": CISPO(),
    "sft": SFT(),
    "sft with kl": SFT(kl=0.5),
    "luffy": LUFFY(),
    "srft": SRFT(),
    "srft by token": SRFT(entropy_of="token"),
    "srft by batch": SRFT(entropy_of="batch"),
    "chord": CHORD(),
    "chord with kl": CHORD(phi=True, kl=0.5),
    "gmpo": GMPO(),
    "sapo": SAPO(),
    "nsr": NSR(positive=0.1),
    "hpt": HPT(),
    "hpt half-way": HPT(gate=0.5),
    "rloo": GRPO(ratio="reply"),
    "clip-cov": ClipCov(share=0.05, cov_low=0.0, cov_high=100.0),
    "kl-cov": KLCov(share=0.2),
}


@pytest.mark.parametrize("objective", METHODS.values(), ids=METHODS)
def test_splitting_a_step_into_micro_batches_changes_no_gradient(folder: Path, objective: Method) -> None:
    batch = batch_for(objective, folder)
    longest = max(map(packed, batch))
    found, metrics = [], []
    for budget in (1, 2 * longest, 10**6):
        wanted = recipe(objective, tokens_per_forward=budget, minibatches=1)  # whatever the preset has
        kl = objective.kl.first(1)
        state = state_of(folder, kl)
        if state.reference is not None:
            drift(state.policy)
        found.append(gradients(state, batch, wanted, step=1))
        metrics.append(update(state_of(folder, kl), batch, wanted, step=1))
    assert [len(list(split(batch, budget, packed))) for budget in (1, 10**6)] == [len(batch), 1]
    assert difference(found[0], found[2]) < 1e-5
    assert difference(found[1], found[2]) < 1e-5
    budgets = [one.pop("memory/tokens_per_forward") for one in metrics]
    assert budgets == [1, 2 * longest, 10**6]
    for other in metrics[:2]:
        assert other == pytest.approx(metrics[2], rel=1e-4, abs=1e-4)


def test_a_quantile_of_each_forward_would_be_another_gradient(folder: Path) -> None:
    """The control of the case above: with the threshold of each forward, a split shows."""

    class Apart(GRPO):
        def survey(self, table: Table) -> dict[str, float]:
            return {"entropy": 0.0}

    def apart(table: Table, totals: Totals, settings: GRPO) -> dict[str, Tensor]:
        own = GRPO.survey(settings, table)
        return grpo(table, dataclasses.replace(totals, survey=own), settings)

    register("apart", apart, Apart)
    try:
        one, many = (
            gradients(state_of(folder), scored(folder), recipe(Apart(kind="apart", top_entropy=0.2), **split), step=1)
            for split in ({"tokens_per_forward": 10**6}, {"tokens_per_forward": 1})
        )
    finally:
        del PRESETS["apart"]
    assert difference(many, one) > 1e-2


def test_a_divided_group_keeps_its_number_and_the_accuracy_of_the_whole(folder: Path) -> None:
    """Rewards 1, 0, 0, 1/2 and a demonstration, which does not count."""
    group = with_demos(scored(folder)[:1])[0].placed(7)
    parts = divided(group, 1, packed)
    assert [len(part.trainable) for part in parts] == [1] * 5
    for part in parts:
        table = table_of([part], state_of(folder).policy.logprobs([part.packed]), is_on_policy=True)
        assert (table.group_B.tolist(), table.accuracy_B.tolist()) == ([7], [0.375])


def test_the_ratio_and_the_correction_are_two_things(folder: Path) -> None:
    """The sampler said half a nat less of a token than the trainer finds: that is no ratio, but a weight."""
    first, second = (shifted(group, -0.5) for group in scored(folder)[:2])
    seen: list[Table] = []

    def watching(table: Table, totals: Totals, settings: GRPO) -> dict[str, Tensor]:
        seen.append(table)
        return grpo(table, totals, settings)

    register("watching", watching)
    try:
        method = GRPO(kind="watching", correction="truncate", correction_cap=1.5)
        update(state_of(folder), [first, second], recipe(method, prompts=2, minibatches=2), 1)
        uncorrected = GRPO(kind="watching")
        update(state_of(folder), [first, second], recipe(uncorrected, prompts=2, minibatches=2), 1)
    finally:
        del PRESETS["watching"]
    weighed = torch.ones_like(seen[0].logp_BT)
    weighed[0, 0] = 1.5  # e^0.5 = 1.65, cut
    assert seen[0].old_logp_BT is None
    torch.testing.assert_close(seen[0].correction_BT, weighed, rtol=1e-4, atol=1e-4)
    own, theirs = seen[1], seen[3]  # after an update: the trainer's own log-probs, and the sampler's in their place
    assert own.correction_BT is not None and own.correction_BT[0, 0] == 1.5
    assert own.old_logp_BT is not None and own.sampler_logp_BT is not None and theirs.old_logp_BT is not None
    assert (own.old_logp_BT - own.sampler_logp_BT)[0, 0].item() == pytest.approx(0.5, abs=1e-4)
    torch.testing.assert_close(theirs.old_logp_BT, own.sampler_logp_BT)
    assert theirs.correction_BT is None


def drift(policy: Policy) -> None:
    """Move a policy away from its reference, so that their KL is not zero."""
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.mul_(1.05)


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 100))
def test_every_group_is_in_one_micro_batch_that_fits_unless_it_is_alone(lengths: list[int], budget: int) -> None:
    example = Example(question="?", images=(), answer=Digit(value="1"))
    batch = [Group(example, Prompt(str(i), (1,) * n, None, None), ()) for i, n in enumerate(lengths)]
    parts = list(split(batch, budget, packed))
    assert sorted(int(m.prompt.example_id) for part in parts for m in part) == list(range(len(lengths)))
    for part in parts:
        assert part
        assert len(part) == 1 or len(part) * max(map(packed, part)) <= budget


def test_groups_of_like_length_go_together() -> None:
    example = Example(question="?", images=(), answer=Digit(value="1"))
    batch = [Group(example, Prompt("e", (1,) * n, None, None), ()) for n in (9, 2, 10, 3)]
    assert [[packed(g) for g in part] for part in split(batch, 20, packed)] == [[2, 3], [9, 10]]


def test_replies_that_cannot_share_a_row_are_counted_one_by_one() -> None:
    example = Example(question="?", images=(), answer=Digit(value="1"))
    replies = [Reply(text="", token_ids=(1,) * n) for n in (2, 5)]
    batch = [Group(example, Prompt(str(i), (1,) * 10, None, None), judged(replies, [1, 0])) for i in range(4)]
    assert (packed(batch[0]), apart(batch[0])) == (17, 30)
    assert [len(part) for part in split(batch, 60, packed)] == [3, 1]
    assert [len(part) for part in split(batch, 60, apart)] == [2, 2]


# ---- out of memory


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("name", ["grpo", "kl", "gspo", "sft", "srft by batch", "chord with kl"])
def test_an_update_that_runs_out_of_memory_gives_the_same_gradient(folder: Path, name: str, where: str) -> None:
    objective = METHODS[name]
    batch, wanted = batch_for(objective, folder), recipe(objective, tokens_per_forward=10**6)
    most = max(len(g.prompt.token_ids) + len(j.reply.token_ids) for g in batch for j in g.replies)
    found, metrics, states = [], [], []
    for is_short in (False, True):
        states.append(state_of(folder, objective.kl.first(1)))
        if states[-1].reference is not None:
            drift(states[-1].policy)
        layer = states[-1].policy.language.layers[1]
        if is_short and where == "forward":
            failures = fail_when(layer, lambda hidden: hidden.shape[0] * hidden.shape[1] > most)
        elif is_short:
            failures = fail_in_backward_when(layer, lambda hidden: hidden.shape[0] * hidden.shape[1] > most)
        metrics.append({})
        found.append(gradients(states[-1], batch, wanted, step=1, metrics=metrics[-1]))
    assert difference(found[1], found[0]) < 1e-5
    assert metrics[1].pop("memory/retries") == len(failures) > 1
    assert metrics[1].pop("memory/tokens_per_forward") == states[1].limits.tokens
    assert {metrics[0].pop("memory/retries"), metrics[0].pop("memory/tokens_per_forward")} == {0, 10**6}
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-4, abs=1e-4)
    before = len(failures)  # what was too much is not tried again
    assert update(states[1], batch, wanted, step=1)["memory/retries"] == 0
    assert len(failures) == before


def test_one_reply_that_is_too_much_is_an_error_that_says_what_helps(folder: Path) -> None:
    state = state_of(folder)
    # Only the longest row does not fit, while others go on in pairs.
    fail_when(state.policy.language.layers[0], lambda hidden: hidden.shape[1] >= longest_alone(scored(folder)))
    with pytest.raises(RecipeError, match=r"one reply at a time.*gradient_checkpointing: true, .*max_new_tokens"):
        update(state, scored(folder), recipe(GRPO()), 1)


def longest_alone(batch: Sequence[Group]) -> int:
    return max(len(group.prompt.token_ids) + len(j.reply.token_ids) for group in batch for j in group.replies)


def test_other_errors_in_an_update_are_not_taken_for_memory(folder: Path) -> None:
    state = state_of(folder)
    state.policy.language.layers[0].register_forward_pre_hook(lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        update(state, scored(folder), recipe(GRPO()), 1)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 60))
def test_a_group_that_is_too_large_goes_in_parts_of_fewer_replies(lengths: list[int], limit: int) -> None:
    example = Example(question="?", images=(), answer=Digit(value="1"))
    replies = [Reply(text="", token_ids=(i,) * n) for i, n in enumerate(lengths)]
    group = Group(example, Prompt("e", (1,) * 10, None, None), judged(replies, [float(n) for n in lengths]))
    for size in (packed, apart):
        parts = divided(group, limit, size)
        assert [j for part in parts for j in part.replies] == list(group.replies)  # advantages included
        assert all(size(part) <= limit or len(part.replies) == 1 for part in parts)
        assert divided(group, None, size) == [group]


def test_what_fits_is_kept_in_checkpoints(folder: Path, tmp_path: Path) -> None:
    wanted = recipe(GRPO(), model=str(folder))
    state = state_of(folder)
    state.limits = Limits(rows=64, tokens=500)
    with Run.open(tmp_path, "a", 0, {"name": "a"}) as run:
        state.save(run, 3)
        assert State.load(wanted.settled(None), run).limits == Limits(rows=64, tokens=500)
        (kept,) = run.folder.glob("checkpoints/*/state.json")
        kept.write_text('{"step": 3, "kl_weight": 0.0}')  # of an earlier version
        assert State.load(wanted.settled(None), run).limits == Limits(rows=256)


SHORT = """
import sys
from pathlib import Path
import torch
from short_of_memory import leave_only
from test_update import GRPO, difference, gradients, large, recipe, state_of
torch.set_num_threads(1)
folder = Path(sys.argv[1])
batch = large(folder)
expected = gradients(state_of(folder), batch, recipe(GRPO(), tokens_per_forward=500))
state, metrics = state_of(folder), {}
leave_only(int(sys.argv[2]))
found = gradients(state, batch, recipe(GRPO(), tokens_per_forward=10**6), metrics=metrics)
assert difference(found, expected) < 1e-5
print(int(metrics["memory/retries"]), int(metrics["memory/tokens_per_forward"]))
"""


def large(folder: Path) -> list[Group]:
    """Twelve groups of eight replies of 40 tokens: 5,000 tokens, whose activations take 600 MB in a wide model."""
    policy, encoder = Policy.load(folder), Encoder.load(folder)
    draw = torch.Generator().manual_seed(0)
    groups = []
    for i in range(12):
        example = Example(question=f"How many are there in {i}?", images=(), answer=Digit(value="7"))
        tokens = torch.randint(0, 250, (8, 40), generator=draw).tolist()
        groups.append(sampled(policy, example, encoder.prompt(example), tokens, [float(j % 2) for j in range(8)]))
    return groups


def test_a_process_that_really_runs_out_of_memory_finds_the_same_gradient(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "wide", "qwen2_5_vl", hidden=256, layers=4)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", SHORT, str(folder), str(200 * 10**6)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    retries, tokens = map(int, done.stdout.split())
    assert retries >= 1 and tokens < 3000, done.stderr
    assert "Out of memory in step 0 with forwards of " in done.stderr


# ---- a trained vision tower


@pytest.fixture(scope="module", params=FAMILIES)
def trained_tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("towers") / request.param, request.param, layers=2)


def with_tower(folder: Path) -> State:
    policy = Policy.load(folder, trainable="all")
    policy.tower.keeps = True
    optimizer = Updater(policy.parameters, Optimizer(lr=1e-2))
    return State(policy, Encoder.load(folder), optimizer, None, 0, 0.0)


def showing(state: State, shown: Sequence[Sequence[int]]) -> list[Group]:
    """A group for each list of pictures."""
    draw = torch.Generator().manual_seed(0)
    groups = []
    for i, seeds in enumerate(shown):
        images = tuple(picture(56, 56 + 28 * (seed % 2), seed=seed) for seed in seeds)
        example = Example(question=f"How many are there in {i}?", images=images, answer=Digit(value="7"))
        tokens = torch.randint(0, 250, (3, 5), generator=draw).tolist()
        groups.append(sampled(state.policy, example, state.encoder.prompt(example), tokens, [1, 0, 0.2]))
    return groups


def watched(state: State) -> list[tuple[bool, int]]:
    """Grows by each call of the tower: whether with gradient, and on how many pictures."""
    calls: list[tuple[bool, int]] = []

    def watch(_: Any, args: Any, kwargs: Any, out: Any) -> None:
        calls.append((torch.is_grad_enabled(), len(kwargs["grid_thw"])))

    state.policy.model.model.visual.register_forward_hook(watch, with_kwargs=True)
    return calls


def counted_calls(owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by each call of a method: whether with gradient."""
    calls: list[bool] = []
    method = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(torch.is_grad_enabled())
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


SHOWN = [[1], [2, 1], [3], [1, 4], [], [2]]
"""Pictures 1 and 2 are in several groups, 3 and 4 in one."""


@pytest.mark.parametrize("knows", [True, False], ids=["sampled", "given"])
def test_a_trained_tower_sees_each_picture_of_a_step_once_with_the_same_gradient(
    trained_tower: Path, knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(GRPO(), tokens_per_forward=1)  # each group by itself
    state = with_tower(trained_tower)
    batch = showing(state, SHOWN)
    if not knows:
        state = with_tower(trained_tower)
    calls = watched(state)
    found = gradients(state, batch, wanted, step=1)
    assert sum(pictures for with_grad, pictures in calls if with_grad) == 4
    assert sum(pictures for with_grad, pictures in calls if not with_grad) == (0 if knows else 2)

    plain = with_tower(trained_tower)
    monkeypatch.setattr(plain.policy.tower, "once", lambda *_: nullcontext())
    calls = watched(plain)
    expected = gradients(plain, batch, wanted, step=1)
    assert sum(pictures for _, pictures in calls) == 7
    assert difference(found, expected) < 1e-5


@pytest.mark.parametrize("family", ["smolvlm", "gemma3"])
def test_towers_that_take_all_pictures_of_a_prompt_see_them_once_too(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, wanted = family_folder(tmp_path / family, family), recipe(GRPO(), tokens_per_forward=1)
    found, with_gradient = [], []
    for is_plain in (False, True):
        state = with_tower(folder)
        batch = showing(state, [[1], [1], [2]])
        calls = counted_calls(state.policy.model.base_model, "get_image_features", monkeypatch)
        if is_plain:
            monkeypatch.setattr(state.policy.tower, "once", lambda *_: nullcontext())
        found.append(gradients(state, batch, wanted, step=1))
        with_gradient.append(calls)
    assert with_gradient == [[True] * 2, [True] * 3]
    assert difference(found[0], found[1]) < 1e-5


def test_features_are_made_anew_once_the_weights_have_changed(trained_tower: Path) -> None:
    state, wanted = with_tower(trained_tower), recipe(GRPO(), tokens_per_forward=1)
    batch = showing(state, SHOWN)
    update(state, batch, wanted, step=1)
    fresh = with_tower(trained_tower)
    fresh.policy.model.load_state_dict(state.policy.model.state_dict())
    calls = watched(state)
    found = gradients(state, batch, wanted, step=2)
    assert sum(pictures for with_grad, pictures in calls if not with_grad) == 2  # those of several groups
    assert difference(found, gradients(fresh, batch, wanted, step=2)) < 1e-5


def test_the_backward_of_a_tower_holds_no_more_pictures_at_once_than_a_forward(trained_tower: Path) -> None:
    state = with_tower(trained_tower)
    batch = showing(state, [[1], [3], [5], [7]])  # all of one size, and known
    patches = int(batch[0].prompt.grids.prod())
    for budget, expected in ((2 * patches, [2, 2]), (1, [1, 1, 1, 1]), (10**6, [4])):
        state = with_tower(trained_tower)
        batch = showing(state, [[1], [3], [5], [7]])
        calls = watched(state)
        update(state, batch, recipe(GRPO(), tokens_per_forward=budget), step=1)
        assert calls == [(True, number) for number in expected]


def test_a_tower_that_runs_out_of_memory_goes_on_with_fewer_pictures(trained_tower: Path) -> None:
    state, short = with_tower(trained_tower), with_tower(trained_tower)
    batch = showing(state, SHOWN)
    showing(short, SHOWN)  # whose features are then known
    most = 2 * len(batch[0].prompt.pixels)
    failures = fail_when(short.policy.model.model.visual, lambda pixels: len(pixels) > most)
    expected, found = (gradients(one, batch, recipe(GRPO()), step=1) for one in (state, short))
    assert failures
    assert difference(found, expected) < 1e-5


# ---- what is counted and what is trained


def test_a_zero_variance_group_is_not_run_and_its_replies_count_all_the_same(folder: Path) -> None:
    batch, wanted = scored(folder), recipe(GRPO())
    totals = totals_of(batch, wanted, 0, 0.0)
    assert [needs_forward(m, wanted, totals) for m in batch] == [True, True, False, True, True]
    assert totals.sampled == Count(14, sum(len(j.reply.token_ids) for m in batch for j in m.replies))
    plain, everything, without = state_of(folder), state_of(folder), state_of(folder)
    left_out = gradients(plain, batch, wanted)
    terms, *_ = _forward(everything, batch, totals, wanted, True)
    terms["policy"].backward()
    kept = [torch.zeros_like(p) if p.grad is None else p.grad for p in everything.policy.parameters]
    assert difference(left_out, kept) < 1e-5
    # Had it not been counted, the others would weigh 14 / 11 as much.
    uncounted = gradients(without, [m for m in batch if needs_forward(m, wanted, totals)], wanted)
    assert difference([g * 11 / 14 for g in uncounted], kept) < 1e-5
    assert difference(uncounted, kept) > 1e-2


def test_a_zero_variance_group_is_run_when_something_else_looks_at_it(folder: Path) -> None:
    looking = ((GRPO(kl=0.1), scored(folder)), (SFT(), given_demos(scored(folder))))
    surveying = ((GRPO(top_entropy=0.2), scored(folder)), (NSR(), scored(folder)))
    for objective, batch in looking + surveying:
        wanted = recipe(objective)
        totals = totals_of(batch, wanted, 0, objective.kl.first(1))
        assert all(needs_forward(group, wanted, totals) for group in batch)


def test_a_step_in_which_nothing_is_trained_moves_no_parameter(folder: Path) -> None:
    state = state_of(folder)
    before = [p.clone() for p in state.policy.parameters]
    metrics = update(state, scored(folder)[2:3], recipe(GRPO()), 0)
    memory = {"memory/tokens_per_forward": 2048, "memory/retries": 0}
    assert metrics == {"optim/lr": 1e-3, "tokens/trained": 0, "flops/update": 0} | memory  # there is no loss
    assert all(torch.equal(p, q) for p, q in zip(state.policy.parameters, before, strict=True))
    assert not state.optimizer.tensors()


@pytest.mark.parametrize("kl", [0.0, 0.5])
def test_an_unmeasured_reply_is_not_trained_and_not_in_the_mean(folder: Path, kl: float) -> None:
    batch = scored(folder)
    broken, fine = list(batch), list(batch)
    replies = [j.reply for j in batch[0].replies]
    broken[0] = Group(batch[0].example, batch[0].prompt, judged(replies, [1, None, 0, 0.5]))
    fine[0] = Group(batch[0].example, batch[0].prompt, judged([replies[0], *replies[2:]], [1, 0, 0.5]))
    wanted = recipe(GRPO(kl=kl))
    counted = [totals_of(rows, wanted, 0, kl).sampled for rows in (broken, fine)]
    assert counted[0] == counted[1] and counted[0].replies == 13
    found, expected = (gradients(state_of(folder, kl), rows, wanted) for rows in (broken, fine))
    assert difference(found, expected) < 1e-5


def test_a_group_of_which_nothing_was_measured_does_no_harm(folder: Path) -> None:
    batch = scored(folder)
    nothing = Group(batch[0].example, batch[0].prompt, judged([j.reply for j in batch[0].replies], [None] * 4))
    wanted = recipe(GRPO(kl=0.5), tokens_per_forward=1)  # alone in its forward
    found, expected = (gradients(state_of(folder, 0.5), rows, wanted) for rows in ([nothing, *batch[1:]], batch[1:]))
    assert difference(found, expected) < 1e-5


def test_a_demonstration_is_imitated_whatever_became_of_its_score(folder: Path) -> None:
    demos = given_demos(scored(folder))
    assert totals_of(demos, recipe(SFT()), 0, 0.0).demos.replies == len(demos)
    metrics = update(state_of(folder), demos, recipe(SFT()), 0)
    assert metrics["loss/nll"] > 0
    assert "parity/max_abs" not in metrics  # nobody sampled them


@pytest.mark.parametrize("objective", [LUFFY(), SRFT(), CHORD()], ids=["luffy", "srft", "chord"])
def test_a_step_without_a_demonstration_is_finite(folder: Path, objective: Method) -> None:
    state = state_of(folder)
    metrics = update(state, scored(folder), recipe(objective), 0)
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(torch.isfinite(p).all() for p in state.policy.parameters)
    assert all(
        metrics[f"loss/{name}"] == 0
        for name in ("off_policy", "sft_demo", "rl_demo", "sft")
        if f"loss/{name}" in metrics
    )


def test_a_demonstration_is_trained_on_where_the_group_agrees(folder: Path) -> None:
    agreed = with_demos(scored(folder)[2:3])  # all right, the demonstration too
    assert agreed[0].has_zero_variance
    state = state_of(folder)
    group = PrefixGroup(agreed[0].prompt, (agreed[0].replies[-1].reply.token_ids,))
    before = state.policy.logprobs([group]).logp_BT.sum()
    update(state, agreed, recipe(SRFT()), 0)
    assert state.policy.logprobs([group]).logp_BT.sum() > before


# ---- several minibatches


def test_a_batch_is_cut_into_minibatches_that_differ_by_at_most_one() -> None:
    batch = scored_names(7)
    assert [len(part) for part in minibatches(batch, 3)] == [2, 2, 3]
    assert [m for part in minibatches(batch, 3) for m in part] == batch
    assert [len(part) for part in minibatches(batch[:2], 5)] == [1, 1]
    assert minibatches([], 3) == [[]]


def scored_names(number: int) -> list[Group]:
    example = Example(question="?", images=(), answer=Digit(value="1"))
    return [Group(example, Prompt(str(i), (1,), None, None), ()) for i in range(number)]


def test_each_minibatch_is_a_step_of_its_own_and_only_the_first_is_on_policy(folder: Path) -> None:
    batch, wanted = scored(folder)[:2], recipe(GRPO(), prompts=2, minibatches=2)
    state, by_hand = state_of(folder), state_of(folder)
    steps = []
    state.optimizer.optimizers[0].register_step_post_hook(lambda *_: steps.append(1))
    metrics = update(state, batch, wanted, 0)
    assert len(steps) == 2
    assert metrics["parity/max_abs"] < 1e-4  # measured before the first update alone
    update(by_hand, batch[:1], recipe(GRPO()), 0)
    totals = totals_of(batch[1:], wanted, 0, 0.0)
    off, *_ = _forward(by_hand, batch[1:], totals, wanted, False)
    on, *_ = _forward(by_hand, batch[1:], totals, wanted, True)
    assert float(on["policy"].detach()) == pytest.approx(0.0, abs=1e-3)  # ratios of 1, and advantages that cancel
    assert float(off["policy"].detach()) != pytest.approx(float(on["policy"].detach()), abs=1e-3)
    off["policy"].backward()
    by_hand.optimizer.step(learning_rate(0, wanted.steps, wanted.optimizer))
    for p, q in zip(state.policy.parameters, by_hand.policy.parameters, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_the_second_update_of_a_mixed_batch_meets_no_ratio_on_its_demonstrations(folder: Path) -> None:
    group = shifted(with_demos(scored(folder)[:1])[0], -0.5)
    found = state_of(folder).policy.logprobs([group.packed])
    ratio_BT = table_of([group], found, is_on_policy=False).log_ratio_BT
    assert torch.equal(ratio_BT[-1], torch.zeros_like(ratio_BT[-1]))
    assert torch.equal(found.sampled_logp_BT == 0, ~found.mask_BT)
    torch.testing.assert_close(ratio_BT[0, 0], torch.tensor(0.5))


# ---- the KL


def test_a_weight_of_zero_runs_no_reference_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(folder, 0.5)
    assert state.reference is not None
    calls = []
    score = state.reference.logprobs
    monkeypatch.setattr(state.reference, "logprobs", lambda *a, **k: calls.append(1) or score(*a, **k))
    wanted = recipe(GRPO(kl={"kind": "grpo-d", "low": 0.0, "high": 0.02}))
    update(state, scored(folder), wanted, 1)
    assert len(calls) == 1
    state.kl_weight = 0.0
    assert "policy/kl" not in update(state, scored(folder), wanted, 1)
    assert len(calls) == 1


def test_the_kl_is_zero_in_the_first_step_and_positive_after_it(folder: Path) -> None:
    state, wanted = state_of(folder, 0.5), recipe(GRPO(kl=0.5))
    first = update(state, scored(folder), wanted, 0)
    second = update(state, scored(folder), wanted, 1)
    assert first["loss/kl"] == pytest.approx(0.0, abs=1e-6)
    assert second["loss/kl"] > 1e-6
    for metrics in (first, second):
        assert metrics["loss/total"] == pytest.approx(metrics["loss/policy"] + metrics["loss/kl"])
    assert "loss/kl" not in update(state_of(folder), scored(folder), recipe(GRPO()), 0)


def test_demonstrations_do_not_steer_the_kl_weight(folder: Path) -> None:
    """The sampled replies agree with the reference to the bit; only the demonstrations' log-probs have moved."""
    kl = {"kind": "adaptive", "init": 0.5, "target": 5e-4, "horizon": 100}
    state, wanted = state_of(folder, 0.5), recipe(LUFFY(kl=kl), steps=2)
    batch = with_demos(scored(folder)[:1])
    assert state.reference is not None
    score = state.reference.logprobs

    def moved(groups: Any, **settings: Any) -> Any:
        found = score(groups, **settings)
        return dataclasses.replace(found, logp_BT=found.logp_BT + 2 * found.mask_BT * is_demo_B[:, None])

    is_demo_B = torch.tensor([j.reply.is_demo for j in batch[0].trainable])
    state.reference.logprobs = moved  # type: ignore[method-assign]
    metrics = update(state, batch, wanted, 0)
    assert metrics["policy/kl"] == metrics["loss/kl"] == pytest.approx(0.0, abs=1e-6)
    assert state.kl_weight == pytest.approx(0.5 * (1 - 0.2 * 4 / 100))  # far below the target: as low as the rule goes


def test_without_sampled_replies_the_demonstrations_kl_is_measured(folder: Path) -> None:
    state, wanted, demos = state_of(folder, 0.5), recipe(SFT(kl=0.5)), given_demos(scored(folder))
    update(state, demos, wanted, 0)
    metrics = update(state, demos, wanted, 1)
    assert metrics["policy/kl"] > 1e-6
    assert metrics["loss/kl"] == pytest.approx(0.5 * metrics["policy/kl"])


# ---- the step itself


def test_a_step_raises_the_log_probs_of_rewarded_replies(folder: Path) -> None:
    state, batch = state_of(folder), scored(folder)[:1]
    group = PrefixGroup(batch[0].prompt, tuple(j.reply.token_ids for j in batch[0].replies))
    before = state.policy.logprobs([group]).logp_BT.sum(1)
    update(state, batch, recipe(GRPO()), 0)
    change_B = state.policy.logprobs([group]).logp_BT.sum(1) - before
    best, worst = change_B[0], change_B[1:3].max()  # rewards 1, 0, 0, 0.5
    assert best > 0
    assert best > worst


def test_the_gradient_is_clipped_and_its_whole_norm_reported(folder: Path) -> None:
    batch = scored(folder)
    whole = gradients(state_of(folder), batch, recipe(GRPO()))
    norm = math.sqrt(sum(float(g.square().sum()) for g in whole))
    clipping = recipe(GRPO(), optimizer=Optimizer(lr=1e-3, warmup=0, max_grad_norm=norm / 4))
    clipped = gradients(state_of(folder), batch, clipping)
    assert difference([4 * g for g in clipped], whole) < 1e-4
    assert update(state_of(folder), batch, clipping, 0)["optim/grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_gradients_do_not_leak_into_the_next_step(folder: Path) -> None:
    state = state_of(folder)
    update(state, scored(folder), recipe(GRPO()), 0)
    assert all(p.grad is None for p in state.policy.parameters)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 1.0),  # two warm-up steps: a half, then all of 2.0
        (1, 2.0),
        (2, 2.0),  # the cosine begins at its top
        (6, 1.1),  # half-way down: 2.0 * (0.1 + 0.9 / 2)
        (9, 2.0 * (0.1 + 0.9 * 0.5 * (1 - 0.9238795))),  # seven eighths: cos(7 pi / 8) = -0.9238795
    ],
)
def test_learning_rate_by_hand(step: int, rate: float) -> None:
    assert learning_rate(step, 10, Optimizer(lr=2.0, warmup=0.2, floor=0.1)) == pytest.approx(rate)


def test_without_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert learning_rate(0, 1, Optimizer(lr=2.0, warmup=0)) == 2.0


def test_the_optimizer_uses_the_rate_that_is_reported(folder: Path) -> None:
    state, settings = state_of(folder), Optimizer(lr=1e-3, warmup=0.5, floor=0.1)
    metrics = update(state, scored(folder)[:1], recipe(GRPO(), optimizer=settings, steps=8), 1)
    assert metrics["optim/lr"] == state.optimizer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5e-3)


# ---- parity of rollout and training


def shifted(group: Group, by: float) -> Group:
    """The same group, one of whose tokens is said to have been sampled with another log-prob."""
    first, *others = group.replies
    logprobs = (first.reply.logprobs[0] + by, *first.reply.logprobs[1:])
    reply = first.reply.model_copy(update={"logprobs": logprobs})
    return Group(group.example, group.prompt, (first.model_copy(update={"reply": reply}), *others))


@pytest.mark.parametrize("by", [0.01, -0.01, math.nan])
def test_a_sampled_log_prob_that_training_does_not_find_stops_the_run(folder: Path, by: float) -> None:
    state, (first, second, *_) = state_of(folder), scored(folder)
    before = [p.clone() for p in state.policy.parameters]
    with pytest.raises(ParityError, match=f"disagree by .* examples .*{second.example.id}"):
        update(state, [first, shifted(second, by)], recipe(GRPO()), 0)
    assert all(torch.equal(p, q) for p, q in zip(state.policy.parameters, before, strict=True))


def test_parity_is_measured_in_every_step_and_a_condition_of_the_first(folder: Path) -> None:
    first, second, *_ = scored(folder)
    fine = update(state_of(folder), [first, second], recipe(GRPO()), 0)
    assert fine["parity/max_abs"] < 1e-4
    drifted = update(state_of(folder), [first, shifted(second, 0.01)], recipe(GRPO(), tokens_per_forward=1), 1)
    assert drifted["parity/max_abs"] == pytest.approx(0.01, abs=1e-4)  # the largest of both forwards


SERVED = Served(url="http://nobody:1")


def test_a_servers_tokens_are_held_to_the_bound_in_every_step(folder: Path) -> None:
    first, second, *_ = scored(folder)
    for method in (GRPO(), GRPO(correction="truncate", correction_level="sequence")):
        far = shifted(second, 0.1)  # beyond the mean, too: there are few tokens
        with pytest.raises(ParityError, match="disagree by"):
            update(state_of(folder), [first, far], recipe(method, rollout=SERVED), 7)
    near = shifted(second, 2e-3)  # beyond what one token may be apart, unless it is weighed for that
    with pytest.raises(ParityError, match=r"disagree by 0\.002 nats"):
        update(state_of(folder), [first, near], recipe(GRPO(), rollout=SERVED, tokens_per_forward=10_000), 7)


def test_stale_replies_meet_the_weights_that_wrote_them(folder: Path) -> None:
    """Their log-probs are the old policy's: ratios leave 1 in the first update. How far is measured, not refused."""
    first, second, *_ = scored(folder)
    stale = recipe(GRPO(), rollout=SERVED, staleness=1)
    fresh = gradients(state_of(folder), [first, second], recipe(GRPO()))
    same = gradients(state_of(folder), [first, second], stale)
    for p, q in zip(fresh, same, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-6)  # ratios of 1, but for rounding
    batch, measured = [first, shifted(second, -0.1)], dict[str, float]()
    found = gradients(state_of(folder), batch, stale, 7, measured)
    state = state_of(folder)
    totals = totals_of(batch, stale, 7, 0.0)
    terms, *_ = _forward(state, batch, totals, recipe(GRPO()), False)  # as in a later minibatch
    terms["policy"].backward()
    for parameter, p in zip(state.policy.parameters, found, strict=True):
        torch.testing.assert_close(p, torch.zeros_like(p) if parameter.grad is None else parameter.grad)
    assert measured["parity/max_abs"] == pytest.approx(0.1, abs=1e-4) and measured["parity/ess"] < 1
    assert "policy/clipped" in measured


def test_stale_replies_are_weighed_where_the_trainer_keeps_its_own_log_probs(folder: Path) -> None:
    """A token that weights before have written with exp(-d) times the probability weighs exp(d), and its ratio is 1."""
    first, second, *_ = scored(folder)
    weighed = recipe(GRPO(correction="truncate", correction_cap=10.0), rollout=SERVED, staleness=1)
    state, batch = state_of(folder), [first, shifted(second, -0.5)]
    totals = totals_of(batch, weighed, 7, 0.0)
    kept = [with_old(state, group, weighed) for group in batch]
    table, _ = read(state, kept, totals, weighed, True)
    assert table.correction_BT is not None and float(table.correction_BT.max()) == pytest.approx(
        math.exp(0.5), rel=1e-3
    )
    torch.testing.assert_close(table.log_ratio_BT, torch.zeros_like(table.log_ratio_BT), rtol=0, atol=1e-4)
    asked = dict[str, float]()
    gradients(state, batch, weighed, 7, asked)
    assert asked["flops/update"] > gradients_cost(folder, batch)


def gradients_cost(folder: Path, batch: Sequence[Group]) -> float:
    """FLOPs of the same update without a pass for old log-probs."""
    asked = dict[str, float]()
    gradients(state_of(folder), batch, recipe(GRPO(), rollout=SERVED, staleness=1), 7, asked)
    return asked["flops/update"]


def test_how_far_a_server_is_apart_is_measured_over_all_its_tokens(folder: Path) -> None:
    """One token of n is off by d: mean |d| / n, k3 (e^-d + d - 1) / n, and (n - 1 + w)^2 / (n (n - 1 + w^2))."""
    groups, by = scored(folder), 5e-4
    groups = [groups[0], shifted(groups[1], by), groups[4]]
    tokens = sum(len(j.reply.token_ids) for group in groups for j in group.trainable)
    weight = math.exp(-by)
    for budget in (None, 1):  # together, and each group in a forward of its own
        found = update(state_of(folder), groups, recipe(GRPO(), rollout=SERVED, tokens_per_forward=budget), 7)
        assert found["parity/mean_abs"] == pytest.approx(by / tokens, rel=0.1)
        assert found["parity/kl"] == pytest.approx((weight + by - 1) / tokens, rel=0.1)
        share = (tokens - 1 + weight) ** 2 / (tokens * (tokens - 1 + weight**2))
        assert found["parity/ess"] == pytest.approx(share, abs=1e-8) and found["parity/ess"] < 1
    assert "parity/ess" not in update(state_of(folder), groups, recipe(GRPO()), 7)  # sampler and trainer are one


def test_log_probs_are_those_at_the_sampling_temperature(folder: Path) -> None:
    cool = scored(folder, temperature=0.7)
    assert update(state_of(folder), cool, recipe(GRPO(), sampling={"temperature": 0.7}), 0)["parity/max_abs"] < 1e-4
    with pytest.raises(ParityError):
        update(state_of(folder), cool, recipe(GRPO()), 0)


def test_demonstrations_are_scored_at_temperature_1_whatever_replies_were_sampled_at(folder: Path) -> None:
    """CHORD's NLL is that of the policy, not of a cooler one."""
    groups = with_demos(scored(folder, temperature=0.7))
    demos = [PrefixGroup(g.prompt, (g.replies[-1].reply.token_ids,)) for g in groups]
    with torch.no_grad():
        found = [state_of(folder).policy.logprobs([demo]).logp_BT.sum().item() for demo in demos]
    nll = -sum(found) / sum(len(demo.replies[0]) for demo in demos)
    for budget in (None, 1):  # together, and each group in a forward of its own
        settings = {"sampling": {"temperature": 0.7}, "tokens_per_forward": budget}
        metrics = update(state_of(folder), groups, recipe(CHORD(), **settings), 0)
        assert metrics["loss/sft"] == pytest.approx(0.9 * nll, rel=1e-5)
        assert metrics["parity/max_abs"] < 1e-4  # the sampled ones stay at 0.7
