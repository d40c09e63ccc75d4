"""Several benchmarks and seeds for one model: the runs, and one summary of them.

<suite>-<model>.json    {"title", "benchmarks": {name: {"protocol", "strict", "leaderboard", ...}}, "average"}
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from firsthand.evaluation.leaderboard import LeaderboardJudge
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import OnProgress, read_journal
from firsthand.files import write_atomically
from firsthand.records import content_id
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
    if len(plan.seeds) > 1 and any(p.greedy for p in plan.protocols):
        raise RecipeError("--seeds: greedy replies are the same under every seed; choose a protocol that only samples")
    name = name or name_of(model)
    tasks = [read_task(benchmark, data_root) for benchmark in plan.benchmarks]
    found: dict[str, Any] = {}
    for task, protocol in zip(tasks, plan.protocols, strict=True):
        folders = []
        for seed in plan.seeds:
            title = task.benchmark.name if len(plan.seeds) == 1 else f"{task.benchmark.name}, seed {seed}"
            drawing = protocol.model_copy(update={"seed": seed})
            folders.append(
                evaluate_benchmark(
                    model, task, drawing, root, name=name, judge=plan.judge, on_progress=on_benchmark(title)
                )
            )
        found[task.benchmark.name] = benchmark_summary(task, folders, plan.judge)
    title = plan.suite.title if plan.suite else plan.benchmarks[0].title
    content: dict[str, Any] = {"title": title, "model": name, "benchmarks": found}
    if plan.suite is not None and plan.suite.average:
        content["average"] = averages(found)
    stem = plan.suite.name if plan.suite else plan.benchmarks[0].name
    asked = [part["runs"] for part in found.values()], None if plan.judge is None else plan.judge.identity
    path = root / f"{stem}-{name.replace('/', '-')}-{content_id(*asked)[:8]}.json"  # by judge too: none is overwritten
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def benchmark_summary(task: Task, folders: Sequence[Path], judge: LeaderboardJudge | None) -> dict[str, Any]:
    """One benchmark's numbers over the seeds: draws of one question are one question to the interval."""
    who = RULES if judge is None else judge.identity
    tables = [json.loads((folder / "evaluation.json").read_text()) for folder in folders]
    boards = [leaderboard_tables(folder, who) for folder in folders]
    first = tables[0]
    rates = {
        key: sum(values) / len(values)
        for key in ("truncated", "unparsed", "reply_tokens")
        if (values := [table[key] for table in tables if key in table])
    }
    content = {
        "benchmark": first["benchmark"],
        "protocol": first["protocol"],
        "runs": [folder.name for folder in folders],
        "seeds": [table["protocol"]["seed"] for table in tables],
        **rates,
        **({"pass_at": first["pass_at"]} if "pass_at" in first and len(folders) == 1 else {}),
        "strict": aggregate(task.benchmark, list(_strict(task, folders))),
    }
    if who in boards[0]:
        content["leaderboard"] = _pooled([board[who] for board in boards])
        if "absent" not in content["leaderboard"]:
            content["leaderboard"] |= aggregate(task.benchmark, list(_marked(task, folders, who)))
    return content


def _pooled(boards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several seeds' leaderboard tables together; without a number where one of them has none."""
    absent = next((board["absent"] for board in boards if "absent" in board), None)
    quirks: dict[str, Counter[str]] = defaultdict(Counter)
    for board in boards:
        for key, count in board["quirks"].items():
            quirks[key].update(count)
    return {
        "undecided": dict(sum((Counter(board["undecided"]) for board in boards), Counter())),
        **({} if absent is None else {"absent": absent}),
        "by": dict(sum((Counter(board["by"]) for board in boards), Counter())),
        "quirks": {key: dict(count) for key, count in sorted(quirks.items())},
        "disagreements": sum(board["disagreements"] for board in boards),
        **({"judge": boards[0]["judge"]} if "judge" in boards[0] else {}),
    }


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
        if partial := [name for name, table in found.items() if is_partial(table, scorer)]:
            content[scorer]["partial"] = partial
    return content


def is_partial(table: Mapping[str, Any], scorer: str) -> bool:
    """Whether a number is not one of all published rows."""
    return "published_rows" in table["benchmark"] or table[scorer].get("unmeasured", 0) > 0


def _strict(task: Task, folders: Sequence[Path]) -> Iterator[ReplyMark]:
    for seed, folder in enumerate(folders):
        yield from strict_marks(task, read_journal(folder / "scores.jsonl"), seed)


def _marked(task: Task, folders: Sequence[Path], who: str) -> Iterator[ReplyMark]:
    for seed, folder in enumerate(folders):
        lines = (
            judged_file(folder, who, "leaderboard").read_bytes().splitlines()
        )  # as text, replies would end lines too
        yield from leaderboard_marks(task, [Mark.model_validate_json(line) for line in lines], seed)
