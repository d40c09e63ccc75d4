"""Several benchmarks and seeds for one model: the runs, and one summary of them.

<suite>-<model>.json    {"title", "benchmarks": {name: {"protocol", "strict", "leaderboard", ...}}, "average"}
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from firsthand.errors import RecipeError
from firsthand.evaluation.benchmarks.aggregate import ReplyMark, aggregate
from firsthand.evaluation.benchmarks.evaluate import (
    Mark,
    Task,
    evaluate_benchmark,
    leaderboard_marks,
    read_task,
    strict_marks,
)
from firsthand.evaluation.benchmarks.judged import RULES, judged_file, leaderboard_tables
from firsthand.evaluation.benchmarks.spec import Benchmark, Suite
from firsthand.evaluation.generator import name_of
from firsthand.evaluation.leaderboard.judging import LeaderboardJudge
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import OnProgress, read_journal
from firsthand.files import write_atomically
from firsthand.records import content_id, content_in, records_in
from firsthand.stats import Estimate, mean_of
from firsthand.teacher import Endpoint


class EvaluationPlan(NamedTuple):
    """What is to be evaluated, and how."""

    suite: Suite | None
    benchmarks: Sequence[Benchmark]
    protocols: Sequence[Protocol]
    """One for each benchmark."""
    seeds: Sequence[int]
    judge: LeaderboardJudge | None


def evaluate_all(
    model: Path | Endpoint,
    plan: EvaluationPlan,
    data_root: Path,
    root: Path,
    *,
    name: str | None = None,
    on_benchmark: Callable[[str], OnProgress] = lambda name: lambda done, all: None,
) -> Path:
    """Evaluate everything that is not done yet; the summary's file. Raises as `read_task` and `evaluate_benchmark` do.

    All files are read before the first question is asked: the last one's mistake must not show hours later.
    """
    if len(set(plan.seeds)) < len(plan.seeds):
        raise RecipeError(f"--seeds: expected each seed once, got {list(plan.seeds)}")
    if len(plan.seeds) > 1 and any(p.greedy and p.blind != "shuffled" for p in plan.protocols):
        raise RecipeError("--seeds: greedy replies are the same under every seed; choose a protocol that only samples")
    name = name or name_of(model)
    tasks = [read_task(benchmark, data_root) for benchmark in plan.benchmarks]
    found: dict[str, Any] = {}
    for task, protocol in zip(tasks, plan.protocols, strict=True):
        folders = []
        for seed in plan.seeds:
            title = task.benchmark.name if len(plan.seeds) == 1 else f"{task.benchmark.name}, seed {seed}"
            drawing = protocol.model_copy(update={"seed": seed})
            bar = on_benchmark(title)
            folders.append(evaluate_benchmark(model, task, drawing, root, name=name, judge=plan.judge, on_progress=bar))
        found[task.benchmark.name] = benchmark_summary(task, folders, plan.judge)
    asked_for = plan.suite or plan.benchmarks[0]
    content: dict[str, Any] = {"title": asked_for.title, "model": name, "benchmarks": found}
    if plan.suite is not None and plan.suite.average:
        content["average"] = averages(found)
    # By judge too: none is overwritten.
    key = content_id([part["runs"] for part in found.values()], None if plan.judge is None else plan.judge.identity)
    control = plan.protocols[0].control
    path = root / "-".join([asked_for.name, *control, name.replace("/", "-"), f"{key[:8]}.json"])
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def benchmark_summary(task: Task, folders: Sequence[Path], judge: LeaderboardJudge | None) -> dict[str, Any]:
    """One benchmark's numbers over the seeds: draws of one question are one question to the interval."""
    who = RULES if judge is None else judge.identity
    tables = [content_in(folder / "evaluation.json") for folder in folders]
    first, boards = tables[0], [leaderboard_tables(folder, who) for folder in folders]
    strict = [strict_marks(task, read_journal(folder / "scores.jsonl")) for folder in folders]
    content = {
        "benchmark": first["benchmark"],
        "protocol": first["protocol"],
        "runs": [folder.name for folder in folders],
        "seeds": [table["protocol"]["seed"] for table in tables],
        **{
            key: sum(values) / len(values)
            for key in ("truncated", "unparsed", "reply_tokens")
            if (values := [table[key] for table in tables if key in table])
        },
        **({"pass_at": first["pass_at"]} if "pass_at" in first and len(folders) == 1 else {}),
        "strict": aggregate(task.benchmark, _over_seeds(strict)),
    }
    if who in boards[0]:
        content["leaderboard"] = _pooled([board[who] for board in boards])
        if "absent" not in content["leaderboard"]:
            marks = [leaderboard_marks(task, _read_marks(folder, who)) for folder in folders]
            content["leaderboard"] |= aggregate(task.benchmark, _over_seeds(marks))
    return content


def _pooled(boards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several seeds' leaderboard tables together; without a number where one of them has none."""
    quirks = sorted({key for board in boards for key in board["quirks"]})
    return {
        "undecided": _sum(board["undecided"] for board in boards),
        **next(({"absent": board["absent"]} for board in boards if "absent" in board), {}),
        "by": _sum(board["by"] for board in boards),
        "quirks": {key: _sum(board["quirks"].get(key, {}) for board in boards) for key in quirks},
        "disagreements": sum(board["disagreements"] for board in boards),
        **({"judge": boards[0]["judge"]} if "judge" in boards[0] else {}),
    }


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def averages(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The plain mean of the headline numbers by each scorer; absent, with the reason, where one of them is."""
    content: dict[str, Any] = {}
    judged = any("leaderboard" in table for table in found.values())
    for scorer in ("strict", "leaderboard") if judged else ("strict",):
        tables = {name: table.get(scorer, {}) for name, table in found.items()}
        missing = [name for name, table in tables.items() if "value" not in table]
        if missing:
            content[scorer] = {"absent": f"not measured: {', '.join(missing)}"}
            continue
        mean = mean_of([Estimate(t["value"], t["ci95"][0], t["ci95"][1], t["n"]) for t in tables.values()])
        content[scorer] = {"value": mean.value, "ci95": [mean.low, mean.high], "of": len(tables)}
        partial = [n for n, t in found.items() if "published_rows" in t["benchmark"] or t[scorer].get("unmeasured")]
        if partial:  # the number is not one of all published rows
            content[scorer]["partial"] = partial
    return content


def _over_seeds(marks: Iterable[Sequence[ReplyMark]]) -> list[ReplyMark]:
    """The marks of every seed, each draw under a number of its own."""
    return [mark._replace(draw=seed * 1000 + mark.draw) for seed, some in enumerate(marks) for mark in some]


def _read_marks(folder: Path, who: str) -> list[Mark]:
    return list(records_in(judged_file(folder, who, "leaderboard"), Mark))
