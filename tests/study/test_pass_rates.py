"""Arms whose data is filtered by how often the untrained model solves it: measured once, for all."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_folder

from firsthand.config import build
from firsthand.data.difficulty import scores_file
from firsthand.errors import DataError, RecipeError
from firsthand.evaluation.joined import PASS_RATES, run_directories
from firsthand.recipe import Data
from firsthand.records import Score
from firsthand.stats import SUCCESS
from firsthand.study import Study, run_seeds, run_study, tune
from firsthand.study.standing import Stage, standing_of

SFT = {"objective": {"kind": "sft", "style": "plain"}}
DATA = {"worlds": ["count"], "number": 12}


def study(arms: dict[str, Any], tokens: int = 2, **more: Any) -> Study:
    test = {"data": {"worlds": ["count"], "split": "test", "number": 2}}
    return build(
        Study,
        {
            "arms": arms,
            "evaluation": {**test, "protocol": {"max_new_tokens": tokens, "samples": 0}},
            "analyses": [],
            **more,
            "shared": {"data": DATA, "steps": 1, "prompts": 1, **more.get("shared", {})},
        },
        "study",
    )


def filtered(**said: Any) -> dict[str, Any]:
    return {**SFT, "data": {"pass_rate": {"of": "base", **said}}}


def test_the_untrained_model_is_asked_once_and_every_seed_trains_on_what_it_solves_sometimes(tmp_path: Path) -> None:
    arms = {"base": {"steps": 0}, "medium": filtered(samples=4, least=0.25, most=0.75)}
    one = study(arms, tokens=48)
    runs = run_seeds(one, tmp_path, [0, 1])
    [rates] = (tmp_path / PASS_RATES).iterdir()
    scores = [Score.model_validate_json(line) for line in scores_file(str(rates)).read_text().splitlines()]
    right = {s.example_id: sum((j.verdict.score or 0) >= SUCCESS for j in s.samples) for s in scores}
    assert len(scores) == 12 and all(len(s.samples) == 4 and s.greedy is None for s in scores)
    kept = [e for e in Data.model_validate(DATA).load() if 1 <= right[e.id] <= 3]
    assert 0 < len(kept) < 12
    trained = [run.training for run in runs if run.training.name.startswith("medium")]
    for run in trained:
        found = json.loads((run / "pass_rate.json").read_text())
        assert (found["kept"], found["of"], found["scores"]) == (len(kept), 12, str(rates))
        lines = map(json.loads, (run / "rollouts.jsonl").read_text().splitlines())
        assert {line["example_id"] for line in lines} <= {example.id for example in kept}
    assert len({json.loads((run / "recipe.json").read_text())["data_id"] for run in trained}) == 1
    assert {found.stage for found in standing_of(one, tmp_path, [0, 1])} == {Stage.DONE}
    assert all(PASS_RATES not in str(folder) for folder in run_directories([tmp_path]))


def test_a_filter_that_leaves_nothing_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)
    arms = {"base": {"steps": 0}, "sft": SFT, "medium": filtered(samples=2)}
    one = study(arms, shared={"model": str(tmp_path / "tiny")})
    with pytest.raises(DataError, match=r"got none among 12; pass rates are 0: 12"):
        run_study(one, tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [PASS_RATES]


def test_tuning_tries_settings_on_the_filtered_data(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)
    arms = {"base": {"steps": 0}, "hard": filtered(samples=2, least=0, most=0)}
    settings = {"optimizer.lr": [1e-4, 1e-3]}
    validation = {"data": {"worlds": ["count"], "split": "validation", "number": 2}}
    more = {"tune": {"grid": settings, "rungs": [1.0]}, "validation": validation}
    one = study(arms, shared={"model": str(tmp_path / "tiny")}, **more)
    tuned = tune(one, tmp_path / "runs")
    assert tuned.tuned["hard"].settings.keys() == {"optimizer.lr", "stop"}
    tried = sorted((tmp_path / "runs/tune").glob("hard-*/pass_rate.json"))
    assert [json.loads(path.read_text())["kept"] for path in tried] == [12, 12]
    assert len(list((tmp_path / "runs" / PASS_RATES).iterdir())) == 1


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"of": "bse"}, r"arm 'medium': data\.pass_rate\.of: 'bse' is no arm of the study; did you mean 'base'\?"),
        ({"of": "sft"}, r"expected an arm that takes no step, got 'sft'; name the untrained one"),
        ({"of": "base", "scores": "a"}, r"arm medium: data\.pass_rate\.scores: unknown key"),
        ({"of": "base", "least": 0.9}, r"expected least to be at most most, got 0\.9 and 0\.75"),
        ({"least": 0.5}, r"arm medium: data\.pass_rate\.of: required, but not given"),
    ],
)
def test_a_filter_that_cannot_be_measured_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        study({"base": {"steps": 0}, "sft": SFT, "medium": {"data": {"pass_rate": said}}})


def test_a_file_of_the_user_s_stays_what_it_is() -> None:
    one = study({"mine": {"data": {"pass_rate": {"scores": "mine.jsonl", "most": 0.5}}}})
    found = one.recipe("mine", 0, {}).data.pass_rate
    assert one.pass_rate("mine") is None and found is not None and (found.scores, found.most) == ("mine.jsonl", 0.5)
    assert one.recipe_from_scratch("mine", 0).data.pass_rate is None
