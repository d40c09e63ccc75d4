"""A study's trainings beside each other on a Ray cluster, and by several processes: what one process finds."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from study_files import found

from firsthand.cli.main import main
from firsthand.errors import FirsthandError
from firsthand.study import Study, run_seeds

pytest.importorskip("ray", reason="needs Ray: pip install 'firsthand[ray]'")

DATA = {"worlds": ["count"], "number": 12, "level": "easy"}
CONTENT: dict[str, Any] = {
    "shared": {
        "data": DATA,
        "prompts": 2,
        "steps": 12,
        "sampling": {"max_new_tokens": 6},
        "checkpoint_every": 4,
    },
    "arms": {
        "base": {"steps": 0},
        "sft": {"objective": {"kind": "sft", "style": "plain"}},
        "both": {"start": "sft", "objective": {"kind": "grpo", "group_size": 4}},
    },
    "analyses": [],
    "evaluation": {"data": {**DATA, "split": "test"}, "protocol": {"max_new_tokens": 6, "samples": 0}},
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def study_file(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(CONTENT, sort_keys=False))
    return file


def begun(file: Path, out: Path, *said: str, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "firsthand", "study", str(file), "--seeds", "0", "1", "--out", str(out), *said]
    env = ENVIRONMENT | environment
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def training_under(pid: int, command: "subprocess.Popen[str]", out: Path) -> psutil.Process | None:
    """A process below that one which trains while a training has a checkpoint and is not done; None: none was met."""
    while command.poll() is None:
        saved = [path.parents[1] for path in out.glob("*/checkpoints/step-*")]
        if any(not (run / "DONE").exists() for run in saved):
            for process in psutil.Process(pid).children(recursive=True):
                if process.is_running() and process.name().startswith("ray::_in_folder"):
                    return process
        time.sleep(0.01)
    return None


@pytest.mark.slow
def test_a_study_on_a_cluster_that_loses_a_worker_finds_what_one_process_does(tmp_path: Path) -> None:
    file = study_file(tmp_path)
    alone = begun(file, tmp_path / "local")
    _, errors = alone.communicate()
    assert alone.returncode == 0, errors
    together = begun(file, tmp_path / "ray", "--engine", "ray")
    worker = training_under(together.pid, together, tmp_path / "ray")
    assert worker is not None
    worker.kill()
    said, errors = together.communicate()
    assert together.returncode == 0, errors
    assert "both, seed 1: done" in said and "6 of 6" in said
    assert found(tmp_path / "ray") == found(tmp_path / "local")


@pytest.mark.slow
def test_a_study_on_a_cluster_that_loses_a_machine_finds_what_one_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines of a processor each, as Ray has them: on one computer, which is why they share their files."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    file = study_file(tmp_path)
    alone = begun(file, tmp_path / "local")
    _, errors = alone.communicate()
    assert alone.returncode == 0, errors
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.add_node(num_cpus=1)
        lost = cluster.add_node(num_cpus=1)
        together = begun(file, tmp_path / "ray", "--engine", "ray", RAY_ADDRESS=cluster.address)
        [raylet] = lost.all_processes["raylet"]
        assert training_under(raylet.process.pid, together, tmp_path / "ray") is not None
        cluster.remove_node(lost, allow_graceful=False)
        said, errors = together.communicate()
    finally:
        cluster.shutdown()
    assert together.returncode == 0, errors
    assert "both, seed 1: done" in said and "6 of 6" in said
    assert found(tmp_path / "ray") == found(tmp_path / "local")


@pytest.mark.slow
def test_an_arm_that_fails_on_a_cluster_is_named_when_the_others_are_done(tmp_path: Path) -> None:
    arms = {**CONTENT["arms"], "bad": {"model": str(tmp_path / "nowhere")}, "on-bad": {"start": "bad"}}
    study = Study.model_validate({**CONTENT, "arms": arms})
    with pytest.raises(FirsthandError, match=r"^bad: .*nowhere"):
        run_seeds(study, tmp_path / "out", [0], engine="ray")
    ended = {path.parent.name.partition("-s0-")[0] for path in (tmp_path / "out").glob("*/DONE")}
    assert ended >= {"base", "sft", "both"}


@pytest.mark.slow
def test_more_processes_than_a_machine_of_the_cluster_has_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        "study",
        str(study_file(tmp_path)),
        "--engine",
        "ray",
        "--processes",
        "999",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(asked) == 2
    assert "--processes: expected at most" in capsys.readouterr().err


@pytest.mark.slow
def test_an_arm_that_two_processes_train_is_the_run_that_one_does(tmp_path: Path) -> None:
    file, said = study_file(tmp_path), ["--arms", "base", "sft"]
    for out, processes in (("one", "1"), ("two", "2")):
        command = begun(file, tmp_path / out, *said, "--processes", processes)
        _, errors = command.communicate()
        assert command.returncode == 0, errors
    one, two = ({path.parent.name for path in (tmp_path / out).glob("*/DONE")} for out in ("one", "two"))
    assert {name for name in one if name.startswith(("base", "sft"))} <= two
    ranks = [len(path.read_text().splitlines()) for path in sorted((tmp_path / "two").glob("sft-s*/metrics.jsonl"))]
    assert ranks == [12, 12]


@pytest.mark.slow
def test_what_processes_say_when_they_fail_is_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = study_file(tmp_path)
    bad = ["--set", f"shared.model={tmp_path / 'nowhere'}"]
    assert main(["study", str(file), "--arms", "sft", "--processes", "2", "--out", str(tmp_path / "out"), *bad]) == 2
    said = capsys.readouterr().err
    assert "sft: its 2 processes ended with status" in said and "nowhere" in said
