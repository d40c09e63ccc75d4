"""What a training run does with damage to its own files: told by name, never trained on, and nothing thrown away."""

import json
import os
import shutil
from pathlib import Path

import pytest

from firsthand.errors import DataError
from firsthand.policy import Policy
from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.trainer import train
from firsthand.trainer.state import damage

CONTENT = {
    "name": "sft",
    "data": {"worlds": ["count"], "number": 8, "level": "easy"},
    "objective": {"kind": "sft", "style": "plain"},
    "optimizer": {"lr": 1e-3},
    "steps": 3,
    "prompts": 2,
    "checkpoint_every": 1,
}
SFT = Recipe.model_validate(CONTENT)


def stopped_after(root: Path, step: int) -> Path:
    """A run that was stopped in that step, before its checkpoint."""

    def stop(done: Step) -> None:
        if done.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SFT, root, stop)
    (folder,) = root.iterdir()
    return folder


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "file", ["model/model.safetensors", "model/config.json", "optimizer.safetensors", "random.safetensors"]
)
@pytest.mark.parametrize("how", ["flipped", "cut", "zeros", "gone"])
def test_damage_to_any_file_of_a_checkpoint_is_seen(checkpoint: Path, tmp_path: Path, file: str, how: str) -> None:
    kept = tmp_path / "step-000002"
    shutil.copytree(checkpoint, kept)
    assert damage(kept) is None
    path = kept / file
    size = path.stat().st_size
    if how == "flipped":
        flip(path)
    else:
        path.write_bytes({"cut": path.read_bytes()[: size // 2], "zeros": bytes(size), "gone": b""}[how])
    if how == "gone":
        path.unlink()
    assert damage(kept) == f"other bytes, or none, in {file}"


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"step": 2'])
def test_a_checkpoint_whose_state_cannot_be_read_is_damaged(
    checkpoint: Path, tmp_path: Path, content: str | None
) -> None:
    kept = tmp_path / "step-000002"
    shutil.copytree(checkpoint, kept)
    state = kept / "state.json"
    said = state.read_text()
    state.unlink()
    if content is not None:
        state.write_text(content)
    assert damage(kept) == "a state.json that is missing or cannot be read"
    state.write_text(said.replace('"step": 2', '"step": 3'))
    assert damage(kept) == "a state.json that has changed"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (found,) = stopped_after(tmp_path_factory.mktemp("stopped"), 2).glob("checkpoints/step-*")
    return found


def test_a_run_goes_on_from_an_earlier_checkpoint_or_says_that_its_only_one_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(SFT, tmp_path / "whole")
    run = stopped_after(tmp_path / "broken", 1)
    shutil.copytree(run / "checkpoints/step-000001", tmp_path / "step-000001")
    stopped_after(tmp_path / "broken", 2)
    newest = run / "checkpoints/step-000002"
    flip(newest / "model/model.safetensors")
    journal = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"step-000002: expected a whole checkpoint, .* in model/model.safetensors; re"):
        train(SFT, tmp_path / "broken")
    assert newest.exists() and (run / "metrics.jsonl").read_bytes() == journal
    shutil.copytree(tmp_path / "step-000001", run / "checkpoints/step-000001")
    assert train(SFT, tmp_path / "broken") == run
    assert "step-000002: expected a whole checkpoint" in caplog.text
    assert (run / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
    assert (run / "rollouts.jsonl").read_bytes() == (whole / "rollouts.jsonl").read_bytes()


def test_the_journals_are_on_the_disk_before_the_checkpoint_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that outlives the steps before it would end in a run without them."""
    done: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    stopped_after(tmp_path, 1)
    saved = done.index("optimizer.safetensors")
    assert {"rollouts.jsonl", "metrics.jsonl"} <= set(done[:saved])


def test_a_model_appears_whole_also_in_place_of_that_of_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in the middle of the last save left half a model where a whole one is expected."""
    run = train(SFT, tmp_path, pause=0.5)
    paused = (run / "model/model.safetensors").read_bytes()
    save = Policy.save

    def killed(policy: Policy, folder: Path) -> None:
        save(policy, folder)
        if "checkpoints" not in Path(folder).parts:
            (Path(folder) / "model.safetensors").write_bytes(b"half")
            raise KeyboardInterrupt

    with monkeypatch.context() as kill:
        kill.setattr(Policy, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(SFT, tmp_path)
    assert (run / "model/model.safetensors").read_bytes() == paused and not (run / "DONE").exists()
    train(SFT, tmp_path)
    assert (run / "DONE").exists() and (run / "model/model.safetensors").read_bytes() != paused


def test_a_finished_run_whose_model_has_gone_is_told_and_not_named_as_if_it_were_there(tmp_path: Path) -> None:
    run = train(SFT, tmp_path)
    assert train(SFT, tmp_path) == run
    shutil.rmtree(run / "model")
    with pytest.raises(DataError, match=r"expected the model of a finished run, got none in model/; restore it"):
        train(SFT, tmp_path)


def test_a_demonstration_beyond_the_model_s_context_is_refused_at_the_door(tmp_path: Path) -> None:
    rows = [{"question": f"How many are {i}?", "answer": "7", "trace": "I count. <answer>7</answer>"} for i in range(4)]
    long = {**rows[0], "question": "How many in all?", "trace": f"{'I count on. ' * 700}<answer>7</answer>"}
    short = {**rows[1], "question": "How many at most?", "trace": f"{'I count on. ' * 40}<answer>7</answer>"}
    data = tmp_path / "data.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, short, long]))
    recipe = Recipe.model_validate({**CONTENT, "data": {"path": str(data)}, "objective": {"kind": "sft"}})
    with pytest.raises(
        DataError, match=r"line 6.*behind its prompt, into the model's context of 2048 tokens"
    ) as caught:
        train(recipe, tmp_path / "runs")
    assert "line 5" not in str(caught.value) and not list(tmp_path.glob("runs/*"))
