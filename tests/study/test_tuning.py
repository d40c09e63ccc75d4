"""Each arm chooses its settings on validation data, with one budget, and every try is kept."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_folder

from firsthand import recipe as recipes
from firsthand.cli.main import main
from firsthand.cli.terminal.tuning import pasted, show_choices
from firsthand.config import build
from firsthand.errors import DataError, RecipeError
from firsthand.evaluation.joined import run_directories
from firsthand.findings import Tuned
from firsthand.recipe import Recipe
from firsthand.study import Study, Try, run_seeds, tune
from firsthand.study.tuning import at_an_edge, read_tries, with_kept_choices
from firsthand.trainer import train

LR = "optimizer.lr"
TEST = {"data": {"worlds": ["count"], "split": "test", "number": 2}, "protocol": {"max_new_tokens": 2, "samples": 0}}
RATES = [1e-4, 1e-3, 1e-2, 1e-1]
SFT = {"objective": {"kind": "sft", "style": "plain"}}


def content(folder: Path, trained: dict[str, Any] | None = None, **tuning: Any) -> dict[str, Any]:
    """A study of a random model of one layer, whose arms choose among four rates in four steps."""
    model = folder / "tiny"
    if not model.exists():
        tiny_folder(model, "qwen2_5_vl", layers=1)
    data = {"worlds": ["count"], "number": 4}
    return {
        "shared": {"model": str(model), "data": data, "prompts": 1, "steps": 4, "sampling": {"max_new_tokens": 2}},
        "arms": trained or {"base": {"steps": 0}, "sft": SFT},
        "validation": {"data": {"worlds": ["count"], "split": "validation", "number": 3}},
        "tune": {"grid": {LR: RATES}, **tuning},
        "evaluation": TEST,
    }


def study(folder: Path, trained: dict[str, Any] | None = None, **tuning: Any) -> Study:
    return build(Study, content(folder, trained, **tuning), "study")


class Counted:
    """Counts the steps that are taken, by what the training is called."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()

    def __call__(self, arm: str, recipe: Recipe) -> Any:
        return lambda step: self.steps.update([arm])


# ---- a training that pauses


