"""Arms that are matched by what they cost, with all that they start from."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_folder

from firsthand.cli.console import Console
from firsthand.config import build
from firsthand.cost import COST_UNITS, cost_of_run, steps_of
from firsthand.errors import RecipeError
from firsthand.study import Study, run_seeds, tune
from firsthand.study.tuning import read_tries

SFT = {"objective": {"kind": "sft", "style": "plain"}}
GRPO = {"objective": {"kind": "grpo", "group_size": 8, "kl": 0.1}}  # with a KL, groups that are all wrong train, too
ARMS: dict[str, Any] = {"base": {"steps": 0}, "sft": SFT, "sft+grpo": {"start": "sft", **GRPO}, "grpo": GRPO}
BUDGET = {"match": "flops", "of": "grpo", "shares": {"sft": 0.5}}


def content(folder: Path, budget: dict[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    model = folder / "tiny"
    if not model.exists():
        tiny_folder(model, "qwen2_5_vl", layers=1)
    data = {"worlds": ["count"], "number": 4}
    return {
        "shared": {"model": str(model), "data": data, "prompts": 1, "steps": 3, "sampling": {"max_new_tokens": 32}},
        "arms": ARMS,
        "evaluation": {"data": {**data, "split": "test"}, "protocol": {"max_new_tokens": 2, "samples": 0}},
        "budget": BUDGET if budget is None else budget,
        **said,
    }


def study(folder: Path, budget: dict[str, Any] | None = None, **said: Any) -> Study:
    return build(Study, content(folder, budget, **said), "study")


def test_every_arm_trains_until_its_chain_has_cost_as_much(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    one = study(tmp_path)
    assert one.order == ["base", "grpo", "sft", "sft+grpo"]
    runs = run_seeds(one, root, [0, 1])
    by_seed = [dict(zip(ARMS, runs[start : start + 4], strict=True)) for start in (0, 4)]
    found = json.loads((root / "results.json").read_text())["budget"]
    assert (found["match"], found["of"], list(found["arms"])) == ("flops", "grpo", list(ARMS))
    for arms in by_seed:
        costs = {arm: cost_of_run(run.training)["flops"] or 0.0 for arm, run in arms.items()}
        last = {arm: steps_of(run.training)[-1:] for arm, run in arms.items()}
        step = {arm: sum(v for k, v in s[0].metrics.items() if k.startswith("flops/")) for arm, s in last.items() if s}
        assert len(steps_of(arms["grpo"].training)) == 3 < len(steps_of(arms["sft"].training))
        assert 0 <= costs["sft"] - costs["grpo"] / 2 < step["sft"]  # over by less than a step
        assert 0 <= costs["sft"] + costs["sft+grpo"] - costs["grpo"] < step["sft+grpo"]
    for unit in COST_UNITS:
        own = [cost_of_run(arms["sft+grpo"].training)[unit] or 0.0 for arms in by_seed]
        start = [cost_of_run(arms["sft"].training)[unit] or 0.0 for arms in by_seed]
        assert found["own"]["sft+grpo"][unit] == pytest.approx(sum(own) / 2)
        assert found["arms"]["sft+grpo"][unit] == pytest.approx((sum(own) + sum(start)) / 2)
        assert found["arms"]["base"][unit] == 0
    refused = lambda *_: pytest.fail("trained again")  # noqa: E731
    assert run_seeds(one, root, [0, 1], lambda arm, recipe: refused, lambda arm: refused) == runs
    Console().table(root / "results.json")
    said = capsys.readouterr().out
    assert "TFLOP are matched to those of grpo" in said and "of grpo" in said and "100.0 %" in said


def test_without_a_budget_all_five_are_measured_too(tmp_path: Path) -> None:
    arms = {"base": {"steps": 0}, "sft": SFT}
    run_seeds(build(Study, {**content(tmp_path), "arms": arms, "budget": None}, "study"), tmp_path / "runs", [0])
    found = json.loads((tmp_path / "runs/results.json").read_text())["budget"]
    assert found.keys() == {"arms", "own"} and list(found["arms"]["sft"]) == list(COST_UNITS)
    assert found["arms"]["sft"]["steps"] == 3 and found["arms"]["sft"]["generated"] == 0


def test_an_amount_is_matched_by_all_arms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    one = study(tmp_path, {"match": "trained", "amount": 900, "shares": {"sft": 0.5}})
    assert one.order == list(ARMS) and [arm for arm in ARMS if one.is_matched(arm)] == ["sft", "sft+grpo", "grpo"]
    assert one.needs("grpo") == () and one.needs("sft+grpo") == ("sft",)
    run_seeds(one, root, [0])
    found = json.loads((root / "results.json").read_text())["budget"]
    assert (found["match"], found["amount"], "of" in found) == ("trained", 900, False)
    used = {arm: costs["trained"] for arm, costs in found["arms"].items()}
    own = {arm: costs["trained"] for arm, costs in found["own"].items()}
    assert used["base"] == 0 and used["sft"] >= 450 and min(used["grpo"], used["sft+grpo"]) >= 900
    assert own["sft+grpo"] < own["grpo"]  # what it starts from has had its part
    Console().table(root / "results.json")
    said = capsys.readouterr().out
    assert "trained on are matched to those of the budget" in said and f"{100 * used['grpo'] / 900:.1f} %" in said


def test_what_a_teacher_has_cost_counts(tmp_path: Path) -> None:
    arms = {"sft": SFT, "opd": {"objective": {"kind": "opd", "group_size": 2}, "teacher": {"arm": "sft"}}}
    one = study(tmp_path, {"match": "trained", "amount": 900, "shares": {"sft": 0.5}}, arms=arms)
    run_seeds(one, tmp_path / "runs", [0])
    found = json.loads((tmp_path / "runs/results.json").read_text())["budget"]
    used, own = found["arms"]["opd"]["trained"], found["own"]["opd"]["trained"]
    assert used >= 900 and used - own == found["own"]["sft"]["trained"] >= 450


def test_a_teacher_must_leave_something_to_learn_with(tmp_path: Path) -> None:
    arms = {"sft": SFT, "opd": {"objective": {"kind": "opd", "group_size": 2}, "teacher": {"arm": "sft"}}}
    with pytest.raises(RecipeError, match="'sft' leaves nothing for 'opd', which learns from it; give it a part"):
        study(tmp_path, {"match": "trained", "amount": 900}, arms=arms)


@pytest.mark.parametrize("unit", ["steps", "trained", "seconds"])
def test_other_measures_can_be_matched(unit: str, tmp_path: Path) -> None:
    arms = {"grpo": GRPO, "sft": SFT}
    run_seeds(study(tmp_path, {"match": unit, "of": "grpo"}, arms=arms), tmp_path / "runs", [0])
    used = json.loads((tmp_path / "runs/results.json").read_text())["budget"]["arms"]
    assert used["sft"][unit] >= used["grpo"][unit]
    assert unit != "steps" or used["sft"]["steps"] == 3


def test_tries_have_the_budget_too_and_the_end_of_it_is_no_number_of_steps(tmp_path: Path) -> None:
    said = {
        "arms": {"grpo": GRPO, "sft": SFT},
        "validation": {"data": {"worlds": ["count"], "split": "validation", "number": 2}},
        "tune": {"grid": {"optimizer.lr": [1e-4, 1e-3]}, "rungs": [1.0]},
    }
    one = study(tmp_path, {"match": "flops", "of": "grpo"}, **said)
    found = tune(one, tmp_path / "runs")
    steps = {tried.arm: tried.step for tried in read_tries(tmp_path / "runs/tune")}
    assert steps["grpo"] == 3 < (steps["sft"] or 0)
    assert found.tuned["grpo"].settings["stop"] == 3 and found.tuned["sft"].settings["stop"] is None
    assert not any("stop" in chosen.edges for chosen in found.tuned.values())  # there was one length


def test_the_first_length_and_the_last_are_ends_however_many_steps_they_took(tmp_path: Path) -> None:
    said = {
        "arms": {"sft": SFT},
        "validation": {"data": {"worlds": ["count"], "split": "validation", "number": 2}},
        "tune": {"grid": {"optimizer.lr": [1e-4, 1e-3]}, "rungs": [0.5, 1.0]},
    }
    chosen = tune(study(tmp_path, {"match": "trained", "amount": 300}, **said), tmp_path / "runs").tuned["sft"]
    assert "stop" in chosen.edges


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"match": "flops", "of": "grpoo"}, "budget: 'grpoo' is no arm of the study; did you mean 'grpo'"),
        ({"match": "flops", "of": "base"}, "'base' takes no step"),
        ({"match": "flops"}, "give either `of`, an arm's name, or `amount`, a number of flops"),
        ({"match": "flops", "of": "grpo", "amount": 1e12}, "give either `of`, an arm's name, or `amount`"),
        ({"match": "flops", "amount": 1e12}, r"'sft' leaves nothing for 'sft\+grpo', .*: shares: {sft: 0.5}"),
        (
            {"match": "flops", "of": "grpo"},
            r"'sft' leaves nothing for 'sft\+grpo', .*: shares: {sft: 0.5}",
        ),
        ({"match": "flops", "of": "grpo", "shares": {"sft": 0.5, "grpo": 0.5}}, "'grpo' is not matched"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(budget: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        study(tmp_path, budget)


def test_an_arm_that_generates_nothing_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="arm sft generates nothing, ever; match trained, flops or seconds"):
        run_seeds(study(tmp_path, {**BUDGET, "match": "generated"}), tmp_path / "runs", [0])
    assert not (tmp_path / "runs").exists()


def test_what_the_arm_that_is_matched_to_starts_from_is_left_as_it_is(tmp_path: Path) -> None:
    one = study(tmp_path, {"match": "flops", "of": "sft+grpo"})
    assert one.order == ["base", "sft", "sft+grpo", "grpo"]
    assert [arm for arm in ARMS if one.is_matched(arm)] == ["grpo"]
    assert one.needs("grpo") == ("sft+grpo", "sft")
