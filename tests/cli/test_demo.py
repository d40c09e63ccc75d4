"""The whole loop, from rendered worlds to the report, through the command that a newcomer types first."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ARMS = [
    "base",
    "grpo",
    "sft-plain",
    "sft-expert",
    "warm-plain",
    "warm-expert",
    "sft-plain+grpo",
    "sft-expert+grpo",
]
STARTS = {"sft-plain+grpo": "warm-plain", "sft-expert+grpo": "warm-expert"}
TINY = (
    "shared.prompts=4",
    "shared.data.number=16",
    "validation.data.number=5",
    "evaluation.data.number=8",
    "evaluation.protocol.samples=2",
    "budget={match: steps, amount: 3, shares: {warm-plain: 0.5, warm-expert: 0.5}}",
)


def demo(out: Path) -> str:
    """`firsthand demo`, tiny; what it prints."""
    changes = [word for change in TINY for word in ("--set", change)]
    command = [sys.executable, "-m", "firsthand", "demo", "--out", str(out), *changes]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_demo_trains_its_arms_and_says_where_the_evidence_is(tmp_path):
    printed = demo(tmp_path)
    assert f"report: {tmp_path / 'report.html'}" in printed

    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["arms"]) == ARMS
    for row in results["arms"].values():
        low, high = row["ci95"]
        assert 0 <= low <= row["accuracy"] <= high <= 1
        assert row["n"] + row["unmeasured"] == 8
        assert set(row["pass_at"]) == {"1", "2"}

    recipes = {path.parent: json.loads(path.read_text()) for path in tmp_path.glob("*/recipe.json")}
    runs = {recipe["name"]: run for run, recipe in recipes.items() if (run / "model").exists()}
    evaluated = {recipe["name"]: recipe["evaluates"] for recipe in recipes.values() if "evaluates" in recipe}
    assert sorted(runs) == sorted(evaluated) == sorted(ARMS)
    assert {name: recipes[run]["id"] for name, run in runs.items()} == evaluated
    lines = {name: (run / "metrics.jsonl").read_text().splitlines() for name, run in runs.items() if name != "base"}
    steps = {name: sum(json.loads(line).get("trained", True) for line in found) for name, found in lines.items()}
    assert steps == {arm: 2 if arm in STARTS.values() else 1 if arm in STARTS else 3 for arm in ARMS[1:]}
    assert {arm: recipes[runs[arm]]["start"] for arm in STARTS} == {
        arm: recipes[runs[start]]["id"] for arm, start in STARTS.items()
    }

    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']?https?:""", page)
    assert page.count("data:image/png;base64,") >= 4
    assert all(arm in page for arm in ARMS)

    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/**/*") if p.is_file()}
    demo(tmp_path)  # everything is done: nothing is trained or evaluated again
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/**/*") if p.is_file()} == before
