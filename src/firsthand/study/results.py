"""The runs of an arm, and what they say: the rows of `results.json`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from firsthand.cost import RunCost
from firsthand.data.blind import Blind
from firsthand.evaluation.pairing import (
    Both,
    drawn_as,
    estimate_fields,
    mean_of_runs,
    share_fields,
    surviving,
    units_of,
)
from firsthand.evaluation.replies import read_journal
from firsthand.files import locked, write_atomically
from firsthand.records import Record, Unit, content_in
from firsthand.stats import Covers


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


def over_seeds(runs: Mapping[int, ArmRuns]) -> dict[str, Any]:
    """An arm's row over its seeds: means, the interval over questions and seeds; each seed's own row under `seeds`.

    The accuracy is that of the questions that every seed's run measured; that of a family, the mean of the runs'.
    """
    rows = {seed: row_of(both, seed) for seed, both in runs.items()}
    tables = list(rows.values())
    content = _means(tables)
    content.pop("accuracy", None)  # that of the questions that all have measured
    content |= estimate_fields("accuracy", mean_of_runs([both.units for both in runs.values()]))
    families = dict.fromkeys(family for table in tables for family in table.get("families", ()))
    if families:
        content["families"] = {
            family: _means([table["families"][family] for table in tables if family in table.get("families", ())])
            for family in families
        }
    cost = RunCost.mean([RunCost.read(both.training) for both in runs.values()])
    content["cost"] = cost.model_dump(mode="json", exclude_none=True)
    return {**content, "seeds": {str(seed): row for seed, row in rows.items()}}


def _means(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of what evaluations found, each measure's over those that have it."""
    content: dict[str, Any] = {}
    for key in ("accuracy", "sampled_accuracy", "reply_tokens", "truncated", "unparsed"):
        if values := [table[key] for table in tables if table.get(key) is not None]:
            content[key] = statistics.fmean(values)
    for key in ("steps", "pass_at"):
        if found := [table[key] for table in tables if key in table]:
            content[key] = {part: statistics.fmean(some[part] for some in found) for part in found[0]}
    return content


def row_of(runs: ArmRuns, seed: int) -> dict[str, Any]:
    """An arm's row of one seed: its evaluation's table, and what the interval covers."""
    table = _table(runs.evaluation)
    covers = {"covers": str(Covers.QUESTIONS)} if "ci95" in table else {}
    cost = RunCost.read(runs.training).model_dump(mode="json", exclude_none=True)
    return {**table, **covers, "cost": cost, "run": runs.training.name, "seed": seed}


def write_results(
    root: Path,
    tables: Mapping[str, Any],
    runs: Mapping[str, Sequence[ArmRuns]],
    budget: Mapping[str, Any] | None = None,
    **findings: Sequence[Record],
) -> None:
    """Every arm's numbers: `{"arms": {name: {"accuracy": x, "ci95": [lo, hi], "covers": what, "n": n, ...}}}`.

    Beside them the `budget`, and the `findings` that there are, by name: `verdicts`.
    """
    arms = {arm: {**table, **_blind(runs, arm)} for arm, table in tables.items()}
    found = {
        name: [record.model_dump(mode="json") for record in records] for name, records in findings.items() if records
    }
    content = {"arms": arms, **found, **({"budget": budget} if budget else {})}
    with locked(root / ".lock"):
        write_atomically(root / "results.json", json.dumps(content, indent=2) + "\n")


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


def _table(evaluation: Path) -> dict[str, Any]:
    return content_in(evaluation / "evaluation.json")
