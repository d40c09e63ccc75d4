"""A benchmark evaluated: every reply kept, judged by strict rules and, where there is one, as a leaderboard judges.

    <benchmark>-<model>-s<seed>-<id>/
        items.jsonl            the benchmark's rows, without pictures
        scores.jsonl           replies with the strict verdict
        units-strict.jsonl     what the strict number is the mean of
        evaluation.json        the strict number, and all that belongs to it
        judged/<judge>/        the leaderboard's: see judged.py

The replies are the run; who judges them may change later, and none is drawn again for it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from firsthand.answers.asking import prompts_id
from firsthand.data.loaded import of_examples
from firsthand.evaluation.benchmarks import items
from firsthand.evaluation.benchmarks.aggregate import ReplyMark, aggregate, cluster_of, refuse_missing_variants, units
from firsthand.evaluation.benchmarks.files import locate, named
from firsthand.evaluation.benchmarks.judged import RULES, judged_folder, judges_of
from firsthand.evaluation.benchmarks.spec import Benchmark
from firsthand.evaluation.benchmarks.strict import VERSION as STRICT_VERSION
from firsthand.evaluation.benchmarks.strict import judge_strictly
from firsthand.evaluation.generator import askable, generator_of, identity, name_of, settled, shown_to
from firsthand.evaluation.leaderboard.judging import NO_JUDGE, LeaderboardJudge, NotScored, Pair, score_replies
from firsthand.evaluation.leaderboard.prompts import PROMPTS_VERSION
from firsthand.evaluation.leaderboard.scorer import ReplyScore
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import OnProgress, read_journal, score_all
from firsthand.evaluation.table import counting, tabulate
from firsthand.files import replacing
from firsthand.identity import data_id
from firsthand.records import Example, Judged, Record, Score, json_lines
from firsthand.reward import Reward
from firsthand.reward.build import router_of
from firsthand.run import Run
from firsthand.teacher import Endpoint, Outage, open_log


class Mark(Record):
    """One line of leaderboard.jsonl."""

    example_id: str
    draw: int
    mark: ReplyScore | None = None
    why_not: str = ""


class BenchmarkItem(Record):
    """One line of items.jsonl: a row of the benchmark, without its pictures."""

    id: str
    cells: dict[str, Any]


class Disagreement(Record):
    """One line of disagreements.jsonl: a reply on which the two scorers differ, and both reasons."""

    example_id: str
    draw: int
    gold: str
    reply: str
    strict: float
    strict_why: str
    leaderboard: float
    extracted: str | None
    by: str
    quirk: str


class Task(NamedTuple):
    """A benchmark with its rows."""

    benchmark: Benchmark
    spec: str
    examples: Sequence[Example]

    @property
    def by_id(self) -> dict[str, Example]:
        """The examples, by their ids."""
        return {example.id: example for example in self.examples}


def read_task(benchmark: Benchmark, root: Path) -> Task:
    """Find and read a benchmark's rows. Raises DataError naming file, row, column and remedy."""
    if benchmark.worlds is not None:
        rendered = {example.id: example for example in benchmark.worlds.load()}  # a world may draw one thing twice
        return Task(benchmark, "rendered", list(rendered.values()))
    files = locate(benchmark, root)
    examples = items.load(benchmark, files)
    refuse_missing_variants(benchmark, examples)
    return Task(benchmark, named(files), examples)


