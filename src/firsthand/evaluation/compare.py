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
from firsthand.evaluation.replies import read_journal
from firsthand.evaluation.table import counting
from firsthand.records import Unit, content_id
from firsthand.run import evaluations_beside, recipe_of
from firsthand.stats import Paired, clustered_mean, paired_test


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
    runs = _named_apart([_read(folder, scorer, judge) for folder in evaluations])
    _refuse_mixtures(runs)
    units: dict[str, dict[str, list[Unit]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        units[run.model][run.benchmark] += [
            unit.model_copy(update={"question": f"{unit.question}@{run.seed}"}) for unit in _units(run, scorer)
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


def _refuse_mixtures(runs: Sequence[_Run]) -> None:
    """One model's runs of a benchmark must be seeds of one protocol: a mean over protocols is no number of anything."""
    first: dict[tuple[str, str], _Run] = {}
    seen: dict[tuple[str, str, int], _Run] = {}
    for run in runs:
        what = f"{run.model} on {run.benchmark}"
        other = first.setdefault((run.model, run.benchmark), run)
        if run.protocol != other.protocol or run.data_id != other.data_id:
            differing = "protocol" if run.protocol != other.protocol else "version of the file"
            raise DataError(
                f"{what}: expected runs of one {differing}, got two: {other.folder} and {run.folder}; name one of them"
            )
        twin = seen.setdefault((run.model, run.benchmark, run.seed), run)
        if twin is not run:
            raise DataError(f"{what}: seed {run.seed} is there twice: {twin.folder}, {run.folder}")


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
    protocol = {key: value for key, value in table["protocol"].items() if key != "seed"}
    return _Run(
        model=recipe["name"],
        model_id=recipe.get("model_id") or content_id(recipe.get("endpoint", recipe.get("id"))),
        benchmark=recipe.get("benchmark", {}).get("name") or _data_name(table.get("data", {})),
        protocol=content_id(protocol),
        seed=table["protocol"]["seed"],
        data_id=recipe.get("data_id", ""),
        judge=_scorer_of(folder, scorer, judge),
        folder=folder,
    )


def _data_name(data: Mapping[str, Any]) -> str:
    """What a reader knows the data by, and the start of a hash: two files may have one name."""
    what = Path(data["path"]).name if data.get("path") else "worlds" if data.get("worlds") else "data"
    return f"{what} ({content_id(data)[:6]})"


def _named_apart(runs: Sequence[_Run]) -> list[_Run]:
    """The runs with their model's id behind its name where two models have one name."""
    ids: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        ids[run.model].add(run.model_id)
    return [
        run if len(ids[run.model]) == 1 else run._replace(model=f"{run.model} ({run.model_id[:6]})") for run in runs
    ]


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
    units, seen = [], Counter[str]()
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


class Pairing(NamedTuple):
    """One benchmark under two models: `other - baseline`, on the items that both measured."""

    paired: Paired | None
    """None when no item was measured by both."""
    compared: int
    """Items in pairs; `paired.n` counts clusters."""
    unmeasured: int
    """Items of both, left out because one of the two has no score."""
    only_baseline: int
    """Items left out because `other` has no such unit, measured or not."""
    only_other: int


def pair_benchmarks(baseline: Mapping[str, Sequence[Unit]], other: Mapping[str, Sequence[Unit]]) -> dict[str, Pairing]:
    """Pair the units of two models by benchmark and question; every benchmark of either has its entry.

    Raises DataError when a question stands twice on one side, or belongs to another cluster on the other side.
    """
    names = dict.fromkeys((*baseline, *other))
    return {name: pair_units(baseline.get(name, ()), other.get(name, ()), name) for name in names}


def pair_units(baseline: Sequence[Unit], other: Sequence[Unit], name: str = "these units") -> Pairing:
    """`pair_benchmarks` of one benchmark, whose `name` is for the error messages."""
    theirs, ours = _by_question(baseline, name), _by_question(other, name)
    shared = [(theirs[key], ours[key]) for key in sorted(theirs.keys() & ours.keys())]  # so no p depends on the order
    for before, after in shared:
        if before.cluster != after.cluster:
            raise DataError(
                f"{name}: {before.question} belongs to {before.cluster!r} in the baseline and to {after.cluster!r} "
                "in the other: evaluate both models on one version of the benchmark"
            )
    measured = [(b.value, a.value, b.cluster) for a, b in shared if a.value is not None and b.value is not None]
    return Pairing(
        paired=paired_test(*zip(*measured, strict=True)) if measured else None,
        compared=len(measured),
        unmeasured=len(shared) - len(measured),
        only_baseline=len(theirs) - len(shared),
        only_other=len(ours) - len(shared),
    )


def _by_question(units: Sequence[Unit], name: str) -> dict[str, Unit]:
    table: dict[str, Unit] = {}
    for unit in units:
        if unit.question in table:
            raise DataError(
                f"{name}: {unit.question} stands twice on one side, expected an id for every unit: "
                "name repeated draws apart and give them one cluster"
            )
        table[unit.question] = unit
    return table


def _mean(units: Sequence[Unit]) -> dict[str, Any]:
    known = [(unit.value, unit.cluster) for unit in units if unit.value is not None]
    if not known:
        return {"n": 0}
    found = clustered_mean(*zip(*known, strict=True))
    return {"value": found.value, "ci95": [found.low, found.high], "n": found.n}


def _difference(found: Pairing) -> dict[str, Any]:
    counts = {name: count for name, count in found._asdict().items() if name != "paired"}
    if (paired := found.paired) is None:
        return counts
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