def test_a_paused_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    recipe = study(tmp_path).recipe("sft", 0, {}, {})
    whole, parts = train(recipe, tmp_path / "whole"), tmp_path / "parts"
    paused = train(recipe, parts, pause=0.5)
    assert not (paused / "DONE").exists() and len((paused / "metrics.jsonl").read_text().splitlines()) == 2
    stopped = train(recipe.model_copy(update={"stop": 2}), tmp_path / "stopped")
    weights = "model/model.safetensors"
    assert (paused / weights).read_bytes() == (stopped / weights).read_bytes()
    again = (paused / "metrics.jsonl").stat().st_mtime_ns
    assert train(recipe, parts, lambda step: pytest.fail("trained again"), pause=0.5) == paused
    assert (paused / "metrics.jsonl").read_text() and again
    assert train(recipe, parts) == paused and (paused / "DONE").exists()
    assert (paused / weights).read_bytes() == (whole / weights).read_bytes()
    told = [
        [json.loads(x)["metrics"] for x in (run / "metrics.jsonl").read_text().splitlines()] for run in (whole, paused)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("content", ["[", "{}", '[{"arm": 7}]', "\\u0000"])
def test_damaged_choices_are_named_with_what_to_do(content: str, tmp_path: Path) -> None:
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune/tuned.json").write_text(content)
    with pytest.raises(DataError, match=r"tuned.json: expected the choices of arms, got .* made again from tune.jsonl"):
        with_kept_choices(study(tmp_path), tmp_path)
    (tmp_path / "tune/tune.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"tune.jsonl line 1: expected a Try"):
        read_tries(tmp_path / "tune")


# ---- halving


def test_the_better_half_goes_on_and_no_step_is_repeated(tmp_path: Path) -> None:
    counted, told = Counted(), list[Try]()
    found = tune(study(tmp_path), tmp_path / "runs", None, counted, on_try=told.append)
    tries = read_tries(tmp_path / "runs/tune")
    assert tries == told and [one.rung for one in tries] == [0] * 4 + [1] * 2 + [2]
    assert [one.step for one in tries] == [1] * 4 + [2] * 2 + [4]
    # Four candidates to step 1, two of them to step 2, one to step 4.
    assert sorted(counted.steps.values()) == [1, 1, 2, 4]
    for rung in (0, 1):
        went_on = [one for one in tries if one.rung == rung + 1]
        ranked = sorted(
            (one for one in tries if one.rung == rung), key=lambda one: (-(one.greedy or 0), one.settings[LR])
        )
        assert [one.settings for one in went_on] == [one.settings for one in ranked[: len(went_on)]]
    best = min(tries, key=lambda one: (-(one.greedy or 0), one.settings[LR], one.step))
    chosen = found.tuned["sft"]
    assert chosen.settings == {**best.settings, "stop": best.step} and chosen.accuracy == best.greedy
    assert chosen.grid == {LR: tuple(RATES), "stop": (1, 2, 4)} and chosen.tries == 4
    assert "base" not in found.tuned
    [kept] = json.loads((tmp_path / "runs/tune/tuned.json").read_text())
    assert kept == chosen.model_dump(mode="json")


def test_of_equals_the_smaller_rate_and_the_earlier_stop_are_chosen(tmp_path: Path) -> None:
    """A random model that writes two tokens is never right: all are equal."""
    found = tune(study(tmp_path, rungs=2), tmp_path / "runs")
    assert {one.greedy for one in read_tries(tmp_path / "runs/tune")} == {0.0}
    assert found.tuned["sft"].settings == {LR: 1e-4, "stop": 2}
    assert found.tuned["sft"].edges == (LR, "stop")


def test_what_was_tried_is_not_tried_again_and_a_wider_grid_tries_what_is_new(tmp_path: Path) -> None:
    first = tune(study(tmp_path), tmp_path / "runs")
    before = read_tries(tmp_path / "runs/tune")
    refused = lambda *_: pytest.fail("tried again")  # noqa: E731
    assert tune(study(tmp_path), tmp_path / "runs", None, lambda arm, recipe: refused, on_try=refused) == first
    wider = list[Try]()
    tune(study(tmp_path, grid={LR: [1e-5, *RATES]}), tmp_path / "runs", on_try=wider.append)
    assert [one.settings[LR] for one in wider if one.rung == 0] == [1e-5]
    assert read_tries(tmp_path / "runs/tune")[: len(before)] == before


def test_what_is_given_up_keeps_its_journal_and_no_weights(tmp_path: Path) -> None:
    tune(study(tmp_path), tmp_path / "runs")
    tries = read_tries(tmp_path / "runs/tune")
    finalist = tries[-1].run
    for one in tries:
        run = tmp_path / "runs/tune" / str(one.run)
        assert (run / "metrics.jsonl").exists() and (tmp_path / "runs/tune" / str(one.evaluation) / "DONE").exists()
        assert (run / "model").exists() == (one.run == finalist) and not (run / "checkpoints").exists()
    with pytest.raises(DataError, match="holds none"):  # a report of the study does not show them
        run_directories([tmp_path / "runs"])
    assert run_directories([tmp_path / "runs/tune"])


def test_samples_decide_where_the_file_says_so(tmp_path: Path) -> None:
    tune(study(tmp_path, by="sampled", samples=2), tmp_path / "runs")
    one = read_tries(tmp_path / "runs/tune")[0]
    assert one.sampled is not None and one.greedy is not None and one.n == 3


def test_a_training_that_diverges_is_a_try_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "LARGEST_LR", math.inf)  # what no recipe may ask for diverges at once
    found = tune(study(tmp_path, grid={LR: [1e-4, 1e30]}, rungs=2), tmp_path / "runs")
    tries = read_tries(tmp_path / "runs/tune")
    failed = [one for one in tries if one.failed]
    assert [one.settings[LR] for one in failed] == [1e30] and "diverged" in failed[0].failed
    assert failed[0].greedy is None and failed[0].step is None
    assert found.tuned["sft"].settings[LR] == 1e-4
    with pytest.raises(RecipeError, match=r"every combination of its grid failed; the first: .*diverged"):
        tune(study(tmp_path, grid={LR: [1e30]}, rungs=1), tmp_path / "runs")


# ---- a study that tunes


def test_a_study_tunes_once_and_all_seeds_share_the_choice(tmp_path: Path) -> None:
    arms = {"base": {"steps": 0}, "sft": SFT, "more": {"start": "sft", **SFT}}
    counted = Counted()
    one = study(tmp_path, arms, grid={LR: [1e-4, 1e-3]}, rungs=2)
    runs = run_seeds(one, tmp_path / "runs", [0, 1], counted)
    recipes = [json.loads((run.training / "recipe.json").read_text()) for run in runs]
    chosen = {one["arm"]: one for one in json.loads((tmp_path / "runs/results.json").read_text())["tuned"]}
    assert list(chosen) == ["sft", "more"]
    for recipe in recipes:
        if recipe["name"] in chosen:
            settings = chosen[recipe["name"]]["settings"]
            assert (recipe["optimizer"]["lr"], recipe["stop"]) == (settings[LR], settings["stop"])
        assert recipe["probe"]["data"]["split"] == "validation"  # every arm is probed with it
    tries = [t for t in read_tries(tmp_path / "runs/tune") if t.arm == "more"]
    starts = {json.loads((tmp_path / "runs/tune" / str(t.run) / "recipe.json").read_text())["start"] for t in tries}
    folders = (tmp_path / "runs/tune").glob("sft-s1000-*/DONE")
    ids = {json.loads((done.parent / "recipe.json").read_text())["id"]: done.parent for done in folders}
    [start] = starts
    tuned_start = json.loads((ids[start] / "recipe.json").read_text())
    assert tuned_start["optimizer"]["lr"] == chosen["sft"]["settings"][LR]
    assert tuned_start.get("stop", tuned_start["steps"]) == chosen["sft"]["settings"]["stop"]
    refused = lambda *_: pytest.fail("tried again")  # noqa: E731
    assert run_seeds(one, tmp_path / "runs", [0, 1], lambda arm, recipe: refused, lambda arm: refused, refused) == runs


def test_settings_that_are_in_the_file_are_taken_as_they_are(tmp_path: Path) -> None:
    found = tune(study(tmp_path), tmp_path / "runs")
    said = yaml.safe_load(pasted(list(found.tuned.values()), "firsthand tune study.yaml"))
    again = build(Study, {**content(tmp_path), **said}, "study")
    assert again.tuned == found.tuned and again.grid("sft") == {}
    refused = lambda *_: pytest.fail("tried again")  # noqa: E731
    assert tune(again, tmp_path / "other", None, lambda arm, recipe: refused, on_try=refused) == again
    assert again.recipe("sft", 0, {}) == found.recipe("sft", 0, {})
    assert again.recipe("sft", 0, {}).stop == found.tuned["sft"].settings["stop"]
    without = build(
        Study, {key: value for key, value in {**content(tmp_path), **said}.items() if key != "tune"}, "study"
    )
    assert without.recipe("sft", 0, {}) == again.recipe("sft", 0, {})


@pytest.mark.parametrize(
    ("stops", "stop", "said"),
    [
        ((3, 6), 6, "stop=6 is at an end of 3, 6: a better one may lie beyond; train longer"),
        ((3, 6), 3, "stop=3 is at an end of 3, 6: a better one may lie beyond; compare earlier, too"),
        (
            (3, None),
            None,
            "stop=the end of its budget is at an end of .*; give all arms more",
        ),
        ((3, None), 3, "stop=3 is at an end of 3, the end of its budget: .*; compare earlier, too"),
    ],
)
def test_a_length_at_an_end_of_its_grid_is_said_with_what_to_do(
    stops: tuple[int | None, ...], stop: int | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, grid = {"stop": stop}, {"stop": stops}
    show_choices([Tuned(arm="a", settings=settings, accuracy=0.5, grid=grid, tries=2, edges=("stop",))])
    assert re.search(said, " ".join(capsys.readouterr().out.split()))


def test_an_arm_that_states_a_setting_itself_keeps_it(tmp_path: Path) -> None:
    arms = {"own": {**SFT, "optimizer": {"lr": 0.5}}, "free": SFT, "left": SFT}
    one = study(tmp_path, arms, arms={"left": {}})
    assert (one.grid("own"), list(one.grid("free")), one.grid("left")) == ({}, [LR], {})
    assert one.recipe("own", 0, {}).optimizer.lr == 0.5


def test_an_arm_can_choose_what_it_starts_from(tmp_path: Path) -> None:
    """The start that is best by itself need not be the best to start from."""
    arms = {"base": {"steps": 0}, "cold": {**SFT, "optimizer": {"lr": 1e-5}}, "warm": SFT, "after": SFT}
    grids = {"warm": {LR: [1e-3, 1e-4]}, "after": {"start": ["cold", "warm"]}}
    plan = study(tmp_path, arms, grid={}, arms=grids, rungs=1)
    assert plan.starts("after") == () and set(plan.needs("after")) == {"cold", "warm"}
    found = tune(plan, tmp_path / "runs")
    folder = tmp_path / "runs/tune"
    tries = [one for one in read_tries(folder) if one.arm == "after"]
    assert [one.settings for one in tries] == [{"start": "cold"}, {"start": "warm"}]
    names = {json.loads(path.read_text())["id"]: path.parent.name for path in folder.glob("*/recipe.json")}
    begun = [names[json.loads((folder / str(one.run) / "recipe.json").read_text())["start"]] for one in tries]
    assert [name.split("-s1000")[0] for name in begun] == ["cold", "warm"]
    chosen = found.tuned["after"].settings["start"]
    assert found.starts("after") == (chosen,) == found.needs("after")
    runs = run_seeds(plan, tmp_path / "runs", [0])
    started = json.loads((runs[-1].training / "recipe.json").read_text())["start"]
    assert started == json.loads((runs[list(arms).index(chosen)].training / "recipe.json").read_text())["id"]


def test_a_method_named_alone_can_have_settings_to_choose(tmp_path: Path) -> None:
    one = study(tmp_path, {"grpo": {"objective": "grpo-d"}}, grid={"objective.group_size": [2, 4]})
    method = one.recipe("grpo", 0, {}, {"objective.group_size": 4}).objective
    assert (method.kind, method.group_size) == ("grpo-d", 4)  # type: ignore[attr-defined]


# ---- what is refused


@pytest.mark.parametrize(
    ("settings", "grid", "found"),
    [
        ({LR: 1e-4}, {LR: [1e-5, 1e-4, 1e-3]}, ()),
        ({LR: 1e-3}, {LR: [1e-5, 1e-4, 1e-3]}, (LR,)),
        ({LR: 1e-5}, {LR: [1e-3, 1e-4, 1e-5]}, (LR,)),
        ({"kl": 0.0}, {"kl": [0.0, 0.1]}, ()),  # nothing lies below
        ({"kl": 0.1}, {"kl": [0.0, 0.1]}, ("kl",)),
        ({LR: 1e-4}, {LR: [1e-4]}, ()),  # nothing was chosen
        ({"scale": "std"}, {"scale": ["std", "none"]}, ()),  # no order
        ({"dft": True}, {"dft": [False, True]}, ()),
    ],
)
def test_a_choice_at_an_end_of_its_grid_is_said(settings: dict[str, Any], grid: Any, found: tuple[str, ...]) -> None:
    assert at_an_edge(settings, grid) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": None}, "tune: name what settings are chosen on"),
        ({"tune": {"grid": {"stop": [1, 2]}}}, "stop is chosen among the rungs"),
        (
            {"tune": {"grid": {LR: [1], "a": [1], "b": [1], "c": [1]}}},
            "expected at most 2 settings beside optimizer.lr",
        ),
        ({"tune": {"arms": {"sftt": {}}}}, "'sftt' is no arm of the study; did you mean 'sft'"),
        ({"tuned": {"x": {"settings": {}, "accuracy": 0, "grid": {}, "tries": 1}}}, "tuned: 'x' is no arm"),
        ({"tune": {"grid": {LR: [1]}, "by": "sampled"}}, "no samples are drawn"),
        ({"tune": {"grid": {LR: [1]}, "rungs": [0.5, 0.5]}}, "expected shares of the training that rise"),
        ({"arms": {"sft": {"optimizer": {"lr": 1}}}, "tune": {"arms": {"sft": {LR: [1]}}}}, r"arms\.sft states optim"),
        ({"tune": {"grid": {LR: []}}}, r"tune\.grid"),
        ({"tune": {"arms": {"sft": {"start": ["base", "grpo"]}}}}, r"tune\.arms\.sft: 'grpo' is not an arm above it"),
    ],
)
def test_a_study_that_cannot_tune_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        build(Study, {**content(tmp_path), **change}, "study")


