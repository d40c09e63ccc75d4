"""The tables of docs/results.md about methods, from the run directories of `firsthand study methods`.

    python scripts/methods_table.py runs/methods

Accuracy is greedy on held-out questions, averaged over seeds, with a 95 % t interval over seeds. Entropy (nats per
token) and training reward are of the last ten steps. Minutes are training alone, and count the run that an arm started
from.
"""

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firsthand.report.evaluated import with_evaluations
from firsthand.run import recipe_of
from firsthand.stats import student95

LAST = 10
"""Steps that "at the end" averages over."""


@dataclass(frozen=True)
class Run:
    """A finished run: its recipe, its steps, and its evaluation."""

    recipe: dict[str, Any]
    steps: list[dict[str, Any]]
    evaluation: dict[str, Any]

    @property
    def seconds(self) -> float:
        """Training time, that of its start left out."""
        return math.fsum(step["seconds"] for step in self.steps)

    def at_end(self, metric: str) -> float | None:
        """Mean of a metric over the last steps; None when it was never measured."""
        found = [step["metrics"][metric] for step in self.steps[-LAST:] if metric in step["metrics"]]
        return statistics.fmean(found) if found else None


def read(folder: Path) -> list[Run]:
    """All finished and evaluated runs below a folder."""
    done = [run for run in sorted(folder.iterdir()) if (run / "DONE").exists()]
    runs = []
    for run, evaluation, notices in with_evaluations(done):
        for notice in notices:
            print(f"{run.name}: {notice}", file=sys.stderr)
        if (evaluation / "evaluation.json").exists():
            steps = run / "metrics.jsonl"
            lines = steps.read_text().splitlines() if steps.exists() else []
            table = json.loads((evaluation / "evaluation.json").read_text())
            runs.append(Run(recipe_of(run), [json.loads(line) for line in lines], table))
    return runs


def mean_and_interval(values: Sequence[float]) -> str:
    """`0.83 (0.80 to 0.86)`, or the value alone when there is one seed."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    half = student95(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})"


def mean_of(values: Iterable[float | None], form: str) -> str:
    """A mean as text; `-` when nothing was measured."""
    known = [value for value in values if value is not None]
    return format(statistics.fmean(known), form) if known else "-"


def table(arms: dict[str, list[Run]], by_id: dict[str, Run]) -> str:
    """A row per arm."""
    lines = [
        "| arm | accuracy | sampled | pass@8 | reply tokens | entropy at the end | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in arms.items():
        minutes = [(run.seconds + before(run, by_id)) / 60 for run in runs]
        cells = [
            mean_and_interval([run.evaluation["accuracy"] for run in runs]),
            mean_of((run.evaluation["sampled_accuracy"] for run in runs), ".3f"),
            mean_of((run.evaluation["pass_at"]["8"] for run in runs), ".3f"),
            mean_of((run.evaluation["reply_tokens"] for run in runs), ".1f"),
            mean_of((run.at_end("policy/entropy") for run in runs), ".3f"),
            f"{statistics.fmean(minutes):.1f}",
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def before(run: Run, by_id: dict[str, Run]) -> float:
    """Seconds of the runs that a run started from."""
    start = run.recipe.get("start")
    return 0.0 if start is None else by_id[start].seconds + before(by_id[start], by_id)


def race(arms: dict[str, list[Run]], by_id: dict[str, Run], fast: str, slow: str) -> str:
    """When `fast` first rewards its samples as `slow` does at its end, in time: a ratio above 1 is sooner."""
    ratios, lines = [], []
    rivals = {run.recipe["seed"]: run for run in arms[slow]}
    for one in arms[fast]:
        if (other := rivals.get(one.recipe["seed"])) is None:
            continue
        goal = other.at_end("score/mean")
        assert goal is not None
        seconds, reached = 0.0, None
        rewards: list[float] = []
        for step in one.steps:
            seconds += step["seconds"]
            rewards.append(step["metrics"]["score/mean"])
            if reached is None and len(rewards) >= LAST and statistics.fmean(rewards[-LAST:]) >= goal:
                reached = seconds
        total = other.seconds + before(other, by_id)
        if reached is not None:
            ratios.append(total / reached)
        lines.append(
            f"- seed {one.recipe['seed']}: {slow} ends at a training reward of {goal:.3f} after {total / 60:.1f} min; "
            + f"{fast} "
            + ("never reaches it" if reached is None else f"is there after {reached / 60:.1f} min")
        )
    said = f"{statistics.fmean(ratios):.2f}x" if len(ratios) == len(lines) else "no ratio: not every seed reaches it"
    return "\n".join([*lines, f"\n{fast} beside {slow}: {said}"])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--race", nargs=2, action="append", default=[], metavar=("FAST", "SLOW"))
    args = parser.parse_args()
    arms: dict[str, list[Run]] = defaultdict(list)
    for run in read(args.folder):
        arms[run.recipe["name"]].append(run)
    for runs in arms.values():
        runs.sort(key=lambda run: run.recipe["seed"])
    by_id = {run.recipe["id"]: run for runs in arms.values() for run in runs}
    print(table(arms, by_id))
    for fast, slow in args.race:
        print(f"\n{race(arms, by_id, fast, slow)}")


if __name__ == "__main__":
    main()
