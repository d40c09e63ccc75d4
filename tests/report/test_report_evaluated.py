"""Trainings and their evaluations, runs of their own: what is joined, what is chosen, and what is said of it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_runs

from firsthand.report import write_report
from firsthand.report.arms import make_arms
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
    shutil.rmtree(trainings[0])
    [run] = read_runs([evaluation])
    assert (run.folder, run.evaluated_in, run.name) == (evaluation, evaluation, "base")


def test_an_evaluation_whose_training_stands_beside_it_is_that_run_and_no_second_arm(trainings: list[Path]) -> None:
    evaluation = moved_out(trainings[1])
    emptied(trainings[1])
    for given in ([evaluation], [trainings[1]], [trainings[1], evaluation], [evaluation, trainings[1]]):
        [run] = read_runs(given)
        assert (run.folder, run.evaluated_in) == (trainings[1], evaluation)
        assert not [doubt for doubt in doubts(run) if "has not been evaluated" in doubt]


def test_evaluations_by_other_settings_are_tables_of_their_own(trainings: list[Path], tmp_path: Path) -> None:
    by_others = [moved_out(folder, max_new_tokens=9) for folder in trainings[:2]]
    usual = [moved_out(folder) for folder in trainings[:3]]
    for folder in trainings[:3]:
        emptied(folder)
    arms = make_arms(read_runs([*by_others, *usual, *trainings]))
    tables = {title: [arm.name for arm in arms if arm.table == title] for title in {arm.table for arm in arms}}
    assert tables == {
        "worlds test, max_new_tokens 9": ["base", "sft"],
        "worlds test, max_new_tokens 192": ["base", "sft", "grpo", "sft+grpo"],
    }
    assert [arm.index for arm in arms if arm.name == "sft"] == [1, 1]  # one colour, whatever the table
    page = write_report([*by_others, *usual, *trainings], tmp_path / "page.html", "arms").read_text("utf-8")
    for title in tables:
        assert f'<h2 class="apart">{title}</h2>' in page and f"<h3>{title}</h3>" in page
    assert page.count('class="card run"') == len(trainings)  # a training is there once, whatever was evaluated


def test_an_arm_that_was_never_evaluated_stands_with_the_others_and_is_not_ranked(trainings: list[Path]) -> None:
    emptied(trainings[1])
    [sft] = [run for run in read_runs(trainings) if run.name == "sft"]
    assert doubts(sft) == ["evaluation.json and scores.jsonl are missing: the run has not been evaluated"]
    assert sft.table == ""


def test_what_an_earlier_version_evaluated_inside_counts_beside_what_is_given(trainings: list[Path]) -> None:
    other = moved_out(trainings[0], max_new_tokens=9)
    assert [run.evaluated_in for run in read_runs([trainings[0], other])] == [other, trainings[0]]
    shelf = trainings[0] / "evaluations" / "0123"
    shelf.mkdir(parents=True)
    for name in ("scores.jsonl", "evaluation.json"):
        (trainings[0] / name).rename(shelf / name)
    assert [run.evaluated_in for run in read_runs([trainings[0], shelf])] == [shelf]


def test_an_evaluation_that_repeats_another_is_left_out_and_named(trainings: list[Path]) -> None:
    evaluation = moved_out(trainings[0])
    [run] = read_runs([trainings[0], evaluation])  # it has the same one inside
    assert run.evaluated_in == evaluation
    assert doubts(run) == [f"evaluated again with the same questions and settings: {trainings[0].name} is left out"]


def test_an_evaluation_that_has_not_ended_is_not_shown_and_told(trainings: list[Path]) -> None:
    evaluation = moved_out(trainings[0])
    emptied(trainings[0])
    (evaluation / "DONE").unlink()
    [run] = read_runs([trainings[0], evaluation])
    assert run.evaluation is None and f"an evaluation has not ended: {evaluation.name}" in doubts(run)
    assert read_run(evaluation).done is False


def test_blind_accuracies_stand_beside_those_that_saw_and_say_what_survives(
    trainings: list[Path], tmp_path: Path
) -> None:
    """Two arms of 40 questions, seeing and gray: of 30 more right answers a tenth is there without the picture."""
    right = {"base": (0, 0), "grpo": (30, 3)}
    folders = [folder for folder in trainings if folder.name.split("-s0")[0] in right]
    evaluations = []
    for folder in folders:
        for place, how in enumerate(({}, {"blind": "gray"})):
            evaluation = moved_out(folder, **how)
            count = right[folder.name.split("-s0")[0]][place]
            line = (folder / "scores.jsonl").read_text().splitlines()[0]
            (evaluation / "scores.jsonl").write_text("".join(_scored(line, i, i < count) for i in range(40)))
            table = {"n": 40, "accuracy": count / 40, "protocol": {"samples": 0, **how}}
            (evaluation / "evaluation.json").write_text(json.dumps(table))
            evaluations.append(evaluation)
        emptied(folder)
    runs = read_runs([*folders, *evaluations])
    assert sorted({run.table.rpartition(", ")[2] for run in runs}) == ["blind gray", "blind unset"]
    html = page([*folders, *evaluations], tmp_path / "page.html")
    assert html.index("blind unset</h2>") < html.index("blind gray</h2>")  # the seeing one first
    assert "10.0&nbsp;% of the gain survives" in html and html.count("of the gain survives") == 1
    [row] = [row for row in html.split("<tr>") if "grpo<" in row and "of the gain survives" in row]
    assert "<b>7.5</b>" in row and "tables</b>, each of other questions" not in html


def _scored(line: str, number: int, is_right: bool) -> str:
    """A line of scores.jsonl for another question."""
    score = json.loads(line)
    verdict = {"score": float(is_right), "status": "ok", "parsed": "7", "why": ""}
    score |= {"example_id": f"q{number}", "greedy": {**score["greedy"], "verdict": verdict}, "samples": []}
    return json.dumps(score) + "\n"
