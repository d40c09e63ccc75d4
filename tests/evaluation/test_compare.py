"""Runs compared: who is who, what is paired, what is left out, and everything that a reader must be told."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from firsthand.cli.main import main
from firsthand.errors import DataError
from firsthand.evaluation import Protocol
from firsthand.evaluation.compare import compare_runs
from firsthand.records import Judged, Reply, Score, Status, Unit, Verdict, content_id
from firsthand.stats import paired_test

Values = Sequence[float | None]
BETTER: Values = [1.0] * 16 + [0.0] * 4
GREEDY = Protocol(samples=0)
WORSE: Values = [1.0] * 4 + [0.0] * 16


def made(
    root: Path,
    model: str,
    values: Values,
    *,
    benchmark: str = "geoqa",
    model_id: str = "",
    protocol: Protocol = GREEDY,
    draws: int = 1,
    first: int = 0,
    **scorers: Values,
) -> Path:
    """A finished run by hand: `values` are the strict marks, draw by draw of question by question."""
    folder = root / f"run-{len(list(root.glob('run-*')))}"
    folder.mkdir(parents=True)
    recipe = {"name": model, "model_id": model_id or content_id(model), "benchmark": {"name": benchmark}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "evaluation.json").write_text(json.dumps({"protocol": protocol.content}))
    (folder / "scores.jsonl").write_text("")
    (folder / "DONE").touch()
    for scorer, marks in {"strict": values, **scorers}.items():
        units = [
            Unit(question=f"{benchmark}/{first + i // draws}#{i % draws}", cluster=f"{first + i // draws}", value=v)
            for i, v in enumerate(marks)
        ]
        (folder / f"units-{scorer}.jsonl").write_text("".join(f"{u.model_dump_json()}\n" for u in units))
    return folder


def own_data(
    root: Path, model: str, values: Values, data: str = "mine.jsonl", family: str = "", samples: int = 0
) -> Path:
    """A run of `evaluate --data`, which has no units."""
    folder = root / f"run-{len(list(root.glob('run-*')))}"
    folder.mkdir(parents=True)
    shown = {"data": {"path": data}, "protocol": Protocol(samples=samples).content}
    (folder / "recipe.json").write_text(json.dumps({"name": model, "model_id": content_id(model), **shown}))
    (folder / "evaluation.json").write_text(json.dumps(shown))
    (folder / "DONE").touch()
    scores = []
    for i, value in enumerate(values):
        verdict = Verdict(score=value, status=Status.TIMED_OUT if value is None else Status.OK)
        judged = Judged(reply=Reply(text="", token_ids=()), verdict=verdict)
        scores.append(
            Score(example_id=f"e{i}", family=family, question="?", gold="1", images=(), greedy=judged, samples=())
        )
    (folder / "scores.jsonl").write_text("".join(f"{s.model_dump_json()}\n" for s in scores))
    return folder


def test_the_first_model_is_compared_with_and_a_plus_says_that_the_other_is_better(tmp_path: Path) -> None:
    found = compare_runs([made(tmp_path, "base", WORSE), made(tmp_path, "trained", BETTER)])
    assert (found["baseline"], list(found["models"]), found["scorer"]) == ("base", ["base", "trained"], "strict")
    assert found["models"]["trained"]["geoqa"]["value"] == 0.8
    difference = found["differences"]["trained"]["geoqa"]
    expected = paired_test(list(BETTER), list(WORSE), [str(i) for i in range(20)])  # type: ignore[arg-type]
    assert difference["difference"] == pytest.approx(0.6) and difference["finding"] == "better"
    assert (difference["p"], difference["ci95"]) == (expected.p, [expected.difference.low, expected.difference.high])
    assert (difference["wins"], difference["losses"], difference["ties"]) == (12, 0, 8)
    assert found["notes"] == []


def test_two_models_of_one_name_are_told_apart_by_their_content(tmp_path: Path) -> None:
    runs = [made(tmp_path, "model", WORSE, model_id="aaaaaabbbb"), made(tmp_path, "model", BETTER, model_id="cccccc")]
    assert list(compare_runs(runs)["models"]) == ["model (aaaaaa)", "model (cccccc)"]


def test_runs_of_one_model_alone_are_refused_and_so_is_a_run_twice(tmp_path: Path) -> None:
    runs = [made(tmp_path, "base", WORSE), made(tmp_path, "base", BETTER, benchmark="superclevr")]
    with pytest.raises(DataError) as error:
        compare_runs(runs)
    assert str(error.value) == ("expected runs of two models or more, got 2 of base; give another model's runs")
    other = made(tmp_path, "trained", BETTER)
    with pytest.raises(DataError, match=r"expected each run once, got .*run-2 again; leave it out"):
        compare_runs([runs[0], other, tmp_path / "." / other.name])


def test_a_folder_that_is_no_finished_evaluation_is_told(tmp_path: Path) -> None:
    run = made(tmp_path, "base", WORSE)
    (run / "DONE").unlink()
    for folder in (run, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="expected the run directory of a finished evaluation, with DONE"):
            compare_runs([folder])


def test_seeds_of_a_model_count_together_and_questions_stay_the_clusters(tmp_path: Path) -> None:
    seeds = [Protocol(samples=1, greedy=False, seed=seed) for seed in (0, 1)]
    base = [made(tmp_path, "base", WORSE, protocol=p) for p in seeds]
    trained = [made(tmp_path, "trained", BETTER, protocol=p) for p in seeds]
    found = compare_runs([*base, *trained])
    assert found["models"]["base"]["geoqa"]["n"] == 20
    difference = found["differences"]["trained"]["geoqa"]
    assert (difference["compared"], difference["only_baseline"], difference["only_other"]) == (40, 0, 0)
    once = compare_runs([base[0], trained[0]])["differences"]["trained"]["geoqa"]
    assert difference["ci95"][1] - difference["ci95"][0] > 0.9 * (once["ci95"][1] - once["ci95"][0])
    assert found["notes"] == []  # another seed is no other protocol
    one_more = compare_runs([*base, trained[0]])["differences"]["trained"]["geoqa"]
    assert (one_more["compared"], one_more["only_baseline"]) == (20, 20)


def test_what_only_one_has_or_measured_is_left_out_and_counted(tmp_path: Path) -> None:
    runs = [made(tmp_path, "base", [1.0, None, 0.0, 0.0]), made(tmp_path, "trained", [1.0, 1.0, 1.0], first=1)]
    difference = compare_runs(runs)["differences"]["trained"]["geoqa"]
    assert (difference["compared"], difference["unmeasured"]) == (2, 1)
    assert (difference["only_baseline"], difference["only_other"]) == (1, 0)


def test_other_protocols_and_other_judges_are_noted(tmp_path: Path) -> None:
    runs = [
        made(tmp_path, "base", WORSE, one=WORSE),
        made(tmp_path, "trained", BETTER, two=BETTER, protocol=Protocol(samples=0, max_new_tokens=9)),
    ]
    protocols = "geoqa: the runs have 2 different protocols, so a difference may be the protocol's"
    assert compare_runs(runs)["notes"] == [protocols]
    judges = "geoqa: the runs have 2 different judges, so a difference may be the judge's"
    assert compare_runs(runs, "leaderboard")["notes"] == [protocols, judges]


def test_the_leaderboards_marks_are_the_judges(tmp_path: Path) -> None:
    easy: Values = [None] * 20
    runs = [
        made(tmp_path, "base", WORSE, rules=easy, judged=BETTER),
        made(tmp_path, "trained", BETTER, rules=easy, judged=WORSE),
    ]
    found = compare_runs(runs, "leaderboard")
    assert found["differences"]["trained"]["geoqa"]["finding"] == "worse" and found["notes"] == []
    made_by_two = made(tmp_path, "other", BETTER, one=BETTER, two=BETTER)
    with pytest.raises(
        DataError, match=r"expected the marks of one judge, got 2; name one of them with --judge: one, two"
    ):
        compare_runs([runs[0], made_by_two], "leaderboard")
    also_by_two = made(tmp_path, "third", WORSE, one=BETTER, two=WORSE)
    named = compare_runs([made_by_two, also_by_two], "leaderboard", judge="two")
    assert named["differences"]["third"]["geoqa"]["finding"] == "worse"


def test_marks_that_rules_alone_have_given_are_compared_only_if_none_is_missing(tmp_path: Path) -> None:
    all_of_them = [made(tmp_path, "base", WORSE, rules=WORSE), made(tmp_path, "trained", BETTER, rules=BETTER)]
    assert compare_runs(all_of_them, "leaderboard")["differences"]["trained"]["geoqa"]["wins"] == 12
    easy = made(tmp_path, "easy", BETTER, rules=[*BETTER[:-1], None])
    with pytest.raises(DataError, match="got those that rules decide alone, the easy ones; evaluate it with --judge"):
        compare_runs([all_of_them[0], easy], "leaderboard")
    never = made(tmp_path, "never", BETTER)
    with pytest.raises(DataError, match="expected a leaderboard's marks, got none"):
        compare_runs([all_of_them[0], never], "leaderboard")


def test_a_users_own_data_are_compared_by_their_replies(tmp_path: Path) -> None:
    runs = [own_data(tmp_path, "base", [*WORSE, None]), own_data(tmp_path, "trained", [*BETTER, 1.0])]
    found = compare_runs(runs)
    (name,) = found["differences"]["trained"]
    assert re.fullmatch(r"mine\.jsonl \([0-9a-f]{6}\)", name)
    difference = found["differences"]["trained"][name]
    assert (difference["wins"], difference["compared"], difference["unmeasured"]) == (12, 20, 1)


def test_a_trained_run_is_compared_on_what_it_was_evaluated_on(tmp_path: Path) -> None:
    runs = [own_data(tmp_path, name, values) for name, values in (("sft", WORSE), ("grpo", BETTER))]
    for number, run in enumerate(runs):  # as a study leaves them: the recipe names the data of the training
        recipe = json.loads((run / "recipe.json").read_text())
        recipe["data"] = {"path": f"training-{number}.jsonl"}
        del recipe["model_id"]
        (run / "recipe.json").write_text(json.dumps({**recipe, "id": str(number)}))
    (found,) = compare_runs(runs)["differences"]["grpo"].values()
    assert (found["compared"], found["finding"]) == (20, "better")


def matrix(root: Path) -> list[Path]:
    """OThink-MR1's question: does training on one task help on the other?"""
    values: dict[tuple[str, str], Values] = {
        ("base", "superclevr"): WORSE,
        ("base", "geoqa"): WORSE,
        ("on counting", "superclevr"): BETTER,
        ("on counting", "geoqa"): [1.0] * 5 + [0.0] * 15,
        ("on geometry", "superclevr"): [0.0] * 20,
        ("on geometry", "geoqa"): BETTER,
    }
    return [made(root, model, marks, benchmark=name) for (model, name), marks in values.items()]


