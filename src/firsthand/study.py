"""A study: arms x seeds -> run directories -> one table.

A study is a YAML file: what all arms share, and what each changes. An arm may start from another one.

    shared: {data: {...}, steps: 60}
    arms:
      base: {steps: 0}
      sft: {objective: {kind: sft, trace: expert}}
      grpo: {objective: {kind: grpo}}
      sft+grpo: {start: sft, objective: {kind: grpo}}
    evaluation: {data: {...}, protocol: {...}}
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from firsthand.config import build, merge, override, read_yaml
from firsthand.evaluation import Protocol, evaluate
from firsthand.recipe import Data, Recipe
from firsthand.records import Record, Step
from firsthand.run import Run, write_atomically
from firsthand.trainer import open_run, train


class Test(Record):
    """What every arm is evaluated on, and how."""

    data: Data
    protocol: Protocol = Field(default_factory=Protocol)


class Study(Record):
    """Arms that differ in what they say, and in nothing else."""

    shared: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    """Name -> what the arm changes; `start` may name another arm. Arms run in this order."""
    evaluation: Test

    @model_validator(mode="after")
    def _arms_start_from_earlier_ones(self) -> "Study":
        known: list[str] = []
        for name, arm in self.arms.items():
            start = {**self.shared, **arm}.get("start")
            if start is not None and start not in known:
                raise ValueError(
                    f"arm {name!r} starts from {start!r}, which is not an arm above it; above are: {known}"
                )
            known.append(name)
        return self

    @classmethod
    def read(cls, path: Path, assignments: Sequence[str] = ()) -> "Study":
        """Read a study file. Raises RecipeError."""
        return build(cls, override(read_yaml(path), assignments), str(path))

    def recipe(self, arm: str, seed: int, folders: Mapping[str, Path]) -> Recipe:
        """The recipe of an arm; `folders` holds the finished runs of the arms above it."""
        content = {**merge(self.shared, self.arms[arm]), "name": arm, "seed": seed}
        if content.get("start") is not None:
            content["start"] = str(folders[content["start"]])
        return build(Recipe, content, f"arm {arm}")


OnArm = Callable[[str, Recipe], Callable[[Step], None]]


def run_study(
    study: Study,
    root: Path,
    seed: int = 0,
    on_arm: OnArm = lambda arm, recipe: lambda step: None,
    on_evaluation: Callable[[str], Callable[[int, int], None]] = lambda arm: lambda done, total: None,
) -> dict[str, Path]:
    """Train and evaluate every arm that is not done; the run directories by arm. Also writes `results.json`."""
    for arm in study.arms:  # the last one's mistake must not show only when the others are trained
        study.recipe(arm, seed, {name: Path(name) for name in study.arms})
    examples = study.evaluation.data.load()
    folders: dict[str, Path] = {}
    tables: dict[str, Any] = {}
    for arm in study.arms:
        recipe = study.recipe(arm, seed, folders)
        folders[arm] = train(recipe, root, on_arm(arm, recipe))
        with open_run(recipe, recipe.data.load(), root) as run:
            tables[arm] = _evaluation(study.evaluation, examples, run, on_evaluation(arm))
    write_results(root / "results.json", tables, folders, seed)
    return folders


def write_results(path: Path, tables: Mapping[str, Any], folders: Mapping[str, Path], seed: int) -> None:
    """One JSON file with every arm's numbers: `{"arms": {name: {"accuracy": x, "ci95": [lo, hi], "n": n, ...}}}`."""
    import json

    arms = {name: {**table, "run": folders[name].name, "seed": seed} for name, table in tables.items()}
    write_atomically(path, json.dumps({"arms": arms}, indent=2) + "\n")


def _evaluation(test: Test, examples: Any, run: Run, on_progress: Callable[[int, int], None]) -> Any:
    import json

    wanted = {"data": test.data.model_dump(mode="json"), "protocol": test.protocol.model_dump(mode="json")}
    path = run.folder / "evaluation.json"
    if path.exists():
        table = json.loads(path.read_text())
        if {key: table[key] for key in wanted} == wanted:
            return table
    return evaluate(run.model, examples, test.data, test.protocol, run, on_progress)


__all__ = ["Study", "run_study"]