def test_an_arm_that_chooses_among_more_than_another_is_refused(tmp_path: Path) -> None:
    arms = {"a": SFT, "b": SFT}
    two = {"arms": {"b": {LR: [1e-4, 1e-3]}}}
    with pytest.raises(RecipeError, match=r"a choice among more is a larger budget, got a 4, b 2; set tune.tries to 2"):
        tune(study(tmp_path, arms, **two), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    found = tune(study(tmp_path, arms, **two, tries=2, rungs=1), tmp_path / "runs")
    assert [choice.tries for choice in found.tuned.values()] == [2, 2]


def test_validation_questions_that_the_test_asks_are_refused(tmp_path: Path) -> None:
    shared = {**content(tmp_path), "validation": {"data": {"worlds": ["count"], "split": "test", "number": 1}}}
    with pytest.raises(RecipeError, match=r"that the test does not ask, got 1 of 1 that evaluation\.data has"):
        tune(build(Study, shared, "study"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_combination_that_is_no_recipe_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"arm sft:\n  optimizer\.lrr: unknown key"):
        tune(study(tmp_path, grid={"optimizer.lrr": [1]}), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# ---- the command


def test_the_command_prints_what_to_keep_and_study_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(yaml.safe_dump(content(tmp_path, rungs=1)))
    assert main(["tune", "s.yaml", "--set", "tune.grid={optimizer.lr: [1.0e-4, 1.0e-3]}", "--arms", "sft"]) == 0
    said = capsys.readouterr().out
    assert "tune sft: optimizer.lr=0.0001, after 4 steps: greedy 0.0" in said
    assert (
        "NOTE: sft: optimizer.lr=0.0001 is at an end of 0.0001, 0.001: a better one may lie beyond; extend the" in said
    )
    printed = said[said.index("# firsthand tune s.yaml --set 'tune.grid={optimizer.lr: [1.0e-4, 1.0e-3]}'") :]
    assert yaml.safe_load(printed)["tuned"]["sft"]["settings"] == {LR: 1e-4, "stop": 4}
    before = Path("runs/s/tune/tune.jsonl").read_bytes()
    assert main(["study", "s.yaml", "--set", "tune.grid={optimizer.lr: [1.0e-4, 1.0e-3]}"]) == 0
    assert Path("runs/s/tune/tune.jsonl").read_bytes() == before


def test_a_study_without_a_grid_is_told_what_to_add(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({k: v for k, v in content(tmp_path).items() if k != "tune"}))
    assert main(["tune", str(tmp_path / "s.yaml")]) == 2
    assert "has nothing to choose from; add tune: {grid:" in capsys.readouterr().err
