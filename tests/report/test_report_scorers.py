"""The report of a benchmark: both scorers' numbers, what is behind them, and a page for each benchmark."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_runs, write_scored

from firsthand.cli.main import main
from firsthand.records import Unit
from firsthand.report import write_report
from firsthand.report.arms import compare_arms, make_arms
from firsthand.report.runs import read_runs
from firsthand.report.scorers import by_scorer
from firsthand.stats import Covers, clustered_mean, paired_test

STRICT = {"headline": "worst case", "value": 0.25, "ci95": [0.1, 0.4], "n": 40, "unmeasured": 2}
JUDGED = {
    **STRICT,
    "value": 0.5,
    "ci95": [0.3, 0.7],
    "unmeasured": 3,
    "undecided": {"the judge gave no answer: filtered": 3},
    "disagreements": 11,
    "judge": {"model": "gpt-<b>4</b>"},
}
ABSENT = {"absent": "no judge is configured", "undecided": {"no judge": 9}, "quirks": {}, "by": {}}


def benchmarked(root: Path, name: str, benchmark: str, leaderboard: dict[str, Any], **rows: int) -> Path:
    folder = write_scored(root, name, [1.0, 0.0] * 20)
    table = {
        "n": 40,
        "accuracy": 0.5,
        "ci95": [0.35, 0.65],
        "benchmark": {"name": benchmark, "rows": 40, **rows},
        "strict": STRICT,
        "leaderboard": leaderboard,
    }
    (folder / "evaluation.json").write_text(json.dumps(table))
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**recipe, "benchmark": {"name": benchmark}}))
    return folder


def test_both_scorers_stand_with_what_a_reader_must_know(tmp_path: Path) -> None:
    run = benchmarked(tmp_path, "small", "dynamath", {"j1": JUDGED, "rules": ABSENT}, published_rows=5010)
    unasked = benchmarked(tmp_path, "unasked", "dynamath", {"rules": ABSENT}, published_rows=5010)
    strict, judged, _, rules = by_scorer(make_arms(read_runs([run, unasked])))
    assert strict.estimate is not None and (strict.estimate.value, strict.estimate.n) == (0.25, 40)
    assert strict.notes == ("40 rows, where the published file has 5010", "2 replies without a mark")
    assert judged.scorer == "leaderboard, judged by gpt-<b>4</b>" and judged.headline == "worst case"
    assert judged.estimate is not None and judged.estimate[:3] == (0.5, 0.3, 0.7)
    assert judged.notes[1:] == ("3 replies without a mark", "differs from strict on 11 replies")
    assert rules.estimate is None and rules.notes[1] == "not given: no judge is configured"
    page = write_report([run], tmp_path / "page.html", "t").read_text("utf-8")
    assert 'id="scorers-table"' in page and "gpt-&lt;b&gt;4&lt;/b&gt;" in page and "gpt-<b>" not in page


def test_runs_of_no_benchmark_have_no_such_table(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, per_family=2)
    assert by_scorer(make_arms(read_runs(runs))) == []
    assert "scorers-table" not in write_report(runs, tmp_path / "page.html", "t").read_text("utf-8")


def test_every_benchmark_gets_a_table_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "runs"
    benchmarked(root, "quill", "dynamath", {})
    write_scored(root, "mine", [1.0, 1.0])
    assert main(["report", str(root), "--out", str(tmp_path / "page.html")]) == 0
    assert "page.html" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text("utf-8")
    assert '<h2 class="apart">dynamath</h2>' in page and '<h2 class="apart">data</h2>' in page
    assert page.count('class="arms-table"') == 2 and "2 tables" in page


def clustered(root: Path, name: str, values: list[float], seed: int = 0, headline: str = "worst case") -> Path:
    """Ten draws of each question, all with the question's value."""
    run = benchmarked(root, f"{name}-{seed}", "dynamath", {})
    table = json.loads((run / "evaluation.json").read_text())
    table["strict"]["headline"] = headline
    table["protocol"] = {"seed": seed, "samples": 10, "greedy": False}
    (run / "evaluation.json").write_text(json.dumps(table))
    recipe = {"name": name, "model_id": name, "id": f"{name}{seed}", "benchmark": {"name": "dynamath"}}
    (run / "recipe.json").write_text(json.dumps({**recipe, "protocol": table["protocol"]}))
    units = [Unit(question=f"{q}#{d}", cluster=str(q), value=v) for q, v in enumerate(values) for d in range(10)]
    (run / "units-strict.jsonl").write_text("".join(f"{unit.model_dump_json()}\n" for unit in units))
    return run


def test_draws_of_one_question_are_one_question_to_the_page(tmp_path: Path) -> None:
    base, other = clustered(tmp_path, "base", [1.0, 0.0] * 15), clustered(tmp_path, "other", [1.0, 1.0, 0.0] * 10)
    first, second = make_arms(read_runs([base, other]))
    assert first.accuracy == clustered_mean([1.0, 0.0] * 15, range(30))
    assert second.accuracy is not None and second.accuracy.n == 30
    found = compare_arms(second, first)
    assert found is not None and found.estimate.n == 30
    rows = paired_test([1.0, 1.0, 0.0] * 10, [1.0, 0.0] * 15).difference
    assert found.estimate.value == pytest.approx(rows.value)
    assert found.estimate[1:3] == pytest.approx(rows[1:3], abs=0.02)
    page = write_report([base, other], tmp_path / "page.html", "t").read_text("utf-8")
    assert "(worst case) over 30 held-out questions" in page


def test_seeds_of_an_evaluation_are_one_arm(tmp_path: Path) -> None:
    runs = [clustered(tmp_path, "base", [1.0, 0.0] * 15, seed) for seed in (0, 1)]
    (arm,) = make_arms(read_runs(runs))
    assert arm.accuracy is not None and (arm.accuracy.value, arm.accuracy.n) == (0.5, 30)
    assert arm.accuracy.covers is Covers.QUESTIONS  # one model: its samples' seeds are not trainings