def evaluate_benchmark(
    model: Path | Endpoint,
    task: Task,
    protocol: Protocol,
    root: Path,
    *,
    name: str | None = None,
    judge: LeaderboardJudge | None = None,
    on_progress: OnProgress = lambda done, all: None,
) -> Path:
    """Draw replies, unless an earlier call has, and score them; the run directory.

    Raises DataError before a directory is made when the model cannot be used, and Outage or RecipeError when a server
    cannot be had; what was answered is kept, and the same call goes on from there.
    """
    protocol = settled(model, protocol)
    if isinstance(model, Path):
        askable(model, protocol, of_examples(task.spec, task.examples)).settled(folder=root)
    name = name or name_of(model)
    recipe = {
        "name": name,
        **identity(model),
        "benchmark": task.benchmark.identity,
        "strict": STRICT_VERSION,
        "protocol": _recorded(protocol),
        **prompts_id(protocol.system),
        "data_id": data_id(task.examples),
    }
    shown = shown_to(model, protocol, task.examples, task.spec)
    title = "-".join([task.benchmark.name, *protocol.control, name.replace("/", "-")])
    folder = model if isinstance(model, Path) else None
    with Run.open_evaluation(root, title, protocol.seed, recipe, folder) as run:
        if not run.is_done:
            _draw(model, task, shown, protocol, run, on_progress)
        if task.benchmark.leaderboard is not None:
            _mark_replies(task, protocol, run, judge, root)
        return run.folder


def _recorded(protocol: Protocol) -> dict[str, Any]:
    """How replies were drawn; how they are read, the version of the strict rules says."""
    return {key: value for key, value in protocol.content.items() if key != "answer"}


def strict_marks(task: Task, scores: Iterable[Score]) -> list[ReplyMark]:
    """The strict marks of replies."""
    by_id = task.by_id
    return [ReplyMark(by_id[s.example_id], draw, j.verdict.score) for s in scores for draw, j in enumerate(counting(s))]


def leaderboard_marks(task: Task, marks: Iterable[Mark]) -> list[ReplyMark]:
    """The leaderboard's marks of replies."""
    by_id = task.by_id
    return [ReplyMark(by_id[m.example_id], m.draw, None if m.mark is None else float(m.mark.right)) for m in marks]


def _draw(
    model: Path | Endpoint,
    task: Task,
    shown: Sequence[Example],
    protocol: Protocol,
    run: Run,
    on_progress: OnProgress,
) -> None:
    journal = run.folder / "replies.jsonl"
    if not (run.folder / "evaluation.json").exists():  # written last: a kill came between it and the end
        with router_of(Reward(), workers=2) as router, generator_of(model, protocol, run.folder) as generator:
            judge = partial(judge_strictly, task.benchmark, router)
            scores = score_all(task.examples, generator, judge, protocol, journal, on_progress, shown)
        run.keep_pictures(picture for example in shown for picture in example.images)
        run.write_records("items.jsonl", (BenchmarkItem(id=e.id, cells=e.meta) for e in task.examples))
        run.write_records("scores.jsonl", scores)
        run.write_records("units-strict.jsonl", units(task.benchmark, strict_marks(task, scores)))
        run.write_json("evaluation.json", _strict_table(task, protocol, scores))
    journal.unlink(missing_ok=True)
    run.finish()


