"""Run directories of a few lines, each of which a test chooses: for analyses whose numbers are worked out by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fake_runs import write_lines

from firsthand.records import Agreement, Judged, Reply, Rollout, Score, Status, Step, StopReason, Verdict, content_id
from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.tally import Expressions
from firsthand.report.arms import make_arms
from firsthand.report.runs import read_runs


def said(
    score: float | None, tokens: int = 4, text: str = "", *, agreement: Agreement | None = None, demo: bool = False
) -> Judged:
    """A reply of so many tokens; one without a score was not measured."""
    reply = Reply(text=text, token_ids=tuple(range(tokens)), stop=StopReason.GIVEN if demo else StopReason.EOS)
    status = Status.FAILED if score is None else Status.OK
    return Judged(reply=reply, verdict=Verdict(score=score, status=status, agreement=agreement))


def asked(number: int, greedy: Judged | None = None, samples: Sequence[Judged] = (), *, family: str = "count") -> Score:
    """An evaluated question, known by its number."""
    return Score(
        example_id=f"{number:04}",
        family=family,
        question="How many?",
        gold="7",
        images=(),
        greedy=greedy,
        samples=tuple(samples),
    )


def grouped(step: int, *group: Judged, family: str = "count") -> Rollout:
    """A training group."""
    return Rollout(step=step, example_id="a", family=family, question="?", gold="7", images=(), group=group)


def write_run(
    root: Path,
    name: str,
    *,
    seed: int = 0,
    start: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    steps: Sequence[Mapping[str, float]] = (),
    seconds: float = 60.0,
    rollouts: Sequence[Rollout] = (),
    scores: Sequence[Score] = (),
) -> Path:
    """A finished run; `steps` are the metrics of each, and every one takes `seconds`."""
    begun = None if start is None else json.loads((start / "recipe.json").read_text())["id"]
    content = {"name": name, "seed": seed, "start": begun, "steps": len(steps), **(recipe or {})}
    folder = root / f"{name}-s{seed}-{content_id(content)[:8]}"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({**content, "id": content_id(content)}))
    if steps:
        write_lines(folder / "metrics.jsonl", [Step(step=i, metrics=m, seconds=seconds) for i, m in enumerate(steps)])
    if rollouts:
        write_lines(folder / "rollouts.jsonl", rollouts)
    if scores:
        write_lines(folder / "scores.jsonl", scores)
    (folder / "DONE").touch()
    return folder


def evidence(*runs: Path) -> Evidence:
    """What the analyses of these runs start from."""
    return Evidence(make_arms(read_runs(runs)), Expressions())
