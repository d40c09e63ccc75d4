"""Run directories of `evaluate` -> a matrix: each model on each benchmark, and its difference from the first model.

Runs of one model under several seeds count together; what both measured is compared, and the rest is counted.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from firsthand.errors import DataError
from firsthand.evaluation.benchmarks.evaluate import RULES
from firsthand.evaluation.compare import Compared, Row, compare
from firsthand.evaluation.replies import read_journal
from firsthand.evaluation.table import counting
from firsthand.records import Unit, content_id
from firsthand.stats import clustered_mean

_CELL = 26
"""Columns of a terminal that a number takes with its interval, its frame and a benchmark's name above it."""


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


def compare_runs(folders: Sequence[Path], scorer: Literal["strict", "leaderboard"] = "strict") -> dict[str, Any]:
    """The comparison as JSON. Raises DataError when a folder is no finished evaluation, or there is one model only."""
    folders = [folder for folder in folders if folder.suffix != ".json"]  # a pattern takes summaries along
    if twice := [str(folder) for folder, n in Counter(f.resolve() for f in folders).items() if n > 1]:
        raise DataError(f"expected each run once, got {twice[0]} again; leave it out")
    runs = [_read(folder, scorer) for folder in folders]
    labels = _labels(runs)
    rows: dict[str, dict[str, list[Row]]] = {label: defaultdict(list) for label in labels.values()}
    _refuse_mixtures(runs, labels)
    for run in runs:
        label, seed = labels[run.model, run.model_id], run.seed
        rows[label][run.benchmark] += [
            row._replace(question_id=f"{row.question_id}@{seed}") for row in _rows(run, scorer)
        ]
    baseline, *others = rows
    if not others:
        raise DataError(
            f"expected runs of two models or more, got {len(runs)} of {baseline}; give another model's runs"
        )
    return {
        "scorer": scorer,
        "baseline": baseline,
        "models": {label: {name: _mean(part) for name, part in parts.items()} for label, parts in rows.items()},
        "differences": {
            label: {name: _as_json(found) for name, found in compare(rows[baseline], rows[label]).items()}
            for label in others
        },
        "notes": _notes(runs),
    }


def show_comparison(content: Mapping[str, Any]) -> None:
    """The matrix, and a line for each difference."""
    names = list(dict.fromkeys(name for parts in content["models"].values() for name in parts))
    terminal = Console(highlight=False)
    if not terminal.is_terminal:  # a pipe would have 80 columns, and break numbers
        terminal = Console(highlight=False, width=_CELL * (len(names) + 2))
    table = Table("model", *names)
    for model, parts in content["models"].items():
        cells = []
        for name in names:
            part = parts.get(name)
            cells.append("-" if part is None or "value" not in part else _percents(part["value"], part["ci95"]))
        table.add_row(model, *cells)
    terminal.print(f"by the {content['scorer']} scorer, in percent")
    terminal.print(table)
    for model, parts in content["differences"].items():
        for name, found in parts.items():
            terminal.print(_line(f"{model} - {content['baseline']} on {name}", found), soft_wrap=True)
    for note in content["notes"]:
        terminal.print(note, soft_wrap=True)


def _line(what: str, found: Mapping[str, Any]) -> str:
    left_out = ", ".join(
        f"{found[key]:,} {words}"
        for key, words in (
            ("unmeasured", "not measured by both"),
            ("only_baseline", "of the baseline alone"),
            ("only_other", "of the other alone"),
        )
        if found[key]
    )
    left_out = f" (left out: {left_out})" if left_out else ""
    if "difference" not in found:
        return f"{what}: nothing that both measured{left_out}"
    return (
        f"{what}: {_percents(found['difference'], found['ci95'], sign='+')} points, p {found['p']:.2g} "
        f"({found['method']}; {found['wins']} won, {found['losses']} lost, {found['ties']} tied): {found['finding']}"
        f"{left_out}"
    )


def _percents(value: float, ends: Sequence[float | None], sign: str = "") -> str:
    low, high = ends
    interval = "" if low is None or high is None else f" ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
    return f"{100 * value:{sign}.1f}{interval}"


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


def _read(folder: Path, scorer: str) -> _Run:
    if not (folder / "DONE").exists() or not (folder / "scores.jsonl").exists():
        raise DataError(
            f"{folder}: expected the run directory of a finished evaluation, with DONE and scores.jsonl, got none; "
            "name one that `firsthand evaluate` has made"
        )
    recipe = json.loads((folder / "recipe.json").read_text())
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
        _scorer_of(folder, scorer),
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


def _rows(run: _Run, scorer: str) -> list[Row]:
    path = run.folder / f"units-{run.judge}.jsonl"
    if path.exists():
        found = [Unit.model_validate_json(line) for line in path.read_bytes().splitlines()]
        if run.judge == RULES and any(unit.value is None for unit in found):
            raise DataError(
                f"{run.folder}: expected a leaderboard's mark of every reply, got those that rules decide alone, the "
                "easy ones; evaluate it with --judge"
            )
        return [Row(unit.question, unit.cluster, unit.value) for unit in found]
    if scorer != "strict":
        raise DataError(f"{run.folder}: expected a leaderboard's marks, got none; evaluate it with --judge")
    rows, seen = [], defaultdict[str, int](int)
    for score in read_journal(run.folder / "scores.jsonl"):
        for judged in counting(score):
            rows.append(Row(f"{score.example_id}#{seen[score.example_id]}", score.example_id, judged.verdict.score))
            seen[score.example_id] += 1
    return rows


def _scorer_of(folder: Path, scorer: str) -> str:
    """`strict`, or the judge that has marked a run: the one there is, or rules alone."""
    if scorer == "strict":
        return scorer
    judges = [path.stem.removeprefix("units-") for path in folder.glob("units-*.jsonl")]
    asked = [name for name in judges if name not in ("strict", RULES)]
    if len(asked) > 1:
        raise DataError(
            f"{folder}: expected the marks of one judge, got {len(asked)}; delete units-*.jsonl of the others"
        )
    return asked[0] if asked else RULES


def _mean(rows: Sequence[Row]) -> dict[str, Any]:
    known = [(row.score, row.cluster) for row in rows if row.score is not None]
    if not known:
        return {"n": 0}
    found = clustered_mean([score for score, _ in known], [cluster for _, cluster in known])
    return {"value": found.value, "ci95": [found.low, found.high], "n": found.n}


def _as_json(found: Compared) -> dict[str, Any]:
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
