"""A training's journal without a training: made-up steps, with real questions and pictures.

Run as a script it writes a part of one, in a process of its own: `python tracked_runs.py ROOT FROM TO TRACKERS`.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from firsthand.processor import Prompt
from firsthand.records import Example, Judged, Reply, Status, Step, Verdict
from firsthand.run import Run
from firsthand.trainer.batch import Batch, Group
from firsthand.trainer.journal import Journal
from firsthand.trainer.tracked import PictureTable
from firsthand.trainer.trackers import TrackedRun, Trackers
from firsthand.worlds import generate

RECIPE = {"name": "arm", "seed": 3, "steps": 6, "objective": {"kind": "grpo"}}
REPLY = "<answer>3</answer> | [a](javascript:1) ![b](http://elsewhere/p.png)\n# <script>alert(1)</script> *\u00e9*"
"""What a reader of Markdown or HTML would take for a table's cell, a link, a picture, a heading and a script."""


class Scripted:
    """A tracker that remembers what it is told; the next of its `faults`, a step or `close`, is an error."""

    def __init__(
        self, run: TrackedRun, next_step: int = 0, faults: Mapping[int | str, Exception] | None = None
    ) -> None:
        self.run, self.next_step, self.faults = run, next_step, faults or {}
        self.told: list[tuple[int, Mapping[str, float], Mapping[str, PictureTable]]] = []
        self.closed: bool | None = None

    def log(self, step: int, numbers: Mapping[str, float], tables: Mapping[str, PictureTable]) -> None:
        if step in self.faults:
            raise self.faults[step]
        self.told.append((step, numbers, tables))

    def close(self, *, is_complete: bool) -> None:
        if "close" in self.faults:
            raise self.faults["close"]
        self.closed = is_complete

    @property
    def steps(self) -> list[int]:
        return [step for step, _, _ in self.told]


def judged(text: str = REPLY, score: float = 1.0) -> Judged:
    reply = Reply(text=text, token_ids=(1, 2), logprobs=(-0.5, -0.5))
    verdict = Verdict(score=score, status=Status.OK, parsed="3", why="equals 3")
    return Judged(reply=reply, verdict=verdict, reward=score, advantage=2 * score - 1)


def group(example: Example, replies: int = 2) -> Group:
    prompt = Prompt(example.id, (1, 2, 3), pixels=None, grids=None)
    return Group(example, prompt, tuple(judged(score=number % 2) for number in range(replies)))


def open_run(root: Path) -> Run:
    return Run.open(root, str(RECIPE["name"]), 3, RECIPE)


def step_of(step: int) -> Step:
    return Step(step=step, metrics={"score/mean": step / 10}, seconds=0.5)


def write_steps(root: Path, first: int, last: int, trackers: Trackers | None) -> Path:
    """Journal the steps from `first` to `last`, as a run does that goes on from `first`."""
    examples = generate("count", "train", 2)
    batch = Batch(tuple(group(example) for example in examples))
    with open_run(root) as run, Journal(run, first, trackers) as journal:
        for step in range(first, last + 1):
            journal.write(step_of(step), batch)
        return run.folder


if __name__ == "__main__":
    root, first, last, names = sys.argv[1:]
    print(write_steps(Path(root), int(first), int(last), Trackers.read(names)))
