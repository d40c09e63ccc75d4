"""The training loop: it learns, it journals what it did, and a kill at any moment changes nothing."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from firsthand.errors import DataError, ParityError, RecipeError
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.records import Example, Rollout, Step, content_id
from firsthand.trainer import open_run, train
from firsthand.trainer.sample import draw_indices
from firsthand.trainer.saving import RATE, Saving
from firsthand.trainer.state import State

DATA = {"worlds": ["count", "chart"], "number": 24, "level": "easy"}
SFT = {
    "name": "sft",
    "data": DATA,
    "objective": {"kind": "sft", "style": "plain"},
    "steps": 5,
    "prompts": 4,
    "checkpoint_every": 2,
}
GRPO = SFT | {"name": "grpo", "objective": {"kind": "grpo", "group_size": 4}, "sampling": {"max_new_tokens": 48}}
FAST = {"optimizer": {"lr": 1e-3}}


def measurements(run: Path) -> list[dict[str, float]]:
    """Everything a run journalled but its wall times."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [Step.model_validate_json(line).metrics | {"step": json.loads(line)["step"]} for line in lines]


def start(recipe: Path, out: Path, threads: int) -> subprocess.Popen[bytes]:
    """`firsthand train` in a process of its own."""
    command = [sys.executable, "-m", "firsthand", "train", str(recipe), "--out", str(out)]
    # Passive: threads that wait in a loop take the core from those that they wait for, where other tests run beside.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def to_its_end(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process is done, and see that it was content."""
    _, told = process.communicate()
    assert process.returncode == 0, told.decode()


def kill_when(process: subprocess.Popen[bytes], is_time) -> None:
    """SIGKILL the process at the first moment that `is_time()` holds; it must not end before."""
    while not is_time():
        if process.poll() is not None:
            raise AssertionError(f"ended before it could be killed: {process.stderr.read().decode()}")
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def journalled(out: Path, steps: int) -> bool:
    """Whether a run below `out` has journalled at least so many steps."""
    return any(path.read_text().count("\n") >= steps for path in out.glob("*/metrics.jsonl"))


IN_HALVES = {"precision": "bfloat16"}
KAHAN = {"precision": "bfloat16-pure", "optimizer": {"lr": 1e-3, "kind": "adamw-kahan"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "threads"),
    [
        (SFT | FAST, 1),
        (GRPO | FAST, 1),
        (GRPO | FAST, 2),
        (GRPO | FAST | IN_HALVES, 1),
        (SFT | KAHAN, 1),
    ],
    ids=["sft", "grpo", "grpo-2-threads", "grpo-bfloat16", "sft-bfloat16-pure"],
)
def test_a_killed_run_goes_on_bit_for_bit(content, threads, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(content))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    to_its_end(start(recipe, whole, threads))

    kill_when(start(recipe, broken, threads), lambda: journalled(broken, 1))  # before the first checkpoint
    half_written = "*/checkpoints/.step-*"
    kill_when(start(recipe, broken, threads), lambda: any(broken.glob(half_written)))
    kill_when(start(recipe, broken, threads), lambda: journalled(broken, 3))  # after one
    to_its_end(start(recipe, broken, threads))

    (a,), (b,) = whole.iterdir(), broken.iterdir()
    assert a.name == b.name
    assert len(measurements(a)) == content["steps"]
    assert measurements(a) == measurements(b)
    assert (a / "rollouts.jsonl").read_bytes() == (b / "rollouts.jsonl").read_bytes()
    assert (a / "model/model.safetensors").read_bytes() == (b / "model/model.safetensors").read_bytes()
    assert not (b / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_first_and_goes_on_there_bit_for_bit(stop, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(GRPO | FAST | {"checkpoint_every": 20}))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    to_its_end(start(recipe, whole, 1))
    process = start(recipe, broken, 1)
    while not journalled(broken, 1):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.002)
    process.send_signal(stop)
    _, told = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on from the last checkpoint" in told.decode()
    (b,) = broken.iterdir()
    (saved,) = b.glob("checkpoints/step-*")
    done = int(saved.name.removeprefix("step-"))
    assert 1 <= done < GRPO["steps"]
    journal = (b / "metrics.jsonl").read_bytes()
    to_its_end(start(recipe, broken, 1))
    (a,) = whole.iterdir()
    assert (b / "metrics.jsonl").read_bytes().startswith(journal), "no step was done again"
    assert measurements(a) == measurements(b)
    assert (a / "model/model.safetensors").read_bytes() == (b / "model/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "fields",
    [
        FAST,
        {"optimizer": {"lr": 1e-3, "kind": "adamw-8bit"}},
        FAST | IN_HALVES,
        FAST | IN_HALVES | {"adapter": {"rank": 4}},
        IN_HALVES | {"optimizer": {"lr": 1e-3, "kind": "adamw-8bit"}},
        IN_HALVES | {"optimizer": {"lr": 1e-3, "offload": True}},
        KAHAN,
    ],
    ids=["float32", "8bit", "bfloat16", "adapter", "bfloat16-8bit", "offload", "pure"],
)
def test_every_precision_and_optimizer_goes_on_from_a_checkpoint_bit_for_bit(fields, tmp_path):
    recipe = Recipe.model_validate(SFT | fields | {"steps": 4})
    whole = train(recipe, tmp_path / "whole")

    def stop(step: Step) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "broken", stop)
    broken = train(recipe, tmp_path / "broken")
    assert measurements(whole) == measurements(broken)
    assert (whole / "model/model.safetensors").read_bytes() == (broken / "model/model.safetensors").read_bytes()
    kept = load_file(whole / "model/model.safetensors")
    dtype = torch.float32 if "precision" not in fields else torch.bfloat16
    assert {tensor.dtype for tensor in kept.values()} == {dtype}


