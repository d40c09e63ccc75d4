"""Run directories of `evaluate` -> a matrix: each model on each benchmark, and its difference from the first model.

Runs of one model under several seeds count together; what both measured is compared, and the rest is counted.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from firsthand.errors import DataError
from firsthand.evaluation.benchmarks.judged import RULES, judged_file, judges_of
from firsthand.evaluation.pairing import Pairing, pair_benchmarks
from firsthand.evaluation.replies import read_journal
from firsthand.evaluation.table import counting
from firsthand.records import Unit, content_id
from firsthand.run import evaluations_beside, recipe_of
from firsthand.stats import clustered_mean


class _Run(NamedTuple):
    model: str
    model_id: str
    benchmark: str
    protocol: str
    seed: int
    data_id: str
    judge: str
    """Who has marked it; of strict marks nobody."""
    folder: Path


def compare_runs(
    folders: Sequence[Path], scorer: Literal["strict", "leaderboard"] = "strict", judge: str | None = None
) -> dict[str, Any]:
    """The comparison as JSON; `judge` names one where several have marked a run.

    Raises DataError when a folder is no finished evaluation, or there is one model only.
    """
    folders = [folder for folder in folders if folder.suffix != ".json"]  # a pattern takes summaries along
    if twice := [str(folder) for folder, n in Counter(f.resolve() for f in folders).items() if n > 1]:
        raise DataError(f"expected each run once, got {twice[0]} again; leave it out")
    evaluations = dict.fromkeys(map(_evaluation_of, folders))  # a pattern may take a training along with its own
    runs = [_read(folder, scorer, judge) for folder in evaluations]
    labels = _labels(runs)
    units: dict[str, dict[str, list[Unit]]] = {label: defaultdict(list) for label in labels.values()}
    _refuse_mixtures(runs, labels)
    for run in runs:
        label, seed = labels[run.model, run.model_id], run.seed
        units[label][run.benchmark] += [
            unit.model_copy(update={"question": f"{unit.question}@{seed}"}) for unit in _units(run, scorer)
        ]
    baseline, *others = units
    if not others:
        raise DataError(
            f"expected runs of two models or more, got {len(runs)} of {baseline}; give another model's runs"
        )
    return {
        "scorer": scorer,
        "baseline": baseline,
        "models": {label: {name: _mean(part) for name, part in parts.items()} for label, parts in units.items()},
        "differences": {
            label: {name: _difference(found) for name, found in pair_benchmarks(units[baseline], units[label]).items()}
            for label in others
        },
        "notes": _notes(runs),
    }


def _refuse_mixtures(runs: Sequence[_Run], labels: Mapping[tuple[str, str], str]) -> None:
    """One model's runs of a benchmark must be seeds of one protocol: a mean over protocols is no number of anything."""
    first: dict[tuple[str, str], _Run] = {}
    seen: dict[tuple[str, str, int], _Run] = {}
    for run in runs:
        label = labels[run.model, run.model_id]
        other = first.setdefault((label, run.benchmark), run)
        if run.protocol != other.protocol or run.data_id != other.data_id:
            what = "protocol" if run.protocol != other.protocol else "version of the file"
            raise DataError(
                f"{label} on {run.benchmark}: expected runs of one {what}, got two: {other.folder} and {run.folder}; "
                "name one of them"
            )
        twin = seen.setdefault((label, run.benchmark, run.seed), run)
        if twin is not run:
            raise DataError(f"{label} on {run.benchmark}: seed {run.seed} is there twice: {twin.folder}, {run.folder}")


def _evaluation_of(folder: Path) -> Path:
    """The run itself where it was evaluated; of a training, the one evaluation beside it."""
    beside = [] if (folder / "evaluation.json").exists() else evaluations_beside(folder)
    if len(beside) > 1:
        raise DataError(
            f"{folder}: expected a run that was evaluated once, got {len(beside)} evaluations of it: "
            f"{', '.join(str(found) for found in beside)}; name one of them"
        )
    return beside[0] if beside else folder