def _mark_replies(task: Task, protocol: Protocol, run: Run, judge: LeaderboardJudge | None, root: Path) -> None:
    """The leaderboard's marks by this judge, unless they are there."""
    who = RULES if judge is None else judge.identity
    if who in judges_of(run.folder):
        return
    scores = read_journal(run.folder / "scores.jsonl")
    replies = [(s, draw, j) for s in scores for draw, j in enumerate(counting(s))]
    by_id = task.by_id
    pairs = [Pair(by_id[s.example_id].meta, protocol.predicted(j.reply.text)) for s, _, j in replies if _was_given(j)]
    found = iter(_asked(task, pairs, judge, root))
    marks = [_mark(s, draw, next(found) if _was_given(j) else NotScored(why=j.verdict.why)) for s, draw, j in replies]
    differing = _disagreements(replies, marks)
    lines: dict[str, Sequence[Record]] = {
        "leaderboard": marks,
        "disagreements": differing,
        "units": units(task.benchmark, leaderboard_marks(task, marks)),
    }
    folder = judged_folder(run.folder, who)
    folder.parent.mkdir(exist_ok=True)
    with replacing(folder) as draft:
        draft.mkdir()
        for name, records in lines.items():
            (draft / f"{name}.jsonl").write_text(json_lines(records), encoding="utf-8")
        table = _leaderboard_table(task, marks, len(differing), judge)
        (draft / "table.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def _strict_table(task: Task, protocol: Protocol, scores: Sequence[Score]) -> dict[str, Any]:
    benchmark, by_id = task.benchmark, task.by_id
    about = {"name": benchmark.name, "title": benchmark.title, "file": task.spec, "rows": len(task.examples)}
    if benchmark.rows not in (None, len(task.examples)):
        about["published_rows"] = benchmark.rows
    return {
        "benchmark": about,
        "protocol": _recorded(protocol),
        **tabulate(scores, protocol.samples, cluster=lambda s: cluster_of(benchmark, by_id[s.example_id])),
        "strict": aggregate(benchmark, strict_marks(task, scores)),
    }


def _asked(
    task: Task, pairs: Sequence[Pair], judge: LeaderboardJudge | None, root: Path
) -> list[ReplyScore | NotScored]:
    assert task.benchmark.leaderboard is not None
    with nullcontext() if judge is None else open_log(root) as log:
        found = score_replies(task.benchmark.leaderboard, pairs, judge, log)
    silent = sum(isinstance(mark, NotScored) and mark.is_passing for mark in found)
    if judge is not None and silent:
        raise Outage(
            f"{judge.endpoint.base_url}: the judge did not answer for {silent} of {len(pairs)} replies; look at the "
            "server. What it has said is kept: the same command goes on"
        )
    return found


def _was_given(judged: Judged) -> bool:
    """Whether there is a reply: an empty one is one, but a question that was never put to the model has none."""
    return bool(judged.reply.text) or judged.verdict.score is not None


def _mark(score: Score, draw: int, found: ReplyScore | NotScored) -> Mark:
    if isinstance(found, NotScored):
        return Mark(example_id=score.example_id, draw=draw, why_not=found.why)
    return Mark(example_id=score.example_id, draw=draw, mark=found)


def _leaderboard_table(
    task: Task, marks: Sequence[Mark], disagreements: int, judge: LeaderboardJudge | None
) -> dict[str, Any]:
    known = [m.mark for m in marks if m.mark is not None]
    odd = Counter((mark.quirk, mark.right) for mark in known if mark.quirk)
    has_number = judge is not None or len(known) == len(marks)  # rules alone decide the easy replies: no number of all
    table: dict[str, Any] = {
        "undecided": dict(Counter(m.why_not for m in marks if m.mark is None).most_common(5)),
        **(aggregate(task.benchmark, leaderboard_marks(task, marks)) if has_number else {"absent": NO_JUDGE}),
        "by": dict(Counter(mark.by for mark in known)),
        "quirks": {key: {"right": odd[key, True], "wrong": odd[key, False]} for key, _ in sorted(odd)},
        "disagreements": disagreements,
    }
    if judge is not None:
        table["judge"] = {"model": judge.endpoint.model, "prompts": PROMPTS_VERSION, "extra": judge.endpoint.extra}
    return table


def _disagreements(replies: Sequence[tuple[Score, int, Judged]], marks: Sequence[Mark]) -> list[Disagreement]:
    return [
        Disagreement(
            example_id=m.example_id,
            draw=m.draw,
            gold=score.gold,
            reply=judged.reply.text,
            strict=strict.score,
            strict_why=strict.why,
            leaderboard=float(m.mark.right),
            extracted=m.mark.extracted,
            by=m.mark.by,
            quirk=m.mark.quirk,
        )
        for (score, _, judged), m in zip(replies, marks, strict=True)
        if m.mark is not None and (strict := judged.verdict).score is not None and (strict.score == 1) != m.mark.right
    ]