def test_models_and_tasks_are_one_matrix(tmp_path: Path) -> None:
    found = compare_runs(matrix(tmp_path))
    values = {m: {name: part["value"] for name, part in parts.items()} for m, parts in found["models"].items()}
    assert values == {
        "base": {"superclevr": 0.2, "geoqa": 0.2},
        "on counting": {"superclevr": 0.8, "geoqa": 0.25},
        "on geometry": {"superclevr": 0.0, "geoqa": 0.8},
    }
    findings = {m: {name: part["finding"] for name, part in parts.items()} for m, parts in found["differences"].items()}
    assert findings["on counting"]["superclevr"] == findings["on geometry"]["geoqa"] == "better"
    assert findings["on counting"]["geoqa"] != "better" and "base" not in findings


def test_the_terminal_has_every_number_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [*matrix(tmp_path), made(tmp_path, "on geometry", [1.0, None], benchmark="mmlu-pro")]
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "new" / "c.json")]) == 0
    said, content = capsys.readouterr().out, json.loads((tmp_path / "new" / "c.json").read_text())

    def percent(value: float, sign: str = "") -> str:
        return f"{100 * value:{sign}.1f}"

    for parts in content["models"].values():
        for part in parts.values():
            low, high = part["ci95"]
            ends = "" if low is None else f" ({percent(low)} to {percent(high)})"
            assert percent(part["value"]) + ends in said
    for model, parts in content["differences"].items():
        for name, part in parts.items():
            (line,) = [line for line in said.splitlines() if line.startswith(f"{model} - base on {name}: ")]
            if "difference" not in part:
                continue
            low, high = part["ci95"]
            assert f"{percent(part['difference'], '+')} ({percent(low, '+')} to {percent(high, '+')}) points" in line
            assert f"p {part['p']:.2g}" in line and part["method"] in line and part["finding"] in line
            counts = f"{part['wins']} won, {part['losses']} lost, {part['ties']} tied"
            assert counts in line
    assert "on geometry - base on mmlu-pro: nothing that both measured (left out: 2 of the other alone)" in said
    assert f"comparison: {tmp_path / 'new' / 'c.json'}" in said


