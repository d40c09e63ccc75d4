"""A study that is killed at any moments, and run to its end, finds what an undisturbed one finds."""

import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from killable import started
from study_files import found

KILLS = 10


def write_study(folder: Path) -> Path:
    """Two arms and the base; each arm chooses its rate, and both cost as much."""
    data = {"worlds": ["count"], "number": 12}
    content = {
        "shared": {
            "data": data,
            "prompts": 2,
            "steps": 16,
            "sampling": {"max_new_tokens": 6},
            "checkpoint_every": 6,  # so that most kills meet steps that no checkpoint has
        },
        "arms": {
            "base": {"steps": 0},
            "sft": {"objective": {"kind": "sft", "style": "plain"}},
            "grpo": {"objective": {"kind": "grpo", "group_size": 4, "kl": 0.1}},
        },
        "validation": {"data": {**data, "split": "validation", "number": 4}, "every": 8},
        "tune": {"grid": {"optimizer.lr": [1e-4, 1e-3]}, "rungs": [0.5, 1.0]},
        "budget": {"match": "flops", "of": "grpo"},
        "analyses": [],
        "evaluation": {"data": {**data, "split": "test"}, "protocol": {"max_new_tokens": 6, "samples": 2}},
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def repeats(out: Path) -> bool:
    """Whether a training will take steps again that it has journalled: no checkpoint has them."""
    for journal in out.glob("*/metrics.jsonl"):
        run = journal.parent
        saved = max((int(path.name.split("-")[-1]) for path in run.glob("checkpoints/step-*")), default=0)
        if not (run / "DONE").exists() and journal.read_text().count("\n") > saved:
            return True
    return False


@pytest.mark.slow
def test_a_study_that_is_killed_at_ten_random_moments_finds_the_same(tmp_path: Path) -> None:
    file, dice = write_study(tmp_path), random.Random(0)

    def study(out: Path) -> Any:
        return started("study", str(file), "--seeds", "0", "1", "--out", str(out))

    started("recipes").join()  # what is killed has imported the package, so that kills meet work
    began = time.monotonic()
    undisturbed = study(tmp_path / "undisturbed")
    undisturbed.join()
    assert undisturbed.exitcode == 0
    usual, kills, rounds, amid = time.monotonic() - began, 0, 1, 0
    expected = found(tmp_path / "undisturbed")
    assert len(expected[1]) == 3 * 2 * 2 + 1 and [one["arm"] for one in expected[0]["tuned"]] == ["grpo", "sft"]
    while kills < KILLS or (not amid and kills < 5 * KILLS):
        process = study(tmp_path / f"killed-{rounds}")
        process.join(dice.uniform(0, usual))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            amid += repeats(tmp_path / f"killed-{rounds}")
        else:  # there is nothing left to kill
            assert process.exitcode == 0 and found(tmp_path / f"killed-{rounds}") == expected
            rounds += 1
    last = study(tmp_path / f"killed-{rounds}")
    last.join()
    assert last.exitcode == 0 and found(tmp_path / f"killed-{rounds}") == expected
    assert amid, "no kill has met a step that is taken again: nothing was tested"
