"""A probe says how far a run is, seeing and blind, and changes nothing of it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from firsthand.cost import RunCost
from firsthand.errors import DataError
from firsthand.evaluation import Protocol
from firsthand.evaluation.custom import evaluate_folder
from firsthand.evaluation.perplexity import write_perplexities
from firsthand.recipe import Data, Recipe
from firsthand.records import Step
from firsthand.trainer import train
from firsthand.worlds import SMALL

PROBED = {"worlds": ["count", "digits"], "split": "validation", "number": 12}
GRPO: dict[str, Any] = {
    "name": "grpo",
    "data": {"worlds": ["count", "digits"], "number": 16},
    "objective": {"kind": "grpo", "group_size": 4},
    "sampling": {"max_new_tokens": 40},
    "optimizer": {"lr": 1e-3},
    "steps": 4,
    "prompts": 4,
    "checkpoint_every": 2,
}
PROBE = {"probe": {"data": PROBED, "every": 2, "blind": ["gray", "none"]}}


def steps(run: Path) -> list[Step]:
    return [Step.model_validate_json(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def probes(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in step.metrics.items() if k.startswith("probe/")} for step in steps(run)]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(Recipe.model_validate(GRPO | PROBE), tmp_path_factory.mktemp("probed"))


def test_a_probe_is_measured_before_its_steps_and_at_the_start_says_what_an_evaluation_says(
    probed: Path, tmp_path: Path
) -> None:
    found = probes(probed)
    all_three = ["probe/blind-gray", "probe/blind-none", "probe/score"]
    assert [sorted(probe) for probe in found] == [all_three, [], all_three, [], all_three]
    assert all("probe" in step.timing for step in steps(probed)[::2]) and "probe" not in steps(probed)[1].timing
    for metric, how in {"probe/score": None, "probe/blind-gray": "gray", "probe/blind-none": "none"}.items():
        protocol = Protocol(samples=0, max_new_tokens=40, answer="tags", blind=how)  # type: ignore[arg-type]
        run = evaluate_folder(SMALL, Data.model_validate(PROBED), protocol, tmp_path)
        assert found[0][metric] == json.loads((run / "evaluation.json").read_text())["accuracy"], metric
    assert found[0] != found[2]  # the policy has moved


def test_the_last_line_is_no_step_and_says_what_an_evaluation_of_the_result_says(probed: Path, tmp_path: Path) -> None:
    *taken, last = steps(probed)
    assert [step.trained for step in taken] == [True] * 4
    assert (last.step, last.trained, last.metrics.keys(), list(last.timing)) == (
        4,
        False,
        probes(probed)[0].keys(),
        ["probe"],
    )
    run = evaluate_folder(
        probed / "model",
        Data.model_validate(PROBED),
        Protocol(samples=0, max_new_tokens=40, answer="tags"),
        tmp_path,
    )
    assert last.metrics["probe/score"] == json.loads((run / "evaluation.json").read_text())["accuracy"]
    cost = RunCost.read(probed)
    assert cost == RunCost.of(taken) and cost.flops
    assert cost.minutes * 60 == pytest.approx(sum(step.seconds - step.timing.get("probe", 0) for step in taken))


def test_an_arm_that_takes_no_step_is_probed_too(probed: Path, tmp_path: Path) -> None:
    run = train(Recipe.model_validate(GRPO | PROBE | {"steps": 0}), tmp_path)
    [only] = steps(run)
    assert (only.step, only.trained, only.metrics) == (0, False, probes(probed)[0])
    assert RunCost.read(run).minutes == 0


def test_a_run_that_stops_early_is_the_whole_one_until_there(probed: Path, tmp_path: Path) -> None:
    run = train(Recipe.model_validate(GRPO | PROBE | {"stop": 2}), tmp_path)
    whole = steps(probed)
    assert [step.metrics for step in steps(run)] == [
        *(step.metrics for step in whole[:2]),
        {name: value for name, value in whole[2].metrics.items() if name.startswith("probe/")},
    ]
    assert (run / "DONE").exists() and not steps(run)[-1].trained


def test_a_stop_after_the_last_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected at most steps \(4\), got 5"):
        Recipe.model_validate(GRPO | {"stop": 5})


def test_a_probe_changes_nothing_of_the_training(probed: Path, tmp_path: Path) -> None:
    plain = train(Recipe.model_validate(GRPO), tmp_path)
    assert plain.name != probed.name and not any(probes(plain))
    taken = steps(probed)[:-1]
    apart = [{k: v for k, v in step.metrics.items() if not k.startswith("probe/")} for step in taken]
    assert apart == [step.metrics for step in steps(plain)]
    assert (probed / "rollouts.jsonl").read_bytes() == (plain / "rollouts.jsonl").read_bytes()
    assert (probed / "model/model.safetensors").read_bytes() == (plain / "model/model.safetensors").read_bytes()


def test_a_probed_run_goes_on_bit_for_bit(probed: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(step: Step) -> None:
        if step.step == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(Recipe.model_validate(GRPO | PROBE), tmp_path, stop)
    again = train(Recipe.model_validate(GRPO | PROBE), tmp_path)
    assert again.name == probed.name and [s.metrics for s in steps(again)] == [s.metrics for s in steps(probed)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "How many?", "answer": "many", "kind": "digit"}, r"rows.jsonl"),
        ({"question": "What is 3 + 4?", "answer": "7", "kind": "digit"}, "blind gray: expected rows with pictures"),
    ],
)
def test_a_probe_that_cannot_be_asked_is_refused_before_anything_is_made(
    row: dict[str, str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    probe = {"probe": {"data": {"path": str(path)}, "blind": ["gray"]}}
    with pytest.raises(DataError, match=message):
        train(Recipe.model_validate(GRPO | probe), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


SFT = {key: value for key, value in GRPO.items() if key != "objective"} | {
    "objective": {"kind": "sft", "style": "plain"}
}


def test_a_run_that_imitates_says_how_much_held_out_demonstrations_surprise_it(tmp_path: Path) -> None:
    run = train(Recipe.model_validate(SFT | PROBE), tmp_path)
    found = probes(run)
    write_perplexities(SMALL, Data.model_validate(PROBED), tmp_path / "perplexity.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "perplexity.jsonl").read_text().splitlines()]
    nats = math.fsum(math.log(row["perplexity"]) * row["tokens"] for row in rows)
    assert found[0]["probe/nll"] == pytest.approx(nats / sum(row["tokens"] for row in rows), rel=1e-4)
    assert found[2]["probe/nll"] != found[0]["probe/nll"]
    assert ["probe/score" in probe for probe in found] == [True, False, True, False, True]
    assert all("probe/nll" in probe for probe in found)  # four times as often, or before every step
    unprobed = train(Recipe.model_validate(SFT), tmp_path)
    assert (run / "model/model.safetensors").read_bytes() == (unprobed / "model/model.safetensors").read_bytes()


def test_demonstrations_of_a_style_that_a_probe_does_not_have_are_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "What is 3 + 4?", "answer": "7", "kind": "digit"}) + "\n")
    run = train(Recipe.model_validate(SFT | {"probe": {"data": {"path": str(path)}}}), tmp_path)
    assert sorted(probes(run)[0]) == ["probe/score"]