def test_a_reference_in_bfloat16_is_where_the_policy_begins(tmp_path):
    kl = {"objective": {"kind": "sft", "style": "plain", "kl": 0.5}}
    first, second = measurements(train(Recipe.model_validate(SFT | FAST | IN_HALVES | kl | {"steps": 2}), tmp_path))
    assert first["policy/kl"] == 0.0 and second["policy/kl"] > 0


@pytest.mark.parametrize(("minutes", "saved"), [(0.0, [1, 2, 3]), (9.0, [])])
def test_a_run_saves_by_time_as_well_as_by_steps(minutes, saved, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(State, "save", lambda self, run, step: found.append(step))
    often = {"steps": 4, "checkpoint_every": 20, "checkpoint_minutes": minutes}
    train(Recipe.model_validate(SFT | FAST | often), tmp_path)
    assert found == saved


@pytest.mark.parametrize(
    ("step_s", "save_s", "first", "share"),
    [(4, 0.2, 2, 0.031), (0.05, 0.2, 134, 0.031), (60, 36, 10, 0.061), (3600, 36, 1, 0.011), (60, 0.001, 1, 0.001)],
    ids=["the small model", "short steps", "a large model", "long steps", "adapters"],
)
def test_a_run_saves_as_early_and_as_often_as_it_costs_little(step_s, save_s, first, share, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("firsthand.trainer.saving.time.monotonic", lambda: clock[0])
    often = {"steps": 10_000, "checkpoint_every": 10_000}
    saving = Saving(Recipe.model_validate(SFT | often), size=round(save_s * RATE))
    saved: list[int] = []

    def save() -> None:
        clock[0] += save_s
        saved.append(step)

    for step in range(1, 2_000):
        clock[0] += step_s
        if saving.is_due(step):
            saving.carry_out(save)
    assert saved[0] == first
    assert len(saved) * save_s <= share * clock[0]
    gaps = [after - before for before, after in itertools.pairwise(saved)]
    assert max(gaps) * step_s <= 600 + step_s


@pytest.mark.slow
def test_a_short_run_that_is_killed_at_its_last_step_goes_on_from_a_later_step_than_the_first(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    content = GRPO | FAST | {"prompts": 16, "sampling": {"max_new_tokens": 96}}
    recipe.write_text(
        yaml.safe_dump({**content, "objective": {"kind": "grpo", "group_size": 16}} | {"checkpoint_every": 20})
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    to_its_end(start(recipe, whole, 1))
    kill_when(start(recipe, broken, 1), lambda: journalled(broken, 4))
    (b,) = broken.iterdir()
    (saved,) = b.glob("checkpoints/step-*")
    kept = (b / "metrics.jsonl").read_text().splitlines()[: int(saved.name.removeprefix("step-"))]
    assert kept
    to_its_end(start(recipe, broken, 1))
    (a,) = whole.iterdir()
    assert (b / "metrics.jsonl").read_text().splitlines()[: len(kept)] == kept, "what was saved is not done again"
    assert measurements(a) == measurements(b)
    assert (a / "rollouts.jsonl").read_bytes() == (b / "rollouts.jsonl").read_bytes()
    assert (a / "model/model.safetensors").read_bytes() == (b / "model/model.safetensors").read_bytes()


def test_signals_do_what_they_did_once_a_run_has_ended(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    train(Recipe.model_validate(SFT | {"steps": 1}), tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_sft_lowers_the_loss_on_what_it_imitates(tmp_path):
    recipe = Recipe.model_validate(SFT | FAST | {"steps": 12, "data": DATA | {"number": 4}, "name": "memorise"})
    losses = [step["loss/nll"] for step in measurements(train(recipe, tmp_path))]
    assert losses[-1] < 0.5 * losses[0]


def test_a_finished_run_is_skipped_and_another_recipe_is_another_run(tmp_path):
    recipe = Recipe.model_validate(SFT | {"steps": 1})
    first = train(recipe, tmp_path)
    written = (first / "model/model.safetensors").stat().st_mtime_ns
    assert train(recipe, tmp_path, lambda step: pytest.fail("trained again")) == first
    assert (first / "model/model.safetensors").stat().st_mtime_ns == written
    assert train(recipe.model_copy(update={"seed": 1}), tmp_path) != first


def test_a_run_is_named_by_the_hash_of_what_its_recipe_records(tmp_path):
    recipe = Recipe.model_validate(GRPO | {"minibatches": 2})
    with open_run(recipe, recipe.data.load(), tmp_path) as run:
        kept = json.loads((run.folder / "recipe.json").read_text())
    assert kept["minibatches"] == 2 and kept["objective"]["loss_agg_mode"] == "seq-mean-token-mean"
    content = {key: value for key, value in kept.items() if key != "id"}
    assert kept["id"] == content_id(content)
    assert run.folder.name == f"grpo-s0-{kept['id'][:8]}"


def test_a_run_without_steps_is_the_model_it_starts_from(tmp_path):
    folder = train(Recipe.model_validate(SFT | {"steps": 0}), tmp_path)
    again = train(Recipe.model_validate(SFT | {"steps": 0, "name": "again", "start": str(folder)}), tmp_path)
    kept, copied = load_file(folder / "model/model.safetensors"), load_file(again / "model/model.safetensors")
    assert kept.keys() == copied.keys() and all((kept[name] == copied[name]).all() for name in kept)


def test_what_a_grpo_step_did_can_be_read_in_its_journal(tmp_path):
    folder = train(Recipe.model_validate(GRPO | {"steps": 1}), tmp_path)
    (step,) = measurements(folder)
    rollouts = [Rollout.model_validate_json(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    assert len(rollouts) == 4 and all(len(rollout.group) == 4 for rollout in rollouts)
    assert all((folder / f"images/{name}.png").exists() for rollout in rollouts for name in rollout.images)
    judged = [j for rollout in rollouts for j in rollout.group]
    assert step["score/mean"] == step["reward/mean"] == pytest.approx(sum(j.verdict.score for j in judged) / 16)
    assert step["parity/max_abs"] < 1e-3
    assert all(len(j.reply.token_ids) == len(j.reply.logprobs) for j in judged)
    assert "loss/kl" not in step and "loss/nll" not in step  # what was not measured is absent


def test_every_epoch_shows_every_example_once_in_another_order():
    drawn = [i for step in range(6) for i in draw_indices(10, 5, step, seed=3)]
    assert sorted(drawn[:10]) == sorted(drawn[10:20]) == sorted(drawn[20:]) == list(range(10))
    assert drawn[:10] != drawn[10:20]
    assert draw_indices(10, 5, 4, seed=3) == drawn[20:25]  # a step can be drawn without those before it


def test_sft_without_demonstrations_names_the_styles_that_there_are(tmp_path):
    recipe = Recipe.model_validate(SFT | {"objective": {"kind": "sft", "style": "given"}})
    with pytest.raises(DataError, match=r"style 'given', which all 24 examples lack.*\['expert', 'plain'\]"):
        train(recipe, tmp_path)


def test_a_wrong_start_is_told_before_the_data_are_read(tmp_path):
    recipe = Recipe.model_validate(SFT | {"start": str(tmp_path / "no-run"), "data": {"path": "no-data.jsonl"}})
    with pytest.raises(RecipeError, match="start: expected a finished run directory"):
        train(recipe, tmp_path)


def test_open_answers_are_refused_by_grpo_before_anything_is_trained(tmp_path):
    recipe = Recipe.model_validate(GRPO | {"data": {"worlds": ["describe"], "number": 4}})
    with pytest.raises(ValueError, match="no verifier"):
        train(recipe, tmp_path)


def test_a_sampler_that_reports_wrong_log_probs_stops_the_first_step(tmp_path, monkeypatch):
    from firsthand.rollout import LocalSampler

    sample = LocalSampler.sample

    def lying(self, *how, **settings):
        for indexed in sample(self, *how, **settings):
            logprobs = tuple(p - 0.01 for p in indexed.reply.logprobs)
            yield indexed._replace(reply=indexed.reply.model_copy(update={"logprobs": logprobs}))

    monkeypatch.setattr(LocalSampler, "sample", lying)
    with pytest.raises(ParityError, match=r"disagree by 0\.01"):
        train(Recipe.model_validate(GRPO | {"steps": 1}), tmp_path)


def test_a_run_that_diverges_stops_and_says_so(tmp_path):
    recipe = Recipe.model_validate(GRPO | {"steps": 4, "optimizer": {"max_grad_norm": 1e30}})
    recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"lr": 1e30})})  # unchecked
    with pytest.raises(RecipeError, match=r"training has diverged; lower optimizer\.lr"):
        train(recipe, tmp_path)
    assert not list(tmp_path.glob("*/DONE"))


def test_a_steps_pictures_are_processed_while_the_step_before_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead: list[list[str]] = []
    prefetch = Encoder.prefetch

    def noted(self: Encoder, examples: Iterable[Example]) -> None:
        ahead.append([example.id for example in examples])
        prefetch(self, examples)

    monkeypatch.setattr(Encoder, "prefetch", noted)
    run = train(Recipe.model_validate(SFT | {"steps": 3}), tmp_path)
    lines = (run / "rollouts.jsonl").read_text().splitlines()
    trained: dict[int, list[str]] = {}
    for line in lines:
        rollout = Rollout.model_validate_json(line)
        trained.setdefault(rollout.step, []).append(rollout.example_id)
    assert [sorted(ids) for ids in ahead] == [sorted(set(trained[step])) for step in (1, 2)]
