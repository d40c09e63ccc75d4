"""A study: arms x seeds -> run directories -> one table.

A study is a YAML file: what all arms share, and what each changes. An arm may start from another one.

    shared: {data: {...}, steps: 60}
    arms:
      base: {steps: 0}
      sft: {objective: {kind: sft, style: expert}}
      grpo: {objective: {kind: grpo}}
      sft+grpo: {start: sft, objective: {kind: grpo}}
    evaluation: {data: {...}, protocol: {...}}
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from firsthand.config import build, in_todays_names, merge, read_recipe
from firsthand.cost import RunCost
from firsthand.data.blind import Blind, blinded
from firsthand.data.loaded import OnBad
from firsthand.errors import RecipeError
from firsthand.evaluation import Protocol
from firsthand.evaluation.custom import evaluate_folder, read_by
from firsthand.evaluation.pairing import (
    Both,
    drawn_as,
    estimate_fields,
    mean_of_runs,
    share_fields,
    surviving,
    units_of,
)
from firsthand.evaluation.replies import OnProgress, read_journal
from firsthand.files import write_atomically
from firsthand.recipe import Data, Recipe
from firsthand.records import Record, Step, Unit
from firsthand.reward import Reward
from firsthand.stats import Covers
from firsthand.trainer import train


class Test(Record):
    """What every arm is evaluated on, and how."""

    data: Data
    protocol: Protocol = Field(default_factory=Protocol)
    reward: Reward = Field(default_factory=Reward)
    """How every arm's answers are judged, whatever they were trained with; free text needs `open`."""
    blind: tuple[Blind, ...] = ()
    """Evaluate every arm without its pictures, too: what is shown in their place."""

    @model_validator(mode="after")
    def _read_by_its_protocol(self) -> "Test":
        read_by(self.protocol, self.reward)  # before an arm is trained
        if self.blind and self.protocol.blind is not None:
            raise ValueError("blind: expected a protocol that shows the pictures beside it, got one that is blind")
        return self

    def blindly(self, how: Blind) -> "Test":
        """The same test without the pictures."""
        return self.model_copy(update={"protocol": self.protocol.model_copy(update={"blind": how})})


class Study(Record):
    """Arms that differ in what they say, and in nothing else."""

    shared: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    """Name -> what the arm changes; `start` may name another arm. Arms run in this order."""
    evaluation: Test

    @model_validator(mode="before")
    @classmethod
    def _in_todays_names(cls, content: Any) -> Any:
        return in_todays_names(content, where="study") if isinstance(content, dict) else content

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
        return build(cls, read_recipe(path, assignments), str(path))

    def on_bad(self, on_bad: OnBad) -> "Study":
        """The study whose data, that of every arm and of the evaluation, treats bad rows so, whatever the file says."""
        data = self.evaluation.data.model_copy(update={"on_bad": on_bad})
        arms = {name: merge(arm, {"data": {"on_bad": on_bad}}) for name, arm in self.arms.items()}
        return self.model_copy(update={"arms": arms, "evaluation": self.evaluation.model_copy(update={"data": data})})

    def recipe(self, arm: str, seed: int, folders: Mapping[str, Path]) -> Recipe:
        """The recipe of an arm; `folders` holds the finished runs of the arms above it."""
        content = {**merge(self.shared, self.arms[arm]), "name": arm, "seed": seed}
        if content.get("start") is not None:
            content["start"] = str(folders[content["start"]])
        return build(Recipe, content, f"arm {arm}")

    def recipe_from_scratch(self, arm: str, seed: int) -> Recipe:
        """That of an arm, but with the model that its chain of starts began with: as large, and there already."""
        names = {name: Path(name) for name in self.arms}
        wanted = first = self.recipe(arm, seed, names)
        while first.start is not None:
            first = self.recipe(first.start, seed, names)
        return wanted.model_copy(update={"start": None, "model": first.model})


class ArmRuns(NamedTuple):
    """The run directories of one arm under one seed."""

    training: Path
    evaluation: Path
    """A run of its own."""
    blind: Mapping[Blind, Path] = MappingProxyType({})
    """The evaluations without the pictures, runs of their own."""

    @property
    def folders(self) -> list[Path]:
        """All of them."""
        return [self.training, self.evaluation, *self.blind.values()]

    @property
    def units(self) -> list[Unit]:
        """What the accuracy is the mean of."""
        return _units(self.evaluation)

    def both(self, how: Blind) -> Both:
        """The units of one seed, seeing and blind."""
        return self.units, _units(self.blind[how])


OnArm = Callable[[str, Recipe], Callable[[Step], None]]


def run_study(
    study: Study,
    root: Path,
    seed: int = 0,
    on_arm: OnArm = lambda arm, recipe: lambda step: None,
    on_evaluation: Callable[[str], OnProgress] = lambda arm: lambda done, total: None,
) -> dict[str, ArmRuns]:
    """Train and evaluate every arm that is not done; the run directories by arm. Also writes `results.json`."""
    for arm in study.arms:  # the last one's mistake must not show only when the others are trained
        study.recipe(arm, seed, {name: Path(name) for name in study.arms})
    questions = study.evaluation.data.load()  # nor that of the questions
    for how in study.evaluation.blind:
        blinded(questions, how)
    runs: dict[str, ArmRuns] = {}
    for arm in study.arms:
        recipe = study.recipe(arm, seed, {name: run.training for name, run in runs.items()})
        training = train(recipe, root, on_arm(arm, recipe))
        runs[arm] = _evaluated(study.evaluation, training, arm, root, on_evaluation)
    tables = {arm: _row(run, seed) for arm, run in runs.items()}
    _write_results(root, tables, {arm: [run] for arm, run in runs.items()})
    return runs


