"""What a terminal shows while work goes on: progress with an ETA, and tables at the end."""

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import transformers
from rich.console import Console as Terminal
from rich.progress import TaskID
from rich.table import Table

from firsthand.cli.terminal.screen import NOTE, progress_bars
from firsthand.evaluation import Protocol
from firsthand.evaluation.table import remedy
from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.reward.alarms import ALARM_WINDOW, alarms


class Console:
    """Progress bars on a terminal, a line now and then where there is none. Use as a context manager."""

    def __init__(self) -> None:
        # transformers' own bars (loading weights, writing shards) would tear ours apart.
        transformers.utils.logging.disable_progress_bar()
        self._terminal = Terminal(highlight=False)
        # Speed over the last minutes, not since the start: a reply's length, and so a step's time, changes in training.
        self._progress = progress_bars(self._terminal, "{task.description:<22}", NOTE, period_s=120)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def training(self, arm: str, recipe: Recipe) -> Callable[[Step], None]:
        """A bar for one training run, from its first step on; call what is returned after every step."""
        show = self._bar(f"train {arm}")
        window: deque[dict[str, float]] = deque(maxlen=ALARM_WINDOW)

        def on_step(step: Step) -> None:
            window.append(step.metrics)
            warnings = [f"ALARM: {line}" for line in alarms(window)] if recipe.objective.samples else []
            show(step.step + 1, recipe.steps, ", ".join([*_note(step), *warnings]))

        return on_step

    def evaluation(self, arm: str, work: str = "evaluate") -> Callable[[int, int], None]:
        """A bar for work on examples, from its first batch on; call what is returned with (done, total)."""
        show = self._bar(f"{work} {arm}")
        return lambda done, total: show(done, total, "")

    def table(self, results: Path) -> None:
        """The arms of a results.json."""
        arms: dict[str, Any] = json.loads(results.read_text())["arms"]
        table = Table("arm", "accuracy", "95 % interval", "pass@1", "pass@8", "reply tokens", "n")
        for name, row in arms.items():
            table.add_row(name, *_cells(row))
        self._terminal.print(table)

    def families(self, evaluation: Path) -> None:
        """The families of an evaluation.json."""
        content: dict[str, Any] = json.loads(evaluation.read_text())
        table = Table("family", "accuracy", "95 % interval", "pass@1", "pass@8", "tokens", "n", "cut", "unread")
        for name, row in {**content.get("families", {}), "all": content}.items():
            table.add_row(name, *_cells(row), *(_number(row.get(key), 3) for key in ("truncated", "unparsed")))
        self._terminal.print(table)
        self._terminal.print(f"protocol: {Protocol.of_data(content['protocol']).line()}", soft_wrap=True)
        if "tagged" in content:
            self._terminal.print(f"replies with their answer in tags: {content['tagged']:.1%}")
        if (what := remedy(content)) is not None:
            self._terminal.print(f"NOTE: {what}", soft_wrap=True)

    def _bar(self, what: str) -> Callable[[int, int, str], None]:
        """Logs and pipes get ten lines per task instead of a bar."""
        task: list[TaskID] = []  # a run that is done already takes no step, and shows no idle bar

        def show(done: int, total: int, note: str) -> None:
            if not task:
                task.append(self._progress.add_task(what, total=total, note=""))
            self._progress.update(task[0], completed=done, total=total, note=note)
            if not self._terminal.is_terminal and (done == total or done % max(1, total // 10) == 0):
                self._terminal.print(f"{what}: {done}/{total} {note}")

        return show


def _note(step: Step) -> list[str]:
    metrics = step.metrics
    parts = []
    if "score/mean" in metrics and "groups/zero_variance" in metrics:
        parts.append(f"score {metrics['score/mean']:.2f}")
        if metrics.get("reward/mean", metrics["score/mean"]) != metrics["score/mean"]:
            parts.append(f"reward {metrics['reward/mean']:.2f}")
    if "loss/nll" in metrics:
        parts.append(f"nll {metrics['loss/nll']:.3f}")
    return parts


def _cells(row: dict[str, Any]) -> list[str]:
    passes = row.get("pass_at", {})
    interval = f"{row['ci95'][0]:.3f} - {row['ci95'][1]:.3f}" if "ci95" in row else "-"
    return [
        _number(row.get("accuracy"), 3),
        interval,
        _number(passes.get("1"), 3),
        _number(passes.get("8"), 3),
        _number(row.get("reply_tokens"), 0),
        str(row["n"]),
    ]


def _number(value: float | None, digits: int) -> str:
    """An unmeasured value is a dash, never a 0."""
    return "-" if value is None else f"{value:.{digits}f}"
