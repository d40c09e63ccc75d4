"""Trainings and their evaluations, runs of their own: what is joined, what is chosen, and what is said of it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_runs

from firsthand.report import write_report
from firsthand.report.headline import doubts
from firsthand.report.runs import read_run, read_runs


def moved_out(training: Path, name: str = "", **protocol: Any) -> Path:
    """The evaluation that a training's directory holds, as a run of its own beside it."""
    recipe = json.loads((training / "recipe.json").read_text())
    folder = training.with_name(f"evaluate-{name or recipe['name']}-s0-{recipe['id'][:8]}{len(protocol)}")
    folder.mkdir()
    shutil.copy(training / "scores.jsonl", folder)
    shutil.copytree(training / "images", folder / "images")
    table = json.loads((training / "evaluation.json").read_text())
    table["protocol"] = {**table["protocol"], **protocol}
    (folder / "evaluation.json").write_text(json.dumps(table))
    content = {"name": recipe["name"], "evaluates": recipe["id"], "protocol": table["protocol"], "id": folder.name}
    (folder / "recipe.json").write_text(json.dumps(content))
    (folder / "DONE").touch()
    return folder


def emptied(training: Path) -> Path:
    """A training's directory as this version leaves it, which knows nothing of evaluations."""
    for name in ("scores.jsonl", "evaluation.json"):
        (training / name).unlink()
    return training


def page(folders: list[Path], out: Path) -> str:
    html = write_report(folders, out, "arms").read_text("utf-8")
    return re.sub(r"<div><dt>evaluated in</dt>.*?</div>\n", "", html)


@pytest.fixture
def trainings(tmp_path: Path) -> list[Path]:
    return write_runs(tmp_path / "runs", per_family=2)


def test_the_page_is_the_same_whether_an_evaluation_is_inside_its_training_or_a_run_beside_it(
    trainings: list[Path], tmp_path: Path
) -> None:
    inside = page(trainings, tmp_path / "page.html")
    evaluations = [moved_out(folder) for folder in trainings]
    for folder in trainings:
        emptied(folder)
    assert page(trainings, tmp_path / "page.html") == inside  # found beside
    assert page([*trainings, *evaluations], tmp_path / "page.html") == inside  # as `report runs/` gives them
    assert [doubts(run) for run in read_runs(trainings)] == [[]] * len(trainings)
    assert evaluations[0].name in write_report(trainings, tmp_path / "page.html", "arms").read_text("utf-8")


def test_an_evaluation_whose_training_is_not_there_is_an_arm_of_its_own(trainings: list[Path]) -> None:
    evaluation = moved_out(trainings[0])
    [run] = read_runs([evaluation])
    assert (run.folder, run.evaluated_in, run.name) == (evaluation, evaluation, "base")


def test_of_several_evaluations_that_by_the_settings_of_most_runs_is_shown_and_the_page_says_so(
    trainings: list[Path],
) -> None:
    by_others = [moved_out(folder, max_new_tokens=9) for folder in trainings[:2]]
    usual = [moved_out(folder) for folder in trainings[:3]]
    for folder in trainings[:3]:
        emptied(folder)
    shown = read_runs([*by_others, *usual, *trainings])
    assert [run.evaluated_in for run in shown] == [*usual, trainings[3]]
    said = f"it was evaluated 2 times: {usual[0].name} is shown, by the settings that most runs share; left out: "
    assert doubts(shown[0]) == [said + by_others[0].name]
    assert doubts(shown[2]) == doubts(shown[3]) == []


def test_a_run_that_was_evaluated_by_another_protocol_than_the_others_is_told(trainings: list[Path]) -> None:
    moved_out(trainings[1], max_new_tokens=9)
    emptied(trainings[1])
    [doubt] = doubts(read_runs(trainings)[1])
    assert doubt.startswith("it was evaluated on other data or by another protocol than most of the runs")
    assert [doubts(run) for run in (read_runs(trainings)[0], read_runs(trainings[1:2])[0])] == [[], []]


def test_what_is_given_counts_before_what_lies_beside_or_inside(trainings: list[Path]) -> None:
    other = moved_out(trainings[0], max_new_tokens=9)
    [run] = read_runs([trainings[0], other])
    assert run.evaluated_in == other and len(doubts(run)) == 1
    shelf = trainings[0] / "evaluations" / "0123"
    shelf.mkdir(parents=True)
    for name in ("scores.jsonl", "evaluation.json"):
        (trainings[0] / name).rename(shelf / name)
    assert read_runs([trainings[0], shelf])[0].evaluated_in == shelf


def test_an_evaluation_that_has_not_ended_is_not_shown_and_told(trainings: list[Path]) -> None:
    evaluation = moved_out(trainings[0])
    emptied(trainings[0])
    (evaluation / "DONE").unlink()
    [run] = read_runs([trainings[0], evaluation])
    assert run.evaluation is None and f"an evaluation has not ended: {evaluation.name}" in doubts(run)
    assert read_run(evaluation).done is False