def run_seeds(
    study: Study,
    root: Path,
    seeds: Sequence[int],
    on_arm: OnArm = lambda arm, recipe: lambda step: None,
    on_evaluation: Callable[[str], OnProgress] = lambda arm: lambda done, total: None,
) -> list[ArmRuns]:
    """`run_study` for every seed; all run directories. Of several seeds, `results.json` holds each arm's mean.

    Raises RecipeError when a seed is given twice.
    """
    if len(set(seeds)) < len(seeds):
        raise RecipeError(f"seeds: expected each seed once, got {list(seeds)}")
    runs: list[ArmRuns] = []
    by_arm: dict[str, dict[int, ArmRuns]] = {arm: {} for arm in study.arms}
    for seed in seeds:

        def training(arm: str, recipe: Recipe) -> Callable[[Step], None]:
            return on_arm(arm if len(seeds) == 1 else f"{arm}, seed {recipe.seed}", recipe)

        for arm, both in run_study(study, root, seed, training, on_evaluation).items():
            by_arm[arm][seed] = both
            runs.append(both)
    if len(seeds) > 1:
        tables = {arm: over_seeds(found) for arm, found in by_arm.items()}
        _write_results(root, tables, {arm: list(found.values()) for arm, found in by_arm.items()})
    return runs


def over_seeds(runs: Mapping[int, ArmRuns]) -> dict[str, Any]:
    """An arm's row over its seeds: means, the interval over questions and seeds; each seed's own row under `seeds`.

    The accuracy is that of the questions that every seed's run measured.
    """
    rows = {seed: _row(both, seed) for seed, both in runs.items()}
    content = estimate_fields("accuracy", mean_of_runs([both.units for both in runs.values()]))
    for key in ("sampled_accuracy", "reply_tokens", "truncated", "unparsed"):
        if values := [row[key] for row in rows.values() if key in row]:
            content[key] = statistics.fmean(values)
    if steps := [row["steps"] for row in rows.values() if "steps" in row]:
        content["steps"] = {state: statistics.fmean(some[state] for some in steps) for state in steps[0]}
    passes = [row["pass_at"] for row in rows.values() if "pass_at" in row]
    if passes:
        content["pass_at"] = {k: statistics.fmean(some[k] for some in passes) for k in passes[0]}
    cost = RunCost.mean([RunCost.read(both.training) for both in runs.values()])
    content["cost"] = cost.model_dump(mode="json", exclude_none=True)
    return {**content, "seeds": {str(seed): row for seed, row in rows.items()}}


def _row(runs: ArmRuns, seed: int) -> dict[str, Any]:
    """An arm's row of one seed: its evaluation's table, and what the interval covers."""
    table = _table(runs.evaluation)
    covers = {"covers": str(Covers.QUESTIONS)} if "ci95" in table else {}
    cost = RunCost.read(runs.training).model_dump(mode="json", exclude_none=True)
    return {**table, **covers, "cost": cost, "run": runs.training.name, "seed": seed}


def _write_results(root: Path, tables: Mapping[str, Any], runs: Mapping[str, Sequence[ArmRuns]]) -> None:
    """Every arm's numbers: `{"arms": {name: {"accuracy": x, "ci95": [lo, hi], "covers": what, "n": n, ...}}}`."""
    arms = {arm: {**table, **_blind(runs, arm)} for arm, table in tables.items()}
    write_atomically(root / "results.json", json.dumps({"arms": arms}, indent=2) + "\n")


def _blind(runs: Mapping[str, Sequence[ArmRuns]], arm: str) -> dict[str, Any]:
    """An arm's accuracies without the pictures, and what survives so of its gain over `base`, or over the first arm."""
    baseline = "base" if "base" in runs else next(iter(runs))
    content: dict[str, Any] = {}
    for how in runs[arm][0].blind:
        content[how] = estimate_fields("accuracy", mean_of_runs([run.both(how)[1] for run in runs[arm]]))
        before, after = ([run.both(how) for run in runs[name]] for name in (baseline, arm))
        if arm != baseline and (share := surviving(before, after)) is not None:
            content[how] |= {"over": baseline, **share_fields(share)}
    return {"blind": content} if content else {}


def _units(evaluation: Path) -> list[Unit]:
    return drawn_as(units_of(read_journal(evaluation / "scores.jsonl")), 0)


def _evaluated(test: Test, training: Path, arm: str, root: Path, on_evaluation: Callable[[str], OnProgress]) -> ArmRuns:
    """A finished run with its evaluations, beside it."""

    def evaluate(test: Test, title: str) -> Path:
        bar = on_evaluation(title)
        return evaluate_folder(training / "model", test.data, test.protocol, root, bar, name=arm, reward=test.reward)

    seeing = evaluate(test, arm)
    return ArmRuns(training, seeing, {how: evaluate(test.blindly(how), f"{arm}, blind {how}") for how in test.blind})


def _table(evaluation: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((evaluation / "evaluation.json").read_text())
    return content