def test_notes_and_what_was_left_out_stand_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs: list[Any] = [
        made(tmp_path, "base", [1.0, None, *WORSE]),
        made(tmp_path, "trained", [*BETTER, 1.0], protocol=Protocol(samples=0, suffix="!")),
    ]
    assert main(["compare", *map(str, runs)]) == 0
    said = capsys.readouterr().out
    assert "(left out: 1 not measured by both, 1 of the baseline alone)" in said
    assert "geoqa: the runs have 2 different protocols" in said


def test_runs_of_two_protocols_or_twice_of_one_seed_are_no_seeds(tmp_path: Path) -> None:
    other, base = made(tmp_path, "other", BETTER), made(tmp_path, "base", WORSE)
    longer = made(tmp_path, "base", WORSE, protocol=Protocol(samples=0, max_new_tokens=9))
    with pytest.raises(DataError, match=r"base on geoqa: expected runs of one protocol, got two: .*; name one of them"):
        compare_runs([base, longer, other])
    with pytest.raises(DataError, match=r"base on geoqa: seed 0 is there twice"):
        compare_runs([base, made(tmp_path, "base", WORSE), other])


def test_seeds_are_paired_by_their_number_and_not_by_their_place(tmp_path: Path) -> None:
    zero, two = Protocol(samples=0, seed=0), Protocol(samples=0, seed=2)
    base = [made(tmp_path, "base", WORSE, protocol=zero), made(tmp_path, "base", BETTER, protocol=two)]
    found = compare_runs([*base, made(tmp_path, "other", BETTER, protocol=two)])["differences"]["other"]["geoqa"]
    assert (found["difference"], found["compared"], found["only_baseline"]) == (0.0, 20, 20)


def test_two_versions_of_a_file_are_noted(tmp_path: Path) -> None:
    runs = [made(tmp_path, "base", WORSE), made(tmp_path, "other", BETTER)]
    recipe = json.loads((runs[1] / "recipe.json").read_text())
    (runs[1] / "recipe.json").write_text(json.dumps({**recipe, "data_id": "another"}))
    (note,) = compare_runs(runs)["notes"]
    assert note == "geoqa: the runs have 2 different files, so a difference may be the file's"


def test_summaries_that_a_pattern_takes_along_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "geoqa-base-0123.json").write_text("{}")
    runs = [made(tmp_path, "base", WORSE), made(tmp_path, "other", BETTER)]
    assert compare_runs([tmp_path / "geoqa-base-0123.json", *runs])["baseline"] == "base"
