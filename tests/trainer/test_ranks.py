"""Several processes train as one: the same replies, gradients and decisions, and one of them writes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ranked import train_on
from safetensors.torch import load_file
from tiny import tiny_folder

from firsthand.trainer.ranks import ALONE, Ranks, balanced, dealt

DATA = {"worlds": ["count", "chart"], "number": 10, "level": "easy"}
SHORT: dict[str, Any] = {
    "data": DATA,
    "prompts": 3,
    "steps": 20,
    "sampling": {"max_new_tokens": 24},
    "optimizer": {"lr": 1e-4},
    "checkpoint_every": 8,
}
GRPO = SHORT | {"name": "grpo", "objective": {"kind": "grpo", "group_size": 4}}
SRFT = SHORT | {"name": "srft", "objective": {"kind": "srft", "style": "plain", "group_size": 2}}
SFT = SHORT | {"name": "sft", "objective": {"kind": "sft", "style": "plain"}}
WHOLE_BATCH = SHORT | {
    "name": "whole-batch",
    "steps": 3,
    "prompts": 4,
    "minibatches": 2,
    "objective": {
        "kind": "grpo",
        "group_size": 4,
        "scale": "batch",
        "zero_variance": "resample",
        "top_entropy": 0.3,
        "correction": "truncate",
        "kl": 0.01,
    },
    "probe": {"data": {"worlds": ["count"], "number": 3, "split": "validation", "level": "easy"}, "every": 2},
}
"""All that looks beyond a rank's own groups: a batch's deviation, its quantile, further draws, a probe."""


def numbered(number: int, size: int) -> Ranks:
    """A rank of so many that is asked for its part alone."""

    class Numbered:
        pass

    rank: Any = Numbered()
    rank.number, rank.size = number, size
    return rank


def lines(run: Path, name: str) -> list[Any]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def tokens(run: Path) -> list[list[list[int]]]:
    """Of every reply that a run has journalled."""
    return [[j["reply"]["token_ids"] for j in rollout["group"]] for rollout in lines(run, "rollouts.jsonl")]


def assert_same(one: Path, several: Path) -> None:
    """The same run but for rounding: its id, its replies, its measurements and its weights."""
    assert one.name == several.name
    assert tokens(one) == tokens(several)
    assert any(line["metrics"].get("optim/grad_norm") for line in lines(one, "metrics.jsonl"))
    for a, b in zip(lines(one, "metrics.jsonl"), lines(several, "metrics.jsonl"), strict=True):
        apart = {name for name in a["metrics"] if not name.startswith(("memory/", "parity/"))}
        assert a["metrics"].keys() == b["metrics"].keys()
        assert {n: b["metrics"][n] for n in apart} == pytest.approx({n: a["metrics"][n] for n in apart}, 1e-3, 1e-6)
    left, right = (load_file(run / "model/model.safetensors") for run in (one, several))
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, rtol=1e-4, atol=2e-5)


def test_every_prompt_has_one_rank_and_equal_ones_the_same():
    names = ["a", "b", "a", "c", "d", "b"]
    parts = [dealt(names, numbered(number, 2)) for number in range(2)]
    assert parts == [[0, 2, 3], [1, 4, 5]]
    assert dealt(names, ALONE) == list(range(6))


def test_work_is_divided_by_its_size_and_keeps_its_order():
    sizes = [5, 100, 40, 30, 35]
    parts = [balanced(sizes, lambda size: size, numbered(number, 2)) for number in range(2)]
    assert parts == [[5, 100], [40, 30, 35]]
    assert balanced(sizes, lambda size: size, ALONE) == sizes


LENGTHS = "def score(reply, answer):\n    return len(reply) % 5 / 4\n"
"""A reward for a model that is never right."""


def twenty_steps(folder: Path) -> list[dict[str, Any]]:
    """Of every kind, on the model that ships and on a tiny Qwen3-VL."""
    tiny = {"model": str(tiny_folder(folder / "model", "qwen3_vl"))}
    paid = GRPO | {"reward": {"function": "mine:score"}}
    return [GRPO, SRFT, SFT, *({**recipe, **tiny, "name": f"tiny-{recipe['name']}"} for recipe in (paid, SRFT, SFT))]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Recipes of twenty steps, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "mine.py").write_text(LENGTHS)
    recipes = twenty_steps(folder)
    return recipes, train_on(1, recipes, folder / "runs")


@pytest.mark.slow
@pytest.mark.parametrize("fully_shard", [False, True], ids=["copies", "divided"])
def test_two_processes_train_as_one_does(fully_shard, alone, tmp_path):
    recipes, runs = alone
    (tmp_path / "mine.py").write_text(LENGTHS)
    together = train_on(2, [{**recipe, "fully_shard": fully_shard} for recipe in recipes], tmp_path / "two")
    for one, several in zip(runs, together, strict=True):
        assert len(lines(one, "metrics.jsonl")) == 20
        assert_same(one, several)
    assert sorted(path.name for path in together[0].iterdir()) == sorted(path.name for path in runs[0].iterdir())


@pytest.mark.slow
def test_two_processes_look_at_a_whole_batch_as_one_does(tmp_path):
    (several,), (one,) = (train_on(ranks, [WHOLE_BATCH], tmp_path / str(ranks)) for ranks in (2, 1))
    assert_same(one, several)


@pytest.mark.slow
def test_three_processes_train_a_model_with_a_tower_and_adapters_as_one_does(tmp_path):
    folder = tiny_folder(tmp_path / "model", "qwen3_vl")
    with_kl = {**SRFT["objective"], "kl": 0.01}  # demonstrations: nothing that a random model says is right
    shared = {**SRFT, "model": str(folder), "steps": 4, "objective": with_kl}
    recipes = [
        {**shared, "name": "seeing", "trainable": "all"},
        {**shared, "name": "adapted", "adapter": {"rank": 4}},
    ]
    together, alone = (train_on(ranks, recipes, tmp_path / str(ranks)) for ranks in (3, 1))
    for one, several in zip(alone, together, strict=True):
        assert_same(one, several)


@pytest.mark.slow
def test_divided_weights_train_as_whole_ones_do(tmp_path):
    folder = tiny_folder(tmp_path / "model", "qwen3_vl")
    with_kl = {**SRFT["objective"], "kl": 0.01}
    tiny = {**SRFT, "model": str(folder), "steps": 4, "objective": with_kl, "checkpoint_every": 2}
    recipes = [
        {**GRPO, "steps": 6, "minibatches": 2, "objective": {**GRPO["objective"], "correction": "truncate"}},
        {**tiny, "name": "seeing", "trainable": "all"},
        {**tiny, "name": "adapted", "adapter": {"rank": 4}},
    ]
    divided = [{**recipe, "fully_shard": True} for recipe in recipes]
    together = train_on(2, divided, tmp_path / "divided")
    alone = train_on(1, recipes, tmp_path / "alone")
    for one, several in zip(alone, together, strict=True):
        assert_same(one, several)


@pytest.mark.slow
def test_what_divided_weights_have_saved_any_number_of_ranks_goes_on_from(tmp_path):
    recipe = {**GRPO, "steps": 6, "checkpoint_every": 2}
    divided = {**recipe, "fully_shard": True}
    (whole,) = train_on(1, [recipe], tmp_path / "whole")
    out = tmp_path / "moved"
    for ranks, settings, stop in ((2, divided, 0.3), (1, recipe, 0.6), (2, divided, None)):
        (moved,) = train_on(ranks, [settings], out, pause=stop)
    assert_same(whole, moved)


@pytest.mark.slow
def test_a_rank_that_is_killed_is_started_again_with_the_others_and_the_result_is_the_same(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**GRPO, "steps": 8, "checkpoint_every": 2}))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    to_its_end(launched(recipe, whole))
    process = launched(recipe, broken)
    while not any(path.read_text().count("\n") >= 3 for path in broken.glob("*/metrics.jsonl")):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.005)
    os.kill(ranks_of(process)[-1], signal.SIGKILL)
    to_its_end(process)
    (a,), (b,) = whole.iterdir(), broken.iterdir()
    assert [line["metrics"] for line in lines(a, "metrics.jsonl")] == [x["metrics"] for x in lines(b, "metrics.jsonl")]
    assert (a / "rollouts.jsonl").read_bytes() == (b / "rollouts.jsonl").read_bytes()
    assert (a / "model/model.safetensors").read_bytes() == (b / "model/model.safetensors").read_bytes()


def launched(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    """`firsthand train` on two ranks of torchrun, which starts them again once."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "--max-restarts", "1", "-m", "firsthand", "train", str(recipe), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def to_its_end(process: subprocess.Popen[bytes]) -> None:
    _, told = process.communicate()
    assert process.returncode == 0, told.decode()


def ranks_of(launcher: subprocess.Popen[bytes]) -> list[int]:
    """The ids of the processes that a launcher has started, rank 0 first."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    names = {int(child): Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children}
    ranks = {int(value[5:]): child for child, told in names.items() for value in told if value.startswith(b"RANK=")}
    return [ranks[rank] for rank in sorted(ranks)]
