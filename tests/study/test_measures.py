"""What a study measures of its arms' weights: token probabilities before and after, and distances."""

from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_folder

from firsthand.evaluation.replies import read_journal
from firsthand.findings import Distances, TokenChange
from firsthand.processor import Encoder
from firsthand.report.runs import read_runs
from firsthand.study import ArmRuns, Study, run_seeds
from firsthand.study.distance import distances
from firsthand.study.tokens import pieces


def study(model: Path, **more: Any) -> Study:
    arms: dict[str, Any] = {
        "base": {"steps": 0},
        "sft": {"objective": {"kind": "sft", "style": "plain"}},
        "more": {"start": "sft", "objective": {"kind": "sft", "style": "plain"}, "steps": 2},
    }
    shared = {"model": str(model), "prompts": 2, "steps": 1, "sampling": {"max_new_tokens": 2}}
    shared |= {"data": {"worlds": ["count"], "number": 4}, "optimizer": {"lr": 1e-2}}
    protocol = {"max_new_tokens": 6, "samples": 0}
    test = {"data": {"worlds": ["count", "chart"], "number": 6}, "protocol": protocol}
    return Study.model_validate({"shared": shared, "arms": arms, "evaluation": test, **more})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, ArmRuns]]:
    root = tmp_path_factory.mktemp("study")
    one = study(tiny_folder(root / "tiny", "qwen2_5_vl", layers=1))
    runs = run_seeds(one, root / "runs", [0])
    return root / "runs", dict(zip(one.arms, runs, strict=True))


def changes(root: Path, arm: str) -> list[TokenChange]:
    [folder] = root.glob(f"tokens-{arm}-s0-*")
    return [TokenChange.model_validate_json(line) for line in (folder / "tokens.jsonl").read_text().splitlines()]


def test_a_reply_has_under_its_own_writer_the_log_probs_that_it_was_written_with(
    done: tuple[Path, dict[str, ArmRuns]],
) -> None:
    root, runs = done
    for who, arm in (("start", "base"), ("tuned", "more")):
        written = {score.example_id: score.greedy for score in read_journal(runs[arm].evaluation / "scores.jsonl")}
        own = [change for change in changes(root, "more") if change.by == who]
        assert len(own) == 6
        for change in own:
            greedy = written[change.example_id]
            assert greedy is not None
            assert change.text == "".join(change.pieces) == greedy.reply.text
            np.testing.assert_allclose(getattr(change, who), greedy.reply.logprobs, atol=1e-4)


def test_training_moves_the_probabilities_of_both_kinds_of_replies(done: tuple[Path, dict[str, ArmRuns]]) -> None:
    for change in changes(done[0], "sft"):
        assert np.abs(np.subtract(change.tuned, change.start)).max() > 1e-3


def test_the_chains_first_model_is_the_one_before_also_for_an_arm_that_starts_from_another(
    done: tuple[Path, dict[str, ArmRuns]],
) -> None:
    first, second = ([c for c in changes(done[0], arm) if c.by == "start"] for arm in ("sft", "more"))
    assert [c.start for c in first] == [c.start for c in second]
    assert [c.tuned for c in first] != [c.tuned for c in second]


def test_distances_begin_at_the_untrained_model_and_grow_along_a_chain(done: tuple[Path, dict[str, ArmRuns]]) -> None:
    [folder] = done[0].glob("distances-s0-*")
    found = Distances.model_validate_json((folder / "distances.json").read_text())
    assert (found.names, found.starts) == (("base", "sft", "more"), (None, "base", "sft"))
    assert 0 == found.relative[0][0] < found.relative[0][1] < found.relative[0][2]
    assert found.relative[1][2] == found.relative[2][1]


def test_what_only_measures_is_no_run_and_is_not_measured_twice(
    done: tuple[Path, dict[str, ArmRuns]], tmp_path: Path
) -> None:
    root, _ = done
    assert sorted(run.name for run in read_runs([root])) == ["base", "more", "sft"]
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.json*") if path.name != "results.json"}
    run_seeds(study(root.parent / "tiny"), root, [0])
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_study_that_wants_no_analyses_measures_none(tmp_path: Path) -> None:
    one = study(tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1), analyses=[])
    run_seeds(one, tmp_path / "runs", [0])
    assert not [path for kind in ("tokens", "distances") for path in (tmp_path / "runs").glob(f"{kind}-*")]


def folder_with(root: Path, name: str, *numbers: float) -> Path:
    (root / name).mkdir()
    numbers = tuple(map(float, numbers))
    tensors = {"a": torch.tensor(numbers[:1]), "b": torch.tensor(numbers[1:])}
    save_file(tensors, root / name / "model.safetensors")
    return root / name


def test_distances_are_those_of_all_weights_together_over_the_norm_of_the_first(tmp_path: Path) -> None:
    origin = folder_with(tmp_path, "origin", 3, 4)
    moved = [
        folder_with(tmp_path, "up", 3, 9),
        folder_with(tmp_path, "right", 8, 4),
        folder_with(tmp_path, "still", 3, 4),
    ]
    found = distances(["origin", "up", "right", "still"], [None, "origin", "origin", "origin"], [origin, *moved])
    assert found.relative[0] == pytest.approx((0, 1, 1, 0))
    assert found.relative[1] == pytest.approx((1, 0, sqrt(2), 1))
    assert found.cosines[1] == (None, pytest.approx(1), pytest.approx(0), None)


def test_a_character_of_several_tokens_is_the_last_ones(folders: dict[str, Path]) -> None:
    encoder = Encoder.load(folders["qwen2_5_vl"])
    text = "héllo 数 ok"
    ids = encoder.reply(text)
    found = pieces(encoder, ids)
    assert len(found) == len(ids)
    assert "".join(found) == text
    assert found[-1] == ""
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(found)