def _read(folder: Path, scorer: str, judge: str | None) -> _Run:
    if not (folder / "DONE").exists() or not (folder / "scores.jsonl").exists():
        raise DataError(
            f"{folder}: expected the run directory of a finished evaluation, with DONE and scores.jsonl, got none; "
            "name one that `firsthand evaluate` has made"
        )
    recipe = recipe_of(folder)
    table = json.loads((folder / "evaluation.json").read_text())
    named = recipe.get("benchmark", {}).get("name") or _data_name(table.get("data", {}))
    protocol = {key: value for key, value in table["protocol"].items() if key != "seed"}
    model_id = recipe.get("model_id") or content_id(recipe.get("endpoint", recipe.get("id")))
    return _Run(
        recipe["name"],
        model_id,
        named,
        content_id(protocol),
        table["protocol"]["seed"],
        recipe.get("data_id", ""),
        _scorer_of(folder, scorer, judge),
        folder,
    )


def _data_name(data: Mapping[str, Any]) -> str:
    """What a reader knows the data by, and the start of a hash: two files may have one name."""
    what = Path(data["path"]).name if data.get("path") else "worlds" if data.get("worlds") else "data"
    return f"{what} ({content_id(data)[:6]})"


def _labels(runs: Sequence[_Run]) -> dict[tuple[str, str], str]:
    """A name for each model, with its id where two models have one name."""
    models = list(dict.fromkeys((run.model, run.model_id) for run in runs))
    names = [name for name, _ in models]
    return {(name, key): name if names.count(name) == 1 else f"{name} ({key[:6]})" for name, key in models}


def _units(run: _Run, scorer: str) -> list[Unit]:
    path = run.folder / "units-strict.jsonl" if scorer == "strict" else judged_file(run.folder, run.judge, "units")
    if path.exists():
        found = [Unit.model_validate_json(line) for line in path.read_bytes().splitlines()]
        if run.judge == RULES and any(unit.value is None for unit in found):
            raise DataError(
                f"{run.folder}: expected a leaderboard's mark of every reply, got those that rules decide alone, the "
                "easy ones; evaluate it with --judge"
            )
        return found
    if scorer != "strict":
        raise DataError(f"{run.folder}: expected a leaderboard's marks, got none; evaluate it with --judge")
    units, seen = [], defaultdict[str, int](int)
    for score in read_journal(run.folder / "scores.jsonl"):
        for judged in counting(score):
            question = f"{score.example_id}#{seen[score.example_id]}"
            units.append(Unit(question=question, cluster=score.example_id, value=judged.verdict.score))
            seen[score.example_id] += 1
    return units


def _scorer_of(folder: Path, scorer: str, judge: str | None) -> str:
    """`strict`, or the judge that has marked a run: the one that is named, the one there is, or rules alone."""
    if scorer == "strict":
        return scorer
    if judge is not None:
        return judge
    asked = [name for name in judges_of(folder) if name != RULES]
    if len(asked) > 1:
        raise DataError(
            f"{folder}: expected the marks of one judge, got {len(asked)}; name one of them with --judge: "
            f"{', '.join(asked)}"
        )
    return asked[0] if asked else RULES


def _mean(units: Sequence[Unit]) -> dict[str, Any]:
    known = [(unit.value, unit.cluster) for unit in units if unit.value is not None]
    if not known:
        return {"n": 0}
    found = clustered_mean([value for value, _ in known], [cluster for _, cluster in known])
    return {"value": found.value, "ci95": [found.low, found.high], "n": found.n}


def _difference(found: Pairing) -> dict[str, Any]:
    counts = {"compared": found.compared, "unmeasured": found.unmeasured}
    counts |= {"only_baseline": found.only_baseline, "only_other": found.only_other}
    if found.paired is None:
        return counts
    paired = found.paired
    return {
        "difference": paired.difference.value,
        "ci95": [paired.difference.low, paired.difference.high],
        "p": paired.p,
        "wins": paired.wins,
        "losses": paired.losses,
        "ties": paired.ties,
        "method": str(paired.method),
        "finding": str(paired.finding),
        **counts,
    }


def _notes(runs: Sequence[_Run]) -> list[str]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for run in runs:
        found[run.benchmark, "protocol"].add(run.protocol)
        found[run.benchmark, "judge"].add(run.judge)
        found[run.benchmark, "file"].add(run.data_id)
    return [
        f"{name}: the runs have {len(several)} different {what}s, so a difference may be the {what}'s"
        for (name, what), several in found.items()
        if len(several) > 1
    ]
